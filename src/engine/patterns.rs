//! What peers read by patterns: logs that those with the same patterns share.
//!
//! A message goes once into each log one of whose patterns its topic matches, so a pattern costs its
//! subscriber a cursor, whatever the number of topics. The patterns of a peer are divided so that no
//! two of its logs can have a topic in common ([`divide`]); and a topic that it has named itself and
//! that one of its patterns matches, it reads in that pattern's log alone. So it is sent each message
//! once, in its topic's order.

use super::Ticket;
use super::hub::Hub;
use super::pattern_index::PatternIndex;
use crate::collections::{HashMap, HashSet};
use crate::id::{FormatId, PeerId, TopicId};
use crate::topic::{Pattern, covers, overlaps};

/// Patterns that one peer may have: a change of them compares all with each other.
pub const PATTERNS_MAX: usize = 1_000;

/// The logs of patterns, and who reads by patterns.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    peers: HashMap<PeerId, Selection>,
    /// How many patterns and topics peers have asked for that are no memberships of their own.
    selectors: usize,
    /// How many peers have a pattern.
    users: HashMap<(Pattern, FormatId), usize>,
    logs: HashMap<TopicId, Box<[Pattern]>>,
    index: PatternIndex<TopicId>,
    /// How often the index was changed: a topic that was looked up before is again.
    version: u32,
    /// What topics were found to be in, by their number.
    found: Vec<FoundLogs>,
    /// Steps taken to look topics up, for messages' ways into several logs, and for changes of patterns.
    steps: usize,
}

/// What a peer has asked for.
#[derive(Debug, Default)]
struct Selection {
    /// With the subscriptions with which they came.
    patterns: Vec<(Pattern, Ticket)>,
    /// Topics that it has named itself and reads by its patterns.
    names: HashSet<Box<str>>,
    logs: Vec<TopicId>,
}

/// The logs that a topic's messages go into.
#[derive(Debug, Default)]
struct FoundLogs {
    /// [`Patterns::version`] then; 0: not looked up.
    version: u32,
    logs: Box<[TopicId]>,
}

/// What a change of a peer's patterns did.
#[derive(Debug)]
pub(super) struct Regrouped {
    /// The logs that it reads now and did not read before.
    pub(super) entered: Vec<TopicId>,
    /// Those that it reads no more.
    pub(super) left: Vec<TopicId>,
}

impl Patterns {
    /// The patterns and topics that a peer has asked for and that are no memberships of their own.
    pub(super) fn selectors_of(&self, peer: PeerId) -> impl Iterator<Item = &str> {
        let selection = self.peers.get(&peer).into_iter();
        selection.flat_map(|selection| {
            let names = selection.names.iter().map(|name| &**name);
            let patterns = selection.patterns.iter();
            names.chain(patterns.map(|(pattern, _)| pattern.as_str()))
        })
    }

    /// How many patterns and topics peers have asked for that are no memberships of their own.
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

    /// The log in which a peer reads a topic, if it does so by a pattern.
    pub(super) fn log_of(&self, peer: PeerId, name: &str) -> Option<TopicId> {
        let logs = &self.peers.get(&peer)?.logs;
        let is_in = |log: &&TopicId| matches(&self.logs[*log], name);
        logs.iter().find(is_in).copied()
    }

    /// The logs that a topic's messages go into.
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
            // A log several of whose patterns match comes as often.
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

    /// Forgets a topic, whose number may be given to another one.
    pub(super) fn forget_topic(&mut self, topic: TopicId) {
        if let Some(found) = self.found.get_mut(topic.index()) {
            *found = FoundLogs::default();
        }
        if self.logs.is_empty() {
            self.found = Vec::new();
        }
    }

    /// Notes that a peer names a topic that it reads by a pattern.
    pub(super) fn add_name(&mut self, peer: PeerId, name: &str) {
        let names = &mut self.peers.entry(peer).or_default().names;
        self.selectors += usize::from(names.insert(name.into()));
    }

    /// Takes back [`Self::add_name`]. Returns whether there was something to take back.
    pub(super) fn remove_name(&mut self, peer: PeerId, name: &str) -> bool {
        let selection = self.peers.get_mut(&peer);
        let is_removed = selection.is_some_and(|selection| selection.names.remove(name));
        self.selectors -= usize::from(is_removed);
        is_removed
    }

    /// Adds a pattern to a peer's. Returns whether it is new to it.
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

    /// Whether a peer reads a topic by its patterns since an earlier subscription than `ticket`.
    pub(super) fn flows(&self, peer: PeerId, name: &str, ticket: Ticket) -> bool {
        self.peers.get(&peer).is_some_and(|selection| {
            let mut patterns = selection.patterns.iter();
            selection.names.contains(name)
                || patterns.any(|(pattern, since)| *since != ticket && pattern.matches(name))
        })
    }

