//! `[events]`: who may connect and publish, and how much.
//!
//! The section is named for the first protocol that it was for. By now all protocols read most of it: access and limits of
//! streams of events, of publishing over HTTP and, in part, of the bridge. `demo_enabled`, `endpoint` and
//! `max_subscriptions` are the events protocol's alone; they stay here, since a section with two owners costs more than
//! three keys that one protocol reads.

use super::Access;
use super::kind::{Count, FlagKind, OneOf, Parsed, Size};
use super::mode::Mode;
use super::section::{SectionRules, section};
use super::size::{KIB, MIB};

section! {
    /// Who may use the events protocol, and how much of it.
    pub struct ClientLimits("events", mode) {
        /// Whether /api/v1/ws, /api/v1/ws/dev and POST /api/v1/events ask for a token.
        auth_required: bool = mode != Mode::Demo, FlagKind, Flag "WS_AUTH_REQUIRED";
        /// Whether /api/v1/ws/demo exists. It never asks for a token.
        demo_enabled: bool = mode != Mode::Prod, FlagKind, Flag "WS_DEMO_ENABLED";
        /// The path that clients which are not told another one connect to.
        endpoint: String = default_endpoint(mode).to_owned(), ENDPOINT, AsKey "WS_ENDPOINT";
        /// Payload bytes of a message from a client. Beyond it: closed with 1009.
        max_message_size: usize = 64 * KIB, Size(KIB..=64 * MIB);
        /// Subscriptions of one connection, of which 1,000 may be patterns. Beyond it: error SUBSCRIPTION_LIMIT.
        max_subscriptions: usize = 50, Count(1..=1_000_000);
        /// Who may subscribe to topics, unless a token says more: "everyone": whoever may connect;
        /// "authenticated": whoever has a valid token; "service": tokens whose role is "service";
        /// "nobody": none, whatever a token says. Refused names are told as "rejected".
        subscribe: Access = unless_prod(mode, Access::Authenticated), OneOf;
        /// Whether patterns may reach across namespaces, as `*` and `a*` do, whose first segment has a
        /// wildcard. If not, one may be subscribed to only with a token whose claim `fanfare.subscribe`
        /// covers it; others are told as "rejected", with error FORBIDDEN.
        wide_patterns: bool = mode != Mode::Prod, FlagKind;
        /// Who may publish to topics, as for subscribe; over HTTP, too. Beyond it: error FORBIDDEN,
        /// status 403.
        publish: Access = unless_prod(mode, Access::Service), OneOf;
        /// Whether messages of types that the protocol does not have go to the application (`backend`), as
        /// those of type "app" do. If not, they are answered with error UNKNOWN_MESSAGE_TYPE.
        forward_unknown: bool = false, FlagKind;
        /// Whether the events that a client with a token publishes name its user as "publisher".
        publisher: bool = true, FlagKind;
        /// Messages a connection may send in a minute, counted from its first; 0: no limit. A token may
        /// carry its own. Beyond it they are dropped, and each is answered with error
        /// RATE_LIMIT_EXCEEDED.
        frames_per_minute: u32 = if mode == Mode::Prod { 100 } else { 0 }, Count(0..=FRAMES_MAX);
        /// Messages that all connections of an address may send in a minute; 0: no limit. Beyond it: as
        /// frames_per_minute.
        frames_per_minute_per_ip: u32 = 0, Count(0..=FRAMES_MAX);
        /// How many times a rate may be dropped in a minute: a connection that sends more than that beyond
        /// frames_per_minute (or, without one, frames_per_minute_per_ip) is closed with 1008. Beyond as
        /// many times frames_per_minute_per_ip, dropped messages of the address are answered unread,
        /// without their id. 0: no limit.
        max_rate_excess: u32 = 10, Count(0..=1000);
        /// Events that a service, or an address where no credential is asked for, may publish over HTTP
        /// in a minute; 0: no limit. Beyond it: status 429 with Retry-After.
        publishes_per_minute: u32 = 0, Count(0..=FRAMES_MAX);
        /// Open connections to all endpoints of the protocol; 0: no limit but server.max_connections.
        /// Beyond it: status 503 with Retry-After, before the upgrade.
        max_connections: usize = 0, Count(0..=100_000_000), AsKey "WS_MAX_CONNECTIONS";
        /// Open connections of one user, whom a token names; 0: no limit. Beyond it: error
        /// CONNECTION_LIMIT_EXCEEDED, and the connection is closed with 1008.
        max_connections_per_user: usize = 0, Count(0..=100_000_000);
        /// Open connections of one address, an IPv6 network of 64 bits being one; 0: no limit. Beyond
        /// it: as max_connections_per_user.
        max_connections_per_ip: usize = 0, Count(0..=100_000_000);
    }
}

impl SectionRules for ClientLimits {
    fn open_endpoints(&self, _: Mode) -> Vec<&'static str> {
        let open = (!self.auth_required).then_some("events.auth_required = false");
        let demo = self.demo_enabled.then_some("events.demo_enabled = true");
        open.into_iter().chain(demo).collect()
    }
}

/// The default of a permission that demo and dev give to all.
fn unless_prod(mode: Mode, access: Access) -> Access {
    match mode {
        Mode::Demo | Mode::Dev => Access::Everyone,
        Mode::Prod => access,
    }
}

fn default_endpoint(mode: Mode) -> &'static str {
    match mode {
        Mode::Demo => "/api/v1/ws/demo",
        Mode::Dev => "/api/v1/ws/dev",
        Mode::Prod => "/api/v1/ws",
    }
}

/// What is counted of an address fits 24 bits.
const FRAMES_MAX: u64 = 10_000_000;

/// The path of an endpoint.
const ENDPOINT: Parsed<String> = Parsed {
    read: |text| {
        let is_path = text.starts_with('/')
            && text.len() <= 256
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_path.then(|| text.to_owned())
    },
    show: String::clone,
    accepts: "a path, as \"/api/v1/ws\"",
};
