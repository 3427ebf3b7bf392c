//! The flush: one write per peer, whatever the number of messages.

use std::io::IoSlice;

use super::log::LogFrame;
use super::peer::{Peer, Sub};
use super::stream::{KeptFrame, Member, Stream, StreamId};
use super::turns::Line;
use super::{
    Hub, Incident, SPARE_OUTBOX_BYTES_MAX, SPARE_OUTBOXES_MAX, dirty_in, index_of, line_of,
    outbox_of, slot_of,
};
use crate::collections::HashSet;
use crate::config::SlowConsumer;
use crate::id::{PeerId, Slot, TopicId, UserKey};

/// The sockets of a shard, by peer. Must not call back into the hub.
pub trait Sink {
    /// Writes as much of `bytes` as the socket of `slot` accepts.
    fn write(&mut self, slot: Slot, bytes: &[IoSlice<'_>]) -> Written;
}

/// The result of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// This many bytes were accepted, and the socket takes more.
    Bytes(usize),
    /// This many bytes were accepted, all that were offered or fewer, and the socket is full; the shard calls
    /// [`Hub::unblock`] when it is writable.
    Full(usize),
    /// The socket is closed.
    Gone,
}

/// Whether a flush wrote everything.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// Nothing is left but output for full sockets.
    Done,
    /// A limit of the flush was reached first.
    More,
}

/// Peak number of topics below which the topic tables are not shrunk.
const SHRINK_FROM: usize = 1024;

/// Slices in one write.
const SLICES_MAX: usize = 32;

impl Hub {
    /// Writes queued output to peers whose sockets are not full, and applies policies to members that lag. Ends
    /// early after `writes_max` writes, or `bytes_max` bytes.
    ///
    /// Cost: one step and one write per peer, however many messages are queued.
    pub fn flush(
        &mut self,
        sink: &mut impl Sink,
        now_ms: u64,
        writes_max: usize,
        bytes_max: usize,
    ) -> Flush {
        // Members queued by the last walk are written to first, so that under load one write carries more messages.
        for (line, left_max) in [
            (Line::Small, WALKED_LEFT_MAX),
            (Line::Medium, WALKED_LEFT_MAX),
            (Line::Large, 0),
        ] {
            if !dirty_in(&mut self.dirty, line).is_empty() && self.turns.len(line) <= left_max {
                self.walk_dirty(line);
            }
        }
        let mut written = 0;
        for _ in 0..writes_max {
            let Some(slot) = self.turns.next() else {
                break;
            };
            written += self.write_to(slot, sink, now_ms);
            if written >= bytes_max {
                break;
            }
        }
        match self.has_more_to_write() {
            true => Flush::More,
            false => Flush::Done,
        }
    }

    /// Whether output is left for sockets that are not full.
    pub(super) fn has_more_to_write(&self) -> bool {
        !self.turns.is_empty() || self.dirty.iter().any(|dirty| !dirty.is_empty())
    }

    /// The socket of `slot` is writable again. Reports its gaps, of which the peer has to be told first.
    pub fn unblock(&mut self, slot: Slot) {
        if !self.is_blocked(slot) {
            return;
        }
        self.peers[slot.index()].blocked = false;
        self.tell_private_loss(slot);
        let peer = &mut self.peers[slot.index()];
        let id = PeerId {
            slot,
            generation: peer.generation,
        };
        // A peer with output of large topics only goes back to their queue.
        let mut line = match peer.has_private() {
            true => Line::Private,
            false => Line::Large,
        };
        for sub in 0..peer.subs.len() {
            let Sub { stream, member, .. } = peer.subs[sub];
            let stream = &mut self.streams[stream.index()];
            if !stream.members[member as usize].is_held() {
                let newest = stream.tell_lost(member, id, &mut self.incidents);
                for kept in &newest {
                    outbox_of(&mut peer.outbox, &mut self.spare).set_aside(&kept.frame());
                    line = Line::Private;
                }
            }
            let member = &stream.members[member as usize];
            if !member.is_held() && member.cursor < stream.log.head() {
                peer.link(index_of(sub));
                let members = stream.members.len();
                match line_of(members, self.limits.few_members_max) {
                    Line::Medium if line == Line::Large => line = Line::Medium,
                    Line::Small if line != Line::Private => line = Line::Small,
                    _ => {}
                }
            }
        }
        self.turns.enqueue(slot, &mut peer.line, line);
    }

