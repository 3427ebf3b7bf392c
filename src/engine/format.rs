//! Wire formats: encoders of publications.
//!
//! A format is known here by its number. Protocols register the encoders at startup.

use std::fmt::Debug;
use std::ops::Range;

use super::publication::Publication;
use crate::collections::free_large;
use crate::config::Config;
use crate::id::{FORMATS_MAX, FormatId, Gather};

/// Encodes publications in one wire format. Called once for each message, whatever the number of subscribers.
pub trait Format: Debug {
    /// Appends the frame of a publication, published at `time_ms` since the Unix epoch. For a [`Gather`]ed format it
    /// appends the part: a bare event for a group, an event without its `id` for a stream.
    fn encode(&mut self, publication: &Publication<'_>, time_ms: u64, out: &mut Vec<u8>);

    /// As [`Self::encode`], for a reader that catches up: missed messages are not grouped.
    fn encode_missed(&mut self, publication: &Publication<'_>, time_ms: u64, out: &mut Vec<u8>) {
        self.encode(publication, time_ms, out);
    }

    /// As [`Self::encode`], for a member of a queue group, who gets some of a topic's messages: what a client needs to
    /// resume is left out. It is a frame of its own, in its peer's outbox.
    fn encode_queued(&mut self, publication: &Publication<'_>, time_ms: u64, out: &mut Vec<u8>) {
        self.encode_missed(publication, time_ms, out);
    }

    /// Appends `count` comma-separated events of [`Gather::Group`] as one frame.
    fn group(&mut self, events: &[u8], count: usize, time_ms: u64, out: &mut Vec<u8>) {
        unreachable!("{self:?} gathers no groups: {count} of {events:?} at {time_ms} in {out:?}");
    }

    /// Encodes a message for a single peer, given as JSON. A binary encoding is appended to `packed`. `compress_from`: the
    /// size from which the peer wants it compressed, if it has said.
    fn pack(&mut self, json: &[u8], compress_from: Option<usize>, packed: &mut Vec<u8>) -> Packing {
        let _ = (json, compress_from, packed);
        Packing::Text
    }

    /// Shrinks buffers that a large message has grown.
    fn tidy(&mut self) {}
}

/// The encoding of a message for a single peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// As JSON text.
    Text,
    /// As the bytes that were appended.
    Binary,
}

/// Makes the encoder of a format for one shard.
pub type MakeFormat = fn(&Config) -> Box<dyn Format>;

/// The formats of a process, by number.
#[derive(Default, Debug)]
pub struct FormatRegistry(Vec<(FormatId, MakeFormat)>);

impl FormatRegistry {
    /// Registers a format: how readers' shards gather its messages, and whether its readers can resume.
    ///
    /// # Panics
    /// Too many formats are registered.
    pub fn register(&mut self, gather: Gather, recovers: bool, make: MakeFormat) -> FormatId {
        let number = self.0.len();
        assert!(number < FORMATS_MAX, "at most {FORMATS_MAX} wire formats");
        let id = FormatId {
            number: u8::try_from(number).expect("there are few"),
            gather,
            recovers,
        };
        self.0.push((id, make));
        id
    }

    /// Makes the encoders of one shard.
    #[must_use]
    pub fn make(&self, config: &Config) -> Formats {
        Formats {
            ids: self.0.iter().map(|(id, _)| *id).collect(),
            formats: self.0.iter().map(|(_, make)| make(config)).collect(),
            frame: Vec::new(),
        }
    }
}

/// The encoders of one shard.
#[derive(Default, Debug)]
pub struct Formats {
    ids: Vec<FormatId>,
    formats: Vec<Box<dyn Format>>,
    frame: Vec<u8>,
}

impl Formats {
    /// The numbers of the formats; [`Self::id`] says which is which.
    pub(super) fn numbers(&self) -> Range<usize> {
        0..self.ids.len()
    }

    pub(super) fn id(&self, number: usize) -> FormatId {
        self.ids[number]
    }

    /// The format with this way of gathering, if one is registered.
    pub(super) fn find(&self, gather: Gather) -> Option<FormatId> {
        self.ids.iter().find(|id| id.gather == gather).copied()
    }

    /// The frame of a publication.
    pub(super) fn encode(
        &mut self,
        id: FormatId,
        publication: &Publication<'_>,
        time_ms: u64,
    ) -> &[u8] {
        self.frame.clear();
        self.formats[id.index()].encode(publication, time_ms, &mut self.frame);
        &self.frame
    }

    /// The frame of a publication for a reader that catches up.
    pub(super) fn encode_missed(
        &mut self,
        id: FormatId,
        publication: &Publication<'_>,
        time_ms: u64,
    ) -> &[u8] {
        self.frame.clear();
        self.formats[id.index()].encode_missed(publication, time_ms, &mut self.frame);
        &self.frame
    }

    /// The frame of a publication for a member of a queue group.
    pub(super) fn encode_queued(
        &mut self,
        id: FormatId,
        publication: &Publication<'_>,
        time_ms: u64,
    ) -> &[u8] {
        self.frame.clear();
        self.formats[id.index()].encode_queued(publication, time_ms, &mut self.frame);
        &self.frame
    }

    /// The frame of a group of events.
    pub(super) fn group(
        &mut self,
        id: FormatId,
        events: &[u8],
        count: usize,
        time_ms: u64,
    ) -> &[u8] {
        self.frame.clear();
        self.formats[id.index()].group(events, count, time_ms, &mut self.frame);
        &self.frame
    }

    /// Encodes a message for a single peer: see [`Format::pack`].
    pub fn pack(
        &mut self,
        id: FormatId,
        (json, compress_from): (&[u8], Option<usize>),
        packed: &mut Vec<u8>,
    ) -> Packing {
        self.formats[id.index()].pack(json, compress_from, packed)
    }

    pub(super) fn tidy(&mut self) {
        free_large([&mut self.frame]);
        self.formats.iter_mut().for_each(|format| format.tidy());
    }
}
