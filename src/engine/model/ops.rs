//! The parts of a run: a setup and operations, generated from a seed.

use crate::config::SlowConsumer;
use crate::id::FormatId;

/// Clients of a run.
pub(super) const CLIENTS: u8 = 7;

/// The labels of up to three topics or patterns; empty ones are skipped.
pub(super) type Names = [&'static str; 3];

/// The settings of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// Engines.
    pub(super) engines: u16,
    /// The policy of topics, and that of topics in `b.`.
    pub(super) slow: SlowConsumer,
    pub(super) slow_b: SlowConsumer,
    /// See [`Policy`](crate::engine::hub::Policy).
    pub(super) lag_bytes: u64,
    pub(super) lag_messages: u64,
    /// Messages retained of a topic.
    pub(super) history: usize,
    /// Messages at which a lane is full, and batches in its queue.
    pub(super) lane_items: usize,
    pub(super) lane_batches: usize,
    /// See [`OutboxLimits`](crate::engine::hub::OutboxLimits).
    pub(super) outbox_messages: usize,
    /// See [`HubLimits`](crate::engine::hub::HubLimits).
    pub(super) log_bytes: usize,
    pub(super) backlog_bytes: u64,
    pub(super) memory: usize,
    /// The topic limit of each hub and home.
    pub(super) topics: usize,
    /// The grace period of presence.
    pub(super) grace_ms: u64,
    /// Bytes that a new socket accepts.
    pub(super) room: usize,
}

/// Where a subscription begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Recover {
    /// At the head.
    Nothing,
    /// After the client's last message.
    Stored,
    /// After a made-up position beyond the client's last message.
    Ahead,
    /// After the client's last message; for patterns with the position of another process.
    Restarted,
    /// For patterns: after a made-up position some time ago.
    Ago,
    /// For topics: with this many of the newest messages.
    Last(u8),
}

/// One operation. Clients and engines are numbered modulo their count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// A client connects; `greet`: it is told when broadcasts and its inbox are delivered.
    Join {
        client: u8,
        node: u8,
        format: FormatId,
        greet: bool,
    },
    /// A client's connection is lost.
    Leave {
        client: u8,
    },
    /// The gateway closes a client's connection; it leaves later.
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
    /// A client joins or leaves its queue group of a topic.
    JoinQueue {
        client: u8,
        topic: &'static str,
    },
    LeaveQueue {
        client: u8,
        topic: &'static str,
    },
    /// A client changes its wire format.
    Reformat {
        client: u8,
        format: FormatId,
    },
    /// A client publishes; `answer`: it requests the offset.
    Publish {
        client: u8,
        topic: &'static str,
        key: &'static str,
        answer: bool,
        bytes: u32,
    },
    /// A client publishes for everybody but the user of another client, or its own.
    PublishExcept {
        client: u8,
        topic: &'static str,
        except: u8,
        bytes: u32,
    },
    /// A task publishes and counts the subscribers reached.
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
    /// A task publishes a broadcast.
    Broadcast {
        node: u8,
    },
    /// A client's socket accepts this many more bytes.
    Room {
        client: u8,
        bytes: u32,
    },
    /// A client's socket is closed.
    Cut {
        client: u8,
    },
    /// A client gives other data of its user.
    UpdatePresence {
        client: u8,
        topic: &'static str,
    },
    /// A client requests a roster.
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
    /// A client answers a call.
    Answer {
        client: u8,
        key: &'static str,
        is_last: bool,
    },
    /// A caller hangs up.
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
    /// A task reads the newest messages of a history before an offset.
    HistoryBefore {
        node: u8,
        topic: &'static str,
        before: u8,
        limit: u8,
    },
    /// A client opens an event stream with this many of the newest messages.
    StreamLast {
        client: u8,
        node: u8,
        topics: Names,
        count: u8,
    },
    /// A client opens an event stream, after its cursor if `resume`.
    Stream {
        client: u8,
        node: u8,
        topics: Names,
        resume: bool,
    },
    /// An engine takes up to this many batches from each lane.
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
    /// All engines exchange and flush this many times.
    Run {
        rounds: u8,
    },
    /// Deliveries between two engines stop or continue.
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
    /// The tasks of a ticker, in its order.
    Tick {
        node: u8,
    },
    /// Vacant topics are swept while groups may be open, which a ticker never does.
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
