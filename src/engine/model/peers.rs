//! Clients, their connections and their sessions.

use super::encoder::MERGED;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::client::{Asked, AskedTopic, Heads, View, put_start};
use super::label::{FIELD, is_pattern, label, label_of, pattern_of, topic_of};
use super::node::PROCESS;
use super::ops::Recover;
use super::oracle::{Check, Oracle, fail};
use super::seen::Thing;
use super::stream::StreamView;
use super::world::World;
use crate::engine::hub::Enqueue;
use crate::engine::{Begin, Confirmation, Gap, GapCause, Outcome, PublishResult};
use crate::engine::{Resumed, Start, Ticket};
use crate::id::{FormatId, PeerId, Position, Priority, UserKey};
use crate::sse::{self, GapReason, put_gap};
use crate::topic::{self, Pattern};

/// How far back made-up positions are.
const AGO_MS: u64 = 150;

/// A client that connects, leaves and reconnects.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) user: String,
    pub(super) connection: Option<Connection>,
    /// Its position in each topic and pattern, by label.
    pub(super) stored: Heads,
    /// Its cursor of each stream, by the stream's topics.
    pub(super) cursors: BTreeMap<Vec<Box<str>>, String>,
    /// Counts the points at which the order of its publications may change.
    pub(super) life: u32,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) node: usize,
    pub(super) peer: PeerId,
    pub(super) format: FormatId,
    /// The labels of topics and patterns subscribed to.
    pub(super) labels: Vec<String>,
    /// Topics that it receives without a subscription.
    pub(super) own: Vec<String>,
    pub(super) view: View,
    /// Its event stream, and the stream's topics.
    pub(super) stream: Option<(Vec<Box<str>>, StreamView)>,
    /// The engine has asked for a disconnect.
    pub(super) is_disconnecting: bool,
    /// Its last frame is queued.
    pub(super) is_closing: bool,
    /// Rosters that it has requested.
    pub(super) rosters: BTreeSet<u32>,
    /// Publications whose answers it waits for.
    pub(super) answers: BTreeSet<String>,
}

impl Client {
    pub(super) fn new(index: u8) -> Self {
        Self {
            user: format!("u{index}"),
            connection: None,
            stored: Heads::new(),
            cursors: BTreeMap::new(),
            life: 0,
        }
    }
}

impl Connection {
    pub(super) fn new(node: usize, peer: PeerId, format: FormatId, view: View) -> Self {
        Self {
            node,
            peer,
            format,
            labels: Vec::new(),
            own: Vec::new(),
            view,
            stream: None,
            is_disconnecting: false,
            is_closing: false,
            rosters: BTreeSet::new(),
            answers: BTreeSet::new(),
        }
    }

    /// Parses received bytes.
    pub(super) fn read(&mut self, bytes: &[u8], oracle: &mut Oracle) {
        match &mut self.stream {
            Some((_, stream)) => stream.read(bytes, oracle),
            None => self.view.read(bytes, oracle),
        }
    }

    /// Whether it waits for its stream although all positions are known.
    pub(super) fn waits_for_stream(&self, is_located: impl Fn(&str) -> bool) -> bool {
        let waiting = self.stream.as_ref().filter(|(_, stream)| !stream.is_open);
        waiting.is_some_and(|(topics, _)| topics.iter().all(|name| is_located(name)))
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        let labels = self.labels.iter().filter(|label| !is_pattern(label));
        let mut names = labels
            .map(|label| topic_of(label))
            .chain(self.own.iter().map(|own| &**own));
        names.any(|known| known == name)
    }
}

impl World {
    pub(super) fn connection(&mut self, client: usize) -> &mut Connection {
        let connection = self.clients[client].connection.as_mut();
        connection.expect("the caller has looked")
    }

    /// The client behind a peer, unless it has left.
    fn client_of(&self, node: usize, peer: PeerId) -> Option<usize> {
        self.clients.iter().position(|client| {
            let connection = client.connection.as_ref();
            connection.is_some_and(|known| known.node == node && known.peer == peer)
        })
    }

    /// Whether the topic limit suffices for all topics.
    pub(super) fn has_room(&self) -> bool {
        self.setup.topics > 10
    }

