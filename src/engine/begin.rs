//! Where a subscription begins.

use crate::id::Position;

/// Where delivery begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// With the next message that arrives at this shard, which the subscriber may have received from another shard.
    Live,
    /// With a message that the topic's home accepts from now on: never with one that the subscriber can have received
    /// before. Messages accepted before the home learns of the subscription are skipped.
    Here,
    /// After this position, as far as history is retained.
    After(Position),
    /// The same; where not all of them are retained, with the newest, behind a gap.
    AfterOrNewest(Position),
    /// With the newest messages that are retained, at most this many.
    Last(u64),
}
