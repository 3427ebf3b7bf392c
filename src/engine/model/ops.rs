//! What a run is made of: a setup and operations, all of which follow from a seed.

use crate::config::SlowConsumer;
use crate::id::FormatId;

/// Clients of a run.
pub(super) const CLIENTS: u8 = 7;

/// Up to three topics or patterns; empty ones are none.
pub(super) type Names = [&'static str; 3];

/// How the engines of a run are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// Engines.
    pub(super) engines: u16,
    /// The policy of topics, and of those of `b.`.
    pub(super) slow: SlowConsumer,
    pub(super) slow_b: SlowConsumer,
    /// See [`Policy`](crate::engine::hub::Policy).
    pub(super) lag_bytes: u64,
    pub(super) lag_messages: u64,
    /// Messages that are kept of a topic.
    pub(super) history: usize,
    /// Messages of a lane from which on it is full, and batches in its queue.
    pub(super) lane_items: usize,
    pub(super) lane_batches: usize,
    /// See [`OutboxLimits`](crate::engine::hub::OutboxLimits).
    pub(super) outbox_messages: usize,
    /// See [`HubLimits`](crate::engine::hub::HubLimits).
    pub(super) log_bytes: usize,
    pub(super) backlog_bytes: u64,
    pub(super) memory: usize,
    /// Topics of each hub and home.
    pub(super) topics: usize,
    /// How long a user may be away before it is told.
    pub(super) grace_ms: u64,
    /// Bytes that a new socket takes.
    pub(super) room: usize,
}

/// From where on a client wants a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Recover {
    /// From now on.
    Nothing,
    /// From where it was.
    Stored,
    /// From a place that it makes up, ahead of where it was.
    Ahead,
    /// From where it was, patterns from where it was in another process.
    Restarted,
    /// Patterns from a place that it makes up, some time ago.
    Ago,
}

/// Something that happens. Clients and engines are counted modulo how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// A client connects; `greet`: it is told so when broadcasts and its inbox arrive.
    Join {
        client: u8,
        node: u8,
        format: FormatId,
        greet: bool,
    },
    /// A client's connection is gone.
    Leave {
        client: u8,
    },
    /// A client's connection is closed by the gateway; it leaves later.
    Close {
        client: u8,
    },
    /// A client subscribes.
    Subscribe {
        client: u8,
        names: Names,
        recover: Recover,
    },
    Unsubscribe {
        client: u8,
        names: Names,
    },
    /// A client publishes; `answer`: it wants to know the offset.
    Publish {
        client: u8,
        topic: &'static str,
        key: &'static str,
        answer: bool,
        bytes: u32,
    },
    /// A task publishes and wants to know how many it reached.
    Count {
        node: u8,
        topic: &'static str,
        key: &'static str,
        only_live: bool,
        bytes: u32,
    },
    /// A task pushes to a client's inbox.
    Push {
        node: u8,
        client: u8,
        bytes: u32,
    },
    /// A task publishes to everybody.
    Broadcast {
        node: u8,
    },
    /// A client's socket takes this many bytes more.
    Room {
        client: u8,
        bytes: u32,
    },
    /// A client's socket is gone.
    Cut {
        client: u8,
    },
    /// A client asks who is in a topic.
    Roster {
        client: u8,
        topic: &'static str,
    },
    /// A task calls a client.
    Call {
        node: u8,
        key: &'static str,
        client: u8,
    },
    /// A client answers.
    Answer {
        client: u8,
        key: &'static str,
        is_last: bool,
    },
    /// A caller goes away.
    HangUp {
        call: u8,
    },
    /// A task reads a history.
    History {
        node: u8,
        topic: &'static str,
        since: u8,
        limit: u8,
    },
    /// A client reads a stream of events, from where it was if `resume`.
    Stream {
        client: u8,
        node: u8,
        topics: Names,
        resume: bool,
    },
    /// An engine takes up to so many batches from each lane.
    Exchange {
        node: u8,
        deliveries: u8,
        requests: u8,
    },
    Flush {
        node: u8,
        writes: u8,
        bytes: u32,
    },
    /// All engines exchange and flush, so many times.
    Run {
        rounds: u8,
    },
    /// Deliveries between two engines stop, or go on.
    Stop {
        from: u8,
        to: u8,
    },
    Go {
        from: u8,
        to: u8,
    },
    CloseGroups {
        node: u8,
    },
    /// What a ticker does, in its order.
    Tick {
        node: u8,
    },
    /// Topics are given up while groups of them may be open, which a ticker never does.
    SweepVacant {
        node: u8,
    },
    SweepPresence {
        node: u8,
    },
    SweepHome {
        node: u8,
        rarely: bool,
    },
    Tidy {
        node: u8,
    },
    FindStalled {
        node: u8,
    },
    Advance {
        ms: u32,
    },
}
