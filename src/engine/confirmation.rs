//! What a peer is told about its subscription.

use super::begin::Begin;
use super::message::{Reach, ReplayFrom};
use super::patterns::is_log_name;
use super::queue_groups::QueueError;
use super::ticket::Ticket;
use crate::id::{PeerId, Position, TopicId};
use crate::topic::{Matcher, Pattern};

/// Where delivery of a topic or a pattern begins for a subscriber.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start<'a> {
    /// The topic's name, or the pattern.
    pub name: &'a str,
    /// How `name` matches if it is a pattern.
    pub matcher: Option<Matcher>,
    /// The live stream begins after this position. For a pattern the epoch is the process's, and the offset is
    /// its time in milliseconds.
    pub position: Position,
    /// The result of resuming; `None` if the subscriber did not ask to resume.
    pub resumed: Option<Resumed>,
}

/// Whether a subscriber that resumes gets every message it missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resumed {
    /// Yes: this many messages, before any newer one.
    Complete(u64),
    /// No: the topic has begun a new epoch.
    OtherEpoch,
    /// No: it missed this many messages, the oldest of which are not retained.
    TooOld(u64),
    /// No: its offset is beyond the newest message.
    NeverSeen,
    /// No: another subscription delivers the topic to it already.
    Underway,
}

/// The content of a subscription's reply to a peer. Every request for it has been answered.
///
/// After writing the reply the caller calls [`Turn::go_on`](super::Turn::go_on), which sends the missed messages.
#[must_use]
#[derive(Debug)]
pub struct Confirmation {
    /// The subscription.
    pub ticket: Ticket,
    /// The subscriber.
    pub peer: PeerId,
    pub(super) patterns: Vec<SubscribingPattern>,
    pub(super) topics: Vec<Subscribing>,
    /// Topics whose queue groups the peer is no member of, and why: their homes have refused it.
    pub refused: Vec<(Box<str>, QueueError)>,
}

/// A pattern of a pending subscription.
#[derive(Debug)]
pub(super) struct SubscribingPattern {
    pub(super) pattern: Pattern,
    /// The position to resume from.
    pub(super) from: Option<Position>,
    /// Messages that their home accepts after this position are delivered. The offset is in milliseconds since the
    /// process began; the epoch identifies the process.
    pub(super) position: Position,
    /// Whether every topic published to since `from` is known and resumed.
    pub(super) is_complete: bool,
}

/// A topic of a pending subscription.
#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) name: Box<str>,
    pub(super) topic: TopicId,
    /// The topic whose log the peer reads: another one if it reads by a pattern.
    pub(super) log: TopicId,
    /// Where the live stream begins; `None` until the home has answered.
    pub(super) position: Option<Position>,
    /// The hold to release when the peer has been told; `None` if another subscription delivers the topic to the peer
    /// already.
    pub(super) hold: Option<u16>,
    /// From where to resume, and the home's answer.
    pub(super) resume: Option<Resume>,
}

/// A request to resume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resume {
    /// Not [`Begin::Live`].
    pub(super) from: Begin,
    pub(super) reach: Option<Reach>,
}

impl Confirmation {
    pub(super) fn new(ticket: Ticket, peer: PeerId) -> Self {
        Self {
            ticket,
            peer,
            patterns: Vec::new(),
            topics: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Where each pattern and each topic begins.
    pub fn starts(&self) -> impl Iterator<Item = Start<'_>> {
        let named = self.topics.iter().filter(|begun| !is_log_name(&begun.name));
        let patterns = self.patterns.iter().map(SubscribingPattern::start);
        patterns.chain(named.map(Subscribing::start))
    }
}

impl SubscribingPattern {
    /// The time since which topics are resumed.
    pub(super) fn since_ms(&self) -> Option<u64> {
        self.from
            .filter(|_| self.is_complete)
            .map(|from| from.offset)
    }

    pub(super) fn start(&self) -> Start<'_> {
        Start {
            name: self.pattern.as_str(),
            matcher: Some(self.pattern.matcher()),
            position: self.position,
            resumed: self.from.map(|_| match self.is_complete {
                true => Resumed::Complete(0),
                false => Resumed::OtherEpoch,
            }),
        }
    }
}

impl Resume {
    /// The messages that the home is asked for.
    pub(super) fn wanted(&self) -> ReplayFrom {
        match self.from {
            Begin::Live | Begin::Here => ReplayFrom::After(u64::MAX),
            Begin::After(from) | Begin::AfterOrNewest(from) => ReplayFrom::After(from.offset),
            Begin::Last(count) => ReplayFrom::Last(count),
        }
    }
}

impl Subscribing {
    pub(super) fn start(&self) -> Start<'_> {
        let position = self.position.unwrap_or_default();
        Start {
            name: &self.name,
            matcher: None,
            position,
            resumed: self.resume.map(|resume| match self.hold {
                Some(_) => resume.resumed(position),
                None => Resumed::Underway,
            }),
        }
    }
}

impl Resume {
    /// The result, if the live stream begins at `position`.
    pub(super) fn resumed(&self, position: Position) -> Resumed {
        let from = match (self.from, self.reach) {
            (Begin::After(from) | Begin::AfterOrNewest(from), _) => from,
            (Begin::Last(count), Some(reach)) if reach.epoch == position.epoch => {
                // Newer messages may have come since the home answered.
                let after = reach.after.max(position.offset.saturating_sub(count));
                return Resumed::Complete(position.offset.saturating_sub(after));
            }
            (Begin::Live | Begin::Here | Begin::Last(_), _) => return Resumed::Complete(0),
        };
        if from.epoch != position.epoch {
            return Resumed::OtherEpoch;
        }
        let is_complete = |reach: Reach| reach.complete && reach.epoch == position.epoch;
        match position.offset.checked_sub(from.offset) {
            None => Resumed::NeverSeen,
            Some(0) => Resumed::Complete(0),
            Some(missed) if self.reach.is_some_and(is_complete) => Resumed::Complete(missed),
            Some(missed) => Resumed::TooOld(missed),
        }
    }
}
