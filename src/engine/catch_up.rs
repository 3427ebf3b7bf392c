//! What a subscriber has missed, sent to it page by page before anything newer.
//!
//! Its membership is on hold meanwhile: the live stream waits in the topic's log, and the topic's
//! policy for slow consumers bounds what waits. A page is asked for when the one before has been
//! written, so a peer that catches up costs a page of memory and reads at its own speed.

use std::collections::VecDeque;

use super::confirmation::{Resumed, Subscribing};
use super::format::Formats;
use super::history::{Kept, KeptMessage, Record};
use super::home::HomeTopic;
use super::merge::Merges;
use super::publication::{Publication, name_of};
use super::{Asker, Engine, Gap, GapCause, Lanes, Missed, Now, Outcome, Place, Reach, Request};
use super::{Ticket, Turn};
use crate::collections::HashMap;
use crate::id::{Gather, PeerId, Position, TopicId};

/// Bytes of a page, but for its last message.
const PAGE_BYTES: usize = 64 * 1024;

/// Bytes of the data of what is asked for at once of a history, but for its last message.
pub const HISTORY_BYTES_MAX: usize = 1024 * 1024;

/// Who is catching up.
#[derive(Debug, Default)]
pub(super) struct CatchUps {
    /// Topic by topic; the first one is being sent.
    peers: HashMap<PeerId, VecDeque<CatchUp>>,
    /// Where peers were that have not been told yet what came of their wish to go on from there.
    asked: HashMap<PeerId, Vec<(TopicId, Position)>>,
}

/// What a peer has missed of one topic.
#[derive(Debug)]
pub(super) struct CatchUp {
    pub(super) topic: TopicId,
    /// The topic whose live stream is on hold meanwhile: the same one, or the log of a stream of
    /// events that `topic` is a part of.
    pub(super) held: TopicId,
    /// The topic's place among those of the stream of events.
    pub(super) place: usize,
    pub(super) missed: Missed,
    /// Messages up to this offset have been written.
    pub(super) written: u64,
}

impl CatchUps {
    /// The offset up to which a peer that catches up with a topic has been written it.
    pub(super) fn written(&self, peer: PeerId, topic: TopicId, epoch: u64) -> Option<u64> {
        if let Some(asked) = self.asked.get(&peer)
            && let Some((_, was)) = asked.iter().find(|(other, _)| *other == topic)
        {
            // Messages of another life are not sent.
            return Some(was.offset).filter(|_| was.epoch == epoch);
        }
        let mut queue = self.peers.get(&peer)?.iter();
        let catch_up = queue.find(|catch_up| catch_up.topic == topic)?;
        Some(catch_up.written)
    }

    /// Whether a peer is sent what it has missed, or has asked for it.
    pub(super) fn has(&self, peer: PeerId) -> bool {
        self.peers.contains_key(&peer) || self.asked.contains_key(&peer)
    }

    /// Notes that a peer wants to go on in a topic from where it was.
    pub(super) fn ask(&mut self, peer: PeerId, topic: TopicId, from: Position) {
        self.asked.entry(peer).or_default().push((topic, from));
    }

    /// Notes that a peer has been told what came of it.
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

    /// Adds what a peer has missed. Returns whether it was not catching up before.
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

    /// What a peer is being sent, if it is what was asked for.
    fn current(&mut self, missed: &Missed) -> Option<&mut CatchUp> {
        let current = self.peers.get_mut(&missed.peer)?.front_mut()?;
        Some(current).filter(|current| current.missed == *missed)
    }

    /// Gives up a topic. Returns whether it was the one being sent.
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

    /// A peer has what it missed of one topic. Returns whether that was the last one for which `held`
    /// is on hold.
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
            merges.put_missed_id(page, missed.peer);
        }
        page.extend_from_slice(frame);
    }
}

impl Engine {
    /// Whether this home retains everything after an offset.
    pub(super) fn reach(&self, name: &str, after: u64, now: Now) -> Reach {
        let topic = self.homes.home.find(name);
        topic.map_or_else(Reach::default, |topic| Reach {
            epoch: topic.position().epoch,
            complete: topic.reaches_back_to(after, now.ms),
        })
    }

