//! Subscriptions by pattern: peers with the same patterns share a log.
//!
//! A message is appended once to each log with a matching pattern, so a pattern costs its subscriber one cursor,
//! whatever the number of topics. The patterns of a peer are divided so that no topic matches two of its logs
//! ([`divide`]); a topic that it has also named is read in the pattern's log only. So the peer is sent each message
//! once, in its topic's order.

use super::Ticket;
use super::hub::Hub;
use super::pattern_index::PatternIndex;
use crate::collections::{HashMap, HashSet};
use crate::id::{FormatId, PeerId, TopicId};
use crate::topic::{Matcher, Pattern};

/// Patterns of one peer. A change compares all of them with each other.
pub const PATTERNS_MAX: usize = 1_000;

/// The logs of patterns, and the patterns of each peer.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    peers: HashMap<PeerId, Selection>,
    /// Patterns of all peers, and the topics they named that a pattern covers: those have no memberships.
    selectors: usize,
    /// How many peers have each pattern.
    users: HashMap<(Pattern, FormatId), usize>,
    logs: HashMap<TopicId, Box<[Pattern]>>,
    index: PatternIndex<TopicId>,
    /// Changes of the index so far: a topic last looked up at another version is looked up again.
    version: u32,
    /// Caches the lookup of each topic, by its number.
    found: Vec<FoundLogs>,
    /// Steps spent on lookups, on appends to several logs and on pattern changes since the last
    /// [`Patterns::take_steps`].
    steps: usize,
}

/// The subscriptions of one peer that patterns serve.
#[derive(Debug, Default)]
struct Selection {
    /// Each pattern with its subscription.
    patterns: Vec<(Pattern, Ticket)>,
    /// Topics that it has named and that its patterns cover.
    names: HashSet<Box<str>>,
    logs: Vec<TopicId>,
}

/// The logs with a pattern that matches a topic.
#[derive(Debug, Default)]
struct FoundLogs {
    /// [`Patterns::version`] at the lookup; 0: not looked up.
    version: u32,
    logs: Box<[TopicId]>,
}

/// The result of a change of a peer's patterns.
#[derive(Debug)]
pub(super) struct Regrouped {
    /// Logs that the peer has begun to read.
    pub(super) entered: Vec<TopicId>,
    /// Logs that the peer has ceased to read.
    pub(super) left: Vec<TopicId>,
}

impl Patterns {
    /// The patterns of a peer, and the topics it named that they cover.
    pub(super) fn selectors_of(&self, peer: PeerId) -> impl Iterator<Item = &str> {
        let selection = self.peers.get(&peer).into_iter();
        selection.flat_map(|selection| {
            let names = selection.names.iter().map(|name| &**name);
            let patterns = selection.patterns.iter();
            names.chain(patterns.map(|(pattern, _)| pattern.as_str()))
        })
    }

    /// The number of [`Self::selectors_of`], over all peers.
    pub(super) fn selector_count(&self) -> usize {
        self.selectors
    }

    /// Whether a topic of the hub is a log of patterns.
    pub(super) fn is_log(&self, topic: TopicId) -> bool {
        self.logs.contains_key(&topic)
    }

    /// The patterns of a log.
    pub(super) fn of_log(&self, log: TopicId) -> &[Pattern] {
        self.logs.get(&log).map_or(&[], |patterns| patterns)
    }

    /// The log in which a peer reads a topic by a pattern, if it does.
    pub(super) fn log_of(&self, peer: PeerId, name: &str) -> Option<TopicId> {
        let logs = &self.peers.get(&peer)?.logs;
        let is_in = |log: &&TopicId| matches(&self.logs[*log], name);
        logs.iter().find(is_in).copied()
    }

    /// The logs with a pattern that matches a topic.
    ///
    /// Cost: one comparison; that of [`PatternIndex::find`] where patterns have changed.
    pub(super) fn logs_of(&mut self, hub: &Hub, topic: TopicId) -> &[TopicId] {
        if self.logs.is_empty() {
            return &[];
        }
        if self.found.len() <= topic.index() {
            self.found
                .resize_with(topic.index() + 1, FoundLogs::default);
        }
        let found = &mut self.found[topic.index()];
        if found.version != self.version {
            found.version = self.version;
            let mut logs = Vec::new();
            self.steps += self.index.find(hub.name(topic), |log| logs.push(log));
            // A log with several matching patterns is found several times.
            logs.sort_unstable_by_key(|log: &TopicId| log.0);
            logs.dedup();
            found.logs = logs.into();
        }
        self.steps += found.logs.len();
        &found.logs
    }

