//! `[namespace."<prefix>"]` and `[topic."<name>"]`: what differs for the topics whose names begin with a prefix, and for one
//! topic. Both are a scope ([`crate::topic::scope`]).

use std::time::Duration;

use crate::id::Priority;
use crate::topic::{self, Selector, scope};

use super::kind::{Choice, Count, FlagKind, Maybe, OneNumberOf, OneOf, Size, Time};
use super::section::{SectionRules, section};
use super::setting::section_of;
use super::size::{GIB, KIB, MIB};
use super::{Access, ClientLimits, Hub, SlowConsumer};

section! {
    /// What differs for topics whose names begin with a prefix that ends in a separator, in quotes; the
    /// longest one counts. For one topic alone: [topic."news"], with the same keys. What is left out is
    /// taken from [hub] and [events].
    pub(super) struct Overrides("namespace", mode) {
        /// As hub.slow_consumer.
        slow_consumer: Option<SlowConsumer> = None, Maybe(OneOf);
        /// As hub.max_lag.
        max_lag: Option<usize> = None, Maybe(Size(KIB..=64 * GIB));
        /// As hub.max_lag_messages.
        max_lag_messages: Option<usize> = None, Maybe(Count(0..=1_000_000_000));
        /// Priority of the messages: 10 critical, 8 high, 5 normal, 3 low, 1 background.
        priority: Option<Priority> = None, Maybe(OneNumberOf);
        /// As events.max_message_size.
        max_message_size: Option<usize> = None, Maybe(Size(KIB..=64 * MIB));
        /// As events.subscribe.
        subscribe: Option<Access> = None, Maybe(OneOf);
        /// As events.publish.
        publish: Option<Access> = None, Maybe(OneOf);
        /// As events.publisher.
        publisher: Option<bool> = None, Maybe(FlagKind);
        /// As hub.history_size.
        history_size: Option<usize> = None, Maybe(Count(0..=100_000_000));
        /// As hub.history_ttl.
        history_ttl: Option<Duration> = None, Maybe(Time(Duration::from_secs(1)..=Duration::from_hours(24 * 365)));
        /// As hub.presence.
        presence: Option<bool> = None, Maybe(FlagKind);
        /// As hub.presence_grace.
        presence_grace: Option<Duration> = None, Maybe(Time(Duration::ZERO..=Duration::from_hours(1)));
    }
}

impl SectionRules for Overrides {}

/// The settings of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// The policy for slow consumers.
    pub slow_consumer: SlowConsumer,
    /// Bytes a client may lag behind the head.
    pub max_lag: usize,
    /// Messages a client may lag behind the head; 0: no limit.
    pub max_lag_messages: usize,
    /// Priority of messages that say none themselves.
    pub priority: Priority,
    /// Payload bytes of a message.
    pub max_message_size: usize,
    /// Who may subscribe.
    pub subscribe: Access,
    /// Who may publish.
    pub publish: Access,
    /// Whether events name the user who published them.
    pub publisher: bool,
    /// Messages kept for clients that come back; 0: none.
    pub history_size: usize,
    /// How long a message is kept.
    pub history_ttl: Duration,
    /// Whether presence is kept and published.
    pub presence: bool,
    /// How long a user may be away before the absence is published.
    pub presence_grace: Duration,
}

impl Choice for Priority {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("1", Self::Background),
        ("3", Self::Low),
        ("5", Self::Normal),
        ("8", Self::High),
        ("10", Self::Critical),
    ];
}

/// The namespaces of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespaces {
    /// The settings of topics that are in no scope.
    default: Namespace,
    /// The settings by scope, the longest first.
    by_scope: Vec<(String, Namespace)>,
    /// The keys that were given, in the same order, for printing the configuration.
    pub(super) given: Vec<(String, Overrides)>,
}

impl Namespaces {
    /// Completes `given` with defaults. Scopes are distinct.
    pub(super) fn new(
        mut given: Vec<(String, Overrides)>,
        hub: &Hub,
        clients: &ClientLimits,
    ) -> Self {
        given.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let default = Namespace {
            slow_consumer: hub.slow_consumer,
            max_lag: hub.max_lag,
            max_lag_messages: hub.max_lag_messages,
            priority: Priority::Normal,
            max_message_size: clients.max_message_size,
            subscribe: clients.subscribe,
            publish: clients.publish,
            publisher: clients.publisher,
            history_size: hub.history_size,
            history_ttl: hub.history_ttl,
            presence: hub.presence,
            presence_grace: hub.presence_grace,
        };
        let by_scope = given
            .iter()
            .map(|(scope, keys)| (scope.clone(), default.with(keys)))
            .collect();
        Self {
            default,
            by_scope,
            given,
        }
    }

