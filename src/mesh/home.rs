//! A home: the topics whose order and offsets this shard decides.

use slab::Slab;

use crate::collections::HashMap;
use crate::id::{ShardId, TopicId, WireFormat};
use crate::topic::Pattern;

/// The topics a shard is home to.
#[derive(Debug)]
pub struct Home {
    topics: Slab<HomeTopic>,
    names: HashMap<Box<str>, TopicId>,
    patterns: Vec<(Interest, Pattern)>,
    topics_max: usize,
    /// The next topic's epoch.
    epoch: u64,
}

/// A topic at its home.
#[derive(Debug)]
pub struct HomeTopic {
    name: Box<str>,
    /// Tells this life of the topic from an earlier one whose offsets mean
    /// something else.
    epoch: u64,
    /// The newest message's offset; the first one is 1.
    offset: u64,
    interest: Vec<Interest>,
    /// Published to or asked about since the last sweep.
    used: bool,
}

/// A shard that has subscribers of a topic in a format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interest {
    /// Which shard.
    pub shard: ShardId,
    /// In which format.
    pub format: WireFormat,
}

/// A topic that was looked up.
#[derive(Debug)]
pub enum Opened {
    /// It was there.
    Known(TopicId),
    /// It is new, and these shards want it because of their patterns.
    Appeared(TopicId, Vec<Interest>),
    /// It is not there and there are as many as a publication may make.
    Full,
}

impl HomeTopic {
    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The topic's epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The newest message's offset; 0 before the first.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Who wants the topic's messages, in which format.
    #[must_use]
    pub fn interest(&self) -> &[Interest] {
        &self.interest
    }
}

impl Home {
    /// A home without topics. `epoch` must be larger than that of any earlier
    /// process: the wall clock in milliseconds, say.
    #[must_use]
    pub fn new(topics_max: usize, epoch: u64) -> Self {
        Self {
            topics: Slab::new(),
            names: HashMap::default(),
            patterns: Vec::new(),
            topics_max,
            epoch,
        }
    }

    /// The topic of this name for a publication, made if need be.
    ///
    /// Cost: one lookup; for a new topic, one match for each pattern.
    pub fn open(&mut self, name: &str) -> Opened {
        if let Some(&id) = self.names.get(name) {
            self.topics[id.index()].used = true;
            return Opened::Known(id);
        }
        if self.topics.len() >= self.topics_max {
            return Opened::Full;
        }
        let (id, interest) = self.make(name);
        Opened::Appeared(id, interest)
    }

    /// The topic of this name for a subscriber, made if need be, and who else
    /// wants it if it is new. Subscribers are limited by the hubs they are in.
    pub fn open_for_subscriber(&mut self, name: &str) -> (TopicId, Vec<Interest>) {
        match self.names.get(name) {
            Some(&id) => (id, Vec::new()),
            None => self.make(name),
        }
    }

    fn make(&mut self, name: &str) -> (TopicId, Vec<Interest>) {
        let mut interest = Vec::new();
        for (wanted, pattern) in &self.patterns {
            if !interest.contains(wanted) && pattern.matches(name) {
                interest.push(*wanted);
            }
        }
        let topic = HomeTopic {
            name: name.into(),
            epoch: self.epoch,
            offset: 0,
            interest: interest.clone(),
            used: true,
        };
        self.epoch += 1;
        let id =
            TopicId(u32::try_from(self.topics.insert(topic)).expect("topics_max is below 2^32"));
        self.names.insert(name.into(), id);
        (id, interest)
    }

    /// A topic that [`Self::open`] gave.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> &HomeTopic {
        &self.topics[id.index()]
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Gives the topic's next message its offset.
    pub fn next_offset(&mut self, id: TopicId) -> u64 {
        let topic = &mut self.topics[id.index()];
        topic.offset += 1;
        topic.offset
    }

    /// Notes that a shard wants a topic.
    pub fn add_interest(&mut self, id: TopicId, interest: Interest) {
        let all = &mut self.topics[id.index()].interest;
        if !all.contains(&interest) {
            all.push(interest);
        }
    }

