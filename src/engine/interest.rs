//! This shard's interests: the topics of other homes whose messages are sent here.

use super::format::Formats;
use crate::collections::HashMap;
use crate::id::{FormatId, ShardId, TopicId};

/// The state of one interest, between this shard and the topic's home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum InterestState {
    /// The home does not know of it.
    None,
    /// Requested, not answered.
    Requested,
    /// Messages are sent here.
    Live,
    /// Withdrawn, not answered. Messages that still arrive are dropped, and a new subscriber waits until the home has
    /// forgotten the old interest, so that its stream begins at one defined point.
    Closing,
}

/// This shard's interests in topics whose home is another shard.
#[derive(Debug, Default)]
pub(super) struct Interests {
    states: HashMap<(TopicId, FormatId), InterestState>,
    /// The hub's id of each topic, by its home and its id there.
    local: HashMap<(ShardId, TopicId), TopicId>,
    /// The home's id and epoch of each topic that is sent here, by its id in the hub.
    remote: HashMap<TopicId, RemoteTopic>,
}

/// A topic as its home knows it.
#[derive(Clone, Copy, Debug)]
struct RemoteTopic {
    /// Its id at the home.
    home: TopicId,
    /// The epoch that its messages belong to.
    epoch: u64,
}

impl Interests {
    /// The state of the interest in `topic`.
    #[must_use]
    pub(super) fn state(&self, topic: TopicId, format: FormatId) -> InterestState {
        self.states
            .get(&(topic, format))
            .copied()
            .unwrap_or(InterestState::None)
    }

    /// Sets the state of the interest in `topic`.
    pub(super) fn set(&mut self, topic: TopicId, format: FormatId, state: InterestState) {
        match state {
            InterestState::None => self.states.remove(&(topic, format)),
            _ => self.states.insert((topic, format), state),
        };
    }

    /// Whether a home knows of an interest in `topic`, in any format.
    #[must_use]
    pub(super) fn has_any(&self, topic: TopicId, formats: &Formats) -> bool {
        let mut numbers = formats.numbers();
        numbers.any(|number| self.states.contains_key(&(topic, formats.id(number))))
    }

    /// Maps a home's topic id to the hub's, and records its epoch. Replaces the id of an earlier epoch.
    pub(super) fn bind(&mut self, shard: ShardId, home: TopicId, topic: TopicId, epoch: u64) {
        self.unbind(shard, topic);
        self.local.insert((shard, home), topic);
        self.remote.insert(topic, RemoteTopic { home, epoch });
    }

    /// Removes the mapping of a topic.
    pub(super) fn unbind(&mut self, shard: ShardId, topic: TopicId) {
        let Some(RemoteTopic { home, .. }) = self.remote.remove(&topic) else {
            return;
        };
        // The home may have given its id to another topic.
        if self.local.get(&(shard, home)) == Some(&topic) {
            self.local.remove(&(shard, home));
        }
    }

    /// The epoch of the messages that arrive; 0 if unknown.
    #[must_use]
    pub(super) fn epoch(&self, topic: TopicId) -> u64 {
        self.remote.get(&topic).map_or(0, |topic| topic.epoch)
    }

    /// The topic in the hub that a home's message goes to; `None` if the interest has been withdrawn.
    #[must_use]
    pub(super) fn local(&self, shard: ShardId, home: TopicId, format: FormatId) -> Option<TopicId> {
        let topic = *self.local.get(&(shard, home))?;
        (self.state(topic, format) == InterestState::Live).then_some(topic)
    }
}
