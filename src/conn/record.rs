//! What a shard's connections are, reachable without their tasks: what the engine has to tell a peer
//! is handed to the peer's session before a flush.

use std::cell::RefCell;

use super::dialect::{Dialect, Dialects};
use super::session::Session;
use crate::engine::Outcome;
use crate::id::{PeerId, Slot};
use crate::shard::Shard;

/// The sessions of a shard's connections, by slot.
#[derive(Debug)]
pub struct Records {
    dialects: Dialects,
    sessions: RefCell<Vec<Option<Box<dyn Session>>>>,
}

impl Records {
    /// None yet, of connections of these protocols.
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

    /// Keeps the session of a new connection, or one that was lent.
    pub(super) fn put(&self, slot: Slot, session: Box<dyn Session>) {
        let mut records = self.sessions.borrow_mut();
        if records.len() <= slot.index() {
            records.resize_with(slot.index() + 1, || None);
        }
        records[slot.index()] = Some(session);
    }

    /// Forgets the session of a connection, or lends it until [`Self::put`].
    pub(super) fn take(&self, slot: Slot) -> Option<Box<dyn Session>> {
        self.sessions.borrow_mut().get_mut(slot.index())?.take()
    }

    /// Tells the sessions of `shard` what the engine has for them, until it has nothing more.
    ///
    /// Cost: one comparison where there is nothing.
    pub fn tell(&self, shard: &Shard) {
        while let Some((peer, outcome)) = shard.next_outcome() {
            self.tell_one(shard, peer, outcome);
        }
    }

    /// As [`Self::tell`], for one peer, which is about to be sent its last frame: what it is written
    /// before that does not come without what has to be told first.
    pub(super) fn tell_peer(&self, shard: &Shard, peer: PeerId) {
        while let Some(outcome) = shard.next_outcome_for(peer) {
            self.tell_one(shard, peer, outcome);
        }
    }

    fn tell_one(&self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        // The slot of one that has left may be another one's.
        if !shard.is_present(peer) {
            return;
        }
        if let Some(mut session) = self.take(peer.slot) {
            session.outcome(shard, peer, outcome);
            self.put(peer.slot, session);
        }
    }
}
