//! One subscriber's side of a transport, without a socket.

use crate::net::End;
use crate::payload::Layout;

use super::subscriber_verifier::SubscriberVerifier;

/// Writes and parses for one subscriber, over all of its connections: keeps the position from one to
/// the next.
pub(super) trait ResumingClient {
    /// Starts a new connection; returns its request.
    fn begin(&mut self) -> Vec<u8>;

    /// Hands all complete frames or events at the front of `bytes` to `verifier`, and appends
    /// replies to `out`. Returns how many bytes it consumed.
    fn take(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        layout: &Layout,
        verifier: &mut SubscriberVerifier,
    ) -> Result<usize, ConnectionError>;

    /// Whether this connection's subscription is confirmed.
    fn is_subscribed(&self) -> bool;

    /// Whether the next connection can resume where this one ends.
    fn has_position(&self) -> bool;

    /// Missed messages that confirmations announced as about to be replayed.
    fn replayed(&self) -> u64;
}

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConnectionError {
    /// The server ended or refused it; another attempt may succeed.
    Ended(String),
    /// The server broke the protocol: the run has failed.
    Violation(String),
}

impl From<End> for ConnectionError {
    fn from(end: End) -> Self {
        match end {
            End::Protocol(_) => Self::Violation(end.to_string()),
            _ => Self::Ended(end.to_string()),
        }
    }
}

/// Feeds `stream` to a client of one topic, whole and cut at every byte: all must agree. Returns the
/// client, its verifier and its replies.
#[cfg(test)]
pub(super) fn check_cuts<C: ResumingClient>(
    layout: &Layout,
    stream: &[u8],
    new: impl Fn() -> C,
) -> (C, SubscriberVerifier, Vec<u8>) {
    let topics = super::topics::RunTopics::new("t", 1);
    let feed = |cut: usize| {
        let (mut client, mut verifier, mut out) =
            (new(), SubscriberVerifier::new(&topics), Vec::new());
        client.begin();
        let mut kept = Vec::new();
        for part in [&stream[..cut], &stream[cut..]] {
            kept.extend_from_slice(part);
            let taken = client.take(&kept, &mut out, layout, &mut verifier).unwrap();
            kept.drain(..taken);
        }
        (client, verifier, out)
    };
    let whole = feed(stream.len());
    for cut in 0..stream.len() {
        let (client, verifier, _) = feed(cut);
        assert_eq!(verifier.received(), whole.1.received(), "cut at {cut}");
        assert_eq!(client.is_subscribed(), whole.0.is_subscribed());
    }
    whole
}
