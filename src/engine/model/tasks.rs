//! Tasks that wait for answers: of counted publications, histories and calls.

use super::encoder::{FORMATS, MERGED};
use std::collections::{BTreeMap, BTreeSet};

use super::oracle::{Check, expect, fail};
use super::queue::QUEUE_GROUPS;
use super::seen::Thing;
use super::world::World;
use crate::engine::readers::Readers;
use crate::engine::{
    HistoryExcerpt, HistoryPage, HistoryPart, Outcome, Post, PublishCount, PublishResult, Stored,
    Taken, Ticket,
};
use crate::id::UserKey;

/// Pending tasks, by engine and ticket.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    pub(super) counts: BTreeMap<(usize, u32), Count>,
    pub(super) histories: BTreeMap<(usize, u32), Read>,
    pub(super) calls: Vec<Call>,
    /// Last answers that may be under way, by key and user: they end a call with the same key made meanwhile.
    last_given: BTreeSet<(&'static str, usize)>,
}

/// A publication whose subscribers are counted.
#[derive(Debug)]
pub(super) struct Count {
    data: String,
    only_live: bool,
    /// How many it must reach if no membership changes meanwhile.
    exactly: Option<(u64, u64)>,
}

/// A history that is read.
#[derive(Debug)]
pub(super) struct Read {
    topic: &'static str,
    part: HistoryPart,
    limit: usize,
}

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) node: usize,
    ticket: u32,
    key: &'static str,
    /// The client that is called.
    user: usize,
    /// Whether the key was free, once the caller has been told.
    is_free: Option<bool>,
    /// The user may have sent the last answer.
    is_last_given: bool,
    /// The caller has received the last answer.
    is_over: bool,
    pub(super) is_hung_up: bool,
    /// All outcomes before the hang-up have been delivered.
    must_be_silent: bool,
    awaits_end: bool,
    /// Answers that the caller must receive.
    due: Vec<u64>,
    /// The newest answer received.
    newest: u64,
}

impl Tasks {
    /// All outcomes of an engine have been delivered.
    pub(super) fn note_flush(&mut self, node: usize) {
        for call in self.calls.iter_mut().filter(|call| call.node == node) {
            call.must_be_silent |= call.is_hung_up;
        }
    }

    /// Checks that no task is pending.
    pub(super) fn finish(&self) {
        if !self.counts.is_empty() || !self.histories.is_empty() {
            fail(Check::Unanswered, format!("{self:?}"));
        }
        for call in &self.calls {
            let is_due = !call.due.is_empty() && !call.is_hung_up;
            if call.is_free.is_none() && !call.is_hung_up || call.awaits_end || is_due {
                fail(Check::Call, format!("unanswered: {call:?}"));
            }
        }
    }
}

impl World {
    /// Unique data for a publication.
    pub(super) fn data(&mut self, publisher: &str, bytes: u32) -> String {
        let number = self.unique();
        let pad = "x".repeat(bytes as usize);
        format!("{publisher}.{number}{pad}")
    }

    /// A client publishes.
    pub(super) fn publish(
        &mut self,
        client: usize,
        (topic, key): (&str, &str),
        wants_answer: bool,
        (bytes, except): (u32, &str),
    ) {
        self.take_outcomes(client);
        let publisher = self.publisher(client, topic);
        let data = self.data(&publisher, bytes);
        if !except.is_empty() {
            self.oracle.leave_out(&data, except);
        }
        let connection = self.connection(client);
        let (node, peer) = (connection.node, connection.peer);
        let post = Post {
            key,
            except: UserKey::of(except),
            ..Post::event(topic, data.as_bytes())
        };
        let id = if wants_answer { data.as_str() } else { "" };
        let (result, offset) = match self.home_of(topic) == node {
            true => self.publish_at_home(node, (topic, &data, key), |turn| {
                turn.publish(peer, &post, id)
            }),
            false => (self.turn(node, |turn| turn.publish(peer, &post, id)), None),
        };
        match result {
            PublishResult::Stored(stored) => {
                expect(Check::Published, &Some(stored.offset), &offset, &data);
                if wants_answer {
                    self.send(client, b"A\n");
                }
            }
            PublishResult::Forwarded if wants_answer => {
                self.connection(client).answers.insert(data);
            }
            PublishResult::Forwarded => {}
            PublishResult::Busy => self.oracle.seen.note(Thing::Busy),
            PublishResult::TooManyTopics => self.oracle.seen.note(Thing::TooManyTopics),
        }
    }

