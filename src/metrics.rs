//! Counters of a shard, read by whoever serves `/metrics`.
//!
//! Each has one writer, its shard's thread, so that counting is a load and a
//! store without a locked instruction. Label sets are fixed (HOSTILE M15).

mod counters;
mod histogram;
mod render;
mod totals;

pub use counters::{Counter, Counters, Gauge, Limited, Refused};
pub use histogram::Histogram;
pub use render::{render_json, render_prometheus};
pub use totals::Totals;
