//! What a request that becomes a connection is claimed as.

use std::borrow::Cow;
use std::time::Duration;

use super::record::Record;
use crate::auth::Identity;
use crate::http::Answer;
use crate::metrics::Refused;
use crate::ws::deflate::Agreed;

/// A socket that becomes a WebSocket connection.
#[derive(Debug)]
pub struct WebSocketClaim {
    /// The upgrade response; empty if the session sends it.
    pub head: Vec<u8>,
    /// The negotiated compression.
    pub agreed: Option<Agreed>,
    /// The largest message that it may send, after inflation.
    pub message_bytes_max: usize,
    /// What the connection is.
    pub record: Record,
}

/// A socket whose response does not end. Further input is discarded.
#[derive(Debug)]
pub struct StreamClaim {
    /// Silence after which it is sent a comment.
    pub heartbeat: Duration,
    /// What the connection is. The session sends the head of the response.
    pub record: Record,
}

/// A refused request: the response, and what is counted and logged of it.
#[derive(Debug)]
pub struct UpgradeRefusal {
    /// The counter's label.
    pub cause: Refused,
    /// The response.
    pub answer: Box<Answer>,
    /// Why, for the log; of the request at most the name of a topic is in it, never a credential.
    pub detail: Cow<'static, str>,
    /// The user, if that was verified.
    pub user: Option<Box<str>>,
}

impl UpgradeRefusal {
    /// A refusal without a user.
    pub fn new(cause: Refused, answer: Box<Answer>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            cause,
            answer,
            detail: detail.into(),
            user: None,
        }
    }

    /// The same, of a verified user.
    #[must_use]
    pub fn of(mut self, identity: Option<&Identity>) -> Self {
        self.user = identity.map(|identity| identity.user.as_str().into());
        self
    }
}

/// The result of one step.
pub type Admission<T> = Result<T, UpgradeRefusal>;

/// What a dialect does with a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// It becomes a connection.
    Connection,
    /// It is disabled in the configuration: 404.
    Disabled,
    /// Upgrade requests are refused with 404 and this text; the router answers others.
    NoWebSocket(String),
    /// All requests are refused with 404 and this text.
    Refused(&'static str),
}

/// What a request becomes.
#[derive(Debug)]
pub enum Claimed {
    /// A WebSocket connection.
    WebSocket(Box<WebSocketClaim>),
    /// A response that does not end.
    Stream(Box<StreamClaim>),
    /// No connection: the request is answered.
    Answer(Box<Answer>),
}

/// What came before a connection began.
#[derive(Debug)]
pub(super) struct Received {
    /// What applications are told of it; empty if nothing.
    pub(super) announcement: Vec<u8>,
    /// Bytes received after the request that claimed the socket.
    pub(super) rest: Vec<u8>,
}

impl Claimed {
    /// What the connection is, if it becomes one.
    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            Self::WebSocket(claim) => Some(&claim.record),
            Self::Stream(claim) => Some(&claim.record),
            Self::Answer(_) => None,
        }
    }
}
