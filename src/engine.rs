//! What shards say to each other, and which shard is home to which topic.
//!
//! Every ordered pair of shards has two bounded lanes. Requests go to a topic's
//! home; deliveries come back from it. A shard takes deliveries whatever it is
//! waiting for itself, since they need nothing but its own hub; requests may have
//! to wait until deliveries find room. So there is no circle of shards waiting for
//! each other. Both lanes keep their order, which makes a subscription's answer
//! the exact point from which the live stream counts.

mod calls;
mod history;
mod home;
pub mod hub;
mod interest;
mod port;
mod presence;
mod recent;

pub use calls::{Call, Calls};
pub use history::{History, Record, Retention};
pub use home::{Home, HomeTopic, Interest, Opened};
pub use interest::{Interests, Standing};
pub use port::{Batch, Mesh, Port, Span};
pub use presence::{Attendee, Change, Presence};
pub use recent::{KEY_BYTES_MAX, Recent};

use std::cell::Cell;
use std::fmt;

pub use crate::id::Position;
use crate::id::{PeerId, ShardId, TopicId, WireFormat};
use crate::protocol::events::Kind;
use crate::topic::Pattern;

/// What is to be published.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    /// Where to.
    pub topic: &'a str,
    /// What it is called, if not as its topic.
    pub name: &'a str,
    /// What it is.
    pub kind: Kind,
    /// A JSON value, passed on byte for byte.
    pub data: &'a [u8],
    /// If not empty: of several posts to a topic with the same key only the
    /// first counts, and the others get its offset.
    pub key: &'a str,
    /// Only if somebody is subscribed to the topic: otherwise it is as if it had
    /// not been sent, and reaches nobody.
    pub only_live: bool,
}

impl<'a> Post<'a> {
    /// An event called as its topic.
    #[must_use]
    pub fn event(topic: &'a str, data: &'a [u8]) -> Self {
        Self {
            topic,
            name: "",
            kind: Kind::Event,
            data,
            key: "",
            only_live: false,
        }
    }
}

/// What became of a post at its topic's home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It has its place.
    Stored(Stored),
    /// There is no room for what it would cause; it may be sent again.
    Busy,
    /// There are too many topics to make a new one.
    TooManyTopics,
}

/// A post that has its place in its topic.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stored {
    /// Its place.
    pub offset: u64,
    /// Subscribers on the home's own shard.
    pub members: u32,
    /// Other shards that have been asked to say how many subscribers they have.
    pub receipts: u16,
}

/// Who counts the subscribers that a post reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// On which shard.
    pub shard: ShardId,
    /// Its number there.
    pub waiter: u32,
}

/// What a home knows of a topic that somebody comes back to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    /// Which life of the topic.
    pub epoch: u64,
    /// Whether everything after the offset that was asked about is there.
    pub complete: bool,
}

/// Which part of a topic somebody has missed, and where to send it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missed {
    /// Who.
    pub peer: PeerId,
    /// Tells this catching up from an earlier one of the same peer.
    pub hold: u16,
    /// In which format.
    pub format: WireFormat,
    /// Of which life of the topic.
    pub epoch: u64,
    /// The messages after this one
    pub after: u64,
    /// up to this one.
    pub until: u64,
}

/// Something to be done on another shard's thread, which finds the shard by
/// `shard::local`. For questions of operators and handlers, not for messages.
pub struct Errand(Cell<Option<Box<dyn FnOnce() + Send>>>);

impl Errand {
    /// An errand that does this.
    #[must_use]
    pub fn new(act: impl FnOnce() + Send + 'static) -> Self {
        Self(Cell::new(Some(Box::new(act))))
    }

    /// Does what was asked, once.
    pub fn run(&self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errand")
    }
}

/// Who waits for the answer to something that crosses shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyTo {
    /// A connection; the request's `id` comes back with the answer.
    Peer(PeerId),
    /// Something else on the asking shard, by its number there.
    Waiter(u32),
}

