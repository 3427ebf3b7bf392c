//! `/debug/echo`: every message goes back as it came.

use super::Flow;
use crate::id::{PeerId, Priority};
use crate::shard::Shard;
use crate::ws::OpCode;

pub(super) fn message(shard: &Shard, peer: PeerId, opcode: OpCode, payload: &[u8]) -> Flow {
    shard.send(peer, Priority::Normal, opcode, payload);
    Flow::Continue
}
