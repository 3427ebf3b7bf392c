//! The flush at the end of a turn: outcomes to sessions, requests to other shards, bytes to sockets.

use std::task::Waker;

use super::Disconnect;
use super::{Core, Shard};
use crate::engine::hub::Flush;
use crate::engine::{Asker, FlushBudget, Outcome};
use crate::id::PeerId;

/// The limits of one flush, after which other tasks get their turn: one or two milliseconds.
const BUDGET: FlushBudget = FlushBudget {
    writes_max: 512,
    bytes_max: 4 * 1024 * 1024,
};

/// Tasks that wait for the next flush.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    waiting: Vec<Waker>,
    /// The number of flushes so far.
    flushes: usize,
}

impl Wakers {
    /// Takes the waiting tasks, beginning with another one at each flush: the first one woken may take all the room
    /// (docs/hostile-inputs.md, M09).
    fn take(&mut self) -> Vec<Waker> {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.flushes = self.flushes.wrapping_add(1);
        if !waiting.is_empty() {
            let first = self.flushes % waiting.len();
            waiting.rotate_left(first);
        }
        waiting
    }
}

impl Shard {
    /// Begins a flush at the time of the clock. The caller then hands all of [`Self::next_outcome`] to sessions and calls [`Self::flush`].
    pub fn begin_flush(&self) {
        self.engine(|engine| engine.go_on_waiting());
    }

    /// Takes the next outcome for a peer's session. Outcomes for tasks are passed to them.
    #[must_use]
    pub fn next_outcome(&self) -> Option<(PeerId, Outcome)> {
        loop {
            match self.engine(|engine| engine.next_outcome())? {
                (Asker::Task(ticket), outcome) => self.take_answer(ticket, outcome),
                (Asker::Peer(peer), Outcome::Slow { unsent_bytes }) => {
                    self.disconnect_slow(peer, unsent_bytes);
                }
                (Asker::Peer(peer), Outcome::Gone) => self.disconnect(peer, Disconnect::Gone),
                (Asker::Peer(peer), outcome) => return Some((peer, outcome)),
            }
        }
    }

    /// Takes the next outcome for the session of `peer` only.
    #[must_use]
    pub fn next_outcome_for(&self, peer: PeerId) -> Option<Outcome> {
        loop {
            match self.engine(|engine| engine.next_outcome_for(peer))? {
                Outcome::Slow { unsent_bytes } => self.disconnect_slow(peer, unsent_bytes),
                Outcome::Gone => self.disconnect(peer, Disconnect::Gone),
                outcome => return Some(outcome),
            }
        }
    }

    /// Hands requests and deliveries over to other shards, writes to sockets, and wakes the tasks that wait for a
    /// flush.
    ///
    /// # Panics
    /// If an outcome has not been handed to its session.
    pub fn flush(&self) -> Flush {
        let flush = {
            let mut core = self.core.borrow_mut();
            self.update_gauges(&core);
            let Core {
                engine,
                links,
                port,
                ..
            } = &mut *core;
            port.hand_over();
            let mut turn = engine.turn(self.clock.now(), port, &self.counters);
            let flush = turn.flush(links, BUDGET);
            if engine.take_flush_wanted() {
                self.flusher.raise();
            }
            links.count_into(&self.counters);
            flush
        };
        let waiting = self.wakers.borrow_mut().take();
        for waker in waiting {
            waker.wake();
        }
        flush
    }

    /// Wakes `waker` after the next flush. A flush always follows a wait for room: at the end of this turn, or when
    /// another shard has made room.
    pub fn wake_after_flush(&self, waker: &Waker) {
        self.wakers.borrow_mut().waiting.push(waker.clone());
    }
}
