//! What a shard counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::counter::Counter;
use super::histogram::Histogram;
use super::registered::{CounterId, CounterRegistry, DIALECTS_MAX, DialectId, END_REASONS_MAX};

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

/// What a shard counts of one protocol.
#[derive(Debug, Default)]
pub struct DialectCounters {
    /// Connections opened.
    pub opened: Counter,
    /// Connections open.
    pub open: Gauge,
    /// Messages received from clients.
    pub messages_in: Counter,
}

/// Declares reasons by which something is counted, each with its label in `/metrics`.
macro_rules! reasons {
    (
        $(#[$meta:meta])*
        $name:ident {
            $($(#[doc = $doc:literal])* $reason:ident $(($detail:ty))? = $label:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name {
            $($(#[doc = $doc])* $reason $(($detail))?,)*
        }

        impl $name {
            /// The labels, by index.
            pub const LABELS: [&'static str; [$($label),*].len()] = [$($label),*];

            /// The index of its label.
            #[must_use]
            pub fn index(self) -> usize {
                enum Index {
                    $($reason,)*
                }
                match self {
                    $(Self::$reason { .. } => Index::$reason as usize,)*
                }
            }
        }
    };
}
pub(crate) use reasons;

reasons! {
    /// Why a connection was refused before it became one.
    Refused {
        /// The process has as many as it may.
        Connections = "connections",
        /// The address has as many as it may.
        PerIp = "per_ip",
        /// The request was malformed, or no proper upgrade.
        Handshake = "handshake",
        /// The request did not come in time.
        Timeout = "timeout",
        /// It had to make room for a newer one.
        Evicted = "evicted",
        /// It came from a web page that may not connect.
        Origin = "origin",
        /// Too many credentials from its address were wrong.
        Failures = "failures",
        /// The key set that its token is checked with has not been fetched yet.
        KeySet = "key_set",
        /// Its credential does not allow what it asks for.
        Credentials = "credentials",
        /// It has no credential, and needs one.
        NoToken = "no_token",
        /// Its token has expired.
        ExpiredToken = "expired_token",
        /// Its token has been revoked.
        RevokedToken = "revoked_token",
        /// Its token is not valid for another reason.
        InvalidToken = "invalid_token",
        /// Its API key is not known.
        ApiKey = "api_key",
        /// Its user is blocked.
        Blocked = "blocked",
        /// Its user has as many connections as it may.
        PerUser = "per_user",
        /// What it asks for does not exist or is malformed.
        Request = "request",
        /// It came too soon after others.
        Rate = "rate",
        /// The application has no room to be told of it: `backend.max_pending`.
        Backend = "backend",
        /// It began with TLS, on a port that speaks plain HTTP.
        Tls = "tls",
        /// It began with plain HTTP, on a port that speaks TLS.
        Plaintext = "plaintext",
        /// Its TLS handshake failed: it cannot be understood, or has nothing that is accepted.
        TlsHandshake = "tls_handshake",
        /// The gateway is closing its clients.
        Draining = "draining",
    }
}

reasons! {
    /// A configured limit that somebody has reached. Labels are the names of keys where there is one.
    Limited {
        /// A message was dropped: `events.frames_per_minute`, or the token's own.
        FramesPerMinute = "frames_per_minute",
        /// A message was dropped: `events.frames_per_minute_per_ip`.
        FramesPerMinutePerIp = "frames_per_minute_per_ip",
        /// An HTTP request to publish was refused: `events.publishes_per_minute`.
        PublishesPerMinute = "publishes_per_minute",
        /// A connection was refused: `events.max_connections`.
        Connections = "max_connections",
        /// A connection was closed: `events.max_connections_per_user`.
        ConnectionsPerUser = "max_connections_per_user",
        /// A connection was closed: `events.max_connections_per_ip`.
        ConnectionsPerIp = "max_connections_per_ip",
        /// A request to subscribe went too far: `events.max_subscriptions`.
        Subscriptions = "max_subscriptions",
        /// A message or its data was too large: `max_message_size` of the endpoint
        /// or of the namespace.
        MessageSize = "max_message_size",
        /// A name was too long.
        NameSize = "name_size",
        /// A subscription or publication needed one topic too many: `hub.max_topics`.
        Topics = "max_topics",
        /// A request of a service was refused: `requests_per_minute` of its protocol.
        RequestsPerMinute = "bridge_requests_per_minute",
        /// A call to a user was refused: `max_calls` of its protocol.
        Calls = "max_calls",
        /// `wse.rate_capacity`, refilled by `wse.rate_refill`.
        MessageRate = "rate_capacity",
        /// A request, or its answer, was refused for the bytes of its body, or a caller's answers ended:
        /// `http.max_buffered_bytes`.
        HttpBufferedBytes = "max_buffered_bytes",
        /// A subscription found that subscriptions take half of `hub.max_memory`.
        SubscriptionMemory = "subscription_memory",
        /// The data of a present user was not kept: all such data of a shard takes too many bytes.
        PresenceMemory = "presence_memory",
    }
}

/// Classes of statuses (RFC 9110 section 15); one of 1xx is no last answer.
pub(super) const STATUS_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

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
            /// Ticks of the shard, ten per second while its loop runs. Not in `/metrics`: the watchdog looks at it.
            pub ticks: Counter,
            /// SSE connections opened.
            pub streams_opened: Counter,
            /// SSE connections open.
            pub streams: Gauge,
            /// What is counted of each protocol, by [`DialectId`].
            pub(super) dialects: [DialectCounters; DIALECTS_MAX],
            /// Counters of protocols, by [`CounterId`].
            pub(super) registered: Box<[Counter]>,
            /// HTTP requests answered, by the class of their status: [`STATUS_CLASSES`].
            pub(super) http_requests: [Counter; STATUS_CLASSES.len()],
            /// Connections refused, by [`Refused`].
            pub refused: [Counter; Refused::LABELS.len()],
            /// Times a limit was exceeded, by [`Limited`].
            pub limited: [Counter; Limited::LABELS.len()],
            /// Connections that ended, by reason.
            pub disconnects: [Counter; END_REASONS_MAX],
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
                    ticks: Counter::default(),
                    streams_opened: Counter::default(),
                    streams: Gauge::default(),
                    dialects: Default::default(),
                    registered: Default::default(),
                    http_requests: Default::default(),
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
    tls_handshakes = "tls_handshakes_total", "TLS handshakes completed.";
    tls_resumptions = "tls_resumptions_total", "TLS handshakes completed from a ticket.";
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
    backend_sent = "backend_sent_total", "Objects sent to applications.";
    backend_acked = "backend_acked_total", "Objects that applications have acknowledged.";
    backend_redelivered = "backend_redelivered_total", "Objects sent to applications again.";
    backend_refused = "backend_refused_total", "Messages of clients that were refused: applications had no room.";
    backend_unattended = "backend_unattended_total", "Messages of clients that were refused: there was no application.";
    backend_dropped = "backend_dropped_total", "Objects that gave way to newer ones, or waited too long for an application.";
    backend_dead_letters = "backend_dead_letters_total", "Objects that no application has acknowledged, however often they were sent.";
    backend_operations = "backend_operations_total", "Operations of applications.";
    }
    gauges {
    connections = "connections", "Connections open, WebSocket and SSE.";
    handshakes = "handshakes", "Connections that have not upgraded.";
    tls_handshakes_open = "tls_handshakes_open", "Connections within their TLS handshake.";
    subscriptions = "subscriptions", "Topic memberships of connections.";
    topics = "topics", "Topics known.";
    held_bytes = "held_bytes", "Bytes in topic logs and outboxes.";
    history_bytes = "history_bytes", "Bytes kept for clients that come back.";
    unfinished_bytes = "unfinished_bytes", "Bytes of messages not finished by their senders.";
    http_body_bytes = "http_body_bytes", "Bytes of bodies of requests, and of answers that wait for their clients.";
    seats = "events_connections", "Connections of the events protocol.";
    seated_addresses = "events_addresses", "Addresses of these, where a limit has them counted.";
    backend_pending = "backend_pending", "Objects that applications have not acknowledged.";
    backend_pending_bytes = "backend_pending_bytes", "Bytes of objects that applications have not acknowledged.";
    backend_lag_seconds = "backend_lag_seconds", "Age of the oldest object that an application has not acknowledged.";
    backend_members = "backend_members", "Members of applications attached.";
    backend_groups = "backend_groups", "Groups of applications.";
    seated_users = "events_users", "Users of these, where a limit has them counted.";
    }
}

impl Counters {
    /// Counters with those that protocols have registered.
    pub fn with(registry: &CounterRegistry) -> Self {
        Self {
            registered: registry
                .counters
                .iter()
                .map(|_| Counter::default())
                .collect(),
            ..Self::default()
        }
    }

    /// A protocol's counter.
    pub fn registered(&self, id: CounterId) -> &Counter {
        &self.registered[id.0]
    }

    /// What is counted of a protocol.
    pub fn of_dialect(&self, id: DialectId) -> &DialectCounters {
        &self.dialects[id.index()]
    }

    /// Sets the open connections of each protocol, by its number.
    pub fn set_open_by_dialect(&self, open: &[u64; DIALECTS_MAX]) {
        for (counters, open) in self.dialects.iter().zip(open) {
            counters.open.set(*open);
        }
    }

    /// Counts the answer to an HTTP request, also one that was not read to its end; upgrades and streams of events are
    /// counted as connections.
    pub fn answered(&self, status: u16) {
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        self.http_requests[class].add(1);
    }

    /// Counts that somebody went beyond a limit.
    pub fn limited(&self, limit: Limited) {
        self.limited[limit.index()].add(1);
    }
}
