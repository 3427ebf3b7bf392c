//! `[bridge]`: services push over HTTP, users answer over WebSocket.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::kind::{
    Choice, Count, FlagKind, Kind, Maybe, OneOf, PATH, Size, TAKEN_PATHS, Time,
};
use crate::config::section::section;
use crate::config::{API_KEY, KIB, MIB, Mode, Problem, RawValue, Secret, SectionRules};

section! {
    /// The bridge: services push and ask over HTTP, users receive and answer over WebSocket.
    pub struct BridgeSettings("bridge", mode) {
        /// Whether the paths below exist.
        enabled: bool = true, FlagKind;
        /// Whether users prove with a token who they are, and services with a key or a token that they
        /// are services. In prod mode they always do; if not, whoever says a user's name is that user.
        auth_required: bool = mode == Mode::Prod, FlagKind, Flag "WS_AUTH_REQUIRED";
        /// The path that users connect to, as /ws?user_id=alice.
        ws_path: String = "/ws".to_owned(), PATH, AsKey "WS_PATH";
        /// The path that a message for one user is posted to.
        push_path: String = "/sse/push".to_owned(), PATH, AsKey "SSE_PATH";
        /// The path that messages for many users are posted to.
        batch_path: String = "/sse/push/batch".to_owned(), PATH, AsKey "SSE_BATCH_PATH";
        /// The path that a question is posted to; the user's answers are the stream that comes back.
        send_path: String = "/sse/send".to_owned(), PATH;
        /// Accounts that take over a message whose text mentions them, as @helpdesk. ci_bot, email_bot,
        /// notification_bot and system_bot always do; these do besides.
        public_accounts: BTreeSet<String> = BTreeSet::new(), Accounts, AsKey "PUBLIC_ACCOUNTS";
        /// Whether what users say that answers no question goes to the application (`backend`). If not, it
        /// is ignored.
        forward: bool = false, FlagKind;
        /// A second connection of a user: "refuse": closed with 1008, the first stays, if it answers a
        /// ping within 2 s; "replace": the first is closed with 1008; "allow": both stay, and both
        /// receive.
        duplicate: Duplicate = Duplicate::Refuse, OneOf;
        /// How long a question waits for its first answer, and after each for the next one. Then its
        /// stream ends with an error event.
        response_timeout: Duration = Duration::from_secs(30),
            Time(Duration::from_millis(10)..=Duration::from_hours(1)), Seconds "SSE_RESPONSE_TIMEOUT";
        /// Payload bytes of a message from a user. Beyond it: closed with 1009.
        max_message_size: usize = MIB, Size(KIB..=64 * MIB), Bytes "WS_MAX_MESSAGE_SIZE";
        /// A key that services may post to the bridge with, as "Authorization: Bearer" or "X-API-Key",
        /// besides those of auth.api_keys; and must, where auth_required is false and nothing else is
        /// asked for. Better kept in the environment as SSE_API_KEY.
        api_key: Option<Secret> = None, Maybe(API_KEY), AsKey "SSE_API_KEY";
        /// Requests that an address may post to the bridge in a minute; 0: no limit. Beyond it: status
        /// 429 with Retry-After.
        requests_per_minute: u32 = 0, Count(0..=REQUESTS_MAX), AsKey "SSE_RATE_LIMIT";
        /// Questions of the process that wait for answers. Beyond it: status 503 with Retry-After.
        max_calls: usize = 10_000, Count(1..=10_000_000);
        /// Bytes of answers that wait for one caller to read them. Beyond it the stream ends with an
        /// error event.
        max_answer_bytes: usize = MIB, Size(KIB..=64 * MIB);
    }
}

impl BridgeSettings {
    /// Whether credentials are required, as they always are in prod mode.
    pub(super) fn asks(&self, mode: Mode) -> bool {
        self.auth_required || mode == Mode::Prod
    }

    /// Whether a message that mentions `account` goes there instead.
    ///
    /// Cost: a search in a sorted set; no allocation.
    pub fn is_public(&self, account: &str) -> bool {
        BUILT_IN.contains(&account) || self.public_accounts.contains(account)
    }

