//! What a foreign protocol and its connections tell each other.

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Subscriber,
    Publisher,
}

/// The next step of a connection's set-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SetupStep {
    /// Wait for the server.
    Wait,
    Send(Vec<u8>),
    Ready,
}

/// The first message of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// A delivery or a notice, for the verifier.
    Message(&'a [u8]),
    /// A ping, and the reply that it requires.
    Reply(&'static [u8]),
    /// A message that requires nothing.
    Nothing,
}
