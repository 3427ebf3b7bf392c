//! One connection as the hub sees it: its memberships and its queued output.

use std::num::NonZeroU16;

use super::index_of;
use super::outbox::Outbox;
use super::stream::StreamId;
use super::turns::Line;
use crate::collections::HashMap;
use crate::id::{FormatId, TopicId, UserKey};

/// A connection's state in the hub. Buffers are allocated only while they are in use.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) generation: u32,
    pub(crate) format: FormatId,
    /// Whose connection it is, if known.
    pub(crate) user: UserKey,
    /// The socket took less than it was offered: nothing is written until [`Hub::unblock`](super::Hub::unblock).
    pub(crate) blocked: bool,
    /// The queue of peers to write to that it is in.
    pub(crate) line: Line,
    /// The peer is being closed: nothing new is queued for it.
    pub(crate) closing: bool,
    /// Reported as a slow consumer already.
    pub(crate) slow_reported: bool,
    /// An [`Incident::Refillable`](super::Incident::Refillable) is due when the outbox is empty.
    pub(crate) refilled: bool,
    /// Messages that its outbox may have, if that is its own limit.
    pub(crate) messages_max: Option<NonZeroU16>,
    /// Answers of homes that the peer waits for.
    pub(crate) answers_awaited: u8,
    /// Private messages dropped and not yet reported.
    pub(crate) lost: u32,
    /// When the socket last accepted bytes, in milliseconds of the shard's clock.
    pub(crate) progress_ms: u64,
    /// The memberships. Changed by [`Peer::add`] and [`Peer::remove`] only.
    pub(crate) subs: Vec<Sub>,
    /// The index of each topic in `subs`; present only while there are many.
    places: Option<Box<HashMap<TopicId, u32>>>,
    /// The list of memberships with something to write.
    pub(crate) pending: Pending,
    pub(crate) outbox: Option<Box<Outbox>>,
    /// The rest of a partly written frame. It goes first.
    pub(crate) carry: Vec<u8>,
    /// The close frame: it goes last, and nothing after it.
    pub(crate) close_frame: Vec<u8>,
}

/// One membership, from the peer's side.
#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) topic: TopicId,
    pub(crate) stream: StreamId,
    /// The index in the stream's members.
    pub(crate) member: u32,
    /// The next membership with something to write, or `UNLINKED` or `END`.
    next: u32,
    /// The previous one, or `END`; undefined while `next` is `UNLINKED`.
    prev: u32,
}

/// A doubly linked list threaded through [`Peer::subs`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    first: u32,
    last: u32,
}

const UNLINKED: u32 = u32::MAX;
const END: u32 = u32::MAX - 1;

impl Pending {
    const EMPTY: Self = Self {
        first: END,
        last: END,
    };
}

impl Sub {
    pub(crate) fn new(topic: TopicId, stream: StreamId, member: u32) -> Self {
        Self {
            topic,
            stream,
            member,
            next: UNLINKED,
            prev: END,
        }
    }
}

/// Memberships from which on a map is kept; it is dropped below half of that. With fewer, a scan is as fast and needs
/// no memory.
const MAPPED_FROM: usize = 64;

impl Peer {
    pub(crate) fn new(format: FormatId, user: UserKey, generation: u32) -> Self {
        Self {
            generation,
            format,
            user,
            blocked: false,
            line: Line::None,
            closing: false,
            slow_reported: false,
            refilled: false,
            messages_max: None,
            answers_awaited: 0,
            lost: 0,
            progress_ms: 0,
            subs: Vec::new(),
            places: None,
            pending: Pending::EMPTY,
            outbox: None,
            carry: Vec::new(),
            close_frame: Vec::new(),
        }
    }

    /// The index of the membership of `topic`.
    ///
    /// Cost: a scan of fewer than [`MAPPED_FROM`], or one lookup.
    pub(crate) fn sub_of(&self, topic: TopicId) -> Option<usize> {
        if let Some(places) = &self.places {
            return places.get(&topic).map(|&at| at as usize);
        }
        self.subs.iter().position(|sub| sub.topic == topic)
    }

    /// Whether the map is kept.
    #[cfg(test)]
    pub(crate) fn is_mapped(&self) -> bool {
        self.places
            .as_ref()
            .is_some_and(|places| places.len() == self.subs.len())
    }

    /// Adds a membership of a topic that has none, and returns its index.
    ///
    /// Cost: one step; at [`MAPPED_FROM`] one for each membership.
    pub(crate) fn add(&mut self, sub: Sub) -> u32 {
        let at = index_of(self.subs.len());
        let topic = sub.topic;
        if self.subs.is_empty() {
            // Most peers are members of the broadcast topic only, for a long time.
            self.subs.reserve_exact(1);
        }
        self.subs.push(sub);
        if let Some(places) = &mut self.places {
            places.insert(topic, at);
        } else if self.subs.len() > MAPPED_FROM {
            let places = self.subs.iter().map(|sub| sub.topic).zip(0..);
            self.places = Some(Box::new(places.collect()));
        }
        at
    }

