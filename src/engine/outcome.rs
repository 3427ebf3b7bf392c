//! Notifications from the engine to peers and tasks: answers, gaps and disconnects.
//!
//! Values only: a peer's session encodes them in its own protocol.

use std::collections::VecDeque;

use bytes::Bytes;

use super::confirmation::Confirmation;
use super::history::HistoryExcerpt;
use super::presence::Roster;
use super::publish_result::PublishResult;
use super::ticket::{Asker, Ticket};
use crate::id::{FormatId, PeerId};
use crate::topic::{Matcher, is_internal};

/// A notification.
#[derive(Debug)]
pub enum Outcome {
    /// Every position in a confirmation is known.
    Confirmed(Confirmation),
    /// The result of a publication whose home is another shard.
    Published {
        /// The `id` of the request.
        id: Box<str>,
        /// The result.
        result: PublishResult,
    },
    /// The users in a topic.
    Roster {
        /// The ticket of the request.
        ticket: Ticket,
        /// The answer.
        roster: Box<Roster>,
    },
    /// An excerpt of a topic's history.
    History {
        /// The ticket of the request.
        ticket: Ticket,
        /// The excerpt.
        kept: Box<HistoryExcerpt>,
    },
    /// The call is recorded; `false`: its key is in use.
    Called(bool),
    /// The call's home has forgotten it.
    HungUp,
    /// An answer to a call.
    Answered {
        /// The answer's data.
        said: Bytes,
        /// Whether this is the call's last answer.
        is_last: bool,
    },
    /// The peer misses messages. It is told before anything newer is written.
    Gap(Gap),
    /// The `id` line with the position of an event stream's reader after the next gap.
    Position(Bytes),
    /// The peer has been written all that it missed.
    CaughtUp,
    /// The peer's topics are written in this format behind what its session now says
    /// ([`Engine::send_reformatted`](super::Engine::send_reformatted)).
    Reformatted(FormatId),
    /// The peer is to be disconnected as a slow consumer.
    Slow {
        /// Bytes that its client has not been sent.
        unsent_bytes: u64,
    },
    /// The peer's socket is closed.
    Gone,
}

/// Messages that a peer does not receive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The topic, or the pattern; `None` for frames to the peer alone, and for topics it has not subscribed to by name.
    pub topic: Option<Box<str>>,
    /// How `topic` matches if it is a pattern.
    pub matcher: Option<Matcher>,
    /// How many, if known.
    pub lost: Option<u64>,
    /// The cause.
    pub cause: GapCause,
}

impl Gap {
    /// Messages of one topic, or of the peer alone.
    pub(super) fn of_topic(topic: Option<Box<str>>, lost: Option<u64>, cause: GapCause) -> Self {
        Self {
            topic,
            matcher: None,
            lost,
            cause,
        }
    }

    /// As the peer is told: without the name of a topic it has not subscribed to by name.
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

/// The queue of outcomes, oldest first, and the next ticket.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    queue: VecDeque<(Asker, Outcome)>,
    ticket: u32,
}

impl Outcomes {
    /// A ticket that is not in use.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.ticket = self.ticket.wrapping_add(1);
        Ticket(self.ticket)
    }

    pub(super) fn push(&mut self, to: Asker, outcome: Outcome) {
        self.queue.push_back((to, outcome));
    }

    /// As [`Self::push`], ahead of all others.
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

    /// The next one for `peer`, ahead of those for others.
    pub(super) fn pop_for(&mut self, peer: PeerId) -> Option<Outcome> {
        let mut queued = self.queue.iter();
        let at = queued.position(|(to, _)| *to == Asker::Peer(peer))?;
        self.queue.remove(at).map(|(_, outcome)| outcome)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Capacity that the queue keeps when it empties.
const CAPACITY_KEPT_MAX: usize = 1024;
