//! What stands around `data` in an event frame.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::payload::MAGIC;

/// An event frame (spec/events.md 3.5), its data untouched.
#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
}

/// What a frame's text is.
#[derive(Debug)]
pub(crate) enum Parsed<'a> {
    /// A well-formed event.
    Event {
        name: Cow<'a, str>,
        data: &'a [u8],
        /// Where its data starts.
        data_at: usize,
    },
    /// Another kind of frame.
    Other,
    /// Not JSON, or an event that lacks something.
    Corrupt,
}

/// Parses a frame's text.
pub(crate) fn parse(text: &[u8]) -> Parsed<'_> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
    }
    if let Ok(event) = serde_json::from_slice::<Event<'_>>(text) {
        let well_formed = event.kind == "event"
            && event.event == event.event_type
            && !event.event_id.is_empty()
            && event.timestamp.ends_with('Z');
        if well_formed {
            let data = event.data.get().as_bytes();
            return Parsed::Event {
                name: event.event,
                data,
                data_at: data.as_ptr().addr() - text.as_ptr().addr(),
            };
        }
    }
    match serde_json::from_slice::<Kind<'_>>(text) {
        // A changed byte in the type of an event leaves its other fields.
        Ok(Kind { kind }) if kind != "event" && !contains(text, &MAGIC[1..]) => Parsed::Other,
        _ => Parsed::Corrupt,
    }
}

/// Parses an event of a stream behind its id: its name, then one line of data.
pub(crate) fn parse_stream(text: &[u8]) -> Parsed<'_> {
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
            data,
            data_at: data.as_ptr().addr() - text.as_ptr().addr(),
        },
        _ => Parsed::Corrupt,
    }
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

/// The bytes before `data`, per topic, as a first event showed them. Their
/// length is the same for all topics: names have a fixed width.
#[derive(Debug)]
pub(crate) struct Envelope {
    data_at: usize,
    prefixes: Vec<u8>,
    learned: Vec<bool>,
}

impl Envelope {
    pub(crate) fn new(topics: usize) -> Self {
        Self {
            data_at: 0,
            prefixes: Vec::new(),
            learned: vec![false; topics],
        }
    }

    /// Where data starts in every frame, 0 before the first was learned.
    #[inline]
    pub(crate) fn data_at(&self) -> usize {
        self.data_at
    }

    #[inline]
    pub(crate) fn prefix(&self, range: &Range<usize>) -> &[u8] {
        &self.prefixes[range.clone()]
    }

    /// Where the prefix of `topic` is; none before it was learned.
    #[inline]
    pub(crate) fn range(&self, topic: usize) -> Option<Range<usize>> {
        let start = topic * self.data_at;
        self.learned[topic].then(|| start..start + self.data_at)
    }

    /// Remembers what stood before the data of `topic`. A length that differs
    /// from the first one learned is ignored; such frames are parsed whole.
    pub(crate) fn learn(&mut self, topic: usize, prefix: &[u8]) {
        if self.data_at == 0 {
            self.data_at = prefix.len();
            self.prefixes = vec![0; self.learned.len() * prefix.len()];
        }
        // Learned even when the length differs, to let the event be selected:
        // its prefix is all zeros then and never matches.
        self.learned[topic] = true;
        if self.data_at == prefix.len() {
            let start = topic * prefix.len();
            self.prefixes[start..start + prefix.len()].copy_from_slice(prefix);
        }
    }
}