/// What a shard asks a topic's home.
#[derive(Debug)]
pub enum Request {
    /// Send what is published to this topic from now on.
    Interest {
        /// The topic's name.
        topic: Box<str>,
        /// In which format.
        format: WireFormat,
    },
    /// Send no more of it.
    Disinterest {
        /// The topic's name.
        topic: Box<str>,
        /// In which format.
        format: WireFormat,
    },
    /// Send what is published to every topic that matches.
    Pattern {
        /// What to match.
        pattern: Pattern,
        /// In which format.
        format: WireFormat,
        /// Whose subscription waits for the answer.
        ticket: u32,
    },
    /// New topics need not match any more. Topics known by now are given up
    /// one by one.
    Unpattern {
        /// What was matched.
        pattern: Pattern,
        /// In which format.
        format: WireFormat,
    },
    /// Publish to a topic.
    Publish {
        /// The topic's name.
        topic: Span,
        /// What it is called; empty: as its topic.
        name: Span,
        /// What it is.
        kind: Kind,
        /// The publication's data as it came.
        data: Span,
        /// See [`Post::key`].
        key: Span,
        /// See [`Post::only_live`].
        only_live: bool,
        /// Who wants to know the offset, and the `id` it asked with.
        reply: Option<(ReplyTo, Span)>,
    },
    /// Say whether all that came after an offset can still be had.
    Reach {
        /// The topic's name.
        topic: Box<str>,
        /// The offset.
        after: u64,
        /// Whose subscription waits for the answer, and which topic of it this is.
        ticket: u32,
        /// See `ticket`.
        index: u32,
    },
    /// Send a page of what somebody has missed.
    Replay {
        /// The topic's name.
        topic: Box<str>,
        /// What was missed.
        missed: Missed,
    },
    /// A connection of a user came to a topic or left it.
    Presence {
        /// The topic's name.
        topic: Box<str>,
        /// Who.
        user: Box<str>,
        /// Whether it came.
        enters: bool,
    },
    /// Give somebody's answer to whoever waits for it.
    Answer {
        /// What the call is known by.
        key: Span,
        /// Who answers.
        user: Span,
        /// What is said to the caller.
        said: Span,
        /// Whether nothing follows.
        is_last: bool,
    },
    /// Do something that is no message.
    Run(Errand),
}

/// What a topic's home answers and sends.
#[derive(Debug)]
pub enum Delivery {
    /// The home knows of the interest: what follows is everything.
    Interested {
        /// The topic's number at its home.
        home: TopicId,
        /// The topic's name.
        topic: Box<str>,
        /// In which format.
        format: WireFormat,
        /// The place from which the live stream goes on.
        position: Position,
    },
    /// A topic that one of the shard's patterns matches.
    Appeared {
        /// The topic's number at its home.
        home: TopicId,
        /// The topic's name.
        topic: Box<str>,
        /// In which format.
        format: WireFormat,
        /// The place from which the live stream goes on.
        position: Position,
    },
    /// The home knows of the pattern: matching topics were announced before.
    Patterned {
        /// Whose subscription waited.
        ticket: u32,
    },
    /// The home has forgotten the interest: nothing follows.
    Forgotten {
        /// The topic's number at its home; `None` if it was not known.
        home: Option<TopicId>,
        /// The topic's name.
        topic: Box<str>,
        /// In which format.
        format: WireFormat,
    },
    /// One message, encoded.
    Append {
        /// The topic's number at its home.
        home: TopicId,
        /// In which format.
        format: WireFormat,
        /// The message's offset.
        offset: u64,
        /// The frame.
        frame: Span,
        /// Who wants to know how many subscribers it reaches.
        receipt: Option<Receipt>,
    },
    /// The answer to a publication.
    Published {
        /// Who asked.
        to: ReplyTo,
        /// The `id` it asked with.
        id: Span,
        /// What became of it.
        outcome: Outcome,
    },
    /// An answer to a call.
    Answered {
        /// The call's number at its caller.
        call: u64,
        /// What was said.
        said: Span,
        /// Whether nothing follows.
        is_last: bool,
    },
    /// How many subscribers a post has reached here.
    Reached {
        /// Who counts.
        waiter: u32,
        /// How many.
        members: u32,
    },
    /// The answer to [`Request::Reach`].
    Reaches {
        /// Whose subscription waits.
        ticket: u32,
        /// Which topic of it.
        index: u32,
        /// What the home knows.
        reach: Reach,
    },
    /// The answer to [`Request::Replay`]: messages one after the other, the
    /// first of which has the offset `first`.
    Page {
        /// What was asked for.
        missed: Missed,
        /// The first message's offset; beyond `missed.until` if nothing is left.
        first: u64,
        /// The messages in the format that was asked for.
        frames: Vec<Span>,
    },
}

/// The shard that is home to `topic`, the same on every shard of a process.
#[must_use]
pub fn home_of(topic: &str, shards: u16) -> ShardId {
    // FNV-1a: stable, and a few nanoseconds for a name. Nothing is gained by
    // aiming names at one shard that publishing to one topic would not give.
    let hash = topic.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let shard = (u128::from(mixed) * u128::from(shards)) >> 64;
    ShardId(u16::try_from(shard).expect("below the number of shards"))
}
