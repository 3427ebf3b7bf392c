//! A topic's publications in one wire format, as contiguous bytes.
//!
//! A position in the log is the count of bytes appended before it since the log began; it never goes back. Frames are
//! never split over segments, so the bytes between two frame boundaries can be handed to a socket as a few slices, and
//! all members at the same position write the same bytes.

use std::collections::{VecDeque, vec_deque};
use std::ops::RangeInclusive;

use crate::id::{TopicId, UserKey};

/// The size at which a segment is full. A frame that is larger has a segment of its own.
const SEGMENT_BYTES_MAX: usize = 64 * 1024;

/// Capacity that an empty log keeps, so that small topics need no allocation. [`Log::release`] frees the rest.
const SEGMENT_BYTES_MIN: usize = 1024;

/// The log of one topic in one wire format.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Oldest first. The last one is appended to.
    segments: VecDeque<Segment>,
    /// The position after the newest frame.
    head: u64,
    /// The number of the next message.
    next: u64,
    /// Bytes of capacity in all segments.
    held: usize,
    /// Frames that somebody skips, in all segments.
    excepts: usize,
}

#[derive(Debug, Default)]
struct Segment {
    /// The position of the first byte.
    start: u64,
    /// The number of the first message. Numbers within a segment have no holes.
    first: u64,
    /// Messages in each frame: 1, or 0 for frames that are no messages; above 1 the segment has a single frame.
    group: u64,
    bytes: Vec<u8>,
    /// Where each frame ends, relative to `start`.
    ends: Vec<u32>,
    /// The topic of each frame; empty unless the log is shared.
    tags: Vec<Tag>,
    /// The frames that somebody skips, by index.
    excepts: Vec<Except>,
}

/// A frame that is not for the connections of a user.
#[derive(Clone, Copy, Debug)]
struct Except {
    frame: u32,
    user: UserKey,
}

/// The origin of a frame in a shared log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tag {
    /// The frame's topic.
    pub(crate) topic: TopicId,
    /// The number of the frame's first message in its topic.
    pub(crate) first: u64,
}

/// A frame of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFrame<'a> {
    pub(crate) bytes: &'a [u8],
    /// Messages in the frame.
    pub(crate) messages: u64,
    /// The frame's topic, and the number of its first message there.
    pub(crate) tag: Tag,
    /// Whose connections skip it.
    pub(crate) except: UserKey,
}

impl LogFrame<'_> {
    /// Whether it is for the connections of `user`.
    pub(crate) fn is_for(&self, user: UserKey) -> bool {
        self.except.is_none() || self.except != user
    }
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The index in `bytes` of a position; that of the first byte if it lies before.
    fn index_of(&self, position: u64) -> usize {
        usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX)
    }

    fn held(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.tags.capacity() * size_of::<Tag>()
            + self.excepts.capacity() * size_of::<Except>()
    }

    fn takes(&self, frame: &[u8], number: u64, group: u64) -> bool {
        self.ends.is_empty()
            || (group <= 1
                && self.group == group
                && self.bytes.len() + frame.len() <= SEGMENT_BYTES_MAX
                && number == self.first + self.messages(self.ends.len()))
    }

    /// Where a frame begins, relative to `start`.
    fn frame_start(&self, frame: usize) -> usize {
        match frame {
            0 => 0,
            frame => self.ends[frame - 1] as usize,
        }
    }

    /// Whose connections skip a frame.
    fn except_of(&self, frame: usize) -> UserKey {
        let found = self
            .excepts
            .binary_search_by_key(&frame, |except| except.frame as usize);
        found.map_or(UserKey::NONE, |at| self.excepts[at].user)
    }

    /// The end of the bytes from `at`, a frame boundary, that `user` is written without a break, and where it goes on.
    ///
    /// Cost: one step for each of the frames behind that somebody skips.
    fn piece(&self, at: usize, user: UserKey) -> (usize, usize) {
        let all = self.bytes.len();
        if self.excepts.is_empty() || user.is_none() {
            return (all, all);
        }
        let first = self
            .excepts
            .partition_point(|except| self.frame_start(except.frame as usize) < at);
        let mut skipped = self.excepts[first..].iter();
        skipped
            .find(|except| except.user == user)
            .map_or((all, all), |except| {
                let frame = except.frame as usize;
                (self.frame_start(frame), self.ends[frame] as usize)
            })
    }

    /// Messages in the first `frames` frames.
    fn messages(&self, frames: usize) -> u64 {
        frames as u64 * self.group
    }
}

