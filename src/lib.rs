//! Fanfare: a WebSocket and SSE gateway tuned for raw throughput.
//!
//! Modules import downwards only; ARCHITECTURE.md draws the order and
//! `tests/layering.rs` holds it.

pub mod api;
pub mod auth;
pub mod bus;
pub mod call;
pub mod cli;
pub mod collections;
pub mod config;
pub mod conn;
pub mod dialect;
pub mod engine;
pub mod http;
pub mod id;
pub mod inbound;
pub mod json;
pub mod metrics;
pub mod msgpack;
pub mod net;
pub mod process;
pub mod reactor;
pub mod server;
pub mod service;
pub mod shard;
pub mod sse;
pub mod store;
pub mod timestamp;
pub mod topic;
pub mod ws;
