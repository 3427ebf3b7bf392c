//! What shards say to each other, and which shard is home to which topic.
//!
//! Every ordered pair of shards has two bounded lanes. Requests go to a topic's
//! home; deliveries come back from it. A shard takes deliveries whatever it is
//! waiting for itself, since they need nothing but its own hub; requests may have
//! to wait until deliveries find room. So there is no circle of shards waiting for
//! each other. Both lanes keep their order, which makes a subscription's answer
//! the exact point from which the live stream counts.

mod home;
mod interest;
mod port;

pub use home::{Home, HomeTopic, Interest, Opened};
pub use interest::{Interests, Standing};
pub use port::{Batch, Mesh, Port, Span};

use crate::id::{PeerId, ShardId, TopicId, WireFormat};
use crate::topic::Pattern;

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
        /// The publication's data as it came.
        data: Span,
        /// Who wants to know the offset, and the `id` it asked with.
        reply: Option<(ReplyTo, Span)>,
    },
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
        /// Which life of the topic what follows belongs to.
        epoch: u64,
        /// The newest message, which does not follow.
        offset: u64,
    },
    /// A topic that one of the shard's patterns matches.
    Appeared {
        /// The topic's number at its home.
        home: TopicId,
        /// The topic's name.
        topic: Box<str>,
        /// In which format.
        format: WireFormat,
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
    },
    /// The answer to a publication: its offset, or `None` if it was refused
    /// because there are too many topics.
    Published {
        /// Who asked.
        to: ReplyTo,
        /// The `id` it asked with.
        id: Span,
        /// The message's offset.
        offset: Option<u64>,
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
