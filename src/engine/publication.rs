//! A publication, independent of any protocol.

use crate::id::Form;

/// The kind of a publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublicationKind {
    /// An event of a topic.
    Event,
    /// A message to all clients, whatever they subscribed to.
    Broadcast,
    /// A user joined the topic, left it or has other data.
    Presence,
}

/// A publication as an encoder gets it.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// Its kind.
    pub kind: PublicationKind,
    /// The protocol whose words `data` uses.
    pub form: Form,
    /// The topic.
    pub topic: &'a str,
    /// Its name, without control characters; empty for a broadcast without one. Formats escape it, and the topic.
    pub name: &'a str,
    /// A JSON value, passed on byte for byte.
    pub data: &'a [u8],
    /// The user who published it, of 1 to 128 bytes; empty: the application, or a client without a token.
    pub publisher: &'a str,
    /// The topic's epoch.
    pub epoch: u64,
    /// Its offset in the topic; for a presence message its presence number.
    pub offset: u64,
}

/// The name of a publication: the topic's, unless it has its own.
pub(super) fn name_of<'a>(topic: &'a str, name: &'a str, kind: PublicationKind) -> &'a str {
    match name {
        "" if kind != PublicationKind::Broadcast => topic,
        name => name,
    }
}
