//! Topic names and the patterns that select them.
//!
//! The engine takes any name that [`is_name`] takes, and so does publishing over HTTP. A protocol may have a narrower
//! grammar: that of the events protocol and of SSE is [`check_topic`], 1 to 128 bytes of letters, digits and `_ . : -`
//! (docs/protocol.md, "subscribe"), in which `.` and `:` separate segments.

pub(crate) mod glob;
mod pattern;
pub mod scope;
pub(crate) mod segments;

use std::fmt::Write;

pub use pattern::{Matcher, Pattern};

/// The longest name of a topic, in bytes; inboxes of users with long names may exceed it.
pub const TOPIC_BYTES_MAX: usize = 256;

/// The longest topic name or pattern of the events protocol, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Names below this prefix are inboxes: only their user may subscribe, and
/// patterns never cover them (docs/tokens.md, "Permissions").
const INBOX_PREFIX: &str = "user:";

/// The longest prefix of inboxes: three bytes for each of the 128 of a user's name, and a topic's name.
const INBOX_PREFIX_BYTES_MAX: usize = INBOX_PREFIX.len() + 4 * NAME_BYTES_MAX;

/// Why a name is no topic and no pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// The name has no bytes.
    #[error("a topic name cannot be empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a topic name has at most 128 bytes")]
    TooLong,
    /// A byte outside the grammar.
    #[error("a topic name has only letters, digits and _ . : -")]
    Character,
    /// Longer than [`TOPIC_BYTES_MAX`].
    #[error("a topic name has at most 256 bytes")]
    TooLongForAny,
    /// A control character.
    #[error("a topic name has no control characters")]
    Control,
    /// One of the gateway's own.
    #[error("topic names that begin with # are the gateway's own")]
    Internal,
    /// A `*` that is neither a whole segment nor the last character.
    #[error("`*` stands for a whole segment or ends the pattern")]
    Wildcard,
}

/// Checks that some protocol's topics may have this name ([`is_name`]).
///
/// # Errors
/// What is wrong with the name.
pub fn check_name(name: &str) -> Result<(), NameError> {
    match name {
        "" => Err(NameError::Empty),
        name if name.len() > TOPIC_BYTES_MAX => Err(NameError::TooLongForAny),
        name if name.contains(char::is_control) => Err(NameError::Control),
        name if is_internal(name) => Err(NameError::Internal),
        _ => Ok(()),
    }
}

/// Checks that an event may have this name: as [`check_name`], of at most [`NAME_BYTES_MAX`].
///
/// # Errors
/// What is wrong with the name.
pub fn check_event(name: &str) -> Result<(), NameError> {
    check_name(name)?;
    check_length(name)
}

/// Whether a topic may have this name: 1 to [`TOPIC_BYTES_MAX`] bytes without control characters, not the gateway's own.
#[must_use]
pub fn is_name(name: &str) -> bool {
    check_name(name).is_ok()
}

/// Checks that `name` is a topic of the events protocol: no wildcard, nothing outside the grammar.
///
/// # Errors
/// What is wrong with the name.
pub fn check_topic(name: &str) -> Result<(), NameError> {
    check_length(name)?;
    if name.bytes().all(is_name_byte) {
        Ok(())
    } else {
        Err(NameError::Character)
    }
}

/// Checks that some topic's name is `prefix` or begins with it. The user in the name of an inbox is
/// escaped, as [`inbox_of`] does it.
///
/// # Errors
/// What is wrong with the prefix.
pub fn check_prefix(prefix: &str) -> Result<(), NameError> {
    let Some((user, rest)) = split_inbox(prefix) else {
        return check_topic(prefix);
    };
    let is_escaped = user_of(prefix).is_some_and(|name| inboxes_of(&name) == inboxes(user));
    if !is_escaped || !rest.bytes().all(is_name_byte) {
        return Err(NameError::Character);
    }
    match prefix.len() {
        ..=INBOX_PREFIX_BYTES_MAX => Ok(()),
        _ => Err(NameError::TooLong),
    }
}

