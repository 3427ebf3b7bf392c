//! Streams of events: who reads which topics, from where on.

use super::catch_up::CatchUp;
use super::links::Transport;
use super::merge::{MissedPart, Waiting, log_name, topics_of};
use super::{Shard, TooManyTopics};
use crate::engine::hub::{Hub, Policy};
use crate::engine::{Interest, Missed, Standing, home_of};
use crate::id::{PeerId, Position, Priority, TopicId, WireFormat};
use crate::sse::{EventsRequest, Gap, GapReason, put_gap, put_retry};

impl Shard {
    /// Makes a peer a reader of the topics it asks for. It is sent `head` as soon
    /// as nothing published from then on passes it by; then how long to wait
    /// before it comes back, what it has missed, and where it stands.
    ///
    /// # Errors
    /// A topic is new and there are too many.
    pub fn open_stream(
        &self,
        peer: PeerId,
        request: EventsRequest,
        head: Vec<u8>,
    ) -> Result<(), TooManyTopics> {
        let log = self.open_log(&request.topics)?;
        {
            let mut merges = self.merges.borrow_mut();
            let from = merges.read(log, request.cursor.as_deref());
            let waiting = Waiting {
                peer,
                since_ms: self.clock.now_ms(),
                opening: head,
                from,
            };
            merges.wait(log, waiting);
        }
        self.begin_streams(log);
        Ok(())
    }

    /// The log of the stream over these topics, made if need be.
    fn open_log(&self, names: &[Box<str>]) -> Result<TopicId, TooManyTopics> {
        let log_name = log_name(names);
        if let Some(log) = self.hub.borrow().find(&log_name) {
            return Ok(log);
        }
        let mut topics = Vec::with_capacity(names.len());
        let log = {
            let mut hub = self.hub.borrow_mut();
            topics.extend(names.iter().map_while(|name| hub.open(name)));
            let policy = topics.iter().map(|&topic| hub.policy_of(topic));
            let policy = policy.reduce(Policy::strictest);
            policy
                .filter(|_| topics.len() == names.len())
                .and_then(|policy| hub.open_internal(&log_name, policy))
        };
        let Some(log) = log else {
            let mut tickets = self.tickets.borrow_mut();
            for topic in topics {
                tickets.note_vacant(topic, WireFormat::Sse);
            }
            return Err(TooManyTopics);
        };
        self.merges.borrow_mut().insert(log, names, topics.clone());
        for (name, topic) in names.iter().zip(topics) {
            if !self.merges.borrow().is_located(topic) {
                self.want_part(name, topic);
            }
        }
        Ok(log)
    }

    /// Has a topic's messages sent here for streams, and finds out where it stands.
    fn want_part(&self, name: &str, topic: TopicId) {
        let format = WireFormat::Sse;
        let home = home_of(name, self.port.borrow().shards());
        if home == self.id {
            let shard = self.id;
            let id = self.take_interest_here(name, Interest { shard, format });
            let position = self.home.borrow().topic(id).position();
            self.merges.borrow_mut().locate(topic, position);
        } else if self.interests.borrow().standing(topic, format) == Standing::None {
            self.ask_interest(home, topic, name, format);
        }
    }

    /// A home has said where a topic stands that is a part of streams.
    pub(super) fn locate_part(&self, topic: TopicId, position: Position) {
        let logs = self.merges.borrow_mut().locate(topic, position);
        for log in logs {
            self.begin_streams(log);
        }
    }

    /// Begins the streams of those who were ahead of this shard, if it has come
    /// as far. Called when a turn ends, and by the ticker.
    pub(super) fn begin_ahead(&self) {
        let logs = self.merges.borrow_mut().take_ahead();
        for log in logs {
            self.begin_streams(log);
        }
    }