    /// Queues a frame for a client.
    pub(super) fn send(&mut self, client: usize, frame: &[u8]) {
        let connection = self.connection(client);
        let (node, peer) = (connection.node, connection.peer);
        let queued = self.nodes[node].engine.send(peer, Priority::High, frame);
        if let Enqueue::Overflow(_) = queued {
            let is_told_first = self.nodes[node].engine.hub().is_blocked(peer.slot);
            let connection = self.connection(client);
            connection.view.lose_frames(is_told_first);
            if let Some((_, stream)) = &mut connection.stream {
                stream.lose_frames();
            }
            self.lose_queued(client);
        }
        self.turn(node, |_| ());
    }

    /// A peer's session receives an outcome.
    pub(super) fn outcome(&mut self, node: usize, peer: PeerId, outcome: Outcome) {
        let Some(client) = self.client_of(node, peer) else {
            return;
        };
        match outcome {
            Outcome::Confirmed(confirmation) => {
                self.oracle.seen.note(Thing::ConfirmedLater);
                self.confirm(client, &confirmation);
            }
            Outcome::Gap(gap) => self.gap(client, &gap),
            Outcome::Published { id, result } => {
                if !self.connection(client).answers.remove(&*id) && !id.is_empty() {
                    fail(Check::Published, format!("{id} was not asked for"));
                }
                match result {
                    PublishResult::Stored(stored) => self.oracle.check_offset(&id, stored.offset),
                    PublishResult::TooManyTopics => self.oracle.seen.note(Thing::TooManyTopics),
                    PublishResult::Busy | PublishResult::Forwarded => {
                        fail(
                            Check::Published,
                            format!("{id} is answered with {result:?}"),
                        );
                    }
                }
                self.send(client, b"A\n");
            }
            Outcome::Roster { ticket, roster } => {
                if !self.connection(client).rosters.remove(&ticket.0) {
                    fail(Check::Unanswered, "a roster that was not asked for");
                }
                let users: Vec<_> = roster.users.iter().map(|one| &one.user).collect();
                if !users.is_sorted() || users.len() != roster.count || roster.more {
                    fail(Check::Presence, format!("{roster:?}"));
                }
                self.oracle.seen.note(Thing::Roster);
                self.send(client, b"R\n");
            }
            Outcome::Position(id) => self.send(client, &id),
            Outcome::CaughtUp => {}
            Outcome::Reformatted(_) => {
                self.oracle.seen.note(Thing::Reformatted);
                self.nodes[node].engine.send_reformatted(peer, b"F\n");
            }
            Outcome::Slow { .. } | Outcome::Gone => {
                let thing = match outcome {
                    Outcome::Slow { .. } => Thing::Slow,
                    _ => Thing::Gone,
                };
                self.oracle.seen.note(thing);
                self.connection(client).is_disconnecting = true;
            }
            Outcome::History { .. }
            | Outcome::Called(_)
            | Outcome::HungUp
            | Outcome::Answered { .. } => {
                fail(Check::Unanswered, format!("{outcome:?} for a peer"));
            }
        }
    }

    fn gap(&mut self, client: usize, gap: &Gap) {
        let (thing, reason) = match gap.cause {
            GapCause::Slow => (Thing::GapOfSlow, GapReason::Slow),
            GapCause::History => (Thing::GapOfHistory, GapReason::History),
        };
        self.oracle.seen.note(thing);
        if gap.topic.is_none() {
            self.lose_queued(client);
        }
        if let (Some(topic), None, Some(_), GapCause::History) =
            (&gap.topic, gap.matcher, gap.lost, gap.cause)
        {
            self.check_forgotten(client, topic);
        }
        let mut out = Vec::new();
        if self.connection(client).format == MERGED {
            let Some(topic) = &gap.topic else { return };
            let lost = gap.lost;
            put_gap(
                &mut out,
                &sse::StreamGap {
                    topic,
                    lost,
                    reason,
                },
            );
        } else {
            let name = gap.topic.as_deref();
            let topic = name.map_or_else(|| "-".to_owned(), |name| label(name, gap.matcher));
            let lost = gap
                .lost
                .map_or_else(|| "?".to_owned(), |lost| lost.to_string());
            out = format!("G{FIELD}{topic}{FIELD}{lost}\n").into_bytes();
        }
        self.send(client, &out);
    }

