//! What the handlers of HTTP requests share, whichever protocol they are of: what they know, who may ask, how something
//! is published, and what is said about an operation in the documentation.

mod accepted;
mod credentials;
mod operation;
mod order;
mod socket;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::auth::Authenticator;
use crate::config::Config;
use crate::http::Page;
use crate::process::{Process, ProcessPhase};
use crate::shard::Handle;

pub(crate) use accepted::{ACCEPTED, ACCEPTED_EXAMPLE, accepted};
pub(crate) use credentials::Service;
pub use operation::Endpoint;
pub(crate) use operation::{
    BUSY, EndpointAccess, EndpointGroup, Example, Method, Operation, Parameter, ParameterPlace,
    Reply, RequestBody, UNAVAILABLE, UNKNOWN,
};
pub(crate) use order::{
    DEFAULT_NAME, Failed, Order, address_of, body_of, count, open, receipt, text_of,
};
pub(crate) use socket::{BAD_ORIGIN, BAD_REQUEST, NO_ROOM, NO_UPGRADE, SOCKET, TOO_MANY, UPGRADED};

/// What handlers know.
#[derive(Debug)]
pub struct State {
    /// What those of all shards know.
    pub shared: Arc<Shared>,
    /// The shard whose requests they answer.
    pub shard: Handle,
}

/// What the handlers of all shards know.
#[derive(Debug)]
pub struct Shared {
    /// What was configured.
    pub config: Arc<Config>,
    /// What all shards share.
    pub process: Arc<Process>,
    /// Whether the process serves.
    pub phase: watch::Receiver<ProcessPhase>,
    /// What credentials are checked against.
    pub authenticator: Arc<Authenticator>,
    /// When the process began to serve.
    pub started: Instant,
    /// What is said about all endpoints, for programs.
    pub openapi: String,
    /// The same, for people.
    pub docs: Page,
}

impl Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}
