//! `[wse]`: clients of the WSE engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::kind::{
    Choice, Count, FILE, FlagKind, ListOf, MapOf, Maybe, OneOf, PATH, Parsed, Size, TAKEN_PATHS,
    Time,
};
use crate::config::section::{ReadFile, section};
use crate::config::{KIB, MIB, Mode, Problem, SECRET, Secret, SectionRules, secret_of};

section! {
    /// Clients of the WSE engine: its published clients connect unmodified.
    pub struct WseSettings("wse", mode) {
        /// Whether the path below exists, and what is below it.
        enabled: bool = true, FlagKind;
        /// The path that clients connect to.
        path: String = "/wse".to_owned(), PATH;
        /// Whether credentials are required, as they always are in prod mode. Without any a client is
        /// the user anonymous-ID, with the id of its connection.
        auth_required: bool = mode != Mode::Demo, FlagKind;
        /// Whether a connection ends when its token expires, with close 4401; if not, when its client
        /// leaves. Clients that keep their first token do not come back after that.
        end_with_token: bool = true, FlagKind;
        /// How a client with wrong or no credentials is refused: "frame": after the upgrade, with an
        /// error and close 4401, as its clients expect; "http": with status 401 or 403 before it.
        refuse_with: RefuseWith = RefuseWith::Frame, OneOf;
        /// Topics and patterns of one connection. Those beyond it are in failed_topics.
        max_subscriptions: usize = 100, Count(1..=1_000_000);
        /// Payload bytes of a message from a client. Beyond it: closed with 1009.
        max_message_size: usize = MIB, Size(KIB..=64 * MIB);
        /// How often a client is sent a PING message.
        ping_interval: Duration = Duration::from_secs(25), Time(Duration::from_secs(1)..=Duration::from_hours(1));
        /// Messages that a client may send at once, before rate_refill counts; 0: any number. Beyond it they
        /// are dropped, and the client is told.
        rate_capacity: u32 = 100_000, Count(0..=RATE_MAX);
        /// Messages a second that a client may send in the long run.
        rate_refill: u32 = 10_000, Count(1..=RATE_MAX);
        /// Whether a client's message of the type publish is published, as far as its token permits; if
        /// not, it goes to the application like any other.
        publish: bool = true, FlagKind;
        /// The key of signatures, at least 32 bytes: what clients sign with `sig` is checked with it, and
        /// what signed_types names is signed. Without it signatures are passed on.
        signing_key: Option<Secret> = None, Maybe(SECRET);
        /// A file that holds it, read at the start.
        signing_key_file: Option<PathBuf> = None, Maybe(FILE);
        /// Types of messages to one client that are signed.
        signed_types: Vec<String> = Vec::new(), ListOf { item: TYPE, len: 0..=100 };
        /// How long a sync_request waits for the application before it is answered with
        /// snapshot_complete all the same.
        snapshot_timeout: Duration = Duration::from_secs(5), Time(Duration::from_millis(10)..=Duration::from_mins(10));
        /// Names of events that clients get under another type, as { "OrderCreated" = "order_created" }.
        event_map: BTreeMap<String, String> = BTreeMap::new(), MapOf { key: TYPE, value: TYPE, len: 0..=10_000 };
    }
}

/// The highest rate that can be set.
const RATE_MAX: u64 = 1_000_000_000;

/// The type of a message.
const TYPE: Parsed<String> = Parsed {
    read: |text| {
        let is_type = (1..=128).contains(&text.len()) && !text.contains(char::is_control);
        is_type.then(|| text.to_owned())
    },
    show: String::clone,
    accepts: "a type of 1 to 128 bytes without control characters",
};

impl WseSettings {
    /// Whether credentials are required.
    pub(super) fn asks(&self, mode: Mode) -> bool {
        self.auth_required || mode == Mode::Prod
    }
}

impl SectionRules for WseSettings {
    fn open_endpoints(&self, mode: Mode) -> Vec<&'static str> {
        let is_open = self.enabled && !self.asks(mode);
        is_open
            .then_some("wse.auth_required = false")
            .into_iter()
            .collect()
    }

    fn read_secrets(&mut self, read: ReadFile<'_>) -> Result<(), Problem> {
        let (value, file) = ("wse.signing_key", "wse.signing_key_file");
        match (&self.signing_key_file, &self.signing_key) {
            (None, _) => {}
            (Some(_), Some(_)) => return Err(Problem::SecretTwice { value, file }),
            (Some(path), None) => self.signing_key = Some(secret_of(file, path, read)?),
        }
        Ok(())
    }

    /// A path has one meaning.
    fn broken_rules(&self) -> Vec<Problem> {
        let is_taken = |taken: &&&str| {
            let rest = self.path.strip_prefix(**taken);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let others = TAKEN_PATHS.iter().filter(|taken| **taken != "/wse");
        let taken = others.chain(&["/ws", "/sse"]).find(is_taken);
        let problem = taken.map(|taken| Problem::PathTaken {
            key: "wse.path",
            path: self.path.clone(),
            taken,
        });
        problem.into_iter().collect()
    }
}

/// How a client is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefuseWith {
    /// After the upgrade, with an error and a close code.
    Frame,
    /// Before it, with a status.
    Http,
}

impl Choice for RefuseWith {
    const NAMES: &'static [(&'static str, Self)] = &[("frame", Self::Frame), ("http", Self::Http)];
}
