//! Topic names and the patterns that select them.
//!
//! One grammar for every protocol: 1 to 128 bytes of letters, digits and
//! `_ . : -` (docs/protocol.md, "subscribe"). `.` and `:` separate segments.

use std::fmt::Write;

/// The longest topic name or pattern, in bytes.
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
    /// A `*` that is neither a whole segment nor the last character.
    #[error("`*` stands for a whole segment or ends the pattern")]
    Wildcard,
}

/// Checks that `name` is a topic: no wildcard, nothing outside the grammar.
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

/// Whether `name` is the gateway's own: outside the grammar, so that no client
/// can name it, and never matched by a pattern.
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
    /// Reads a topic name or a pattern.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn parse(name: &'a str) -> Result<Self, NameError> {
        if name.contains('*') {
            Pattern::parse(name).map(Self::Pattern)
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
}

/// A glob over topic names. A segment that is `*` matches any one segment; a `*`
/// at the end matches whatever follows, separators included. So `a.*.c` matches
/// `a.b.c`, `a.*` matches `a.b` and `a.b.c`, `a.b*` matches `a.b`, `a.bc` and
/// `a.bc.d`, and `*` matches every topic. Inboxes and internal topics are never matched.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_length(text)?;
        if !text.bytes().all(|byte| byte == b'*' || is_name_byte(byte)) {
            return Err(NameError::Character);
        }
        let bytes = text.as_bytes();
        for (at, _) in text.match_indices('*') {
            let last = at + 1 == bytes.len();
            let opens = at == 0 || is_separator(bytes[at - 1]);
            let closes = last || is_separator(bytes[at + 1]);
            if !(last || opens && closes) || (last && at > 0 && bytes[at - 1] == b'*') {
                return Err(NameError::Wildcard);
            }
        }
        Ok(Self(text.into()))
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `topic` is selected.
    ///
    /// Cost: one pass over both texts; no recursion, no backtracking.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        !is_inbox(topic) && !is_internal(topic) && matches_rest(&self.0, topic)
    }
}

/// Whether what is left of a pattern, from the beginning of a segment on, matches what is left of a name
/// there.
///
/// Cost: one pass over both texts; no recursion, no backtracking.
#[must_use]
pub fn matches_rest(pattern: &str, topic: &str) -> bool {
    let (mut pattern, mut topic) = (pattern.as_bytes(), topic.as_bytes());
    while let Some((&expected, rest)) = pattern.split_first() {
        if expected != b'*' {
            if topic.first() != Some(&expected) {
                return false;
            }
            topic = &topic[1..];
        } else if rest.is_empty() {
            return true;
        } else {
            let segment = topic
                .iter()
                .take_while(|&&byte| !is_separator(byte))
                .count();
            topic = &topic[segment..];
        }
        pattern = rest;
    }
    topic.is_empty()
}

/// The pattern of all topics that begin with `prefix`; `None` if no topic does.
#[must_use]
pub fn beginning_with(prefix: &str) -> Option<String> {
    let is_possible = prefix.len() <= NAME_BYTES_MAX && prefix.bytes().all(is_name_byte);
    is_possible.then(|| format!("{prefix}*"))
}

/// A place in a pattern's text, for comparing two patterns. Between two separators a pattern has
/// either literals or one star, so a walk over it never has to choose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PatternPlace {
    /// This byte comes next.
    Literal(u8),
    /// Any bytes but separators, then this separator.
    Segment(u8),
    /// Anything.
    Rest,
    /// Nothing more.
    End,
}

fn place(pattern: &[u8]) -> PatternPlace {
    match *pattern {
        [] => PatternPlace::End,
        [b'*'] => PatternPlace::Rest,
        [b'*', separator, ..] => PatternPlace::Segment(separator),
        [byte, ..] => PatternPlace::Literal(byte),
    }
}

