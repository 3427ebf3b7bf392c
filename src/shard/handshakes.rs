//! Accepted sockets that are not connections yet. At the limit the oldest is evicted.

use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use super::{Core, Shard, Signal};
use crate::metrics::Refused;

/// An accepted socket that is not a connection yet, or is within its TLS handshake. Dropping it ends that, however it
/// went.
#[derive(Debug)]
pub struct Handshake {
    shard: Rc<Shard>,
    /// Raised when it is evicted. `None` while this is dropped.
    evicted: Option<Rc<Signal>>,
    all: fn(&mut Core) -> &mut Handshakes,
}

impl Handshake {
    /// Registers one of `all` in `shard`, of which the process may have `open_max`, and evicts the oldest beyond that.
    pub(super) fn begin(
        shard: &Rc<Shard>,
        open_max: usize,
        all: fn(&mut Core) -> &mut Handshakes,
    ) -> Self {
        let mut core = shard.core.borrow_mut();
        let open_max = open_max / usize::from(core.port.shards());
        let (evicted, had_to_evict) = all(&mut core).enter(open_max.max(1));
        if had_to_evict {
            shard.counters.refused[Refused::Evicted as usize].add(1);
        }
        shard.update_gauges(&core);
        Self {
            shard: shard.clone(),
            evicted: Some(evicted),
            all,
        }
    }

    /// Ready when it is evicted.
    pub fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        match &self.evicted {
            Some(evicted) => evicted.poll_raised(cx),
            None => Poll::Pending,
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        // First, since what is over is not evicted.
        self.evicted = None;
        let mut core = self.shard.core.borrow_mut();
        (self.all)(&mut core).leave();
        self.shard.update_gauges(&core);
    }
}

/// The handshakes of a shard, oldest first.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    queue: VecDeque<Weak<Signal>>,
    open: usize,
}

/// Entries of finished handshakes that may stay in the queue, in addition to one per open handshake.
const SLACK: usize = 64;

impl Handshakes {
    /// Registers a handshake. Evicts the oldest if more than `open_max` are open; returns whether it did.
    pub(super) fn enter(&mut self, open_max: usize) -> (Rc<Signal>, bool) {
        let evicted = Rc::new(Signal::default());
        if self.queue.len() >= self.open * 2 + SLACK {
            // `leave` removes finished ones from the front only: a kept-alive connection at the front must not let
            // those behind it accumulate.
            self.queue.retain(|one| one.strong_count() > 0);
        }
        self.queue.push_back(Rc::downgrade(&evicted));
        self.open += 1;
        if self.open <= open_max {
            return (evicted, false);
        }
        while let Some(oldest) = self.queue.pop_front() {
            if let Some(oldest) = oldest.upgrade() {
                oldest.raise();
                break;
            }
        }
        (evicted, true)
    }

    /// Ends a handshake, whose signal has been dropped.
    pub(super) fn leave(&mut self) {
        self.open -= 1;
        while self
            .queue
            .front()
            .is_some_and(|oldest| oldest.strong_count() == 0)
        {
            self.queue.pop_front();
        }
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    #[test]
    fn one_that_stays_does_not_keep_those_that_are_over() {
        let mut handshakes = Handshakes::default();
        let (_stays, _) = handshakes.enter(1000);
        for _ in 0..10_000 {
            drop(handshakes.enter(1000));
            handshakes.leave();
            assert!(handshakes.queue.len() < 1 + SLACK * 2);
        }
    }

    #[test]
    fn h05_the_oldest_goes_first() {
        let mut handshakes = Handshakes::default();
        let cx = Context::from_waker(Waker::noop());
        let (done, _) = handshakes.enter(2);
        let (oldest, _) = handshakes.enter(2);
        drop(done);
        handshakes.leave();
        let (newer, evicted) = handshakes.enter(2);
        assert!(!evicted && oldest.poll_raised(&cx).is_pending());
        let (_newest, evicted) = handshakes.enter(2);
        assert!(
            evicted && oldest.poll_raised(&cx).is_ready() && newer.poll_raised(&cx).is_pending()
        );
        assert_eq!(handshakes.open(), 3);
    }
}
