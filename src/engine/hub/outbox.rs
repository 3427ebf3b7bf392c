//! Frames for a single peer: replies, errors, control frames, pushes.
//!
//! Five classes, highest first. When the outbox is full, the lowest class is dropped first: background, low,
//! normal; high and critical only when no lower class is left.

use std::collections::VecDeque;

use super::log::{LogFrame, Tag};
use super::stream::KeptFrame;
use crate::id::{Priority, TopicId, UserKey};

/// Limits of one outbox.
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Bytes queued. One message is always accepted, so that a limit below the largest message cannot make it
    /// undeliverable.
    pub bytes_max: usize,
    /// Messages queued.
    pub messages_max: usize,
}

/// A peer's private outbox. Exists only while frames are queued.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    classes: [Class; Priority::COUNT],
    bytes: usize,
    messages: usize,
    /// One page of missed messages. Never dropped, and not counted by the limits: the next page is requested only when
    /// this one is written.
    page: Vec<u8>,
    /// Frames set aside from logs that the peer has left. Never dropped; counted only by [`Self::is_half_full`].
    aside: Vec<u8>,
    /// The frames in `aside`.
    aside_frames: Vec<Aside>,
    /// A pong queued while the socket is full: a newer one replaces it (RFC 6455 5.5.3; hostile-inputs.md F09).
    pong: Vec<u8>,
}

/// The topic of a frame set aside that has none.
const NO_TOPIC: TopicId = TopicId(u32::MAX);

/// A frame that was set aside.
#[derive(Clone, Copy, Debug)]
struct Aside {
    tag: Tag,
    messages: u64,
    /// Where it ends in `aside`.
    end: usize,
}

/// The queued frames of one class, concatenated.
#[derive(Debug, Default)]
struct Class {
    bytes: Vec<u8>,
    /// Bytes at the front already written.
    sent: usize,
    /// Where each queued frame ends in `bytes`.
    ends: VecDeque<usize>,
}

impl Class {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Removes the oldest frame and returns it.
    fn pop(&mut self) -> Option<&[u8]> {
        let end = self.ends.pop_front()?;
        let frame = &self.bytes[self.sent..end];
        self.sent = end;
        Some(frame)
    }

    fn tidy(&mut self) {
        if self.ends.is_empty() {
            self.bytes.clear();
            self.sent = 0;
        }
    }
}

impl Outbox {
    /// Queues one frame of `len` bytes, which `write` appends. Returns how many messages were dropped: queued ones of a
    /// lower or the same class, oldest first, or this one.
    pub(crate) fn push(
        &mut self,
        priority: Priority,
        (len, write): (usize, impl FnOnce(&mut Vec<u8>)),
        limits: OutboxLimits,
    ) -> usize {
        let mut dropped = 0;
        while self.messages > 0
            && (self.own_bytes() + len > limits.bytes_max || self.messages >= limits.messages_max)
        {
            match self.lowest() {
                Some(lowest) if lowest <= priority => self.drop_oldest(lowest),
                _ => return dropped + 1,
            }
            dropped += 1;
        }
        let class = &mut self.classes[priority as usize];
        let end = class.bytes.len() + len;
        write(&mut class.bytes);
        debug_assert_eq!(class.bytes.len(), end);
        class.ends.push_back(end);
        self.bytes += len;
        self.messages += 1;
        dropped
    }

    /// Queues a page of missed messages, after the high class and before the normal one.
    pub(crate) fn set_page(&mut self, frames: &[u8]) {
        self.clear_page();
        self.page.extend_from_slice(frames);
        self.bytes += frames.len();
    }

    /// Drops the page, except a frame that is partly written.
    pub(crate) fn clear_page(&mut self) {
        self.bytes -= self.page.len();
        self.page = Vec::new();
    }

    /// Queues a frame that is older than all unread frames of the peer in logs, after the high class and before pages.
    pub(crate) fn set_aside(&mut self, frame: &LogFrame<'_>) {
        self.aside.extend_from_slice(frame.bytes);
        self.bytes += frame.bytes.len();
        self.aside_frames.push(Aside {
            tag: frame.tag,
            messages: frame.messages,
            end: self.aside.len(),
        });
    }