    /// A task publishes and counts. `post` has no data.
    pub(super) fn count(&mut self, node: usize, post: &Post<'_>, bytes: u32) {
        let data = self.data(&format!("n{node}"), bytes);
        let (topic, key, only_live) = (post.topic, post.key, post.only_live);
        let post = Post {
            data: data.as_bytes(),
            ..*post
        };
        let exactly = Some(self.members(topic))
            .filter(|_| key.is_empty() && !only_live && self.has_room() && self.is_settled());
        let counting = match self.home_of(topic) == node {
            true => {
                let publication = (topic, data.as_str(), key);
                self.publish_at_home(node, publication, |turn| turn.publish_counted(&post))
                    .0
            }
            false => self.turn(node, |turn| turn.publish_counted(&post)),
        };
        let count = Count {
            exactly: exactly.map(|members| (members, self.changes)),
            data,
            only_live,
        };
        match counting {
            PublishCount::Done(result) => self.counted(&count, result),
            PublishCount::Pending(ticket) => {
                self.tasks.counts.insert((node, ticket.0), count);
            }
        }
    }

    fn counted(&mut self, count: &Count, result: PublishResult) {
        match result {
            PublishResult::Stored(Stored {
                offset: 0, members, ..
            }) if count.only_live => {
                expect(Check::Members, &members, &0, &count.data);
            }
            PublishResult::Stored(Stored {
                offset, members, ..
            }) => {
                self.oracle.check_offset(&count.data, offset);
                // Clients that move between engines are counted by both.
                let most = self.clients.len() * self.nodes.len() + QUEUE_GROUPS;
                if members > most as u64 {
                    fail(Check::Members, format!("{members} of {count:?}"));
                }
                if let Some((expected, changes)) = count.exactly
                    && changes == self.changes
                {
                    self.oracle.seen.note(Thing::CountedExactly);
                    expect(Check::Members, &members, &expected, &count.data);
                }
            }
            PublishResult::Busy => self.oracle.seen.note(Thing::Busy),
            PublishResult::TooManyTopics => self.oracle.seen.note(Thing::TooManyTopics),
            PublishResult::Forwarded => fail(Check::Published, "forwarded, and no ticket"),
        }
    }

    /// Whether no change of memberships is under way.
    fn is_settled(&self) -> bool {
        let mut connections = self
            .clients
            .iter()
            .filter_map(|client| client.connection.as_ref());
        self.is_quiet()
            && connections.all(|connection| {
                let stream = connection.stream.as_ref();
                stream.is_none_or(|(_, stream)| stream.is_open)
            })
    }

    /// Members of a topic.
    fn members(&self, topic: &str) -> u64 {
        let of_readers = |readers: &Readers| -> usize {
            let Readers { hub, merges, .. } = readers;
            let named = hub.find(topic).into_iter().flat_map(|id| {
                let formats = FORMATS.into_iter();
                formats.map(move |format| hub.member_count(id, format))
            });
            let logs = hub.topics().filter(|(log, _)| {
                let mut parts = merges.topics_of(*log).iter();
                parts.any(|part| hub.name(*part) == topic)
            });
            let streams = logs.map(|(log, _)| hub.member_count(log, MERGED));
            named.sum::<usize>() + streams.sum::<usize>()
        };
        let connections = self.clients.iter();
        let connections = connections.filter_map(|one| one.connection.as_ref());
        let covered = connections.filter(|one| one.view.is_covered(topic));
        let all: usize = self
            .nodes
            .iter()
            .map(|node| of_readers(&node.engine.readers))
            .sum();
        (all + covered.count() + self.queue_groups(topic, "").len()) as u64
    }

