//! What a connection is, whatever carries it.

use super::quota::Quota;
use super::session::Session;
use crate::id::{FormatId, UserKey};
use crate::process::ConnectionSlot;
use crate::shard::{ConnectionInfo, Lease};

/// What a connection is, whatever carries it: its dialect makes it of the request.
#[derive(Debug)]
pub struct Record {
    /// The wire format of publications sent to it.
    pub format: FormatId,
    /// Whose connection it is, if that was proven: messages that leave out this user are not sent to it.
    pub user: UserKey,
    /// Its session.
    pub session: Box<dyn Session>,
    /// Its seat and its rate limits. Released when the close begins.
    pub quota: Quota,
    /// What operators are told of it. Taken when the connection begins.
    pub info: Option<Box<ConnectionInfo>>,
    /// When its token expires, and the key that signed it.
    pub lease: Option<Lease>,
    /// Its slot among the process's connections.
    pub slot: ConnectionSlot,
}
