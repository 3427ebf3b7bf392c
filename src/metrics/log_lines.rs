//! The count of log lines that could not be written.

use std::sync::atomic::{AtomicU64, Ordering};

/// Of the process, since any thread may lose a line of its one log.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Counts a line of the log that could not be written.
pub fn lose_log_line() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

/// How many lines of the log could not be written since the start.
#[must_use]
pub fn log_lines_lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}
