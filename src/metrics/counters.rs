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

/// Defines what a shard counts: of each number its field, its name in `/metrics`, and what it is.
macro_rules! define_counters {
    (
        counters { $($counter:ident = $counter_name:literal, $counter_help:literal;)* }
        gauges { $($gauge:ident = $gauge_name:literal, $gauge_help:literal;)* }
    ) => {
        /// Everything a shard counts.
        #[derive(Debug)]
        pub struct Counters {
            $(#[doc = $counter_help] pub $counter: Counter,)*
            $(#[doc = $gauge_help] pub $gauge: Gauge,)*
            /// SSE connections opened.
            pub sse_connections_opened: Counter,
            /// SSE connections open.
            pub sse_connections: Gauge,
            /// Connections refused, by [`Refused`].
            pub refused: [Counter; REFUSALS.len()],
            /// Times a limit was exceeded, by [`Limited`].
            pub limited: [Counter; LIMITS.len()],
            /// Connections that ended, by reason.
            pub disconnects: [Counter; 18],
            /// Sizes of clients' messages, in bytes.
            pub message_sizes: Histogram<8>,
            /// Time for one flush, in seconds.
            pub flush_times: Histogram<8>,
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $($counter: Counter::default(),)*
                    $($gauge: Gauge::default(),)*
                    sse_connections_opened: Counter::default(),
                    sse_connections: Gauge::default(),
                    refused: Default::default(),
                    limited: Default::default(),
                    disconnects: Default::default(),
                    message_sizes: Histogram::new(SIZE_BOUNDS),
                    flush_times: Histogram::new(TIME_BOUNDS),
                }
            }
        }

        /// The counters without labels: name, help, field.
        pub(super) const COUNTERS: &[(&str, &str, fn(&Counters) -> u64)] =
            &[$(($counter_name, $counter_help, |counters| counters.$counter.read())),*];

        /// The gauges without labels: name, help, field.
        pub(super) const GAUGES: &[(&str, &str, fn(&Counters) -> u64)] =
            &[$(($gauge_name, $gauge_help, |counters| counters.$gauge.read())),*];
    };
}

define_counters! {
    counters {
    connections_opened = "connections_opened_total", "Connections opened, WebSocket and SSE.";
    http_requests = "http_requests_total", "HTTP requests answered, upgrades not counted.";
    messages_in = "messages_received_total", "Messages received from clients.";
    bytes_in = "received_bytes_total", "Bytes received from clients.";
    pushes = "pushes_total", "Messages pushed to users.";
    pushes_undelivered = "pushes_undelivered_total", "Messages pushed to users who were not connected.";
    calls = "calls_total", "Calls made to users.";
    answers = "answers_total", "Answers given to callers.";
    answers_unclaimed = "answers_unclaimed_total", "Answers nobody waited for.";
    publications = "publications_total", "Publications accepted.";
    publications_waited = "publications_waited_total", "Times a publisher had to wait for room.";
    deliveries = "deliveries_total", "Publications times their subscribers.";
    writes = "writes_total", "Writes to sockets.";
    writes_short = "writes_short_total", "Writes of which a socket took only a part.";
    bytes_out = "sent_bytes_total", "Bytes sent to clients.";
    messages_dropped = "messages_dropped_total", "Messages slow consumers lost and were told of.";
    errors_sent = "errors_sent_total", "Errors clients were told of.";
    messages_replayed = "messages_replayed_total", "Messages sent again to subscribers that came back.";
    }
    gauges {
    connections = "connections", "Connections open, WebSocket and SSE.";
    handshakes = "handshakes", "Connections that have not upgraded.";
    subscriptions = "subscriptions", "Topic memberships of connections.";
    topics = "topics", "Topics known.";
    held_bytes = "held_bytes", "Bytes in topic logs and outboxes.";
    history_bytes = "history_bytes", "Bytes kept for clients that come back.";
    unfinished_bytes = "unfinished_bytes", "Bytes of messages not finished by their senders.";
    http_body_bytes = "http_body_bytes", "Bytes of bodies of requests, and of answers that wait for their clients.";
    events_connections = "events_connections", "Connections of the events protocol.";
    events_addresses = "events_addresses", "Addresses of these, where a limit has them counted.";
    events_users = "events_users", "Users of these, where a limit has them counted.";
    }
}

impl Counters {
    /// Counts that somebody went beyond a limit.
    pub fn limited(&self, limit: Limited) {
        self.limited[limit as usize].add(1);
    }
}
