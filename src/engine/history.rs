//! The history of a topic, kept at its home for subscribers that resume.
//!
//! Messages are kept as published, not as encoded: one copy serves every format. The three operations are append at the
//! end, read from an offset and drop at the front, so a store on disk could implement them.

use std::collections::VecDeque;

use super::publication::PublicationKind;
use super::{Now, Post};
use crate::id::{Form, Position, UserKey};

/// The size at which a segment is full. A message that is larger has a segment of its own.
const SEGMENT_BYTES_MAX: usize = 16 * 1024;

/// The retention limits of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Retention {
    /// Messages; 0 disables history.
    pub messages_max: usize,
    /// Age in milliseconds.
    pub age_ms_max: u64,
}

/// The newest messages of one topic. Their offsets have no holes.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Oldest first.
    segments: VecDeque<HistorySegment>,
    /// Messages in all segments.
    messages: usize,
    /// Bytes of messages in all segments.
    held: usize,
}

#[derive(Debug, Default)]
struct HistorySegment {
    /// The offset of the segment's first message, dropped or not.
    first: u64,
    /// Messages dropped at the front.
    gone: usize,
    bytes: Vec<u8>,
    /// Where each record ends in `bytes`.
    ends: Vec<u32>,
}

/// One retained message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record<'a> {
    /// Its offset in the topic.
    pub offset: u64,
    /// When it was published, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The same on the process's monotonic clock, in milliseconds.
    pub kept_ms: u64,
    /// Its kind.
    pub kind: PublicationKind,
    /// The protocol whose words `data` uses.
    pub form: Form,
    /// Whose connections do not get it.
    pub except: UserKey,
    /// Its name; empty if it is the topic's.
    pub name: &'a str,
    /// See [`Post::publisher`].
    pub publisher: &'a str,
    /// A JSON value.
    pub data: &'a [u8],
}

/// Which messages of a topic's history are requested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryPage {
    /// Where they are.
    pub part: HistoryPart,
    /// How many of them at most.
    pub limit: u32,
    /// Bytes of all of them in JSON, about. The message that reaches this is included.
    pub bytes: usize,
    /// Whose connection asks: messages that leave out this user are not included.
    pub user: UserKey,
}

/// A part of a topic's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HistoryPart {
    /// The oldest messages after this offset.
    After(u64),
    /// The newest messages before this offset.
    Before(u64),
}

/// An excerpt of a topic's history, oldest message first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HistoryExcerpt {
    /// The topic's newest position.
    pub position: Position,
    /// The offset of the oldest message that is retained.
    pub oldest: Option<u64>,
    /// The messages requested.
    pub messages: Vec<RetainedMessage>,
    /// Whether there are more in the requested part: newer ones of [`HistoryPart::After`], older ones of
    /// [`HistoryPart::Before`].
    pub more: bool,
}

/// One message of a [`HistoryExcerpt`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetainedMessage {
    /// Its offset in the topic.
    pub offset: u64,
    /// When it was published, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Its kind.
    pub kind: PublicationKind,
    /// Its name; empty for a broadcast without one.
    pub name: Box<str>,
    /// See [`Post::publisher`].
    pub publisher: Box<str>,
    /// A JSON value.
    pub data: Box<[u8]>,
}

impl Record<'_> {
    /// About how many bytes it takes as an event in JSON.
    pub(super) fn json_bytes(&self) -> usize {
        ENVELOPE_BYTES + 2 * self.name.len() + self.publisher.len() + self.data.len()
    }
}

/// Bytes of an event in JSON besides its data and names, about.
const ENVELOPE_BYTES: usize = 160;

impl HistorySegment {
    fn held(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    fn record(&self, index: usize) -> Record<'_> {
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1] as usize,
        };
        let bytes = &self.bytes[start..self.ends[index] as usize];
        let (time_ms, rest) = bytes.split_at(8);
        let (kept_ms, rest) = rest.split_at(8);
        let (kind, form) = (rest[0], Form(rest[1]));
        let (name_len, rest) = rest[2..].split_at(2);
        let name_len = u16::from_le_bytes([name_len[0], name_len[1]]);
        let (except, rest) = match kind & EXCEPT {
            0 => (UserKey::NONE, rest),
            _ => {
                let (except, rest) = rest.split_at(8);
                let except = except.try_into().expect("eight bytes were split off");
                (UserKey::from_bytes(except), rest)
            }
        };
        let (publisher, rest) = match kind & PUBLISHER {
            0 => (&[][..], rest),
            _ => rest[1..].split_at(usize::from(rest[0])),
        };
        let (name, data) = rest.split_at(usize::from(name_len));
        Record {
            offset: self.first + index as u64,
            time_ms: u64::from_le_bytes(time_ms.try_into().expect("eight bytes were split off")),
            kept_ms: u64::from_le_bytes(kept_ms.try_into().expect("eight bytes were split off")),
            kind: KINDS[usize::from(kind & !(EXCEPT | PUBLISHER))],
            form,
            except,
            name: str::from_utf8(name).expect("it was put as text"),
            publisher: str::from_utf8(publisher).expect("it was put as text"),
            data,
        }
    }
}