/// What of `text` all topics' names could begin with, as far as it can be told: without wildcards,
/// path separators and whatever else names do not have. Empty: any name.
#[must_use]
pub fn likely_prefix(text: &str) -> String {
    let literal = text.split(['*', '?', '#', '+', '>', '{', '[', '(']);
    let literal = literal.map(str::trim).next().unwrap_or_default();
    let name = |text: &str| -> String {
        let separated = text.replace(['/', '\\', ' ', ','], ".");
        let names = separated
            .chars()
            .filter(|c| u8::try_from(*c).is_ok_and(is_name_byte));
        names.take(NAME_BYTES_MAX).collect()
    };
    match (split_inbox(literal), user_of(literal)) {
        (Some(("", _)), _) => INBOX_PREFIX.to_owned(),
        (Some((_, rest)), Some(user)) => {
            let inbox = inboxes_of(&user) + &name(rest);
            check_prefix(&inbox).map_or_else(|_| INBOX_PREFIX.to_owned(), |()| inbox)
        }
        _ => name(literal),
    }
}

/// The escaped user of an inbox, and what follows the separator behind it.
fn split_inbox(name: &str) -> Option<(&str, &str)> {
    let inbox = name.strip_prefix(INBOX_PREFIX)?;
    Some(inbox.split_once(':').unwrap_or((inbox, "")))
}

/// Whether `name` is somebody's inbox.
#[must_use]
pub fn is_inbox(name: &str) -> bool {
    name.starts_with(INBOX_PREFIX)
}

/// The topic of what is meant for `user` alone. Bytes of the user's name that
/// could be taken for something else are written as `%` and two digits, so that
/// two users never share an inbox.
#[must_use]
pub fn inbox_of(user: &str) -> String {
    inboxes_of(user) + "events"
}

/// The user whose inbox `name` is, the opposite of [`inbox_of`].
#[must_use]
pub fn user_of(name: &str) -> Option<String> {
    let (escaped, _) = split_inbox(name)?;
    let user = percent_encoding::percent_decode_str(escaped).decode_utf8();
    user.ok().map(std::borrow::Cow::into_owned)
}

/// Whether `name` is an inbox of `user`: only one user's it can be (hostile-inputs.md A16).
#[must_use]
pub fn is_inbox_of(user: &str, name: &str) -> bool {
    name.starts_with(&inboxes_of(user))
}

/// What the names of a user's inboxes begin with.
fn inboxes_of(user: &str) -> String {
    let mut name = String::new();
    for byte in user.bytes() {
        if is_name_byte(byte) && byte != b':' {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    inboxes(&name)
}

/// The same for a user whose name is escaped.
fn inboxes(escaped: &str) -> String {
    format!("{INBOX_PREFIX}{escaped}:")
}

/// What every connection of the events protocol gets, subscribed to or not.
pub const BROADCAST: &str = "#broadcast";

/// The gateway's own figures, published by itself alone.
pub const SYSTEM_METRICS: &str = "system.metrics";

/// Whether `name` is the gateway's own: refused to clients of every protocol, and never matched by a pattern.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    name.starts_with('#')
}

/// What a client asks to subscribe to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Selector<'a> {
    /// One topic by its name.
    Topic(&'a str),
    /// Every topic, present and future, that the pattern matches.
    Pattern(Pattern),
}

impl<'a> Selector<'a> {
    /// Reads a topic name or a pattern of segments, in the grammar of the events protocol.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn parse(name: &'a str) -> Result<Self, NameError> {
        if name.contains('*') {
            Pattern::segments(name).map(Self::Pattern)
        } else {
            check_topic(name).map(|()| Self::Topic(name))
        }
    }

    /// The name or pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Topic(name) => name,
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Whether a rule about access holds for every topic that this selects. A rule is a topic or a pattern of segments
    /// as [`Self::parse`] takes it, and speaks of all names that look so, whatever their characters. For a pattern of
    /// bytes what is before its first wildcard has to prove it. Inboxes and the limit on a name's length are left out
    /// of account.
    ///
    /// Cost: one pass over both texts.
    #[must_use]
    pub fn is_within(&self, rule: &str) -> bool {
        match self {
            Self::Topic(name) => segments::matches(rule, name),
            Self::Pattern(pattern) => segments::covers(rule, &pattern.region()),
        }
    }

    /// Whether a rule about access holds for some topic that this selects, as far as [`Self::is_within`] can tell: for a
    /// pattern of bytes `true` may be wrong.
    ///
    /// Cost: one pass over both texts.
    #[must_use]
    pub fn meets(&self, rule: &str) -> bool {
        match self {
            Self::Topic(name) => segments::matches(rule, name),
            Self::Pattern(pattern) => segments::overlaps(rule, &pattern.region()),
        }
    }
}

