//! A home: the topics to which this shard assigns order and offsets.

use std::sync::Arc;

use slab::Slab;

use super::history::{History, Record, Retention};
use super::pattern_index::PatternIndex;
use super::queue_groups::{QueueGroup, QueueGroups, QueueMember};
use super::{Now, Post};
use crate::collections::HashMap;
use crate::config::Config;
use crate::id::Position;
use crate::id::{FormatId, PeerId, ShardId, TopicId};
use crate::topic::{self, Pattern};

/// The topics a shard is home to.
#[derive(Debug)]
pub(super) struct Home {
    topics: Slab<HomeTopic>,
    names: HashMap<Box<str>, TopicId>,
    patterns: PatternIndex<Interest>,
    /// Patterns added so far: a topic last looked up at another count is looked up again.
    patterns_added: u32,
    /// Steps of matching names against patterns, both ways, since the last [`Home::take_steps`].
    steps: usize,
    /// When the newest message of any forgotten topic was published.
    forgotten_ms: Option<u64>,
    config: Arc<Config>,
    /// The epoch of the next topic.
    epoch: u64,
    /// Bytes of memory in all histories, and their limit.
    history_held: usize,
    history_max: usize,
}

/// A topic at its home shard.
#[derive(Debug)]
pub(super) struct HomeTopic {
    name: Box<str>,
    /// Distinguishes this incarnation of the topic from earlier ones, whose offsets count other messages.
    epoch: u64,
    /// The newest message's offset; the first one is 1.
    offset: u64,
    /// When the newest message was published, in milliseconds since the process began.
    published_ms: u64,
    /// The newest presence message's number; the first one is 1.
    presence_sequence: u64,
    interest: Vec<Interest>,
    /// `None` without queue groups.
    queues: Option<Box<QueueGroups>>,
    /// [`Home::patterns_added`] when its name was last looked up among the patterns.
    patterns_seen: u32,
    retention: Retention,
    history: Option<Box<History>>,
    /// Whether it has had a subscriber whose format can resume.
    recoverable: bool,
    /// Published to or subscribed to since the last sweep.
    used: bool,
}

/// A shard that has subscribers of a topic in one format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Interest {
    /// The shard.
    pub shard: ShardId,
    /// The format it is sent.
    pub format: FormatId,
}

/// The topics that match a pattern and were published to since a given time.
#[derive(Debug)]
pub(super) struct PublishedSince {
    /// Each topic with the position to resume from; `None`: not every message since is retained.
    pub(super) topics: Vec<(TopicId, Option<Position>)>,
    /// Whether no matching topic was left out.
    pub(super) is_complete: bool,
}

/// What [`Home::open`] found.
#[derive(Debug)]
pub(super) enum Opened {
    /// The topic existed.
    Existing(TopicId),
    /// The topic is new; these shards have patterns that match it.
    Created(TopicId, Vec<Interest>),
    /// The topic does not exist, and publications may create no more.
    Full,
}

impl HomeTopic {
    /// The topic's name.
    #[must_use]
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The epoch, and the offset of the newest message.
    #[must_use]
    pub(super) fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.offset,
        }
    }

    /// The number of the newest presence message.
    #[must_use]
    pub(super) fn presence_sequence(&self) -> u64 {
        self.presence_sequence
    }

    /// Whether every message after `offset` is retained; true at the head.
    #[must_use]
    pub(super) fn retains_all_after(&self, offset: u64, now_ms: u64) -> bool {
        let oldest = self.after(offset, now_ms).next();
        offset <= self.offset
            && oldest.map_or(offset == self.offset, |record| record.offset == offset + 1)
    }

    /// The retained messages after `offset`, oldest first.
    pub(super) fn after(&self, offset: u64, now_ms: u64) -> impl Iterator<Item = Record<'_>> {
        let since = now_ms.saturating_sub(self.retention.age_ms_max);
        let kept = self.history.iter();
        kept.flat_map(move |history| history.after(offset))
            .skip_while(move |record| record.kept_ms < since)
    }

    /// The offset after which the newest retained messages begin, of which `count` are wanted at most.
    #[must_use]
    pub(super) fn before_last(&self, count: u64, now_ms: u64) -> u64 {
        let wanted = self.offset.saturating_sub(count);
        let first = self.after(wanted, now_ms).next();
        first.map_or(self.offset, |record| record.offset - 1)
    }

    /// The position just before the first message published at or after `since_ms`, if that message and all later
    /// ones are retained.
    fn position_before(&self, since_ms: u64, now_ms: u64) -> Option<Position> {
        // Complete only if an older message is retained, or the topic's first one is.
        let oldest = self.after(0, now_ms).next()?;
        if oldest.offset > 1 && oldest.kept_ms >= since_ms {
            return None;
        }
        let first = self.history.as_ref()?.since(since_ms)?;
        Some(Position {
            epoch: self.epoch,
            offset: first.offset - 1,
        })
    }

    /// The shards that have subscribers, each with a format.
    #[must_use]
    pub(super) fn interest(&self) -> &[Interest] {
        &self.interest
    }

    /// Its queue groups, if it has any.
    #[must_use]
    pub(super) fn queues(&self) -> Option<&QueueGroups> {
        self.queues.as_deref()
    }
}

