//! The result of parsing a frame that a subscriber got, in any protocol.

use std::borrow::Cow;
use std::ops::Range;

/// A parsed frame.
#[derive(Debug)]
pub(crate) enum Parsed<'a> {
    /// A well-formed event.
    Event {
        /// The topic's name.
        name: Cow<'a, str>,
        /// Range of its data, from the opening quote or the last byte of the
        /// string's header to the end of the string.
        data: Range<usize>,
        /// Its position, in protocols that say one.
        stamp: Option<Stamp>,
    },
    /// Another kind of frame.
    Other,
    /// Malformed, or an event with a missing or wrong field.
    Corrupt,
}

/// Where a message says that it stands in its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Range of the epoch; offsets of different ones cannot be compared.
    pub(crate) epoch: Range<usize>,
    pub(crate) offset: u64,
    /// Range of the offset, before the data.
    pub(crate) digits: Range<usize>,
}