    /// Checks that messages reported to a client as not retained are not.
    fn check_forgotten(&mut self, client: usize, topic: &str) {
        let connection = self.connection(client);
        let last = match &connection.stream {
            Some((_, stream)) => stream.last(topic),
            None => connection.view.last(topic),
        };
        let now_ms = self.now_ms;
        let home = &self.nodes[self.home_of(topic)].engine.homes.home;
        if let Some(last) = last
            && let Some(known) = home.find(topic)
            && known.position().epoch == last.epoch
            && let Some(next) = known.after(last.offset, now_ms).next()
            && next.offset == last.offset + 1
        {
            fail(Check::Gap, format!("{topic}: {} is retained", next.offset));
        }
    }

    /// Writes a confirmation to a client, and releases its holds.
    pub(super) fn confirm(&mut self, client: usize, confirmation: &Confirmation) {
        let ticket = confirmation.ticket.0;
        let mut frame = format!("C{ticket}{FIELD}");
        for start in confirmation.starts() {
            put_start(&mut frame, &start);
            if start.matcher.is_some() {
                self.check_pattern(client, ticket, &start);
                self.check_swept(client, &start, confirmation);
            } else if start.resumed == Some(Resumed::OtherEpoch) {
                self.check_lost(client, ticket, &start);
            } else {
                self.check_last(client, ticket, &start);
            }
        }
        frame.push('\n');
        self.send(client, frame.as_bytes());
        let heads = self.heads();
        for since_ms in self.connection(client).view.recovered(ticket) {
            let before = self.oracle.heads_before(since_ms);
            self.connection(client)
                .view
                .tell_recovered(ticket, since_ms, &before, &heads);
        }
        let connection = self.connection(client);
        let node = connection.node;
        connection.view.tell(ticket, &heads);
        self.turn(node, |turn| turn.go_on(confirmation));
    }

    /// Checks that a client that wants the newest messages of a topic gets as many as are retained.
    fn check_last(&mut self, client: usize, ticket: u32, start: &Start<'_>) {
        let (at, now_ms) = (start.position, self.now_ms);
        let view = &self.connection(client).view;
        let asked = view.asked.get(&ticket);
        let mut topics = asked.into_iter().flat_map(|asked| &asked.topics);
        let wanted = topics.find(|topic| topic.name == start.name).cloned();
        let (Some(last), Some(Resumed::Complete(count))) =
            (wanted.as_ref().and_then(|topic| topic.last), start.resumed)
        else {
            return;
        };
        let track = self.connection(client).view.tracks.get(start.name);
        if track.is_none_or(|track| Some(track.life) != wanted.as_ref().map(|topic| topic.life)) {
            // It has unsubscribed meanwhile: nothing is sent.
            return;
        }
        let home = &self.nodes[self.home_of(start.name)].engine.homes.home;
        if let Some(topic) = home.find(start.name)
            && topic.position().epoch == at.epoch
            && count < last.min(at.offset)
            && topic.retains_all_after(at.offset - count - 1, now_ms)
        {
            fail(
                Check::Confirmation,
                format!("{start:?}: more of {last} are retained"),
            );
        }
    }

    /// Checks that a topic that a pattern does not resume is not retained.
    fn check_lost(&mut self, client: usize, ticket: u32, start: &Start<'_>) {
        let view = &self.connection(client).view;
        if view.asked[&ticket]
            .topics
            .iter()
            .any(|topic| topic.name == start.name)
        {
            return;
        }
        let Some(since_ms) = view.since_ms(ticket, start.name) else {
            return;
        };
        let epoch = start.position.epoch;
        let before = self.oracle.count_before(start.name, epoch, since_ms);
        let home = &self.nodes[self.home_of(start.name)].engine.homes.home;
        // When the message before the oldest retained one was published is unknown.
        let known = before.saturating_sub(1);
        if let Some(topic) = home.find(start.name)
            && topic.position().epoch == epoch
            && topic.retains_all_after(known, self.now_ms)
        {
            fail(Check::Gap, format!("{start:?}: retained behind {known}"));
        }
    }

