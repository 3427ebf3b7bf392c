//! What a subscriber has missed, sent to it page by page before anything newer.
//!
//! Its membership is on hold meanwhile: the live stream waits in the topic's log,
//! and the topic's policy for slow consumers bounds what waits. A page is asked
//! for when the one before has been written, so a peer that catches up costs a
//! page of memory and reads at its own speed.

use std::collections::VecDeque;

use super::Shard;
use super::clock::timestamp_of;
use super::publish::name_of;
use super::subscribe::Resumed;
use crate::collections::HashMap;
use crate::engine::{HomeTopic, Missed, Position, Reach, Record, Request, home_of};
use crate::id::{PeerId, Priority, TopicId, WireFormat};
use crate::protocol::bridge::put_error_frame;
use crate::protocol::events::{Publication, Writer};
use crate::sse::{Gap, GapReason, put_gap};

/// Bytes of a page, but for its last message.
const PAGE_BYTES: usize = 64 * 1024;

/// Bytes of an answer with events over HTTP, but for its last one.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Who is catching up.
#[derive(Debug, Default)]
pub(super) struct CatchUps {
    /// Topic by topic; the first one is being sent.
    peers: HashMap<PeerId, VecDeque<CatchUp>>,
}

/// What a peer has missed of one topic.
#[derive(Debug)]
pub(super) struct CatchUp {
    pub(super) topic: TopicId,
    /// The topic whose live stream is on hold meanwhile: the same one, or the
    /// log of a stream of events that `topic` is a part of.
    pub(super) held: TopicId,
    /// The topic's place among those of the stream of events.
    pub(super) place: usize,
    pub(super) missed: Missed,
}

impl CatchUps {
    /// Forgets a peer that has left.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    /// What a peer is being sent, if it is what was asked for.
    fn current(&mut self, missed: &Missed) -> Option<&mut CatchUp> {
        let current = self.peers.get_mut(&missed.peer)?.front_mut()?;
        Some(current).filter(|current| current.missed == *missed)
    }
}

impl Shard {
    /// Whether this home can still give everything after an offset.
    pub(super) fn reach_here(&self, name: &str, after: u64) -> Reach {
        let home = self.home.borrow();
        home.find(name).map_or(
            Reach {
                epoch: 0,
                complete: false,
            },
            |topic| Reach {
                epoch: topic.position().epoch,
                complete: topic.reaches_back_to(after, self.clock.wall_ms()),
            },
        )
    }

    /// Sends a peer what it missed of a topic that it is a member of and that is
    /// on hold, or tells it that it cannot have it; then what is new.
    pub(super) fn catch_up(
        &self,
        peer: PeerId,
        topic: TopicId,
        hold: u16,
        after: u64,
        start: Position,
        resumed: Resumed,
    ) {
        let mut hub = self.hub.borrow_mut();
        if resumed == Resumed::Underway && hub.is_present(peer) && hub.is_topic(topic) {
            let name = hub.name(topic).to_owned();
            drop(hub);
            return self.tell_gap(peer, Some(&name), None);
        }
        let is_held = hub.is_present(peer) && hub.is_topic(topic);
        if !is_held || !hub.is_held(peer.slot, topic, hold) {
            return;
        }
        let lost = match resumed {
            Resumed::Complete(0) => {
                hub.release(peer.slot, topic);
                return;
            }
            Resumed::Complete(_) => None,
            Resumed::TooOld(missed) => Some(Some(missed)),
            Resumed::OtherEpoch | Resumed::NeverSeen | Resumed::Underway => Some(None),
        };
        if let Some(lost) = lost {
            let name = hub.name(topic).to_owned();
            hub.release(peer.slot, topic);
            drop(hub);
            self.tell_gap(peer, Some(&name), lost);
            self.flusher.raise();
            return;
        }
        let format = hub.format_of(peer.slot);
        drop(hub);
        let missed = Missed {
            peer,
            hold,
            format,
            epoch: start.epoch,
            after,
            until: start.offset,
        };
        let catch_up = CatchUp {
            topic,
            held: topic,
            place: 0,
            missed,
        };
        self.begin_catch_up(peer, std::iter::once(catch_up));
    }

    /// Sends a peer what it missed of topics, one after the other.
    pub(super) fn begin_catch_up(&self, peer: PeerId, topics: impl IntoIterator<Item = CatchUp>) {
        let mut catch_ups = self.catch_ups.borrow_mut();
        let queue = catch_ups.peers.entry(peer).or_default();
        let was_idle = queue.is_empty();
        queue.extend(topics);
        if was_idle {
            drop(catch_ups);
            self.ask_page(peer);
        }
    }

