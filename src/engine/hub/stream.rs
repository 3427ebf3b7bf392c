//! A topic in one wire format: its log and the cursors into it.

use super::log::Log;
use crate::id::{Slot, TopicId};

/// A stream's number in the hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StreamId(pub(crate) u32);

impl StreamId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) topic: TopicId,
    pub(crate) log: Log,
    pub(crate) members: Vec<Member>,
    /// The head when the members were last walked.
    pub(crate) offered: u64,
    /// The newest message's number, whether or not anybody was there for it.
    pub(crate) number: u64,
    /// In the list of streams to be walked.
    pub(crate) dirty: bool,
    /// In the list of streams whose memory may be given back.
    pub(crate) warm: bool,
    /// Its topic has been forgotten. It is there only for the lists that it is in.
    pub(crate) closed: bool,
}

/// A subscriber: a cursor.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) slot: Slot,
    /// The index in the peer's subscriptions.
    pub(crate) sub: u32,
    /// What the peer has been written up to: a frame boundary.
    pub(crate) cursor: u64,
    /// Messages skipped since the peer was last told.
    pub(crate) lost: u32,
    /// How many of the peer's selectors cover the topic.
    pub(crate) covers: u16,
    /// Not zero: what came before the cursor has not been written yet, and so
    /// nothing after it is. The number is that of the hold.
    pub(crate) hold: u16,
}

impl Member {
    pub(crate) fn is_held(&self) -> bool {
        self.hold != 0
    }
}

impl Stream {
    pub(crate) fn new(topic: TopicId) -> Self {
        Self {
            topic,
            log: Log::default(),
            members: Vec::new(),
            offered: 0,
            number: 0,
            dirty: false,
            warm: false,
            closed: false,
        }
    }

    /// Ends a stream without members: nothing of it is left but its number.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.log = Log::default();
        self.offered = self.log.head();
    }

    /// Gives up what every member has been written.
    pub(crate) fn trim(&mut self) {
        let oldest = self.members.iter().map(|member| member.cursor).min();
        self.log.trim(oldest.unwrap_or_else(|| self.log.head()));
    }
}