    /// Checks that no topic was forgotten of which a client that resumes a pattern misses messages.
    fn check_swept(&mut self, client: usize, start: &Start<'_>, confirmation: &Confirmation) {
        let has_room = self.has_room();
        let ticket = confirmation.ticket.0;
        let label = label(start.name, start.matcher);
        let covering = self.connection(client).view.covering(ticket, &label);
        let Some(covering) = covering.filter(|one| one.is_complete && has_room) else {
            return;
        };
        let since_ms = covering.since_ms().expect("it is complete");
        let (pattern, missed_ms) = (covering.pattern.clone(), since_ms..covering.begun_ms);
        let published = self.oracle.newest_of(|ms| missed_ms.contains(&ms));
        for (topic, epoch) in published {
            let home = &self.nodes[self.home_of(&topic)].engine.homes.home;
            let is_swept = home
                .find(&topic)
                .is_none_or(|now| now.position().epoch != epoch);
            let mut topics = confirmation
                .starts()
                .filter(|start| start.matcher.is_none());
            let is_named = topics.any(|start| start.name == topic);
            if is_swept && !is_named && pattern.matches(&topic) {
                let covering = self.connection(client).view.covering(ticket, &label);
                if covering.is_some_and(|one| !one.flows(&topic)) {
                    fail(
                        Check::Missing,
                        format!("{topic} of {epoch}, since {since_ms}"),
                    );
                }
            }
        }
    }

    /// Checks the result of resuming a pattern.
    fn check_pattern(&mut self, client: usize, ticket: u32, start: &Start<'_>) {
        let now_ms = self.now_ms;
        let label = label(start.name, start.matcher);
        let Some(covering) = self.connection(client).view.covering(ticket, &label) else {
            return;
        };
        let (from, begun_ms) = (covering.from, covering.begun_ms);
        let since_ms = covering.since_ms();
        let at = start.position;
        if at.epoch != PROCESS || !(begun_ms..=now_ms).contains(&at.offset) {
            fail(Check::Confirmation, format!("{}: {at:?}", start.name));
        }
        let remembers = since_ms.is_none_or(|since_ms| {
            let mut nodes = self.nodes.iter();
            nodes.all(|node| node.engine.homes.home.remembers_since(since_ms))
        });
        let thing = match (from, start.resumed) {
            (None, None) => return,
            (Some(_), Some(Resumed::Complete(0))) if since_ms.is_some() => Thing::PatternRecovered,
            (Some(_), Some(Resumed::OtherEpoch)) if since_ms.is_none() => Thing::PatternRestarted,
            (Some(_), Some(Resumed::OtherEpoch)) if !remembers || !self.has_room() => {
                Thing::PatternForgotten
            }
            _ => fail(Check::Confirmation, format!("{from:?}: {start:?}")),
        };
        self.oracle.seen.note(thing);
        let covering = self.connection(client).view.covering(ticket, &label);
        let covering = covering.expect("as above");
        covering.is_complete = thing == Thing::PatternRecovered;
        covering.owes_gap = !covering.is_complete;
    }

    /// Delivers a client's outcomes, which come before any other reply.
    pub(super) fn take_outcomes(&mut self, client: usize) {
        let &mut Connection { node, peer, .. } = self.connection(client);
        while let Some(outcome) = self.turn(node, |turn| turn.next_outcome_for(peer)) {
            self.outcome(node, peer, outcome);
        }
    }

    /// A client of the events protocol connects: with broadcasts and its inbox if `greet`. One of the bridge
    /// protocol has its inbox only.
    pub(super) fn join(&mut self, client: usize, node: usize, format: FormatId, greet: bool) {
        self.leave(client);
        let user = UserKey::of(&self.clients[client].user);
        let peer = self.nodes[node].engine.join(format, user);
        self.nodes[node].sockets.insert(peer.slot, self.setup.room);
        let stored = self.clients[client].stored.clone();
        let view = View::new(format, stored, self.has_room());
        let mut connection = Connection::new(node, peer, format, view);
        let inbox = topic::inbox_of(&self.clients[client].user);
        if !format.recovers {
            let seen = self.stored(client, &inbox);
            connection.view.seen_before(seen);
        }
        self.clients[client].connection = Some(connection);
        self.changes += 1;
        if !greet && format.recovers {
            return;
        }
        let ticket = self.turn(node, |turn| turn.begin_subscription(peer));
        self.connection(client)
            .view
            .asked
            .insert(ticket.0, Asked::default());
        let mut has_room = true;
        if format.recovers {
            has_room &= self.begin(client, topic::BROADCAST, Begin::Live, ticket);
            self.connection(client).own.push(topic::BROADCAST.into());
        }
        let stored = self.clients[client].stored.get(&inbox).copied();
        let begin = match !format.recovers {
            true => Begin::Here,
            false => stored.map_or(Begin::Live, Begin::After),
        };
        has_room &= self.begin(client, &inbox, begin, ticket);
        self.connection(client).own.push(inbox);
        if let Some(confirmation) = self.turn(node, |turn| turn.confirm(ticket)) {
            self.confirm(client, &confirmation);
        }
        if !has_room {
            self.leave(client);
        }
    }

