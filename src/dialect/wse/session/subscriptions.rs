//! What a client has subscribed to.

use crate::topic::Pattern;

/// The names and patterns of a connection, in the order in which they came. They are few: searched one by one.
#[derive(Default, Debug)]
pub(super) struct Subscriptions(Vec<Box<str>>);

/// Whether a client means a pattern: `*` and `?` are not in names that it can subscribe to.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|known| **known == *name)
    }

    /// Adds one that is not there.
    pub(super) fn add(&mut self, name: &str) {
        debug_assert!(!self.contains(name));
        self.0.push(name.into());
    }

    /// Removes one. Returns whether it was there.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let at = self.0.iter().position(|known| **known == *name);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// Removes and returns all.
    pub(super) fn take(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// How many of them are patterns.
    pub(super) fn pattern_count(&self) -> usize {
        self.iter().filter(|name| is_pattern(name)).count()
    }

    /// Whether one of its patterns matches a topic.
    pub(super) fn covers(&self, topic: &str) -> bool {
        let patterns = self.iter().filter(|name| is_pattern(name));
        patterns
            .filter_map(Pattern::bytes)
            .any(|pattern| pattern.matches(topic))
    }
}
