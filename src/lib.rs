//! Fanfare: a WebSocket and SSE gateway tuned for raw throughput.

pub mod ws;