    /// Makes a client a member of a topic. Returns `false` at a limit.
    fn begin(&mut self, client: usize, name: &str, begin: Begin, ticket: Ticket) -> bool {
        let &mut Connection { node, peer, .. } = self.connection(client);
        let view = &self.clients[client]
            .connection
            .as_ref()
            .expect("as above")
            .view;
        let hub = self.nodes[node].engine.hub();
        let was_member = match view.is_covered(name) {
            true => view.flows(name, ticket.0),
            false => hub
                .find(name)
                .is_some_and(|topic| hub.topics_of(peer.slot).any(|other| other == topic)),
        };
        let subscribed = self.turn(node, |turn| turn.subscribe(peer, name, begin, ticket));
        self.changes += 1;
        if subscribed.is_err() {
            self.oracle.seen.note(Thing::TooManyTopics);
            return false;
        }
        let view = &mut self.connection(client).view;
        let life = view.begin(name, ticket.0, was_member);
        let asked = view.asked.get_mut(&ticket.0).expect("it was just begun");
        if !asked.topics.iter().any(|topic| topic.name == name) {
            asked.topics.push(AskedTopic {
                name: name.into(),
                life,
                was_member,
                from: match begin {
                    Begin::After(position) | Begin::AfterOrNewest(position) => Some(position),
                    Begin::Live | Begin::Here | Begin::Last(_) => None,
                },
                last: match begin {
                    Begin::Last(count) => Some(count),
                    _ => None,
                },
            });
        }
        true
    }

    /// A client changes its wire format.
    pub(super) fn reformat(&mut self, client: usize, format: FormatId) {
        let &mut Connection { node, peer, .. } = self.connection(client);
        self.take_outcomes(client);
        match self.turn(node, |turn| turn.reformat(peer, format)) {
            true => self.connection(client).view.next_formats.push_back(format),
            false => self.oracle.seen.note(Thing::Busy),
        }
    }

    /// A client subscribes, as a session of the events protocol does it.
    pub(super) fn subscribe(&mut self, client: usize, labels: &[&str], recover: Recover) {
        let &mut Connection { node, peer, .. } = self.connection(client);
        self.take_outcomes(client);
        if !self.may_subscribe(client, labels) {
            return self.oracle.seen.note(Thing::Busy);
        }
        let mut stored = match recover {
            Recover::Nothing | Recover::Ago => Heads::new(),
            _ => self.connection(client).view.stored.clone(),
        };
        if matches!(recover, Recover::Ago | Recover::Restarted) {
            let patterns = labels.iter().filter(|label| is_pattern(label));
            let now_ms = self.now_ms;
            // Patterns of one topic have labels of different lengths.
            let at = |label: &str| Position {
                epoch: PROCESS,
                offset: now_ms.saturating_sub(AGO_MS * label.len() as u64),
            };
            for label in patterns {
                let known = stored.entry((*label).to_owned());
                known.or_insert_with(|| at(label));
            }
        }
        for (label, at) in &mut stored {
            match recover {
                Recover::Ahead => at.offset += 3,
                Recover::Restarted if is_pattern(label) => at.epoch -= 1,
                _ => {}
            }
        }
        if let Recover::Last(_) = recover {
            stored.retain(|label, _| !is_pattern(label));
        }
        let begin_at = |label: &str| match (recover, stored.get(label)) {
            (Recover::Last(count), _) => Begin::Last(u64::from(count)),
            (_, Some(&position)) => Begin::After(position),
            (_, None) => Begin::Live,
        };
        let ticket = self.turn(node, |turn| turn.begin_subscription(peer));
        let asked = &mut self.connection(client).view.asked;
        asked.insert(ticket.0, Asked::default());
        let known = self.connection(client).labels.clone();
        let mut new: Vec<&str> = labels.to_vec();
        new.sort_unstable();
        new.dedup();
        new.retain(|label| !known.iter().any(|known| known == label));
        let (patterns, topics): (Vec<&str>, Vec<&str>) =
            new.into_iter().partition(|label| is_pattern(label));
        let (floor, now_ms) = (self.heads_of(node), self.now_ms);
        self.changes += patterns.len() as u64;
        let parsed = patterns.iter().filter_map(|&label| {
            let from = stored.get(label).copied();
            Some((pattern_of(label)?, from))
        });
        let parsed: Vec<(Pattern, Option<Position>)> = parsed.collect();
        self.turn(node, |turn| turn.subscribe_patterns(peer, &parsed, ticket));
        let connection = self.connection(client);
        let named = known.iter().filter(|label| !is_pattern(label));
        connection.view.named = named.map(|label| topic_of(label).to_owned()).collect();
        for (pattern, from) in &parsed {
            connection.labels.push(label_of(pattern));
            let floor = floor.clone();
            let begun = (ticket.0, now_ms, *from);
            connection.view.begin_pattern(pattern.clone(), begun, floor);
        }
        for label in topics {
            let name = topic_of(label);
            if self.begin(client, name, begin_at(label), ticket) {
                self.connection(client).labels.push(label.into());
                self.enter(client, name);
            }
        }
        for label in stored.keys().filter(|label| !is_pattern(label)) {
            let name = topic_of(label);
            let mut patterns = parsed.iter();
            if patterns.any(|(one, _)| one.matches(name)) && !self.connection(client).is_named(name)
            {
                let _ = self.begin(client, name, begin_at(label), ticket);
                self.turn(node, |turn| turn.unsubscribe(peer, name));
            }
        }
        if let Some(confirmation) = self.turn(node, |turn| turn.confirm(ticket)) {
            self.confirm(client, &confirmation);
            self.take_outcomes(client);
        }
    }