/// See [`Log::slices`].
#[derive(Debug)]
pub(crate) struct Slices<'a> {
    segments: vec_deque::Iter<'a, Segment>,
    cursor: u64,
    /// Whether there may be frames that the user skips.
    skips: bool,
    user: UserKey,
    /// The segment that is being divided, and where its next slice begins.
    divided: Option<(&'a Segment, usize)>,
}

impl<'a> Slices<'a> {
    #[cold]
    fn next_piece(&mut self) -> Option<&'a [u8]> {
        loop {
            let (segment, at) = match self.divided.take() {
                Some(divided) => divided,
                None => {
                    let segment = self.segments.next()?;
                    (segment, segment.index_of(self.cursor))
                }
            };
            if at >= segment.bytes.len() {
                continue;
            }
            let (end, next) = segment.piece(at, self.user);
            self.divided = Some((segment, next));
            if end > at {
                return Some(&segment.bytes[at..end]);
            }
        }
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.skips {
            return self.next_piece();
        }
        let cursor = self.cursor;
        self.segments.find_map(|segment| {
            let bytes = segment.bytes.get(segment.index_of(cursor)..)?;
            Some(bytes).filter(|bytes| !bytes.is_empty())
        })
    }
}

impl Log {
    /// Appends one frame with the messages `numbers`. An empty range after the newest number appends a frame that is no
    /// message: skipping it is not reported as a loss.
    ///
    /// Cost: one copy; no allocation once warm. A frame with several messages has
    /// a segment of its own, and so have frames that are none.
    pub(crate) fn append(&mut self, frame: &[u8], numbers: RangeInclusive<u64>) {
        let (number, group) = (*numbers.start(), 1 + numbers.end() - numbers.start());
        debug_assert!(number >= self.next, "message numbers rise");
        if !self
            .segments
            .back()
            .is_some_and(|last| last.takes(frame, number, group))
        {
            self.segments.push_back(Segment::default());
        }
        let head = self.head;
        let last = self
            .segments
            .back_mut()
            .expect("a segment was just made sure of");
        let held = last.held();
        if last.ends.is_empty() {
            last.start = head;
            last.first = number;
            last.group = group;
        }
        last.bytes.extend_from_slice(frame);
        last.ends
            .push(u32::try_from(last.bytes.len()).expect("a frame is below 4 GiB"));
        self.held = self.held + last.held() - held;
        self.head += frame.len() as u64;
        self.next = numbers.end() + 1;
    }

    /// Sets the origin of the newest frame, right after its append. Either all frames of a log have a tag or none.
    pub(crate) fn tag(&mut self, tag: Tag) {
        let last = self.segments.back_mut().expect("a frame was appended");
        let held = last.held();
        last.tags.push(tag);
        self.held = self.held + last.held() - held;
    }

    /// Sets whose connections skip the newest frame, right after its append.
    pub(crate) fn except(&mut self, user: UserKey) {
        let last = self.segments.back_mut().expect("a frame was appended");
        let held = last.held();
        let frame = u32::try_from(last.ends.len() - 1).expect("a segment is below 4 GiB");
        last.excepts.push(Except { frame, user });
        self.held = self.held + last.held() - held;
        self.excepts += 1;
    }

