//! What engines say to each other: requests to a topic's home, deliveries back from it.
//!
//! Every ordered pair of places has two bounded lanes, one for each kind, and both keep their
//! order. That makes a home's answer to a subscription the exact point from which the live stream
//! counts. A place takes deliveries whatever it waits for itself, since they need nothing but its
//! own hub; requests may have to wait until deliveries find room. So places never wait for each
//! other in a circle.
//!
//! `B` is how bytes are referred to: slices while a message is handed over, spans of a batch while
//! it is on its way (`map` turns one into the other).

use std::ops::RangeInclusive;

use super::history::Kept;
use super::presence::Roster;
use super::publication::PublicationKind;
use super::publish_result::PublishResult;
use super::ticket::{Asker, Ticket};
use crate::id::{Form, FormatId, PeerId, Position, ShardId, TopicId};

/// The lanes from one place to all others.
///
/// An engine puts messages in; whoever owns the lanes carries them over and gives them to the other
/// engine ([`Turn::request`](super::Turn::request), [`Turn::delivery`](super::Turn::delivery)).
pub trait Lanes {
    /// Whether `to` has to catch up before it is asked more. What can wait looks here first.
    fn requests_full(&self, to: ShardId) -> bool;
    /// Whether `to` has to catch up before it is sent more.
    fn deliveries_full(&self, to: ShardId) -> bool;
    /// Puts a request into the lane to `to`. Never refused.
    fn request(&mut self, to: ShardId, request: Request<&[u8]>);
    /// Puts a delivery into the lane to `to`. Never refused.
    fn deliver(&mut self, to: ShardId, delivery: Delivery<&[u8]>);
}

/// A publication as its publisher gives it.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Its name, if not that of its topic.
    pub name: &'a str,
    /// What it is.
    pub kind: PublicationKind,
    /// In whose words `data` is.
    pub form: Form,
    /// A JSON value, passed on byte for byte.
    pub data: &'a [u8],
    /// If not empty: of several posts to a topic with the same key only the first counts, and the
    /// others get its offset.
    pub key: &'a str,
    /// Only if the topic has a subscriber: otherwise it is as if it had not been sent. Kept only if somebody
    /// has subscribed who may come back for it.
    pub only_live: bool,
}

impl<'a> Post<'a> {
    /// An event with the name of its topic.
    #[must_use]
    pub fn event(topic: &'a str, data: &'a [u8]) -> Self {
        Self {
            topic,
            name: "",
            kind: PublicationKind::Event,
            form: Form::NEUTRAL,
            data,
            key: "",
            only_live: false,
        }
    }
}

/// Who counts the subscribers that a post reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// On which shard.
    pub shard: ShardId,
    /// Its ticket there.
    pub ticket: Ticket,
}

/// What a home knows of a topic that a subscriber comes back to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Reach {
    /// Which life of the topic.
    pub epoch: u64,
    /// Whether every message after the offset in question is retained.
    pub complete: bool,
}

/// What a home knows of a pattern that a subscriber comes back to.
#[derive(Clone, Debug)]
pub struct Covered<B> {
    /// What matches is sent from this time of the home on, in milliseconds since the process began.
    pub from_ms: u64,
    /// Topics that were published to since the subscriber was there, and the place of each behind which
    /// to go on: one of another epoch if not all is retained.
    pub topics: Vec<(B, Position)>,
    /// Whether these are all.
    pub is_complete: bool,
}

/// Which part of a topic a peer has missed, and how to send it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missed {
    /// Who.
    pub peer: PeerId,
    /// Tells this catch-up from an earlier one of the same peer.
    pub hold: u16,
    /// In which format.
    pub format: FormatId,
    /// Of which life of the topic.
    pub epoch: u64,
    /// The messages after this offset
    pub after: u64,
    /// up to this one.
    pub until: u64,
}