    /// Reports dropped private messages, unless the socket is full: the report could not be written yet.
    fn tell_private_loss(&mut self, slot: Slot) {
        let peer = &mut self.peers[slot.index()];
        if peer.lost > 0 && !peer.blocked && !peer.closing {
            let lost = std::mem::take(&mut peer.lost);
            self.incidents.push(Incident::Gap {
                peer: PeerId {
                    slot,
                    generation: peer.generation,
                },
                topic: None,
                lost,
            });
        }
    }

    /// The socket of `slot` has taken bytes that it had accepted, and is still full: its peer reads.
    pub fn note_progress(&mut self, slot: Slot, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(slot.index()) {
            peer.progress_ms = now_ms;
        }
    }

    /// Reports peers whose sockets have accepted nothing for `stall_ms`.
    ///
    /// Cost: a look at every peer. Called by the ticker.
    pub fn find_stalled(&mut self, now_ms: u64, stall_ms: u64) {
        let mut found = Vec::new();
        for (slot, peer) in &self.peers {
            let stalled = peer.blocked && now_ms.saturating_sub(peer.progress_ms) >= stall_ms;
            if stalled && !peer.closing && !peer.slow_reported {
                found.push(slot_of(slot));
            }
        }
        for slot in found {
            self.report_slow(slot);
        }
    }

    /// Reports a slow consumer, once.
    fn report_slow(&mut self, slot: Slot) {
        if self.peers[slot.index()].slow_reported {
            return;
        }
        let unsent_bytes = self.unsent_of(slot);
        let peer = &mut self.peers[slot.index()];
        peer.slow_reported = true;
        let peer = PeerId {
            slot,
            generation: peer.generation,
        };
        self.incidents.push(Incident::Slow { peer, unsent_bytes });
    }

    /// Drops what all members have been written, and frees the memory of logs that have been empty since the last call.
    pub fn free_unused(&mut self) {
        let mut warm = std::mem::take(&mut self.warm);
        warm.retain(|&id| {
            let stream = &mut self.streams[id.index()];
            if stream.closed {
                stream.warm = false;
                self.drop_closed(id);
                return false;
            }
            let held = stream.log.held();
            let was_empty = stream.log.release();
            stream.trim();
            self.held = self.held + stream.log.held() - held;
            stream.warm = !was_empty;
            stream.warm
        });
        self.warm = warm;
        self.topics_peak = self.topics_peak.max(self.topics.len());
        if self.topics_peak > SHRINK_FROM && self.topics.len() < self.topics_peak / 4 {
            self.topics_peak = self.topics.len();
            self.topics.shrink_to_fit();
            self.streams.shrink_to_fit();
            self.names.shrink_to(self.names.len() * 2);
        }
    }