    /// Steps taken since the last call.
    pub(super) fn take_steps(&mut self) -> usize {
        std::mem::take(&mut self.steps)
    }

    /// Forgets a topic; its number may be reused.
    pub(super) fn forget_topic(&mut self, topic: TopicId) {
        if let Some(found) = self.found.get_mut(topic.index()) {
            *found = FoundLogs::default();
        }
        if self.logs.is_empty() {
            self.found = Vec::new();
        }
    }

    /// Records that a peer names a topic that its patterns cover.
    pub(super) fn add_name(&mut self, peer: PeerId, name: &str) {
        let names = &mut self.peers.entry(peer).or_default().names;
        self.selectors += usize::from(names.insert(name.into()));
    }

    /// Reverts [`Self::add_name`]. Returns whether the name was recorded.
    pub(super) fn remove_name(&mut self, peer: PeerId, name: &str) -> bool {
        let selection = self.peers.get_mut(&peer);
        let is_removed = selection.is_some_and(|selection| selection.names.remove(name));
        self.selectors -= usize::from(is_removed);
        is_removed
    }

    /// Adds a pattern to a peer. Returns whether the peer did not have it.
    pub(super) fn add(
        &mut self,
        (peer, format): (PeerId, FormatId),
        pattern: &Pattern,
        ticket: Ticket,
    ) -> bool {
        let patterns = &mut self.peers.entry(peer).or_default().patterns;
        if patterns.iter().any(|(known, _)| known == pattern) {
            return false;
        }
        patterns.push((pattern.clone(), ticket));
        self.selectors += 1;
        *self.users.entry((pattern.clone(), format)).or_default() += 1;
        true
    }

    /// Whether a peer has patterns.
    pub(super) fn has(&self, peer: PeerId) -> bool {
        self.peers
            .get(&peer)
            .is_some_and(|selection| !selection.patterns.is_empty())
    }

    /// The topics that a peer has named and that its patterns cover.
    pub(super) fn names_of(&self, peer: PeerId) -> impl Iterator<Item = &str> {
        let selection = self.peers.get(&peer).into_iter();
        selection.flat_map(|selection| selection.names.iter().map(|name| &**name))
    }

    /// Counts a peer's patterns in another format too. Returns them.
    pub(super) fn take_format(&mut self, peer: PeerId, format: FormatId) -> Vec<Pattern> {
        let patterns = self.patterns_of(peer);
        for pattern in &patterns {
            *self.users.entry((pattern.clone(), format)).or_default() += 1;
        }
        patterns
    }

    /// Counts a peer's patterns in a format no more. Returns those that no other peer has in it.
    pub(super) fn release_format(&mut self, peer: PeerId, format: FormatId) -> Vec<Pattern> {
        let patterns = self.patterns_of(peer).into_iter();
        patterns
            .filter(|pattern| self.release_pattern(pattern, format))
            .collect()
    }

    fn patterns_of(&self, peer: PeerId) -> Vec<Pattern> {
        let selection = self.peers.get(&peer).into_iter();
        let patterns = selection.flat_map(|selection| &selection.patterns);
        patterns.map(|(pattern, _)| pattern.clone()).collect()
    }

    /// Whether a subscription before `ticket` delivers a topic to a peer by pattern.
    pub(super) fn is_underway(&self, peer: PeerId, name: &str, ticket: Ticket) -> bool {
        self.peers.get(&peer).is_some_and(|selection| {
            let mut patterns = selection.patterns.iter();
            selection.names.contains(name)
                || patterns.any(|(pattern, since)| *since != ticket && pattern.matches(name))
        })
    }

    /// Removes a pattern from a peer. Returns whether no other peer with its format has it.
    pub(super) fn remove(&mut self, peer: PeerId, format: FormatId, pattern: &Pattern) -> bool {
        let Some(selection) = self.peers.get_mut(&peer) else {
            return false;
        };
        let before = selection.patterns.len();
        selection.patterns.retain(|(known, _)| known != pattern);
        if selection.patterns.len() == before {
            return false;
        }
        self.selectors -= 1;
        self.release_pattern(pattern, format)
    }

    /// Counts one peer less for a pattern. Returns whether it was the last with this format.
    fn release_pattern(&mut self, pattern: &Pattern, format: FormatId) -> bool {
        let key = (pattern.clone(), format);
        let users = self.users.get_mut(&key).expect("this peer was one");
        *users -= 1;
        let is_last = *users == 0;
        if is_last {
            self.users.remove(&key);
        }
        is_last
    }