    /// Up to `limit` messages after `since` of a topic that lives here.
    pub(super) fn history(&self, name: &str, since: u64, limit: usize, now: Now) -> Kept {
        let Some(topic) = self.homes.home.find(name) else {
            return Kept::default();
        };
        let mut kept = Kept {
            position: topic.position(),
            oldest: topic.after(0, now.ms).map(|record| record.offset).next(),
            ..Kept::default()
        };
        let mut bytes = 0;
        for record in topic.after(since, now.ms) {
            if kept.messages.len() == limit || bytes >= HISTORY_BYTES_MAX {
                kept.more = true;
                break;
            }
            bytes += record.data.len();
            kept.messages.push(KeptMessage {
                offset: record.offset,
                time_ms: record.time_ms,
                kind: record.kind,
                name: name_of(name, record.name, record.kind).into(),
                data: record.data.into(),
            });
        }
        kept
    }

    /// Calls `each` with the messages of a page that this home retains, encoded. Returns the first
    /// one's offset and how many there are.
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
    /// Finds out what is retained of a topic: an [`Outcome::History`] for this ticket. At most
    /// `limit` messages after `since`, and about 1 MiB.
    pub fn read_history(&mut self, name: &str, since: u64, limit: u32) -> Ticket {
        let ticket = self.engine.outcomes.ticket();
        match self.engine.place_of(name) {
            Place::Here => {
                let kept = self.engine.history(name, since, limit as usize, self.now);
                self.tell(Asker::Task(ticket), Outcome::History(Box::new(kept)));
            }
            Place::Shard(home) => self.ask(
                home,
                Request::History {
                    topic: name.as_bytes(),
                    since,
                    limit,
                    ticket,
                },
            ),
        }
        ticket
    }

    /// What a peer is to be sent of a topic before what is new, whose hold has not ended; if it cannot
    /// have it, it is told.
    pub(super) fn miss(
        &mut self,
        peer: PeerId,
        (begun, hold): (&Subscribing, u16),
        start: Position,
        resumed: Resumed,
    ) -> Option<CatchUp> {
        let lost = match resumed {
            Resumed::Complete(0) => return None,
            Resumed::Complete(missed) => {
                let after = start.offset - missed;
                let missed = Missed {
                    peer,
                    hold,
                    format: self.engine.readers.hub.format_of(peer.slot),
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
            Resumed::TooOld(missed) => Some(missed),
            Resumed::OtherEpoch | Resumed::NeverSeen | Resumed::Underway => None,
        };
        let (topic, cause) = (Some(begun.name.clone()), GapCause::History);
        self.tell_gap(peer, Gap { topic, lost, cause });
        None
    }

    /// Ends a hold: what is new is written from now on.
    pub(super) fn release(&mut self, peer: PeerId, topic: TopicId) {
        self.engine.readers.hub.release(peer.slot, topic);
        // What was lost meanwhile is told by the name that the topic has now.
        self.take_incidents();
        self.engine.flush_wanted = true;
    }

    /// Tells a peer that wants a topic from where it was that it is being sent the topic already, if it
    /// still is: it may have given it up while homes were asked.
    pub(super) fn tell_underway(&mut self, peer: PeerId, topic: TopicId, name: &str) {
        if self.engine.readers.is_reading(peer, topic, name) {
            let (topic, lost, cause) = (Some(name.into()), None, GapCause::History);
            self.tell_gap(peer, Gap { topic, lost, cause });
        }
    }

    /// Sends a peer what it missed of topics, one after the other.
    pub(super) fn begin_catch_up(
        &mut self,
        peer: PeerId,
        topics: impl IntoIterator<Item = CatchUp>,
    ) {
        if self.engine.catch_ups.add(peer, topics) {
            self.ask_page(peer);
        }
    }

    /// Asks for the next page of what a peer has missed, if there is any.
    pub(super) fn ask_page(&mut self, peer: PeerId) {
        while let Some(first) = self.engine.catch_ups.first_mut(peer) {
            // What was asked for before has been written.
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
    }

    /// Takes a page that came from the topic's home.
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

    /// Takes a page. Returns whether something is to be written before the next one is asked for.
    fn take_page(&mut self, missed: Missed, first: u64, count: u64, page: &[u8]) -> bool {
        let (peer, engine) = (missed.peer, &mut *self.engine);
        let Some(current) = engine.catch_ups.current(&missed) else {
            // The peer has left, or has given the topic up.
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
            let (lost, cause) = (Some(lost), GapCause::History);
            self.tell_gap(peer, Gap { topic, lost, cause });
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

    /// Gives up sending a peer what it missed of a topic that it has left.
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
        let publication = publication_of(topic.name(), &record, missed.epoch);
        let frame = formats.encode_missed(missed.format, &publication, record.time_ms);
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
        epoch,
        offset: record.offset,
    }
}