/// Whether every topic that `narrow` matches is one that `wide` matches; both are topics or
/// patterns. Inboxes and the limit on a name's length are left out of account.
///
/// Cost: one pass over both texts.
#[must_use]
pub fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.as_bytes(), narrow.as_bytes());
    loop {
        match (place(wide), place(narrow)) {
            (PatternPlace::Rest, _) | (PatternPlace::End, PatternPlace::End) => return true,
            (PatternPlace::Literal(a), PatternPlace::Literal(b)) if a == b => {
                (wide, narrow) = (&wide[1..], &narrow[1..]);
            }
            (PatternPlace::Segment(a), PatternPlace::Segment(b)) if a == b => {
                (wide, narrow) = (&wide[2..], &narrow[2..]);
            }
            (PatternPlace::Segment(separator), PatternPlace::Literal(byte)) => {
                narrow = &narrow[1..];
                if is_separator(byte) {
                    if byte != separator {
                        return false;
                    }
                    wide = &wide[2..];
                }
            }
            // What is left of `narrow` matches texts that go on where `wide` cannot.
            _ => return false,
        }
    }
}

/// Whether some topic is matched by both texts, each a topic or a pattern. Inboxes and the limit on
/// a name's length are left out of account.
///
/// Cost: one pass over both texts.
#[must_use]
pub fn overlaps(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        match (place(one), place(other)) {
            // The other one can be finished in some way, and this one takes it.
            (PatternPlace::Rest, _)
            | (_, PatternPlace::Rest)
            | (PatternPlace::End, PatternPlace::End) => return true,
            (PatternPlace::Literal(a), PatternPlace::Literal(b)) if a == b => {
                (one, other) = (&one[1..], &other[1..]);
            }
            (PatternPlace::Segment(a), PatternPlace::Segment(b)) if a == b => {
                (one, other) = (&one[2..], &other[2..]);
            }
            (PatternPlace::Segment(separator), PatternPlace::Literal(byte)) => {
                other = &other[1..];
                if is_separator(byte) {
                    if byte != separator {
                        return false;
                    }
                    one = &one[2..];
                }
            }
            (PatternPlace::Literal(_), PatternPlace::Segment(_)) => (one, other) = (other, one),
            _ => return false,
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
    fn a_star_is_a_whole_segment_or_the_end() {
        for good in ["*", "a.*", "a*", "*.b", "a.*.c", "a:*:c", "*.*", "a.b*"] {
            Pattern::parse(good).unwrap();
        }
        for bad in ["**", "a*b", "*b", "a.*b", "a**", "a.b*.c"] {
            assert_eq!(Pattern::parse(bad), Err(NameError::Wildcard), "{bad:?}");
        }
    }

    #[test]
    fn patterns_select_as_documented() {
        let check = |pattern: &str, topic: &str, expected: bool| {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(topic), expected, "{pattern:?} on {topic:?}");
        };
        check("*", "anything.at:all", true);
        check("a.*", "a.b", true);
        check("a.*", "a.b.c", true);
        check("a.*", "a", false);
        check("a.*", "ab.c", false);
        check("a.b*", "a.b", true);
        check("a.b*", "a.bc.d", true);
        check("a.*.c", "a.b.c", true);
        check("a.*.c", "a.b.x.c", false);
        check("a.*.c", "a.b.c.d", false);
        check("*.c", "b.c", true);
        check("*.c", "a.b.c", false);
        check("a:*:c", "a:b:c", true);
        check("*", "user:ann:events", false);
        check("user:*", "user:ann:events", false);
        check("*", BROADCAST, false);
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

    /// The names and patterns that take longest, at the limit of their length.
    #[test]
    fn m05_m06_the_worst_match_is_one_short_pass() {
        let topics = [
            "a.".repeat(64),
            ".".repeat(128),
            "a".repeat(128),
            format!("{}b", "a.".repeat(63)),
        ];
        let patterns = [
            format!("{}*", "*.".repeat(63)),
            format!("{}b", "*.".repeat(63)),
            format!("{}*", "a.".repeat(63)),
            "*:".repeat(64),
            format!("{}*", "a".repeat(127)),
        ];
        for pattern in patterns {
            let pattern = Pattern::parse(&pattern).unwrap();
            for topic in &topics {
                check_topic(topic).unwrap();
                // The best of a few rounds: others use the machine, too.
                let round = || {
                    let began = std::time::Instant::now();
                    for _ in 0..100 {
                        std::hint::black_box(pattern.matches(std::hint::black_box(topic)));
                    }
                    began.elapsed() / 100
                };
                let best = (0..20).map(|_| round()).min().unwrap();
                assert!(best.as_micros() <= 20, "{best:?}: {pattern:?} on {topic}");
            }
        }
    }

    /// A naive matcher over lists of segments agrees with the single pass.
    #[test]
    fn matching_agrees_with_the_model() {
        fn model(pattern: &str, topic: &str) -> bool {
            if let Some(prefix) = pattern.strip_suffix('*') {
                let segments = prefix.matches(['.', ':']).count();
                let cut = topic
                    .match_indices(['.', ':'])
                    .nth(segments)
                    .map_or(topic.len(), |(at, _)| at);
                return (0..=cut)
                    .any(|end| topic.is_char_boundary(end) && exact(prefix, &topic[..end]));
            }
            exact(pattern, topic)
        }
        fn exact(pattern: &str, topic: &str) -> bool {
            let split =
                |text: &str| -> Vec<String> { text.split(['.', ':']).map(str::to_owned).collect() };
            let seps = |text: &str| -> Vec<char> {
                text.chars().filter(|c| matches!(c, '.' | ':')).collect()
            };
            let (p, t) = (split(pattern), split(topic));
            seps(pattern) == seps(topic) && p.iter().zip(&t).all(|(p, t)| p == "*" || p == t)
        }
        let words = ["a", "b", "ab", "*", "."];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            texts = texts
                .iter()
                .flat_map(|text| words.iter().map(move |word| format!("{text}{word}")))
                .chain(texts.iter().cloned())
                .collect();
            texts.sort();
            texts.dedup();
        }
        let patterns: Vec<Pattern> = texts
            .iter()
            .filter_map(|text| Pattern::parse(text).ok())
            .collect();
        let topics: Vec<&String> = texts
            .iter()
            .filter(|text| check_topic(text).is_ok())
            .collect();
        for pattern in patterns.iter().step_by(3) {
            for topic in topics.iter().step_by(2) {
                assert_eq!(
                    pattern.matches(topic),
                    model(pattern.as_str(), topic),
                    "{pattern:?} on {topic:?}"
                );
            }
        }
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

    /// All texts of up to `len` of these bytes.
    fn texts(bytes: &str, len: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        for _ in 0..len {
            let longer: Vec<String> = all
                .iter()
                .flat_map(|text| bytes.chars().map(move |byte| format!("{text}{byte}")))
                .collect();
            all.extend(longer);
            all.sort();
            all.dedup();
        }
        all
    }

    /// Trying all short topics says the same. Topics are longer than patterns, so that whatever
    /// tells two patterns apart shows in one of them.
    #[test]
    fn a15_coverage_and_overlap_agree_with_trying_every_topic() {
        let topics: Vec<String> = texts("ab.:", 6)
            .into_iter()
            .filter(|text| check_topic(text).is_ok())
            .collect();
        let selectors: Vec<(String, Vec<bool>)> = texts("a.:*", 4)
            .into_iter()
            .filter_map(|text| {
                let matched = match Selector::parse(&text).ok()? {
                    Selector::Topic(name) => topics.iter().map(|topic| topic == name).collect(),
                    Selector::Pattern(pattern) => {
                        topics.iter().map(|topic| pattern.matches(topic)).collect()
                    }
                };
                Some((text, matched))
            })
            .collect();
        assert!(selectors.len() > 100, "{}", selectors.len());
        for (wide, in_wide) in &selectors {
            for (narrow, in_narrow) in &selectors {
                let mut both = in_wide.iter().zip(in_narrow);
                let covered = both.clone().all(|(wide, narrow)| *wide || !*narrow);
                assert_eq!(covers(wide, narrow), covered, "{wide} covers {narrow}");
                let shared = both.any(|(wide, narrow)| *wide && *narrow);
                assert_eq!(overlaps(wide, narrow), shared, "{wide} overlaps {narrow}");
            }
        }
    }
}
