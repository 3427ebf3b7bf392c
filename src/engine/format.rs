//! Wire formats: how publications are written for those who read them.
//!
//! A format is a number. What it looks like is its protocol's, which registers it at the start.

use std::fmt::Debug;
use std::ops::Range;

use super::publication::Publication;
use crate::config::Config;
use crate::id::{FORMATS_MAX, FormatId, Gather};

/// Writes publications in one wire format. Asked once for each message, whatever the number of subscribers.
pub trait Format: Debug {
    /// Appends the frame of a publication, published at `time_ms` since the Unix epoch. What is put together
    /// where it is read ([`Gather`]) comes as it is in there: bare in a group, without the `id` in a stream.
    fn encode(&mut self, publication: &Publication<'_>, time_ms: u64, out: &mut Vec<u8>);

    /// As [`Self::encode`], for a reader that missed it: groups are made of what is new.
    fn encode_missed(&mut self, publication: &Publication<'_>, time_ms: u64, out: &mut Vec<u8>) {
        self.encode(publication, time_ms, out);
    }

    /// Appends `count` events of [`Gather::Group`], comma between them, as one frame.
    fn group(&mut self, events: &[u8], count: usize, time_ms: u64, out: &mut Vec<u8>) {
        unreachable!("{self:?} gathers no groups: {count} of {events:?} at {time_ms} in {out:?}");
    }

    /// How a message for one peer alone, which is given as JSON, is sent in this format; where it is not text,
    /// it is appended to `packed`.
    fn pack(&mut self, json: &[u8], packed: &mut Vec<u8>) -> Packing {
        let _ = (json, packed);
        Packing::Text
    }

    /// Gives back what one large message has left behind.
    fn tidy(&mut self) {}
}

/// How a message for one peer alone is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// As JSON text.
    Text,
    /// As the bytes that were appended.
    Binary,
}

/// Makes a format for one shard.
pub type MakeFormat = fn(&Config) -> Box<dyn Format>;

/// The formats of a process, by number.
#[derive(Default, Debug)]
pub struct FormatRegistry(Vec<(FormatId, MakeFormat)>);

impl FormatRegistry {
    /// Registers a format: how its messages are put together where they are read, and whether a reader may come
    /// back for what it missed.
    ///
    /// # Panics
    /// There are as many as there may be.
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

    /// The formats of one shard.
    #[must_use]
    pub fn make(&self, config: &Config) -> Formats {
        Formats {
            ids: self.0.iter().map(|(id, _)| *id).collect(),
            formats: self.0.iter().map(|(_, make)| make(config)).collect(),
            frame: Vec::new(),
        }
    }
}

/// The formats of one shard.
#[derive(Default, Debug)]
pub struct Formats {
    ids: Vec<FormatId>,
    formats: Vec<Box<dyn Format>>,
    frame: Vec<u8>,
}

/// A buffer that has grown beyond this is given back after use.
const FRAME_BYTES_MAX: usize = 256 * 1024;

impl Formats {
    /// The numbers of the formats; [`Self::id`] says which is which.
    pub(super) fn numbers(&self) -> Range<usize> {
        0..self.ids.len()
    }

    pub(super) fn id(&self, number: usize) -> FormatId {
        self.ids[number]
    }

    /// The format whose messages are put together so, if there is one.
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

    /// The frame of a publication for a reader that missed it.
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

    /// How a message for one peer alone is sent in a format: see [`Format::pack`].
    pub fn pack(&mut self, id: FormatId, json: &[u8], packed: &mut Vec<u8>) -> Packing {
        self.formats[id.index()].pack(json, packed)
    }

    pub(super) fn tidy(&mut self) {
        if self.frame.capacity() > FRAME_BYTES_MAX {
            self.frame = Vec::new();
        }
        self.formats.iter_mut().for_each(|format| format.tidy());
    }
}