    /// Takes a pattern off a peer's. Returns whether it was the last peer with this format that had it.
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
        self.lose_user(pattern, format)
    }

    /// A peer does not have a pattern any more. Returns whether it was the last one with this format.
    fn lose_user(&mut self, pattern: &Pattern, format: FormatId) -> bool {
        let key = (pattern.clone(), format);
        let users = self.users.get_mut(&key).expect("this peer was one");
        *users -= 1;
        let is_last = *users == 0;
        if is_last {
            self.users.remove(&key);
        }
        is_last
    }

    /// Has a peer read what its patterns say, after they have changed: what waits for it and is wanted
    /// still is set aside, and it reads on in other logs, and topics, from here.
    ///
    /// Nothing of what it reads is on hold, and its socket is not full.
    ///
    /// Cost: one step for each pair of its patterns, for each topic that it has named, and for each
    /// frame that waits in logs that it leaves.
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
        // Topics that were read by their names.
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
        // Topics that are read by their names from now on.
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

    /// Forgets a peer that is about to leave. Returns the patterns that nobody with its format has any
    /// more.
    pub(super) fn forget(&mut self, peer: PeerId, format: FormatId) -> Vec<Pattern> {
        let selection = self.peers.remove(&peer).unwrap_or_default();
        self.selectors -= selection.patterns.len() + selection.names.len();
        let patterns = selection.patterns.into_iter().map(|(pattern, _)| pattern);
        patterns
            .filter(|pattern| self.lose_user(pattern, format))
            .collect()
    }

    /// The log of these patterns, made if need be.
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

    /// Forgets a log, if nobody reads it. Returns whether nobody does.
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

/// Divides patterns so that no topic is matched by two parts. Those that add nothing to another one
/// are left out.
fn divide(patterns: &[Pattern]) -> Vec<Box<[Pattern]>> {
    let mut parts: Vec<Vec<&Pattern>> = Vec::new();
    for pattern in patterns {
        let text = pattern.as_str();
        let meets = |part: &mut Vec<&Pattern>| {
            let mut part = part.iter();
            part.any(|other| overlaps(other.as_str(), text))
        };
        let joined = parts.extract_if(.., meets).flatten();
        let joined: Vec<&Pattern> = joined.chain([pattern]).collect();
        parts.push(joined);
    }
    let parts = parts.into_iter().map(|mut part| {
        part.sort_unstable_by_key(|pattern| pattern.as_str());
        let all = part.clone();
        part.retain(|pattern| {
            let text = pattern.as_str();
            let covers = |other: &&Pattern| other != pattern && covers(other.as_str(), text);
            !all.iter().any(covers)
        });
        part.into_iter().cloned().collect()
    });
    parts.collect()
}

/// The name of the log of these patterns, which no client can spell.
fn log_name(patterns: &[Pattern]) -> String {
    let names: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
    format!("{LOG_PREFIX}{}", names.join(","))
}

/// The names of patterns' logs begin like this: they are internal topics.
const LOG_PREFIX: &str = "#pattern:";

/// Whether a topic's name is that of a log of patterns.
pub(super) fn is_log_name(name: &str) -> bool {
    name.starts_with(LOG_PREFIX)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::config::SlowConsumer;
    use crate::engine::hub::{HubLimits, Incident, OutboxLimits, Policies, Policy, Sink, Written};
    use crate::engine::model::encoder::PLAIN;
    use crate::id::{Priority, Slot};

    fn parts(patterns: &[&str]) -> Vec<String> {
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|text| Pattern::parse(text).unwrap())
            .collect();
        let mut parts: Vec<String> = divide(&patterns)
            .iter()
            .map(|part| log_name(part))
            .collect();
        parts.sort();
        parts
    }

    #[test]
    fn patterns_are_divided_where_they_meet() {
        assert!(parts(&[]).is_empty());
        assert_eq!(parts(&["b.*", "a.*"]), ["#pattern:a.*", "#pattern:b.*"]);
        assert_eq!(parts(&["a.*", "a.b.*"]), ["#pattern:a.*"]);
        assert_eq!(parts(&["a.*.c", "a.b.*"]), ["#pattern:a.*.c,a.b.*"]);
        assert_eq!(
            parts(&["a.b.*", "x*", "a.c.*", "a.*.d"]),
            ["#pattern:a.*.d,a.b.*,a.c.*", "#pattern:x*"]
        );
        assert_eq!(parts(&["a.b.*", "x*", "*"]), ["#pattern:*"]);
    }

    const JSON: FormatId = PLAIN;

    /// A socket that takes so much.
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
            Written::Bytes(taken)
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
        let pattern = Pattern::parse(text).unwrap();
        assert!(patterns.add((peer, JSON), &pattern, Ticket(1)));
        patterns.regroup(hub, peer);
    }

    fn publish(hub: &mut Hub, patterns: &mut Patterns, name: &str, number: u64) {
        let topic = hub.open(name).unwrap();
        let frame = format!("{name}{number} ");
        hub.append(topic, JSON, frame.as_bytes(), number);
        for &log in patterns.logs_of(hub, topic) {
            hub.append_shared(log, JSON, frame.as_bytes(), (topic, number..=number));
        }
    }

    #[test]
    fn m10_a_client_of_everything_costs_a_cursor_whatever_the_number_of_topics() {
        let (mut hub, mut patterns) = (hub(SlowConsumer::Disconnect), Patterns::default());
        for number in 0..50_000 {
            hub.open(&format!("a.{number}")).unwrap();
        }
        let peers: Vec<PeerId> = (0..100).map(|_| hub.join(JSON)).collect();
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
        let peer = hub.join(JSON);
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
        hub.give_back();
        hub.give_back();
    }
}