    /// Begins the streams of those who wait for one, if all that has to be known
    /// for it is.
    fn begin_streams(&self, log: TopicId) {
        let now_ms = self.clock.now_ms();
        let waiting = self.merges.borrow_mut().take_waiting(log, now_ms);
        for Waiting {
            peer,
            from,
            opening: mut out,
            ..
        } in waiting
        {
            let mut hub = self.hub.borrow_mut();
            if !hub.is_present(peer) {
                // It was to be the last one, maybe.
                self.tickets.borrow_mut().note_vacant(log, WireFormat::Sse);
                continue;
            }
            let mut merges = self.merges.borrow_mut();
            let seed = u64::from(peer.generation) << 16 | u64::from(self.id.0);
            put_retry(&mut out, self.config.sse.retry, merges.draw(seed));
            let stream = (log, hub.name(log));
            let missed = merges.begin(&mut out, peer, stream, &from);
            drop(merges);
            self.note(hub.send(peer.slot, Priority::Critical, &out));
            let _ = hub.subscribe(peer.slot, log);
            let hold = (!missed.is_empty()).then(|| hub.hold(peer.slot, log));
            drop(hub);
            if let Some(link) = self.links.borrow_mut().get_mut(peer) {
                link.transport = Transport::Sse { begun: true };
            }
            self.flusher.raise();
            if let Some(hold) = hold {
                self.catch_up_stream(peer, log, hold, missed);
            }
        }
    }

    /// Sends a peer what it missed of the topics of its stream, which is on hold.
    fn catch_up_stream(&self, peer: PeerId, log: TopicId, hold: u16, parts: Vec<MissedPart>) {
        let catch_ups = parts.into_iter().map(|part| CatchUp {
            topic: part.topic,
            held: log,
            place: part.place,
            missed: Missed {
                peer,
                hold,
                format: WireFormat::Sse,
                epoch: part.epoch,
                after: part.after,
                until: part.until,
            },
        });
        self.begin_catch_up(peer, catch_ups);
    }

    /// A peer has what it missed: it is told where it stands, so that it does not
    /// hear of the same gaps again.
    pub(super) fn end_behind(&self, peer: PeerId) {
        let mut out = Vec::new();
        if self.merges.borrow_mut().end_behind(&mut out, peer) {
            self.send_raw(peer, Priority::High, &out);
        }
    }

    /// Appends a message to a log here: that of its topic, or those of the
    /// streams it is in. Returns how many it is for.
    pub(super) fn append(
        &self,
        hub: &mut Hub,
        topic: TopicId,
        format: WireFormat,
        frame: &[u8],
        offset: u64,
    ) -> usize {
        match format {
            WireFormat::Sse => self.merges.borrow_mut().append(hub, topic, frame, offset),
            WireFormat::EventsBatch => self.append_to_group(hub, topic, frame, offset),
            _ => hub.append(topic, format, frame, offset),
        }
    }

    /// Tells the reader of a stream that messages were skipped for it. Which of
    /// several topics they were of is not known, so it is told for each.
    pub(super) fn send_stream_gap(&self, peer: PeerId, log: TopicId, lost: u32) {
        let mut out = Vec::new();
        {
            let hub = self.hub.borrow();
            let topics = topics_of(hub.name(log));
            let is_one = topics.clone().count() == 1;
            for topic in topics {
                let gap = Gap {
                    topic,
                    lost: is_one.then_some(u64::from(lost)),
                    reason: GapReason::Slow,
                };
                put_gap(&mut out, &gap);
            }
        }
        self.send_raw(peer, Priority::High, &out);
    }

    /// Gives up streams that nobody reads any more; `true` if `log` is the log of
    /// one, used or not.
    pub(super) fn sweep_stream(&self, log: TopicId) -> bool {
        let mut merges = self.merges.borrow_mut();
        if !merges.is_log(log) {
            return false;
        }
        let mut hub = self.hub.borrow_mut();
        if let Some(topics) = merges.remove(&hub, log) {
            hub.close_topic(log);
            let mut tickets = self.tickets.borrow_mut();
            for topic in topics {
                tickets.note_vacant(topic, WireFormat::Sse);
            }
        }
        true
    }
}
