//! The hub of one shard: topic logs, cursors, private outboxes.
//!
//! A topic is a log, a subscriber is a cursor. Publishing appends bytes and marks
//! the stream dirty; it touches no subscriber. [`Hub::flush`] walks the members
//! of dirty streams and offers each peer the bytes from its cursors to the heads
//! in one write. A peer whose socket is full stops moving its cursors, and the
//! topic's [`Policy`] decides what becomes of it.
//!
//! The hub knows no sockets, no tasks and no clock: bytes go to a [`Sink`], time
//! comes in as an argument.

mod flush;
mod hold;
mod log;
#[cfg(test)]
mod model;
mod outbox;
mod peer;
mod policy;
#[cfg(test)]
mod scale;
mod stream;
mod streams;
mod turns;

use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use slab::Slab;

pub use flush::{Flush, Sink, Written};
pub use outbox::OutboxLimits;
pub use policy::{Policies, Policy};

use crate::collections::HashMap;
use crate::id::{FormatId, PeerId, Priority, Slot, TopicId, UserKey};
use crate::topic::{self, Pattern};
use log::Tag;
use outbox::Outbox;
use peer::{Peer, Sub};
use stream::{KeptFrame, Member, Stream, StreamId};
use streams::TopicStreams;
use turns::{Line, Turns};

/// Limits of a hub.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// Topics. At the limit a new one is refused.
    pub topics_max: usize,
    /// Bytes in all logs, outboxes and memberships. At the limit every peer that lags is treated as slow, and
    /// publications wait until there is room. Memberships take at most half of it.
    pub memory_max: usize,
    /// Bytes in one log. At the limit publications wait for the next flush, which drains the log or applies the policy
    /// to slow members.
    pub log_bytes_max: usize,
    /// Bytes of one log not yet offered to its members by a flush. At the limit publications wait, since they would
    /// only lengthen the log.
    pub backlog_bytes_max: u64,
    /// Members of a topic, in one format, above which it is a large topic: smaller topics are written ahead of it.
    pub few_members_max: usize,
    /// Limits of each peer's outbox.
    pub outbox: OutboxLimits,
}

/// All subscriptions and queued output of one shard.
#[derive(Debug)]
pub struct Hub {
    limits: HubLimits,
    policies: Policies,
    peers: Slab<Peer>,
    topics: Slab<Topic>,
    names: HashMap<Box<str>, TopicId>,
    streams: Slab<Stream>,
    /// Streams appended to since their members were last walked: of small, medium and large topics.
    dirty: [Vec<StreamId>; 3],
    /// Streams whose memory may be shrunk.
    warm: Vec<StreamId>,
    /// The queues of peers with something to write.
    turns: Turns,
    /// Empty outboxes, kept for reuse.
    #[expect(clippy::vec_box, reason = "they go back into peers as they are")]
    spare: Vec<Box<Outbox>>,
    incidents: Vec<Incident>,
    generation: u32,
    /// Bytes in all logs and outboxes.
    held: usize,
    /// Memberships that clients have requested.
    subscriptions: usize,
    /// All memberships.
    members: usize,
    /// The peak number of topics since the tables were last shrunk.
    topics_peak: usize,
    topics_internal: usize,
    /// The newest hold id.
    holds: u16,
}

#[derive(Debug)]
struct Topic {
    name: Box<str>,
    policy: Policy,
    /// One of the gateway's own topics: its memberships do not count as subscriptions.
    internal: bool,
    /// Its log holds messages of several topics.
    is_shared: bool,
    streams: TopicStreams,
}

/// A finding of the hub that the engine has to act on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incident {
    /// The peer is a slow consumer, and its topic's policy is to disconnect.
    Slow {
        /// Which one.
        peer: PeerId,
        /// Bytes that its client has not been sent.
        unsent_bytes: u64,
    },
    /// The peer's socket is closed.
    Gone(PeerId),
    /// The peer missed messages, and the report can be written now.
    Gap {
        /// The peer.
        peer: PeerId,
        /// The topic; `None` for private messages.
        topic: Option<TopicId>,
        /// The number of messages.
        lost: u32,
    },
    /// The frames queued by [`Hub::refill`] have been written.
    Refillable(PeerId),
}

/// The result of queueing a private frame.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enqueue {
    /// Queued; the next flush writes it.
    Queued,
    /// The outbox was full: this many messages, of this or a lower class, were dropped.
    Overflow(usize),
    /// The peer has left or is being closed.
    Gone,
}