    fn may_subscribe(&mut self, client: usize, labels: &[&str]) -> bool {
        let &mut Connection { node, peer, .. } = self.connection(client);
        let topics = labels.iter().filter(|label| !is_pattern(label));
        let topics: Vec<&str> = topics.map(|label| topic_of(label)).collect();
        let has_patterns = topics.len() < labels.len();
        self.turn(node, |turn| turn.may_subscribe(peer, &topics, has_patterns))
    }

    pub(super) fn unsubscribe(&mut self, client: usize, labels: &[&str]) {
        let &mut Connection { node, peer, .. } = self.connection(client);
        self.take_outcomes(client);
        if !self.may_subscribe(client, labels) {
            return self.oracle.seen.note(Thing::Busy);
        }
        let number = self.connection(client).view.next_end();
        let known = &mut self.connection(client).labels;
        let gone: Vec<String> = known
            .extract_if(.., |known| labels.contains(&known.as_str()))
            .collect();
        let mut patterns = Vec::new();
        for label in &gone {
            patterns.extend(self.give_up(client, label));
        }
        self.turn(node, |turn| turn.unsubscribe_patterns(peer, &patterns));
        self.end_patterns(client, &patterns);
        self.send(client, format!("U{number}\n").as_bytes());
    }

    /// Ends a subscription by the label it was made with. Returns it if it is a pattern.
    fn give_up(&mut self, client: usize, label: &str) -> Option<Pattern> {
        let &mut Connection { node, peer, .. } = self.connection(client);
        self.changes += 1;
        if let Some(pattern) = pattern_of(label) {
            return Some(pattern);
        }
        let name = topic_of(label);
        self.turn(node, |turn| turn.unsubscribe(peer, name));
        self.end_topic(client, name);
        None
    }

    /// A subscription to a topic has ended.
    fn end_topic(&mut self, client: usize, name: &str) {
        self.exit(client, name);
        self.connection(client).view.end(name, false);
    }

    /// What has not been written to a client may be lost.
    fn lose_undrained(&mut self, client: usize) {
        let &mut Connection { node, peer, .. } = self.connection(client);
        if !self.nodes[node].engine.hub().is_drained(peer.slot) {
            self.lose_queued(client);
        }
    }

    fn end_patterns(&mut self, client: usize, patterns: &[Pattern]) {
        let connection = self.connection(client);
        for pattern in patterns {
            connection.view.end_pattern(pattern);
        }
        for name in connection.view.names() {
            let is_named = connection.is_named(&name);
            connection.view.end(&name, is_named);
        }
    }

    fn enter(&mut self, client: usize, topic: &str) {
        let user = self.clients[client].user.clone();
        let node = self.connection(client).node;
        let data = self.presence_data(&user);
        self.at_home(node, None, |turn| turn.enter(topic, &user, &data));
        let connections = self.present.entry(topic.into()).or_default();
        *connections.entry(user).or_default() += 1;
    }