    /// Queues the members of the dirty streams of a line, applies policies to those that lag, and drops what all
    /// members have been written.
    fn walk_dirty(&mut self, line: Line) {
        if self.held >= self.memory_max() {
            self.free_memory();
        }
        let mut dirty = std::mem::take(dirty_in(&mut self.dirty, line));
        let (mut again, mut steps) = (Vec::new(), 0);
        // Freeing memory did not suffice: any member that lags is slow.
        let tight = self.held >= self.memory_max();
        for id in dirty.drain(..) {
            let mut overdue = Vec::new();
            let stream = &mut self.streams[id.index()];
            stream.dirty = false;
            if stream.closed {
                self.drop_closed(id);
                continue;
            }
            let head = stream.log.head();
            stream.offered = head;
            let policy = self.topics[stream.topic.index()].policy;
            let mut oldest = head;
            for (index, member) in stream.members.iter().enumerate() {
                oldest = oldest.min(member.cursor);
                let peer = &mut self.peers[member.slot.index()];
                if peer.blocked || member.is_held() {
                    let lag = head - member.cursor;
                    let slow = lag > policy.lag_bytes_max
                        || tight
                        || policy.slow == SlowConsumer::DropLowest
                        || policy.lag_messages_max > 0
                            && stream.log.messages_after(member.cursor) > policy.lag_messages_max;
                    if slow && lag > 0 {
                        overdue.push(index);
                    }
                } else if member.cursor < head {
                    peer.link(member.sub);
                    self.turns.enqueue(member.slot, &mut peer.line, line);
                }
            }
            let held = stream.log.held();
            stream.log.trim(oldest);
            self.held = self.held + stream.log.held() - held;
            for member in overdue {
                if steps >= STEPS_PER_WALK && !tight {
                    // The remaining members lag a little more, and policies apply to them in the next walk.
                    self.streams[id.index()].dirty = true;
                    again.push(id);
                    break;
                }
                steps += self.apply_policy(id, member, tight);
            }
        }
        dirty.append(&mut again);
        *dirty_in(&mut self.dirty, line) = dirty;
    }

    /// Frees a quarter of the memory limit: the longest logs first, whatever their topics, skip what their slowest
    /// members have not read.
    ///
    /// Cost: a look at every log that is not empty, and at its members; at most once for each quarter that is filled.
    fn free_memory(&mut self) {
        let enough = self.memory_max() / 4 * 3;
        let mut logs: Vec<(usize, StreamId)> = self
            .warm
            .iter()
            .map(|&id| (self.streams[id.index()].log.held(), id))
            .collect();
        logs.sort_unstable_by_key(|&(held, _)| std::cmp::Reverse(held));
        for (held, id) in logs {
            if self.held <= enough {
                break;
            }
            let stream = &self.streams[id.index()];
            let lag = |index: usize| stream.log.head() - stream.members[index].cursor;
            let is_blocked = |&index: &usize| {
                let member = &stream.members[index];
                member.is_held() || self.peers[member.slot.index()].blocked
            };
            let blocked = (0..stream.members.len()).filter(is_blocked);
            let longest = blocked.clone().map(lag).max().unwrap_or(0);
            let slowest: Vec<usize> = blocked.filter(|&index| lag(index) > longest / 2).collect();
            for member in slowest {
                self.apply_policy(id, member, true);
            }
            let stream = &mut self.streams[id.index()];
            stream.trim();
            self.held = self.held + stream.log.held() - held;
        }
    }

    /// Applies the topic's policy to a member that lags too far. Returns the number of messages that were visited.
    fn apply_policy(&mut self, id: StreamId, member: usize, tight: bool) -> usize {
        let stream = &mut self.streams[id.index()];
        let slot = stream.members[member].slot;
        let policy = self.topics[stream.topic.index()].policy;
        if policy.slow != SlowConsumer::Disconnect {
            self.drop_aside(id, member, policy.slow);
        }
        let stream = &mut self.streams[id.index()];
        match policy.slow {
            SlowConsumer::Disconnect => {
                self.report_slow(slot);
                let stream = &mut self.streams[id.index()];
                skip_to(stream, member, stream.log.head());
            }
            SlowConsumer::DropOldest => {
                let by_bytes = stream
                    .log
                    .tail(if tight { 0 } else { policy.lag_bytes_max / 2 });
                let by_messages = match policy.lag_messages_max {
                    0 => 0,
                    messages => stream.log.tail_messages(messages / 2),
                };
                skip_to(stream, member, by_bytes.max(by_messages));
            }
            SlowConsumer::Conflate if stream.losses.is_some() => {
                let bytes_max = if tight { 0 } else { policy.lag_bytes_max };
                let user = self.peers[slot.index()].user;
                let (bytes, steps) = conflate(stream, (member, user), bytes_max);
                self.held = self.held.wrapping_add_signed(bytes);
                return steps;
            }
            SlowConsumer::Conflate => skip_to(stream, member, stream.log.tail(0)),
            SlowConsumer::DropLowest => {
                self.drop_lowest(slot, if tight { 0 } else { policy.lag_bytes_max });
            }
        }
        0
    }

