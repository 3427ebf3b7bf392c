//! What a shard has told the homes of other shards' topics that it wants.

use super::format::Formats;
use crate::collections::HashMap;
use crate::id::{FormatId, ShardId, TopicId};

/// How an interest stands between this shard and the topic's home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The home knows nothing.
    None,
    /// Asked for, not answered.
    Requested,
    /// Messages arrive.
    Live,
    /// Taken back, not answered. What still arrives belongs to nobody, and a
    /// new subscriber waits until the home has forgotten the old interest: its
    /// stream must begin at one point only.
    Closing,
}

/// This shard's interests in topics that live elsewhere.
#[derive(Debug, Default)]
pub(super) struct Interests {
    standing: HashMap<(TopicId, FormatId), Standing>,
    /// The hub's topic for a topic of a home.
    local: HashMap<(ShardId, TopicId), TopicId>,
    /// What is known of the topics that arrive.
    lives: HashMap<TopicId, Arriving>,
}

/// A topic as its home knows it.
#[derive(Clone, Copy, Debug)]
struct Arriving {
    /// The home's number of it.
    home: TopicId,
    /// Which life of the topic its messages belong to.
    epoch: u64,
}

impl Interests {
    /// How the interest in `topic` stands.
    #[must_use]
    pub(super) fn standing(&self, topic: TopicId, format: FormatId) -> Standing {
        self.standing
            .get(&(topic, format))
            .copied()
            .unwrap_or(Standing::None)
    }

    /// Notes how the interest in `topic` stands now.
    pub(super) fn set(&mut self, topic: TopicId, format: FormatId, standing: Standing) {
        match standing {
            Standing::None => self.standing.remove(&(topic, format)),
            _ => self.standing.insert((topic, format), standing),
        };
    }

    /// Whether the homes know of any interest in `topic`.
    #[must_use]
    pub(super) fn has_any(&self, topic: TopicId, formats: &Formats) -> bool {
        let mut numbers = formats.numbers();
        numbers.any(|number| self.standing.contains_key(&(topic, formats.id(number))))
    }

    /// Notes what a home's topic is called here, and its epoch. What it was called in an earlier life is
    /// forgotten.
    pub(super) fn name(&mut self, shard: ShardId, home: TopicId, topic: TopicId, epoch: u64) {
        self.unname(shard, topic);
        self.local.insert((shard, home), topic);
        self.lives.insert(topic, Arriving { home, epoch });
    }

    /// Forgets what a topic's home calls it.
    pub(super) fn unname(&mut self, shard: ShardId, topic: TopicId) {
        let Some(Arriving { home, .. }) = self.lives.remove(&topic) else {
            return;
        };
        // By now the home may call another topic so.
        if self.local.get(&(shard, home)) == Some(&topic) {
            self.local.remove(&(shard, home));
        }
    }

    /// Which life of the topic its messages belong to; 0 if it is not known.
    #[must_use]
    pub(super) fn epoch(&self, topic: TopicId) -> u64 {
        self.lives.get(&topic).map_or(0, |life| life.epoch)
    }

    /// Where a message from a home goes; `None` if nobody wants it any more.
    #[must_use]
    pub(super) fn local(&self, shard: ShardId, home: TopicId, format: FormatId) -> Option<TopicId> {
        let topic = *self.local.get(&(shard, home))?;
        (self.standing(topic, format) == Standing::Live).then_some(topic)
    }
}