fn check_length(name: &str) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty),
        1..=NAME_BYTES_MAX => Ok(()),
        _ => Err(NameError::TooLong),
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-')
}

/// Whether a byte ends a segment of a name.
#[must_use]
pub fn is_separator(byte: u8) -> bool {
    matches!(byte, b'.' | b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_1_to_128_bytes_of_the_grammar() {
        check_topic("a").unwrap();
        check_topic("agent.update:x_y-z9").unwrap();
        check_topic(&"x".repeat(128)).unwrap();
        assert_eq!(check_topic(""), Err(NameError::Empty));
        assert_eq!(check_topic(&"x".repeat(129)), Err(NameError::TooLong));
        for bad in ["a b", "a\r", "a/b", "é", "a*", "a%00"] {
            assert_eq!(check_topic(bad), Err(NameError::Character), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_1_to_256_bytes_without_control_characters() {
        for good in [
            "a",
            "a b",
            "\u{1f3ba}",
            "a,b\"*?%\\",
            &"x".repeat(256),
            "\u{2028}",
        ] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in [
            "",
            "a\n",
            "\0",
            "\u{7f}",
            "\u{85}",
            BROADCAST,
            &"\u{fc}".repeat(129),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_is_one_that_some_topic_begins_with() {
        for good in [
            "a",
            "a.",
            "chat..",
            "user:",
            "user:ann",
            "user:a.b:",
            "user:a%40b:events",
        ] {
            assert_eq!(check_prefix(good), Ok(()), "{good}");
        }
        assert_eq!(check_prefix(&inbox_of(&"\u{fc}".repeat(64))), Ok(()));
        for bad in [
            "a b",
            "a%40",
            "user:a@b:",
            "user:a%3a:",
            "user:%41:",
            "user:a%4",
            "user:%FF:",
            "user:a:%41",
        ] {
            assert_eq!(check_prefix(bad), Err(NameError::Character), "{bad}");
        }
        assert_eq!(check_prefix(""), Err(NameError::Empty));
        for long in ["a".repeat(129), format!("user:{}", "a".repeat(513))] {
            assert_eq!(check_prefix(&long), Err(NameError::TooLong));
        }
    }

    #[test]
    fn the_likely_prefix_is_one() {
        for (text, prefix) in [
            ("internal.*", "internal."),
            ("internal/payroll/#", "internal.payroll."),
            ("chat.>", "chat."),
            ("chat.*.vip", "chat."),
            ("caf\u{e9} bar", "caf.bar"),
            ("user:a@b.c:*", "user:a%40b.c:"),
            ("user:a%3ab", "user:a%3Ab:"),
            ("user:*", "user:"),
            ("*", ""),
        ] {
            assert_eq!(likely_prefix(text), prefix, "{text}");
            assert!(
                prefix.is_empty() || check_prefix(prefix).is_ok(),
                "{prefix}"
            );
        }
    }

    #[test]
    fn a16_two_users_never_share_an_inbox() {
        let users = ["ann", "a:b", "a", "b", "a:events", "a%3Ab", "ä", "a b", ""];
        let inboxes: std::collections::BTreeSet<String> =
            users.iter().map(|user| inbox_of(user)).collect();
        assert_eq!(inboxes.len(), users.len());
        assert_eq!(inbox_of("ann"), "user:ann:events");
        assert_eq!(inbox_of("a:b"), "user:a%3Ab:events");
        assert!(inboxes.iter().all(|inbox| is_inbox(inbox)));
    }

    #[test]
    fn a16_an_inbox_has_one_owner() {
        let users = [
            "ann",
            "an",
            "annb",
            "ann:bob",
            "ann%3Abob",
            "bob",
            "",
            "a_b",
            "a",
        ];
        for name in [
            "user:ann:events",
            "user:ann:bob:events",
            "user:ann%3Abob:events",
            "user:a_b:c",
            "user:a:b_c",
            "user::events",
        ] {
            let owners = users.iter().filter(|user| is_inbox_of(user, name));
            assert_eq!(owners.count(), 1, "{name}");
        }
        assert!(is_inbox_of("ann", "user:ann:bob:events"));
        for name in [
            "user:ann",
            "user:",
            "user",
            "users:ann:events",
            "xuser:ann:e",
        ] {
            assert!(!users.iter().any(|user| is_inbox_of(user, name)), "{name}");
        }
    }
}
