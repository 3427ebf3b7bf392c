//! What clients say to applications, from the shard that hears it to the application that acknowledges it: objects,
//! the groups of members that share them, and what each member has been sent. Values only: no sockets, no clock.

mod dead_letters;
mod group;
mod kind;
mod member;
#[cfg(test)]
mod model;
mod object;
mod queue;

pub use dead_letters::DeadLetter;
pub use group::{Group, GroupCounts, GroupLimits, GroupState, Held, MemberId};
pub use kind::{Kinds, ObjectKind, UnknownKind};
pub use member::{AckError, MemberLimits};
pub use object::{
    ConnectFields, DisconnectFields, MessageBody, MessageFields, Object, ObjectWriter,
};

/// The bytes that an object takes besides its text.
pub const OBJECT_OVERHEAD: usize = 96;
