//! An index of patterns, searched by topic name.

use crate::collections::HashMap;
use crate::topic::{Pattern, is_inbox, is_internal, is_separator, matches_rest};

/// Patterns with values, as a trie of their segments.
#[derive(Debug)]
pub(super) struct PatternIndex<T> {
    root: TrieNode<T>,
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
    rests: HashMap<Box<str>, Vec<T>>,
    /// The distinct lengths of the keys of `rests`, each with the number of keys.
    lengths: Vec<(usize, usize)>,
    /// The remainders of patterns deeper than [`DEPTH_MAX`], searched linearly.
    tails: Vec<(Box<str>, T)>,
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

impl<T> Default for PatternIndex<T> {
    fn default() -> Self {
        Self {
            root: TrieNode::default(),
        }
    }
}

impl<T> Default for TrieNode<T> {
    fn default() -> Self {
        Self {
            literals: HashMap::default(),
            stars: Vec::new(),
            ends: HashMap::default(),
            rests: HashMap::default(),
            lengths: Vec::new(),
            tails: Vec::new(),
        }
    }
}

impl<T: Copy + PartialEq> PatternIndex<T> {
    /// Adds a value to a pattern, unless the pattern has it.
    ///
    /// Cost: one lookup for each segment.
    pub(super) fn insert(&mut self, pattern: &Pattern, value: T) {
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
                    let values = node.rests.entry(prefix.into()).or_default();
                    if values.is_empty() {
                        count(&mut node.lengths, prefix.len());
                    }
                    return add(values, value);
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
        remove(&mut self.root, pattern.as_str(), value, DEPTH_MAX);
    }

    /// Calls `each` with the values of all patterns that match a topic, in no order; a value of several matching
    /// patterns comes several times. Returns the number of steps taken.
    ///
    /// Cost: a few lookups for each of the first [`DEPTH_MAX`] segments; one match for each deeper pattern with the
    /// same prefix.
    pub(super) fn find(&self, topic: &str, mut each: impl FnMut(T)) -> usize {
        if is_inbox(topic) || is_internal(topic) {
            return 0;
        }
        let (mut steps, mut open) = (0, vec![(&self.root, topic)]);
        while let Some((node, text)) = open.pop() {
            steps += 1 + node.tails.len();
            let tails = node.tails.iter();
            let tails = tails.filter(|(tail, _)| matches_rest(tail, text));
            tails.for_each(|&(_, value)| each(value));
            for &(length, _) in &node.lengths {
                if let Some(values) = text.get(..length).and_then(|text| node.rests.get(text)) {
                    values.iter().copied().for_each(&mut each);
                }
            }
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
        self.root.is_empty()
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

fn count(lengths: &mut Vec<(usize, usize)>, length: usize) {
    match lengths.iter_mut().find(|(other, _)| *other == length) {
        Some((_, count)) => *count += 1,
        None => lengths.push((length, 1)),
    }
}

fn discount(lengths: &mut Vec<(usize, usize)>, length: usize) {
    lengths.retain_mut(|(other, count)| {
        *count -= usize::from(*other == length);
        *count > 0
    });
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
            if drop_value(&mut node.rests, prefix, &value) {
                discount(&mut node.lengths, prefix.len());
            }
        }
    }
}

/// Removes a value. Returns whether it was the key's last one.
fn drop_value<T: PartialEq>(all: &mut HashMap<Box<str>, Vec<T>>, key: &str, value: &T) -> bool {
    let Some(values) = all.get_mut(key) else {
        return false;
    };
    values.retain(|other| other != value);
    let is_last = values.is_empty();
    if is_last {
        all.remove(key);
    }
    is_last
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn pattern() -> impl Strategy<Value = String> {
        prop::collection::vec(("[ab]{0,2}|\\*", "[.:]"), 0..12)
            .prop_flat_map(|segments| {
                let head: String = segments
                    .into_iter()
                    .map(|(segment, separator)| segment + &separator)
                    .collect();
                "[ab]{0,2}\\*?".prop_map(move |last| head.clone() + &last)
            })
            .prop_filter("patterns have a star and a byte", |text| {
                Pattern::parse(text).is_ok()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn an_index_finds_what_matches_and_nothing_is_left_of_it(
            patterns in prop::collection::vec(pattern(), 1..20),
            gone in prop::collection::vec(any::<bool>(), 20),
            topics in prop::collection::vec("[ab.:]{1,6}|([ab]?[.:]){7,12}[ab]?|user:[ab]:[ab]|#[ab]", 1..20),
        ) {
            let patterns: Vec<Pattern> =
                patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
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
            prop_assert!(index.is_empty() && index.root.lengths.is_empty());
        }
    }

    #[test]
    fn many_patterns_cost_a_topic_the_nodes_on_its_way() {
        let mut index = PatternIndex::default();
        for number in 0..20_000 {
            let pattern = Pattern::parse(&format!("room.{number}.*")).unwrap();
            index.insert(&pattern, number);
        }
        let mut found = Vec::new();
        let steps = index.find("room.777.chat", |number| found.push(number));
        assert_eq!((found, steps), (vec![777], 3));
    }
}