    /// Frames set aside or kept for a member are older than what it is about to skip, so they are dropped first.
    fn drop_aside(&mut self, id: StreamId, member: usize, slow: SlowConsumer) {
        let stream = &mut self.streams[id.index()];
        let entry = &mut stream.members[member];
        if slow != SlowConsumer::Conflate
            && let Some(losses) = stream
                .losses
                .as_mut()
                .and_then(|all| all.get_mut(&entry.slot))
        {
            self.held -= losses.bytes();
            losses.trim(0);
            entry.lost = losses.count();
        }
        let peer = &mut self.peers[entry.slot.index()];
        let Some(outbox) = peer.outbox.as_deref_mut() else {
            return;
        };
        if outbox.topics_aside().next().is_none() {
            return;
        }
        let (own, is_shared) = (stream.topic, stream.losses.is_some());
        // Frames of a format that the peer leaves cannot be kept for later: the newest of a topic stays where it is.
        let stays = slow == SlowConsumer::Conflate && outbox.is_changing_format();
        let newer = stream.log.frames(entry.cursor, own).take_while(|_| stays);
        let newer: HashSet<TopicId> = newer.map(|frame| frame.tag.topic).collect();
        let is_kept = |topic: TopicId| match is_shared {
            true => {
                let is_other = peer.subs.iter().any(|sub| sub.topic == topic);
                is_other || stays && !newer.contains(&topic)
            }
            false => topic != own,
        };
        let before = outbox.bytes();
        let gone = outbox.retain_aside(is_kept);
        let gone: Vec<LogFrame<'_>> = gone.iter().map(KeptFrame::frame).collect();
        if let Some(losses) = &mut stream.losses {
            let losses = losses.entry(entry.slot).or_default();
            let kept = losses.bytes();
            if slow == SlowConsumer::Conflate && !stays {
                losses.renew(&gone, UserKey::NONE);
            } else {
                let lost = gone.iter();
                lost.for_each(|frame| losses.add(frame.tag.topic, frame.messages));
            }
            entry.lost = losses.count();
            self.held = self.held + losses.bytes() - kept;
        } else {
            let messages = gone.iter().map(|frame| frame.messages).sum::<u64>();
            let messages = u32::try_from(messages).unwrap_or(u32::MAX);
            entry.lost = entry.lost.saturating_add(messages);
        }
        self.held = self.held + outbox.bytes() - before;
    }

    /// Skips whole topics of a peer, lowest rank first, until at most `lag_bytes_max` bytes are unread in all its
    /// topics.
    fn drop_lowest(&mut self, slot: Slot, lag_bytes_max: u64) {
        let peer = &self.peers[slot.index()];
        let mut lagging: Vec<_> = peer
            .subs
            .iter()
            .map(|sub| {
                let stream = &self.streams[sub.stream.index()];
                let member = &stream.members[sub.member as usize];
                // Frames that the next write takes are not lag.
                let lag = match peer.blocked || member.is_held() {
                    true => stream.log.head() - member.cursor,
                    false => 0,
                };
                (
                    self.topics[sub.topic.index()].policy.priority,
                    lag,
                    sub.stream,
                    sub.member,
                )
            })
            .filter(|(_, lag, ..)| *lag > 0)
            .collect();
        let mut total: u64 = lagging.iter().map(|(_, lag, ..)| lag).sum();
        lagging.sort_by_key(|(priority, ..)| *priority);
        for (_, lag, stream, member) in lagging {
            if total <= lag_bytes_max {
                break;
            }
            self.drop_aside(stream, member as usize, SlowConsumer::DropLowest);
            let stream = &mut self.streams[stream.index()];
            skip_to(stream, member as usize, stream.log.head());
            total -= lag;
        }
    }

