//! `[bridge]`: services push over HTTP, users answer over WebSocket.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Config;
use super::error::Problem;
use super::kind::{Choice, Count, FlagKind, Kind, Maybe, OneOf, Parsed, Size, Time};
use super::mode::Mode;
use super::raw::RawValue;
use super::secret::{ApiKeyText, Secret};
use super::section::section;
use super::size::{KIB, MIB};

section! {
    /// The bridge: services push and ask over HTTP, users receive and answer over WebSocket.
    pub struct Bridge(mode) {
        /// Whether the paths below exist.
        enabled: bool = true, FlagKind;
        /// Whether users prove with a token who they are, and services with a key or a token that they
        /// are services. In prod mode they always do; if not, whoever says a user's name is that user.
        auth_required: bool = mode == Mode::Prod, FlagKind;
        /// The path that users connect to, as /ws?user_id=alice.
        ws_path: String = "/ws".to_owned(), PATH;
        /// The path that a message for one user is posted to.
        push_path: String = "/sse/push".to_owned(), PATH;
        /// The path that messages for many users are posted to.
        batch_path: String = "/sse/push/batch".to_owned(), PATH;
        /// The path that a question is posted to; the user's answers are the stream that comes back.
        send_path: String = "/sse/send".to_owned(), PATH;
        /// Accounts that take over a message whose text mentions them, as @helpdesk. ci_bot, email_bot,
        /// notification_bot and system_bot always do; these do besides.
        public_accounts: BTreeSet<String> = BTreeSet::new(), Accounts;
        /// A second connection of a user: "refuse": closed with 1008, the first stays, if it answers a
        /// ping within 2 s; "replace": the first is closed with 1008; "allow": both stay, and both
        /// receive.
        duplicate: Duplicate = Duplicate::Refuse, OneOf;
        /// How long a question waits for its first answer, and after each for the next one. Then its
        /// stream ends with an error event.
        response_timeout: Duration = Duration::from_secs(30),
            Time(Duration::from_millis(10)..=Duration::from_hours(1));
        /// Payload bytes of a message from a user. Beyond it: closed with 1009.
        max_message_size: usize = MIB, Size(KIB..=64 * MIB);
        /// A key that services may post to the bridge with, as "Authorization: Bearer" or "X-API-Key",
        /// besides those of auth.api_keys; and must, where auth_required is false and nothing else is
        /// asked for. Better kept in the environment as SSE_API_KEY.
        api_key: Option<Secret> = None, Maybe(ApiKeyText);
        /// Requests that an address may post to the bridge in a minute; 0: no limit. Beyond it: status
        /// 429 with Retry-After.
        requests_per_minute: u32 = 0, Count(0..=REQUESTS_MAX);
        /// Questions of the process that wait for answers. Beyond it: status 503 with Retry-After.
        max_calls: usize = 10_000, Count(1..=10_000_000);
        /// Bytes of answers that wait for one caller to read them. Beyond it the stream ends with an
        /// error event.
        max_answer_bytes: usize = MIB, Size(KIB..=64 * MIB);
    }
}

impl Config {
    /// Whether the bridge requires credentials, as it always does in prod mode.
    pub fn bridge_asks(&self) -> bool {
        self.bridge.auth_required || self.mode == Mode::Prod
    }
}

impl Bridge {
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

    /// Every rule that the paths break: a path has one meaning.
    pub(super) fn broken_rules(&self) -> Vec<Problem> {
        let paths = self.paths();
        let mut problems = Vec::new();
        for (at, (key, path)) in paths.into_iter().enumerate() {
            let is_taken = |taken: &&str| {
                path.strip_prefix(*taken)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some(taken) = TAKEN.iter().find(|taken| is_taken(taken)) {
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

/// A path that is compared byte for byte, so it has one spelling only.
const PATH: Parsed<String> = Parsed {
    read: |text| is_path(text).then(|| text.to_owned()),
    show: String::clone,
    accepts: "a path of 2 to 128 bytes, as \"/ws\": / and letters, digits or -._~, without an empty, . or .. part \
              and without / at its end",
};

fn is_path(text: &str) -> bool {
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    text.len() <= PATH_LEN_MAX
        && text
            .strip_prefix('/')
            .is_some_and(|parts| parts.split('/').all(is_part))
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
}

fn is_account(name: &str) -> bool {
    (1..=ACCOUNT_LEN_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Accounts that are always public.
const BUILT_IN: [&str; 4] = ["ci_bot", "email_bot", "notification_bot", "system_bot"];

/// Paths that have a meaning already, or had one for clients of other gateways; with all that is below them.
const TAKEN: [&str; 10] = [
    "/api",
    "/health",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/debug",
    "/auth",
    "/wse",
    "/active-users",
    "/static",
];

/// Bytes of a path.
const PATH_LEN_MAX: usize = 128;

/// Bytes of an account's name.
const ACCOUNT_LEN_MAX: usize = 128;

/// Accounts of one configuration.
const ACCOUNTS_MAX: usize = 10_000;

/// What is counted of an address fits 24 bits.
const REQUESTS_MAX: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::config::section::Section;

    #[track_caller]
    fn check(key: &str, word: &str, accepted: bool) {
        let mut bridge = Bridge::for_mode(Mode::Prod);
        let result = bridge.set(key, RawValue::Word(word));
        assert_eq!(result.is_ok(), accepted, "{key} = {word:?}");
    }

    #[test]
    fn a_path_has_one_spelling() {
        let longest = format!("/{}", "a".repeat(PATH_LEN_MAX - 1));
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
        let error = Config::from_toml("mode = \"demo\"\n[bridge]\npublic_accounts = [\"\"]");
        assert!(error.is_err());
    }

    #[test]
    fn four_accounts_are_always_public() {
        let mut bridge = Bridge::for_mode(Mode::Prod);
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
