//! What a connection's messages do: a session for each connection, which its dialect makes.

use std::fmt::Debug;

use crate::auth::Identity;
use crate::engine::Outcome;
use crate::id::PeerId;
use crate::process::{Crowd, Over};
use crate::shard::{Disconnect, Shard};
use crate::ws::OpCode;

/// What happens after a message.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// The next one.
    Continue,
    /// There is no room: the same message again after the next flush.
    Wait,
    /// The end.
    End(Disconnect),
}

/// Who a connection belongs to.
#[derive(Debug)]
pub enum Standing {
    /// Nobody asked.
    Anonymous,
    /// A valid credential says so.
    Known(Box<Identity>),
    /// A credential was asked for, and what came is none.
    Refused,
}

impl Standing {
    /// Who is known to be at the other end.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Known(identity) => Some(identity),
            Self::Anonymous | Self::Refused => None,
        }
    }
}

/// One connection's side of a protocol. It lives in [`Records`](super::Records), reachable without the connection's task.
pub trait Session: Debug {
    /// The connection is open.
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow;

    /// The answer to the upgrade request has been held back ([`Shard::hold_open`]): it may go out by now.
    fn open_again(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        let _ = (shard, peer);
        Flow::Continue
    }

    /// The connection is open, there is no room for it, and it ends. It may be told so before.
    fn refuse(&mut self, shard: &Shard, peer: PeerId, crowd: Crowd) {
        let _ = (shard, peer, crowd);
    }

    /// A message came, or comes again after [`Flow::Wait`].
    fn message(&mut self, shard: &Shard, peer: PeerId, opcode: OpCode, payload: &[u8]) -> Flow;

    /// A message came, or comes again after [`Flow::Wait`], that is dropped because there were too
    /// many before it.
    fn limited(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        (opcode, payload): (OpCode, &[u8]),
        over: Over,
    ) -> Flow {
        let _ = (shard, peer, opcode, payload, over);
        Flow::Continue
    }

    /// Messages that one message has turned out to be besides itself, not yet charged to the rate limit.
    fn take_uncounted(&mut self) -> u32 {
        0
    }

    /// The engine has something to tell.
    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome);

    /// The connection is over.
    fn end(&mut self, shard: &Shard, peer: PeerId) {
        let _ = (shard, peer);
    }
}
