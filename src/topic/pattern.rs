//! Patterns over topic names.

use std::borrow::Cow;

use super::{NameError, check_length, check_topic, glob, is_inbox, is_internal, is_name};
use super::{is_name_byte, is_separator, segments};

/// How the text of a pattern selects names. A protocol says it; the text does not show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Matcher {
    /// By segments, which `.` and `:` separate. A segment that is `*` matches any one segment; a `*` at the end
    /// matches whatever follows, separators included. So `a.*.c` matches `a.b.c`, `a.*` matches `a.b` and `a.b.c`,
    /// `a.b*` matches `a.b`, `a.bc` and `a.bc.d`, and `*` matches every topic. Only topics that
    /// [`check_topic`](super::check_topic) takes are matched.
    Segments,
    /// By bytes: `*` matches any run of them, `?` one character, and nothing else is special.
    Bytes,
}

/// A pattern that selects topics, present and future. Inboxes and internal topics are never matched.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pattern {
    matcher: Matcher,
    text: Box<str>,
}

impl Pattern {
    /// Reads a pattern of segments.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn segments(text: &str) -> Result<Self, NameError> {
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
        Ok(Self::of(Matcher::Segments, text))
    }

    /// Reads a pattern of bytes; `None` if no topic's name has such a text ([`is_name`]).
    #[must_use]
    pub fn bytes(text: &str) -> Option<Self> {
        is_name(text).then(|| Self::of(Matcher::Bytes, text))
    }

    /// A pattern whose text was read before.
    pub(crate) fn of(matcher: Matcher, text: &str) -> Self {
        let text = text.into();
        Self { matcher, text }
    }

    /// How it matches.
    #[must_use]
    pub fn matcher(&self) -> Matcher {
        self.matcher
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `topic` is selected.
    ///
    /// Cost: one pass over both texts; for bytes at most one for each character of the topic. No recursion.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if is_inbox(topic) || is_internal(topic) {
            return false;
        }
        match self.matcher {
            Matcher::Segments => segments::matches(&self.text, topic) && check_topic(topic).is_ok(),
            Matcher::Bytes => glob::matches(&self.text, topic),
        }
    }

    /// Whether every topic that `other` matches is matched. Exact between patterns of segments; where bytes are
    /// compared, `false` may be wrong and `true` is not. The limit on a name's length is left out of account.
    ///
    /// Cost: as [`Self::matches`].
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self.matcher, other.matcher) {
            (Matcher::Segments, Matcher::Segments) => segments::covers(&self.text, &other.text),
            // Read as bytes, a pattern of segments matches more.
            (Matcher::Bytes, _) => glob::covers(&self.text, &other.text),
            // It may match names that segments never do.
            (Matcher::Segments, Matcher::Bytes) => false,
        }
    }

    /// Whether some topic is matched by both. Exact between patterns of segments; where bytes are compared, `true` may
    /// be wrong and `false` is not. Inboxes and the limit on a name's length are left out of account.
    ///
    /// Cost: as [`Self::matches`].
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.matcher, other.matcher) {
            (Matcher::Segments, Matcher::Segments) => segments::overlaps(&self.text, &other.text),
            _ => glob::overlaps(&self.text, &other.text),
        }
    }

    /// Whether some topic that it matches may begin with `prefix`, which has no star. For bytes `true` may be wrong: what
    /// follows the first wildcard is not looked at.
    ///
    /// Cost: one pass over both texts.
    #[must_use]
    pub fn may_begin_with(&self, prefix: &str) -> bool {
        // Only inboxes begin with a user that is escaped.
        let is_escaped = is_inbox(prefix) && !prefix.bytes().all(is_name_byte);
        !is_escaped && segments::overlaps(&format!("{prefix}*"), &self.region())
    }

    /// Whether every topic that it matches begins with `prefix`.
    ///
    /// Cost: one pass over both texts.
    #[must_use]
    pub fn begins_with(&self, prefix: &str) -> bool {
        glob::split_literal(&self.text).0.starts_with(prefix) && self.may_begin_with(prefix)
    }

    /// Whether names that it matches differ in their first segment, so that it reaches across namespaces.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        let (literal, rest) = glob::split_literal(&self.text);
        !rest.is_empty() && !literal.bytes().any(is_separator)
    }

    /// A text of segments that stands for every name this may match: of bytes only what is before the first wildcard
    /// tells names apart.
    pub(super) fn region(&self) -> Cow<'_, str> {
        let (literal, rest) = glob::split_literal(&self.text);
        match self.matcher {
            Matcher::Bytes if !rest.is_empty() => Cow::Owned(format!("{literal}*")),
            _ => Cow::Borrowed(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic::{BROADCAST, Selector};

    #[test]
    fn a_star_is_a_whole_segment_or_the_end() {
        for good in ["*", "a.*", "a*", "*.b", "a.*.c", "a:*:c", "*.*", "a.b*"] {
            Pattern::segments(good).unwrap();
        }
        for bad in ["**", "a*b", "*b", "a.*b", "a**", "a.b*.c"] {
            assert_eq!(Pattern::segments(bad), Err(NameError::Wildcard), "{bad:?}");
        }
    }

    #[test]
    fn patterns_select_as_documented() {
        let check = |pattern: &str, topic: &str, expected: bool| {
            let pattern = Pattern::segments(pattern).unwrap();
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
    fn a_wildcard_in_the_first_segment_makes_a_pattern_wide() {
        let segments = |text| Pattern::segments(text).unwrap().is_wide();
        assert!(["*", "a*", "*.a", "*:a", "*.*"].into_iter().all(segments));
        assert!(!["a.*", "a:*", "a.b*", "a.*.c"].into_iter().any(segments));
        let bytes = |text| Pattern::bytes(text).unwrap().is_wide();
        assert!(["*", "a*", "r?om.a", "?"].into_iter().all(bytes));
        assert!(!["a.*", "a", "a.b?", "room:*"].into_iter().any(bytes));
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
            let pattern = Pattern::segments(&pattern).unwrap();
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
            .filter_map(|text| Pattern::segments(text).ok())
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
    fn a15_what_a_rule_says_of_a_selector_agrees_with_trying_every_topic() {
        let topics: Vec<String> = texts("ab.:", 6)
            .into_iter()
            .filter(|text| check_topic(text).is_ok())
            .collect();
        let texts = texts("a.:*", 4);
        let selectors: Vec<(Selector<'_>, Vec<bool>)> = texts
            .iter()
            .filter_map(|text| {
                let selector = Selector::parse(text).ok()?;
                let matched = match &selector {
                    Selector::Topic(name) => topics.iter().map(|topic| topic == name).collect(),
                    Selector::Pattern(pattern) => {
                        topics.iter().map(|topic| pattern.matches(topic)).collect()
                    }
                };
                Some((selector, matched))
            })
            .collect();
        assert!(selectors.len() > 100, "{}", selectors.len());
        for (wide, in_wide) in &selectors {
            for (narrow, in_narrow) in &selectors {
                let mut both = in_wide.iter().zip(in_narrow);
                let covered = both.clone().all(|(wide, narrow)| *wide || !*narrow);
                let shared = both.any(|(wide, narrow)| *wide && *narrow);
                let rule = wide.as_str();
                assert_eq!(
                    narrow.is_within(rule),
                    covered,
                    "{wide:?} covers {narrow:?}"
                );
                assert_eq!(narrow.meets(rule), shared, "{wide:?} overlaps {narrow:?}");
                if let (Selector::Pattern(wide), Selector::Pattern(narrow)) = (wide, narrow) {
                    assert_eq!(wide.covers(narrow), covered, "{wide:?} covers {narrow:?}");
                    assert_eq!(
                        wide.overlaps(narrow),
                        shared,
                        "{wide:?} overlaps {narrow:?}"
                    );
                }
            }
        }
    }

    /// Between patterns of bytes, and of both kinds, an answer may be wrong to the safe side alone.
    #[test]
    fn a15_what_patterns_of_both_kinds_say_of_each_other_is_safe() {
        let topics = texts("ab.\u{fc}", 5);
        let patterns: Vec<(Pattern, Vec<bool>)> = texts("a.\u{fc}*?", 3)
            .iter()
            .flat_map(|text| [Pattern::segments(text).ok(), Pattern::bytes(text)])
            .flatten()
            .map(|pattern| {
                let matched = topics.iter().map(|topic| pattern.matches(topic)).collect();
                (pattern, matched)
            })
            .collect();
        let prefixes = texts("ab.", 2);
        let (mut missed, mut invented, mut all) = (0, 0, 0);
        for (wide, in_wide) in &patterns {
            for (narrow, in_narrow) in &patterns {
                let mut both = in_wide.iter().zip(in_narrow);
                let covered = both.clone().all(|(wide, narrow)| *wide || !*narrow);
                let shared = both.any(|(wide, narrow)| *wide && *narrow);
                let (covers, overlaps) = (wide.covers(narrow), wide.overlaps(narrow));
                assert!(covered || !covers, "{wide:?} covers {narrow:?}");
                assert!(overlaps || !shared, "{wide:?} overlaps {narrow:?}");
                missed += usize::from(covered && !covers);
                invented += usize::from(overlaps && !shared);
                all += 1;
            }
            let begins = |prefix: &str| {
                let mut matched = topics.iter().zip(in_wide).filter(|(_, is_in)| **is_in);
                let all = matched.clone().all(|(topic, _)| topic.starts_with(prefix));
                (all, matched.any(|(topic, _)| topic.starts_with(prefix)))
            };
            for prefix in &prefixes {
                let (every, some) = begins(prefix);
                assert!(every || !wide.begins_with(prefix), "{wide:?} in {prefix}");
                assert!(!some || wide.may_begin_with(prefix), "{wide:?} in {prefix}");
                let selector = Selector::Pattern(wide.clone());
                let rule = format!("{prefix}*");
                assert!(every || !selector.is_within(&rule), "{wide:?} in {rule}");
                assert!(!some || selector.meets(&rule), "{wide:?} meets {rule}");
            }
        }
        // Not so safe that nothing is ever told apart.
        assert!(
            missed * 20 < all && invented * 20 < all,
            "{missed}, {invented} of {all}"
        );
    }

    #[test]
    fn patterns_of_bytes_select_what_segments_cannot() {
        let glob = |text: &str| Pattern::bytes(text).unwrap();
        for text in ["", "#a", "a\n", "\u{85}", &"x".repeat(257)] {
            assert_eq!(Pattern::bytes(text), None, "{text:?}");
        }
        let all = glob("*");
        assert!(all.matches("a b/\u{fc},\"") && all.matches("a*b") && all.matches("a.b"));
        assert!(!all.matches("user:ann:events") && !all.matches(BROADCAST));
        assert!(!glob("user:*").matches("user:ann:events"));
        let segments = Pattern::segments("*").unwrap();
        for name in ["a b", "a/b", "\u{fc}", "a*b", "a,b", &"x".repeat(129)] {
            assert!(!segments.matches(name), "{name}");
        }
        assert!(all.covers(&segments) && !segments.covers(&all) && segments.overlaps(&all));
        assert_ne!(Pattern::segments("a.*").ok(), Pattern::bytes("a.*"));
    }

    /// A rule by segments speaks of all names, so that what is denied is denied whatever characters follow.
    #[test]
    fn a15_a_rule_holds_for_names_that_segments_do_not_match() {
        let glob = |text: &str| Selector::Pattern(Pattern::bytes(text).unwrap());
        for (selector, rule, within, meets) in [
            (Selector::Topic("chat.a b"), "chat.*", true, true),
            (Selector::Topic("chat.*"), "chat.a", false, false),
            (Selector::Topic("a*b"), "a*", true, true),
            (glob("chat.*"), "chat.*", true, true),
            (glob("chat*"), "chat.*", false, true),
            (glob("chat.?"), "chat.*", true, true),
            (glob("chat.?x"), "chat.y", false, true),
            (glob("chat.a*"), "chat.*.b", false, true),
            (glob("news*"), "chat.*", false, false),
            (glob("*"), "*", true, true),
            (glob("*"), "a", false, true),
            (glob("a"), "a", true, true),
            (glob("a"), "b", false, false),
        ] {
            assert_eq!(selector.is_within(rule), within, "{selector:?} in {rule}");
            assert_eq!(selector.meets(rule), meets, "{selector:?} meets {rule}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        /// Longer globs, tried on names that the narrower one is sure to match.
        #[test]
        fn a15_a_glob_that_is_covered_matches_nothing_else(
            wide in "[ab*?]{1,8}",
            narrow in "[ab*?]{1,8}",
            runs in prop::collection::vec("[ab\u{fc}]{0,3}", 8),
        ) {
            let (wide, narrow) = (Pattern::bytes(&wide).unwrap(), Pattern::bytes(&narrow).unwrap());
            let name: String = narrow
                .as_str()
                .chars()
                .zip(&runs)
                .map(|(symbol, run)| match symbol {
                    '*' => run.clone(),
                    '?' => run.chars().next().unwrap_or('c').to_string(),
                    literal => literal.to_string(),
                })
                .collect();
            prop_assert!(narrow.matches(&name));
            prop_assert!(!wide.covers(&narrow) || wide.matches(&name), "{}", name);
            prop_assert!(!wide.matches(&name) || wide.overlaps(&narrow), "{}", name);
        }
    }
}