    /// A task reads a history.
    pub(super) fn read_history(
        &mut self,
        node: usize,
        topic: &'static str,
        part: HistoryPart,
        limit: u32,
    ) {
        let page = HistoryPage {
            part,
            limit,
            bytes: 1 << 20,
            user: UserKey::NONE,
        };
        let ticket = self.turn(node, |turn| turn.read_history(topic, &page));
        let read = Read {
            topic,
            part,
            limit: limit as usize,
        };
        self.tasks.histories.insert((node, ticket.0), read);
    }

    fn history(&mut self, read: &Read, kept: &HistoryExcerpt) {
        self.oracle
            .seen
            .add(Thing::History, kept.messages.len() as u64);
        let mut next = kept.messages.first().map_or(0, |first| first.offset);
        let is_wrong = kept.messages.len() > read.limit
            || next != 0 && matches!(read.part, HistoryPart::After(since) if next <= since)
            || kept.oldest.is_some_and(|oldest| next != 0 && next < oldest)
            || kept.oldest.is_none() && next != 0;
        if is_wrong {
            fail(Check::History, format!("{read:?}: {kept:?}"));
        }
        for message in &kept.messages {
            expect(Check::History, &message.offset, &next, read.topic);
            let at = crate::id::Position {
                offset: next,
                ..kept.position
            };
            let data = str::from_utf8(&message.data).expect("data is text");
            self.oracle.check_message(read.topic, at, data);
            next += 1;
        }
        let more = match read.part {
            HistoryPart::After(_) => next != 0 && next != kept.position.offset + 1,
            HistoryPart::Before(before) => {
                self.oracle
                    .seen
                    .add(Thing::HistoryBefore, kept.messages.len() as u64);
                let end = before.min(kept.position.offset + 1);
                if next != 0 {
                    expect(Check::History, &next, &end, "the newest before");
                }
                let first = kept.messages.first().map_or(end, |first| first.offset);
                if next == 0 && kept.oldest.is_some_and(|oldest| oldest < end) {
                    fail(Check::History, format!("{read:?}: {kept:?}"));
                }
                kept.oldest.is_some_and(|oldest| oldest < first)
            }
        };
        expect(Check::History, &kept.more, &more, "more");
    }

    /// A task calls a client.
    pub(super) fn call(&mut self, node: usize, key: &'static str, user: usize) {
        let name = self.clients[user].user.clone();
        if self.is_quiet() {
            self.tasks.last_given.clear();
        }
        let is_last_given = self.tasks.last_given.contains(&(key, user));
        let ticket = self.turn(node, |turn| turn.call(key, &name));
        self.tasks.calls.push(Call {
            node,
            ticket: ticket.0,
            key,
            user,
            is_free: None,
            is_last_given,
            is_over: false,
            is_hung_up: false,
            must_be_silent: false,
            awaits_end: false,
            due: Vec::new(),
            newest: 0,
        });
    }

    /// A caller hangs up.
    pub(super) fn hang_up(&mut self, call: usize) {
        let Call { node, ticket, .. } = self.tasks.calls[call];
        let is_told = self.turn(node, |turn| turn.hang_up(Ticket(ticket)));
        let call = &mut self.tasks.calls[call];
        (call.is_hung_up, call.awaits_end) = (true, is_told);
        self.oracle.seen.note(Thing::HungUp);
    }

