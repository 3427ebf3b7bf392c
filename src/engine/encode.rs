//! How publications are written down in the words of the protocols.

use std::fmt::Debug;

use super::presence::Change;
use crate::id::WireFormat;
use crate::protocol::events::Publication;

/// Writes publications as those who read them want them. Asked once for each format and message,
/// whatever the number of subscribers.
pub trait Encode: Debug {
    /// A publication as its subscribers get it, published at `time_ms` since the Unix epoch. For
    /// streams of events without the `id`; for groups the bare event.
    fn event(&mut self, format: WireFormat, publication: &Publication<'_>, time_ms: u64) -> &[u8];

    /// `count` events of [`WireFormat::EventsBatch`], comma between them, as one frame.
    fn group(&mut self, events: &[u8], count: usize, time_ms: u64) -> &[u8];

    /// The data of the publication that tells of a change of presence.
    fn presence(&mut self, change: &Change) -> Vec<u8>;

    /// Gives back what one large message has left behind.
    fn tidy(&mut self) {}
}
