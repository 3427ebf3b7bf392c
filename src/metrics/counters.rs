//! What a shard counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::counter::Counter;
use super::histogram::Histogram;

/// A number that is set.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number as it was last set.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a connection was refused before it became one.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// The process has as many as it may.
    Connections = 0,
    /// The address has as many as it may.
    PerIp = 1,
    /// The request was malformed, or no proper upgrade.
    Handshake = 2,
    /// The request did not come in time.
    Timeout = 3,
    /// It had to make room for a newer one.
    Evicted = 4,
    /// It came from a web page that may not connect.
    Origin = 5,
    /// Too many credentials from its address were wrong.
    Failures = 6,
    /// Its credential does not make it the user it says it is.
    Credentials = 7,
    /// It began with TLS, on a port that speaks plain HTTP.
    Tls = 8,
    /// The gateway is closing its clients.
    Draining = 9,
}

/// The names of [`Refused`], as labels.
pub(super) const REFUSALS: [&str; 10] = [
    "connections",
    "per_ip",
    "handshake",
    "timeout",
    "evicted",
    "origin",
    "failures",
    "credentials",
    "tls",
    "draining",
];

/// A configured limit that somebody has reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limited {
    /// A message was dropped: `events.frames_per_minute`, or the token's own.
    FramesPerMinute = 0,
    /// A message was dropped: `events.frames_per_minute_per_ip`.
    FramesPerMinutePerIp = 1,
    /// An HTTP request to publish was refused: `events.publishes_per_minute`.
    PublishesPerMinute = 2,
    /// A connection was refused: `events.max_connections`.
    Connections = 3,
    /// A connection was closed: `events.max_connections_per_user`.
    ConnectionsPerUser = 4,
    /// A connection was closed: `events.max_connections_per_ip`.
    ConnectionsPerIp = 5,
    /// A request to subscribe went too far: `events.max_subscriptions`.
    Subscriptions = 6,
    /// A message or its data was too large: `max_message_size` of the endpoint
    /// or of the namespace.
    MessageSize = 7,
    /// A name was too long.
    NameSize = 8,
    /// A subscription or publication needed one topic too many: `hub.max_topics`.
    Topics = 9,
    /// A request of the bridge protocol was refused: `bridge.requests_per_minute`.
    BridgeRequestsPerMinute = 10,
    /// A question to a user was refused: `bridge.max_calls`.
    Calls = 11,
    /// A request, or its answer, was refused for the bytes of its body, or a caller's answers ended:
    /// `http.max_buffered_bytes`.
    HttpBufferedBytes = 12,
    /// A subscription found that subscriptions take half of `hub.max_memory`.
    SubscriptionMemory = 13,
}

/// The names of [`Limited`], as labels: those of the keys where there is one.
pub(super) const LIMITS: [&str; 14] = [
    "frames_per_minute",
    "frames_per_minute_per_ip",
    "publishes_per_minute",
    "max_connections",
    "max_connections_per_user",
    "max_connections_per_ip",
    "max_subscriptions",
    "max_message_size",
    "name_size",
    "max_topics",
    "bridge_requests_per_minute",
    "max_calls",
    "max_buffered_bytes",
    "subscription_memory",
];

/// Bounds of message sizes, in bytes.
const SIZE_BOUNDS: [f64; 8] = [
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    1_048_576.0,
    16_777_216.0,
];

/// Bounds of durations, in seconds.
const TIME_BOUNDS: [f64; 8] = [0.000_01, 0.000_1, 0.000_5, 0.001, 0.005, 0.02, 0.1, 1.0];

