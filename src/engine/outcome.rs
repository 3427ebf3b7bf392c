//! What the engine tells those who asked it something, or have to hear of something.
//!
//! Values only: whoever speaks for a peer writes the frame that says so, in its own protocol.

use std::collections::VecDeque;

use bytes::Bytes;

use super::confirmation::Confirmation;
use super::history::Kept;
use super::presence::Roster;
use super::publish_result::PublishResult;
use super::ticket::{Asker, Ticket};
use crate::id::PeerId;
use crate::topic::is_internal;

/// What has come of something.
#[derive(Debug)]
pub enum Outcome {
    /// Everything that a confirmation speaks of is known.
    Confirmed(Confirmation),
    /// A publication that went to its home has been answered.
    Published {
        /// The `id` it was asked with.
        id: Box<str>,
        /// What became of it.
        result: PublishResult,
    },
    /// Who is in a topic.
    Roster {
        /// Whose question this answers.
        ticket: Ticket,
        /// The answer.
        roster: Box<Roster>,
    },
    /// What is retained of a topic.
    History(Box<Kept>),
    /// A call is known from now on; `false`: another one is, by the same key.
    Called(bool),
    /// A call is forgotten.
    HungUp,
    /// An answer to a call.
    Answered {
        /// What was said.
        said: Bytes,
        /// Whether nothing follows.
        is_last: bool,
    },
    /// The peer misses messages, and is to be told before it is sent anything newer.
    Gap(Gap),
    /// Where the reader of a stream of events stands after what it is told next: the line that says so.
    Position(Bytes),
    /// The peer does not keep up and has to go.
    Slow,
    /// The peer's socket is gone.
    Gone,
}

/// Messages that a peer does not get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Of which topic; `None`: of those for the peer alone, or of what it has not subscribed to itself.
    pub topic: Option<Box<str>>,
    /// How many, if that is known.
    pub lost: Option<u64>,
    /// Why.
    pub cause: GapCause,
}

impl Gap {
    /// As its peer is told: of topics that it has not named itself not the name.
    pub(super) fn for_peer(mut self) -> Self {
        self.topic = self.topic.filter(|topic| !is_internal(topic));
        self
    }
}

/// Why messages are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GapCause {
    /// The peer reads too slowly.
    Slow,
    /// They are not retained.
    History,
}

/// Outcomes in the order in which they came, and the numbers of tickets.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    queue: VecDeque<(Asker, Outcome)>,
    ticket: u32,
}

impl Outcomes {
    /// A ticket that no one else has.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.ticket = self.ticket.wrapping_add(1);
        Ticket(self.ticket)
    }

    pub(super) fn push(&mut self, to: Asker, outcome: Outcome) {
        self.queue.push_back((to, outcome));
    }

    /// As [`Self::push`], before all others.
    pub(super) fn push_first(&mut self, to: Asker, outcome: Outcome) {
        self.queue.push_front((to, outcome));
    }

    pub(super) fn pop(&mut self) -> Option<(Asker, Outcome)> {
        let next = self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > CAPACITY_KEPT_MAX {
            self.queue = VecDeque::new();
        }
        next
    }

    /// The next one for `peer`, whatever waits for others.
    pub(super) fn pop_for(&mut self, peer: PeerId) -> Option<Outcome> {
        let mut queued = self.queue.iter();
        let at = queued.position(|(to, _)| *to == Asker::Peer(peer))?;
        self.queue.remove(at).map(|(_, outcome)| outcome)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Outcomes that there stays room for.
const CAPACITY_KEPT_MAX: usize = 1024;