/// The stored number of a kind is its index.
const KINDS: [PublicationKind; 3] = [
    PublicationKind::Event,
    PublicationKind::Broadcast,
    PublicationKind::Presence,
];

/// Set in the stored number of a kind: eight bytes say whose connections do not get the message.
const EXCEPT: u8 = 0x80;

/// Set in the stored number of a kind: a byte says how long the publisher's name is, which follows it.
const PUBLISHER: u8 = 0x40;

impl History {
    /// Appends a message, and drops the oldest ones beyond `messages_max`.
    ///
    /// Cost: one copy; an allocation once in a segment.
    pub(super) fn append(&mut self, offset: u64, now: Now, post: &Post<'_>, messages_max: usize) {
        let has_except = !post.except.is_none();
        let has_publisher = !post.publisher.is_empty();
        let optional =
            usize::from(has_except) * 8 + usize::from(has_publisher) + post.publisher.len();
        let size = 20 + optional + post.name.len() + post.data.len();
        let takes = |last: &HistorySegment| last.bytes.len() + size <= SEGMENT_BYTES_MAX;
        if !self.segments.back().is_some_and(takes) {
            self.segments.push_back(HistorySegment {
                first: offset,
                ..HistorySegment::default()
            });
        }
        let last = self.segments.back_mut().expect("one was just made sure of");
        debug_assert_eq!(
            last.first + last.ends.len() as u64,
            offset,
            "offsets have no holes"
        );
        let held = last.held();
        let kind = KINDS.iter().position(|&kind| kind == post.kind);
        let kind = u8::try_from(kind.expect("all kinds are listed")).expect("there are three");
        let name_len = u16::try_from(post.name.len()).expect("names are short");
        last.bytes.extend_from_slice(&now.wall_ms.to_le_bytes());
        last.bytes.extend_from_slice(&now.ms.to_le_bytes());
        let flags = (u8::from(has_except) * EXCEPT) | (u8::from(has_publisher) * PUBLISHER);
        last.bytes.extend_from_slice(&[kind | flags, post.form.0]);
        last.bytes.extend_from_slice(&name_len.to_le_bytes());
        if has_except {
            last.bytes.extend_from_slice(&post.except.to_bytes());
        }
        if has_publisher {
            let len = u8::try_from(post.publisher.len());
            last.bytes.push(len.expect("users have up to 128 bytes"));
            last.bytes.extend_from_slice(post.publisher.as_bytes());
        }
        last.bytes.extend_from_slice(post.name.as_bytes());
        last.bytes.extend_from_slice(post.data);
        let end = u32::try_from(last.bytes.len()).expect("a message is below 4 GiB");
        last.ends.push(end);
        self.held = self.held + last.held() - held;
        self.messages += 1;
        while self.messages > messages_max {
            self.forget_oldest();
        }
    }

