//! The names that numbers have at WSE's servers: `/metrics?names=wse`. Those of versions 1.x begin with `ws_`, `pubsub_`
//! and `dlq_`. Left out is what does not exist here, or is not counted: clusters, counts of single topics and of rosters.

use crate::metrics::{Counter, Counters, Limited, OldName, OldNumber, Refused};

/// The names, and where each number is found.
pub(super) const OLD_NAMES: &[OldName] = &[
    gauge(
        "wse_connections",
        "Connections of this protocol that are open.",
        OldNumber::OfDialect(|it| it.open.read()),
    ),
    counter(
        "wse_connections_accepted_total",
        "Connections of this protocol that were opened.",
        OldNumber::OfDialect(|it| it.opened.read()),
    ),
    counter(
        "wse_connections_rejected_total",
        "Connections of all protocols that were refused.",
        OldNumber::Sum(|it| it.refused.iter().map(Counter::read).sum()),
    ),
    counter(
        "wse_auth_failures_total",
        "Connections and requests of all protocols without a token that is valid.",
        OldNumber::Sum(auth_failures),
    ),
    counter(
        "wse_messages_received_total",
        "Messages received from clients of this protocol.",
        OldNumber::OfDialect(|it| it.messages_in.read()),
    ),
    counter(
        "wse_messages_sent_total",
        "Publications times their subscribers, of all protocols.",
        OldNumber::Sum(|it| it.deliveries.read()),
    ),
    counter(
        "wse_bytes_received_total",
        "Bytes received from clients of all protocols.",
        OldNumber::Sum(|it| it.bytes_in.read()),
    ),
    counter(
        "wse_bytes_sent_total",
        "Bytes sent to clients of all protocols.",
        OldNumber::Sum(|it| it.bytes_out.read()),
    ),
    counter(
        "wse_rate_limited_total",
        "Messages dropped by the rate limit of a connection of this protocol.",
        OldNumber::Sum(|it| it.limited[Limited::MessageRate.index()].read()),
    ),
    gauge(
        "wse_inbound_queue_depth",
        "Objects that applications have not acknowledged.",
        OldNumber::Sum(|it| it.backend_pending.read()),
    ),
    counter(
        "wse_inbound_dropped_total",
        "Messages for applications that were refused or dropped.",
        OldNumber::Sum(inbound_dropped),
    ),
    counter(
        "wse_slow_consumer_drops_total",
        "Messages that slow consumers lost.",
        OldNumber::Sum(|it| it.messages_dropped.read()),
    ),
    gauge(
        "wse_topics",
        "Topics known.",
        OldNumber::Sum(|it| it.topics.read()),
    ),
    gauge(
        "wse_recovery_bytes",
        "Bytes kept for clients that come back.",
        OldNumber::Sum(|it| it.history_bytes.read()),
    ),
    gauge("wse_uptime_seconds", "Since the start.", OldNumber::Uptime),
    gauge(
        "ws_connections_active",
        "As wse_connections.",
        OldNumber::OfDialect(|it| it.open.read()),
    ),
    counter(
        "ws_connections_total",
        "As wse_connections_accepted_total.",
        OldNumber::OfDialect(|it| it.opened.read()),
    ),
    counter(
        "ws_disconnections_total",
        "Connections of this protocol that ended.",
        OldNumber::OfDialect(|it| it.opened.read().saturating_sub(it.open.read())),
    ),
    counter(
        "ws_messages_received_total",
        "As wse_messages_received_total.",
        OldNumber::OfDialect(|it| it.messages_in.read()),
    ),
    counter(
        "ws_messages_sent_total",
        "As wse_messages_sent_total.",
        OldNumber::Sum(|it| it.deliveries.read()),
    ),
    counter(
        "ws_bytes_received_total",
        "As wse_bytes_received_total.",
        OldNumber::Sum(|it| it.bytes_in.read()),
    ),
    counter(
        "ws_bytes_sent_total",
        "As wse_bytes_sent_total.",
        OldNumber::Sum(|it| it.bytes_out.read()),
    ),
    counter(
        "ws_queue_dropped_total",
        "As wse_slow_consumer_drops_total.",
        OldNumber::Sum(|it| it.messages_dropped.read()),
    ),
    counter(
        "pubsub_published_total",
        "Publications accepted, of all protocols.",
        OldNumber::Sum(|it| it.publications.read()),
    ),
    counter(
        "dlq_messages_total",
        "Objects that no application has acknowledged, however often they were sent.",
        OldNumber::Sum(|it| it.backend_dead_letters.read()),
    ),
];

const fn counter(name: &'static str, help: &'static str, number: OldNumber) -> OldName {
    OldName {
        name,
        kind: "counter",
        help,
        number,
    }
}

const fn gauge(name: &'static str, help: &'static str, number: OldNumber) -> OldName {
    OldName {
        name,
        kind: "gauge",
        help,
        number,
    }
}

fn auth_failures(counters: &Counters) -> u64 {
    let causes = [
        Refused::NoToken,
        Refused::ExpiredToken,
        Refused::RevokedToken,
        Refused::InvalidToken,
    ];
    let counted = causes.map(|cause| counters.refused[cause.index()].read());
    counted.iter().sum()
}

fn inbound_dropped(counters: &Counters) -> u64 {
    counters.backend_refused.read()
        + counters.backend_unattended.read()
        + counters.backend_dropped.read()
}
