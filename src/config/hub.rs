//! `[hub]`: memory of topics and peers, and what happens to slow consumers.

use std::time::Duration;

use super::kind::{Choice, Count, FlagKind, OneOf, Size, Time};
use super::mode::Mode;
use super::section::{SectionRules, section};
use super::size::{GIB, KIB, MIB};

section! {
    /// Memory of topics and clients, and what happens to a client that does not keep up.
    pub struct Hub("hub", mode) {
        /// How long a publication may wait for others before it is sent with them; "0s": only for those
        /// of the same turn of the loop. Trades latency for CPU.
        flush_delay: Duration = Duration::ZERO, Time(Duration::ZERO..=Duration::from_secs(1));
        /// Topics of each shard. Beyond it a subscription or publication that needs a new one is
        /// refused.
        max_topics: usize = 1_000_000, Count(1..=100_000_000);
        /// Bytes of all logs and outboxes of the process. Beyond it the slowest clients meet their
        /// policy, and publications are refused until there is room.
        max_memory: usize = GIB, Size(16 * MIB..=1024 * GIB);
        /// Bytes of one topic's log, on one shard and in one wire format. Beyond it the oldest messages
        /// go, and clients that had not received them meet their policy.
        max_log_size: usize = 32 * MIB, Size(64 * KIB..=64 * GIB);
        /// Bytes waiting for one client besides topics: replies, direct messages. Beyond it background
        /// messages go first, then low, then normal; high and critical ones only when nothing lower is
        /// left.
        outbox_max_bytes: usize = MIB, Size(4 * KIB..=GIB);
        /// Messages waiting for one client besides topics. Beyond it: as outbox_max_bytes.
        outbox_max_messages: usize = 1024, Count(1..=1_000_000);
        /// What happens to a client that lags behind a topic by more than max_lag or max_lag_messages:
        /// "disconnect": its connection is closed; "drop-oldest": it loses the oldest
        /// messages and is told so; "drop-lowest": it loses those of the lowest priority and is told
        /// so; "conflate": it gets the newest message only.
        slow_consumer: SlowConsumer = SlowConsumer::Disconnect, OneOf;
        /// Bytes a client may lag behind the head of a topic. At most max_log_size.
        max_lag: usize = 16 * MIB, Size(KIB..=64 * GIB);
        /// Messages a client may lag behind the head of a topic; 0: no limit.
        max_lag_messages: usize = 0, Count(0..=1_000_000_000);
        /// How long a client with something to receive may take nothing; then it is disconnected.
        max_stall: Duration = Duration::from_secs(10), Time(Duration::from_millis(100)..=Duration::from_hours(1));
        /// Messages of each topic kept for clients that come back; 0: none. The oldest go first.
        history_size: usize = history(mode).0, Count(0..=100_000_000);
        /// How long a message is kept.
        history_ttl: Duration = history(mode).1, Time(Duration::from_secs(1)..=Duration::from_hours(24 * 365));
        /// Bytes of all histories of the process. Beyond it the largest give up their older half.
        max_history_memory: usize = 256 * MIB, Size(MIB..=1024 * GIB);
        /// Whether topics tell who comes and goes, and who is there. Counts subscriptions by name, not
        /// by pattern.
        presence: bool = false, FlagKind;
        /// How long somebody may be away before it is told.
        presence_grace: Duration = Duration::from_secs(5), Time(Duration::ZERO..=Duration::from_hours(1));
    }
}

impl SectionRules for Hub {}

/// Number and age of what a topic keeps. In prod mode enough for a client whose network changes, or that reloads.
fn history(mode: Mode) -> (usize, Duration) {
    match mode {
        Mode::Demo => (1000, Duration::from_mins(5)),
        Mode::Dev => (0, Duration::from_mins(5)),
        Mode::Prod => (100, Duration::from_mins(2)),
    }
}

/// What happens to a client that lags too far behind a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlowConsumer {
    /// Its connection is closed.
    Disconnect,
    /// It loses the oldest messages, and is told that it did.
    DropOldest,
    /// It loses the messages of the lowest priority, and is told that it did.
    DropLowest,
    /// It gets the newest message only.
    Conflate,
}

impl Choice for SlowConsumer {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("disconnect", Self::Disconnect),
        ("drop-oldest", Self::DropOldest),
        ("drop-lowest", Self::DropLowest),
        ("conflate", Self::Conflate),
    ];
}
