//! Flushing, and what the hub finds out while it does.

use super::hub::{Flush, Incident, Sink};
use super::{Asker, FlushBudget, Gap, GapCause, Lanes, Outcome, Request, Turn};
use crate::id::{Gather, PeerId, ShardId, TopicId};

impl<L: Lanes> Turn<'_, L> {
    /// Writes what waits, within `budget`.
    ///
    /// Cost: see [`Hub::flush`](super::hub::Hub::flush).
    ///
    /// # Panics
    /// If an outcome has not been handed to its peer's session: what it says must not be overtaken by
    /// what is written now.
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
        flush
    }

    /// What has to be told next, in the order in which it came, and whom.
    pub fn next_outcome(&mut self) -> Option<(Asker, Outcome)> {
        self.take_incidents();
        let (asker, mut outcome) = self.engine.outcomes.pop()?;
        self.note_told(asker, &mut outcome);
        Some((asker, outcome))
    }

    /// What `peer` has to be told next, whatever waits for others.
    pub fn next_outcome_for(&mut self, peer: PeerId) -> Option<Outcome> {
        self.take_incidents();
        let mut outcome = self.engine.outcomes.pop_for(peer)?;
        self.note_told(Asker::Peer(peer), &mut outcome);
        Some(outcome)
    }

    /// The socket of `peer` takes bytes again.
    pub fn unblock(&mut self, peer: PeerId) {
        self.engine.readers.hub.unblock(peer.slot);
        self.take_incidents();
        self.engine.flush_wanted = true;
    }

    /// Finds peers whose sockets have taken nothing for `stall_ms`. Called by the ticker.
    ///
    /// Cost: a look at every peer.
    pub fn find_stalled(&mut self, stall_ms: u64) {
        self.engine.readers.hub.find_stalled(self.now.ms, stall_ms);
        self.take_incidents();
    }

    /// Acts on what the hub has found out.
    pub(super) fn take_incidents(&mut self) {
        loop {
            let incidents = self.engine.readers.hub.take_incidents();
            if incidents.is_empty() {
                return;
            }
            for incident in incidents {
                match incident {
                    Incident::Slow(peer) => {
                        self.counters.slow_consumers.add(1);
                        self.tell(Asker::Peer(peer), Outcome::Slow);
                    }
                    Incident::Gone(peer) => self.tell(Asker::Peer(peer), Outcome::Gone),
                    Incident::Gap { peer, topic, lost } => self.tell_lost(peer, topic, lost),
                    Incident::Refillable(peer) => self.ask_page(peer),
                }
            }
        }
    }

    /// Tells a peer how many messages it has lost because it reads too slowly.
    fn tell_lost(&mut self, peer: PeerId, topic: Option<TopicId>, lost: u32) {
        if topic.is_some() {
            self.counters.messages_dropped.add(u64::from(lost));
        }
        let (lost, cause) = (Some(u64::from(lost)), GapCause::Slow);
        let name = topic.and_then(|topic| self.engine.topic_name(topic));
        let format = self.engine.find_peer_format(peer);
        if format.is_some_and(|format| format.gather == Gather::Merge) {
            // Which of several topics they were of is not known, so it is told for each. What gave way
            // of what is for it alone may have told of any number.
            let hub = &self.engine.readers.hub;
            let log = topic.or_else(|| hub.topics_of(peer.slot).next());
            let Some(log) = log.and_then(|log| self.engine.topic_name(log)) else {
                return;
            };
            let topics: Vec<&str> = super::merge::topics_of(&log).collect();
            let lost = lost.filter(|_| topics.len() == 1 && topic.is_some());
            for topic in topics {
                let topic = Some(topic.into());
                self.tell_gap(peer, Gap { topic, lost, cause });
            }
            return;
        }
        let patterns = topic.map(|topic| self.engine.readers.patterns.of_log(topic));
        let patterns: Vec<Box<str>> = patterns
            .into_iter()
            .flatten()
            .map(|pattern| pattern.as_str().into())
            .collect();
        if patterns.is_empty() {
            let topic = name;
            return self.tell_gap_first(peer, Gap { topic, lost, cause });
        }
        // Of so many topics that it is told for their patterns.
        let lost = lost.filter(|_| patterns.len() == 1);
        for topic in patterns.into_iter().map(Some) {
            self.tell_gap_first(peer, Gap { topic, lost, cause });
        }
    }

    /// Tells a peer that it misses messages. Of topics that it has not named itself it is not told
    /// the name.
    pub(super) fn tell_gap(&mut self, peer: PeerId, gap: Gap) {
        self.tell(Asker::Peer(peer), Outcome::Gap(gap.for_peer()));
    }

    /// As [`Self::tell_gap`], before a confirmation that waits: it names its topics behind the gap.
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

    /// Puts a request into the lane to `home`.
    pub(super) fn ask(&mut self, home: ShardId, request: Request<&[u8]>) {
        self.lanes.request(home, request);
        self.engine.flush_wanted = true;
    }

    fn note_told(&mut self, asker: Asker, outcome: &mut Outcome) {
        match (asker, outcome) {
            (Asker::Peer(peer), Outcome::Roster { .. }) => {
                self.engine.readers.hub.note_answered(peer);
            }
            (_, Outcome::Confirmed(confirmation)) => self.locate_flowing(confirmation),
            _ => {}
        }
    }
}