    /// The settings of `topic`: those of its own section, or of the longest prefix that its name begins with, or the
    /// defaults.
    ///
    /// Cost: one comparison per scope; meant for the moment a topic appears.
    pub fn of(&self, topic: &str) -> &Namespace {
        let matching = self
            .by_scope
            .iter()
            .find(|(scope, _)| scope::has_topic(scope, topic));
        matching.map_or(&self.default, |(_, namespace)| namespace)
    }

    /// The settings of topics that are in no scope.
    pub fn default(&self) -> &Namespace {
        &self.default
    }

    /// Whether `holds` of every namespace that a topic of `selector` may be in, given with its scope; the
    /// default has none. The longest scope comes first.
    ///
    /// Cost: for a topic as [`Self::of`]; for a pattern two passes over it per scope.
    pub fn all<'a>(
        &'a self,
        selector: &Selector<'_>,
        mut holds: impl FnMut(Option<&'a str>, &'a Namespace) -> bool,
    ) -> bool {
        for (scope, namespace) in self.iter() {
            let (overlaps, covers) = match selector {
                Selector::Topic(name) => {
                    let is_in = scope::has_topic(scope, name);
                    (is_in, is_in)
                }
                Selector::Pattern(pattern) => (
                    scope::meets(scope, pattern),
                    scope::has_all_of(scope, pattern),
                ),
            };
            if overlaps && !holds(Some(scope), namespace) {
                return false;
            }
            // Behind the longest prefix that all of these topics begin with, shorter ones and the
            // default hold for none of them.
            if covers {
                return true;
            }
        }
        holds(None, &self.default)
    }

    /// Warnings about valid but probably unintended settings, a sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (at, (prefix, keys)) in self.given.iter().enumerate() {
            let section = section_of(prefix);
            let is_odd =
                prefix.starts_with(['.', ':']) || prefix.contains("..") || prefix.contains("::");
            if is_odd && scope::is_prefix(prefix) {
                warnings.push(format!(
                    "[{section}] holds only for topics with nothing between two separators, as {prefix}a"
                ));
            }
            // The next one that its topics would be in comes behind it.
            let shorter = self.given[at + 1..].iter();
            let mut shorter = shorter.filter(|(shorter, _)| scope::has_topic(shorter, prefix));
            if let Some((shorter, theirs)) = shorter.next() {
                let shorter = section_of(shorter);
                let base = &self.default;
                let subscribe = (keys.subscribe, theirs.subscribe, base.subscribe);
                let publish = (keys.publish, theirs.publish, base.publish);
                for (key, (own, theirs, base)) in [("subscribe", subscribe), ("publish", publish)] {
                    if let (None, Some(theirs)) = (own, theirs)
                        && theirs > base
                    {
                        let (theirs, base) = (theirs.name(), base.name());
                        warnings.push(format!(
                            "[{section}] leaves out `{key}`, which is \"{base}\" there by [events] and not \"{theirs}\" \
                             as in [{shorter}]: write `{key} = \"{theirs}\"` or `{key} = \"{base}\"`"
                        ));
                    }
                }
            }
        }
        warnings
    }

    /// Every scope with its settings, the longest first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Namespace)> {
        self.by_scope
            .iter()
            .map(|(scope, namespace)| (scope.as_str(), namespace))
    }
}

/// The section that is likely meant by `name`, which may be a glob or a path, and a topic where it ends in no separator;
/// `None`: all topics.
pub(super) fn as_section(name: &str) -> Option<String> {
    let scope = topic::likely_prefix(name);
    (!scope.is_empty()).then(|| section_of(&scope))
}

/// The same where a prefix is meant for certain.
pub(super) fn as_namespace(name: &str) -> Option<String> {
    let mut scope = topic::likely_prefix(name);
    if !scope.is_empty() && !scope::is_prefix(&scope) {
        scope.push('.');
    }
    (!scope.is_empty()).then(|| section_of(&scope))
}

/// What joins the keys of a namespace with its settings, each of which has the name of its key.
macro_rules! settings {
    ($($key:ident)*) => {
        impl Namespace {
            /// The keys that would set all of this.
            pub(super) fn as_overrides(&self) -> Overrides {
                Overrides { $($key: Some(self.$key)),* }
            }

            fn with(&self, keys: &Overrides) -> Self {
                Self { $($key: keys.$key.unwrap_or(self.$key)),* }
            }
        }
    };
}

settings! {
    slow_consumer max_lag max_lag_messages priority max_message_size subscribe publish publisher history_size history_ttl
    presence presence_grace
}
