//! What is counted of the store.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::refused::{Refused, StoreHealth};
use crate::metrics::{Counter, Histogram};

/// Bounds of the time that a commit takes, in seconds.
const COMMIT_BOUNDS: [f64; 10] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5,
];

/// Numbers of the store. Its thread writes all but the refusals.
#[derive(Debug)]
pub(super) struct StoreCounters {
    rows: Counter,
    messages: Counter,
    commits: Counter,
    commit_seconds: Histogram<{ COMMIT_BOUNDS.len() }>,
    lost_records: Counter,
    lost_notes: Counter,
    refused: [AtomicU64; Refused::ALL.len()],
}

impl StoreCounters {
    pub(super) fn new() -> Self {
        Self {
            rows: Counter::default(),
            messages: Counter::default(),
            commits: Counter::default(),
            commit_seconds: Histogram::new(COMMIT_BOUNDS),
            lost_records: Counter::default(),
            lost_notes: Counter::default(),
            refused: Default::default(),
        }
    }

    /// So many rows, some of them messages, were committed in one transaction.
    pub(super) fn note_commit(&self, rows: usize, messages: usize, took: Duration) {
        self.rows.add(rows as u64);
        self.messages.add(messages as u64);
        self.commits.add(1);
        self.commit_seconds.record(took.as_secs_f64());
    }

    /// So many rows that no client waits for were not stored.
    pub(super) fn note_lost_records(&self, rows: usize) {
        self.lost_records.add(rows as u64);
    }

    /// So many deliveries were not stored: their messages are delivered again.
    pub(super) fn note_lost_deliveries(&self, rows: usize) {
        self.lost_notes.add(rows as u64);
    }

    /// A request was refused.
    pub(super) fn note_refused(&self, why: Refused) {
        let place = Refused::ALL.iter().position(|it| *it == why);
        if let Some(place) = place {
            self.refused[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Appends the numbers in Prometheus' text format.
    pub(super) fn render(
        &self,
        out: &mut String,
        waiting: usize,
        connected: u64,
        health: &StoreHealth,
    ) {
        let numbers = [
            ("rows", "Rows committed.", self.rows.read()),
            ("messages", "Messages committed.", self.messages.read()),
            ("commits", "Transactions committed.", self.commits.read()),
            (
                "lost_records",
                "Records and metrics that were not stored.",
                self.lost_records.read(),
            ),
            (
                "lost_deliveries",
                "Deliveries that were not stored, so that their messages are delivered again.",
                self.lost_notes.read(),
            ),
        ];
        for (name, help, number) in numbers {
            let _ = write!(
                out,
                "# HELP fanfare_store_{name}_total {help}\n\
                 # TYPE fanfare_store_{name}_total counter\n\
                 fanfare_store_{name}_total {number}\n"
            );
        }
        let name = "fanfare_store_commit_seconds";
        let _ = write!(
            out,
            "# HELP {name} Time of a transaction, its synchronization included.\n# TYPE {name} histogram\n"
        );
        let (below, count, sum) = self.commit_seconds.read();
        for (bound, below) in below {
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let _ = write!(
            out,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n"
        );
        let name = "fanfare_store_refused_total";
        let _ = write!(
            out,
            "# HELP {name} Requests refused, by code.\n# TYPE {name} counter\n"
        );
        for (why, refused) in Refused::ALL.iter().zip(&self.refused) {
            let refused = refused.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}{{code=\"{}\"}} {refused}", why.code());
        }
        let gauges = [
            (
                "waiting",
                "Requests that wait for the store's thread.",
                waiting as u64,
            ),
            (
                "connected_users",
                "Users with an attached connection.",
                connected,
            ),
            (
                "full",
                "Whether writes are refused until there is room.",
                u64::from(*health == StoreHealth::DiskFull),
            ),
            (
                "unreachable",
                "Whether writes are refused until the database is reached.",
                u64::from(*health == StoreHealth::Unreachable),
            ),
            (
                "poisoned",
                "Whether writes are refused until a restart.",
                u64::from(matches!(health, StoreHealth::Poisoned(_))),
            ),
        ];
        for (name, help, number) in gauges {
            let _ = write!(
                out,
                "# HELP fanfare_store_{name} {help}\n\
                 # TYPE fanfare_store_{name} gauge\n\
                 fanfare_store_{name} {number}\n"
            );
        }
    }
}
