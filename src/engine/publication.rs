//! A publication, in no protocol's words.

use crate::id::Form;

/// What a publication is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublicationKind {
    /// Something that happened.
    Event,
    /// Something for everybody, whatever they subscribed to.
    Broadcast,
    /// Somebody came to the topic or left it.
    Presence,
}

/// A publication as its subscribers see it.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// What it is.
    pub kind: PublicationKind,
    /// In whose words `data` is.
    pub form: Form,
    /// Where it was published.
    pub topic: &'a str,
    /// What it is called, which needs no escaping; empty: a broadcast without a name.
    pub name: &'a str,
    /// A JSON value, passed on byte for byte.
    pub data: &'a [u8],
    /// Which life of the topic it belongs to.
    pub epoch: u64,
    /// Its place in the topic; of a presence message, its number among these.
    pub offset: u64,
}

/// What a publication is called: as its topic, unless it has a name of its own.
pub(super) fn name_of<'a>(topic: &'a str, name: &'a str, kind: PublicationKind) -> &'a str {
    match name {
        "" if kind != PublicationKind::Broadcast => topic,
        name => name,
    }
}
