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
    },
    /// Another kind of frame.
    Other,
    /// Malformed, or an event with a missing or wrong field.
    Corrupt,
}