    /// Moves a peer to the logs of its current patterns and names: unread frames that it still wants are set aside for
    /// it, and its cursors continue in the new logs.
    ///
    /// None of its logs is on hold, and its socket is not full.
    ///
    /// Cost: one step for each pair of its patterns, each topic it has named, and each unread frame in the logs it
    /// leaves.
    pub(super) fn regroup(&mut self, hub: &mut Hub, peer: PeerId) -> Regrouped {
        let slot = peer.slot;
        let mut selection = self.peers.remove(&peer).unwrap_or_default();
        let patterns = selection.patterns.iter().map(|(pattern, _)| pattern);
        let patterns: Vec<Pattern> = patterns.cloned().collect();
        self.steps += patterns.len() * patterns.len();
        let parts = divide(&patterns);
        let logs: Vec<TopicId> = parts.into_iter().map(|part| self.open(hub, part)).collect();
        let before = std::mem::replace(&mut selection.logs, logs);
        let is_new = |log: &&TopicId| !before.contains(log);
        let entered: Vec<TopicId> = selection.logs.iter().filter(is_new).copied().collect();
        let is_left = |log: &TopicId| !selection.logs.contains(log);
        let left: Vec<TopicId> = before.iter().copied().filter(is_left).collect();
        // Topics that it read by membership.
        let named = hub.topics_of(slot).map(|topic| (topic, hub.name(topic)));
        let named = named.filter(|(_, name)| matches(&patterns, name));
        let named: Vec<(TopicId, Box<str>)> =
            named.map(|(topic, name)| (topic, name.into())).collect();
        for (topic, name) in named {
            hub.set_aside(slot, topic, |_| true);
            hub.quit(slot, topic);
            selection.names.insert(name);
            self.selectors += 1;
        }
        let wanted = |hub: &Hub, topic: TopicId| {
            let name = hub.name(topic);
            matches(&patterns, name) || selection.names.contains(name) || hub.is_in(slot, topic)
        };
        let aside = hub.topics_aside(slot);
        let aside: HashSet<TopicId> = aside.filter(|&topic| wanted(hub, topic)).collect();
        hub.retain_aside(slot, |topic| aside.contains(&topic));
        for &log in &left {
            let waiting = hub.topics_waiting(slot, log);
            let kept: HashSet<TopicId> = waiting.filter(|&topic| wanted(hub, topic)).collect();
            hub.set_aside(slot, log, |topic| kept.contains(&topic));
            hub.quit(slot, log);
        }
        // Topics that it reads by membership from now on.
        for name in selection.names.extract_if(|name| !matches(&patterns, name)) {
            self.selectors -= 1;
            let topic = hub.find(&name).expect("it was read");
            let _ = hub.subscribe(slot, topic);
        }
        for &log in &entered {
            let _ = hub.subscribe(slot, log);
        }
        if !selection.patterns.is_empty() || !selection.names.is_empty() {
            self.peers.insert(peer, selection);
        }
        Regrouped { entered, left }
    }

    /// Removes a peer that is about to leave. Returns its patterns that no other peer with its format has.
    pub(super) fn forget(&mut self, peer: PeerId, format: FormatId) -> Vec<Pattern> {
        let selection = self.peers.remove(&peer).unwrap_or_default();
        self.selectors -= selection.patterns.len() + selection.names.len();
        let patterns = selection.patterns.into_iter().map(|(pattern, _)| pattern);
        patterns
            .filter(|pattern| self.release_pattern(pattern, format))
            .collect()
    }

    /// Finds the log of these patterns, or creates it.
    fn open(&mut self, hub: &mut Hub, patterns: Box<[Pattern]>) -> TopicId {
        let name = log_name(&patterns);
        if let Some(log) = hub.find(&name) {
            return log;
        }
        let log = hub.open_shared(&name, &patterns);
        for pattern in &patterns {
            self.index.insert(pattern, log);
        }
        self.logs.insert(log, patterns);
        self.note_change();
        log
    }

    /// Removes a log that has no readers. Returns whether it had none.
    pub(super) fn close(&mut self, hub: &mut Hub, log: TopicId) -> bool {
        if !hub.close_topic(log) {
            return false;
        }
        let patterns = self.logs.remove(&log).expect("it is one");
        for pattern in &patterns {
            self.index.remove(pattern, log);
        }
        self.note_change();
        true
    }

    fn note_change(&mut self) {
        self.version = self.version.wrapping_add(1).max(1);
    }
}

