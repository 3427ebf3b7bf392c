//! The counters of each shard, which the shard that serves `/metrics` reads.
//!
//! Each has one writer, its shard's thread, so that counting is a load and a
//! store without a locked instruction; only lost lines of the log and the key set are the process's. Label sets are fixed
//! (hostile-inputs.md M15).

mod counter;
mod counters;
mod histogram;
mod key_set;
mod log_lines;
mod old_names;
mod process_usage;
mod registered;
mod render;
mod totals;

pub use counter::Counter;
pub(crate) use counters::reasons;
pub use counters::{Counters, DialectCounters, Gauge, Limited, Refused};
pub use histogram::Histogram;
pub use key_set::KeySetCounters;
pub use log_lines::{log_lines_lost, lose_log_line};
pub use old_names::{OldName, OldNumber, render_old_names};
pub use process_usage::ProcessUsage;
pub use registered::{
    CounterId, CounterRegistry, DIALECTS_MAX, DialectId, END_REASONS_MAX, EndReason,
};
pub use render::{render_json, render_prometheus};
pub use totals::Totals;
