//! The lanes between shards: bounded, lock-free queues, one wake per batch.
//!
//! Requests and deliveries of an engine ([`Lanes`]) are collected in batches, which are handed over when the turn ends.
//! The request lanes also carry notes, messages between shards that bypass the engines.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use crossbeam::queue::ArrayQueue;

use crate::engine::{Delivery, Lanes, Request};
use crate::id::ShardId;

/// Batches in one lane.
const BATCHES_MAX: usize = 64;

/// A batch is handed over at this size, or at the end of the turn.
const BATCH_BYTES: usize = 128 * 1024;

/// A batch that finds its lane's queue full grows to this size; then the lane reports that it is full. So a lane holds
/// at most `BATCHES_MAX * BATCH_BYTES + BATCH_BYTES_MAX` bytes.
const BATCH_BYTES_MAX: usize = 2 * BATCH_BYTES;

/// Items in a batch, since each takes memory besides its bytes.
const BATCH_ITEMS_MAX: usize = BATCH_BYTES_MAX / 64;

/// A range of the bytes of a [`LaneBatch`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Span {
    start: u32,
    end: u32,
}

/// Items and the bytes they refer to, handed over together.
#[derive(Debug)]
struct LaneBatch<T> {
    /// Oldest first.
    items: Vec<T>,
    /// Orders the hand-overs in the process: an earlier batch has a smaller stamp.
    stamp: u64,
    bytes: Bytes,
}

/// The bytes of a batch.
#[derive(Debug, Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.0.len();
        self.0.extend_from_slice(bytes);
        let at = |index: usize| u32::try_from(index).expect("batches are small");
        Span {
            start: at(start),
            end: at(self.0.len()),
        }
    }

    fn get(&self, span: Span) -> &[u8] {
        let range: Range<usize> = span.start as usize..span.end as usize;
        &self.0[range]
    }
}

impl<T> Default for LaneBatch<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            stamp: 0,
            bytes: Bytes::default(),
        }
    }
}

impl<T> LaneBatch<T> {
    fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes.0.len() >= bytes_max || self.items.len() >= BATCH_ITEMS_MAX
    }
}

/// One entry of a request lane.
#[derive(Debug)]
enum Item<N> {
    /// For the engine.
    Request(Request<Span>),
    /// For the shard itself; `None` once it has been taken.
    Note(Option<N>),
}

/// A batch of requests of one shard.
#[derive(Debug)]
pub struct Requests<N> {
    batch: LaneBatch<Item<N>>,
    /// How many of them have been handled.
    done: usize,
}

/// One of [`Requests`].
#[derive(Debug)]
pub enum Asked<'a, N> {
    /// For the engine.
    Request(Request<&'a [u8]>),
    /// For the shard.
    Note(N),
}

/// A batch of deliveries of one shard.
#[derive(Debug)]
pub struct Deliveries(LaneBatch<Delivery<Span>>);

impl<N> Requests<N> {
    /// Orders the hand-overs in the process: an earlier batch has a smaller stamp.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.batch.stamp
    }

    /// Passes the requests to `take` in order, until it returns `false`; that one is passed again by the next call.
    /// Returns whether all were handled, and whether any was.
    pub fn take_each(&mut self, mut take: impl FnMut(Asked<'_, N>) -> bool) -> (bool, bool) {
        let before = self.done;
        let LaneBatch { items, bytes, .. } = &mut self.batch;
        for item in &mut items[before..] {
            let asked = match item {
                Item::Request(request) => Asked::Request(request.map(|span| bytes.get(span))),
                Item::Note(note) => Asked::Note(note.take().expect("notes are taken once")),
            };
            if !take(asked) {
                return (false, self.done > before);
            }
            self.done += 1;
        }
        (true, true)
    }
}

impl Deliveries {
    /// Passes the deliveries to `take` in order.
    pub fn take_each(self, mut take: impl FnMut(Delivery<&[u8]>)) {
        let LaneBatch { items, bytes, .. } = self.0;
        for item in items {
            take(item.map(|span| bytes.get(span)));
        }
    }
}

/// One direction between two shards, for one kind of message.
#[derive(Debug)]
struct Lane<T> {
    queue: ArrayQueue<LaneBatch<T>>,
    /// The sender has a batch that did not fit, and waits to be woken.
    sender_waits: AtomicBool,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            queue: ArrayQueue::new(BATCHES_MAX),
            sender_waits: AtomicBool::new(false),
        }
    }
}

