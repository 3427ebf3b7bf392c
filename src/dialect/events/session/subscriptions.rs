//! The topics and patterns that a connection has subscribed to.

use crate::collections::IndexSet;

/// A set of topics and patterns in order of insertion: a list that is searched linearly, or an index above [`FEW_MAX`]
/// names.
#[derive(Debug)]
pub(super) enum Subscriptions {
    Few(Vec<Box<str>>),
    Many(Box<SubscriptionIndex>),
}

/// Names with the number of patterns among them.
#[derive(Debug)]
pub(super) struct SubscriptionIndex {
    names: IndexSet<Box<str>>,
    pattern_count: usize,
}

/// The longest list that is searched linearly.
const FEW_MAX: usize = 32;

/// Whether a subscription is a pattern: no topic of this protocol has a star in its name.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains('*')
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(names) => names.len(),
            Self::Many(index) => index.names.len(),
        }
    }

    /// The number of patterns among the names.
    pub(super) fn pattern_count(&self) -> usize {
        match self {
            Self::Few(names) => names.iter().filter(|name| is_pattern(name)).count(),
            Self::Many(index) => index.pattern_count,
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        match self {
            Self::Few(names) => names.iter().any(|known| **known == *name),
            Self::Many(index) => index.names.contains(name),
        }
    }

    /// Adds a name that is not in the set.
    pub(super) fn add(&mut self, name: &str) {
        debug_assert!(!self.contains(name), "{name} is there");
        if self.len() == FEW_MAX
            && let Self::Few(names) = self
        {
            let index = SubscriptionIndex {
                pattern_count: names.iter().filter(|name| is_pattern(name)).count(),
                names: names.drain(..).collect(),
            };
            *self = Self::Many(Box::new(index));
        }
        match self {
            Self::Few(names) => names.push(name.into()),
            Self::Many(index) => {
                index.names.insert(name.into());
                index.pattern_count += usize::from(is_pattern(name));
            }
        }
    }

    /// Removes a name. In an index the last name takes its position.
    pub(super) fn remove(&mut self, name: &str) -> Option<Box<str>> {
        match self {
            Self::Few(names) => {
                let at = names.iter().position(|known| **known == *name)?;
                Some(names.remove(at))
            }
            Self::Many(index) => {
                let removed = index.names.swap_take(name)?;
                index.pattern_count -= usize::from(is_pattern(name));
                Some(removed)
            }
        }
    }

    /// Removes and returns all names.
    pub(super) fn take(&mut self) -> Vec<Box<str>> {
        match std::mem::take(self) {
            Self::Few(names) => names,
            Self::Many(index) => index.names.into_iter().collect(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let (few, many) = match self {
            Self::Few(names) => (Some(names.iter()), None),
            Self::Many(index) => (None, Some(index.names.iter())),
        };
        let names = few.into_iter().flatten().chain(many.into_iter().flatten());
        names.map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a list that is always looked through, but for the order once names were taken out of many.
        #[test]
        fn names_are_those_that_were_added_and_not_removed(
            steps in prop::collection::vec((0_u8..90, prop::bool::weighted(0.7)), 0..300),
        ) {
            let (mut names, mut model) = (Subscriptions::default(), Vec::<String>::new());
            for (name, is_added) in steps {
                let name = format!("topic.{name}{}", if name % 5 == 0 { ".*" } else { "" });
                prop_assert_eq!(names.contains(&name), model.contains(&name));
                if is_added && !model.contains(&name) {
                    names.add(&name);
                    model.push(name);
                } else if !is_added {
                    let was_there = model.contains(&name);
                    model.retain(|known| *known != name);
                    prop_assert_eq!(names.remove(&name).is_some(), was_there);
                }
                prop_assert_eq!(names.len(), model.len());
                let patterns = model.iter().filter(|name| is_pattern(name)).count();
                prop_assert_eq!(names.pattern_count(), patterns);
                if let Subscriptions::Few(_) = names {
                    prop_assert!(names.iter().eq(model.iter().map(|name| &**name)));
                }
            }
            let mut all: Vec<_> = names.iter().map(String::from).collect();
            prop_assert_eq!(names.take().iter().map(|name| String::from(&**name)).collect::<Vec<_>>(), all.clone());
            prop_assert_eq!(names.len(), 0);
            all.sort();
            model.sort();
            prop_assert_eq!(all, model);
        }
    }
}