    /// Asks for the next page of what a peer has missed, if there is any.
    pub(super) fn ask_page(&self, peer: PeerId) {
        loop {
            let next = {
                let catch_ups = self.catch_ups.borrow();
                let first = catch_ups.peers.get(&peer).and_then(VecDeque::front);
                first.map(|first| (first.topic, first.held, first.missed))
            };
            let Some((topic, held, missed)) = next else {
                return;
            };
            let name: Box<str> = {
                let mut hub = self.hub.borrow_mut();
                if !hub.is_present(peer) {
                    return self.catch_ups.borrow_mut().forget(peer);
                }
                let is_done = missed.after >= missed.until;
                if is_done || !hub.is_topic(topic) || !hub.is_held(peer.slot, held, missed.hold) {
                    let is_last = self.end_catch_up(peer, held);
                    if is_done && is_last && hub.is_topic(held) {
                        hub.release(peer.slot, held);
                        self.flusher.raise();
                        drop(hub);
                        self.end_behind(peer);
                    }
                    continue;
                }
                hub.name(topic).into()
            };
            let home = home_of(&name, self.port.borrow().shards());
            if home != self.id {
                let mut port = self.port.borrow_mut();
                port.request(home, |_| Request::Replay {
                    topic: name,
                    missed,
                });
                return self.flusher.raise();
            }
            let mut page = Vec::new();
            let (first, count) = self.read_page(&name, &missed, |offset, frame| {
                self.put_missed(&mut page, &missed, offset, frame);
            });
            if self.take_page(missed, first, count, &page) {
                return;
            }
        }
    }

    /// Takes a page. Returns whether something is to be written before the next
    /// one is asked for.
    pub(super) fn take_page(&self, missed: Missed, first: u64, count: u64, page: &[u8]) -> bool {
        let peer = missed.peer;
        let topic = {
            let mut catch_ups = self.catch_ups.borrow_mut();
            let Some(current) = catch_ups.current(&missed) else {
                // The peer has left, or has given the topic up.
                return true;
            };
            let after = (first + count).saturating_sub(1).min(missed.until);
            current.missed.after = after;
            self.merges.borrow_mut().pass(peer, current.place, after);
            current.topic
        };
        let lost = (first - 1).min(missed.until) - missed.after;
        if lost > 0 {
            let hub = self.hub.borrow();
            let name = hub.is_topic(topic).then(|| hub.name(topic).to_owned());
            drop(hub);
            self.counters.messages_dropped.add(lost);
            self.tell_gap(peer, name.as_deref(), Some(lost));
        }
        if page.is_empty() {
            return false;
        }
        let mut hub = self.hub.borrow_mut();
        if hub.is_present(peer) {
            self.counters.messages_replayed.add(count);
            hub.refill(peer.slot, page);
            self.flusher.raise();
        }
        true
    }

    /// Appends a message to a page for the peer that missed it.
    pub(super) fn put_missed(
        &self,
        page: &mut Vec<u8>,
        missed: &Missed,
        offset: u64,
        frame: &[u8],
    ) {
        if missed.format == WireFormat::Sse
            && let Some(current) = self.catch_ups.borrow_mut().current(missed)
        {
            let mut merges = self.merges.borrow_mut();
            merges.pass(missed.peer, current.place, offset);
            merges.put_missed_id(page, missed.peer);
        }
        page.extend_from_slice(frame);
    }

    /// Calls `each` with the messages of a page that this home keeps, encoded.
    /// Returns the first one's offset and how many there are.
    ///
    /// Cost: one encoding per message.
    pub(super) fn read_page(
        &self,
        name: &str,
        missed: &Missed,
        mut each: impl FnMut(u64, &[u8]),
    ) -> (u64, u64) {
        let nothing = (missed.until + 1, 0);
        let home = self.home.borrow();
        let Some(topic) = home
            .find(name)
            .filter(|topic| topic.position().epoch == missed.epoch)
        else {
            return nothing;
        };
        // Groups are made of what is new.
        let format = match missed.format {
            WireFormat::EventsBatch => WireFormat::EventsJson,
            format => format,
        };
        let mut codec = self.codec.borrow_mut();
        let (mut first, mut count, mut bytes) = (None, 0, 0);
        for record in topic
            .after(missed.after, self.clock.wall_ms())
            .take_while(|record| record.offset <= missed.until)
        {
            if bytes >= PAGE_BYTES {
                break;
            }
            let publication = publication_of(name, &record, missed.epoch);
            let timestamp = timestamp_of(record.time_ms);
            let frame = codec.event(format, &publication, &timestamp);
            first.get_or_insert(record.offset);
            count += 1;
            bytes += frame.len();
            each(record.offset, frame);
        }
        first.map_or(nothing, |first| (first, count))
    }

