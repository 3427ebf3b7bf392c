//! What a peer is to be told of its subscription.

use super::message::Reach;
use super::patterns::is_log_name;
use super::ticket::Ticket;
use crate::id::{PeerId, Position, TopicId};
use crate::topic::Pattern;

/// How a topic begins for a subscriber, or a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start<'a> {
    /// The topic's name, or the pattern.
    pub name: &'a str,
    /// The live stream goes on from here; of a pattern, the epoch is the process's and the offset its time
    /// in milliseconds.
    pub position: Position,
    /// What came of the wish to go on from where the subscriber was.
    pub resumed: Option<Resumed>,
}

/// Whether a subscriber gets all that it has missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resumed {
    /// This many messages, before anything newer.
    Complete(u64),
    /// No: the topic's messages are not those it knew.
    OtherEpoch,
    /// No: this many messages, the oldest of which are not retained.
    TooOld(u64),
    /// No: it was ahead of the topic.
    NeverSeen,
    /// No: it is being sent the topic already, because of another subscription.
    Underway,
}

/// What a peer is to be told of its subscription: all of it is true by now.
///
/// Whoever has told the peer calls [`Turn::go_on`](super::Turn::go_on), which sends what it has missed.
#[must_use]
#[derive(Debug)]
pub struct Confirmation {
    /// Which subscription.
    pub ticket: Ticket,
    /// Whose.
    pub peer: PeerId,
    pub(super) patterns: Vec<SubscribingPattern>,
    pub(super) topics: Vec<Subscribing>,
}

/// A pattern of a subscription.
#[derive(Debug)]
pub(super) struct SubscribingPattern {
    pub(super) pattern: Pattern,
    /// Where the subscriber was.
    pub(super) from: Option<Position>,
    /// What is published from this time of its home on arrives: the offset is in milliseconds since the
    /// process began, which the epoch tells from others.
    pub(super) position: Position,
    /// Whether every topic that was published to since is known, and gone on in.
    pub(super) is_complete: bool,
}

/// A topic of a subscription.
#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) name: Box<str>,
    pub(super) topic: TopicId,
    /// The topic in whose log the peer reads it: another one where it does so by a pattern.
    pub(super) log: TopicId,
    /// Where the live stream begins for the peer; unknown while the home is asked.
    pub(super) position: Option<Position>,
    /// Which hold of the membership ends when the peer has been told; `None` if the peer is sent the
    /// topic already, because of another subscription.
    pub(super) hold: Option<u16>,
    /// From where on the peer wants it, and what the home knows of that.
    pub(super) resume: Option<Resume>,
}

/// A wish to go on where one was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resume {
    /// `None`: from where the home is.
    pub(super) from: Option<Position>,
    pub(super) reach: Option<Reach>,
}

impl Confirmation {
    pub(super) fn new(ticket: Ticket, peer: PeerId) -> Self {
        Self {
            ticket,
            peer,
            patterns: Vec::new(),
            topics: Vec::new(),
        }
    }

    /// How each pattern and each topic begins.
    pub fn starts(&self) -> impl Iterator<Item = Start<'_>> {
        let named = self.topics.iter().filter(|begun| !is_log_name(&begun.name));
        let patterns = self.patterns.iter().map(SubscribingPattern::start);
        patterns.chain(named.map(Subscribing::start))
    }
}

impl SubscribingPattern {
    /// The time since which topics are gone on in.
    pub(super) fn since_ms(&self) -> Option<u64> {
        self.from
            .filter(|_| self.is_complete)
            .map(|from| from.offset)
    }

    pub(super) fn start(&self) -> Start<'_> {
        Start {
            name: self.pattern.as_str(),
            position: self.position,
            resumed: self.from.map(|_| match self.is_complete {
                true => Resumed::Complete(0),
                false => Resumed::OtherEpoch,
            }),
        }
    }
}

impl Resume {
    /// The offset behind which messages are wanted; none is if that is not said.
    pub(super) fn after(&self) -> u64 {
        self.from.map_or(u64::MAX, |from| from.offset)
    }
}

impl Subscribing {
    pub(super) fn start(&self) -> Start<'_> {
        let position = self.position.unwrap_or_default();
        Start {
            name: &self.name,
            position,
            resumed: self.resume.map(|resume| match self.hold {
                Some(_) => resume.resumed(position),
                None => Resumed::Underway,
            }),
        }
    }
}

impl Resume {
    /// What has come of it, if the live stream begins at `position`.
    pub(super) fn resumed(&self, position: Position) -> Resumed {
        let Some(from) = self.from else {
            return Resumed::Complete(0);
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
