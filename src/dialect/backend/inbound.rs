//! The other direction: what a member is sent, and what it acknowledges.
//!
//! Stubs: nothing is sent to members yet.

use super::session::LinkSession;
use crate::conn::Flow;
use crate::id::PeerId;
use crate::shard::Shard;

impl LinkSession {
    /// The member has processed its objects up to and including this one.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "a stub")]
    pub(super) fn acknowledge(&mut self, shard: &Shard, peer: PeerId, seq: u64) -> Flow {
        let _ = (shard, peer, seq);
        Flow::Continue
    }

    /// The member may have `more` objects unacknowledged at once from now on.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "a stub")]
    pub(super) fn credit(&mut self, shard: &Shard, peer: PeerId, more: u64) -> Flow {
        let _ = (shard, peer, more);
        Flow::Continue
    }

    /// Members of the group, and objects that it has not acknowledged.
    pub(super) fn group_counts(&self, shard: &Shard) -> (usize, usize) {
        let _ = shard;
        (1, 0)
    }
}
