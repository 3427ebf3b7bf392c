//! Event streams: begin, catch-up and end.

use super::catch_up::CatchUp;
use super::home::Interest;
use super::hub::{Enqueue, Policy};
use super::interest::InterestState;
use super::merge::{MissedPart, Origin, WaitingReader, log_name};
use super::subscribe::SubscribeError;
use super::{Asker, Lanes, Missed, Outcome, Place, Reach, ReplayFrom, Request, Turn};
use crate::id::{PeerId, Position, Priority, TopicId};
use crate::sse::EventsRequest;

impl<L: Lanes> Turn<'_, L> {
    /// Makes a peer a reader of the topics it requests. It is sent `head` as soon as it is sure to receive every
    /// message published after that; then the messages it missed, and its position.
    ///
    /// # Errors
    /// A topic is new and the hub is at its topic limit.
    pub fn open_stream(
        &mut self,
        peer: PeerId,
        request: &EventsRequest,
        head: Vec<u8>,
    ) -> Result<(), SubscribeError> {
        let log = self.open_log(&request.topics)?;
        let from = match (&request.cursor, request.last) {
            (None, Some(count)) => self.ask_last(log, &request.topics, count),
            (cursor, _) => self.engine.readers.merges.read(log, cursor.as_deref()),
        };
        let waiting = WaitingReader {
            peer,
            since_ms: self.now.ms,
            opening: head,
            from,
        };
        self.engine.readers.merges.wait(log, waiting);
        self.begin_streams(log);
        Ok(())
    }

    /// Asks homes where the newest `count` messages of each topic begin.
    fn ask_last(&mut self, log: TopicId, names: &[Box<str>], count: u64) -> Origin {
        let ticket = self.engine.outcomes.ticket();
        let from = ReplayFrom::Last(count);
        let (mut at, mut asked) = (vec![None; names.len()], 0);
        for (index, (name, at)) in (0..).zip(names.iter().zip(&mut at)) {
            match self.engine.place_of(name) {
                Place::Here => {
                    let Reach { epoch, after, .. } = self.engine.reach(name, from, self.now);
                    let offset = after;
                    *at = Some(Position { epoch, offset });
                }
                Place::Shard(home) => {
                    asked += 1;
                    let topic = name.as_bytes();
                    let request = Request::Reach {
                        topic,
                        from,
                        ticket,
                        index,
                    };
                    self.ask(home, request);
                }
            }
        }
        self.engine.readers.merges.ask(ticket, log, asked);
        Origin::Last { ticket, at }
    }

    /// Finds the log of the stream over these topics, or creates it.
    fn open_log(&mut self, names: &[Box<str>]) -> Result<TopicId, SubscribeError> {
        let hub = &mut self.engine.readers.hub;
        let mut topics = Vec::with_capacity(names.len());
        topics.extend(names.iter().map_while(|name| hub.open(name)));
        let log_name = log_name(&topics);
        if topics.len() == names.len()
            && let Some(log) = hub.find(&log_name)
        {
            return Ok(log);
        }
        let policies = topics.iter().map(|&topic| hub.policy_of(topic));
        let log = policies
            .reduce(Policy::strictest)
            .filter(|_| topics.len() == names.len())
            .and_then(|policy| hub.open_internal(&log_name, policy));
        let Some(log) = log else {
            let format = self.engine.readers.merges.format();
            for topic in topics {
                self.engine.tickets.note_vacant(topic, format);
            }
            return Err(SubscribeError::Topics);
        };
        let merges = &mut self.engine.readers.merges;
        merges.insert(log, names, topics.clone());
        for (name, topic) in names.iter().zip(topics) {
            if !self.engine.readers.merges.is_located(topic) {
                self.request_part(name, topic);
            }
        }
        Ok(log)
    }

    /// Subscribes this shard to a topic that a stream includes, and determines its position.
    fn request_part(&mut self, name: &str, topic: TopicId) {
        let format = self.engine.readers.merges.format();
        match self.engine.place_of(name) {
            Place::Here => {
                let shard = self.engine.shard;
                let id = self.take_interest(name, Interest { shard, format });
                let position = self.engine.homes.home.topic(id).position();
                self.engine.readers.merges.locate(topic, position);
            }
            Place::Shard(home) => {
                let state = self.engine.readers.interests.state(topic, format);
                if state == InterestState::None {
                    self.ask_interest(home, topic, name, format);
                }
            }
        }
    }

    /// A home has given the position of a topic that streams include.
    pub(super) fn locate_part(&mut self, topic: TopicId, position: Position) {
        for log in self.engine.readers.merges.locate(topic, position) {
            self.begin_streams(log);
        }
    }

    /// Goes on with what waits for messages under way: begins the streams of readers that were ahead of this shard, and
    /// moves peers to their new formats. Tells homes of members of queue groups that are gone. Called at the end of a
    /// turn, and by the ticker.
    pub fn go_on_waiting(&mut self) {
        if self.engine.queues.has_left() {
            self.tell_left();
        }
        self.finish_reformats();
        for log in self.engine.readers.merges.take_ahead() {
            self.begin_streams(log);
        }
    }

    /// Begins the streams of waiting readers, if all positions are known.
    pub(super) fn begin_streams(&mut self, log: TopicId) {
        let waiting = self.engine.readers.merges.take_waiting(log, self.now.ms);
        for WaitingReader {
            peer,
            from,
            opening: mut out,
            ..
        } in waiting
        {
            let engine = &mut *self.engine;
            let (hub, merges) = (&mut engine.readers.hub, &mut engine.readers.merges);
            if !hub.is_present(peer) {
                // The stream may have no reader left.
                engine.tickets.note_vacant(log, merges.format());
                continue;
            }
            let missed = merges.begin(hub, &mut out, (peer, log), &from);
            let queued = hub.send(peer.slot, Priority::Critical, &out);
            let _ = hub.subscribe(peer.slot, log);
            let hold = (!missed.is_empty()).then(|| hub.hold(peer.slot, log));
            engine.flush_wanted = true;
            self.note_dropped(queued);
            if let Some(hold) = hold {
                self.catch_up_stream(peer, log, hold, missed);
            }
        }
    }

    /// Counts frames dropped to make room for a frame.
    pub(super) fn note_dropped(&self, enqueue: Enqueue) {
        if let Enqueue::Overflow(dropped) = enqueue {
            self.counters.messages_dropped.add(dropped as u64);
        }
    }

    /// Sends a peer the messages it missed of its stream's topics, while the stream is on hold.
    fn catch_up_stream(&mut self, peer: PeerId, log: TopicId, hold: u16, parts: Vec<MissedPart>) {
        let format = self.engine.readers.merges.format();
        let user = self.engine.readers.hub.user_of(peer.slot);
        let catch_ups = parts.into_iter().map(|part| CatchUp {
            topic: part.topic,
            held: log,
            place: part.place,
            missed: Missed {
                peer,
                hold,
                format,
                user,
                epoch: part.epoch,
                after: part.after,
                until: part.until,
            },
            written: part.after,
        });
        self.begin_catch_up(peer, catch_ups);
    }

    /// Tells the reader of a stream its position after the next gap, up to `offset` of a topic, so
    /// that it does not hear of the same gap again.
    pub(super) fn tell_position(&mut self, peer: PeerId, place: usize, offset: u64) {
        let merges = &mut self.engine.readers.merges;
        let mut id = Vec::new();
        merges.pass(peer, place, offset);
        merges.put_missed_id(&mut id, peer);
        if !id.is_empty() {
            self.tell(Asker::Peer(peer), Outcome::Position(id.into()));
        }
    }

    /// Removes streams without readers. Returns whether `log` is a stream's log, in use or not.
    pub(super) fn sweep_stream(&mut self, log: TopicId) -> bool {
        let engine = &mut *self.engine;
        let (hub, merges) = (&mut engine.readers.hub, &mut engine.readers.merges);
        if !merges.is_log(log) {
            return false;
        }
        if let Some(topics) = merges.remove(hub, log) {
            hub.close_topic(log);
            for topic in topics {
                engine.tickets.note_vacant(topic, merges.format());
            }
        }
        true
    }
}
