//! The end of a turn: what has to be told, handed over and written.

use std::task::Waker;

use super::Disconnect;
use super::{Core, Shard};
use crate::engine::hub::Flush;
use crate::engine::{Asker, FlushBudget, Outcome};
use crate::id::PeerId;

/// What one flush writes before other work gets its turn: a millisecond or two.
const BUDGET: FlushBudget = FlushBudget {
    writes_max: 512,
    bytes_max: 4 * 1024 * 1024,
};

/// Tasks that wait until the next flush.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    waiting: Vec<Waker>,
    /// How many flushes there were.
    flushes: usize,
}

impl Wakers {
    /// Those who wait, each of them the first one in its turn: whoever is woken first takes the room
    /// that there is (hostile-inputs.md M09).
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
    /// Begins the end of a turn. Whoever calls this hands over what [`Self::next_outcome`] gives, and
    /// then calls [`Self::flush`].
    pub fn begin_flush(&self) {
        self.clock.refresh();
        self.engine(|engine| engine.begin_ahead());
    }

    /// What a peer's session has to be told next. What is for tasks is given to them.
    #[must_use]
    pub fn next_outcome(&self) -> Option<(PeerId, Outcome)> {
        loop {
            match self.engine(|engine| engine.next_outcome())? {
                (Asker::Task(ticket), outcome) => self.take_answer(ticket, outcome),
                (Asker::Peer(peer), Outcome::Slow) => self.disconnect(peer, Disconnect::Slow),
                (Asker::Peer(peer), Outcome::Gone) => self.disconnect(peer, Disconnect::Gone),
                (Asker::Peer(peer), outcome) => return Some((peer, outcome)),
            }
        }
    }

    /// What the session of `peer` has to be told next, whatever waits for others.
    #[must_use]
    pub fn next_outcome_for(&self, peer: PeerId) -> Option<Outcome> {
        loop {
            match self.engine(|engine| engine.next_outcome_for(peer))? {
                Outcome::Slow => self.disconnect(peer, Disconnect::Slow),
                Outcome::Gone => self.disconnect(peer, Disconnect::Gone),
                outcome => return Some(outcome),
            }
        }
    }

    /// Hands over what other shards are to know and writes what waits.
    ///
    /// # Panics
    /// If an outcome has not been handed over.
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

    /// Wakes `waker` after the next flush. There will be one: whatever a task waits for ends with a
    /// flush, be it that of this turn or the one after another shard has made room.
    pub fn wake_after_flush(&self, waker: &Waker) {
        self.wakers.borrow_mut().waiting.push(waker.clone());
    }
}