    /// Queues a frame of no topic behind those set aside.
    pub(crate) fn push_aside(&mut self, frame: &[u8]) {
        self.set_aside(&LogFrame {
            bytes: frame,
            messages: 0,
            tag: Tag {
                topic: NO_TOPIC,
                first: 0,
            },
            except: UserKey::NONE,
        });
    }

    /// Sets aside the frames of the classes below the high one, in the order in which they would be written.
    pub(crate) fn set_lower_aside(&mut self) {
        for priority in [Priority::Normal, Priority::Low, Priority::Background] {
            let mut class = std::mem::take(&mut self.classes[priority as usize]);
            while let Some(frame) = class.pop() {
                self.bytes -= frame.len();
                self.messages -= 1;
                self.push_aside(frame);
            }
        }
    }

    /// Bytes that are set aside.
    pub(crate) fn aside_bytes(&self) -> usize {
        self.aside.len()
    }

    /// Whether a frame of [`Self::push_aside`] is queued.
    pub(crate) fn is_changing_format(&self) -> bool {
        self.aside_frames
            .iter()
            .any(|aside| aside.tag.topic == NO_TOPIC)
    }

    /// Removes and returns the frames set aside of topics for which `keep` is false.
    pub(crate) fn retain_aside(&mut self, mut keep: impl FnMut(TopicId) -> bool) -> Vec<KeptFrame> {
        let (mut kept, mut gone, mut start) = (Vec::new(), Vec::new(), 0);
        self.bytes -= self.aside.len();
        self.aside_frames.retain_mut(|aside| {
            let bytes = &self.aside[start..aside.end];
            start = aside.end;
            let is_kept = aside.tag.topic == NO_TOPIC || keep(aside.tag.topic);
            if is_kept {
                kept.extend_from_slice(bytes);
                aside.end = kept.len();
            } else {
                gone.push(KeptFrame {
                    tag: aside.tag,
                    messages: aside.messages,
                    skipped: 0,
                    bytes: bytes.into(),
                });
            }
            is_kept
        });
        self.aside = kept;
        self.bytes += self.aside.len();
        gone
    }

    /// The topics of the frames set aside, once for each frame.
    pub(crate) fn topics_aside(&self) -> impl Iterator<Item = TopicId> {
        let topics = self.aside_frames.iter().map(|aside| aside.tag.topic);
        topics.filter(|topic| *topic != NO_TOPIC)
    }

    /// The number of the oldest message of a topic that is set aside and not written.
    pub(crate) fn find_aside(&self, topic: TopicId) -> Option<u64> {
        let mut frames = self.aside_frames.iter();
        let oldest = frames.find(|aside| aside.tag.topic == topic);
        oldest.map(|aside| aside.tag.first)
    }

    fn own_bytes(&self) -> usize {
        self.bytes - self.page.len() - self.aside.len()
    }

    /// Whether a pong is queued that a newer one replaces.
    pub(crate) fn has_pong(&self) -> bool {
        !self.pong.is_empty()
    }

    /// Sets the pong that is queued while the socket is full.
    pub(crate) fn set_pong(&mut self, frame: &[u8]) {
        self.bytes -= self.pong.len();
        self.pong.clear();
        self.pong.extend_from_slice(frame);
        self.bytes += frame.len();
    }

