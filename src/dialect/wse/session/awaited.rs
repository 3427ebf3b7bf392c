//! What waits for answers of homes.

use super::ack::Ack;
use crate::engine::Ticket;

/// What waits for an answer of homes.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    pub(super) awaited: Awaited,
}

/// What an answer of homes is for.
#[derive(Debug)]
pub(super) enum Awaited {
    /// The topics of every connection.
    Join,
    /// The answer to a subscription.
    Subscribe(Box<Ack>),
    /// The members of a topic, for one that has come.
    Roster(Box<str>),
    /// A part of a topic's history.
    History,
}
