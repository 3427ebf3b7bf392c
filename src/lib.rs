//! Fanfare: a WebSocket and SSE gateway tuned for raw throughput.

pub mod collections;
pub mod hub;
pub mod id;
pub mod mesh;
pub mod net;
pub mod topic;