/// What a place asks a topic's home.
#[derive(Clone, Copy, Debug)]
pub enum Request<B> {
    /// Send what is published to this topic from now on.
    Interest {
        /// The topic's name.
        topic: B,
        /// In which format.
        format: FormatId,
    },
    /// Send no more of it.
    Disinterest {
        /// The topic's name.
        topic: B,
        /// In which format.
        format: FormatId,
    },
    /// Send what is published to every topic that matches.
    Pattern {
        /// What to match.
        pattern: B,
        /// In which format.
        format: FormatId,
        /// Name the topics that were published to at or after this time, in milliseconds since the
        /// process began.
        since_ms: Option<u64>,
        /// Whose subscription waits for the answer,
        ticket: Ticket,
        /// and which pattern of it this is.
        index: u32,
    },
    /// New topics need not match any more. Topics known by now are given up one by one.
    Unpattern {
        /// What was matched.
        pattern: B,
        /// In which format.
        format: FormatId,
    },
    /// Publish to a topic.
    Publish {
        /// The topic's name.
        topic: B,
        /// The publication's name; empty: that of its topic.
        name: B,
        /// What it is.
        kind: PublicationKind,
        /// See [`Post::form`].
        form: Form,
        /// The publication's data as it came.
        data: B,
        /// See [`Post::key`].
        key: B,
        /// See [`Post::only_live`].
        only_live: bool,
        /// Who wants to know the offset, and the `id` it asked with.
        reply: Option<(Asker, B)>,
    },
    /// Say whether every message after an offset is retained.
    Reach {
        /// The topic's name.
        topic: B,
        /// The offset.
        after: u64,
        /// Whose subscription waits for the answer,
        ticket: Ticket,
        /// and which topic of it this is.
        index: u32,
    },
    /// Send a page of what a peer has missed.
    Replay {
        /// The topic's name.
        topic: B,
        /// What was missed.
        missed: Missed,
    },
    /// A connection of a user came to a topic or left it.
    Presence {
        /// The topic's name.
        topic: B,
        /// Who.
        user: B,
        /// Whether it came.
        enters: bool,
    },
    /// Say who is in a topic.
    Roster {
        /// The topic's name.
        topic: B,
        /// The users behind this name, in order.
        after: B,
        /// How many of them at most.
        limit: u32,
        /// Who wants to know.
        asker: Asker,
        /// Its ticket.
        ticket: Ticket,
    },
    /// Say what is retained of a topic.
    History {
        /// The topic's name.
        topic: B,
        /// The messages after this offset.
        since: u64,
        /// How many of them at most.
        limit: u32,
        /// Who wants to know.
        ticket: Ticket,
    },
    /// Note a call, unless another one is known by the same key.
    Call {
        /// What the call is known by.
        key: B,
        /// Who is asked: answers of others do not count.
        user: B,
        /// The caller's ticket.
        ticket: Ticket,
    },
    /// Forget a call.
    HangUp {
        /// What the call is known by.
        key: B,
        /// The caller's ticket.
        ticket: Ticket,
    },
    /// Give a user's answer to the caller that waits for it.
    Answer {
        /// What the call is known by.
        key: B,
        /// Who answers.
        user: B,
        /// What is said to the caller.
        said: B,
        /// Whether nothing follows.
        is_last: bool,
    },
}

