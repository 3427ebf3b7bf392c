//! `[backend]`: the link between the gateway and an application that takes part in what clients do.

use std::time::Duration;

use super::kind::{Choice, Count, FlagKind, ListOf, OneOf, Parsed, Size, Time};
use super::section::{SectionRules, section};
use super::size::{GIB, KIB, MIB};

section! {
    /// The link to an application, which is told what clients say and rules their connections.
    pub struct Backend("backend", mode) {
        /// Whether applications may attach: /api/v1/backend, /api/v1/inbound and /api/v1/dead-letters.
        /// Without it clients are told at once that there is no application.
        enabled: bool = false, FlagKind;
        /// Objects that one group has not acknowledged. A tenth of them is kept for connections that come
        /// and go; beyond the rest: as `full` says.
        max_pending: usize = 131_072, Count(64..=16_777_216);
        /// Bytes of those objects. Beyond it: likewise.
        max_pending_size: usize = 64 * MIB, Size(4 * MIB..=64 * GIB);
        /// What happens to a client's message that finds no room: "refuse": its client is told;
        /// "drop-oldest": the oldest messages give way, and the application is told how many.
        full: BackendFull = BackendFull::Refuse, OneOf;
        /// How long objects of a group without a member wait for one. Beyond it they are dropped, and
        /// clients are told at once.
        linger: Duration = Duration::from_mins(1), Time(Duration::ZERO..=Duration::from_hours(24));
        /// A member that acknowledges nothing for this time loses what it was sent to other members, and
        /// gets nothing more until it acknowledges. One that polls and does not for this time has left.
        ack_timeout: Duration = Duration::from_secs(30), Time(Duration::from_millis(100)..=Duration::from_hours(1));
        /// How often an object is sent. One that was not acknowledged then is a dead letter.
        max_deliveries: u32 = 5, Count(1..=100);
        /// Objects that a member may have unacknowledged, unless it asks for more or less.
        credit: u32 = 1000, Count(1..=1_000_000);
        /// Objects in one frame to a member.
        max_batch: usize = 256, Count(1..=4096);
        /// Bytes of a member's message. Beyond it: closed with 1009.
        max_message_size: usize = MIB, Size(KIB..=64 * MIB);
        /// Groups at once. Beyond it: closed with 1013; over HTTP status 429.
        max_groups: usize = 16, Count(1..=64);
        /// Members of all groups at once. Beyond it: status 429.
        max_members: usize = 256, Count(1..=10_000);
        /// Objects that are kept for GET /api/v1/dead-letters, of each group; the oldest go first.
        max_dead_letters: usize = 1000, Count(0..=1_000_000);
        /// Bytes of those objects, likewise.
        max_dead_letters_size: usize = 8 * MIB, Size(KIB..=GIB);
        /// Headers of a client's request that the application is told, such as "user-agent". Those that
        /// carry credentials cannot be named.
        headers: Vec<String> = Vec::new(), ListOf { item: HEADER, len: 0..=32 };
    }
}

impl SectionRules for Backend {}

/// What happens to a client's message that finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendFull {
    /// Its client is told.
    Refuse,
    /// The oldest messages give way.
    DropOldest,
}

impl Choice for BackendFull {
    const NAMES: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("drop-oldest", Self::DropOldest)];
}

/// Headers that carry credentials.
const SECRET_HEADERS: [&str; 6] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "x-api-key",
];

/// The name of a header, in lower case, that carries no credentials.
const HEADER: Parsed<String> = Parsed {
    read: |text| {
        let name = text.to_ascii_lowercase();
        let is_token = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let is_named = is_token && (1..=64).contains(&name.len());
        (is_named && !SECRET_HEADERS.contains(&&*name)).then_some(name)
    },
    show: String::clone,
    accepts: "the name of a header that carries no credentials",
};