/// Wakes a shard's task.
#[derive(Debug, Default)]
struct ShardWaker {
    waker: AtomicWaker,
    is_woken: AtomicBool,
}

impl ShardWaker {
    fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }
}

/// All lanes of a process. `N` is the type of notes between shards.
#[derive(Debug)]
pub struct Mesh<N> {
    shards: u16,
    requests: Vec<Lane<Item<N>>>,
    deliveries: Vec<Lane<Delivery<Span>>>,
    wakers: Vec<ShardWaker>,
    /// The next stamp.
    stamp: AtomicU64,
}

impl<N> Mesh<N> {
    /// The lanes between `shards` shards.
    #[must_use]
    pub fn new(shards: u16) -> Arc<Self> {
        let pairs = usize::from(shards) * usize::from(shards);
        Arc::new(Self {
            shards,
            requests: (0..pairs).map(|_| Lane::default()).collect(),
            deliveries: (0..pairs).map(|_| Lane::default()).collect(),
            wakers: (0..shards).map(|_| ShardWaker::default()).collect(),
            stamp: AtomicU64::new(0),
        })
    }

    /// The number of shards.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    fn lane(&self, from: ShardId, to: ShardId) -> usize {
        from.index() * usize::from(self.shards) + to.index()
    }
}

/// One shard's endpoint of the mesh.
#[derive(Debug)]
pub struct Port<N> {
    shard: ShardId,
    mesh: Arc<Mesh<N>>,
    requests: Vec<LaneBatch<Item<N>>>,
    deliveries: Vec<LaneBatch<Delivery<Span>>>,
}

impl<N> Port<N> {
    /// The endpoint of `shard`.
    #[must_use]
    pub fn new(shard: ShardId, mesh: Arc<Mesh<N>>) -> Self {
        let shards = usize::from(mesh.shards);
        Self {
            shard,
            requests: (0..shards).map(|_| LaneBatch::default()).collect(),
            deliveries: (0..shards).map(|_| LaneBatch::default()).collect(),
            mesh,
        }
    }