    /// Forgets that a shard wants a topic. Returns the topic's number, if it
    /// is known.
    pub fn remove_interest(&mut self, name: &str, interest: Interest) -> Option<TopicId> {
        let id = *self.names.get(name)?;
        self.topics[id.index()]
            .interest
            .retain(|other| *other != interest);
        Some(id)
    }

    /// Whether a shard wants a topic, in any format.
    #[must_use]
    pub fn is_wanted_by(&self, name: &str, shard: ShardId) -> bool {
        self.names.get(name).is_some_and(|id| {
            let mut wanting = self.topics[id.index()].interest.iter();
            wanting.any(|interest| interest.shard == shard)
        })
    }

    /// Notes that a shard wants whatever matches, and returns the topics that
    /// do and that it did not want before.
    pub fn add_pattern(&mut self, interest: Interest, pattern: Pattern) -> Vec<TopicId> {
        let mut found = Vec::new();
        for (id, topic) in &mut self.topics {
            if pattern.matches(&topic.name) && !topic.interest.contains(&interest) {
                topic.interest.push(interest);
                found.push(TopicId(u32::try_from(id).expect("as in open")));
            }
        }
        if !self
            .patterns
            .iter()
            .any(|(i, p)| *i == interest && *p == pattern)
        {
            self.patterns.push((interest, pattern));
        }
        found
    }

    /// Forgets a pattern for topics that are yet to come.
    pub fn remove_pattern(&mut self, interest: Interest, pattern: &Pattern) {
        let at = self
            .patterns
            .iter()
            .position(|(i, p)| *i == interest && p == pattern);
        if let Some(at) = at {
            self.patterns.swap_remove(at);
        }
    }

    /// Forgets topics that nobody wants and that were not used since the last
    /// call. If one comes back, it does so in a new epoch.
    ///
    /// Cost: a look at every topic; called by the ticker.
    pub fn sweep(&mut self) {
        let names = &mut self.names;
        self.topics.retain(|_, topic| {
            let keep = std::mem::take(&mut topic.used) || !topic.interest.is_empty();
            if !keep {
                names.remove(&topic.name);
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interest(shard: u16) -> Interest {
        Interest {
            shard: ShardId(shard),
            format: WireFormat::EventsJson,
        }
    }

    fn known(home: &mut Home, name: &str) -> TopicId {
        match home.open(name) {
            Opened::Known(id) | Opened::Appeared(id, _) => id,
            Opened::Full => panic!("full"),
        }
    }

    #[test]
    fn offsets_count_from_one() {
        let mut home = Home::new(10, 7);
        let id = known(&mut home, "a");
        assert_eq!((home.next_offset(id), home.next_offset(id)), (1, 2));
        assert_eq!(home.topic(id).offset(), 2);
    }

    #[test]
    fn a_pattern_selects_topics_before_and_after_it() {
        let mut home = Home::new(10, 7);
        let before = known(&mut home, "a.1");
        known(&mut home, "b.1");
        let pattern = Pattern::parse("a.*").unwrap();
        assert_eq!(home.add_pattern(interest(3), pattern.clone()), [before]);
        assert!(home.add_pattern(interest(3), pattern.clone()).is_empty());
        let Opened::Appeared(id, wanted) = home.open("a.2") else {
            panic!("new")
        };
        assert_eq!(wanted, [interest(3)]);
        assert_eq!(home.topic(id).interest(), [interest(3)]);
        home.remove_pattern(interest(3), &pattern);
        assert!(matches!(home.open("a.3"), Opened::Appeared(_, wanted) if wanted.is_empty()));
    }

    #[test]
    fn a_topic_that_comes_back_has_a_new_epoch() {
        let mut home = Home::new(1, 7);
        let id = known(&mut home, "a");
        let epoch = home.topic(id).epoch();
        home.sweep();
        assert!(matches!(home.open("b"), Opened::Full));
        home.sweep();
        let id = known(&mut home, "a");
        assert!(home.topic(id).epoch() > epoch);
        home.add_interest(id, interest(0));
        home.sweep();
        home.sweep();
        assert!(matches!(home.open("a"), Opened::Known(_)));
        assert_eq!(home.remove_interest("a", interest(0)), Some(id));
        home.sweep();
        home.sweep();
        assert!(matches!(home.open("a"), Opened::Appeared(..)));
    }
}