/// Capacity of the topic tables below which they are not shrunk.
const SHRINK_FROM: usize = 1024;

/// Topics that one subscription may resume because of its patterns.
pub(super) const RECOVERED_TOPICS_MAX: usize = 1000;

impl Home {
    /// A home without topics, one of `shards`. `epoch` must exceed every epoch of earlier processes. The wall clock in
    /// microseconds does: no process creates a million topics a second.
    #[must_use]
    pub(super) fn new(config: Arc<Config>, shards: usize, epoch: u64) -> Self {
        Self {
            topics: Slab::new(),
            names: HashMap::default(),
            patterns: PatternIndex::default(),
            patterns_added: 0,
            steps: 0,
            forgotten_ms: None,
            epoch,
            history_held: 0,
            history_max: config.hub.max_history_memory / shards.max(1),
            config,
        }
    }

    /// Finds the topic of this name for a publication, or creates it.
    ///
    /// Cost: one lookup; for a new topic, that of [`PatternIndex::find`].
    pub(super) fn open(&mut self, name: &str) -> Opened {
        if let Some(&id) = self.names.get(name) {
            self.topics[id.index()].used = true;
            return Opened::Existing(id);
        }
        if self.topics.len() >= self.config.hub.max_topics {
            return Opened::Full;
        }
        let (id, interest) = self.make(name);
        Opened::Created(id, interest)
    }

    /// Finds the topic of this name for a subscriber, or creates it. Returns the shards whose patterns match it if
    /// it is new. Not limited here: the limits of the hubs apply.
    pub(super) fn open_for_subscriber(&mut self, name: &str) -> (TopicId, Vec<Interest>) {
        match self.names.get(name) {
            Some(&id) => (id, Vec::new()),
            None => self.make(name),
        }
    }

    fn make(&mut self, name: &str) -> (TopicId, Vec<Interest>) {
        debug_assert!(topic::is_internal(name) || topic::is_inbox(name) || topic::is_name(name));
        let mut interest: Vec<Interest> = Vec::new();
        self.steps += self.patterns.find(name, |wanted| {
            if !interest.contains(&wanted) {
                interest.push(wanted);
            }
        });
        let namespace = self.config.namespace(name);
        let topic = HomeTopic {
            name: name.into(),
            epoch: self.epoch,
            offset: 0,
            published_ms: 0,
            presence_sequence: 0,
            interest: interest.clone(),
            queues: None,
            patterns_seen: self.patterns_added,
            retention: Retention {
                // A broadcast is for the clients that are connected, so none is retained.
                messages_max: match topic::is_internal(name) {
                    true => 0,
                    false => namespace.history_size,
                },
                age_ms_max: u64::try_from(namespace.history_ttl.as_millis()).unwrap_or(u64::MAX),
            },
            history: None,
            recoverable: interest.iter().any(|wanted| wanted.format.recovers),
            used: true,
        };
        self.epoch += 1;
        let id =
            TopicId(u32::try_from(self.topics.insert(topic)).expect("topics_max is below 2^32"));
        self.names.insert(name.into(), id);
        (id, interest)
    }