    /// The frames from `cursor`, a frame boundary, to the head, oldest first. Frames without a tag are of `topic`.
    ///
    /// Cost: one step for each.
    pub(crate) fn frames(&self, cursor: u64, topic: TopicId) -> impl Iterator<Item = LogFrame<'_>> {
        let from = self.segment_at(cursor);
        self.segments.range(from..).flat_map(move |segment| {
            let at = offset_in(cursor.max(segment.start), segment.start);
            let first = segment.ends.partition_point(|&end| end <= at);
            (first..segment.ends.len()).map(move |frame| LogFrame {
                bytes: &segment.bytes[segment.frame_start(frame)..segment.ends[frame] as usize],
                messages: segment.group,
                tag: segment.tags.get(frame).copied().unwrap_or_else(|| Tag {
                    topic,
                    first: segment.first + segment.messages(frame),
                }),
                except: segment.except_of(frame),
            })
        })
    }

    /// Sets the number of the next message, which may be smaller than earlier ones.
    pub(crate) fn begin(&mut self, number: u64) {
        self.next = self.next.min(number);
    }

    /// The position after the newest frame.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Bytes of memory in use, whether filled or not.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// The bytes that `user` is written from `cursor` to the head, oldest first: one slice for each segment, and one
    /// more for each frame that it skips. `cursor` must be a frame boundary that has not been trimmed.
    #[inline]
    pub(crate) fn slices(&self, cursor: u64, user: UserKey) -> Slices<'_> {
        Slices {
            segments: self.segments.range(self.segment_at(cursor)..),
            cursor,
            skips: self.excepts > 0 && !user.is_none(),
            user,
            divided: None,
        }
    }

    /// The position behind `written` bytes of [`Self::slices`] and the frames skipped there, and how many of the bytes
    /// were not from here.
    #[inline]
    pub(crate) fn advance(&self, cursor: u64, written: usize, user: UserKey) -> (u64, usize) {
        if self.excepts > 0 && !user.is_none() {
            return self.advance_by_pieces(cursor, written, user);
        }
        let taken = (self.head - cursor).min(written as u64);
        let left = written as u64 - taken;
        (
            cursor + taken,
            usize::try_from(left).expect("at most what was written"),
        )
    }

    #[cold]
    fn advance_by_pieces(&self, cursor: u64, written: usize, user: UserKey) -> (u64, usize) {
        let mut left = written;
        for segment in self.segments.range(self.segment_at(cursor)..) {
            let mut at = segment.index_of(cursor);
            while at < segment.bytes.len() {
                let (end, next) = segment.piece(at, user);
                if left < end - at {
                    return (segment.start + (at + left) as u64, 0);
                }
                left -= end - at;
                at = next;
            }
        }
        (self.head, left)
    }

    /// The rest of the frame that `position` lies in; empty at a boundary.
    pub(crate) fn cut_frame(&self, position: u64) -> &[u8] {
        let Some(segment) = self.segments.get(self.segment_at(position)) else {
            return &[];
        };
        let at = offset_in(position, segment.start);
        match segment.ends.binary_search(&at) {
            _ if at == 0 => &[],
            Ok(_) => &[],
            Err(frame) => segment
                .ends
                .get(frame)
                .map_or(&[], |&end| &segment.bytes[at as usize..end as usize]),
        }
    }

    /// Messages between `cursor`, a frame boundary, and the head.
    pub(crate) fn messages_after(&self, cursor: u64) -> u64 {
        let from = self.segment_at(cursor);
        self.segments
            .range(from..)
            .map(|segment| {
                let at = offset_in(cursor.max(segment.start), segment.start);
                let written = segment.ends.partition_point(|&end| end <= at);
                segment.messages(segment.ends.len() - written)
            })
            .sum()
    }

    /// The oldest frame boundary with at most `bytes_max` bytes, but at least one message if there is one, between
    /// it and the head.
    pub(crate) fn tail(&self, bytes_max: u64) -> u64 {
        let wanted = self.head.saturating_sub(bytes_max);
        let Some(last) = self.segments.back().filter(|last| !last.ends.is_empty()) else {
            return self.head;
        };
        // The newest message is kept, even if frames that are no messages follow it.
        let mut newest = self.segments.iter().rev();
        let newest = newest.find(|segment| segment.group > 0 && !segment.ends.is_empty());
        let last = newest.unwrap_or(last);
        let newest = match last.ends.len() {
            1 => last.start,
            frames => last.start + u64::from(last.ends[frames - 2]),
        };
        let segment = &self.segments[self.segment_at(wanted)];
        let at = offset_in(wanted.max(segment.start), segment.start);
        let boundary = match at {
            0 => segment.start,
            _ => {
                let frame = segment.ends.partition_point(|&end| end < at);
                segment
                    .ends
                    .get(frame)
                    .map_or_else(|| segment.end(), |&end| segment.start + u64::from(end))
            }
        };
        boundary.min(newest)
    }

    /// The oldest frame boundary with at most `messages_max` messages, but at least one if there is one, between it and
    /// the head.
    pub(crate) fn tail_messages(&self, messages_max: u64) -> u64 {
        let mut wanted = messages_max.max(1);
        for segment in self.segments.iter().rev() {
            let frames = segment.messages(segment.ends.len());
            if wanted < frames && segment.group > 1 {
                // A group is kept whole or dropped whole; the newest one is kept.
                let is_newest = segment.end() == self.head;
                return if is_newest {
                    segment.start
                } else {
                    segment.end()
                };
            }
            if wanted < frames {
                let skip = usize::try_from(frames - wanted).expect("fewer than its frames");
                return segment.start + u64::from(segment.ends[skip - 1]);
            }
            wanted -= frames;
            if wanted == 0 {
                return segment.start;
            }
        }
        self.segments
            .front()
            .map_or(self.head, |oldest| oldest.start)
    }

    /// Drops the segments before `cursor`. The last segment's memory is kept for the next append.
    pub(crate) fn trim(&mut self, cursor: u64) {
        while self.segments.len() > 1 && self.segments[0].end() <= cursor {
            let gone = self.segments.pop_front().expect("there are at least two");
            self.held -= gone.held();
            self.excepts -= gone.excepts.len();
        }
        if self.head <= cursor
            && let Some(last) = self.segments.back_mut()
        {
            last.bytes.clear();
            last.ends.clear();
            last.tags.clear();
            self.excepts -= last.excepts.len();
            last.excepts.clear();
        }
    }

    /// Shrinks an empty log to [`SEGMENT_BYTES_MIN`]. Returns whether the log was empty.
    pub(crate) fn release(&mut self) -> bool {
        match self.segments.back_mut() {
            Some(last) if last.ends.is_empty() => {
                last.bytes.shrink_to(SEGMENT_BYTES_MIN);
                last.ends.shrink_to(SEGMENT_BYTES_MIN / 16);
                last.tags.shrink_to(0);
                last.excepts.shrink_to(0);
                self.segments.drain(..self.segments.len() - 1);
                self.held = self.segments[0].held();
                self.excepts = 0;
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// The index of the segment that `position` lies in: the last one that starts at or before it, or the first one if
    /// its segment was trimmed.
    fn segment_at(&self, position: u64) -> usize {
        self.segments
            .partition_point(|segment| segment.start <= position)
            .saturating_sub(1)
    }
}

fn offset_in(position: u64, start: u64) -> u32 {
    u32::try_from(position - start).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A list of all frames with their positions, and who skips them; never trimmed.
    #[derive(Default)]
    struct Model {
        frames: Vec<(u64, Vec<u8>)>,
        excepts: Vec<UserKey>,
    }

    impl Model {
        fn bytes_from(&self, cursor: u64, user: UserKey) -> Vec<u8> {
            let later = self.frames.iter().zip(&self.excepts);
            let later = later.filter(|((at, _), except)| {
                *at >= cursor && (except.is_none() || **except != user)
            });
            later.flat_map(|((_, bytes), _)| bytes.clone()).collect()
        }
    }

    fn users() -> [UserKey; 3] {
        ["", "ann", "bob"].map(UserKey::of)
    }

    fn check(log: &Log, model: &Model, cursor: u64) {
        for user in users() {
            let slices = log.slices(cursor, user);
            let bytes: Vec<u8> = slices.flatten().copied().collect();
            let expected = model.bytes_from(cursor, user);
            assert_eq!(bytes, expected, "bytes from {cursor}");
            assert_eq!(log.advance(cursor, bytes.len() + 7, user), (log.head(), 7));
            // Written in parts, nothing is missing and nothing comes twice.
            let (mut at, mut written) = (cursor, Vec::new());
            while at < log.head() {
                let next: Vec<u8> = log.slices(at, user).flatten().copied().collect();
                let taken = (next.len() / 2).max(1).min(next.len());
                written.extend_from_slice(&next[..taken]);
                let (behind, left) = log.advance(at, taken, user);
                assert_eq!(left, 0);
                let rest = log.cut_frame(behind);
                written.extend_from_slice(rest);
                at = behind + rest.len() as u64;
            }
            assert_eq!(written, expected, "parts from {cursor}");
        }
        let messages = model.frames.iter().filter(|(at, _)| *at >= cursor).count();
        assert_eq!(
            log.messages_after(cursor),
            messages as u64,
            "messages from {cursor}"
        );
        for (at, frame) in model.frames.iter().filter(|(at, _)| *at >= cursor) {
            assert_eq!(log.cut_frame(*at), b"", "a boundary cuts nothing");
            let inside = frame.len() / 2;
            if inside > 0 {
                assert_eq!(log.cut_frame(at + inside as u64), &frame[inside..]);
            }
        }
    }

    proptest! {
        #[test]
        fn a_log_agrees_with_the_list_of_its_frames(
            sizes in prop::collection::vec(prop_oneof![1usize..300, 30_000usize..70_000], 1..40),
            trims in prop::collection::vec(0usize..40, 0..6),
            holes in prop::collection::vec(0usize..40, 0..3),
            excepts in prop::collection::vec(0usize..6, 40),
        ) {
            let (mut log, mut model, mut number) = (Log::default(), Model::default(), 1);
            for (index, size) in sizes.iter().enumerate() {
                number += if holes.contains(&index) { 5 } else { 1 };
                let frame = vec![index as u8; *size];
                model.frames.push((log.head(), frame.clone()));
                log.append(&frame, number..=number);
                let except = users().get(excepts[index]).copied().unwrap_or_default();
                model.excepts.push(except);
                if !except.is_none() {
                    log.except(except);
                }
                if trims.contains(&index) {
                    let cursor = model.frames[index / 2].0;
                    log.trim(cursor);
                    check(&log, &model, cursor);
                }
            }
            let from = trims.iter().filter(|&&t| t < sizes.len()).map(|t| t / 2).max().unwrap_or(0);
            for (at, _) in &model.frames[from..] {
                check(&log, &model, *at);
            }
            check(&log, &model, log.head());
            for bytes_max in [0, 1, 500, 40_000, 200_000] {
                let tail = log.tail(bytes_max);
                let oldest = model.frames[from].0;
                let expected = model.frames[from..]
                    .iter()
                    .map(|(at, _)| *at)
                    .find(|at| log.head() - at <= bytes_max)
                    .unwrap_or_else(|| model.frames.last().unwrap().0);
                prop_assert_eq!(tail.max(oldest), expected.max(oldest));
            }
            for messages_max in [1, 2, 7, 50] {
                let kept = &model.frames[from..];
                let expected = kept[kept.len().saturating_sub(messages_max)].0;
                let tail = log.tail_messages(messages_max as u64);
                prop_assert_eq!(tail.max(kept[0].0), expected);
            }
            log.trim(log.head());
            prop_assert!(log.release());
            prop_assert_eq!(log.excepts, 0);
            prop_assert!(log.held() <= SEGMENT_BYTES_MIN + SEGMENT_BYTES_MIN / 4);
            check(&log, &model, log.head());
        }
    }

    #[test]
    fn frames_that_are_no_messages_do_not_count() {
        let none = |next: u64| next..=next - 1;
        let mut log = Log::default();
        // After message 0: nothing yet.
        log.append(b"join", none(1));
        assert_eq!((log.messages_after(0), log.tail(0)), (0, 0));
        log.append(b"one", 1..=1);
        log.append(b"join", none(2));
        log.append(b"leave", none(2));
        log.append(b"two", 2..=2);
        log.append(b"join", none(3));
        let slices = log.slices(0, UserKey::NONE);
        let bytes: Vec<u8> = slices.flatten().copied().collect();
        assert_eq!(bytes, b"joinonejoinleavetwojoin");
        assert_eq!(log.messages_after(0), 2);
        assert_eq!(log.messages_after(7), 1);
        assert_eq!(log.messages_after(19), 0);
        // What is kept of a log begins with a message.
        assert_eq!(log.tail(0), 16);
        assert_eq!((log.tail_messages(1), log.tail_messages(2)), (16, 4));
    }

    #[test]
    fn a_group_counts_as_the_messages_in_it() {
        let mut log = Log::default();
        log.append(b"one", 1..=1);
        log.append(b"group", 2..=11);
        log.append(b"more", 12..=14);
        log.append(b"last", 15..=15);
        log.append(b"end", 16..=16);
        let cursors = [0, 3, 8, 12, 16, 19];
        let expected = [16, 15, 5, 2, 1, 0];
        for (cursor, messages) in cursors.into_iter().zip(expected) {
            assert_eq!(log.messages_after(cursor), messages, "from {cursor}");
        }
        for (messages_max, cursor) in [(1, 16), (2, 12), (4, 12), (5, 8), (14, 8), (15, 3), (99, 0)]
        {
            assert_eq!(log.tail_messages(messages_max), cursor, "{messages_max}");
        }
        let mut log = Log::default();
        log.append(b"group", 1..=10);
        assert_eq!(log.tail_messages(3), 0);
        assert_eq!(log.cut_frame(2), b"oup");
        log.trim(log.head());
        assert_eq!(log.messages_after(log.head()), 0);
        log.append(b"one", 11..=11);
        log.append(b"two", 12..=12);
        assert_eq!(log.messages_after(5), 2);
    }
}
