//! `[namespace.<prefix>]`: what differs for the topics whose names begin with a prefix.

use std::time::Duration;

use crate::id::Priority;

use super::kind::{Choice, Count, Flag, Maybe, OneNumberOf, OneOf, Size, Time};
use super::section::section;
use super::size::{GIB, KIB, MIB};
use super::{Access, Events, Hub, SlowConsumer};

section! {
    /// What differs for topics whose names begin with a prefix, quoted when it holds a dot; the
    /// longest one counts. What is left out is taken from [hub] and [events].
    pub(super) struct Overrides(mode) {
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
        /// As hub.history_size.
        history_size: Option<usize> = None, Maybe(Count(0..=100_000_000));
        /// As hub.history_ttl.
        history_ttl: Option<Duration> = None, Maybe(Time(Duration::from_secs(1)..=Duration::from_hours(24 * 365)));
        /// As hub.presence.
        presence: Option<bool> = None, Maybe(Flag);
        /// As hub.presence_grace.
        presence_grace: Option<Duration> = None, Maybe(Time(Duration::ZERO..=Duration::from_hours(1)));
    }
}

/// What holds for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// What happens to a client that lags too far behind.
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
    /// Messages kept for clients that come back; 0: none.
    pub history_size: usize,
    /// How long a message is kept.
    pub history_ttl: Duration,
    /// Whether it is told who comes and goes.
    pub presence: bool,
    /// How long somebody may be away before it is told.
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
    /// What holds for a topic that no prefix matches.
    default: Namespace,
    /// What holds for the others, the longest prefix first.
    by_prefix: Vec<(String, Namespace)>,
    /// The keys that were given, for whoever prints the configuration, in the same order.
    pub(super) given: Vec<(String, Overrides)>,
}

impl Namespaces {
    /// Fills in what `given` leaves out. Prefixes are distinct.
    pub(super) fn new(mut given: Vec<(String, Overrides)>, hub: &Hub, events: &Events) -> Self {
        given.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let default = Namespace {
            slow_consumer: hub.slow_consumer,
            max_lag: hub.max_lag,
            max_lag_messages: hub.max_lag_messages,
            priority: Priority::Normal,
            max_message_size: events.max_message_size,
            subscribe: events.subscribe,
            publish: events.publish,
            history_size: hub.history_size,
            history_ttl: hub.history_ttl,
            presence: hub.presence,
            presence_grace: hub.presence_grace,
        };
        let by_prefix = given
            .iter()
            .map(|(prefix, keys)| (prefix.clone(), default.with(keys)))
            .collect();
        Self {
            default,
            by_prefix,
            given,
        }
    }

    /// What holds for `topic`: the namespace of the longest prefix it begins with, or the default.
    ///
    /// Cost: one comparison per configured prefix; meant for the moment a topic appears.
    pub fn of(&self, topic: &str) -> &Namespace {
        let matching = self
            .by_prefix
            .iter()
            .find(|(prefix, _)| topic.starts_with(prefix.as_str()));
        matching.map_or(&self.default, |(_, namespace)| namespace)
    }

    /// What holds for a topic that no prefix matches.
    pub fn default(&self) -> &Namespace {
        &self.default
    }

    /// Every prefix with what holds for it, the longest first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Namespace)> {
        self.by_prefix
            .iter()
            .map(|(prefix, namespace)| (prefix.as_str(), namespace))
    }
}

impl Namespace {
    /// The keys that would set all of this.
    pub(super) fn as_overrides(&self) -> Overrides {
        Overrides {
            slow_consumer: Some(self.slow_consumer),
            max_lag: Some(self.max_lag),
            max_lag_messages: Some(self.max_lag_messages),
            priority: Some(self.priority),
            max_message_size: Some(self.max_message_size),
            subscribe: Some(self.subscribe),
            publish: Some(self.publish),
            history_size: Some(self.history_size),
            history_ttl: Some(self.history_ttl),
            presence: Some(self.presence),
            presence_grace: Some(self.presence_grace),
        }
    }

    fn with(&self, keys: &Overrides) -> Self {
        Self {
            slow_consumer: keys.slow_consumer.unwrap_or(self.slow_consumer),
            max_lag: keys.max_lag.unwrap_or(self.max_lag),
            max_lag_messages: keys.max_lag_messages.unwrap_or(self.max_lag_messages),
            priority: keys.priority.unwrap_or(self.priority),
            max_message_size: keys.max_message_size.unwrap_or(self.max_message_size),
            subscribe: keys.subscribe.unwrap_or(self.subscribe),
            publish: keys.publish.unwrap_or(self.publish),
            history_size: keys.history_size.unwrap_or(self.history_size),
            history_ttl: keys.history_ttl.unwrap_or(self.history_ttl),
            presence: keys.presence.unwrap_or(self.presence),
            presence_grace: keys.presence_grace.unwrap_or(self.presence_grace),
        }
    }
}
