//! Catch-up: the messages a subscriber missed, sent page by page before any newer one.
//!
//! Its membership is on hold meanwhile: live messages stay in the topic's log, bounded by the topic's slow-consumer
//! policy. The next page is requested when the last one has been written, so catching up costs one page of memory and
//! proceeds at the peer's speed.

use std::collections::VecDeque;

use super::confirmation::{Resumed, Subscribing};
use super::format::Formats;
use super::history::{HistoryExcerpt, HistoryPage, HistoryPart, Record, RetainedMessage};
use super::home::HomeTopic;
use super::merge::Merges;
use super::publication::{Publication, name_of};
use super::ticket::ANSWERS_MAX;
use super::{
    Asker, Begin, Engine, Gap, GapCause, Lanes, Missed, Now, Outcome, Place, Reach, ReplayFrom,
};
use super::{Request, Ticket, Turn};
use crate::collections::HashMap;
use crate::id::{Gather, PeerId, Position, TopicId};

/// Bytes of one page; the last message may exceed it.
const PAGE_BYTES: usize = 64 * 1024;

/// The peers that are catching up.
#[derive(Debug, Default)]
pub(super) struct CatchUps {
    /// For each peer its topics; the first one is being sent.
    peers: HashMap<PeerId, VecDeque<CatchUp>>,
    /// Positions to resume from, of peers that have not been told the result yet; `None`: the newest messages, however
    /// many are retained.
    asked: HashMap<PeerId, Vec<(TopicId, Option<Position>)>>,
}

/// The messages of one topic that a peer missed.
#[derive(Debug)]
pub(super) struct CatchUp {
    pub(super) topic: TopicId,
    /// The topic whose log is on hold: `topic` itself, or the log of the event stream that merges it.
    pub(super) held: TopicId,
    /// The topic's index in the event stream.
    pub(super) place: usize,
    pub(super) missed: Missed,
    /// The offset of the last message written.
    pub(super) written: u64,
}

impl CatchUps {
    /// The offset up to which a topic's missed messages have been written to a peer.
    pub(super) fn written(&self, peer: PeerId, topic: TopicId, epoch: u64) -> Option<u64> {
        if let Some(asked) = self.asked.get(&peer)
            && let Some((_, was)) = asked.iter().find(|(other, _)| *other == topic)
        {
            return match was {
                // Messages of another epoch are not sent.
                Some(was) => Some(was.offset).filter(|_| was.epoch == epoch),
                None => Some(0),
            };
        }
        let mut queue = self.peers.get(&peer)?.iter();
        let catch_up = queue.find(|catch_up| catch_up.topic == topic)?;
        Some(catch_up.written)
    }

    /// Whether a peer is catching up, or has asked to resume.
    pub(super) fn has(&self, peer: PeerId) -> bool {
        self.peers.contains_key(&peer) || self.asked.contains_key(&peer)
    }

    /// Records that a peer asks to resume a topic, after a position or with the newest messages.
    pub(super) fn ask(&mut self, peer: PeerId, topic: TopicId, from: Option<Position>) {
        self.asked.entry(peer).or_default().push((topic, from));
    }

    /// Records that a peer has been told the result.
    pub(super) fn tell(&mut self, peer: PeerId, topic: TopicId) {
        if let Some(asked) = self.asked.get_mut(&peer) {
            asked.retain(|(other, _)| *other != topic);
            if asked.is_empty() {
                self.asked.remove(&peer);
            }
        }
    }

    /// Forgets a peer that has left.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
        self.asked.remove(&peer);
    }

    /// Adds topics to catch up with. Returns `true` if the peer was not catching up before.
    fn add(&mut self, peer: PeerId, topics: impl IntoIterator<Item = CatchUp>) -> bool {
        let mut topics = topics.into_iter().peekable();
        if topics.peek().is_none() {
            return false;
        }
        let queue = self.peers.entry(peer).or_default();
        let was_idle = queue.is_empty();
        queue.extend(topics);
        was_idle
    }

    fn first_mut(&mut self, peer: PeerId) -> Option<&mut CatchUp> {
        self.peers.get_mut(&peer)?.front_mut()
    }

    /// The catch-up of a peer that a page belongs to; `None` if it is a later one or has ended.
    fn current(&mut self, missed: &Missed) -> Option<&mut CatchUp> {
        let current = self.peers.get_mut(&missed.peer)?.front_mut()?;
        Some(current).filter(|current| current.missed == *missed)
    }

    /// Drops a topic. Returns whether it was the one being sent.
    fn cancel(&mut self, peer: PeerId, topic: TopicId) -> bool {
        let Some(queue) = self.peers.get_mut(&peer) else {
            return false;
        };
        let is_first = queue.front().is_some_and(|first| first.topic == topic);
        queue.retain(|other| other.topic != topic);
        if queue.is_empty() {
            self.peers.remove(&peer);
        }
        is_first
    }

    /// A peer has received what it missed of one topic. Returns whether that was the last one that keeps `held` on
    /// hold.
    fn end_first(&mut self, peer: PeerId, held: TopicId) -> bool {
        let Some(queue) = self.peers.get_mut(&peer) else {
            return true;
        };
        queue.pop_front();
        let is_last = !queue.iter().any(|other| other.held == held);
        if queue.is_empty() {
            self.peers.remove(&peer);
        }
        is_last
    }

    /// Appends a message to a page for the peer that missed it.
    fn put(
        &mut self,
        merges: &mut Merges,
        page: &mut Vec<u8>,
        missed: &Missed,
        (offset, frame): (u64, &[u8]),
    ) {
        if missed.format.gather == Gather::Merge
            && let Some(current) = self.current(missed)
        {
            merges.pass(missed.peer, current.place, offset);
            if !frame.is_empty() {
                merges.put_missed_id(page, missed.peer);
            }
        }
        page.extend_from_slice(frame);
    }
}

