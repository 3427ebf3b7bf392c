//! Fanfare: a WebSocket and SSE gateway tuned for raw throughput.

pub mod auth;
pub mod cli;
pub mod collections;
pub mod config;
