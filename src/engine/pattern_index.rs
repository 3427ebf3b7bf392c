//! An index of patterns, searched by topic name.

use crate::collections::HashMap;
use crate::topic::{
    Matcher, Pattern, check_topic, glob, is_inbox, is_internal, is_separator, segments,
};

/// Patterns with values: those of segments as a trie, those of bytes by what is before their first wildcard.
#[derive(Debug)]
pub(super) struct PatternIndex<T> {
    root: TrieNode<T>,
    /// The values of each remainder.
    globs: Prefixes<HashMap<Box<str>, Vec<T>>>,
}

/// What can follow one prefix.
#[derive(Debug)]
struct TrieNode<T> {
    /// A literal segment with the separator that ends it.
    literals: HashMap<Box<str>, Self>,
    /// A `*` segment, by the separator that ends it.
    stars: Vec<(u8, Self)>,
    /// A literal last segment.
    ends: HashMap<Box<str>, Vec<T>>,
    /// A literal prefix of the rest of the name.
    rests: Prefixes<Vec<T>>,
    /// The remainders of patterns deeper than [`DEPTH_MAX`], searched linearly.
    tails: Vec<(Box<str>, T)>,
}

/// What there is by prefix.
#[derive(Debug)]
struct Prefixes<V> {
    all: HashMap<Box<str>, V>,
    /// The distinct lengths of the prefixes, each with their number.
    lengths: Vec<(usize, usize)>,
}

/// Segments that the trie distinguishes. Remainders below are searched linearly: patterns that vary in many
/// segments would make more nodes than there are patterns.
const DEPTH_MAX: usize = 8;

