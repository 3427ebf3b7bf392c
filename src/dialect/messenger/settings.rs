//! `[messenger]`: accounts with keys, and stored messages between them.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::kind::{
    Choice, Count, FILE, FOLDER, FlagKind, Maybe, Number, OneOf, Size, Time,
};
use crate::config::section::section;
use crate::config::{KIB, MIB, Mode, SectionRules};
use crate::store;

section! {
    /// The messenger: accounts with Ed25519 keys, and stored messages between them.
    pub struct MessengerSettings("messenger", mode) {
        /// Whether its paths exist: /auth, /active-users, /static, and /ws for its tokens. Whoever registers an
        /// id is that user of the whole gateway.
        enabled: bool = mode == Mode::Demo, FlagKind;
        /// Whether new accounts may be registered. If not: status 403.
        registration: bool = true, FlagKind;
        /// A second connection of a user: "replace": the first is closed with 1008; "allow": both stay, and
        /// both receive what comes; a further one gets first what waits for the user.
        duplicate: Duplicate = Duplicate::Replace, OneOf;
        /// Messages a second that a user may send in the long run; 0: no limit. Beyond it they are dropped,
        /// and the user is told.
        rate_limit: f64 = 5.0, Number(0.0..=RATE_MAX), Lenient "MESSAGE_RATE_LIMIT";
        /// Messages that a user may send at once, before rate_limit counts.
        rate_burst: u32 = 10, Count(1..=1_000_000), Lenient "MESSAGE_BURST_LIMIT";
        /// Whether connections of the events protocol get the broadcasts of the messenger, too.
        share_broadcasts: bool = false, FlagKind, Flag "BRIDGE_BROADCAST";
        /// Payload bytes of a message from a user. Beyond it: closed with 1009.
        max_message_size: usize = MIB, Size(KIB..=64 * MIB);
        /// How long a token is valid that a login gives.
        token_lifetime: Duration = Duration::from_hours(24), Time(Duration::from_secs(1)..=Duration::from_hours(24 * 365));
        /// How long a challenge can be answered.
        challenge_lifetime: Duration = Duration::from_mins(5), Time(Duration::from_secs(1)..=Duration::from_hours(1));
        /// Challenges of accounts that wait for their answers. Beyond it the oldest are given up.
        max_challenges: usize = 100_000, Count(16..=10_000_000);
        /// Requests to /auth and /active-users from an address in a minute, an IPv6 network of 64 bits being
        /// one; 0: no limit. Beyond it: status 429 with Retry-After.
        requests_per_minute: u32 = if mode == Mode::Prod { 600 } else { 0 }, Count(0..=REQUESTS_MAX);
        /// Those of them that register an account; 0: no limit.
        registrations_per_minute: u32 = if mode == Mode::Prod { 60 } else { 0 }, Count(0..=REQUESTS_MAX);
        /// Accounts in the answer of /active-users; 0: that path does not exist.
        list_max: usize = 10_000, Count(0..=100_000);
        /// How often numbers of the gateway are put into the database, those that have changed; "0s": never.
        metrics_interval: Duration = Duration::from_mins(1), Time(Duration::ZERO..=Duration::from_hours(24));
        /// A folder whose files are at /static/; none: there is nothing.
        static_dir: Option<PathBuf> = None, Maybe(FOLDER);
        /// A file that gets a line for each registration and login, opened again at SIGHUP.
        security_log_file: Option<PathBuf> = None, Maybe(FILE), AsKey "SECURITY_LOG_FILE";
    }
}

/// The highest rate of messages that can be set.
const RATE_MAX: f64 = 1e6;

/// What is counted of an address fits 24 bits.
const REQUESTS_MAX: u64 = 10_000_000;

impl SectionRules for MessengerSettings {}

/// What becomes of a second connection of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duplicate {
    /// It takes the place of the first one, which is closed.
    Replace,
    /// Both are connections of the user.
    Allow,
}

impl From<Duplicate> for store::Duplicate {
    fn from(duplicate: Duplicate) -> Self {
        match duplicate {
            Duplicate::Replace => Self::Replace,
            Duplicate::Allow => Self::Allow,
        }
    }
}

impl Choice for Duplicate {
    const NAMES: &'static [(&'static str, Self)] =
        &[("replace", Self::Replace), ("allow", Self::Allow)];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError, MakeSection, Section, Sources};

    fn sections() -> Vec<MakeSection> {
        vec![MessengerSettings::make]
    }

    /// The configuration that this variable makes of that of demo mode.
    fn from_variable(name: &str, value: &str) -> Result<Config, ConfigError> {
        let sources = Sources {
            env: [("FANFARE_MODE", "demo"), (name, value)]
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            sections: sections(),
            ..Sources::default()
        };
        sources.values()
    }

    #[test]
    fn each_common_variable_sets_its_key() {
        let meanings = [
            ("MESSAGE_RATE_LIMIT", "10.5", "rate_limit", "10.5"),
            ("MESSAGE_BURST_LIMIT", "20", "rate_burst", "20"),
            ("BRIDGE_BROADCAST", "true", "share_broadcasts", "true"),
            ("SECURITY_LOG_FILE", "/x/y", "security_log_file", "\"/x/y\""),
        ];
        for (name, value, key, expected) in meanings {
            let settings: MessengerSettings = from_variable(name, value).unwrap().section();
            assert_eq!(settings.show(key).as_deref(), Some(expected), "{name}");
        }
        let keys = MessengerSettings::for_mode(Mode::Prod).keys();
        let aliases = keys.iter().flat_map(|key| key.aliases);
        let aliases: Vec<_> = aliases.map(|(name, _)| *name).collect();
        assert_eq!(aliases, meanings.map(|(name, ..)| name));
    }

    #[test]
    fn a_rate_that_is_no_number_leaves_the_default() {
        for (name, value) in [
            ("MESSAGE_RATE_LIMIT", "fast"),
            ("MESSAGE_RATE_LIMIT", "-1"),
            ("MESSAGE_BURST_LIMIT", "10.5"),
            ("MESSAGE_BURST_LIMIT", "0"),
        ] {
            let config = from_variable(name, value).unwrap();
            let settings: MessengerSettings = config.section();
            assert_eq!(settings, MessengerSettings::for_mode(Mode::Demo), "{name}");
            assert!(config.warnings().iter().any(|it| it.contains(name)));
        }
    }
}