impl Engine {
    /// Whether this home retains the wanted messages.
    pub(super) fn reach(&self, name: &str, from: ReplayFrom, now: Now) -> Reach {
        let topic = self.homes.home.find(name);
        topic.map_or_else(Reach::default, |topic| {
            let (after, complete) = match from {
                ReplayFrom::After(after) => (after, topic.retains_all_after(after, now.ms)),
                ReplayFrom::Last(count) => (topic.before_last(count, now.ms), true),
            };
            Reach {
                epoch: topic.position().epoch,
                after,
                complete,
            }
        })
    }

    /// A page of the history of a topic whose home is this shard.
    ///
    /// Cost: a copy of each of its messages, of which at most `page.limit` are looked at.
    pub(super) fn history(&self, name: &str, page: &HistoryPage, now: Now) -> HistoryExcerpt {
        let Some(topic) = self.homes.home.find(name) else {
            return HistoryExcerpt::default();
        };
        let mut kept = HistoryExcerpt {
            position: topic.position(),
            oldest: topic.after(0, now.ms).map(|record| record.offset).next(),
            ..HistoryExcerpt::default()
        };
        let limit = u64::from(page.limit);
        let mut bytes = 0;
        let mut fits = |record: &Record<'_>| {
            let is_room = bytes < page.bytes;
            bytes += record.json_bytes();
            is_room
        };
        let mut records = Vec::new();
        match page.part {
            HistoryPart::After(since) => {
                let mut newer = topic.after(since, now.ms);
                records.extend(
                    newer
                        .by_ref()
                        .take(page.limit as usize)
                        .take_while(&mut fits),
                );
                let last = records
                    .last()
                    .map_or(since, |record: &Record<'_>| record.offset);
                kept.more = topic.after(last, now.ms).next().is_some();
            }
            HistoryPart::Before(before) => {
                let end = before.min(kept.position.offset.saturating_add(1));
                let from = end.saturating_sub(1).saturating_sub(limit);
                records.extend(
                    topic
                        .after(from, now.ms)
                        .take_while(|record| record.offset < end),
                );
                let kept_count = records
                    .iter()
                    .rev()
                    .take_while(|record| fits(record))
                    .count();
                records.drain(..records.len() - kept_count);
                let first = records.first().map_or(end, |record| record.offset);
                kept.more = kept.oldest.is_some_and(|oldest| oldest < first);
            }
        }
        records.retain(|record| page.user.is_none() || record.except != page.user);
        kept.messages
            .extend(records.iter().map(|record| RetainedMessage {
                offset: record.offset,
                time_ms: record.time_ms,
                kind: record.kind,
                name: name_of(name, record.name, record.kind).into(),
                publisher: record.publisher.into(),
                data: record.data.into(),
            }));
        kept
    }

    /// Calls `each` with the encoded messages of a page that this home retains; empty for one that the peer skips. Returns the offset of the first and
    /// their number.
    ///
    /// Cost: one encoding per message.
    pub(super) fn read_page(
        &mut self,
        name: &str,
        missed: &Missed,
        now: Now,
        each: impl FnMut(u64, &[u8]),
    ) -> (u64, u64) {
        let topic = self.homes.home.find(name);
        read_page(&mut self.formats, topic, missed, now, each)
    }
}