    /// The number of shards.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.mesh.shards
    }

    /// Whether any batch has not been handed over.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        let requests = self.requests.iter().any(|batch| !batch.items.is_empty());
        requests || self.deliveries.iter().any(|batch| !batch.items.is_empty())
    }

    /// Sends a note to another shard, in order with the requests to it. Never refused.
    pub fn note(&mut self, to: ShardId, note: N) {
        self.requests[to.index()].items.push(Item::Note(Some(note)));
        self.hand_over_full_requests(to);
    }

    fn hand_over_full_requests(&mut self, to: ShardId) {
        let batch = &mut self.requests[to.index()];
        if batch.is_full(BATCH_BYTES) {
            let lane = self.mesh.lane(self.shard, to);
            hand_over(
                batch,
                &self.mesh.requests[lane],
                &self.mesh.wakers[to.index()],
                &self.mesh.stamp,
            );
        }
    }

    /// Ends the turn: hands over the collected batches. A batch whose lane is full stays; this shard is woken when
    /// there is room.
    pub fn hand_over(&mut self) {
        for to in (0..self.mesh.shards).map(ShardId) {
            let (lane, waker) = (
                self.mesh.lane(self.shard, to),
                &self.mesh.wakers[to.index()],
            );
            hand_over(
                &mut self.requests[to.index()],
                &self.mesh.requests[lane],
                waker,
                &self.mesh.stamp,
            );
            hand_over(
                &mut self.deliveries[to.index()],
                &self.mesh.deliveries[lane],
                waker,
                &self.mesh.stamp,
            );
        }
    }

    /// Whether another shard has handed over requests.
    ///
    /// Cost: a look at each lane.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        let from = (0..self.mesh.shards).map(ShardId);
        let mut lanes = from.map(|from| self.mesh.lane(from, self.shard));
        lanes.any(|lane| !self.mesh.requests[lane].queue.is_empty())
    }

    /// The next batch of requests of another shard.
    #[must_use]
    pub fn next_requests(&self, from: ShardId) -> Option<Requests<N>> {
        let batch = self.take(&self.mesh.requests, from)?;
        Some(Requests { batch, done: 0 })
    }

    /// The next batch of deliveries of another shard.
    #[must_use]
    pub fn next_deliveries(&self, from: ShardId) -> Option<Deliveries> {
        self.take(&self.mesh.deliveries, from).map(Deliveries)
    }

    fn take<T>(&self, lanes: &[Lane<T>], from: ShardId) -> Option<LaneBatch<T>> {
        let lane = &lanes[self.mesh.lane(from, self.shard)];
        let batch = lane.queue.pop()?;
        if lane.sender_waits.load(Ordering::Acquire)
            && lane.sender_waits.swap(false, Ordering::AcqRel)
        {
            self.mesh.wakers[from.index()].wake();
        }
        Some(batch)
    }

    /// Waits until another shard has handed over a batch, or has made room for one.
    pub fn poll_woken(&self, cx: &Context<'_>) -> Poll<()> {
        let waker = &self.mesh.wakers[self.shard.index()];
        waker.waker.register(cx.waker());
        if waker.is_woken.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl<N> Lanes for Port<N> {
    fn requests_full(&self, to: ShardId) -> bool {
        self.requests[to.index()].is_full(BATCH_BYTES_MAX)
    }

    fn deliveries_full(&self, to: ShardId) -> bool {
        self.deliveries[to.index()].is_full(BATCH_BYTES_MAX)
    }

    fn request(&mut self, to: ShardId, request: Request<&[u8]>) {
        let LaneBatch { items, bytes, .. } = &mut self.requests[to.index()];
        items.push(Item::Request(request.map(|part| bytes.put(part))));
        self.hand_over_full_requests(to);
    }

    fn deliver(&mut self, to: ShardId, delivery: Delivery<&[u8]>) {
        let batch = &mut self.deliveries[to.index()];
        let LaneBatch { items, bytes, .. } = batch;
        items.push(delivery.map(|part| bytes.put(part)));
        if batch.is_full(BATCH_BYTES) {
            let lane = self.mesh.lane(self.shard, to);
            hand_over(
                batch,
                &self.mesh.deliveries[lane],
                &self.mesh.wakers[to.index()],
                &self.mesh.stamp,
            );
        }
    }
}

fn hand_over<T>(batch: &mut LaneBatch<T>, lane: &Lane<T>, waker: &ShardWaker, stamp: &AtomicU64) {
    if batch.items.is_empty() {
        return;
    }
    // A message that another one caused is in a batch with a larger stamp. A batch that does not fit gets a new
    // stamp at each attempt: messages added to it meanwhile may have been caused by later ones.
    batch.stamp = stamp.fetch_add(1, Ordering::Relaxed) + 1;
    match lane.queue.push(std::mem::take(batch)) {
        Ok(()) => waker.wake(),
        Err(back) => {
            *batch = back;
            lane.sender_waits.store(true, Ordering::Release);
            // The receiver may have made room before it could see the flag.
            if !lane.queue.is_full()
                && let Err(back) = lane.queue.push(std::mem::take(batch))
            {
                *batch = back;
            }
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PublicationKind;
    use crate::id::{Form, UserKey};
    use std::task::Waker;

    fn publish(port: &mut Port<u32>, to: ShardId, number: u32) {
        // Requests and notes share a lane, and therefore an order.
        if number.is_multiple_of(1000) {
            return port.note(to, number);
        }
        port.request(
            to,
            Request::Publish {
                topic: b"topic",
                name: b"",
                kind: PublicationKind::Event,
                form: Form::NEUTRAL,
                data: &number.to_le_bytes(),
                publisher: b"",
                key: b"",
                only_live: false,
                except: UserKey::NONE,
                reply: None,
            },
        );
    }

    fn number(asked: &Asked<'_, u32>) -> u32 {
        match asked {
            Asked::Note(number) => *number,
            Asked::Request(Request::Publish { topic, data, .. }) => {
                assert_eq!(*topic, b"topic");
                u32::from_le_bytes((*data).try_into().unwrap())
            }
            Asked::Request(other) => panic!("{other:?}"),
        }
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
            assert_eq!(b.poll_woken(&cx), Poll::Ready(()));
            assert_eq!(a.poll_woken(&cx), Poll::Pending);
            while let Some(mut requests) = b.next_requests(ShardId(0)) {
                let mut refused = false;
                loop {
                    let (all, _) = requests.take_each(|asked| {
                        // A request for which `take` returned `false` is passed again.
                        if heard % 777 == 7
                            && matches!(asked, Asked::Request(_))
                            && !std::mem::replace(&mut refused, true)
                        {
                            return false;
                        }
                        refused = false;
                        assert_eq!(number(&asked), heard);
                        heard += 1;
                        true
                    });
                    if all {
                        break;
                    }
                }
            }
            if full {
                assert_eq!(a.poll_woken(&cx), Poll::Ready(()), "room is announced");
            }
        }
        assert!(filled > 0, "the test fills the lane");
    }
}
