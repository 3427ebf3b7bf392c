//! The treatment of slow consumers, by topic.

use crate::config::SlowConsumer;
use crate::id::Priority;
use crate::topic::{Pattern, scope};

/// The slow-consumer policy of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The action. `DropOldest` skips to half the limit, `DropLowest` skips whole topics, lowest rank first, until the
    /// peer is below the limit, `Conflate` skips to the newest message. Each reports how many were skipped.
    pub slow: SlowConsumer,
    /// The lag in bytes that makes a peer slow.
    pub lag_bytes_max: u64,
    /// The lag in messages that makes a peer slow; 0 is unlimited.
    pub lag_messages_max: u64,
    /// The topic's rank, for [`SlowConsumer::DropLowest`].
    pub priority: Priority,
}

impl Policy {
    /// The policy of a log that merges two topics: it loses or delays messages only where both allow it.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        let strictness = |policy: &Self| match policy.slow {
            SlowConsumer::Conflate => 0,
            SlowConsumer::DropLowest => 1,
            SlowConsumer::DropOldest => 2,
            SlowConsumer::Disconnect => 3,
        };
        let stricter = if strictness(&self) >= strictness(&other) {
            self.slow
        } else {
            other.slow
        };
        let limits = [self.lag_messages_max, other.lag_messages_max];
        Self {
            slow: stricter,
            lag_bytes_max: self.lag_bytes_max.min(other.lag_bytes_max),
            lag_messages_max: limits.into_iter().filter(|&max| max > 0).min().unwrap_or(0),
            priority: self.priority.max(other.priority),
        }
    }
}

/// All policies: the default, and one for each scope.
#[derive(Clone, Debug)]
pub struct Policies {
    default: Policy,
    /// By scope, the longest first, so that the first match applies.
    namespaces: Vec<(Box<str>, Policy)>,
}

impl Policies {
    /// The default policy, and those of scopes ([`scope`]).
    #[must_use]
    pub fn new(default: Policy, namespaces: impl IntoIterator<Item = (Box<str>, Policy)>) -> Self {
        let mut namespaces: Vec<_> = namespaces.into_iter().collect();
        namespaces.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Self {
            default,
            namespaces,
        }
    }

    /// The policy of the shared log of these patterns: the strictest of all topics they can match.
    ///
    /// Cost: a walk over all namespaces for each pattern.
    #[must_use]
    pub fn of_patterns(&self, patterns: &[Pattern]) -> Policy {
        let all = patterns.iter().flat_map(|pattern| self.of_pattern(pattern));
        all.reduce(Policy::strictest).unwrap_or(self.default)
    }

    /// The policies of the topics that a pattern can match.
    fn of_pattern(&self, pattern: &Pattern) -> Vec<Policy> {
        let mut met = Vec::new();
        for (prefix, policy) in &self.namespaces {
            if scope::meets(prefix, pattern) {
                met.push(*policy);
            }
            if scope::has_all_of(prefix, pattern) {
                // Shorter ones cannot apply: this one covers all matches.
                return met;
            }
        }
        met.push(self.default);
        met
    }

    /// The policy of `topic`: that of its longest matching scope.
    ///
    /// Cost: a walk over all scopes, once when a topic is created.
    #[must_use]
    pub fn of(&self, topic: &str) -> Policy {
        let found = self
            .namespaces
            .iter()
            .find(|(scope, _)| scope::has_topic(scope, topic));
        found.map_or(self.default, |(_, policy)| *policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merged_log_is_as_strict_as_its_strictest_topic() {
        let policy = |slow, lag_bytes_max, lag_messages_max, priority| Policy {
            slow,
            lag_bytes_max,
            lag_messages_max,
            priority,
        };
        let a = policy(SlowConsumer::Conflate, 10, 0, Priority::High);
        let b = policy(SlowConsumer::Disconnect, 20, 7, Priority::Low);
        let both = policy(SlowConsumer::Disconnect, 10, 7, Priority::High);
        assert_eq!(a.strictest(b), both);
        assert_eq!(b.strictest(a), both);
        assert_eq!(a.strictest(a), a);
    }

    #[test]
    fn a_log_of_patterns_is_as_strict_as_what_they_may_match() {
        let policy = |slow| Policy {
            slow,
            lag_bytes_max: 1,
            lag_messages_max: 0,
            priority: Priority::Normal,
        };
        let policies = Policies::new(
            policy(SlowConsumer::DropOldest),
            [
                ("a.".into(), policy(SlowConsumer::Disconnect)),
                ("a.b.".into(), policy(SlowConsumer::Conflate)),
                ("c.".into(), policy(SlowConsumer::DropLowest)),
            ],
        );
        let check = |patterns: &[&str], expected| {
            let patterns = patterns.iter().map(|text| Pattern::segments(text).unwrap());
            let patterns: Vec<Pattern> = patterns.collect();
            assert_eq!(
                policies.of_patterns(&patterns).slow,
                expected,
                "{patterns:?}"
            );
        };
        check(&["a.b.*"], SlowConsumer::Conflate);
        check(&["a.b.c*"], SlowConsumer::Conflate);
        check(&["a.*"], SlowConsumer::Disconnect);
        check(&["x.*"], SlowConsumer::DropOldest);
        check(&["c.*"], SlowConsumer::DropLowest);
        check(&["c.*", "a.b.*"], SlowConsumer::DropLowest);
        check(&["*"], SlowConsumer::Disconnect);
        check(&["*.d"], SlowConsumer::Disconnect);
    }

    #[test]
    fn the_longest_prefix_wins() {
        let policy = |lag_bytes_max| Policy {
            slow: SlowConsumer::Disconnect,
            lag_bytes_max,
            lag_messages_max: 0,
            priority: Priority::Normal,
        };
        let policies = Policies::new(
            policy(0),
            [
                ("a.".into(), policy(1)),
                ("a.b.".into(), policy(2)),
                ("a.b.c".into(), policy(3)),
            ],
        );
        let check = |topic: &str, expected| assert_eq!(policies.of(topic).lag_bytes_max, expected);
        check("x", 0);
        check("a.c", 1);
        check("a.b.cc", 2);
        check("a.b.c", 3);
        check("a.b.c.d", 2);
    }
}