impl<L: Lanes> Turn<'_, L> {
    /// Requests a page of a topic's history for a task: answered by an [`Outcome::History`] for this ticket.
    pub fn read_history(&mut self, name: &str, page: &HistoryPage) -> Ticket {
        let ticket = self.engine.outcomes.ticket();
        self.request_history(name, page, Asker::Task(ticket), ticket);
        ticket
    }

    /// Requests a page of a topic's history for a peer: answered by an [`Outcome::History`] with this ticket. `None` if
    /// the lane of requests to the topic's home is full, or too many of the peer's requests are unanswered.
    pub fn ask_history(&mut self, peer: PeerId, name: &str, page: &HistoryPage) -> Option<Ticket> {
        let place = self.engine.place_of(name);
        let hub = &mut self.engine.readers.hub;
        let is_full = matches!(place, Place::Shard(home) if self.lanes.requests_full(home));
        if is_full || !hub.is_present(peer) || hub.answers_awaited(peer) >= ANSWERS_MAX {
            return None;
        }
        hub.note_asked(peer);
        let ticket = self.engine.outcomes.ticket();
        self.request_history(name, page, Asker::Peer(peer), ticket);
        Some(ticket)
    }

    fn request_history(&mut self, name: &str, page: &HistoryPage, asker: Asker, ticket: Ticket) {
        match self.engine.place_of(name) {
            Place::Here => {
                let kept = Box::new(self.engine.history(name, page, self.now));
                self.tell(asker, Outcome::History { ticket, kept });
            }
            Place::Shard(home) => {
                let (topic, page) = (name.as_bytes(), *page);
                let request = Request::History {
                    topic,
                    page,
                    asker,
                    ticket,
                };
                self.ask(home, request);
            }
        }
    }

    /// The catch-up of a peer with a topic, if it is still on hold. If the messages are not retained, the peer is told
    /// of a gap instead.
    pub(super) fn miss(
        &mut self,
        peer: PeerId,
        (begun, hold): (&Subscribing, u16),
        start: Position,
        resumed: Resumed,
    ) -> Option<CatchUp> {
        let takes_newest = begun
            .resume
            .is_some_and(|resume| matches!(resume.from, Begin::AfterOrNewest(_)));
        let lost = match resumed {
            Resumed::Complete(0) => return None,
            Resumed::TooOld(missed) if !takes_newest => Some(missed),
            // Of those that are too old the page tells a gap.
            Resumed::Complete(missed) | Resumed::TooOld(missed) => {
                let after = start.offset - missed;
                let missed = Missed {
                    peer,
                    hold,
                    format: self.engine.readers.hub.format_of(peer.slot),
                    user: self.engine.readers.hub.user_of(peer.slot),
                    epoch: start.epoch,
                    after,
                    until: start.offset,
                };
                return Some(CatchUp {
                    topic: begun.topic,
                    held: begun.log,
                    place: 0,
                    missed,
                    written: after,
                });
            }
            Resumed::OtherEpoch | Resumed::NeverSeen | Resumed::Underway => None,
        };
        let topic = Some(begun.name.clone());
        self.tell_gap(peer, Gap::of_topic(topic, lost, GapCause::History));
        None
    }

    /// Releases a hold: live messages are written from now on.
    pub(super) fn release(&mut self, peer: PeerId, topic: TopicId) {
        self.engine.readers.hub.release(peer.slot, topic);
        // Messages dropped meanwhile are reported under the topic's current name.
        self.take_incidents();
        self.engine.flush_wanted = true;
    }

    /// Tells a peer that asked to resume a topic that another subscription delivers it already, if it still does:
    /// the peer may have unsubscribed while homes were asked.
    pub(super) fn tell_underway(&mut self, peer: PeerId, topic: TopicId, name: &str) {
        if self.engine.readers.is_reading(peer, topic, name) {
            let gap = Gap::of_topic(Some(name.into()), None, GapCause::History);
            self.tell_gap(peer, gap);
        }
    }

    /// Sends a peer the messages it missed, topic by topic.
    pub(super) fn begin_catch_up(
        &mut self,
        peer: PeerId,
        topics: impl IntoIterator<Item = CatchUp>,
    ) {
        if self.engine.catch_ups.add(peer, topics) {
            self.ask_page(peer);
        }
    }

    /// Requests the next page for a peer, if one is left.
    pub(super) fn ask_page(&mut self, peer: PeerId) {
        while let Some(first) = self.engine.catch_ups.first_mut(peer) {
            // The page requested before has been written.
            first.written = first.missed.after;
            let (topic, held, missed) = (first.topic, first.held, first.missed);
            let hub = &mut self.engine.readers.hub;
            if !hub.is_present(peer) {
                return self.engine.catch_ups.forget(peer);
            }
            let is_done = missed.after >= missed.until;
            if is_done || !hub.is_topic(topic) || !hub.is_held(peer.slot, held, missed.hold) {
                let is_last = self.engine.catch_ups.end_first(peer, held);
                if is_done && is_last && hub.is_topic(held) {
                    self.engine.readers.merges.forget(peer);
                    self.release(peer, held);
                }
                continue;
            }
            let name: Box<str> = hub.name(topic).into();
            if let Place::Shard(home) = self.engine.place_of(&name) {
                let topic = name.as_bytes();
                return self.ask(home, Request::Replay { topic, missed });
            }
            let engine = &mut *self.engine;
            let (catch_ups, merges) = (&mut engine.catch_ups, &mut engine.readers.merges);
            let mut page = Vec::new();
            let (first, count) = read_page(
                &mut engine.formats,
                engine.homes.home.find(&name),
                &missed,
                self.now,
                |offset, frame| catch_ups.put(merges, &mut page, &missed, (offset, frame)),
            );
            if self.take_page(missed, first, count, &page) {
                return;
            }
        }
        if self.engine.readers.hub.is_present(peer) {
            self.tell(Asker::Peer(peer), Outcome::CaughtUp);
        }
    }

    /// Whether a peer is being sent messages that it missed. An [`Outcome::CaughtUp`] follows.
    #[must_use]
    pub fn is_catching_up(&self, peer: PeerId) -> bool {
        self.engine.catch_ups.peers.contains_key(&peer)
    }

    /// Takes a page from the topic's home.
    pub(super) fn take_frames(&mut self, missed: Missed, first: u64, frames: &[&[u8]]) {
        let engine = &mut *self.engine;
        let merges = &mut engine.readers.merges;
        let mut page = Vec::new();
        for message in (first..).zip(frames.iter().copied()) {
            engine.catch_ups.put(merges, &mut page, &missed, message);
        }
        if !self.take_page(missed, first, frames.len() as u64, &page) {
            self.ask_page(missed.peer);
        }
    }

    /// Takes a page. Returns `true` if frames were queued that have to be written before the next request.
    fn take_page(&mut self, missed: Missed, first: u64, count: u64, page: &[u8]) -> bool {
        let (peer, engine) = (missed.peer, &mut *self.engine);
        let Some(current) = engine.catch_ups.current(&missed) else {
            // The peer has left or unsubscribed.
            return true;
        };
        let after = (first + count).saturating_sub(1).min(missed.until);
        current.missed.after = after;
        let (topic, place) = (current.topic, current.place);
        let before = (first - 1).min(missed.until);
        let lost = before - missed.after;
        if lost > 0 {
            self.tell_position(peer, place, before);
            self.counters.messages_dropped.add(lost);
            let topic = self.engine.topic_name(topic);
            self.tell_gap(peer, Gap::of_topic(topic, Some(lost), GapCause::History));
        }
        self.engine.readers.merges.pass(peer, place, after);
        if page.is_empty() {
            return false;
        }
        let hub = &mut self.engine.readers.hub;
        if hub.is_present(peer) {
            self.counters.messages_replayed.add(count);
            hub.refill(peer.slot, page);
            self.engine.flush_wanted = true;
        }
        true
    }

    /// Ends the catch-up of a peer with a topic that it has unsubscribed from.
    pub(super) fn cancel_catch_up(&mut self, peer: PeerId, topic: TopicId) {
        if self.engine.catch_ups.cancel(peer, topic) {
            self.engine.readers.hub.drain_refill(peer.slot);
            self.ask_page(peer);
        }
    }
}

