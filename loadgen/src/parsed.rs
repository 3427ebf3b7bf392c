//! What parsing finds in a frame that a subscriber got, in whichever protocol.

use std::borrow::Cow;
use std::ops::Range;

/// What a frame is.
#[derive(Debug)]
pub(crate) enum Parsed<'a> {
    /// A well-formed event.
    Event {
        /// Its topic.
        name: Cow<'a, str>,
        /// Where its data is, from the opening quote or the last byte of the
        /// string's header to its end.
        data: Range<usize>,
    },
    /// Another kind of frame.
    Other,
    /// Not of the format, or an event that lacks something.
    Corrupt,
}