/// What a topic's home answers and sends.
#[derive(Clone, Debug)]
pub enum Delivery<B> {
    /// The home knows of the interest: what follows is everything.
    Interested(Announced<B>),
    /// A topic that one of the place's patterns matches.
    Appeared(Announced<B>),
    /// The home knows of the pattern: matching topics were announced before.
    Patterned {
        /// Whose subscription waited.
        ticket: Ticket,
        /// For which of its patterns.
        index: u32,
        /// What the home knows.
        covered: Covered<B>,
    },
    /// The home has forgotten the interest: nothing follows.
    Forgotten {
        /// The topic's name.
        topic: B,
        /// In which format.
        format: FormatId,
    },
    /// One message, encoded.
    Append {
        /// The topic's number at its home.
        home: TopicId,
        /// In which format.
        format: FormatId,
        /// Where it is in its topic.
        offsets: Offsets,
        /// The frame.
        frame: B,
        /// Who wants to know how many subscribers it reaches.
        receipt: Option<Receipt>,
    },
    /// The answer to a publication.
    Published {
        /// Who asked.
        asker: Asker,
        /// The `id` it asked with.
        id: B,
        /// What became of it.
        result: PublishResult,
    },
    /// How many subscribers a post has reached here.
    Reached {
        /// Who counts.
        ticket: Ticket,
        /// How many.
        members: u32,
    },
    /// The answer to [`Request::Reach`].
    Reaches {
        /// Whose subscription waits.
        ticket: Ticket,
        /// Which topic of it.
        index: u32,
        /// What the home knows.
        reach: Reach,
    },
    /// The answer to [`Request::Replay`]: messages one after the other, the first of which has the
    /// offset `first`.
    Page {
        /// What was asked for.
        missed: Missed,
        /// The first message's offset; beyond `missed.until` if nothing is left.
        first: u64,
        /// The messages in the format that was asked for.
        frames: Vec<B>,
    },
    /// The answer to [`Request::Roster`].
    Roster {
        /// Who asked.
        asker: Asker,
        /// Its ticket.
        ticket: Ticket,
        /// Who is there.
        roster: Box<Roster>,
    },
    /// The answer to [`Request::History`].
    History {
        /// Who asked.
        ticket: Ticket,
        /// What is retained.
        kept: Box<Kept>,
    },
    /// The answer to [`Request::Call`].
    Called {
        /// The caller's ticket.
        ticket: Ticket,
        /// Whether the key was free: otherwise no call is known.
        is_free: bool,
    },
    /// The call is forgotten.
    HungUp {
        /// The caller's ticket.
        ticket: Ticket,
    },
    /// An answer to a call.
    Answered {
        /// The caller's ticket.
        ticket: Ticket,
        /// What was said.
        said: B,
        /// Whether nothing follows.
        is_last: bool,
    },
}

/// Where what is published is in its topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offsets {
    /// It is the message with this offset.
    At(u64),
    /// It is no message of the topic, and comes behind the one with this offset: it is neither
    /// retained nor counted.
    Behind(u64),
}

impl Offsets {
    /// The numbers of the messages that it is; an empty range behind the newest one's if it is none.
    #[must_use]
    pub fn numbers(self) -> RangeInclusive<u64> {
        match self {
            Self::At(offset) => offset..=offset,
            Self::Behind(offset) => offset + 1..=offset,
        }
    }
}

/// A topic whose messages follow.
#[derive(Clone, Copy, Debug)]
pub struct Announced<B> {
    /// The topic's number at its home.
    pub home: TopicId,
    /// The topic's name.
    pub topic: B,
    /// In which format.
    pub format: FormatId,
    /// The place from which the live stream goes on.
    pub position: Position,
}