    /// The topic of an id that [`Self::open`] returned.
    #[must_use]
    pub(super) fn topic(&self, id: TopicId) -> &HomeTopic {
        &self.topics[id.index()]
    }

    /// The topic of this name, if it exists.
    #[must_use]
    pub(super) fn find(&self, name: &str) -> Option<&HomeTopic> {
        self.names.get(name).map(|id| &self.topics[id.index()])
    }

    /// All topics.
    #[cfg(test)]
    pub(super) fn topics(&self) -> impl Iterator<Item = &HomeTopic> {
        self.topics.iter().map(|(_, topic)| topic)
    }

    /// Bytes of memory in all histories.
    #[must_use]
    pub(super) fn history_held(&self) -> usize {
        self.history_held
    }

    /// Assigns the next offset to a message, and retains it if the topic has a retention. A push to a user that has
    /// never had a resumable subscriber is not retained.
    ///
    /// Cost: a copy of the message if it is retained.
    pub(super) fn take(&mut self, id: TopicId, post: &Post<'_>, now: Now) -> u64 {
        let topic = &mut self.topics[id.index()];
        topic.offset += 1;
        topic.published_ms = now.ms;
        let offset = topic.offset;
        let is_kept = !post.only_live || topic.recoverable || topic.history.is_some();
        if is_kept && topic.retention.messages_max > 0 {
            let history = topic.history.get_or_insert_default();
            let held = history.held();
            history.append(offset, now, post, topic.retention.messages_max);
            self.history_held = self.history_held + history.held() - held;
            if self.history_held > self.history_max {
                self.free_memory();
            }
        }
        offset
    }

    /// Assigns the next presence number of a topic. Presence messages do not count as the topic's messages.
    pub(super) fn take_presence(&mut self, id: TopicId) -> u64 {
        let topic = &mut self.topics[id.index()];
        topic.presence_sequence += 1;
        topic.presence_sequence
    }

    /// Frees an eighth of the history memory limit: the largest histories drop their older half first.
    ///
    /// Cost: a look at every topic, at most once for each eighth of the limit that is filled.
    fn free_memory(&mut self) {
        let enough = self.history_max / 8 * 7;
        let mut largest: Vec<(usize, usize)> = self
            .topics
            .iter()
            .filter_map(|(id, topic)| Some((topic.history.as_ref()?.held(), id)))
            .collect();
        largest.sort_unstable_by_key(|&(held, _)| std::cmp::Reverse(held));
        while self.history_held > enough {
            for &(_, id) in &largest {
                if self.history_held <= enough {
                    break;
                }
                if let Some(history) = &mut self.topics[id].history {
                    let held = history.held();
                    history.forget_half();
                    self.history_held = self.history_held + history.held() - held;
                }
            }
        }
    }

    /// Drops messages older than their topic's retention.
    ///
    /// Cost: a look at every topic. Called by the ticker.
    pub(super) fn forget_old(&mut self, now_ms: u64) {
        for (_, topic) in &mut self.topics {
            if let Some(history) = &mut topic.history {
                let held = history.held();
                history.forget_before(now_ms.saturating_sub(topic.retention.age_ms_max));
                self.history_held = self.history_held + history.held() - held;
                if history.is_empty() {
                    topic.history = None;
                }
            }
        }
    }

    /// Adds a shard to the subscribers of a topic.
    pub(super) fn add_interest(&mut self, id: TopicId, interest: Interest) {
        let topic = &mut self.topics[id.index()];
        topic.recoverable |= interest.format.recovers;
        let all = &mut topic.interest;
        if !all.contains(&interest) {
            all.push(interest);
        }
    }

    /// Removes a shard from the subscribers of a topic.
    pub(super) fn remove_interest(&mut self, name: &str, interest: Interest) {
        if let Some(id) = self.names.get(name) {
            let topic = &mut self.topics[id.index()];
            topic.interest.retain(|other| *other != interest);
        }
    }

    /// Adds a member to a queue group of a topic. Returns `false` at the limit of groups.
    pub(super) fn join_queue(&mut self, id: TopicId, group: &str, member: QueueMember) -> bool {
        let queues = &mut self.topics[id.index()].queues;
        queues.get_or_insert_default().join(group, member)
    }