/// Whether a peer takes private frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Readiness {
    /// Its socket is not full, and its outbox at most half full.
    KeepsUp,
    /// Its outbox is more than half full: the next flush says whether its socket takes that.
    Unflushed,
    /// Its socket is full.
    Blocked,
    /// It has left or is being closed.
    Gone,
}

/// The effect of a subscription.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subscribed {
    /// The first member of the topic in the peer's format.
    First,
    /// One more member.
    Joined,
    /// The peer was a member already; one more of its subscriptions covers the topic.
    Covered,
}

/// The effect of an unsubscription.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsubscribed {
    /// The peer was no member.
    Never,
    /// Another subscription of the peer still covers the topic.
    Covered,
    /// The peer left the topic.
    Left,
}

/// A frame on its way into logs.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The frame.
    pub bytes: &'a [u8],
    /// The numbers of its messages; an empty range after the newest number if it is no message.
    pub numbers: RangeInclusive<u64>,
    /// Publications in it that have not been counted by [`Hub::note_arrived`], those that are no messages included.
    pub publications: u64,
    /// Whose connections skip it.
    pub except: UserKey,
}

impl<'a> Frame<'a> {
    /// A frame with message `number`, for everybody.
    #[must_use]
    pub fn new(bytes: &'a [u8], number: u64) -> Self {
        Self {
            bytes,
            numbers: number..=number,
            publications: 1,
            except: UserKey::NONE,
        }
    }
}

/// Memory of one membership in bytes: its entries in the peer and in the stream, with room to grow.
const MEMBER_BYTES: usize = (size_of::<Sub>() + size_of::<Member>()) * 3 / 2;

/// Empty outboxes kept for reuse, and the largest that is kept.
const SPARE_OUTBOXES_MAX: usize = 256;
const SPARE_OUTBOX_BYTES_MAX: usize = 128 * 1024;

/// Topics whose unread bytes are added up for those who ask what a peer has not been sent.
const UNSENT_TOPICS_MAX: usize = 1024;

impl Hub {
    /// An empty hub.
    #[must_use]
    pub fn new(limits: HubLimits, policies: Policies) -> Self {
        Self {
            limits,
            policies,
            peers: Slab::new(),
            topics: Slab::new(),
            names: HashMap::default(),
            streams: Slab::new(),
            dirty: Default::default(),
            warm: Vec::new(),
            turns: Turns::default(),
            spare: Vec::new(),
            incidents: Vec::new(),
            generation: 0,
            held: 0,
            subscriptions: 0,
            members: 0,
            topics_peak: 0,
            topics_internal: 0,
            holds: 0,
        }
    }

    /// The same hub, whose peers have generations from here on: other ones than those of an earlier process, whose ids
    /// applications may still know.
    #[must_use]
    pub fn with_generations_from(self, generation: u32) -> Self {
        Self { generation, ..self }
    }

    /// Adds a peer that reads `format`, a connection of `user`.
    pub fn join(&mut self, format: FormatId, user: UserKey) -> PeerId {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.peers.insert(Peer::new(format, user, self.generation));
        PeerId {
            slot: slot_of(slot),
            generation: self.generation,
        }
    }

    /// Removes a peer, its memberships and its queued output.
    ///
    /// Cost: one step for each of its subscriptions, whatever the size of the topics.
    pub fn leave(&mut self, peer: PeerId) {
        if !self.is_present(peer) {
            return;
        }
        while let Some(sub) = self.peers[peer.slot.index()].subs.last() {
            self.remove_member(sub.stream, sub.member as usize);
        }
        let gone = self.peers.remove(peer.slot.index());
        self.held -= gone.carry.len() + gone.outbox.as_ref().map_or(0, |outbox| outbox.bytes());
    }

    /// Whether `peer` still occupies its slot.
    #[must_use]
    pub fn is_present(&self, peer: PeerId) -> bool {
        self.peers
            .get(peer.slot.index())
            .is_some_and(|present| present.generation == peer.generation)
    }