    /// The queued bytes in the order in which they are written: critical first.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let [lower @ .., high, critical] = &self.classes;
        let lower = lower.iter().rev().map(Class::waiting);
        let first = [critical.waiting(), &self.pong, high.waiting()];
        first
            .into_iter()
            .chain([&self.aside[..], &self.page])
            .chain(lower)
            .filter(|bytes| !bytes.is_empty())
    }

    /// Removes `written` bytes from the front. The rest of a frame that is partly written moves to `carry`. Returns how
    /// many of the bytes were not from here.
    pub(crate) fn advance(&mut self, mut written: usize, carry: &mut Vec<u8>) -> usize {
        for (rank, class) in self.classes.iter_mut().rev().enumerate() {
            let waiting = class.waiting().len();
            if written >= waiting {
                // Whole, as most are: its frames are not looked at.
                self.bytes -= waiting;
                self.messages -= class.ends.len();
                written -= waiting;
                class.ends.clear();
            }
            while written > 0 {
                let Some(frame) = class.pop() else { break };
                let cut = written.min(frame.len());
                carry.extend_from_slice(&frame[cut..]);
                self.bytes -= frame.len();
                self.messages -= 1;
                written -= cut;
            }
            class.tidy();
            // The pong comes right after the critical class, which is the first.
            if rank == 0 && written > 0 && !self.pong.is_empty() {
                self.bytes -= self.pong.len();
                let cut = written.min(self.pong.len());
                carry.extend_from_slice(&self.pong[cut..]);
                self.pong.clear();
                written -= cut;
            }
            if rank == 1 {
                for frames in [&mut self.aside, &mut self.page] {
                    if written > 0 && !frames.is_empty() {
                        let frames = std::mem::take(frames);
                        self.aside_frames.clear();
                        self.bytes -= frames.len();
                        let cut = written.min(frames.len());
                        carry.extend_from_slice(&frames[cut..]);
                        written -= cut;
                    }
                }
            }
        }
        written
    }

    /// Whether half of a limit is reached.
    pub(crate) fn is_half_full(&self, limits: OutboxLimits) -> bool {
        let bytes = self.own_bytes() + self.aside.len();
        bytes > limits.bytes_max / 2 || self.messages > limits.messages_max / 2
    }

    /// Bytes queued.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes of memory in use, whether filled or not.
    pub(crate) fn held(&self) -> usize {
        let classes = self.classes.iter();
        let bytes: usize = classes
            .map(|class| class.bytes.capacity() + class.ends.capacity() * size_of::<usize>())
            .sum();
        bytes + self.pong.capacity() + self.page.capacity() + self.aside.capacity()
    }

    fn lowest(&self) -> Option<Priority> {
        Priority::ALL
            .into_iter()
            .find(|&class| !self.classes[class as usize].ends.is_empty())
    }

    fn drop_oldest(&mut self, priority: Priority) {
        let class = &mut self.classes[priority as usize];
        let bytes = class.pop().map_or(0, <[u8]>::len);
        // Dropped frames must not accumulate while the socket stays full; compacting only when half is dropped
        // keeps the cost of a drop constant.
        if class.sent * 2 >= class.bytes.len() {
            class.bytes.drain(..class.sent);
            for end in &mut class.ends {
                *end -= class.sent;
            }
            class.sent = 0;
        }
        self.bytes -= bytes;
        self.messages -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits {
        bytes_max: 10,
        messages_max: 4,
    };

    fn push(outbox: &mut Outbox, priority: Priority, frame: &[u8], limits: OutboxLimits) -> usize {
        let write = |out: &mut Vec<u8>| out.extend_from_slice(frame);
        outbox.push(priority, (frame.len(), write), limits)
    }

    fn check(pushes: &[(Priority, &str)], dropped: usize, expected: &str) {
        let mut outbox = Outbox::default();
        let mut given_up = 0;
        for (priority, text) in pushes {
            given_up += push(&mut outbox, *priority, text.as_bytes(), LIMITS);
        }
        let bytes: Vec<u8> = outbox.slices().flatten().copied().collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        assert_eq!(given_up, dropped, "{pushes:?}");
        assert_eq!(outbox.bytes(), expected.len());
    }

    #[test]
    fn the_highest_class_goes_first_and_each_class_keeps_its_order() {
        use Priority::{Background, Critical, High, Low, Normal};
        check(
            &[(Normal, "a"), (High, "b"), (Normal, "c"), (Critical, "d")],
            0,
            "dbac",
        );
        check(&[(Background, "a"), (Low, "b")], 0, "ba");
    }

    #[test]
    fn the_lowest_class_gives_way_first() {
        use Priority::{Background, Critical, High, Low, Normal};
        check(
            &[
                (High, "hhhh"),
                (Background, "b"),
                (Normal, "nnnn"),
                (High, "HH"),
            ],
            1,
            "hhhhHHnnnn",
        );
        check(
            &[
                (Background, "b"),
                (Low, "l"),
                (Normal, "n"),
                (High, "h"),
                (Critical, "c"),
            ],
            1,
            "chnl",
        );
        check(
            &[
                (High, "1"),
                (High, "2"),
                (High, "3"),
                (High, "4"),
                (Low, "5"),
            ],
            1,
            "1234",
        );
        check(
            &[
                (High, "1"),
                (High, "2"),
                (High, "3"),
                (High, "4"),
                (High, "5"),
            ],
            1,
            "2345",
        );
    }

    #[test]
    fn one_message_is_always_taken() {
        check(
            &[(Priority::Normal, "longer than the limit")],
            0,
            "longer than the limit",
        );
    }

    #[test]
    fn lower_frames_set_aside_are_written_before_what_follows() {
        use Priority::{Background, Critical, High, Normal};
        let mut outbox = Outbox::default();
        for (priority, text) in [(Background, "b"), (Normal, "n"), (High, "h"), (Normal, "N")] {
            assert_eq!(push(&mut outbox, priority, text.as_bytes(), LIMITS), 0);
        }
        outbox.set_lower_aside();
        outbox.push_aside(b"F");
        for (priority, text) in [(Normal, "x"), (Critical, "c")] {
            assert_eq!(push(&mut outbox, priority, text.as_bytes(), LIMITS), 0);
        }
        let all: Vec<u8> = outbox.slices().flatten().copied().collect();
        assert_eq!((&*all, outbox.bytes()), (&b"chnNbFx"[..], 7));
        let mut carry = Vec::new();
        assert_eq!(outbox.advance(8, &mut carry), 1);
        assert!(outbox.is_empty() && carry.is_empty() && outbox.messages == 0);
    }

    #[test]
    fn a_pong_that_waits_is_replaced() {
        let mut outbox = Outbox::default();
        push(&mut outbox, Priority::High, b"answer", LIMITS);
        outbox.set_pong(b"first");
        outbox.set_pong(b"new");
        assert_eq!(
            outbox.slices().collect::<Vec<_>>(),
            [&b"new"[..], b"answer"]
        );
        let mut carry = Vec::new();
        assert_eq!(outbox.advance(1, &mut carry), 0);
        assert_eq!(carry, b"ew");
        assert_eq!(outbox.bytes(), 6);
    }

    #[test]
    fn a_cut_at_every_byte_loses_nothing() {
        let whole = b"ccchhnnbb";
        for cut in 0..=whole.len() {
            let mut outbox = Outbox::default();
            for (priority, text) in [
                (Priority::Background, "bb"),
                (Priority::Normal, "nn"),
                (Priority::High, "hh"),
                (Priority::Critical, "ccc"),
            ] {
                push(
                    &mut outbox,
                    priority,
                    text.as_bytes(),
                    OutboxLimits {
                        bytes_max: 99,
                        messages_max: 9,
                    },
                );
            }
            let mut carry = Vec::new();
            assert_eq!(outbox.advance(cut, &mut carry), 0);
            let mut all = whole[..cut].to_vec();
            all.extend(&carry);
            all.extend(outbox.slices().flatten());
            assert_eq!(all, whole, "cut at {cut}");
            let rest = outbox.bytes();
            assert_eq!(outbox.advance(rest + 7, &mut carry), 7);
            assert!(outbox.is_empty());
        }
    }

    #[test]
    fn missed_messages_are_never_dropped_and_follow_the_high_class() {
        let limits = OutboxLimits {
            bytes_max: 100,
            messages_max: 3,
        };
        let mut outbox = Outbox::default();
        assert_eq!(push(&mut outbox, Priority::High, b"confirmed ", limits), 0);
        outbox.set_page(&[b'p'; 1000]);
        for _ in 0..50 {
            let _ = push(&mut outbox, Priority::High, &[b'h'; 40], limits);
            let _ = push(&mut outbox, Priority::Normal, b"n", limits);
        }
        let all: Vec<u8> = outbox.slices().flatten().copied().collect();
        assert_eq!(all.iter().filter(|&&byte| byte == b'p').count(), 1000);
        let page = all.iter().position(|&byte| byte == b'p').unwrap();
        assert!(all[..page].iter().all(|&byte| byte != b'n'));
        assert!(!outbox.is_half_full(OutboxLimits {
            bytes_max: 1000,
            messages_max: 9,
        }));
        // Partly written: the rest of the page goes first next time.
        let mut carry = Vec::new();
        assert_eq!(outbox.advance(page + 10, &mut carry), 0);
        assert_eq!(carry.len(), 990);
        outbox.set_page(b"next");
        outbox.clear_page();
        let left: usize = outbox.slices().map(<[u8]>::len).sum();
        assert_eq!((left, outbox.bytes()), (all.len() - page - 1000, left));
    }
}