impl<B> Request<B> {
    /// The same request, its bytes referred to as `refer` says. Bytes are given in the order in
    /// which they stand here.
    pub fn map<C>(self, mut refer: impl FnMut(B) -> C) -> Request<C> {
        match self {
            Self::Interest { topic, format } => Request::Interest {
                topic: refer(topic),
                format,
            },
            Self::Disinterest { topic, format } => Request::Disinterest {
                topic: refer(topic),
                format,
            },
            Self::Pattern {
                pattern,
                format,
                since_ms,
                ticket,
                index,
            } => Request::Pattern {
                pattern: refer(pattern),
                format,
                since_ms,
                ticket,
                index,
            },
            Self::Unpattern { pattern, format } => Request::Unpattern {
                pattern: refer(pattern),
                format,
            },
            Self::Publish {
                topic,
                name,
                kind,
                form,
                data,
                key,
                only_live,
                reply,
            } => Request::Publish {
                topic: refer(topic),
                name: refer(name),
                kind,
                form,
                data: refer(data),
                key: refer(key),
                only_live,
                reply: reply.map(|(asker, id)| (asker, refer(id))),
            },
            Self::Reach {
                topic,
                after,
                ticket,
                index,
            } => Request::Reach {
                topic: refer(topic),
                after,
                ticket,
                index,
            },
            Self::Replay { topic, missed } => Request::Replay {
                topic: refer(topic),
                missed,
            },
            Self::Presence {
                topic,
                user,
                enters,
            } => Request::Presence {
                topic: refer(topic),
                user: refer(user),
                enters,
            },
            Self::Roster {
                topic,
                after,
                limit,
                asker,
                ticket,
            } => Request::Roster {
                topic: refer(topic),
                after: refer(after),
                limit,
                asker,
                ticket,
            },
            Self::History {
                topic,
                since,
                limit,
                ticket,
            } => Request::History {
                topic: refer(topic),
                since,
                limit,
                ticket,
            },
            Self::Call { key, user, ticket } => Request::Call {
                key: refer(key),
                user: refer(user),
                ticket,
            },
            Self::HangUp { key, ticket } => Request::HangUp {
                key: refer(key),
                ticket,
            },
            Self::Answer {
                key,
                user,
                said,
                is_last,
            } => Request::Answer {
                key: refer(key),
                user: refer(user),
                said: refer(said),
                is_last,
            },
        }
    }
}

impl<B> Delivery<B> {
    /// As [`Request::map`].
    pub fn map<C>(self, mut refer: impl FnMut(B) -> C) -> Delivery<C> {
        match self {
            Self::Interested(announced) => Delivery::Interested(announced.map(refer)),
            Self::Appeared(announced) => Delivery::Appeared(announced.map(refer)),
            Self::Patterned {
                ticket,
                index,
                covered,
            } => Delivery::Patterned {
                ticket,
                index,
                covered: covered.map(refer),
            },
            Self::Forgotten { topic, format } => Delivery::Forgotten {
                topic: refer(topic),
                format,
            },
            Self::Append {
                home,
                format,
                offsets,
                frame,
                receipt,
            } => Delivery::Append {
                home,
                format,
                offsets,
                frame: refer(frame),
                receipt,
            },
            Self::Published { asker, id, result } => Delivery::Published {
                asker,
                id: refer(id),
                result,
            },
            Self::Reached { ticket, members } => Delivery::Reached { ticket, members },
            Self::Reaches {
                ticket,
                index,
                reach,
            } => Delivery::Reaches {
                ticket,
                index,
                reach,
            },
            Self::Page {
                missed,
                first,
                frames,
            } => Delivery::Page {
                missed,
                first,
                frames: frames.into_iter().map(refer).collect(),
            },
            Self::Roster {
                asker,
                ticket,
                roster,
            } => Delivery::Roster {
                asker,
                ticket,
                roster,
            },
            Self::History { ticket, kept } => Delivery::History { ticket, kept },
            Self::Called { ticket, is_free } => Delivery::Called { ticket, is_free },
            Self::HungUp { ticket } => Delivery::HungUp { ticket },
            Self::Answered {
                ticket,
                said,
                is_last,
            } => Delivery::Answered {
                ticket,
                said: refer(said),
                is_last,
            },
        }
    }
}

impl<B> Covered<B> {
    /// As [`Request::map`].
    pub(super) fn map<C>(self, mut refer: impl FnMut(B) -> C) -> Covered<C> {
        let topics = self.topics.into_iter();
        Covered {
            from_ms: self.from_ms,
            topics: topics.map(|(name, at)| (refer(name), at)).collect(),
            is_complete: self.is_complete,
        }
    }
}

impl<B> Announced<B> {
    fn map<C>(self, mut refer: impl FnMut(B) -> C) -> Announced<C> {
        Announced {
            home: self.home,
            topic: refer(self.topic),
            format: self.format,
            position: self.position,
        }
    }
}
