//! What becomes of a request that is no ordinary one.

use super::quota::Quota;
use super::session::Session;
use crate::http::Answer;
use crate::id::FormatId;
use crate::metrics::Refused;
use crate::process::{ConnectionSlot, Seat};
use crate::shard::Lease;
use crate::ws::deflate::Agreed;

/// A socket that becomes a WebSocket connection.
#[derive(Debug)]
pub struct WebSocketClaim {
    /// The answer to the upgrade request; empty if the session sends it.
    pub head: Vec<u8>,
    /// What was agreed about compression.
    pub agreed: Option<Agreed>,
    /// How it reads publications.
    pub format: FormatId,
    /// Its side of the protocol.
    pub session: Box<dyn Session>,
    /// The largest message that it may send.
    pub message_bytes_max: usize,
    /// Its slot among the process's connections.
    pub place: ConnectionSlot,
    /// Until when the connection may last, if its token says so.
    pub lease: Option<Lease>,
    /// What it may use of what all share.
    pub quota: Quota,
}

/// A socket whose response does not end. What its peer sends is thrown away.
#[derive(Debug)]
pub struct StreamClaim {
    /// How it reads publications.
    pub format: FormatId,
    /// Its side of the protocol, which sends the head of the response.
    pub session: Box<dyn Session>,
    /// Its slot among the process's connections.
    pub place: ConnectionSlot,
    /// Its seat among those that topics are read on.
    pub seat: Seat,
    /// Until when the connection may last, if its token says so.
    pub lease: Option<Lease>,
}

/// An answer that turns a request away, and what it counts as.
pub type UpgradeRefusal = (Refused, Box<Answer>);

/// What comes of a step.
pub type Admission<T> = Result<T, UpgradeRefusal>;

/// What a path is to a dialect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// It becomes a connection.
    Connection,
    /// It would, if it were not switched off.
    Disabled,
    /// A request that asks for a WebSocket is refused with 404 and this text; others are the router's.
    NoWebSocket(String),
    /// It is refused with 404 and this text.
    Refused(&'static str),
}

/// A socket that becomes something else than HTTP.
#[derive(Debug)]
pub enum Claimed {
    /// A WebSocket connection.
    WebSocket(Box<WebSocketClaim>),
    /// A response that does not end.
    Stream(Box<StreamClaim>),
    /// Nothing: this answer was asked for alone.
    Answer(Box<Answer>),
}