/// One step of a pattern at a node.
enum PatternStep<'a> {
    Literal(&'a str),
    Star(u8),
    End(&'a str),
    Rest(&'a str),
}

/// Pairs of a byte of a glob and one of a name for each step that matching counts: about what the worst glob takes.
const PAIRS_PER_STEP: usize = 256;

impl<T> Default for PatternIndex<T> {
    fn default() -> Self {
        Self {
            root: TrieNode::default(),
            globs: Prefixes::default(),
        }
    }
}

impl<V> Default for Prefixes<V> {
    fn default() -> Self {
        Self {
            all: HashMap::default(),
            lengths: Vec::new(),
        }
    }
}

impl<T> Default for TrieNode<T> {
    fn default() -> Self {
        Self {
            literals: HashMap::default(),
            stars: Vec::new(),
            ends: HashMap::default(),
            rests: Prefixes::default(),
            tails: Vec::new(),
        }
    }
}

impl<T: Copy + PartialEq> PatternIndex<T> {
    /// Adds a value to a pattern, unless the pattern has it.
    ///
    /// Cost: one lookup for each segment; two for a glob.
    pub(super) fn insert(&mut self, pattern: &Pattern, value: T) {
        if pattern.matcher() == Matcher::Bytes {
            let (prefix, rest) = glob::split_literal(pattern.as_str());
            let globs = self.globs.open(prefix);
            return add(globs.entry(rest.into()).or_default(), value);
        }
        let (mut node, mut text) = (&mut self.root, pattern.as_str());
        for _ in 0..DEPTH_MAX {
            let (step, rest) = step(text);
            text = rest;
            node = match step {
                PatternStep::Literal(segment) => node.literals.entry(segment.into()).or_default(),
                PatternStep::Star(separator) => {
                    let known = node.stars.iter().position(|(other, _)| *other == separator);
                    let at = known.unwrap_or_else(|| {
                        node.stars.push((separator, TrieNode::default()));
                        node.stars.len() - 1
                    });
                    &mut node.stars[at].1
                }
                PatternStep::End(segment) => {
                    return add(node.ends.entry(segment.into()).or_default(), value);
                }
                PatternStep::Rest(prefix) => {
                    return add(node.rests.open(prefix), value);
                }
            };
        }
        let is_known = |(known, other): &(Box<str>, T)| **known == *text && *other == value;
        if !node.tails.iter().any(is_known) {
            node.tails.push((text.into(), value));
        }
    }

    /// Removes a value from a pattern.
    pub(super) fn remove(&mut self, pattern: &Pattern, value: T) {
        match pattern.matcher() {
            Matcher::Segments => remove(&mut self.root, pattern.as_str(), value, DEPTH_MAX),
            Matcher::Bytes => {
                let (prefix, rest) = glob::split_literal(pattern.as_str());
                self.globs.close(prefix, |globs| {
                    drop_value(globs, rest, &value);
                    globs.is_empty()
                });
            }
        }
    }

    /// Calls `each` with the values of all patterns that match a topic, in no order; a value of several matching
    /// patterns comes several times. Returns the number of steps taken.
    ///
    /// Cost: a few lookups for each of the first [`DEPTH_MAX`] segments; one match for each deeper pattern with the
    /// same prefix. For globs a lookup for each length of a prefix, and one match for each with a prefix of the name.
    pub(super) fn find(&self, topic: &str, mut each: impl FnMut(T)) -> usize {
        if is_inbox(topic) || is_internal(topic) {
            return 0;
        }
        let mut steps = 0;
        self.globs.find(topic, |rest, globs| {
            for (glob, values) in globs {
                steps += 1 + glob.len() * rest.len() / PAIRS_PER_STEP;
                if glob::matches(glob, rest) {
                    values.iter().copied().for_each(&mut each);
                }
            }
        });
        if check_topic(topic).is_err() {
            return steps;
        }
        let mut open = vec![(&self.root, topic)];
        while let Some((node, text)) = open.pop() {
            steps += 1 + node.tails.len();
            let tails = node.tails.iter();
            let tails = tails.filter(|(tail, _)| segments::matches(tail, text));
            tails.for_each(|&(_, value)| each(value));
            node.rests.find(text, |_, values| {
                values.iter().copied().for_each(&mut each);
            });
            let Some(end) = text.bytes().position(is_separator) else {
                if let Some(values) = node.ends.get(text) {
                    values.iter().copied().for_each(&mut each);
                }
                continue;
            };
            let (segment, rest) = text.split_at(end + 1);
            if let Some(next) = node.literals.get(segment) {
                open.push((next, rest));
            }
            let separator = text.as_bytes()[end];
            if let Some((_, next)) = node.stars.iter().find(|(other, _)| *other == separator) {
                open.push((next, rest));
            }
        }
        steps
    }

    /// Whether there are no patterns.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_empty() && self.globs.is_empty()
    }
}

impl<V: Default> Prefixes<V> {
    /// What there is for a prefix, or a new one.
    fn open(&mut self, prefix: &str) -> &mut V {
        if !self.all.contains_key(prefix) {
            let length = prefix.len();
            match self.lengths.iter_mut().find(|(other, _)| *other == length) {
                Some((_, count)) => *count += 1,
                None => self.lengths.push((length, 1)),
            }
        }
        self.all.entry(prefix.into()).or_default()
    }
}

impl<V> Prefixes<V> {
    /// Removes a prefix if `is_done` with what there is for it.
    fn close(&mut self, prefix: &str, is_done: impl FnOnce(&mut V) -> bool) {
        if self.all.get_mut(prefix).is_some_and(is_done) {
            self.all.remove(prefix);
            self.lengths.retain_mut(|(other, count)| {
                *count -= usize::from(*other == prefix.len());
                *count > 0
            });
        }
    }

    /// Calls `each` with what there is for each prefix of a text, and what follows it there.
    fn find<'a>(&self, text: &'a str, mut each: impl FnMut(&'a str, &V)) {
        for &(length, _) in &self.lengths {
            if let Some((prefix, rest)) = text.split_at_checked(length)
                && let Some(found) = self.all.get(prefix)
            {
                each(rest, found);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.lengths.is_empty()
    }
}

impl<T> TrieNode<T> {
    fn is_empty(&self) -> bool {
        self.literals.is_empty()
            && self.stars.is_empty()
            && self.ends.is_empty()
            && self.rests.is_empty()
            && self.tails.is_empty()
    }
}

/// The first step of a pattern, and the remainder.
fn step(text: &str) -> (PatternStep<'_>, &str) {
    let Some(end) = text.bytes().position(is_separator) else {
        return match text.strip_suffix('*') {
            Some(prefix) => (PatternStep::Rest(prefix), ""),
            None => (PatternStep::End(text), ""),
        };
    };
    let (segment, rest) = text.split_at(end + 1);
    match segment.as_bytes() {
        [b'*', separator] => (PatternStep::Star(*separator), rest),
        _ => (PatternStep::Literal(segment), rest),
    }
}

fn add<T: PartialEq>(values: &mut Vec<T>, value: T) {
    if !values.contains(&value) {
        values.push(value);
    }
}

/// Removes a value from the pattern `text` below a node, and nodes that become empty. Recurses once per segment, at
/// most [`DEPTH_MAX`] deep.
fn remove<T: PartialEq>(node: &mut TrieNode<T>, text: &str, value: T, depth: usize) {
    if depth == 0 {
        return node
            .tails
            .retain(|(tail, other)| **tail != *text || *other != value);
    }
    let (step, rest) = step(text);
    match step {
        PatternStep::Literal(segment) => {
            if let Some(next) = node.literals.get_mut(segment) {
                remove(next, rest, value, depth - 1);
                if next.is_empty() {
                    node.literals.remove(segment);
                }
            }
        }
        PatternStep::Star(separator) => {
            let star = node.stars.iter().position(|(other, _)| *other == separator);
            if let Some(at) = star {
                remove(&mut node.stars[at].1, rest, value, depth - 1);
                if node.stars[at].1.is_empty() {
                    node.stars.swap_remove(at);
                }
            }
        }
        PatternStep::End(segment) => {
            drop_value(&mut node.ends, segment, &value);
        }
        PatternStep::Rest(prefix) => {
            node.rests.close(prefix, |values| {
                values.retain(|other| *other != value);
                values.is_empty()
            });
        }
    }
}

/// Removes a value, and the key with its last one.
fn drop_value<T: PartialEq>(all: &mut HashMap<Box<str>, Vec<T>>, key: &str, value: &T) {
    if let Some(values) = all.get_mut(key) {
        values.retain(|other| other != value);
        if values.is_empty() {
            all.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn pattern() -> impl Strategy<Value = Pattern> {
        let globs = "[ab\u{fc}.*?]{1,6}".prop_filter_map("a glob", |text| Pattern::bytes(&text));
        prop_oneof![segments(), globs]
    }

    fn segments() -> impl Strategy<Value = Pattern> {
        prop::collection::vec(("[ab]{0,2}|\\*", "[.:]"), 0..12)
            .prop_flat_map(|segments| {
                let head: String = segments
                    .into_iter()
                    .map(|(segment, separator)| segment + &separator)
                    .collect();
                "[ab]{0,2}\\*?".prop_map(move |last| head.clone() + &last)
            })
            .prop_filter_map("patterns have a byte", |text| Pattern::segments(&text).ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn an_index_finds_what_matches_and_nothing_is_left_of_it(
            patterns in prop::collection::vec(pattern(), 1..20),
            gone in prop::collection::vec(any::<bool>(), 20),
            topics in prop::collection::vec("[ab.:]{1,6}|([ab]?[.:]){7,12}[ab]?|[ab\u{fc}*?.]{1,6}|user:[ab]:[ab]|#[ab]", 1..20),
        ) {
            let mut index = PatternIndex::default();
            for (value, pattern) in patterns.iter().enumerate() {
                index.insert(pattern, value);
                index.insert(pattern, value);
            }
            let mut left: BTreeSet<usize> = (0..patterns.len()).collect();
            for round in 0..2 {
                for topic in &topics {
                    let mut found = Vec::new();
                    index.find(topic, |value| found.push(value));
                    let all: BTreeSet<usize> = found.iter().copied().collect();
                    prop_assert_eq!(all.len(), found.len());
                    let right = left.iter().copied();
                    let right: BTreeSet<usize> =
                        right.filter(|&value| patterns[value].matches(topic)).collect();
                    prop_assert_eq!(all, right, "{}", topic);
                }
                for (value, pattern) in patterns.iter().enumerate() {
                    if round == 1 || gone[value] {
                        index.remove(pattern, value);
                        left.remove(&value);
                    }
                }
            }
            prop_assert!(index.is_empty());
        }
    }

    #[test]
    fn many_patterns_cost_a_topic_the_nodes_on_its_way() {
        let mut index = PatternIndex::default();
        for number in 0..20_000 {
            let pattern = Pattern::segments(&format!("room.{number}.*")).unwrap();
            index.insert(&pattern, number);
            let glob = Pattern::bytes(&format!("room {number}/*")).unwrap();
            index.insert(&glob, number);
        }
        let mut found = Vec::new();
        let steps = index.find("room.777.chat", |number| found.push(number));
        assert_eq!((found, steps), (vec![777], 3));
        let mut found = Vec::new();
        let steps = index.find("room 777/chat", |number| found.push(number));
        assert_eq!((found, steps), (vec![777], 1));
    }
}