fn read_page(
    formats: &mut Formats,
    topic: Option<&HomeTopic>,
    missed: &Missed,
    now: Now,
    mut each: impl FnMut(u64, &[u8]),
) -> (u64, u64) {
    let nothing = (missed.until + 1, 0);
    let Some(topic) = topic.filter(|topic| topic.position().epoch == missed.epoch) else {
        return nothing;
    };
    let (mut first, mut count, mut bytes) = (None, 0, 0);
    for record in topic
        .after(missed.after, now.ms)
        .take_while(|record| record.offset <= missed.until)
    {
        if bytes >= PAGE_BYTES {
            break;
        }
        let is_skipped = !record.except.is_none() && record.except == missed.user;
        let frame = match is_skipped {
            true => &[],
            false => {
                let publication = publication_of(topic.name(), &record, missed.epoch);
                formats.encode_missed(missed.format, &publication, record.time_ms)
            }
        };
        first.get_or_insert(record.offset);
        count += 1;
        bytes += frame.len();
        each(record.offset, frame);
    }
    first.map_or(nothing, |first| (first, count))
}

fn publication_of<'a>(topic: &'a str, record: &Record<'a>, epoch: u64) -> Publication<'a> {
    Publication {
        kind: record.kind,
        form: record.form,
        topic,
        name: name_of(topic, record.name, record.kind),
        data: record.data,
        publisher: record.publisher,
        epoch,
        offset: record.offset,
    }
}