fn matches(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// Divides patterns so that no topic matches two parts. Patterns that another one includes are dropped.
fn divide(patterns: &[Pattern]) -> Vec<Box<[Pattern]>> {
    let mut parts: Vec<Vec<&Pattern>> = Vec::new();
    for pattern in patterns {
        let meets = |part: &mut Vec<&Pattern>| part.iter().any(|other| other.overlaps(pattern));
        let joined = parts.extract_if(.., meets).flatten();
        let joined: Vec<&Pattern> = joined.chain([pattern]).collect();
        parts.push(joined);
    }
    let parts = parts.into_iter().map(|mut part| {
        part.sort_unstable();
        let all = part.clone();
        part.retain(|pattern| {
            // Of several that match the same, the first stays.
            let is_kept = |other: &Pattern| pattern.covers(other) && *pattern < other;
            let includes =
                |other: &&Pattern| other != pattern && other.covers(pattern) && !is_kept(other);
            !all.iter().any(includes)
        });
        part.into_iter().cloned().collect()
    });
    parts.collect()
}

/// The name of the log of these patterns. Clients cannot use it as a topic name. Each pattern ends in a NUL, which none
/// contains, so different patterns have different logs.
fn log_name(patterns: &[Pattern]) -> String {
    let mut name = LOG_PREFIX.to_owned();
    for pattern in patterns {
        name += match pattern.matcher() {
            Matcher::Segments => "s ",
            Matcher::Bytes => "b ",
        };
        name += pattern.as_str();
        name.push('\0');
    }
    name
}

/// The prefix of the names of pattern logs, which makes them internal topics.
const LOG_PREFIX: &str = "#pattern:";

/// Whether a topic's name is that of a pattern log.
pub(super) fn is_log_name(name: &str) -> bool {
    name.starts_with(LOG_PREFIX)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::config::SlowConsumer;
    use crate::engine::hub::Frame;
    use crate::engine::hub::{HubLimits, Incident, OutboxLimits, Policies, Policy, Sink, Written};
    use crate::engine::model::encoder::PLAIN;
    use crate::id::{Priority, Slot, UserKey};

    fn divided(patterns: &[Pattern], expected: &[&[&str]]) {
        let mut parts = divide(patterns);
        parts.sort();
        let texts = parts
            .iter()
            .map(|part| part.iter().map(Pattern::as_str).collect());
        assert_eq!(texts.collect::<Vec<Vec<&str>>>(), expected);
    }

    #[test]
    fn patterns_are_divided_where_they_meet() {
        let check = |patterns: &[&str], expected: &[&[&str]]| {
            let patterns = patterns.iter().map(|text| Pattern::segments(text).unwrap());
            divided(&patterns.collect::<Vec<_>>(), expected);
        };
        check(&[], &[]);
        check(&["b.*", "a.*"], &[&["a.*"], &["b.*"]]);
        check(&["a.*", "a.b.*"], &[&["a.*"]]);
        check(&["a.*.c", "a.b.*"], &[&["a.*.c", "a.b.*"]]);
        check(
            &["a.b.*", "x*", "a.c.*", "a.*.d"],
            &[&["a.*.d", "a.b.*", "a.c.*"], &["x*"]],
        );
        check(&["a.b.*", "x*", "*"], &[&["*"]]);
    }

    #[test]
    fn patterns_of_bytes_are_divided_where_they_may_meet() {
        let check = |patterns: &[&str], expected: &[&[&str]]| {
            let patterns = patterns.iter().map(|text| Pattern::bytes(text).unwrap());
            divided(&patterns.collect::<Vec<_>>(), expected);
        };
        check(&["b*", "a*", "*c"], &[&["*c", "a*", "b*"]]);
        check(&["b*", "a*", "a,b*"], &[&["a*"], &["b*"]]);
        // One of those that match the same stays.
        check(&["a***", "a*", "a**"], &[&["a*"]]);
        check(&["?*", "*?"], &[&["*?", "?*"]]);
        let segments = Pattern::segments("*").unwrap();
        let (wide, narrow) = (Pattern::bytes("*").unwrap(), Pattern::bytes("a*").unwrap());
        divided(&[segments.clone(), wide], &[&["*"]]);
        divided(&[segments, narrow], &[&["*", "a*"]]);
    }

    #[test]
    fn different_patterns_have_different_logs() {
        let glob = |text: &str| Pattern::bytes(text).unwrap();
        let lists = [
            vec![glob("a*"), glob("b*")],
            vec![glob("a*,b*")],
            vec![glob("a* b b*")],
            vec![glob("a.*")],
            vec![Pattern::segments("a.*").unwrap()],
        ];
        let names: HashSet<String> = lists.iter().map(|list| log_name(list)).collect();
        assert_eq!(names.len(), lists.len(), "{names:?}");
    }

    const JSON: FormatId = PLAIN;

    /// A socket that accepts a limited number of bytes.
    struct Socket {
        room: usize,
        taken: String,
    }

    impl Sink for Socket {
        fn write(&mut self, _: Slot, bytes: &[IoSlice<'_>]) -> Written {
            let all: Vec<u8> = bytes.iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = all.len().min(self.room);
            self.room -= taken;
            self.taken += str::from_utf8(&all[..taken]).unwrap();
            match taken < all.len() {
                true => Written::Full(taken),
                false => Written::Bytes(taken),
            }
        }
    }

    fn hub(slow: SlowConsumer) -> Hub {
        let limits = HubLimits {
            topics_max: 1_000_000,
            memory_max: 1 << 30,
            log_bytes_max: 1 << 20,
            backlog_bytes_max: 1 << 20,
            few_members_max: 100,
            outbox: OutboxLimits {
                bytes_max: 1 << 20,
                messages_max: 1000,
            },
        };
        let policy = Policy {
            slow,
            lag_bytes_max: 10,
            lag_messages_max: 0,
            priority: Priority::Normal,
        };
        Hub::new(limits, Policies::new(policy, []))
    }

    fn select(hub: &mut Hub, patterns: &mut Patterns, peer: PeerId, text: &str) {
        let pattern = Pattern::segments(text).unwrap();
        assert!(patterns.add((peer, JSON), &pattern, Ticket(1)));
        patterns.regroup(hub, peer);
    }

    fn publish(hub: &mut Hub, patterns: &mut Patterns, name: &str, number: u64) {
        let topic = hub.open(name).unwrap();
        let frame = format!("{name}{number} ");
        hub.append(topic, JSON, Frame::new(frame.as_bytes(), number));
        for &log in patterns.logs_of(hub, topic) {
            hub.append_shared(log, JSON, topic, Frame::new(frame.as_bytes(), number));
        }
    }

    #[test]
    fn m10_a_client_of_everything_costs_a_cursor_whatever_the_number_of_topics() {
        let (mut hub, mut patterns) = (hub(SlowConsumer::Disconnect), Patterns::default());
        for number in 0..50_000 {
            hub.open(&format!("a.{number}")).unwrap();
        }
        let peers: Vec<PeerId> = (0..100).map(|_| hub.join(JSON, UserKey::NONE)).collect();
        for &peer in &peers {
            select(&mut hub, &mut patterns, peer, "*");
            select(&mut hub, &mut patterns, peer, "a.*");
        }
        for number in 50_000..100_000 {
            publish(&mut hub, &mut patterns, &format!("a.{number}"), 1);
        }
        assert!(
            peers
                .iter()
                .all(|peer| hub.topics_of(peer.slot).count() == 1)
        );
        assert_eq!((patterns.logs.len(), hub.subscription_count()), (1, 0));
        assert_eq!(patterns.selector_count(), 200);
    }

    #[test]
    fn the_newest_message_of_each_topic_is_kept_for_who_reads_them_by_a_pattern() {
        let (mut hub, mut patterns) = (hub(SlowConsumer::Conflate), Patterns::default());
        let peer = hub.join(JSON, UserKey::NONE);
        select(&mut hub, &mut patterns, peer, "*");
        let mut socket = Socket {
            room: 5,
            taken: String::new(),
        };
        for (name, number) in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("a", 3), ("b", 2)] {
            publish(&mut hub, &mut patterns, name, number);
            let _ = hub.flush(&mut socket, 0, 10, usize::MAX);
        }
        assert_eq!(socket.taken, "a1 b1");
        socket.room = 100;
        hub.unblock(peer.slot);
        let lost = hub
            .take_incidents()
            .into_iter()
            .map(|incident| match incident {
                Incident::Gap { topic, lost, .. } => (hub.name(topic.unwrap()).to_owned(), lost),
                other => panic!("{other:?}"),
            });
        assert_eq!(lost.collect::<Vec<_>>(), [("a".to_owned(), 1)]);
        let _ = hub.flush(&mut socket, 0, 10, usize::MAX);
        assert_eq!(socket.taken, "a1 b1 c1 a3 b2 ");
        hub.leave(peer);
        hub.free_unused();
        hub.free_unused();
    }
}
