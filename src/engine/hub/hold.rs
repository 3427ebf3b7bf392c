//! Memberships on hold: a peer is written what it missed before anything newer.

use super::peer::Sub;
use super::stream::Member;
use super::{Hub, index_of, outbox_of};
use crate::id::{FormatId, PeerId, Slot, TopicId};

impl Hub {
    /// Sets the number of the newest message of a topic in `format`. It may be smaller than before: a new epoch of the
    /// topic counts anew.
    pub fn begin(&mut self, topic: TopicId, format: FormatId, number: u64) {
        let id = self.stream_of(topic, format);
        let formats = self.topics[topic.index()].streams.iter();
        let arrived = formats.map(|id| self.streams[id.index()].publications);
        let arrived = arrived.max().unwrap_or(0);
        let stream = &mut self.streams[id.index()];
        stream.publications = arrived;
        stream.number = number;
        stream.log.begin(number + 1);
    }

    /// Counts a publication that has arrived and whose frame comes later.
    pub fn note_arrived(&mut self, topic: TopicId, format: FormatId) {
        if let Some(id) = self.topics[topic.index()].streams.get(format) {
            self.streams[id.index()].publications += 1;
        }
    }

    /// Whether a topic has arrived up to the same publication in two formats that are both sent here.
    #[must_use]
    pub fn is_in_step(&self, topic: TopicId, one: FormatId, other: FormatId) -> bool {
        let streams = &self.topics[topic.index()].streams;
        let arrived = |format: FormatId| {
            let stream = streams.get(format);
            stream.map(|id| self.streams[id.index()].publications)
        };
        arrived(one) == arrived(other)
    }

    /// The number of the newest message; 0 before the first.
    #[must_use]
    pub fn number(&self, topic: TopicId, format: FormatId) -> u64 {
        let stream = self.topics[topic.index()].streams.get(format);
        stream.map_or(0, |id| self.streams[id.index()].number)
    }

    /// The number of the newest message of a topic that has been written to a peer. Messages skipped after it are
    /// yet to be reported.
    #[must_use]
    pub fn written_number(&self, slot: Slot, topic: TopicId) -> Option<u64> {
        let peer = self.peers.get(slot.index())?;
        let Sub { stream, member, .. } = peer.subs[peer.sub_of(topic)?];
        let stream = &self.streams[stream.index()];
        let Member { cursor, lost, .. } = stream.members[member as usize];
        let aside = peer.outbox.as_ref().and_then(|all| all.find_aside(topic));
        let passed = match aside {
            Some(first) => first - 1,
            None => stream.number - stream.log.messages_after(cursor),
        };
        Some(passed.saturating_sub(u64::from(lost)))
    }

    /// As [`Self::written_number`], for a topic that a peer reads in a shared log.
    ///
    /// Cost: a look at each unread frame of the peer in the log.
    #[must_use]
    pub fn written_number_in(&self, slot: Slot, shared: TopicId, topic: TopicId) -> Option<u64> {
        let peer = self.peers.get(slot.index())?;
        let Sub { stream, member, .. } = peer.subs[peer.sub_of(shared)?];
        let stream = &self.streams[stream.index()];
        let waiting = stream
            .log
            .frames(stream.members[member as usize].cursor, shared);
        let mut waiting = waiting.map(|frame| frame.tag);
        let waiting = || waiting.find(|tag| tag.topic == topic).map(|tag| tag.first);
        let aside = peer.outbox.as_ref().and_then(|all| all.find_aside(topic));
        let losses = stream.losses.as_ref().and_then(|all| all.get(&slot));
        let kept = losses.iter().flat_map(|losses| &losses.newest);
        let mut kept = kept.filter(|kept| kept.tag.topic == topic);
        let kept = kept.next().map(|kept| kept.tag.first);
        let passed = match aside.or(kept).or_else(waiting) {
            Some(first) => first - 1,
            None => self.number(topic, peer.format),
        };
        let mut lost = losses.iter().flat_map(|losses| &losses.topics);
        let lost = lost.find(|(other, _)| *other == topic);
        Some(passed.saturating_sub(lost.map_or(0, |(_, lost)| u64::from(*lost))))
    }

    /// Writes no more of a topic to a peer until [`Self::release`], so that older messages can be written first. The
    /// topic's policy applies meanwhile. Returns the id of this hold, which ends with the membership at the latest.
    pub fn hold(&mut self, slot: Slot, topic: TopicId) -> u16 {
        self.holds = self.holds.wrapping_add(1).max(1);
        let hold = self.holds;
        if let Some(member) = self.member_mut(slot, topic) {
            member.hold = hold;
        }
        hold
    }

    /// Whether this hold is still in effect.
    #[must_use]
    pub fn is_held(&self, slot: Slot, topic: TopicId, hold: u16) -> bool {
        let Some(peer) = self.peers.get(slot.index()) else {
            return false;
        };
        peer.sub_of(topic).is_some_and(|sub| {
            let Sub { stream, member, .. } = peer.subs[sub];
            self.streams[stream.index()].members[member as usize].hold == hold
        })
    }

    /// Ends a hold, and reports what was lost meanwhile.
    pub fn release(&mut self, slot: Slot, topic: TopicId) {
        let Some(peer) = self.peers.get_mut(slot.index()) else {
            return;
        };
        let Some(sub) = peer.sub_of(topic) else {
            return;
        };
        let id = PeerId {
            slot,
            generation: peer.generation,
        };
        let Sub { stream, member, .. } = peer.subs[sub];
        let stream = &mut self.streams[stream.index()];
        stream.members[member as usize].hold = 0;
        let newest = stream.tell_lost(member, id, &mut self.incidents);
        if !newest.is_empty() {
            let outbox = outbox_of(&mut peer.outbox, &mut self.spare);
            newest
                .iter()
                .for_each(|kept| outbox.set_aside(&kept.frame()));
        }
        let is_behind = stream.members[member as usize].cursor < stream.log.head();
        if is_behind && !peer.closing {
            peer.link(index_of(sub));
        }
        if is_behind || !newest.is_empty() {
            self.make_ready(slot);
        }
    }

    pub(super) fn member_mut(&mut self, slot: Slot, topic: TopicId) -> Option<&mut Member> {
        let peer = self.peers.get(slot.index())?;
        let Sub { stream, member, .. } = peer.subs[peer.sub_of(topic)?];
        Some(&mut self.streams[stream.index()].members[member as usize])
    }

    /// Queues a page of frames that a peer missed; they are never dropped for others. An
    /// [`Incident::Refillable`](super::Incident::Refillable) follows when they have been written.
    pub fn refill(&mut self, slot: Slot, frames: &[u8]) {
        let Some(peer) = self
            .peers
            .get_mut(slot.index())
            .filter(|peer| !peer.closing)
        else {
            return;
        };
        let outbox = outbox_of(&mut peer.outbox, &mut self.spare);
        let bytes = outbox.bytes();
        outbox.set_page(frames);
        peer.refilled = true;
        self.held = self.held + outbox.bytes() - bytes;
        self.make_ready(slot);
    }

    /// Drops the frames that [`Self::refill`] queued, except one that is partly written.
    pub fn drain_refill(&mut self, slot: Slot) {
        let peer = self.peers.get_mut(slot.index());
        if let Some(outbox) = peer.and_then(|peer| peer.outbox.as_mut()) {
            let bytes = outbox.bytes();
            outbox.clear_page();
            self.held = self.held + outbox.bytes() - bytes;
        }
    }
}
