//! The queues between shards. Bounded, lock-free, one wake per batch.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use crossbeam::queue::ArrayQueue;

use super::{Delivery, Request};
use crate::id::ShardId;

/// Batches in one lane.
const BATCHES_MAX: usize = 64;

/// A batch is handed over when it reaches this size, or when its turn ends.
const BATCH_BYTES: usize = 128 * 1024;

/// A batch that finds its lane full grows to this size; then its lane is full
/// for whoever wants to add to it. So a pair of shards holds at most
/// `BATCHES_MAX * BATCH_BYTES + BATCH_BYTES_MAX` bytes in a lane.
const BATCH_BYTES_MAX: usize = 2 * BATCH_BYTES;

/// Items in a batch, each of which takes memory too.
const BATCH_ITEMS_MAX: usize = BATCH_BYTES_MAX / 64;

/// Bytes in a [`Batch`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Span {
    start: u32,
    end: u32,
}

/// Items and the bytes they speak of, which go from one shard to another at once.
#[derive(Debug)]
pub struct Batch<T> {
    /// What was said, oldest first.
    pub items: Vec<T>,
    /// When it was handed over: of two batches of a process, the one that was first
    /// has the smaller number.
    pub stamp: u64,
    bytes: Vec<u8>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            stamp: 0,
            bytes: Vec::new(),
        }
    }
}

impl<T> Batch<T> {
    /// Copies bytes into the batch.
    pub fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let at = |index: usize| u32::try_from(index).expect("batches are small");
        Span {
            start: at(start),
            end: at(self.bytes.len()),
        }
    }

    /// The bytes of `span`, which this batch gave.
    #[must_use]
    pub fn get(&self, span: Span) -> &[u8] {
        let range: Range<usize> = span.start as usize..span.end as usize;
        &self.bytes[range]
    }

    fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes.len() >= bytes_max || self.items.len() >= BATCH_ITEMS_MAX
    }
}

/// One direction between two shards.
#[derive(Debug)]
struct Lane<T> {
    queue: ArrayQueue<Batch<T>>,
    /// The sender has more than fits and wants to be told of room.
    starved: AtomicBool,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            queue: ArrayQueue::new(BATCHES_MAX),
            starved: AtomicBool::new(false),
        }
    }
}

/// What wakes a shard.
#[derive(Debug, Default)]
struct Bell {
    waker: AtomicWaker,
    rung: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }
}

/// All lanes of a process.
#[derive(Debug)]
pub struct Mesh {
    shards: u16,
    requests: Vec<Lane<Request>>,
    deliveries: Vec<Lane<Delivery>>,
    bells: Vec<Bell>,
    /// The next batch of requests' stamp.
    stamp: AtomicU64,
}

impl Mesh {
    /// The lanes between `shards` shards.
    #[must_use]
    pub fn new(shards: u16) -> Arc<Self> {
        let pairs = usize::from(shards) * usize::from(shards);
        Arc::new(Self {
            shards,
            requests: (0..pairs).map(|_| Lane::default()).collect(),
            deliveries: (0..pairs).map(|_| Lane::default()).collect(),
            bells: (0..shards).map(|_| Bell::default()).collect(),
            stamp: AtomicU64::new(0),
        })
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    fn lane(&self, from: ShardId, to: ShardId) -> usize {
        from.index() * usize::from(self.shards) + to.index()
    }
}

/// A shard's end of the mesh.
#[derive(Debug)]
pub struct Port {
    shard: ShardId,
    mesh: Arc<Mesh>,
    requests: Vec<Batch<Request>>,
    deliveries: Vec<Batch<Delivery>>,
}

impl Port {
    /// The end that belongs to `shard`.
    #[must_use]
    pub fn new(shard: ShardId, mesh: Arc<Mesh>) -> Self {
        let shards = usize::from(mesh.shards);
        Self {
            shard,
            requests: (0..shards).map(|_| Batch::default()).collect(),
            deliveries: (0..shards).map(|_| Batch::default()).collect(),
            mesh,
        }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.mesh.shards
    }

    /// Whether `to` has to catch up before it is asked more.
    #[must_use]
    pub fn requests_full(&self, to: ShardId) -> bool {
        self.requests[to.index()].is_full(BATCH_BYTES_MAX)
    }

    /// Whether `to` has to catch up before it is sent more.
    #[must_use]
    pub fn deliveries_full(&self, to: ShardId) -> bool {
        self.deliveries[to.index()].is_full(BATCH_BYTES_MAX)
    }

    /// Whether anything waits to be handed over.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        let requests = self.requests.iter().any(|batch| !batch.items.is_empty());
        requests || self.deliveries.iter().any(|batch| !batch.items.is_empty())
    }

    /// Asks `to` something at the end of the turn. `make` may put bytes in the
    /// batch. Never refused: whoever can wait looks at [`Self::requests_full`] first.
    pub fn request(&mut self, to: ShardId, make: impl FnOnce(&mut Batch<Request>) -> Request) {
        let batch = &mut self.requests[to.index()];
        let item = make(batch);
        batch.items.push(item);
        if batch.is_full(BATCH_BYTES) {
            let lane = self.mesh.lane(self.shard, to);
            hand_over(
                batch,
                &self.mesh.requests[lane],
                &self.mesh.bells[to.index()],
                &self.mesh.stamp,
            );
        }
    }