    /// A client answers a call.
    pub(super) fn answer(&mut self, client: usize, key: &'static str, is_last: bool) {
        self.take_outcomes(client);
        let node = self.connection(client).node;
        let is_here = self.home_of(key) == node;
        self.oracle.has_passed |= self.mesh.is_starved(node);
        if is_here && self.has_requests(node) {
            // The user's answers on an earlier connection to another engine come first.
            let _ = self.take_requests(node, 4 * self.nodes.len());
            if self.has_requests(node) {
                return self.oracle.seen.note(Thing::Busy);
            }
        }
        let number = self.unique();
        let user = self.clients[client].user.clone();
        let said = number.to_string();
        let taken = self.turn(node, |turn| {
            turn.answer(key, &user, said.as_bytes(), is_last)
        });
        if taken == Taken::Stalled {
            return self.oracle.seen.note(Thing::Busy);
        }
        if is_last {
            self.tasks.last_given.insert((key, client));
        }
        for call in &mut self.tasks.calls {
            if call.key != key || call.user != client || call.is_last_given {
                continue;
            }
            if call.is_free == Some(true) && !call.is_hung_up {
                call.due.push(number);
            }
            call.is_last_given |= is_last && call.is_free != Some(false);
        }
        if !is_here {
            self.oracle.seen.note(Thing::CallAnsweredElsewhere);
        }
    }

    /// A task receives an outcome.
    pub(super) fn answered(&mut self, node: usize, ticket: Ticket, outcome: Outcome) {
        let who = (node, ticket.0);
        let calls = self.tasks.calls.iter();
        let call = calls.rev().position(|call| (call.node, call.ticket) == who);
        let call = call.map(|at| self.tasks.calls.len() - 1 - at);
        match (outcome, call) {
            (Outcome::Published { result, .. }, None) => {
                let Some(count) = self.tasks.counts.remove(&who) else {
                    fail(Check::Unanswered, format!("{result:?} for {ticket:?}"));
                };
                self.oracle.seen.note(Thing::CountedElsewhere);
                self.counted(&count, result);
            }
            (Outcome::History { kept, .. }, None) => {
                let Some(read) = self.tasks.histories.remove(&who) else {
                    fail(Check::Unanswered, format!("a history for {ticket:?}"));
                };
                self.history(&read, &kept);
            }
            (Outcome::Called(is_free), Some(call)) => self.called(call, is_free),
            (Outcome::HungUp, Some(call)) => {
                let awaited = std::mem::take(&mut self.tasks.calls[call].awaits_end);
                expect(Check::Call, &awaited, &true, "an end that was waited for");
            }
            (Outcome::Answered { said, is_last }, Some(call)) => {
                let said = str::from_utf8(&said).expect("as it was made");
                let number = said.parse().expect("as it was made");
                self.said(call, number, is_last);
            }
            (outcome, _) => fail(Check::Unanswered, format!("{outcome:?} for {ticket:?}")),
        }
    }

    fn called(&mut self, call: usize, is_free: bool) {
        let calls = &mut self.tasks.calls;
        expect(Check::Call, &calls[call].is_free, &None, "told once");
        calls[call].is_free = Some(is_free);
        if !is_free {
            return self.oracle.seen.note(Thing::KeyTaken);
        }
        if calls[call].is_hung_up || calls[call].is_last_given {
            return;
        }
        let key = calls[call].key;
        let others = calls.iter().enumerate().filter(|(at, _)| *at != call);
        for (_, other) in others.filter(|(_, other)| other.key == key) {
            if other.is_free == Some(true) && !other.is_hung_up && !other.is_last_given {
                fail(Check::Call, format!("{key} is that of {other:?}, too"));
            }
        }
    }

    fn said(&mut self, call: usize, number: u64, is_last: bool) {
        let call = &mut self.tasks.calls[call];
        if call.is_hung_up && !call.must_be_silent {
            // It may have been under way at the hang-up.
            return;
        }
        let is_due = call.due.first().is_none_or(|&due| number <= due);
        let is_wrong = call.is_hung_up || call.is_over || call.is_free != Some(true);
        let is_late = number <= call.newest || !is_due;
        // A request that waits for room does not hold up the same user's requests on another connection.
        let is_overtaken = is_late && self.oracle.has_passed;
        if !is_overtaken && (is_wrong || is_late) {
            fail(Check::Call, format!("{number} is said to {call:?}"));
        }
        call.due.retain(|&due| due != number);
        (call.newest, call.is_over) = (number, is_last);
        self.oracle.seen.note(Thing::CallAnswered);
    }
}
