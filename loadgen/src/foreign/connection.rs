//! What a protocol knows and says of a connection.

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Subscriber,
    Publisher,
}

/// How a connection gets on with its set-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something else has to come first.
    Wait,
    /// This is to be sent.
    Say(Vec<u8>),
    Ready,
}

/// What stood first in a subscriber's frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// One delivery, or a notice.
    Message(&'a [u8]),
    /// A question, and what to answer.
    Answer(&'static [u8]),
    /// Nothing of interest.
    Nothing,
}
