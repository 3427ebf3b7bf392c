//! Lanes in memory: they fill, delay and stop, by the rules of `bus` and `shard/exchange.rs`.

use std::cell::Cell;
use std::collections::VecDeque;

use crate::engine::{Delivery, Lanes, Request};
use crate::id::ShardId;

/// The range of bytes in an [`Item`].
pub(super) type Span = (usize, usize);

/// A message with its bytes.
#[derive(Debug)]
pub(super) struct Item<T> {
    pub(super) message: T,
    pub(super) bytes: Vec<u8>,
}

/// Messages handed over together.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) items: VecDeque<Item<T>>,
    /// Orders the hand-overs; 0 before.
    pub(super) stamp: u64,
}

/// One direction between two engines.
#[derive(Debug)]
struct Lane<T> {
    /// Messages not handed over.
    unsent: Batch<T>,
    queue: VecDeque<Batch<T>>,
    is_stopped: bool,
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Mesh {
    engines: usize,
    items_max: usize,
    batches_max: usize,
    requests: Vec<Lane<Request<Span>>>,
    deliveries: Vec<Lane<Delivery<Span>>>,
    stamp: u64,
    /// Requests so far.
    pub(super) asked: u64,
    /// How often a lane was full.
    pub(super) full: Cell<u64>,
}

/// An engine's endpoint of the lanes.
#[derive(Debug)]
pub(super) struct Port<'a> {
    mesh: &'a mut Mesh,
    from: usize,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            stamp: 0,
        }
    }
}

impl<T> Lane<T> {
    fn new() -> Self {
        Self {
            unsent: Batch::default(),
            queue: VecDeque::new(),
            is_stopped: false,
        }
    }

    fn hand_over(&mut self, batches_max: usize, stamp: &mut u64) {
        if self.unsent.items.is_empty() {
            return;
        }
        *stamp += 1;
        self.unsent.stamp = *stamp;
        if self.queue.len() < batches_max {
            self.queue.push_back(std::mem::take(&mut self.unsent));
        }
    }

    fn is_empty(&self) -> bool {
        self.unsent.items.is_empty() && self.queue.is_empty()
    }
}

impl<T> Item<T> {
    fn new(put: impl FnOnce(&mut dyn FnMut(&[u8]) -> Span) -> T) -> Self {
        let mut bytes = Vec::new();
        let message = put(&mut |part| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            (start, bytes.len())
        });
        Self { message, bytes }
    }
}

impl Mesh {
    pub(super) fn new(engines: usize, items_max: usize, batches_max: usize) -> Self {
        let pairs = engines * engines;
        Self {
            engines,
            items_max,
            batches_max,
            requests: (0..pairs).map(|_| Lane::new()).collect(),
            deliveries: (0..pairs).map(|_| Lane::new()).collect(),
            stamp: 0,
            asked: 0,
            full: Cell::new(0),
        }
    }

    pub(super) fn port(&mut self, from: usize) -> Port<'_> {
        Port { mesh: self, from }
    }

    fn pair(&self, from: usize, to: usize) -> usize {
        from * self.engines + to
    }

    /// Ends a turn of `from`. Batches that find no room stay.
    pub(super) fn hand_over(&mut self, from: usize) {
        for to in 0..self.engines {
            let pair = self.pair(from, to);
            self.requests[pair].hand_over(self.batches_max, &mut self.stamp);
            self.deliveries[pair].hand_over(self.batches_max, &mut self.stamp);
        }
    }

    /// Whether a request of `from` has not been handed over.
    pub(super) fn has_unsent_requests(&self, from: usize) -> bool {
        (0..self.engines).any(|to| !self.requests[self.pair(from, to)].unsent.items.is_empty())
    }

    /// Whether a batch of `from` has found no room: batches that others hand over meanwhile come before it.
    pub(super) fn is_starved(&self, from: usize) -> bool {
        (0..self.engines).any(|to| self.requests[self.pair(from, to)].unsent.stamp != 0)
    }

    /// Whether there is room for the batches of `from`.
    pub(super) fn may_hand_over(&self, from: usize) -> bool {
        (0..self.engines).any(|to| {
            let pair = self.pair(from, to);
            let (asked, sent) = (&self.requests[pair], &self.deliveries[pair]);
            !asked.unsent.items.is_empty() && asked.queue.len() < self.batches_max
                || !sent.unsent.items.is_empty() && sent.queue.len() < self.batches_max
        })
    }

    pub(super) fn next_requests(&mut self, from: usize, to: usize) -> Option<Batch<Request<Span>>> {
        let pair = self.pair(from, to);
        self.requests[pair].queue.pop_front()
    }

    pub(super) fn next_deliveries(
        &mut self,
        from: usize,
        to: usize,
    ) -> Option<Batch<Delivery<Span>>> {
        let pair = self.pair(from, to);
        let lane = &mut self.deliveries[pair];
        match lane.is_stopped {
            true => None,
            false => lane.queue.pop_front(),
        }
    }

    /// Stops the deliveries from one engine to another, or lets them continue.
    pub(super) fn stop(&mut self, from: usize, to: usize, is_stopped: bool) {
        let pair = self.pair(from, to);
        self.deliveries[pair].is_stopped = is_stopped;
    }

    pub(super) fn go_all(&mut self) {
        for lane in &mut self.deliveries {
            lane.is_stopped = false;
        }
    }

    /// Whether another engine has handed over requests to `to`.
    pub(super) fn has_requests(&self, to: usize) -> bool {
        (0..self.engines).any(|from| !self.requests[self.pair(from, to)].queue.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.iter().all(Lane::is_empty) && self.deliveries.iter().all(Lane::is_empty)
    }

    fn note_full(&self, is_full: bool) -> bool {
        self.full.set(self.full.get() + u64::from(is_full));
        is_full
    }
}

impl Lanes for Port<'_> {
    fn requests_full(&self, to: ShardId) -> bool {
        let lane = &self.mesh.requests[self.mesh.pair(self.from, to.index())];
        self.mesh
            .note_full(lane.unsent.items.len() >= self.mesh.items_max)
    }

    fn deliveries_full(&self, to: ShardId) -> bool {
        let lane = &self.mesh.deliveries[self.mesh.pair(self.from, to.index())];
        self.mesh
            .note_full(lane.unsent.items.len() >= self.mesh.items_max)
    }

    fn request(&mut self, to: ShardId, request: Request<&[u8]>) {
        assert_ne!(self.from, to.index(), "an engine asks others only");
        let pair = self.mesh.pair(self.from, to.index());
        self.mesh.asked += 1;
        let lane = &mut self.mesh.requests[pair];
        lane.unsent
            .items
            .push_back(Item::new(|put| request.map(put)));
        if lane.unsent.items.len() * 2 > self.mesh.items_max {
            lane.hand_over(self.mesh.batches_max, &mut self.mesh.stamp);
        }
    }

    fn deliver(&mut self, to: ShardId, delivery: Delivery<&[u8]>) {
        assert_ne!(self.from, to.index(), "an engine sends to others only");
        let pair = self.mesh.pair(self.from, to.index());
        let lane = &mut self.mesh.deliveries[pair];
        lane.unsent
            .items
            .push_back(Item::new(|put| delivery.map(put)));
        if lane.unsent.items.len() * 2 > self.mesh.items_max {
            lane.hand_over(self.mesh.batches_max, &mut self.mesh.stamp);
        }
    }
}