/// Everything a shard counts.
#[derive(Debug)]
pub struct Counters {
    /// Connections that were opened, WebSocket and SSE.
    pub connections_opened: Counter,
    /// Those of them that read a stream of events.
    pub sse_connections_opened: Counter,
    /// Connections that are open, WebSocket and SSE; one that is being closed is not.
    pub connections: Gauge,
    /// Those of them that read a stream of events.
    pub sse_connections: Gauge,
    /// Connections that have not upgraded.
    pub handshakes: Gauge,
    /// Connections that were refused, by [`Refused`].
    pub refused: [Counter; REFUSALS.len()],
    /// What went beyond a limit, by [`Limited`].
    pub limited: [Counter; LIMITS.len()],
    /// Connections that ended, by reason.
    pub disconnects: [Counter; 18],
    /// HTTP requests answered, upgrades not counted.
    pub http_requests: Counter,
    /// Messages that clients sent.
    pub messages_in: Counter,
    /// Bytes that clients sent.
    pub bytes_in: Counter,
    /// Publications that topics homed here were given.
    pub publications: Counter,
    /// Times that a publisher had to wait.
    pub publications_waited: Counter,
    /// Messages put before subscribers: publications times subscribers.
    pub deliveries: Counter,
    /// Writes to sockets.
    pub writes: Counter,
    /// Writes that a socket took only a part of.
    pub writes_short: Counter,
    /// Bytes that sockets took.
    pub bytes_out: Counter,
    /// Messages that a slow consumer lost and was told of.
    pub messages_dropped: Counter,
    /// Slow consumers that were disconnected.
    pub slow_consumers: Counter,
    /// Errors that clients were told of.
    pub errors_sent: Counter,
    /// Messages sent again to subscribers that came back.
    pub messages_replayed: Counter,
    /// Messages that were pushed to users.
    pub pushes: Counter,
    /// Those of them that reached nobody.
    pub pushes_undelivered: Counter,
    /// Calls to users.
    pub calls: Counter,
    /// Answers that callers were given.
    pub answers: Counter,
    /// Answers that nobody waited for.
    pub answers_unclaimed: Counter,
    /// Memberships.
    pub subscriptions: Gauge,
    /// Topics known to the hub.
    pub topics: Gauge,
    /// Bytes in logs and outboxes.
    pub held_bytes: Gauge,
    /// Bytes kept for clients that come back.
    pub history_bytes: Gauge,
    /// Bytes of messages that are not finished.
    pub unfinished_bytes: Gauge,
    /// Bytes of the bodies of requests, and of answers that wait for their clients.
    pub http_body_bytes: Gauge,
    /// Connections of the events protocol.
    pub events_connections: Gauge,
    /// Addresses of these, as far as they are counted.
    pub events_addresses: Gauge,
    /// Users of these, as far as they are counted.
    pub events_users: Gauge,
    /// Sizes of clients' messages, in bytes.
    pub message_sizes: Histogram<8>,
    /// Time for one flush, in seconds.
    pub flush_times: Histogram<8>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            connections_opened: Counter::default(),
            sse_connections_opened: Counter::default(),
            connections: Gauge::default(),
            sse_connections: Gauge::default(),
            handshakes: Gauge::default(),
            refused: Default::default(),
            limited: Default::default(),
            disconnects: Default::default(),
            http_requests: Counter::default(),
            messages_in: Counter::default(),
            bytes_in: Counter::default(),
            publications: Counter::default(),
            publications_waited: Counter::default(),
            deliveries: Counter::default(),
            writes: Counter::default(),
            writes_short: Counter::default(),
            bytes_out: Counter::default(),
            messages_dropped: Counter::default(),
            slow_consumers: Counter::default(),
            errors_sent: Counter::default(),
            messages_replayed: Counter::default(),
            pushes: Counter::default(),
            pushes_undelivered: Counter::default(),
            calls: Counter::default(),
            answers: Counter::default(),
            answers_unclaimed: Counter::default(),
            subscriptions: Gauge::default(),
            topics: Gauge::default(),
            held_bytes: Gauge::default(),
            history_bytes: Gauge::default(),
            unfinished_bytes: Gauge::default(),
            http_body_bytes: Gauge::default(),
            events_connections: Gauge::default(),
            events_addresses: Gauge::default(),
            events_users: Gauge::default(),
            message_sizes: Histogram::new(SIZE_BOUNDS),
            flush_times: Histogram::new(TIME_BOUNDS),
        }
    }
}

impl Counters {
    /// Counts that somebody went beyond a limit.
    pub fn limited(&self, limit: Limited) {
        self.limited[limit as usize].add(1);
    }
}