    /// The oldest retained message.
    #[must_use]
    pub(super) fn oldest(&self) -> Option<Record<'_>> {
        let segment = self.segments.front()?;
        Some(segment.record(segment.gone))
    }

    /// The oldest retained message published at or after `ms` on the process's clock.
    ///
    /// Cost: a binary search.
    pub(super) fn since(&self, ms: u64) -> Option<Record<'_>> {
        let is_earlier = |segment: &HistorySegment| segment.record(segment.gone).kept_ms < ms;
        let from = self.segments.partition_point(is_earlier).saturating_sub(1);
        let mut segments = self.segments.range(from..);
        segments.find_map(|segment| {
            let (mut first, mut end) = (segment.gone, segment.ends.len());
            while first < end {
                let middle = first.midpoint(end);
                match segment.record(middle).kept_ms < ms {
                    true => first = middle + 1,
                    false => end = middle,
                }
            }
            (first < segment.ends.len()).then(|| segment.record(first))
        })
    }

    /// The retained messages after `offset`, oldest first.
    ///
    /// Cost: a search for the first.
    pub(super) fn after(&self, offset: u64) -> impl Iterator<Item = Record<'_>> {
        let next = offset.saturating_add(1);
        let from = self
            .segments
            .partition_point(|segment| segment.first <= next)
            .saturating_sub(1);
        self.segments.range(from..).flat_map(move |segment| {
            let skip = next.saturating_sub(segment.first);
            let skip = usize::try_from(skip)
                .unwrap_or(usize::MAX)
                .max(segment.gone);
            (skip..segment.ends.len()).map(|index| segment.record(index))
        })
    }

    /// Drops messages published before `ms` on the process's clock.
    pub(super) fn forget_before(&mut self, ms: u64) {
        while self.oldest().is_some_and(|record| record.kept_ms < ms) {
            self.forget_oldest();
        }
    }

    /// Drops the older half, at least one segment.
    pub(super) fn forget_half(&mut self) {
        let keep = self.segments.len() / 2;
        while self.segments.len() > keep {
            self.forget_segment();
        }
    }

    /// Whether no message is retained.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Bytes of memory in use. For few small messages the list of segments takes most of it.
    #[must_use]
    pub(super) fn held(&self) -> usize {
        self.held + self.segments.capacity() * size_of::<HistorySegment>()
    }

    fn forget_oldest(&mut self) {
        let Some(segment) = self.segments.front_mut() else {
            return;
        };
        segment.gone += 1;
        self.messages -= 1;
        if segment.gone == segment.ends.len() {
            self.forget_segment();
        }
    }

    fn forget_segment(&mut self) {
        if let Some(gone) = self.segments.pop_front() {
            self.messages -= gone.ends.len() - gone.gone;
            self.held -= gone.held();
        }
        if self.segments.is_empty() {
            self.segments = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TOPIC_BYTES_MAX;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Act {
        Append(usize),
        ForgetBefore(u64),
        ForgetHalf,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            20 => prop_oneof![0usize..200, 15_000usize..20_000].prop_map(Act::Append),
            1 => (0u64..100).prop_map(Act::ForgetBefore),
            1 => Just(Act::ForgetHalf),
        ];
        prop::collection::vec(act, 1..120)
    }

    proptest! {
        /// What is read is what was appended last, without holes.
        #[test]
        fn a_history_agrees_with_a_list(acts in acts(), messages_max in 1usize..60) {
            let longest = "\u{fc}".repeat(TOPIC_BYTES_MAX / 2);
            let mut history = History::default();
            let mut model: Vec<(u64, u64, Vec<u8>)> = Vec::new();
            let mut offset = 0;
            for act in acts {
                match act {
                    Act::Append(size) => {
                        offset += 1;
                        let data = vec![b'0' + u8::try_from(offset % 10).unwrap(); size];
                        let except = UserKey::of(["", "ann"][usize::from(offset % 3 == 0)]);
                        let publisher = ["", "ann"][usize::from(offset % 5 == 0)];
                        let post = Post { name: &longest, publisher, except, ..Post::event("t", &data) };
                        let now = Now { ms: offset, wall_ms: 7 };
                        history.append(offset, now, &post, messages_max);
                        model.push((offset, offset, data));
                        let surplus = model.len().saturating_sub(messages_max);
                        model.drain(..surplus);
                    }
                    Act::ForgetBefore(time_ms) => {
                        history.forget_before(time_ms);
                        model.retain(|(_, at, _)| *at >= time_ms);
                    }
                    Act::ForgetHalf => {
                        history.forget_half();
                        // The retained messages are the newest ones.
                        let oldest = history.oldest().map(|record| record.offset);
                        model.retain(|(at, ..)| oldest.is_some_and(|oldest| *at >= oldest));
                    }
                }
                prop_assert_eq!(history.is_empty(), model.is_empty());
                let oldest = history.oldest().map(|record| record.offset);
                prop_assert_eq!(oldest, model.first().map(|(at, ..)| *at));
                for after in [0, oldest.unwrap_or(0), offset.saturating_sub(3), offset, offset + 9] {
                    let read: Vec<_> = history
                        .after(after)
                        .map(|record| (record.offset, record.kept_ms, record.data.to_vec()))
                        .collect();
                    let expected: Vec<_> =
                        model.iter().filter(|(at, ..)| *at > after).cloned().collect();
                    prop_assert_eq!(read, expected);
                    let since = history.since(after).map(|record| record.offset);
                    let expected = model.iter().find(|(_, at, _)| *at >= after);
                    prop_assert_eq!(since, expected.map(|(at, ..)| *at));
                }
                let is_whole = |record: Record<'_>| {
                    record.name == longest
                        && record.except.is_none() != record.offset.is_multiple_of(3)
                        && record.publisher.is_empty() != record.offset.is_multiple_of(5)
                };
                prop_assert!(history.after(0).all(is_whole));
            }
            history.forget_before(u64::MAX);
            prop_assert_eq!((history.held(), history.is_empty()), (0, true));
        }
    }
}