    /// Sends `to` something at the end of the turn, as [`Self::request`].
    pub fn deliver(&mut self, to: ShardId, make: impl FnOnce(&mut Batch<Delivery>) -> Delivery) {
        let batch = &mut self.deliveries[to.index()];
        let item = make(batch);
        batch.items.push(item);
        if batch.is_full(BATCH_BYTES) {
            let lane = self.mesh.lane(self.shard, to);
            hand_over(
                batch,
                &self.mesh.deliveries[lane],
                &self.mesh.bells[to.index()],
                &self.mesh.stamp,
            );
        }
    }

    /// Ends the turn: hands over what was asked and sent. What finds no room
    /// stays; the bell rings when there is some.
    pub fn hand_over(&mut self) {
        for to in (0..self.mesh.shards).map(ShardId) {
            let (lane, bell) = (self.mesh.lane(self.shard, to), &self.mesh.bells[to.index()]);
            hand_over(
                &mut self.requests[to.index()],
                &self.mesh.requests[lane],
                bell,
                &self.mesh.stamp,
            );
            hand_over(
                &mut self.deliveries[to.index()],
                &self.mesh.deliveries[lane],
                bell,
                &self.mesh.stamp,
            );
        }
    }

    /// Whether another shard asks something.
    ///
    /// Cost: a look at each lane.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        let from = (0..self.mesh.shards).map(ShardId);
        let mut lanes = from.map(|from| self.mesh.lane(from, self.shard));
        lanes.any(|lane| !self.mesh.requests[lane].queue.is_empty())
    }

    /// The next batch that another shard asks.
    #[must_use]
    pub fn next_request(&self, from: ShardId) -> Option<Batch<Request>> {
        self.take(&self.mesh.requests, from)
    }

    /// The next batch that another shard sends.
    #[must_use]
    pub fn next_delivery(&self, from: ShardId) -> Option<Batch<Delivery>> {
        self.take(&self.mesh.deliveries, from)
    }

    fn take<T>(&self, lanes: &[Lane<T>], from: ShardId) -> Option<Batch<T>> {
        let lane = &lanes[self.mesh.lane(from, self.shard)];
        let batch = lane.queue.pop()?;
        if lane.starved.load(Ordering::Acquire) && lane.starved.swap(false, Ordering::AcqRel) {
            self.mesh.bells[from.index()].ring();
        }
        Some(batch)
    }

    /// Waits until another shard says something or has room again.
    pub fn poll_rung(&self, cx: &Context<'_>) -> Poll<()> {
        let bell = &self.mesh.bells[self.shard.index()];
        bell.waker.register(cx.waker());
        if bell.rung.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

fn hand_over<T>(batch: &mut Batch<T>, lane: &Lane<T>, bell: &Bell, stamp: &AtomicU64) {
    if batch.items.is_empty() {
        return;
    }
    // Whoever hears of what a batch says, and says something because of it, does so in a
    // batch with a larger stamp. One that finds no room keeps its own.
    if batch.stamp == 0 {
        batch.stamp = stamp.fetch_add(1, Ordering::Relaxed) + 1;
    }
    match lane.queue.push(std::mem::take(batch)) {
        Ok(()) => bell.ring(),
        Err(back) => {
            *batch = back;
            lane.starved.store(true, Ordering::Release);
            // The other side may have made room before it could see the mark.
            if !lane.queue.is_full()
                && let Err(back) = lane.queue.push(std::mem::take(batch))
            {
                *batch = back;
            }
            bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::home_of;
    use crate::protocol::events::Kind;
    use std::task::Waker;

    fn publish(port: &mut Port, to: ShardId, number: u32) {
        port.request(to, |batch| {
            let data = batch.put(&number.to_le_bytes());
            Request::Publish {
                topic: Span::default(),
                name: Span::default(),
                kind: Kind::Event,
                data,
                key: Span::default(),
                only_live: false,
                reply: None,
            }
        });
    }

    #[test]
    fn everything_said_arrives_in_order_and_a_full_lane_rings_back() {
        let mesh = Mesh::new(2);
        let (mut a, b) = (
            Port::new(ShardId(0), mesh.clone()),
            Port::new(ShardId(1), mesh),
        );
        let cx = Context::from_waker(Waker::noop());
        let (mut said, mut heard) = (0u32, 0u32);
        let mut filled = 0;
        while heard < 600_000 {
            while !a.requests_full(ShardId(1)) && said < 600_000 {
                publish(&mut a, ShardId(1), said);
                said += 1;
            }
            a.hand_over();
            let full = a.requests_full(ShardId(1));
            filled += u32::from(full);
            assert_eq!(b.poll_rung(&cx), Poll::Ready(()));
            assert_eq!(a.poll_rung(&cx), Poll::Pending);
            while let Some(batch) = b.next_request(ShardId(0)) {
                for item in &batch.items {
                    let Request::Publish { data, .. } = item else {
                        panic!("{item:?}")
                    };
                    assert_eq!(batch.get(*data), heard.to_le_bytes());
                    heard += 1;
                }
            }
            if full {
                assert_eq!(a.poll_rung(&cx), Poll::Ready(()), "room is announced");
            }
        }
        assert!(filled > 0, "the test fills the lane");
    }

    #[test]
    fn homes_are_spread_evenly() {
        for shards in [1, 2, 3, 8, 64] {
            let mut counts = vec![0u32; usize::from(shards)];
            for topic in 0..10_000 {
                counts[home_of(&format!("topic.{topic}"), shards).index()] += 1;
            }
            let mean = 10_000 / u32::from(shards);
            assert!(
                counts.iter().all(|&n| n > mean / 2 && n < mean * 2),
                "{counts:?}"
            );
        }
    }
}
