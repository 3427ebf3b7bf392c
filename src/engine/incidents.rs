//! Flushing, and the incidents that the hub reports while it flushes.

use super::hub::{Flush, Incident, Sink};
use super::readers::Readers;
use super::{Asker, FlushBudget, Gap, GapCause, Lanes, Outcome, Request, Turn};
use crate::id::{Gather, PeerId, ShardId, TopicId};

impl<L: Lanes> Turn<'_, L> {
    /// Writes queued bytes, within `budget`.
    ///
    /// Cost: see [`Hub::flush`](super::hub::Hub::flush).
    ///
    /// # Panics
    /// If an outcome has not been taken by its peer's session: the frame that reports it has to come before the frames
    /// written now.
    pub fn flush(&mut self, sink: &mut impl Sink, budget: FlushBudget) -> Flush {
        assert!(
            self.engine.outcomes.is_empty(),
            "outcomes are handed over before a flush"
        );
        let FlushBudget {
            writes_max,
            bytes_max,
        } = budget;
        let hub = &mut self.engine.readers.hub;
        let flush = hub.flush(sink, self.now.ms, writes_max, bytes_max);
        self.take_incidents();
        if self.engine.queues.has_held() {
            self.offer_held();
        }
        flush
    }

    /// The next outcome and its recipient, oldest first.
    pub fn next_outcome(&mut self) -> Option<(Asker, Outcome)> {
        self.take_incidents();
        let (asker, mut outcome) = self.engine.outcomes.pop()?;
        self.note_told(asker, &mut outcome);
        Some((asker, outcome))
    }

    /// The next outcome for `peer`, ahead of those for others.
    pub fn next_outcome_for(&mut self, peer: PeerId) -> Option<Outcome> {
        self.take_incidents();
        let mut outcome = self.engine.outcomes.pop_for(peer)?;
        self.note_told(Asker::Peer(peer), &mut outcome);
        Some(outcome)
    }

    /// The socket of `peer` is writable again.
    pub fn unblock(&mut self, peer: PeerId) {
        self.engine.readers.hub.unblock(peer.slot);
        self.take_incidents();
        self.engine.flush_wanted = true;
    }

    /// The full socket of `peer` has taken bytes that it had accepted before.
    pub fn note_progress(&mut self, peer: PeerId) {
        let now_ms = self.now.ms;
        self.engine.readers.hub.note_progress(peer.slot, now_ms);
    }

    /// Reports peers whose sockets have accepted nothing for `stall_ms`. Called by the ticker.
    ///
    /// Cost: a look at every peer.
    pub fn find_stalled(&mut self, stall_ms: u64) {
        self.engine.readers.hub.find_stalled(self.now.ms, stall_ms);
        self.take_incidents();
    }

    /// Acts on the incidents that the hub has reported.
    pub(super) fn take_incidents(&mut self) {
        loop {
            let incidents = self.engine.readers.hub.take_incidents();
            if incidents.is_empty() {
                return;
            }
            for incident in incidents {
                match incident {
                    Incident::Slow { peer, unsent_bytes } => {
                        self.tell(Asker::Peer(peer), Outcome::Slow { unsent_bytes });
                    }
                    Incident::Gone(peer) => self.tell(Asker::Peer(peer), Outcome::Gone),
                    Incident::Gap { peer, topic, lost } => self.tell_lost(peer, topic, lost),
                    Incident::Refillable(peer) => self.ask_page(peer),
                }
            }
        }
    }

    /// Tells a peer how many messages were dropped because it reads too slowly.
    fn tell_lost(&mut self, peer: PeerId, topic: Option<TopicId>, lost: u32) {
        if topic.is_some() {
            self.counters.messages_dropped.add(u64::from(lost));
        }
        let (lost, cause) = (Some(u64::from(lost)), GapCause::Slow);
        let name = topic.and_then(|topic| self.engine.topic_name(topic));
        let format = self.engine.find_peer_format(peer);
        if format.is_some_and(|format| format.gather == Gather::Merge) {
            // A log of patterns does not say which topics lost messages, so a gap is reported for each pattern. Dropped
            // frames for the peer alone may have reported any number of losses themselves.
            let Readers { hub, merges, .. } = &self.engine.readers;
            let log = topic.or_else(|| hub.topics_of(peer.slot).next());
            let topics = log.map_or(&[][..], |log| merges.topics_of(log));
            let lost = lost.filter(|_| topics.len() == 1 && topic.is_some());
            let names: Vec<Box<str>> = topics.iter().map(|&topic| hub.name(topic).into()).collect();
            for name in names {
                self.tell_gap(peer, Gap::of_topic(Some(name), lost, cause));
            }
            return;
        }
        let patterns = topic.map(|topic| self.engine.readers.patterns.of_log(topic));
        let patterns = patterns.unwrap_or_default().to_vec();
        if patterns.is_empty() {
            return self.tell_gap_first(peer, Gap::of_topic(name, lost, cause));
        }
        // With several patterns the number for each is unknown.
        let lost = lost.filter(|_| patterns.len() == 1);
        for pattern in patterns {
            let gap = Gap {
                topic: Some(pattern.as_str().into()),
                matcher: Some(pattern.matcher()),
                lost,
                cause,
            };
            self.tell_gap_first(peer, gap);
        }
    }

    /// Tells a peer of a gap. The name of a topic that it has not subscribed to itself is left out.
    pub(super) fn tell_gap(&mut self, peer: PeerId, gap: Gap) {
        self.tell(Asker::Peer(peer), Outcome::Gap(gap.for_peer()));
    }

    /// As [`Self::tell_gap`], ahead of a queued confirmation, whose positions come after the gap.
    fn tell_gap_first(&mut self, peer: PeerId, gap: Gap) {
        let gap = Outcome::Gap(gap.for_peer());
        self.engine.outcomes.push_first(Asker::Peer(peer), gap);
        self.engine.flush_wanted = true;
    }

    /// Queues an outcome.
    pub(super) fn tell(&mut self, to: Asker, outcome: Outcome) {
        self.engine.outcomes.push(to, outcome);
        self.engine.flush_wanted = true;
    }

    /// Sends a request to `home`.
    pub(super) fn ask(&mut self, home: ShardId, request: Request<&[u8]>) {
        self.lanes.request(home, request);
        self.engine.flush_wanted = true;
    }

    fn note_told(&mut self, asker: Asker, outcome: &mut Outcome) {
        match (asker, outcome) {
            (Asker::Peer(peer), Outcome::Roster { .. } | Outcome::History { .. }) => {
                self.engine.readers.hub.note_answered(peer);
            }
            (_, Outcome::Confirmed(confirmation)) => self.locate_underway(confirmation),
            _ => {}
        }
    }
}