    /// All peers.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.peers.iter().map(|(slot, peer)| PeerId {
            slot: slot_of(slot),
            generation: peer.generation,
        })
    }

    /// The number of peers.
    #[must_use]
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Memberships that clients have requested.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.subscriptions
    }

    /// Topics, without the gateway's own.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len() - self.topics_internal
    }

    /// Bytes in all logs and outboxes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Finds the topic of this name, one that [`topic::is_name`] takes or an inbox, or creates it; `None` at the limit of
    /// topics.
    ///
    /// Cost: one lookup.
    pub fn open(&mut self, name: &str) -> Option<TopicId> {
        if let Some(&topic) = self.names.get(name) {
            return Some(topic);
        }
        if self.topics.len() >= self.limits.topics_max {
            return None;
        }
        Some(self.make(name, self.policies.of(name), false))
    }

    /// Creates one of the gateway's own topics, with its own policy; `None` at the limit of topics. The name must
    /// be new.
    pub fn open_internal(&mut self, name: &str, policy: Policy) -> Option<TopicId> {
        debug_assert!(topic::is_internal(name) && self.find(name).is_none());
        let has_room = self.topics.len() < self.limits.topics_max;
        has_room.then(|| self.make(name, policy, false))
    }

    /// Creates the shared log of these patterns. The name must be new. Such logs are limited only by their members.
    pub fn open_shared(&mut self, name: &str, patterns: &[Pattern]) -> TopicId {
        debug_assert!(topic::is_internal(name) && self.find(name).is_none());
        self.make(name, self.policies.of_patterns(patterns), true)
    }

    fn make(&mut self, name: &str, policy: Policy, is_shared: bool) -> TopicId {
        let internal = topic::is_internal(name);
        debug_assert!(internal || topic::is_inbox(name) || topic::is_name(name));
        self.topics_internal += usize::from(internal);
        let topic = Topic {
            name: name.into(),
            policy,
            internal,
            is_shared,
            streams: TopicStreams::default(),
        };
        let id =
            TopicId(u32::try_from(self.topics.insert(topic)).expect("topics_max is below 2^32"));
        self.names.insert(name.into(), id);
        id
    }

    /// The policy of a topic.
    #[must_use]
    pub fn policy_of(&self, topic: TopicId) -> Policy {
        self.topics[topic.index()].policy
    }

    /// The topic of this name, if it exists.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.names.get(name).copied()
    }

    /// Whether the topic exists.
    #[must_use]
    pub fn is_topic(&self, topic: TopicId) -> bool {
        self.topics.contains(topic.index())
    }

    /// The name of a topic.
    #[must_use]
    pub fn name(&self, topic: TopicId) -> &str {
        &self.topics[topic.index()].name
    }

    /// All topics with their names.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &str)> {
        let numbered = self.topics.iter();
        numbered.map(|(id, topic)| {
            (
                TopicId(u32::try_from(id).expect("as in open")),
                &*topic.name,
            )
        })
    }

    /// One more than the largest topic number in use.
    #[must_use]
    pub fn topics_end(&self) -> usize {
        self.topics.capacity()
    }

    /// Removes a topic that has no members. Returns `false` if it has.
    ///
    /// Cost: one step; lists that name its streams skip them later.
    pub fn close_topic(&mut self, topic: TopicId) -> bool {
        let streams = self.topics[topic.index()].streams.clone();
        let mut ids = streams.iter();
        if ids.any(|id| !self.streams[id.index()].members.is_empty()) {
            return false;
        }
        for id in streams.iter() {
            let stream = &mut self.streams[id.index()];
            self.held -= stream.log.held();
            stream.close();
            self.drop_closed(id);
        }
        let gone = self.topics.remove(topic.index());
        self.names.remove(&gone.name);
        self.topics_internal -= usize::from(gone.internal);
        true
    }

    /// Frees the index of a closed stream that is in no list any more.
    fn drop_closed(&mut self, id: StreamId) {
        let stream = &self.streams[id.index()];
        if stream.closed && !stream.dirty && !stream.warm {
            self.streams.remove(id.index());
        }
    }

    /// Members of `topic` in `format`.
    #[must_use]
    pub fn member_count(&self, topic: TopicId, format: FormatId) -> usize {
        let stream = self.topics[topic.index()].streams.get(format);
        stream.map_or(0, |id| self.streams[id.index()].members.len())
    }

    /// Makes a peer a member of `topic` from the next publication on, or counts one more subscription that covers the
    /// topic.
    pub fn subscribe(&mut self, slot: Slot, topic: TopicId) -> Subscribed {
        let peer = &mut self.peers[slot.index()];
        if let Some(sub) = peer.sub_of(topic) {
            let sub = &peer.subs[sub];
            let covers = &mut self.streams[sub.stream.index()].members[sub.member as usize].covers;
            *covers = covers.saturating_add(1);
            return Subscribed::Covered;
        }
        let id = self.stream_of(topic, self.peers[slot.index()].format);
        let peer = &mut self.peers[slot.index()];
        let stream = &mut self.streams[id.index()];
        let member = u32::try_from(stream.members.len()).expect("members are connections");
        let sub = peer.add(Sub::new(topic, id, member));
        let cursor = stream.log.head();
        if stream.members.is_empty() {
            // Most topics are one user's, or one document's.
            stream.members.reserve_exact(1);
        }
        stream.members.push(Member {
            slot,
            sub,
            cursor,
            lost: 0,
            covers: 1,
            hold: 0,
        });
        self.subscriptions += usize::from(!self.topics[topic.index()].internal);
        self.members += 1;
        if member == 0 {
            Subscribed::First
        } else {
            Subscribed::Joined
        }
    }

    /// Ends one subscription. With the last one the membership ends, and unread messages are not delivered.
    pub fn unsubscribe(&mut self, slot: Slot, topic: TopicId) -> Unsubscribed {
        let Some(sub) = self.peers[slot.index()].sub_of(topic) else {
            return Unsubscribed::Never;
        };
        let Sub { stream, member, .. } = self.peers[slot.index()].subs[sub];
        let entry = &mut self.streams[stream.index()].members[member as usize];
        entry.covers -= 1;
        if entry.covers > 0 {
            return Unsubscribed::Covered;
        }
        self.remove_member(stream, member as usize);
        Unsubscribed::Left
    }

    /// Ends a membership, however many subscriptions cover the topic. Only frames that were set aside are still
    /// delivered.
    pub fn quit(&mut self, slot: Slot, topic: TopicId) {
        if let Some(sub) = self.peers[slot.index()].sub_of(topic) {
            let Sub { stream, member, .. } = self.peers[slot.index()].subs[sub];
            self.remove_member(stream, member as usize);
        }
    }

    /// Drops the frames set aside for a peer of topics for which `keep` is false.
    pub fn retain_aside(&mut self, slot: Slot, keep: impl FnMut(TopicId) -> bool) {
        let peer = &mut self.peers[slot.index()];
        if let Some(outbox) = &mut peer.outbox {
            let bytes = outbox.bytes();
            drop(outbox.retain_aside(keep));
            self.held -= bytes - outbox.bytes();
        }
    }

    /// The topics of the frames set aside for a peer, once for each frame.
    pub fn topics_aside(&self, slot: Slot) -> impl Iterator<Item = TopicId> {
        let outbox = self.peers[slot.index()].outbox.as_deref();
        outbox.into_iter().flat_map(Outbox::topics_aside)
    }

    /// The topics of a peer's unread frames in a shared log, once for each frame.
    pub fn topics_waiting(&self, slot: Slot, shared: TopicId) -> impl Iterator<Item = TopicId> {
        let peer = &self.peers[slot.index()];
        let sub = peer.sub_of(shared).map(|sub| &peer.subs[sub]);
        let frames = sub.into_iter().flat_map(move |sub| {
            let stream = &self.streams[sub.stream.index()];
            stream
                .log
                .frames(stream.members[sub.member as usize].cursor, shared)
        });
        frames.map(|frame| frame.tag.topic)
    }

    /// Copies a peer's unread frames of a topic or a shared log to its outbox, so that they are delivered whatever
    /// becomes of its membership: the frames of topics for which `keep` is true. The others are skipped without a
    /// report.
    ///
    /// Cost: one step for each unread frame, one copy of those kept.
    pub fn set_aside(&mut self, slot: Slot, from: TopicId, mut keep: impl FnMut(TopicId) -> bool) {
        let peer = &mut self.peers[slot.index()];
        let Some(sub) = peer.sub_of(from) else { return };
        let Sub {
            stream,
            member: place,
            ..
        } = peer.subs[sub];
        let stream = &mut self.streams[stream.index()];
        let member = &mut stream.members[place as usize];
        if let Some(losses) = stream.losses.as_mut().and_then(|all| all.get_mut(&slot)) {
            let bytes = losses.bytes();
            losses.retain(&mut keep);
            member.lost = losses.count();
            self.held -= bytes - losses.bytes();
        } else if !keep(from) {
            member.lost = 0;
        }
        // Losses are older than the frames set aside, so they are reported first.
        let id = PeerId {
            slot,
            generation: peer.generation,
        };
        let cursor = std::mem::replace(&mut member.cursor, stream.log.head());
        let newest = stream.tell_lost(place, id, &mut self.incidents);
        let waiting = stream.log.frames(cursor, from);
        let user = peer.user;
        let waiting: Vec<_> = waiting
            .filter(|frame| frame.is_for(user) && keep(frame.tag.topic))
            .collect();
        self.held += waiting.iter().map(|frame| frame.bytes.len()).sum::<usize>();
        if waiting.is_empty() && newest.is_empty() {
            return;
        }
        let outbox = outbox_of(&mut peer.outbox, &mut self.spare);
        for frame in newest.iter().map(KeptFrame::frame).chain(waiting) {
            outbox.set_aside(&frame);
        }
        self.make_ready(slot);
    }

    /// Moves a peer to the logs of another format: unread frames are set aside for it, those in its outbox below the high
    /// class too, and what is published next comes in that format. None of its memberships is on hold.
    ///
    /// Cost: one step for each membership and each unread frame.
    pub fn reformat(&mut self, slot: Slot, format: FormatId) {
        let peer = &self.peers[slot.index()];
        let subs = peer.subs.iter().map(|sub| {
            let stream = &self.streams[sub.stream.index()];
            (sub.topic, stream.members[sub.member as usize].covers)
        });
        let subs: Vec<(TopicId, u16)> = subs.collect();
        for (topic, _) in &subs {
            self.set_aside(slot, *topic, |_| true);
            self.quit(slot, *topic);
        }
        let peer = &mut self.peers[slot.index()];
        if let Some(outbox) = &mut peer.outbox {
            outbox.set_lower_aside();
        }
        peer.format = format;
        for (topic, covers) in subs {
            let _ = self.subscribe(slot, topic);
            if let Some(member) = self.member_mut(slot, topic) {
                member.covers = covers;
            }
        }
    }

    /// Whose connection a peer is.
    #[must_use]
    pub fn user_of(&self, slot: Slot) -> UserKey {
        self.peers[slot.index()].user
    }

    /// The format a peer reads.
    #[must_use]
    pub fn format_of(&self, slot: Slot) -> FormatId {
        self.peers[slot.index()].format
    }

    /// Whether the peer's socket is full.
    #[must_use]
    pub fn is_blocked(&self, slot: Slot) -> bool {
        self.peers
            .get(slot.index())
            .is_some_and(|peer| peer.blocked)
    }

    /// Bytes that complete what the peer's socket has taken a part of. They go first, and end with a frame.
    #[must_use]
    pub fn partly_written(&self, slot: Slot) -> usize {
        self.peers
            .get(slot.index())
            .map_or(0, |peer| peer.carry.len())
    }

    /// When the peer's socket last accepted bytes, in milliseconds of the shard's clock.
    #[must_use]
    pub fn written_ms(&self, slot: Slot) -> u64 {
        self.peers
            .get(slot.index())
            .map_or(0, |peer| peer.progress_ms)
    }

    /// Unanswered requests of a peer to homes; 0 if it has left.
    #[must_use]
    pub fn answers_awaited(&self, peer: PeerId) -> u8 {
        let known = self.peers.get(peer.slot.index());
        known
            .filter(|known| known.generation == peer.generation)
            .map_or(0, |known| known.answers_awaited)
    }

    /// Counts a request of a peer to a home.
    pub fn note_asked(&mut self, peer: PeerId) {
        if self.is_present(peer) {
            let awaited = &mut self.peers[peer.slot.index()].answers_awaited;
            *awaited = awaited.saturating_add(1);
        }
    }

    /// Counts an answer to one of a peer's requests.
    pub fn note_answered(&mut self, peer: PeerId) {
        if self.is_present(peer) {
            self.peers[peer.slot.index()].answers_awaited -= 1;
        }
    }

    /// Whether a peer is a member of `topic`.
    #[must_use]
    pub fn is_in(&self, slot: Slot, topic: TopicId) -> bool {
        let peer = self.peers.get(slot.index());
        peer.is_some_and(|peer| peer.sub_of(topic).is_some())
    }

    /// Whether a peer is a member of any topic.
    #[must_use]
    pub fn is_member(&self, slot: Slot) -> bool {
        let peer = self.peers.get(slot.index());
        peer.is_some_and(|peer| !peer.subs.is_empty())
    }

    /// The topics a peer is a member of.
    pub fn topics_of(&self, slot: Slot) -> impl Iterator<Item = TopicId> {
        self.peers[slot.index()].subs.iter().map(|sub| sub.topic)
    }

    /// Whether there is memory for one more membership: they take at most half of the limit.
    #[must_use]
    pub fn has_room_for_members(&self) -> bool {
        (self.members + 1).saturating_mul(MEMBER_BYTES) <= self.limits.memory_max / 2
    }

    /// The memory limit for logs and outboxes, in bytes: what memberships leave.
    fn memory_max(&self) -> usize {
        let members = self.members.saturating_mul(MEMBER_BYTES);
        self.limits.memory_max.saturating_sub(members)
    }

    /// Whether publications to `topic` should wait for the next flush.
    #[must_use]
    pub fn is_congested(&self, topic: TopicId) -> bool {
        if self.held >= self.memory_max() {
            return self.has_more_to_write();
        }
        self.topics[topic.index()].streams.iter().any(|id| {
            let stream = &self.streams[id.index()];
            let unoffered = stream.log.head() - stream.offered;
            stream.dirty
                && (unoffered >= self.limits.backlog_bytes_max
                    || stream.log.held() >= self.limits.log_bytes_max)
        })
    }

    /// Whether any log exceeds what one flush should write.
    ///
    /// Cost: a look at every dirty stream.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        let mut dirty = self.dirty.iter().flatten();
        dirty.any(|id| {
            let stream = &self.streams[id.index()];
            stream.log.head() - stream.offered >= self.limits.backlog_bytes_max
        })
    }

    /// Appends a frame of `topic` for the members that read `format`. Returns the number of those it is for.
    ///
    /// Cost: one copy, whatever the number of members. No wake-up, no system
    /// call, no allocation once warm. With [`Frame::except`], a look at every member.
    pub fn append(&mut self, topic: TopicId, format: FormatId, frame: Frame<'_>) -> usize {
        let Some(id) = self.topics[topic.index()].streams.get(format) else {
            return 0;
        };
        let stream = &mut self.streams[id.index()];
        stream.number = *frame.numbers.end();
        stream.publications += frame.publications;
        self.append_to(id, frame, None)
    }

    /// Appends a frame with messages of another topic to the log `shared`, for the members that read `format`. Returns
    /// their number.
    ///
    /// Cost: that of [`Self::append`].
    pub fn append_shared(
        &mut self,
        shared: TopicId,
        format: FormatId,
        topic: TopicId,
        frame: Frame<'_>,
    ) -> usize {
        let Some(id) = self.topics[shared.index()].streams.get(format) else {
            return 0;
        };
        let stream = &mut self.streams[id.index()];
        let first = *frame.numbers.start();
        let before = stream.number;
        stream.number += 1 + frame.numbers.end() - first;
        let tag = Tag { topic, first };
        let numbers = before + 1..=stream.number;
        self.append_to(id, Frame { numbers, ..frame }, Some(tag))
    }

    fn append_to(&mut self, id: StreamId, frame: Frame<'_>, tag: Option<Tag>) -> usize {
        let stream = &mut self.streams[id.index()];
        if stream.members.is_empty() {
            return 0;
        }
        let held = stream.log.held();
        stream.log.append(frame.bytes, frame.numbers);
        if let Some(tag) = tag {
            stream.log.tag(tag);
        }
        if !frame.except.is_none() {
            stream.log.except(frame.except);
        }
        self.held = self.held + stream.log.held() - held;
        if !stream.dirty {
            stream.dirty = true;
            let line = line_of(stream.members.len(), self.limits.few_members_max);
            dirty_in(&mut self.dirty, line).push(id);
        }
        if !stream.warm {
            stream.warm = true;
            self.warm.push(id);
        }
        let skips = |member: &&Member| self.peers[member.slot.index()].user == frame.except;
        let skipping = match frame.except {
            UserKey::NONE => 0,
            _ => stream.members.iter().filter(skips).count(),
        };
        stream.members.len() - skipping
    }

    /// Queues `frame` for one peer.
    pub fn send(&mut self, slot: Slot, priority: Priority, frame: &[u8]) -> Enqueue {
        self.send_written(
            slot,
            priority,
            (frame.len(), |out| out.extend_from_slice(frame)),
        )
    }

    /// Queues a frame of `len` bytes, which `write` appends, for one peer.
    #[inline]
    pub fn send_written(
        &mut self,
        slot: Slot,
        priority: Priority,
        (len, write): (usize, impl FnOnce(&mut Vec<u8>)),
    ) -> Enqueue {
        let Some(peer) = self
            .peers
            .get_mut(slot.index())
            .filter(|peer| !peer.closing)
        else {
            return Enqueue::Gone;
        };
        let limits = limits_of(self.limits.outbox, peer);
        let outbox = outbox_of(&mut peer.outbox, &mut self.spare);
        let bytes = outbox.bytes();
        let dropped = outbox.push(priority, (len, write), limits);
        self.held = self.held + outbox.bytes() - bytes;
        let lost = u32::try_from(dropped).unwrap_or(u32::MAX);
        peer.lost = peer.lost.saturating_add(lost);
        self.make_ready(slot);
        if dropped > 0 {
            Enqueue::Overflow(dropped)
        } else {
            Enqueue::Queued
        }
    }

    /// Sets how many messages a peer's outbox may have; `None`: as many as any other's.
    pub fn limit_outbox(&mut self, slot: Slot, messages_max: Option<NonZeroU16>) {
        if let Some(peer) = self.peers.get_mut(slot.index()) {
            peer.messages_max = messages_max;
        }
    }

    /// Queues a frame for one peer behind the frames set aside for it. It is never dropped, and the limits of the outbox
    /// do not count it.
    pub fn send_behind(&mut self, slot: Slot, frame: &[u8]) {
        let peer = self.peers.get_mut(slot.index());
        if let Some(peer) = peer.filter(|peer| !peer.closing) {
            outbox_of(&mut peer.outbox, &mut self.spare).push_aside(frame);
            self.held += frame.len();
            self.make_ready(slot);
        }
    }

    /// Bytes of frames of [`Self::send_behind`] that its socket has not taken, or a little more: those of another frame of
    /// which it has taken a part may be among them.
    #[must_use]
    pub fn unsent_behind(&self, slot: Slot) -> usize {
        self.peers.get(slot.index()).map_or(0, |peer| {
            let outbox = peer.outbox.as_deref();
            peer.carry.len() + outbox.map_or(0, Outbox::aside_bytes)
        })
    }

    /// Queues a pong. While the socket is full, and while one waits that was queued then, a new pong replaces the queued
    /// one: pongs are sent in the order of their pings.
    pub fn send_pong(&mut self, slot: Slot, frame: &[u8]) -> Enqueue {
        match self.peers.get_mut(slot.index()) {
            Some(peer) if (peer.blocked || peer.has_pong()) && !peer.closing => {
                let outbox = outbox_of(&mut peer.outbox, &mut self.spare);
                let bytes = outbox.bytes();
                outbox.set_pong(frame);
                self.held = self.held + outbox.bytes() - bytes;
                Enqueue::Queued
            }
            _ => self.send(slot, Priority::Critical, frame),
        }
    }

    /// Queues the last frame of a peer. Private frames already queued are written before it, none is accepted after
    /// it, and its memberships end.
    pub fn send_last(&mut self, slot: Slot, frame: &[u8]) {
        let Some(peer) = self
            .peers
            .get_mut(slot.index())
            .filter(|peer| !peer.closing)
        else {
            return;
        };
        peer.closing = true;
        peer.close_frame.extend_from_slice(frame);
        while let Some(sub) = self.peers[slot.index()].subs.last() {
            self.remove_member(sub.stream, sub.member as usize);
        }
        self.make_ready(slot);
    }

    /// Whether anything is queued for one peer alone.
    #[must_use]
    pub fn has_queued(&self, slot: Slot) -> bool {
        let outbox = self.peers.get(slot.index());
        let outbox = outbox.and_then(|peer| peer.outbox.as_deref());
        outbox.is_some_and(|outbox| outbox.bytes() > 0)
    }

    /// Whether the peer should not be read from: its outbox is half full. The other half takes the replies to what
    /// has been read already.
    #[must_use]
    pub fn is_outbox_full(&self, slot: Slot) -> bool {
        self.peers.get(slot.index()).is_some_and(|peer| {
            let limits = limits_of(self.limits.outbox, peer);
            let outbox = peer.outbox.as_deref();
            outbox.is_some_and(|outbox| outbox.is_half_full(limits))
        })
    }

    /// Whether a peer takes private frames now.
    #[must_use]
    pub fn readiness(&self, peer: PeerId) -> Readiness {
        let known = self.peers.get(peer.slot.index());
        match known.filter(|known| known.generation == peer.generation && !known.closing) {
            None => Readiness::Gone,
            Some(known) if known.blocked => Readiness::Blocked,
            Some(_) if self.is_outbox_full(peer.slot) => Readiness::Unflushed,
            Some(_) => Readiness::KeepsUp,
        }
    }

    /// Counts a membership that is kept elsewhere toward their memory.
    pub fn count_member(&mut self) {
        self.members += 1;
    }

    /// Memberships counted by [`Self::count_member`] have ended.
    pub fn uncount_members(&mut self, count: usize) {
        self.members -= count;
    }

    /// Bytes in a peer's outbox.
    #[cfg(test)]
    fn outbox_bytes(&self, slot: Slot) -> usize {
        let peer = self.peers.get(slot.index());
        peer.map_or(0, |peer| {
            peer.carry.len() + peer.outbox.as_ref().map_or(0, |outbox| outbox.bytes())
        })
    }

    /// Whether all queued output of a peer has been written, and its socket is not full.
    #[must_use]
    pub fn is_drained(&self, slot: Slot) -> bool {
        let peer = self.peers.get(slot.index());
        peer.is_none_or(|peer| {
            !peer.blocked && !peer.has_private() && peer.first_pending().is_none()
        })
    }

    /// Bytes that a peer has not been written: of the first 1,024 of its topics, and its own.
    ///
    /// Cost: a look at each of these.
    #[must_use]
    pub fn unsent(&self, peer: PeerId) -> u64 {
        match self.is_present(peer) {
            true => self.unsent_of(peer.slot),
            false => 0,
        }
    }

    fn unsent_of(&self, slot: Slot) -> u64 {
        let peer = &self.peers[slot.index()];
        let of_topics = peer.subs.iter().take(UNSENT_TOPICS_MAX).map(|sub| {
            let stream = &self.streams[sub.stream.index()];
            stream.log.head() - stream.members[sub.member as usize].cursor
        });
        let own = peer.outbox.as_ref().map_or(0, |outbox| outbox.bytes());
        of_topics.sum::<u64>() + (own + peer.carry.len()) as u64
    }

    /// Takes the incidents since the last call.
    pub fn take_incidents(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.incidents)
    }

    fn make_ready(&mut self, slot: Slot) {
        let peer = &mut self.peers[slot.index()];
        if !peer.blocked {
            self.turns.enqueue(slot, &mut peer.line, Line::Private);
        }
    }

    /// Removes a member from its stream and from its peer's list, and updates the lists' references to each other.
    fn remove_member(&mut self, id: StreamId, member: usize) {
        let stream = &mut self.streams[id.index()];
        let gone = stream.members.swap_remove(member);
        let lost = stream
            .losses
            .as_mut()
            .and_then(|all| all.remove(&gone.slot));
        self.held -= lost.map_or(0, |lost| lost.bytes());
        if let Some(moved) = stream.members.get(member) {
            self.peers[moved.slot.index()].subs[moved.sub as usize].member = index_of(member);
        }
        if let Some(moved) = self.peers[gone.slot.index()].remove(gone.sub) {
            self.streams[moved.stream.index()].members[moved.member as usize].sub = gone.sub;
        }
        let internal = self.topics[self.streams[id.index()].topic.index()].internal;
        self.subscriptions -= usize::from(!internal);
        self.members -= 1;
    }

    /// Finds the stream of a topic in a format, or creates it.
    fn stream_of(&mut self, topic: TopicId, format: FormatId) -> StreamId {
        let Topic {
            streams, is_shared, ..
        } = &mut self.topics[topic.index()];
        let is_shared = *is_shared;
        streams.get_or_insert_with(format, || {
            let id = self.streams.insert(Stream::new(topic, is_shared));
            StreamId(u32::try_from(id).expect("a few for each topic"))
        })
    }
}