    fn exit(&mut self, client: usize, topic: &str) {
        let user = self.clients[client].user.clone();
        let node = self.connection(client).node;
        self.at_home(node, None, |turn| turn.exit(topic, &user));
        let connections = self.present.entry(topic.into()).or_default();
        *connections.entry(user).or_default() -= 1;
    }

    /// A client gives other data of its user.
    pub(super) fn update_presence(&mut self, client: usize, topic: &str) {
        let user = self.clients[client].user.clone();
        let node = self.connection(client).node;
        let data = self.presence_data(&user);
        self.at_home(node, None, |turn| turn.update_presence(topic, &user, &data));
    }

    /// New data of a user, or none.
    fn presence_data(&mut self, user: &str) -> String {
        let number = self.unique();
        let data = match number % 3 {
            0 => String::new(),
            _ => number.to_string(),
        };
        self.oracle.note_presence_data(user, &data);
        data
    }

    /// A client's session ends; if it `crashes`, without a word to the engine where that is allowed.
    fn end(&mut self, client: usize, crashes: bool) {
        self.lose_undrained(client);
        let _ = self.connection(client).view.next_end();
        let &mut Connection { node, peer, .. } = self.connection(client);
        let mut patterns = Vec::new();
        for label in std::mem::take(&mut self.connection(client).labels) {
            match pattern_of(&label) {
                Some(pattern) => patterns.push(pattern),
                None => self.end_topic(client, topic_of(&label)),
            }
        }
        self.changes += 1;
        let view = &self.connection(client).view;
        let may_crash = patterns.is_empty() && view.next_formats.is_empty();
        // Clients of streams have no presence.
        if self.connection(client).stream.is_none() && !(crashes && may_crash) {
            self.turn(node, |turn| turn.end_subscriptions(peer));
        }
        self.end_patterns(client, &patterns);
    }

    /// The gateway closes a client's connection.
    pub(super) fn close(&mut self, client: usize) {
        self.take_outcomes(client);
        self.end(client, false);
        let &mut Connection {
            node, peer, format, ..
        } = self.connection(client);
        let engine = &mut self.nodes[node].engine;
        let last: &[u8] = match format {
            MERGED => b"",
            _ => b"X\n",
        };
        engine.send_last(peer, last);
        self.turn(node, |_| ());
        let connection = self.connection(client);
        (connection.is_closing, connection.view.is_closing) = (true, true);
        for name in std::mem::take(&mut connection.own) {
            connection.view.end(&name, false);
        }
        self.changes += 1;
    }

    /// A client's connection is lost, if it has one.
    pub(super) fn leave(&mut self, client: usize) {
        if self.clients[client].connection.is_none() {
            return;
        }
        let crashes = self.unique().is_multiple_of(3);
        self.end(client, crashes);
        let &mut Connection { node, peer, .. } = self.connection(client);
        self.nodes[node].engine.leave(peer);
        self.nodes[node].sockets.remove(peer.slot);
        self.mesh.hand_over(node);
        let is_unsent = self.mesh.has_unsent_requests(node);
        let client = &mut self.clients[client];
        // Its unsent publications may be overtaken by later ones elsewhere.
        client.life += u32::from(is_unsent);
        if let Some(connection) = client.connection.take() {
            match connection.stream {
                Some((topics, stream)) => {
                    client.cursors.insert(topics, stream.last_id);
                }
                None => client.stored = connection.view.stored,
            }
        }
        self.changes += 1;
    }

    /// The name under which a client publishes; it changes when the order of its publications may change.
    pub(super) fn publisher(&mut self, client: usize, topic: &str) -> String {
        let node = self.connection(client).node;
        let is_overtaking = self.home_of(topic) == node && self.has_requests(node);
        if is_overtaking || self.mesh.is_starved(node) {
            // Its publications elsewhere may arrive later.
            self.clients[client].life += 1;
        }
        let Client { user, life, .. } = &self.clients[client];
        let mut name = user.clone();
        write!(name, "-{life}").expect("memory takes everything");
        name
    }

    /// The client's position in a topic.
    pub(super) fn stored(&self, client: usize, topic: &str) -> Option<Position> {
        self.clients[client].stored.get(topic).copied()
    }
}
