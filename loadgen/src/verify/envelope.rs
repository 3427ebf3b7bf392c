//! Parses event frames, and learns the bytes before `data`.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::number;
use crate::parsed::Parsed;
use crate::payload::{Format, MAGIC};

/// An event frame (docs/protocol.md, "publish, and events"), its data untouched.
#[derive(Debug, Deserialize)]
struct EventFrame<'a, D> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    data: D,
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
}

impl<D> EventFrame<'_, D> {
    fn is_well_formed(&self) -> bool {
        self.kind == "event"
            && self.event == self.event_type
            && !self.event_id.is_empty()
            && self.timestamp.ends_with('Z')
    }
}

/// The type of any frame.
#[derive(Debug, Deserialize)]
struct FrameType<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
}

/// Parses a frame's payload.
pub(crate) fn parse(format: Format, payload: &[u8]) -> Parsed<'_> {
    let (event, kind) = match format {
        Format::Json => (
            json_event(payload),
            serde_json::from_slice::<FrameType<'_>>(payload).ok(),
        ),
        Format::Msgpack => (
            msgpack_event(payload),
            rmp_serde::from_slice::<FrameType<'_>>(payload).ok(),
        ),
    };
    match (event, kind) {
        (Some((name, data)), _) => Parsed::Event {
            name,
            data,
            stamp: None,
        },
        // An event whose type was changed still carries a payload.
        (None, Some(FrameType { kind }))
            if kind != "event" && memmem::find(payload, &MAGIC).is_none() =>
        {
            Parsed::Other
        }
        _ => Parsed::Corrupt,
    }
}

/// Parses a Server-Sent Event from after its id: its name, then one line of data.
pub(crate) fn parse_sse(text: &[u8]) -> Parsed<'_> {
    let lines = text
        .strip_suffix(b"\n")
        .map(|lines| lines.split(|&byte| byte == b'\n').collect::<Vec<_>>());
    let Some([name, data]) = lines.as_deref() else {
        return Parsed::Corrupt;
    };
    match (name.strip_prefix(b"event: "), data.strip_prefix(b"data: ")) {
        (Some(b"gap"), Some(_)) => Parsed::Other,
        (Some(name), Some(data)) => Parsed::Event {
            name: String::from_utf8_lossy(name),
            data: text.len() - 1 - data.len()..text.len() - 1,
            stamp: None,
        },
        _ => Parsed::Corrupt,
    }
}

fn json_event(text: &[u8]) -> Option<(Cow<'_, str>, Range<usize>)> {
    let event: EventFrame<'_, &RawValue> = serde_json::from_slice(text).ok()?;
    let data = event.data.get();
    let start = data.as_ptr().addr() - text.as_ptr().addr();
    event
        .is_well_formed()
        .then_some((event.event, start..start + data.len()))
}

fn msgpack_event(payload: &[u8]) -> Option<(Cow<'_, str>, Range<usize>)> {
    let event: EventFrame<'_, &str> = rmp_serde::from_slice(payload).ok()?;
    let start = event.data.as_ptr().addr() - payload.as_ptr().addr();
    // The parser ignores trailing bytes; the timestamp is the last value.
    let is_whole = payload.ends_with(event.timestamp.as_bytes());
    (event.is_well_formed() && is_whole)
        .then_some((event.event, start - 1..start + event.data.len()))
}

/// The bytes up to the first one of `data`, per topic, as learned from its first event, without
/// those of its offset if it has one. Their length is the same for all topics, because names have a
/// fixed width.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// The length of every prefix, 0 before the first was learned.
    length: usize,
    /// Where the offset is cut out of a prefix, 0 if there is none.
    offset_at: usize,
    prefixes: Vec<u8>,
    learned: Vec<bool>,
}

impl Envelope {
    pub(crate) fn new(topics: usize) -> Self {
        Self {
            length: 0,
            offset_at: 0,
            prefixes: Vec::new(),
            learned: vec![false; topics],
        }
    }

    /// The offset in a frame and its range, which is empty where frames have none.
    #[inline]
    pub(crate) fn offset(&self, format: Format, text: &[u8]) -> Option<(u64, Range<usize>)> {
        let at = self.offset_at;
        if at == 0 {
            return Some((0, 0..0));
        }
        let (offset, length) = number::leading(format, text.get(at..)?)?;
        Some((offset, at..at + length))
    }

    /// Where data starts in a frame with this offset, 0 before the first was learned.
    #[inline]
    pub(crate) fn data_at(&self, offset: &Range<usize>) -> usize {
        self.length.saturating_sub(1) + offset.len()
    }

    /// Whether the frame begins with the prefix at `range` around its offset, up to the first byte of
    /// its data.
    #[inline]
    pub(crate) fn matches(&self, range: &Range<usize>, text: &[u8], offset: &Range<usize>) -> bool {
        let (head, rest) = self.prefixes[range.clone()].split_at(self.offset_at);
        text[..offset.start] == *head && text[offset.end..=self.data_at(offset)] == *rest
    }

    /// Where the prefix of `topic` is; none before it was learned.
    #[inline]
    pub(crate) fn range(&self, topic: usize) -> Option<Range<usize>> {
        let start = topic * self.length;
        self.learned[topic].then(|| start..start + self.length)
    }

    /// Learns the bytes up to the first one of the data of `topic`, those before its offset (none where
    /// frames have none) and those after it. A prefix of other lengths than the first is not stored; such
    /// frames are parsed whole.
    pub(crate) fn learn(&mut self, topic: usize, head: &[u8], rest: &[u8]) {
        let length = head.len() + rest.len();
        if self.length == 0 {
            self.length = length;
            self.offset_at = head.len();
            self.prefixes = vec![0; self.learned.len() * length];
        }
        // Learned even when the length differs, so that the stream can be selected:
        // its prefix is all zeros then and never matches.
        self.learned[topic] = true;
        if self.length == length && self.offset_at == head.len() {
            let (first, second) =
                self.prefixes[topic * length..][..length].split_at_mut(head.len());
            first.copy_from_slice(head);
            second.copy_from_slice(rest);
        }
    }
}
