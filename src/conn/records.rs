//! What a shard's connections are, reachable without their tasks: outcomes of the engine are handed to their sessions
//! each flush.

use std::cell::RefCell;

use super::dialect::{Dialect, Dialects};
use super::record::Record;
use crate::engine::Outcome;
use crate::id::{PeerId, Slot};
use crate::shard::{ConnectionOrder, OrderReply, OrderResult, Shard};

/// The records of a shard's connections, by slot.
#[derive(Debug)]
pub struct Records {
    dialects: Dialects,
    records: RefCell<Vec<Option<Box<Record>>>>,
}

impl Records {
    /// An empty table, for connections of these protocols.
    #[must_use]
    pub fn new(dialects: Dialects) -> Self {
        Self {
            dialects,
            records: RefCell::default(),
        }
    }

    /// The protocols.
    pub(super) fn dialects(&self) -> &[Box<dyn Dialect>] {
        &self.dialects
    }

    /// Stores the record of a new connection, or returns one that was taken.
    pub(super) fn put(&self, slot: Slot, record: Box<Record>) {
        let mut records = self.records.borrow_mut();
        if records.len() <= slot.index() {
            records.resize_with(slot.index() + 1, || None);
        }
        records[slot.index()] = Some(record);
    }

    /// Removes the record of a connection, for good or until [`Self::put`].
    pub(super) fn take(&self, slot: Slot) -> Option<Box<Record>> {
        self.records.borrow_mut().get_mut(slot.index())?.take()
    }

    /// Hands the engine's outcomes to the sessions of `shard`, including those that these cause.
    ///
    /// Cost: one comparison where there are none.
    pub fn deliver_outcomes(&self, shard: &Shard) {
        while let Some((peer, outcome)) = shard.next_outcome() {
            self.deliver_one(shard, peer, outcome);
        }
    }

    /// Has sessions execute what applications have ordered, and hands them the outcomes of that.
    ///
    /// Cost: one comparison where there is nothing.
    pub fn execute_orders(&self, shard: &Shard) {
        if shard.has_orders() {
            shard.execute_orders(|peer, order, reply| self.execute(shard, peer, (order, reply)));
            self.deliver_outcomes(shard);
        }
    }

    /// As [`Self::deliver_outcomes`], for one peer, before its close frame is queued: confirmations and gaps precede
    /// the messages that are still written to it.
    pub(super) fn deliver_outcomes_to(&self, shard: &Shard, peer: PeerId) {
        shard.execute_orders_of(peer, |peer, order, reply| {
            self.execute(shard, peer, (order, reply))
        });
        while let Some(outcome) = shard.next_outcome_for(peer) {
            self.deliver_one(shard, peer, outcome);
        }
    }

    /// Has the session of a connection say that the gateway lives.
    pub fn beat(&self, shard: &Shard, peer: PeerId) {
        if let Some(mut record) = self.take(peer.slot) {
            record.session.beat(shard, peer);
            self.put(peer.slot, record);
        }
    }

    fn execute(
        &self,
        shard: &Shard,
        peer: PeerId,
        (order, reply): (&ConnectionOrder, &mut OrderReply),
    ) -> OrderResult {
        match self.take(peer.slot) {
            Some(mut record) => {
                let result = record.session.order(shard, peer, order, reply);
                self.put(peer.slot, record);
                result
            }
            None => OrderResult::NotFound,
        }
    }

    fn deliver_one(&self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        // The slot of a peer that has left may have been reused.
        if !shard.is_present(peer) {
            return;
        }
        if let Some(mut record) = self.take(peer.slot) {
            record.session.outcome(shard, peer, outcome);
            self.put(peer.slot, record);
        }
    }
}
