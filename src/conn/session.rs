//! The protocol state of a connection, which its dialect creates: what its messages do, and how outcomes are written.

use std::borrow::Cow;
use std::fmt::Debug;
use std::task::Context;

use crate::auth::{Identity, TokenError};
use crate::engine::Outcome;
use crate::id::{PeerId, UserKey};
use crate::metrics::Refused;
use crate::process::{LimitReached, RateLimited};
use crate::shard::{ConnectionOrder, Disconnect, OrderReply, OrderResult, Shard};
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
    Refused(Denied),
}

/// Why credentials are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// There are none, and some are required.
    NoToken,
    /// The token is refused.
    Token(TokenError),
}

impl Denied {
    /// What the client is told: not which check its token has failed.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NoToken => "No token",
            Self::Token(TokenError::Blocked) => "The user is blocked",
            Self::Token(_) => "Invalid or expired token",
        }
    }

    /// The same for the log, with the check.
    #[must_use]
    pub fn detail(self) -> Cow<'static, str> {
        match self {
            Self::NoToken => "no token".into(),
            Self::Token(error) => error.to_string().into(),
        }
    }

    /// The status of the response where the request is refused.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Token(TokenError::Blocked) => 403,
            Self::NoToken | Self::Token(_) => 401,
        }
    }

    /// As it is counted where the request is refused.
    #[must_use]
    pub fn refused(self) -> Refused {
        match self {
            Self::NoToken => Refused::NoToken,
            Self::Token(error) => error.into(),
        }
    }

    /// As it is counted where a connection is accepted and closed.
    #[must_use]
    pub fn disconnect(self) -> Disconnect {
        match self {
            Self::NoToken => Disconnect::NoToken,
            Self::Token(TokenError::Expired) => Disconnect::ExpiredToken,
            Self::Token(TokenError::Revoked) => Disconnect::Revoked,
            Self::Token(TokenError::Blocked) => Disconnect::Blocked,
            Self::Token(_) => Disconnect::InvalidToken,
        }
    }
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
            Self::Anonymous | Self::Refused(_) => None,
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

    /// Whether [`Self::poll`] is to be called. Asked once, when the connection begins.
    fn is_polled(&self) -> bool {
        false
    }

    /// Called whenever the task of a connection is polled, also while its upgrade response is held back: futures that the
    /// session waits for wake that task.
    fn poll(&mut self, shard: &Shard, peer: PeerId, cx: &mut Context<'_>) {
        let _ = (shard, peer, cx);
    }

    /// Whether applications are told when the connection begins and ends: not if it is accepted only to be refused.
    fn is_announced(&self) -> bool {
        true
    }

    /// Says to its client that the gateway lives: called as often as [`Shard::set_beat`] has it.
    fn beat(&mut self, shard: &Shard, peer: PeerId) {
        let _ = (shard, peer);
    }

    /// Executes an order of an application. A session that has to wait for the result takes `reply`, and returns
    /// [`OrderResult::Pending`].
    fn order(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        order: &ConnectionOrder,
        reply: &mut OrderReply,
    ) -> OrderResult {
        let _ = (shard, peer, order, reply);
        OrderResult::Unsupported
    }

    /// Writes an outcome of the engine to the peer.
    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome);

    /// The close has begun, or the socket has ended: undoes what the session has registered. May be called twice.
    fn end(&mut self, shard: &Shard, peer: PeerId) {
        let _ = (shard, peer);
    }

    /// The gateway has begun to close, and all that was queued for the peer has been written. Not called where the socket
    /// fails or takes too long, nor where the client has begun: it discards what it is sent then.
    fn drained(&mut self, shard: &Shard, peer: PeerId) {
        let _ = (shard, peer);
    }
}
