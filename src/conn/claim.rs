//! What a request that becomes a connection is claimed as.

use super::quota::Quota;
use super::session::Session;
use crate::http::Answer;
use crate::id::FormatId;
use crate::metrics::Refused;
use crate::process::ConnectionSlot;
use crate::shard::Lease;
use crate::ws::deflate::Agreed;

/// A socket that becomes a WebSocket connection.
#[derive(Debug)]
pub struct WebSocketClaim {
    /// The upgrade response; empty if the session sends it.
    pub head: Vec<u8>,
    /// The negotiated compression.
    pub agreed: Option<Agreed>,
    /// The wire format of publications sent to it.
    pub format: FormatId,
    /// Its session.
    pub session: Box<dyn Session>,
    /// The largest message that it may send, after inflation.
    pub message_bytes_max: usize,
    /// Its slot among the process's connections.
    pub slot: ConnectionSlot,
    /// When its token expires, and the key that signed it.
    pub lease: Option<Lease>,
    /// Its seat and its rate limits.
    pub quota: Quota,
}

/// A socket whose response does not end. Further input is discarded.
#[derive(Debug)]
pub struct StreamClaim {
    /// The wire format of publications sent to it.
    pub format: FormatId,
    /// Its session, which sends the head of the response.
    pub session: Box<dyn Session>,
    /// Its slot among the process's connections.
    pub slot: ConnectionSlot,
    /// Its seat among `events.max_connections`.
    pub quota: Quota,
    /// When its token expires, and the key that signed it.
    pub lease: Option<Lease>,
}

/// The response that refuses a request, and the counter's label.
pub type UpgradeRefusal = (Refused, Box<Answer>);

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
