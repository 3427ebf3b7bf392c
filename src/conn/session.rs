//! The protocol state of a connection, which its dialect creates: what its messages do, and how outcomes are written.

use std::fmt::Debug;

use crate::auth::Identity;
use crate::engine::Outcome;
use crate::id::{PeerId, UserKey};
use crate::process::{LimitReached, RateLimited};
use crate::shard::{Disconnect, Shard};
use crate::ws::Payload;

/// What the connection's task does after a message.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Processes the next message.
    Continue,
    /// Backpressure: passes the same message again after the next flush.
    Wait,
    /// Closes the connection.
    End(Disconnect),
}

/// The result of checking a request's credentials.
#[derive(Debug)]
pub enum Authentication {
    /// No credentials were given, and none are required.
    Anonymous,
    /// The credentials are valid.
    Known(Box<Identity>),
    /// The credentials are not valid, or are required and missing.
    Refused,
}

impl Authentication {
    /// The authenticated user.
    #[must_use]
    pub fn user(&self) -> UserKey {
        let identity = self.identity();
        identity.map_or(UserKey::NONE, |identity| UserKey::of(&identity.user))
    }

    /// The authenticated identity.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Known(identity) => Some(identity),
            Self::Anonymous | Self::Refused => None,
        }
    }
}

/// The protocol state of one connection. It is in the [`Records`](super::Records), reachable without the
/// connection's task.
pub trait Session: Debug {
    /// The connection is open.
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow;

    /// The upgrade response is held back ([`Shard::hold_open`]): called whenever the task is polled, to send it if the
    /// condition now holds.
    fn open_again(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        let _ = (shard, peer);
        Flow::Continue
    }

    /// The connection is open but exceeds a limit: the session may send an error before it is closed.
    fn refuse(&mut self, shard: &Shard, peer: PeerId, limit_reached: LimitReached) {
        let _ = (shard, peer, limit_reached);
    }

    /// Processes a message, a new one or one that was answered with [`Flow::Wait`].
    fn message(&mut self, shard: &Shard, peer: PeerId, payload: Payload<'_>) -> Flow;

    /// As [`Self::message`], for a message that exceeds a rate limit: it is answered with an error and dropped.
    fn limited(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        payload: Payload<'_>,
        over: RateLimited,
    ) -> Flow {
        let _ = (shard, peer, payload, over);
        Flow::Continue
    }

    /// Takes the number of batched messages that are not yet charged to the rate limit: those besides the first.
    fn take_uncharged(&mut self) -> u32 {
        0
    }

    /// Writes an outcome of the engine to the peer.
    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome);

    /// The close has begun, or the socket has ended: undoes what the session has registered. May be called twice.
    fn end(&mut self, shard: &Shard, peer: PeerId) {
        let _ = (shard, peer);
    }
}
