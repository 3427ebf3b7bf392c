//! One connection as the hub sees it: what it subscribes to and what waits for it.

use super::outbox::Outbox;
use super::stream::StreamId;
use crate::id::{TopicId, WireFormat};

/// A connection's side of the hub. Whatever could be large is allocated only
/// while it is needed.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) generation: u32,
    pub(crate) format: WireFormat,
    /// The socket took less than it was offered: nothing is written before
    /// [`Hub::unblock`](super::Hub::unblock).
    pub(crate) blocked: bool,
    /// The peer stands in the queue of those to be written to.
    pub(crate) queued: bool,
    /// The peer is being closed: nothing new is queued for it.
    pub(crate) closing: bool,
    /// Reported as a slow consumer already.
    pub(crate) doomed: bool,
    /// Somebody waits until the outbox is empty.
    pub(crate) refilled: bool,
    /// Private messages that gave way since the peer was last told.
    pub(crate) lost: u32,
    /// When the socket last took bytes while it was blocked, in milliseconds
    /// of the shard's clock.
    pub(crate) progress_ms: u64,
    pub(crate) subs: Vec<Sub>,
    /// The subscriptions with something to write, first and last.
    pub(crate) pending: Pending,
    pub(crate) outbox: Option<Box<Outbox>>,
    /// The rest of a frame that the socket took a part of. It goes first.
    pub(crate) carry: Vec<u8>,
    /// The close frame: it goes last, and nothing after it.
    pub(crate) farewell: Vec<u8>,
}

/// One membership, from the peer's side.
#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) topic: TopicId,
    pub(crate) stream: StreamId,
    /// The index in the stream's members.
    pub(crate) member: u32,
    /// The next subscription with something to write, or a mark.
    next: u32,
}

/// A list threaded through [`Peer::subs`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    first: u32,
    last: u32,
}

const UNLINKED: u32 = u32::MAX;
const END: u32 = u32::MAX - 1;

impl Pending {
    const EMPTY: Self = Self {
        first: END,
        last: END,
    };
}

impl Sub {
    pub(crate) fn new(topic: TopicId, stream: StreamId, member: u32) -> Self {
        Self {
            topic,
            stream,
            member,
            next: UNLINKED,
        }
    }
}

impl Peer {
    pub(crate) fn new(format: WireFormat, generation: u32) -> Self {
        Self {
            generation,
            format,
            blocked: false,
            queued: false,
            closing: false,
            doomed: false,
            refilled: false,
            lost: 0,
            progress_ms: 0,
            subs: Vec::new(),
            pending: Pending::EMPTY,
            outbox: None,
            carry: Vec::new(),
            farewell: Vec::new(),
        }
    }

    /// Where `topic` stands in the list of subscriptions.
    pub(crate) fn sub_of(&self, topic: TopicId) -> Option<usize> {
        self.subs.iter().position(|sub| sub.topic == topic)
    }

    /// Notes that subscription `sub` has something to write.
    pub(crate) fn link(&mut self, sub: u32) {
        if self.subs[sub as usize].next != UNLINKED {
            return;
        }
        self.subs[sub as usize].next = END;
        match self.pending.last {
            END => self.pending.first = sub,
            last => self.subs[last as usize].next = sub,
        }
        self.pending.last = sub;
    }

    /// The first subscription with something to write.
    pub(crate) fn first_pending(&self) -> Option<u32> {
        (self.pending.first != END).then_some(self.pending.first)
    }

    /// The subscription with something to write after `sub`.
    pub(crate) fn next_pending(&self, sub: u32) -> Option<u32> {
        Some(self.subs[sub as usize].next).filter(|&next| next != END)
    }

    /// Takes the first subscription off the list: it is at its topic's head.
    pub(crate) fn unlink_first(&mut self) {
        let first = self.pending.first;
        let sub = &mut self.subs[first as usize];
        self.pending.first = std::mem::replace(&mut sub.next, UNLINKED);
        if self.pending.first == END {
            self.pending.last = END;
        }
    }

    /// Forgets what is pending; the list is made anew after `subs` has moved.
    pub(crate) fn unlink_all(&mut self) {
        for sub in &mut self.subs {
            sub.next = UNLINKED;
        }
        self.pending = Pending::EMPTY;
    }

    /// Whether anything but topics waits to be written.
    pub(crate) fn has_private(&self) -> bool {
        !self.carry.is_empty() || self.outbox.is_some() || !self.farewell.is_empty()
    }
}
