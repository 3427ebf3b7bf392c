//! Fanfare: a WebSocket and SSE gateway tuned for raw throughput.

pub mod auth;
pub mod cli;
pub mod collections;
pub mod config;
pub mod http;
pub mod hub;
pub mod id;
pub mod mesh;
pub mod metrics;
pub mod net;
pub mod protocol;
pub mod topic;