    /// The paths with their keys.
    fn paths(&self) -> [(&'static str, &str); 4] {
        [
            ("bridge.ws_path", &self.ws_path),
            ("bridge.push_path", &self.push_path),
            ("bridge.batch_path", &self.batch_path),
            ("bridge.send_path", &self.send_path),
        ]
    }
}

impl SectionRules for BridgeSettings {
    fn open_endpoints(&self, mode: Mode) -> Vec<&'static str> {
        let is_open = self.enabled && !self.asks(mode);
        is_open
            .then_some("bridge.auth_required = false")
            .into_iter()
            .collect()
    }

    /// A path has one meaning.
    fn broken_rules(&self) -> Vec<Problem> {
        let paths = self.paths();
        let mut problems = Vec::new();
        for (at, (key, path)) in paths.into_iter().enumerate() {
            let is_taken = |taken: &&str| {
                path.strip_prefix(*taken)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some(taken) = TAKEN_PATHS.iter().find(|taken| is_taken(taken)) {
                problems.push(Problem::PathTaken {
                    key,
                    path: path.to_owned(),
                    taken,
                });
            }
            if let Some((first, _)) = paths[..at].iter().find(|(_, other)| *other == path) {
                problems.push(Problem::PathTwice {
                    first,
                    second: key,
                    path: path.to_owned(),
                });
            }
        }
        problems
    }
}

/// What becomes of a second connection of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duplicate {
    /// It is closed, and the first one is not disturbed.
    Refuse,
    /// It takes the place of the first one, which is closed.
    Replace,
    /// Both are connections of the user.
    Allow,
}

impl Choice for Duplicate {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("refuse", Self::Refuse),
        ("replace", Self::Replace),
        ("allow", Self::Allow),
    ];
}

/// Accounts that can be mentioned, each once.
struct Accounts;

impl Kind<BTreeSet<String>> for Accounts {
    fn read(&self, raw: RawValue<'_>) -> Option<BTreeSet<String>> {
        let accounts = raw
            .list()?
            .into_iter()
            .map(|item| item.text().filter(|text| is_account(text)))
            .map(|text| text.map(str::to_owned))
            .collect::<Option<BTreeSet<_>>>()?;
        (accounts.len() <= ACCOUNTS_MAX).then_some(accounts)
    }

    fn show(&self, value: &BTreeSet<String>) -> Option<String> {
        let names: Vec<_> = value.iter().map(|name| format!("\"{name}\"")).collect();
        Some(format!("[{}]", names.join(", ")))
    }

    fn accepts(&self) -> String {
        format!(
            "a list of at most {ACCOUNTS_MAX} accounts, each 1 to {ACCOUNT_LEN_MAX} letters, digits and _: an @ mentions \
             no others"
        )
    }

    fn describe(&self, raw: RawValue<'_>) -> String {
        let parts = raw.list().unwrap_or_default();
        let is_wrong = |part: &RawValue<'_>| !part.text().is_some_and(is_account);
        match parts.iter().position(is_wrong) {
            Some(at) if parts.len() > 1 => {
                format!("a list with {} as item {}", parts[at].show(), at + 1)
            }
            _ => raw.show(),
        }
    }
}

