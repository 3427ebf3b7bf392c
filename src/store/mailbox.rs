//! What waits for one connection, between the store's thread, which fills it, and the connection, which takes from it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use crossbeam::queue::SegQueue;

use super::message::Delivery;

/// Messages that wait in one mailbox. Beyond it the rest waits in the database.
pub const MAILBOX_LEN_MAX: usize = 256;

/// Bytes of those messages, but for the last of them.
const MAILBOX_BYTES_MAX: usize = 256 * 1024;

/// What a message that all mailboxes share counts for in each of them. Its copy is counted besides, once.
const SHARED_BYTES: usize = 64;

/// The mailbox of a connection. It is attached to the store with [`Store::attach`](super::Store::attach).
#[derive(Debug)]
pub struct Mailbox {
    /// Tells it from all others of the process.
    number: u64,
    /// With the bytes that each counts for in the memory of the process.
    waiting: SegQueue<(Delivery, usize)>,
    len: AtomicUsize,
    bytes: AtomicUsize,
    owner: OnceLock<Owner>,
    is_behind: AtomicBool,
    is_replaced: AtomicBool,
    is_detached: AtomicBool,
    is_refill_asked: AtomicBool,
    waker: AtomicWaker,
}

/// Whose mailbox it is, once it is attached.
#[derive(Debug)]
pub(super) struct Owner {
    /// The user's id.
    pub user: Arc<str>,
    /// The id of the connection's row.
    pub session: Box<str>,
    /// Bytes in the mailboxes of the process.
    pub memory: Arc<AtomicUsize>,
}

impl Mailbox {
    /// An empty one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            waiting: SegQueue::new(),
            len: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            owner: OnceLock::new(),
            is_behind: AtomicBool::new(false),
            is_replaced: AtomicBool::new(false),
            is_detached: AtomicBool::new(false),
            is_refill_asked: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    /// The next message, in the order of their ids.
    pub fn pop(&self) -> Option<Delivery> {
        let (delivery, held) = self.waiting.pop()?;
        let bytes = delivery.message.size();
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(owner) = self.owner() {
            owner.memory.fetch_sub(held, Ordering::Relaxed);
        }
        Some(delivery)
    }

    /// Wakes `waker` when there is a message, or when what the mailbox says of itself has changed. Look at all of it
    /// afterwards.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Whether nothing waits in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether more waits in the database: ask for it with [`Store::refill`](super::Store::refill) once this is empty.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
    }

    /// Whether another connection of the user has taken its place, which waits for this one to be detached.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Acquire)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn owner(&self) -> Option<&Owner> {
        self.owner.get()
    }

    /// Makes it the mailbox of `owner`. A mailbox is attached once.
    pub(super) fn set_owner(&self, owner: Owner) {
        let _ = self.owner.set(owner);
    }

    /// Whether a message of this size fits, where all mailboxes may hold `memory_max`. One always fits into an empty
    /// one.
    pub(super) fn has_room(&self, memory_max: usize) -> bool {
        let len = self.len.load(Ordering::Relaxed);
        let is_short = || {
            let held = self.owner().map(|it| it.memory.load(Ordering::Relaxed));
            self.bytes.load(Ordering::Relaxed) < MAILBOX_BYTES_MAX
                && held.unwrap_or_default() < memory_max
        };
        len == 0 || (len < MAILBOX_LEN_MAX && is_short())
    }

    /// Appends a message, which other mailboxes have the same copy of if it `is_shared`. Its reader is woken by
    /// [`Self::wake`].
    pub(super) fn push(&self, delivery: Delivery, is_shared: bool) {
        let bytes = delivery.message.size();
        self.len.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = if is_shared { SHARED_BYTES } else { bytes };
        if let Some(owner) = self.owner() {
            owner.memory.fetch_add(held, Ordering::Relaxed);
        }
        self.waiting.push((delivery, held));
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn set_behind(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Release);
    }

    pub(super) fn set_replaced(&self) {
        self.is_replaced.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn set_detached(&self) {
        self.is_detached.store(true, Ordering::Release);
    }

    pub(super) fn is_detached(&self) -> bool {
        self.is_detached.load(Ordering::Acquire)
    }

    /// Notes that a refill is asked for, or that it has begun. Returns what was noted before.
    pub(super) fn swap_refill_asked(&self, is_asked: bool) -> bool {
        self.is_refill_asked.swap(is_asked, Ordering::AcqRel)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
