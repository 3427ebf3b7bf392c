//! The topics and patterns that a connection has subscribed to.

use crate::collections::IndexSet;

/// A set of names in order of insertion: a list that is searched linearly, or an index set above [`FEW_MAX`] names.
#[derive(Debug)]
pub(super) enum Subscriptions {
    Few(Vec<Box<str>>),
    Many(Box<IndexSet<Box<str>>>),
}

/// The longest list that is searched linearly.
const FEW_MAX: usize = 32;

impl Default for Subscriptions {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(names) => names.len(),
            Self::Many(names) => names.len(),
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        match self {
            Self::Few(names) => names.iter().any(|known| **known == *name),
            Self::Many(names) => names.contains(name),
        }
    }

    /// Adds a name that is not in the set.
    pub(super) fn add(&mut self, name: &str) {
        debug_assert!(!self.contains(name), "{name} is there");
        if let Self::Few(names) = self
            && names.len() == FEW_MAX
        {
            *self = Self::Many(Box::new(names.drain(..).collect()));
        }
        match self {
            Self::Few(names) => names.push(name.into()),
            Self::Many(names) => {
                names.insert(name.into());
            }
        }
    }

    /// Removes a name. In an index set the last name takes its position.
    pub(super) fn remove(&mut self, name: &str) -> Option<Box<str>> {
        match self {
            Self::Few(names) => {
                let at = names.iter().position(|known| **known == *name)?;
                Some(names.remove(at))
            }
            Self::Many(names) => names.swap_take(name),
        }
    }

    /// Removes and returns all names.
    pub(super) fn take(&mut self) -> Vec<Box<str>> {
        match std::mem::take(self) {
            Self::Few(names) => names,
            Self::Many(names) => names.into_iter().collect(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let (few, many) = match self {
            Self::Few(names) => (Some(names.iter()), None),
            Self::Many(names) => (None, Some(names.iter())),
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
                let name = format!("topic.{name}");
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
