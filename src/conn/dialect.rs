//! What a protocol is to connections: which requests are its own, and what becomes of them.

use std::fmt::Debug;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;

use super::claim::{Admission, Claimed, Route};
use crate::config::Config;
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
