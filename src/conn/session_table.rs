//! The sessions of a shard's connections, reachable without their tasks: outcomes of the engine are handed to them
//! each flush.

use std::cell::RefCell;

use super::dialect::{Dialect, Dialects};
use super::session::Session;
use crate::engine::Outcome;
use crate::id::{PeerId, Slot};
use crate::shard::Shard;

/// The sessions of a shard's connections, by slot.
#[derive(Debug)]
pub struct SessionTable {
    dialects: Dialects,
    sessions: RefCell<Vec<Option<Box<dyn Session>>>>,
}

impl SessionTable {
    /// An empty table, for connections of these protocols.
    #[must_use]
    pub fn new(dialects: Dialects) -> Self {
        Self {
            dialects,
            sessions: RefCell::default(),
        }
    }

    /// The protocols.
    pub(super) fn dialects(&self) -> &[Box<dyn Dialect>] {
        &self.dialects
    }

    /// Stores the session of a new connection, or returns one that was taken.
    pub(super) fn put(&self, slot: Slot, session: Box<dyn Session>) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions.len() <= slot.index() {
            sessions.resize_with(slot.index() + 1, || None);
        }
        sessions[slot.index()] = Some(session);
    }

    /// Removes the session of a connection, for good or until [`Self::put`].
    pub(super) fn take(&self, slot: Slot) -> Option<Box<dyn Session>> {
        self.sessions.borrow_mut().get_mut(slot.index())?.take()
    }

    /// Hands the engine's outcomes to the sessions of `shard`, including those that these cause.
    ///
    /// Cost: one comparison where there are none.
    pub fn deliver_outcomes(&self, shard: &Shard) {
        while let Some((peer, outcome)) = shard.next_outcome() {
            self.deliver_one(shard, peer, outcome);
        }
    }

    /// As [`Self::deliver_outcomes`], for one peer, before its close frame is queued: confirmations and gaps precede
    /// the messages that are still written to it.
    pub(super) fn deliver_outcomes_to(&self, shard: &Shard, peer: PeerId) {
        while let Some(outcome) = shard.next_outcome_for(peer) {
            self.deliver_one(shard, peer, outcome);
        }
    }

    fn deliver_one(&self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        // The slot of a peer that has left may have been reused.
        if !shard.is_present(peer) {
            return;
        }
        if let Some(mut session) = self.take(peer.slot) {
            session.outcome(shard, peer, outcome);
            self.put(peer.slot, session);
        }
    }
}