    /// Writes the queued output of a peer. Returns how many bytes its socket accepted.
    fn write_to(&mut self, slot: Slot, sink: &mut impl Sink, now_ms: u64) -> usize {
        let Some(peer) = self.peers.get_mut(slot.index()) else {
            return 0;
        };
        let line = std::mem::take(&mut peer.line);
        if line == Line::None || peer.blocked {
            return 0;
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let (filled, offered, complete) = gather(peer, &self.streams, &mut slices);
        if filled == 0 {
            self.pass_skipped(slot);
            return 0;
        }
        let outcome = sink.write(slot, &slices[..filled]);
        match outcome {
            Written::Gone => {
                peer.blocked = true;
                peer.slow_reported = true;
                let peer = PeerId {
                    slot,
                    generation: peer.generation,
                };
                self.incidents.push(Incident::Gone(peer));
                0
            }
            Written::Bytes(written) | Written::Full(written) => {
                peer.progress_ms = now_ms;
                peer.blocked = matches!(outcome, Written::Full(_));
                let has_more = !complete || written < offered;
                let is_blocked = peer.blocked;
                self.advance(slot, written);
                self.tell_private_loss(slot);
                if has_more && !is_blocked {
                    let current = &mut self.peers[slot.index()].line;
                    self.turns.enqueue(slot, current, line);
                }
                written
            }
        }
    }

    /// Moves the cursors of a peer, whose unread frames are all for others.
    #[cold]
    fn pass_skipped(&mut self, slot: Slot) {
        let peer = &mut self.peers[slot.index()];
        while let Some(first) = peer.first_pending() {
            let Sub { stream, member, .. } = peer.subs[first as usize];
            let stream = &mut self.streams[stream.index()];
            let member = &mut stream.members[member as usize];
            (member.cursor, _) = stream.log.advance(member.cursor, 0, peer.user);
            peer.unlink_first();
        }
    }

    /// Advances a peer's private queue and its cursors by `written` bytes, in the order of [`gather`].
    ///
    /// Inlined into its only caller: a call for each write costs 3 % of the instructions of small ones.
    #[inline(always)]
    fn advance(&mut self, slot: Slot, written: usize) {
        let peer = &mut self.peers[slot.index()];
        let mut left = written;
        if !peer.carry.is_empty() {
            let taken = left.min(peer.carry.len());
            peer.carry.drain(..taken);
            self.held -= taken;
            left -= taken;
            if peer.carry.is_empty() {
                peer.carry = Vec::new();
            }
        }
        if let Some(outbox) = &mut peer.outbox {
            let (bytes, carried) = (outbox.bytes(), peer.carry.len());
            left = outbox.advance(left, &mut peer.carry);
            self.held = self.held + outbox.bytes() + peer.carry.len() - bytes - carried;
            if outbox.is_empty() {
                let drained = peer.outbox.take().expect("it was just looked at");
                if std::mem::take(&mut peer.refilled) {
                    self.incidents.push(Incident::Refillable(PeerId {
                        slot,
                        generation: peer.generation,
                    }));
                }
                if self.spare.len() < SPARE_OUTBOXES_MAX && drained.held() <= SPARE_OUTBOX_BYTES_MAX
                {
                    self.spare.push(drained);
                }
            }
        }
        while let Some(first) = peer.first_pending() {
            let Sub { stream, member, .. } = peer.subs[first as usize];
            let stream = &mut self.streams[stream.index()];
            let member = &mut stream.members[member as usize];
            (member.cursor, left) = stream.log.advance(member.cursor, left, peer.user);
            if member.cursor < stream.log.head() {
                let rest = stream.log.cut_frame(member.cursor);
                member.cursor += rest.len() as u64;
                peer.carry.extend_from_slice(rest);
                self.held += rest.len();
                break;
            }
            peer.unlink_first();
        }
        if left > 0 {
            peer.close_frame.drain(..left);
        }
    }
}

/// Members in the queue of small or medium topics up to which a flush walks dirty streams of that size again. So a
/// message of such a topic waits for at most four times as many writes as the queue has peers, whatever other
/// output there is.
const WALKED_LEFT_MAX: usize = 64;

/// Collects the queued output of a peer: the rest of a partly written frame, its outbox, its topics, its close frame.
/// Returns the numbers of slices and bytes, and whether that is all.
fn gather<'a>(
    peer: &'a Peer,
    streams: &'a slab::Slab<Stream>,
    slices: &mut [IoSlice<'a>; SLICES_MAX],
) -> (usize, usize, bool) {
    let private = std::iter::once(&peer.carry[..])
        .chain(peer.outbox.iter().flat_map(|outbox| outbox.slices()));
    let pending = std::iter::successors(peer.first_pending(), |&sub| peer.next_pending(sub));
    let topics = pending.flat_map(|sub| {
        let sub = &peer.subs[sub as usize];
        let stream = &streams[sub.stream.index()];
        stream
            .log
            .slices(stream.members[sub.member as usize].cursor, peer.user)
    });
    let close_frame = std::iter::once(&peer.close_frame[..]);
    let (mut filled, mut bytes) = (0, 0);
    for slice in private
        .chain(topics)
        .chain(close_frame)
        .filter(|slice| !slice.is_empty())
    {
        if filled == SLICES_MAX {
            return (filled, bytes, false);
        }
        slices[filled] = IoSlice::new(slice);
        filled += 1;
        bytes += slice.len();
    }
    (filled, bytes, true)
}

/// Moves a cursor forward without writing, and counts the messages skipped.
fn skip_to(stream: &mut Stream, member: usize, cursor: u64) {
    let entry = &mut stream.members[member];
    if cursor > entry.cursor {
        let skipped = stream.log.messages_after(entry.cursor) - stream.log.messages_after(cursor);
        if let Some(losses) = &mut stream.losses {
            let losses = losses.entry(entry.slot).or_default();
            if skipped > LOST_ONE_BY_ONE_MAX {
                losses.add_others(skipped);
            } else {
                let mut left = cursor - entry.cursor;
                for frame in stream.log.frames(entry.cursor, stream.topic) {
                    let bytes = frame.bytes.len() as u64;
                    if left < bytes {
                        break;
                    }
                    left -= bytes;
                    losses.add(frame.tag.topic, frame.messages);
                }
            }
        }
        entry.lost = entry
            .lost
            .saturating_add(u32::try_from(skipped).unwrap_or(u32::MAX));
        entry.cursor = cursor;
    }
}

/// Messages of a shared log up to which a loss is counted by topic.
const LOST_ONE_BY_ONE_MAX: u64 = 1024;

/// Messages that one walk may visit; the last member may exceed it.
const STEPS_PER_WALK: usize = 100_000;

/// Moves a cursor of a shared log to the head, and keeps the newest message of each topic. Returns the change in bytes
/// kept, and the number of messages visited.
fn conflate(
    stream: &mut Stream,
    (member, user): (usize, UserKey),
    bytes_max: u64,
) -> (isize, usize) {
    let Member { slot, cursor, .. } = stream.members[member];
    let losses = stream
        .losses
        .as_mut()
        .expect("it is a log of several topics");
    let losses = losses.entry(slot).or_default();
    let before = losses.bytes();
    let waiting = stream.log.frames(cursor, stream.topic);
    let waiting: Vec<LogFrame<'_>> = waiting.collect();
    losses.renew(&waiting, user);
    losses.trim(bytes_max);
    let entry = &mut stream.members[member];
    (entry.cursor, entry.lost) = (stream.log.head(), losses.count());
    let bytes = losses.bytes().cast_signed() - before.cast_signed();
    (bytes, waiting.len())
}
