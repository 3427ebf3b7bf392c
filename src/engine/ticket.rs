//! Requests that wait for an answer, and who asked.

use crate::id::PeerId;

/// Identifies a pending request; unique among those pending.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u32);

/// The recipient of an answer from another shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// A connection.
    Peer(PeerId),
    /// A task, by the ticket of its request.
    Task(Ticket),
}

/// Unanswered requests of one peer: confirmations, rosters and histories. At the limit the peer is not read from until
/// homes have answered.
pub(super) const ANSWERS_MAX: u8 = 16;