fn is_account(name: &str) -> bool {
    (1..=ACCOUNT_LEN_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Accounts that are always public.
const BUILT_IN: [&str; 4] = ["ci_bot", "email_bot", "notification_bot", "system_bot"];

/// Bytes of an account's name.
const ACCOUNT_LEN_MAX: usize = 128;

/// Accounts of one configuration.
const ACCOUNTS_MAX: usize = 10_000;

/// What is counted of an address fits 24 bits.
const REQUESTS_MAX: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError, MakeSection, Section, Sources};

    #[track_caller]
    fn check(key: &str, word: &str, accepted: bool) {
        let mut bridge = BridgeSettings::for_mode(Mode::Prod);
        let result = bridge.set(key, RawValue::Word(word));
        assert_eq!(result.is_ok(), accepted, "{key} = {word:?}");
    }

    fn sections() -> Vec<MakeSection> {
        vec![BridgeSettings::make]
    }

    /// The settings that these keys make of those of demo mode.
    fn read(keys: &str) -> Result<BridgeSettings, ConfigError> {
        let text = format!("mode = \"demo\"\n[bridge]\n{keys}");
        Config::from_toml_with(&text, &sections()).map(|config| config.section())
    }

    /// The settings that this variable makes of those of demo mode.
    fn from_variable(name: &str, value: &str) -> Result<BridgeSettings, ConfigError> {
        let sources = Sources {
            env: [("FANFARE_MODE", "demo"), (name, value)]
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            sections: sections(),
            ..Sources::default()
        };
        sources.values().map(|config| config.section())
    }

    #[test]
    fn each_common_variable_sets_its_key() {
        let meanings = [
            ("WS_AUTH_REQUIRED", "yes", "auth_required", "true"),
            ("WS_PATH", "/socket", "ws_path", "\"/socket\""),
            ("SSE_PATH", "/push", "push_path", "\"/push\""),
            ("SSE_BATCH_PATH", "/push/all", "batch_path", "\"/push/all\""),
            (
                "PUBLIC_ACCOUNTS",
                " helpdesk ,, ops_1,",
                "public_accounts",
                "[\"helpdesk\", \"ops_1\"]",
            ),
            (
                "SSE_RESPONSE_TIMEOUT",
                "2.25",
                "response_timeout",
                "\"2250ms\"",
            ),
            (
                "WS_MAX_MESSAGE_SIZE",
                "2048",
                "max_message_size",
                "\"2KiB\"",
            ),
            ("SSE_API_KEY", "0123456789abcdef", "api_key", "\"(hidden)\""),
            ("SSE_RATE_LIMIT", "60", "requests_per_minute", "60"),
        ];
        for (name, value, key, expected) in meanings {
            let settings = from_variable(name, value).unwrap();
            assert_eq!(settings.show(key).as_deref(), Some(expected), "{name}");
        }
        let keys = BridgeSettings::for_mode(Mode::Prod).keys();
        let aliases = keys.iter().flat_map(|key| key.aliases);
        let aliases: Vec<_> = aliases.map(|(name, _)| *name).collect();
        assert_eq!(aliases, meanings.map(|(name, ..)| name));
    }

    #[test]
    fn a_wrong_variable_is_told_as_it_was_written() {
        let wrong = |name: &str, value: &str, message: &str| {
            let error = from_variable(name, value).unwrap_err();
            assert_eq!(error.to_string(), message);
        };
        wrong(
            "SSE_RESPONSE_TIMEOUT",
            "soon",
            "SSE_RESPONSE_TIMEOUT: `bridge.response_timeout` cannot be \"soon\"; accepted: seconds, as 30 or 0.5, or a \
             duration with its unit (us, ms, s, m, h) from \"10ms\" to \"1h\"",
        );
        wrong(
            "WS_MAX_MESSAGE_SIZE",
            "100",
            "WS_MAX_MESSAGE_SIZE: `bridge.max_message_size` cannot be \"100\"; accepted: a number of bytes, or a size with \
             its unit (B, KiB, MiB, GiB) from \"1KiB\" to \"64MiB\"",
        );
        wrong(
            "PUBLIC_ACCOUNTS",
            "help-desk",
            "PUBLIC_ACCOUNTS: `bridge.public_accounts` cannot be \"help-desk\"; accepted: a list of at most 10000 accounts, \
             each 1 to 128 letters, digits and _: an @ mentions no others",
        );
        wrong(
            "WS_PATH",
            "/a b",
            "WS_PATH: `bridge.ws_path` cannot be \"/a b\"; accepted: a path of 2 to 128 bytes, as \"/ws\": / and letters, \
             digits or -._~, without an empty, . or .. part and without / at its end",
        );
        wrong(
            "SSE_API_KEY",
            "hunter2",
            "SSE_API_KEY: `bridge.api_key` cannot be the value given (not shown); accepted: 16 to 1024 visible ASCII \
             characters, as printed by `openssl rand -hex 32`",
        );
        wrong(
            "SSE_RATE_LIMIT",
            "-1",
            "SSE_RATE_LIMIT: `bridge.requests_per_minute` cannot be \"-1\"; accepted: a whole number from 0 to 10000000",
        );
    }

    #[test]
    fn a_path_of_the_bridge_has_one_meaning() {
        for (file, message) in [
            (
                "ws_path = \"/api/v1/ws\"",
                "`bridge.ws_path` is \"/api/v1/ws\", and `/api` with all that is below it belongs to other endpoints of \
                 the gateway: choose another path",
            ),
            (
                "push_path = \"/metrics\"",
                "`bridge.push_path` is \"/metrics\", and `/metrics` with all that is below it belongs to other endpoints \
                 of the gateway: choose another path",
            ),
            (
                "send_path = \"/sse/push\"",
                "`bridge.push_path` and `bridge.send_path` are both \"/sse/push\": choose different paths",
            ),
        ] {
            assert_eq!(read(file).unwrap_err().to_string(), message);
        }
        for taken in [
            "/health/live",
            "/docs",
            "/openapi.json",
            "/debug/echo",
            "/auth/x",
            "/wse",
            "/active-users",
            "/static/a.js",
        ] {
            let error = read(&format!("batch_path = \"{taken}\"")).unwrap_err();
            assert!(
                matches!(error.problems[..], [Problem::PathTaken { .. }]),
                "{error}"
            );
        }
        let free = "ws_path = \"/healthy\"\npush_path = \"/apis/push\"\nsend_path = \"/API/x\"";
        assert_eq!(read(free).unwrap().ws_path, "/healthy");
    }

    #[test]
    fn a_path_has_one_spelling() {
        let longest = format!("/{}", "a".repeat(128 - 1));
        for path in [
            "/w",
            "/ws",
            "/a/b-c._~/D9",
            "/..a",
            "/.well-known/ws",
            &longest,
        ] {
            check("ws_path", path, true);
        }
        let too_long = format!("{longest}a");
        for path in [
            "", "/", "ws", "//ws", "/ws/", "/a//b", "/a/./b", "/a/../b", "/..", "/.", "/a b",
            "/a%20", "/{a}", "/a?b", "/a#b", "/*a", "/é", "/a\nb", &too_long,
        ] {
            check("ws_path", path, false);
        }
    }

    #[test]
    fn an_account_is_what_can_be_mentioned() {
        let longest = "x".repeat(ACCOUNT_LEN_MAX);
        for accounts in ["", "a", "a_9, B", "a,a", ",a,, b ,", &longest] {
            check("public_accounts", accounts, true);
        }
        let too_long = format!("{longest}x");
        for accounts in ["a-b", "a b", "@a", "a,é", &too_long] {
            check("public_accounts", accounts, false);
        }
    }

    #[test]
    fn an_account_between_quotes_is_not_nothing() {
        let error = read("public_accounts = [\"\"]");
        assert!(error.is_err());
    }

    #[test]
    fn four_accounts_are_always_public() {
        let mut bridge = BridgeSettings::for_mode(Mode::Prod);
        bridge
            .set("public_accounts", RawValue::Word("helpdesk,ci_bot"))
            .unwrap();
        for name in BUILT_IN.into_iter().chain(["helpdesk"]) {
            assert!(bridge.is_public(name), "{name}");
        }
        for name in ["", "Helpdesk", "ci_bot2", "ci", "nobody"] {
            assert!(!bridge.is_public(name), "{name}");
        }
    }

    #[test]
    fn a_key_of_services_fits_a_header() {
        for key in ["0123456789abcdef", "0123456789-_.~+/=!{}"] {
            check("api_key", key, true);
        }
        for key in [
            "",
            "0123456789abcde",
            "0123456789 abcdef",
            "0123456789abcdé",
            "01234567\n89abcdef",
        ] {
            check("api_key", key, false);
        }
    }
}