    /// Removes a member from a queue group of a topic, if it is one.
    pub(super) fn leave_queue(&mut self, name: &str, group: &str, member: (ShardId, PeerId)) {
        if let Some(id) = self.names.get(name)
            && let Some(queues) = &mut self.topics[id.index()].queues
        {
            queues.leave(group, member);
            if queues.is_empty() {
                self.topics[id.index()].queues = None;
            }
        }
    }

    /// The topic of this name, and the index of its queue group of that name.
    pub(super) fn find_queue(&self, name: &str, group: &str) -> Option<(TopicId, usize)> {
        let id = *self.names.get(name)?;
        Some((id, self.topic(id).queues()?.find(group)?))
    }

    /// A queue group, by its index.
    ///
    /// # Panics
    /// There is none.
    pub(super) fn queue_group_mut(&mut self, id: TopicId, index: usize) -> &mut QueueGroup {
        let queues = self.topics[id.index()].queues.as_mut();
        queues.expect("the caller has found it").group_mut(index)
    }

    /// Whether any shard has subscribers of a topic, members of its queue groups included.
    #[must_use]
    pub(super) fn is_wanted(&self, name: &str) -> bool {
        let known = self.find(name);
        if known.is_some_and(|topic| !topic.interest.is_empty() || topic.queues.is_some()) {
            return true;
        }
        let mut is_wanted = false;
        if known.is_none_or(|topic| topic.patterns_seen != self.patterns_added) {
            self.patterns.find(name, |_| is_wanted = true);
        }
        is_wanted
    }

    /// Topics that match a pattern and were published to at or after `since_ms`; at most
    /// [`RECOVERED_TOPICS_MAX`].
    ///
    /// Cost: a look at every topic, and a search in the history of each match.
    pub(super) fn published_since(
        &mut self,
        pattern: &Pattern,
        since_ms: u64,
        now_ms: u64,
    ) -> PublishedSince {
        self.steps += self.topics.len();
        let is_meant = |topic: &HomeTopic| {
            topic.offset > 0 && topic.published_ms >= since_ms && pattern.matches(&topic.name)
        };
        let all = self.topics.iter().filter(|(_, topic)| is_meant(topic));
        let mut found = all.map(|(id, topic)| {
            let id = TopicId(u32::try_from(id).expect("topics_max is below 2^32"));
            (id, topic.position_before(since_ms, now_ms))
        });
        let topics: Vec<_> = found.by_ref().take(RECOVERED_TOPICS_MAX).collect();
        let is_complete = found.next().is_none() && self.remembers_since(since_ms);
        self.steps += topics.len();
        PublishedSince {
            topics,
            is_complete,
        }
    }

    /// Whether no topic has been forgotten that was published to at or after `since_ms`.
    pub(super) fn remembers_since(&self, since_ms: u64) -> bool {
        self.forgotten_ms
            .is_none_or(|forgotten| forgotten < since_ms)
    }

    /// Steps of matching names against patterns, both ways, since the last call.
    pub(super) fn take_steps(&mut self) -> usize {
        std::mem::take(&mut self.steps)
    }

    /// The shards whose patterns match a topic, were added since its last lookup and were not among its subscribers.
    /// Adds them.
    ///
    /// Cost: one comparison; that of [`PatternIndex::find`] where a pattern was added.
    pub(super) fn take_new_interests(&mut self, id: TopicId) -> Vec<Interest> {
        let topic = &mut self.topics[id.index()];
        let mut new: Vec<Interest> = Vec::new();
        if topic.patterns_seen == self.patterns_added {
            return new;
        }
        topic.patterns_seen = self.patterns_added;
        self.steps += self.patterns.find(&topic.name, |wanted| {
            if !topic.interest.contains(&wanted) && !new.contains(&wanted) {
                new.push(wanted);
            }
        });
        topic.recoverable |= new.iter().any(|wanted| wanted.format.recovers);
        topic.interest.extend(&new);
        new
    }