    /// Up to `limit` events after `since` of a topic that is at home here, as
    /// JSON, with where the topic stands.
    #[must_use]
    pub fn history(&self, name: &str, since: u64, limit: usize) -> String {
        self.clock.refresh();
        let home = self.home.borrow();
        let now_ms = self.clock.wall_ms();
        let topic = home.find(name);
        let position = topic.map(HomeTopic::position).unwrap_or_default();
        let kept = topic.into_iter().flat_map(|topic| topic.after(0, now_ms));
        let oldest = kept.map(|record| record.offset).next();
        let oldest = oldest.map_or_else(|| "null".to_owned(), |oldest| oldest.to_string());
        let Position { epoch, offset } = position;
        let mut body = format!(
            r#"{{"topic":"{name}","epoch":{epoch},"offset":{offset},"oldest":{oldest},"events":["#
        )
        .into_bytes();
        let (mut count, mut more) = (0, false);
        for record in topic
            .into_iter()
            .flat_map(|topic| topic.after(since, now_ms))
        {
            if count == limit || body.len() >= ANSWER_BYTES_MAX {
                more = true;
                break;
            }
            if count > 0 {
                body.push(b',');
            }
            let publication = publication_of(name, &record, epoch);
            let timestamp = timestamp_of(record.time_ms);
            Writer::new(&mut body, &timestamp).event(&publication);
            count += 1;
        }
        body.extend_from_slice(format!(r#"],"more":{more}}}"#).as_bytes());
        String::from_utf8(body).expect("events are JSON, which is UTF-8")
    }

    /// Tells a peer that it misses messages: this many, if that is known.
    pub(super) fn tell_gap(&self, peer: PeerId, topic: Option<&str>, lost: Option<u64>) {
        let topic = topic.filter(|name| !crate::topic::is_internal(name));
        if let Some(topic) = topic
            && self.is_stream(peer)
        {
            let reason = GapReason::History;
            let mut out = Vec::new();
            put_gap(
                &mut out,
                &Gap {
                    topic,
                    lost,
                    reason,
                },
            );
            return self.send_raw(peer, Priority::High, &out);
        }
        if self.is_bridge(peer) {
            return self.tell_lost(peer, lost);
        }
        self.send_text(peer, Priority::High, |out, timestamp| {
            Writer::new(out, timestamp).gap(topic, lost);
        });
    }

    fn is_bridge(&self, peer: PeerId) -> bool {
        let hub = self.hub.borrow();
        hub.is_present(peer) && hub.format_of(peer.slot).is_bridge()
    }

    /// Tells a peer of the bridge protocol, which has no gaps, that messages were lost.
    fn tell_lost(&self, peer: PeerId, lost: Option<u64>) {
        let lost = lost.map_or_else(|| "Messages".to_owned(), |lost| format!("{lost} messages"));
        let message = format!("{lost} lost: this connection reads too slowly");
        self.send_bridge_error(peer, &message);
    }

    /// Sends a peer of the bridge protocol an error frame.
    pub fn send_bridge_error(&self, peer: PeerId, message: &str) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds have 43 bits")]
        let timestamp = self.clock.wall_ms() as f64 / 1000.0;
        self.send_text(peer, Priority::High, |out, _| {
            put_error_frame(out, message, timestamp);
        });
    }

    /// Gives up sending a peer what it missed of a topic that it has left.
    pub(super) fn cancel_catch_up(&self, peer: PeerId, topic: TopicId) {
        let is_first = {
            let mut catch_ups = self.catch_ups.borrow_mut();
            let Some(queue) = catch_ups.peers.get_mut(&peer) else {
                return;
            };
            let is_first = queue.front().is_some_and(|first| first.topic == topic);
            queue.retain(|other| other.topic != topic);
            if queue.is_empty() {
                catch_ups.peers.remove(&peer);
            }
            is_first
        };
        if is_first {
            self.hub.borrow_mut().drain_refill(peer.slot);
            self.ask_page(peer);
        }
    }

    /// A peer has what it missed of one topic. Returns whether that was the last
    /// one for which `held` is on hold.
    fn end_catch_up(&self, peer: PeerId, held: TopicId) -> bool {
        let mut catch_ups = self.catch_ups.borrow_mut();
        let Some(queue) = catch_ups.peers.get_mut(&peer) else {
            return true;
        };
        queue.pop_front();
        let is_last = !queue.iter().any(|other| other.held == held);
        if queue.is_empty() {
            catch_ups.peers.remove(&peer);
        }
        is_last
    }
}

fn publication_of<'a>(topic: &'a str, record: &Record<'a>, epoch: u64) -> Publication<'a> {
    Publication {
        kind: record.kind,
        topic,
        name: name_of(topic, record.name, record.kind),
        data: record.data,
        epoch,
        offset: record.offset,
    }
}
