//! Who asks, and under which number the answer comes.

use crate::id::PeerId;

/// The number of something that waits for an answer, unique among those that wait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u32);

/// Who waits for an answer that crosses places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// A connection.
    Peer(PeerId),
    /// A task, which knows its ticket.
    Task(Ticket),
}
