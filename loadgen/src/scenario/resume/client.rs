//! What a subscriber's connection says and understands, without a socket.

use crate::net::End;
use crate::payload::Layout;

use super::books::Books;

/// One subscriber's side of a transport. It lives as long as the subscriber and
/// keeps the position from one connection to the next.
pub(super) trait Client {
    /// The first bytes of a new connection.
    fn begin(&mut self) -> Vec<u8>;

    /// Takes all that is complete from the front of `bytes`, books it, and
    /// appends what has to be answered to `out`. Returns how many bytes it took.
    ///
    /// # Errors
    /// The connection is of no use any more.
    fn take(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        layout: &Layout,
        books: &mut Books,
    ) -> Result<usize, Trouble>;

    /// Whether this connection's subscription is confirmed.
    fn is_subscribed(&self) -> bool;

    /// Whether a next connection could go on where this one ends.
    fn has_position(&self) -> bool;

    /// Messages that confirmations have announced as missed and about to follow.
    fn replayed(&self) -> u64;
}

/// Why a connection is of no use any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server ended or refused it; another one may do.
    Ended(String),
    /// The server does not do what it should.
    Broken(String),
}

impl From<End> for Trouble {
    fn from(end: End) -> Self {
        match end {
            End::Protocol(_) => Self::Broken(end.to_string()),
            _ => Self::Ended(end.to_string()),
        }
    }
}

/// Feeds `stream` to a client of one topic, as connections of one piece and cut in two at every byte:
/// they must agree. Returns the books and what was answered.
#[cfg(test)]
pub(super) fn check_cuts<C: Client>(
    layout: &Layout,
    stream: &[u8],
    new: impl Fn() -> C,
) -> (C, Books, Vec<u8>) {
    let topics = super::topics::Topics::new("t", 1);
    let feed = |cut: usize| {
        let (mut client, mut books, mut out) = (new(), Books::new(&topics), Vec::new());
        client.begin();
        let mut kept = Vec::new();
        for part in [&stream[..cut], &stream[cut..]] {
            kept.extend_from_slice(part);
            let taken = client.take(&kept, &mut out, layout, &mut books).unwrap();
            kept.drain(..taken);
        }
        (client, books, out)
    };
    let whole = feed(stream.len());
    for cut in 0..stream.len() {
        let (client, books, _) = feed(cut);
        assert_eq!(books.received(), whole.1.received(), "cut at {cut}");
        assert_eq!(client.is_subscribed(), whole.0.is_subscribed());
    }
    whole
}
