//! What a protocol is to connections: which requests are its own, and what becomes of them.

use std::fmt::Debug;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;

use super::admit::{Admission, StreamClaim, WebSocketClaim};
use crate::config::Config;
use crate::http::Answer;
use crate::service::Endpoint;
use crate::shard::Shard;

/// A protocol. It is registered at the start, and never again mentioned by name below.
pub trait Dialect: Debug + Send + Sync {
    /// What a path is to the dialect; `None`: nothing. Only the exact spelling counts: nothing is decoded,
    /// folded or cut (hostile-inputs.md H16).
    fn route(&self, config: &Config, path: &str) -> Option<Route>;

    /// What it answers over HTTP, and what is said about its connections.
    fn endpoints(&self, config: &Config) -> Vec<Endpoint> {
        let _ = config;
        Vec::new()
    }

    /// Decides about a request to a path that becomes a connection.
    ///
    /// # Errors
    /// The answer that turns it away.
    fn claim(
        &self,
        shard: &Rc<Shard>,
        request: &Request<Incoming>,
        address: IpAddr,
    ) -> Admission<Claimed>;
}

/// All protocols of a process.
pub type Dialects = Arc<[Box<dyn Dialect>]>;

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