    /// Removes the membership at index `at`, linked or not. The last one moves to that index and is returned, so
    /// that the caller can update references to it.
    ///
    /// Cost: one step.
    pub(crate) fn remove(&mut self, at: u32) -> Option<&Sub> {
        self.unlink(at);
        let gone = self.subs.swap_remove(at as usize);
        if self.subs.capacity() / 4 > self.subs.len().max(MAPPED_FROM) {
            self.subs.shrink_to(self.subs.len() * 2);
        }
        if let Some(places) = &mut self.places {
            places.remove(&gone.topic);
            if let Some(moved) = self.subs.get(at as usize) {
                places.insert(moved.topic, at);
            }
            if self.subs.len() < MAPPED_FROM / 2 {
                self.places = None;
            }
        }
        let &Sub { next, prev, .. } = self.subs.get(at as usize)?;
        if next != UNLINKED {
            self.join(prev, at);
            self.join(at, next);
        }
        self.subs.get(at as usize)
    }

    /// Links a membership that has something to write.
    pub(crate) fn link(&mut self, sub: u32) {
        if self.subs[sub as usize].next != UNLINKED {
            return;
        }
        self.join(self.pending.last, sub);
        self.join(sub, END);
    }

    /// Makes `right` the successor of `left` in the list.
    fn join(&mut self, left: u32, right: u32) {
        match left {
            END => self.pending.first = right,
            left => self.subs[left as usize].next = right,
        }
        match right {
            END => self.pending.last = left,
            right => self.subs[right as usize].prev = left,
        }
    }

    /// Removes a membership from the list, if it is linked.
    fn unlink(&mut self, sub: u32) {
        let &Sub { next, prev, .. } = &self.subs[sub as usize];
        if next != UNLINKED {
            self.join(prev, next);
            self.subs[sub as usize].next = UNLINKED;
        }
    }

    /// The first membership in the list.
    pub(crate) fn first_pending(&self) -> Option<u32> {
        (self.pending.first != END).then_some(self.pending.first)
    }

    /// The successor of `sub` in the list.
    pub(crate) fn next_pending(&self, sub: u32) -> Option<u32> {
        Some(self.subs[sub as usize].next).filter(|&next| next != END)
    }

    /// Unlinks the first membership: it is at its topic's head.
    pub(crate) fn unlink_first(&mut self) {
        self.unlink(self.pending.first);
    }

    /// Whether a pong waits in its outbox that a newer one replaces.
    pub(crate) fn has_pong(&self) -> bool {
        self.outbox.as_deref().is_some_and(Outbox::has_pong)
    }

    /// Whether anything but topics' frames is queued.
    pub(crate) fn has_private(&self) -> bool {
        !self.carry.is_empty() || self.outbox.is_some() || !self.close_frame.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::model::encoder::PLAIN;

    fn sub(topic: u32) -> Sub {
        Sub::new(TopicId(topic), StreamId(topic), 0)
    }

    fn pending(peer: &Peer) -> Vec<u32> {
        let linked = std::iter::successors(peer.first_pending(), |&sub| peer.next_pending(sub));
        linked.map(|sub| peer.subs[sub as usize].topic.0).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Compared with a list of topics and a list of those with something to write.
        #[test]
        fn subscriptions_are_found_and_stay_in_turn_whatever_moves(
            steps in prop::collection::vec((0_u8..8, 0_u32..300), 1..1500),
        ) {
            let mut peer = Peer::new(PLAIN, UserKey::NONE, 1);
            let (mut topics, mut turn): (Vec<u32>, Vec<u32>) = Default::default();
            for (step, topic) in steps {
                let at = peer.sub_of(TopicId(topic));
                prop_assert_eq!(at.is_some(), topics.contains(&topic));
                match (step, at) {
                    (0..4, None) => {
                        let at = peer.add(sub(topic));
                        prop_assert_eq!(at as usize, peer.subs.len() - 1);
                        topics.push(topic);
                    }
                    (0..2, Some(at)) => {
                        let last = peer.subs.len() - 1;
                        let moved = peer.remove(index_of(at)).map(|sub| sub.topic.0);
                        prop_assert_eq!(moved.is_some(), at != last);
                        topics.retain(|&other| other != topic);
                        turn.retain(|&other| other != topic);
                    }
                    (2..7, Some(at)) => {
                        peer.link(index_of(at));
                        if !turn.contains(&topic) {
                            turn.push(topic);
                        }
                    }
                    (7, _) if !turn.is_empty() => {
                        peer.unlink_first();
                        turn.remove(0);
                    }
                    _ => {}
                }
                prop_assert_eq!(peer.subs.len(), topics.len());
            }
            prop_assert_eq!(pending(&peer), turn);
            for topic in topics {
                let at = peer.sub_of(TopicId(topic)).unwrap();
                prop_assert_eq!(peer.subs[at].topic.0, topic);
            }
        }
    }

    #[test]
    fn m07_many_subscriptions_leave_no_memory_behind() {
        let mut peer = Peer::new(PLAIN, UserKey::NONE, 1);
        for topic in 0..10_000 {
            peer.add(sub(topic));
        }
        for _ in 0..9_990 {
            peer.remove(0);
        }
        assert!(peer.places.is_none() && peer.subs.capacity() < 1000);
    }
}