/// The limits of a peer's outbox.
fn limits_of(all: OutboxLimits, peer: &Peer) -> OutboxLimits {
    let own = peer.messages_max.map(|max| usize::from(max.get()));
    OutboxLimits {
        messages_max: own.unwrap_or(all.messages_max),
        ..all
    }
}

/// The outbox of a peer; takes a spare one or a new one if it has none.
#[expect(clippy::vec_box, reason = "they go back into peers as they are")]
fn outbox_of<'a>(
    outbox: &'a mut Option<Box<Outbox>>,
    spare: &mut Vec<Box<Outbox>>,
) -> &'a mut Outbox {
    outbox.get_or_insert_with(|| spare.pop().unwrap_or_default())
}

/// The dirty streams of a line.
fn dirty_in(dirty: &mut [Vec<StreamId>; 3], line: Line) -> &mut Vec<StreamId> {
    match line {
        Line::Small | Line::Private | Line::None => &mut dirty[0],
        Line::Medium => &mut dirty[1],
        Line::Large => &mut dirty[2],
    }
}

/// Members of a small topic, in one format, at most; less if `few_members_max` is below twice that.
const SMALL_MEMBERS_MAX: usize = 8;

/// The line of a topic with this many members.
fn line_of(members: usize, few_max: usize) -> Line {
    match members {
        members if members <= SMALL_MEMBERS_MAX.min(few_max / 2) => Line::Small,
        members if members <= few_max => Line::Medium,
        _ => Line::Large,
    }
}

fn slot_of(index: usize) -> Slot {
    Slot(index_of(index))
}

fn index_of(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 connections and subscriptions")
}
