//! What a connection's messages do on its shard: one folder per protocol.

mod bridge;
mod echo;
mod events;
mod stream;

use crate::auth::Identity;
use crate::engine::Outcome;
use crate::id::PeerId;
use crate::process::{Crowd, Over};
use crate::protocol::Disconnect;
use crate::protocol::events::Parameters;
use crate::shard::Shard;
use crate::ws::OpCode;
use stream::Stream;

/// What happens after a message.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// The next one.
    Continue,
    /// There is no room: the same message again after the next flush.
    Wait,
    /// The end.
    End(Disconnect),
}

/// Who a connection belongs to.
#[derive(Debug)]
pub(super) enum Standing {
    /// Nobody asked.
    Anonymous,
    /// A valid credential says so.
    Known(Box<Identity>),
    /// A credential was asked for, and what came is none.
    Refused,
}

impl Standing {
    /// Who is known to be at the other end.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Known(identity) => Some(identity),
            Self::Anonymous | Self::Refused => None,
        }
    }
}

/// The protocol a connection speaks, fixed for its life.
#[derive(Debug)]
pub(super) enum Session {
    Echo,
    Stream(Stream),
    Bridge(Box<bridge::Bridge>),
    Events(Box<events::Events>),
}

impl Session {
    pub(super) fn echo() -> Self {
        Self::Echo
    }

    /// A stream of these topics, of this user's if a token says so.
    pub(super) fn stream(shard: &Shard, user: Option<&str>, topics: &[Box<str>]) -> Self {
        Self::Stream(Stream::new(&shard.config, user, topics))
    }

    /// `head` is the answer to the upgrade request. With `refused` the connection
    /// ends as soon as it is open.
    pub(super) fn bridge(user: &str, head: Vec<u8>, refused: Option<Disconnect>) -> Self {
        Self::Bridge(Box::new(bridge::Bridge::new(user, head, refused)))
    }

    /// `client_id` is the name that the client gave itself, if it did.
    pub(super) fn events(
        endpoint: &'static str,
        client_id: Option<&str>,
        parameters: Parameters,
        standing: Standing,
    ) -> Self {
        let events = events::Events::new(endpoint, client_id, parameters, standing);
        Self::Events(Box::new(events))
    }

    /// The connection is open.
    pub(super) fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        match self {
            Self::Echo => Flow::Continue,
            Self::Stream(stream) => {
                stream.begin(shard);
                Flow::Continue
            }
            Self::Bridge(bridge) => bridge.begin(shard, peer),
            Self::Events(events) => events.begin(shard, peer),
        }
    }

    /// The connection is not open yet: it may be by now.
    pub(super) fn open_again(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        match self {
            Self::Echo | Self::Stream(_) | Self::Events(_) => Flow::Continue,
            Self::Bridge(bridge) => bridge.open_again(shard, peer),
        }
    }

    /// The connection is open, and there is no room for it.
    pub(super) fn refuse(&self, shard: &Shard, peer: PeerId, crowd: Crowd) -> Flow {
        match self {
            Self::Echo | Self::Stream(_) | Self::Bridge(_) => {}
            Self::Events(_) => events::refuse(shard, peer, crowd),
        }
        Flow::End(Disconnect::ConnectionLimit)
    }

    /// A message came, or comes again after [`Flow::Wait`], that is dropped because there were too
    /// many before it.
    pub(super) fn limited(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        (opcode, payload): (OpCode, &[u8]),
        over: Over,
    ) -> Flow {
        match self {
            // They have no rate.
            Self::Echo | Self::Stream(_) | Self::Bridge(_) => Flow::Continue,
            Self::Events(events) => events.limited(shard, peer, (opcode, payload), over),
        }
    }

    /// A message came. Text has been checked to be UTF-8.
    pub(super) fn message(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        opcode: OpCode,
        payload: &[u8],
    ) -> Flow {
        match self {
            Self::Echo => echo::message(shard, peer, opcode, payload),
            Self::Stream(_) => Flow::Continue,
            Self::Bridge(bridge) => bridge.message(shard, peer, opcode, payload),
            Self::Events(events) => events.message(shard, peer, opcode, payload),
        }
    }

    /// How many messages one message has turned out to be besides itself, since
    /// the last call.
    pub(super) fn take_uncounted(&mut self) -> u32 {
        match self {
            Self::Echo | Self::Stream(_) | Self::Bridge(_) => 0,
            Self::Events(events) => events.take_uncounted(),
        }
    }

    /// The engine has something to tell.
    pub(super) fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        match (self, outcome) {
            (Self::Events(events), outcome) => events.outcome(shard, peer, outcome),
            (Self::Bridge(_), outcome) => bridge::outcome(shard, peer, &outcome),
            (Self::Echo, Outcome::Gap(gap)) => events::gap(shard, peer, &gap),
            (Self::Stream(_), outcome) => stream::outcome(shard, peer, &outcome),
            (Self::Echo, _) => {}
        }
    }

    /// The connection is over.
    pub(super) fn end(&mut self, shard: &Shard, peer: PeerId) {
        match self {
            Self::Echo => {}
            Self::Stream(stream) => stream.end(shard),
            Self::Bridge(bridge) => bridge.end(),
            Self::Events(events) => events.end(shard, peer),
        }
    }
}