    /// Whether a shard wants a topic, in any format.
    #[must_use]
    pub(super) fn is_wanted_by(&self, name: &str, shard: ShardId) -> bool {
        self.names.get(name).is_some_and(|id| {
            let mut wanting = self.topics[id.index()].interest.iter();
            wanting.any(|interest| interest.shard == shard)
        })
    }

    /// Adds a pattern: topics created later that match it are sent to the shard.
    pub(super) fn add_pattern(&mut self, interest: Interest, pattern: &Pattern) {
        self.patterns.insert(pattern, interest);
        self.patterns_added = self.patterns_added.wrapping_add(1);
    }

    /// Removes a pattern. Existing topics keep the shard among their subscribers.
    pub(super) fn remove_pattern(&mut self, interest: Interest, pattern: &Pattern) {
        self.patterns.remove(pattern, interest);
    }

    /// Whether more than half of the topic limit is in use.
    #[must_use]
    pub(super) fn is_over_half(&self) -> bool {
        self.topics.len() > self.config.hub.max_topics / 2
    }

    /// Forgets topics that have no subscribers, retain nothing and were not used since the last sweep. One that is
    /// used again begins a new epoch. Looks at `count` topics from index `from`, and returns the next index, or
    /// `None` at the end.
    ///
    /// While more than half of the topic limit is in use, topics that were never published to go at once if they have
    /// no subscribers.
    pub(super) fn sweep(&mut self, from: usize, count: usize) -> Option<usize> {
        let is_over_half = self.is_over_half();
        let end = self.topics.capacity();
        let until = end.min(from.saturating_add(count));
        for index in from..until {
            let Some(topic) = self.topics.get_mut(index) else {
                continue;
            };
            let was_used = std::mem::take(&mut topic.used);
            let is_kept = was_used && !(is_over_half && topic.offset == 0)
                || !topic.interest.is_empty()
                || topic.queues.is_some()
                || topic.history.is_some();
            if is_kept {
                continue;
            }
            let topic = self.topics.remove(index);
            self.names.remove(&topic.name);
            // Patterns match neither inboxes nor the broadcast topic.
            let may_match = !topic::is_inbox(&topic.name) && !topic::is_internal(&topic.name);
            if may_match && topic.offset > 0 {
                self.forgotten_ms = self.forgotten_ms.max(Some(topic.published_ms));
            }
        }
        if until < end {
            return Some(until);
        }
        if self.names.capacity() / 4 > self.names.len().max(SHRINK_FROM) {
            self.names.shrink_to(self.names.len() * 2);
            self.topics.shrink_to_fit();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::encoder::{LIVE, PLAIN};
    use crate::id::Form;

    fn at(ms: u64) -> Now {
        Now { ms, wall_ms: 0 }
    }

    fn interest(shard: u16) -> Interest {
        Interest {
            shard: ShardId(shard),
            format: PLAIN,
        }
    }

    fn home(topics_max: usize) -> Home {
        let mut config = Config::for_mode(crate::config::Mode::Dev);
        config.hub.max_topics = topics_max;
        Home::new(Arc::new(config), 1, 7)
    }

    fn known(home: &mut Home, name: &str) -> TopicId {
        match home.open(name) {
            Opened::Existing(id) | Opened::Created(id, _) => id,
            Opened::Full => panic!("full"),
        }
    }

    #[test]
    fn offsets_count_from_one() {
        let mut home = home(10);
        let id = known(&mut home, "a");
        let post = Post::event("a", b"1");
        assert_eq!(
            (home.take(id, &post, at(0)), home.take(id, &post, at(0))),
            (1, 2)
        );
        assert_eq!(home.topic(id).position().offset, 2);
    }

    #[test]
    fn a_pattern_selects_topics_before_and_after_it() {
        let mut home = home(10);
        let before = known(&mut home, "a.1");
        known(&mut home, "b.1");
        let pattern = Pattern::segments("a.*").unwrap();
        assert!(!home.is_wanted("a.1") && !home.is_wanted("a.2"));
        home.add_pattern(interest(3), &pattern);
        assert!(home.is_wanted("a.1") && home.is_wanted("a.2") && !home.is_wanted("b.1"));
        assert_eq!(home.take_new_interests(before), [interest(3)]);
        assert!(home.take_new_interests(before).is_empty());
        home.add_pattern(interest(3), &pattern);
        assert!(home.take_new_interests(before).is_empty());
        let Opened::Created(id, wanted) = home.open("a.2") else {
            panic!("new")
        };
        assert_eq!(wanted, [interest(3)]);
        assert_eq!(home.topic(id).interest(), [interest(3)]);
        home.remove_pattern(interest(3), &pattern);
        assert!(matches!(home.open("a.3"), Opened::Created(_, wanted) if wanted.is_empty()));
    }

    #[test]
    fn a_push_is_retained_only_for_subscribers_that_can_resume() {
        let config = Config::for_mode(crate::config::Mode::Demo);
        let mut home = Home::new(Arc::new(config), 1, 7);
        let id = known(&mut home, "user:a:events");
        let push = Post {
            form: Form(1),
            only_live: true,
            ..Post::event("user:a:events", b"1")
        };
        let live = Interest {
            shard: ShardId(0),
            format: LIVE,
        };
        home.add_interest(id, live);
        home.take(id, &push, at(0));
        assert_eq!(home.history_held(), 0);
        assert!(home.topic(id).retains_all_after(1, 0) && !home.topic(id).retains_all_after(0, 0));
        home.add_interest(id, interest(1));
        home.take(id, &push, at(0));
        assert!(home.history_held() > 0);
        assert!(home.topic(id).retains_all_after(1, 0) && !home.topic(id).retains_all_after(0, 0));
        // Retention goes on without subscribers: offsets have no holes.
        home.remove_interest("user:a:events", interest(1));
        home.take(id, &push, at(0));
        assert!(home.topic(id).retains_all_after(1, 0));
    }

    #[test]
    fn a_topic_that_comes_back_has_a_new_epoch() {
        let mut home = home(1);
        let id = known(&mut home, "a");
        let epoch = home.topic(id).position().epoch;
        home.take(id, &Post::event("a", b"1"), at(0));
        let _ = home.sweep(0, usize::MAX);
        assert!(matches!(home.open("b"), Opened::Full));
        let _ = home.sweep(0, usize::MAX);
        let id = known(&mut home, "a");
        assert!(home.topic(id).position().epoch > epoch);
        home.add_interest(id, interest(0));
        let _ = home.sweep(0, usize::MAX);
        let _ = home.sweep(0, usize::MAX);
        assert!(matches!(home.open("a"), Opened::Existing(_)));
        home.remove_interest("a", interest(0));
        let _ = home.sweep(0, usize::MAX);
        let _ = home.sweep(0, usize::MAX);
        assert!(matches!(home.open("a"), Opened::Created(..)));
    }

    #[test]
    fn topics_published_to_since_a_time_are_found() {
        let toml = "mode = \"demo\"\n[hub]\nhistory_size = 2\n[namespace.\"b.\"]\nhistory_size = 0";
        let mut home = Home::new(Arc::new(Config::from_toml(toml).unwrap()), 1, 7);
        let times = [
            ("a.old", &[10, 19][..]),
            ("a.one", &[10, 20]),
            ("a.new", &[20, 30]),
            ("a.cut", &[20, 30, 40]),
            ("a.long", &[5, 10, 20]),
            ("b.none", &[20]),
            ("user:a:events", &[20]),
        ];
        for (name, times) in times {
            let id = known(&mut home, name);
            for &ms in times {
                home.take(id, &Post::event(name, b"1"), at(ms));
            }
        }
        let mut check = |pattern: &str, expected: &[(&str, Option<u64>)]| {
            let pattern = Pattern::segments(pattern).unwrap();
            home.take_steps();
            let found = home.published_since(&pattern, 20, 50);
            assert!(found.is_complete && home.take_steps() >= 7);
            let found = found.topics.into_iter();
            let found = found.map(|(id, at)| (home.topic(id).name(), at.map(|at| at.offset)));
            assert_eq!(found.collect::<Vec<_>>(), expected);
        };
        let a = [
            ("a.one", Some(1)),
            ("a.new", Some(0)),
            ("a.cut", None),
            ("a.long", Some(2)),
        ];
        check("a.*", &a);
        check("b.*", &[("b.none", None)]);
        check("c.*", &[]);
        let _ = home.sweep(0, usize::MAX);
        let _ = home.sweep(0, usize::MAX);
        assert!(
            !home.remembers_since(20),
            "a topic without history was forgotten"
        );
        assert!(home.remembers_since(21));
        for number in 0..=RECOVERED_TOPICS_MAX {
            let name = format!("d.{number}");
            let id = known(&mut home, &name);
            home.take(id, &Post::event(&name, b"1"), at(60));
        }
        let found = home.published_since(&Pattern::segments("d.*").unwrap(), 60, 60);
        assert_eq!(found.topics.len(), RECOVERED_TOPICS_MAX);
        assert!(!found.is_complete);
    }

    #[test]
    fn m07_topics_that_were_only_asked_about_go_first_where_there_are_many() {
        let mut home = home(4);
        for name in ["a", "b"] {
            home.open_for_subscriber(name);
        }
        let _ = home.sweep(0, usize::MAX);
        assert_eq!(home.topics().count(), 2, "there is room");
        let published = known(&mut home, "c");
        home.take(published, &Post::event("c", b"1"), at(0));
        home.open_for_subscriber("d");
        assert!(home.is_over_half());
        let _ = home.sweep(0, usize::MAX);
        let left: Vec<&str> = home.topics().map(HomeTopic::name).collect();
        assert_eq!(left, ["c"]);
    }

    #[test]
    fn history_is_bounded_by_number_age_and_memory() {
        let config = "mode = \"demo\"\n[hub]\nhistory_size = 3\nhistory_ttl = \"10s\"\nmax_history_memory = \"1MiB\"";
        let mut home = Home::new(Arc::new(Config::from_toml(config).unwrap()), 1, 7);
        let id = known(&mut home, "a");
        for now_ms in [1000, 2000, 3000, 4000] {
            home.take(id, &Post::event("a", b"1"), at(now_ms));
        }
        let kept = |home: &Home, now_ms| -> Vec<u64> {
            let kept = home.topic(id).after(0, now_ms);
            kept.map(|record| record.offset).collect()
        };
        assert_eq!(kept(&home, 4000), [2, 3, 4]);
        assert_eq!(kept(&home, 12_500), [3, 4]);
        let reaches =
            |home: &Home, offset, now_ms| home.topic(id).retains_all_after(offset, now_ms);
        assert!(reaches(&home, 1, 4000) && reaches(&home, 4, 4000));
        assert!(!reaches(&home, 0, 4000) && !reaches(&home, 5, 4000));
        assert!(!reaches(&home, 1, 12_500) && reaches(&home, 2, 12_500));
        home.forget_old(12_500);
        assert_eq!(kept(&home, 0), [3, 4]);
        let _ = home.sweep(0, usize::MAX);
        let _ = home.sweep(0, usize::MAX);
        assert!(
            matches!(home.open("a"), Opened::Existing(_)),
            "it keeps something"
        );
        home.forget_old(20_000);
        assert_eq!(home.history_held(), 0);
        assert!(reaches(&home, 4, 20_000) && !reaches(&home, 3, 20_000));
        let large = vec![b'1'; 100_000];
        for topic in 0..40 {
            let name = format!("b.{topic}");
            let id = known(&mut home, &name);
            home.take(id, &Post::event(&name, &large), at(20_000));
            assert!(home.history_held() <= 1 << 20);
        }
        assert!(home.history_held() > 1 << 19);
        // One small message of each of many topics: what each keeps besides counts, too.
        for topic in 0..20_000 {
            let name = format!("c.{topic}");
            let id = match home.open(&name) {
                Opened::Existing(id) | Opened::Created(id, _) => id,
                Opened::Full => panic!("full"),
            };
            home.take(id, &Post::event(&name, b"1"), at(20_000));
            assert!(home.history_held() <= 1 << 20);
        }
        let kept = home.topics.iter().filter(|(_, topic)| {
            let history = topic.history.as_ref();
            history.is_some_and(|history| !history.is_empty())
        });
        assert!(kept.count() < 5_000);
    }
}
