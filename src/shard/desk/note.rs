//! Messages to the desk and from it, between shards.

use tokio::sync::oneshot;

use crate::id::{AnyPeer, PeerId};
use crate::inbound::{GroupState, Kinds, MemberLimits, Object};
use crate::shard::OrderReply;

/// A message to the desk, or from it.
#[derive(Debug)]
pub enum DeskNote {
    /// Clients have said this.
    Objects(Vec<Object>),
    /// A connection is a member from now on.
    Attach {
        /// Which one.
        link: AnyPeer,
        /// The name of its group.
        group: Box<str>,
        /// What it asks for.
        limits: MemberLimits,
    },
    /// A connection is no member any more.
    Detach(AnyPeer),
    /// A member has acknowledged all objects up to this number.
    Acknowledge(AnyPeer, u64),
    /// A member may have so many more objects unacknowledged.
    Credit(AnyPeer, u32),
    /// So many bytes have been written to a member.
    Written(AnyPeer, usize),
    /// A batch for a member whose connection is here.
    Batch(PeerId, Vec<u8>),
    /// An error for a member whose connection is here.
    Error(PeerId, Vec<u8>),
    /// A member polls.
    Poll(
        PollRequest,
        oneshot::Sender<Result<PolledObjects, PollRefused>>,
    ),
    /// A member that polls has acknowledged.
    AckPolled {
        /// The name of its group.
        group: Box<str>,
        /// Its name.
        member: Box<str>,
        /// All objects up to this number.
        seq: u64,
        /// Answered with how many it has not acknowledged.
        reply: oneshot::Sender<Result<usize, PollRefused>>,
    },
    /// Answer a client's message.
    Reply {
        /// The member that answers.
        link: AnyPeer,
        /// The number of the message in the member's group.
        n: u64,
        /// The answer: a JSON value.
        data: Box<str>,
        /// What has become of it.
        reply: OrderReply,
    },
    /// List a group's dead letters.
    DeadLetters {
        /// The name of the group.
        group: Box<str>,
        /// How many.
        limit: usize,
        /// The answer; `None` if there is no such group.
        reply: oneshot::Sender<Option<DeadLetterPage>>,
    },
    /// List the groups.
    Groups(oneshot::Sender<Vec<ListedGroup>>),
}

/// What a member that polls asks for.
#[derive(Clone, Debug)]
pub struct PollRequest {
    /// The name of its group.
    pub group: Box<str>,
    /// Its name.
    pub member: Box<str>,
    /// The kinds that it gets.
    pub kinds: Kinds,
    /// Objects in the answer at most.
    pub max: usize,
    /// Whether the answer waits for objects if there are none.
    pub waits: bool,
}

/// What a member that polls is answered.
#[derive(Debug)]
pub struct PolledObjects {
    /// The objects: a JSON array.
    pub events: Vec<u8>,
    /// The number that the next object has.
    pub next: u64,
    /// How many there are.
    pub(super) count: usize,
}

/// Why a member that polls is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PollRefused {
    /// There are `backend.max_groups`.
    Groups,
    /// There are `backend.max_members`.
    Members,
    /// The group's members get other kinds.
    Kinds,
    /// It is not known, or has not polled for `backend.ack_timeout`.
    Unknown,
    /// It has not been sent so many; this is the last one.
    Ack(u64),
}

/// The newest dead letters of a group.
#[derive(Debug, Default)]
pub struct DeadLetterPage {
    /// How many there have been.
    pub total: u64,
    /// How many are kept.
    pub kept: usize,
    /// Oldest first: JSON objects with commas between them.
    pub items: Vec<u8>,
}

/// A group in a listing.
#[derive(Clone, Debug)]
pub struct ListedGroup {
    /// Its name; empty while it has had no member.
    pub name: Box<str>,
    /// What it has.
    pub state: GroupState,
}
