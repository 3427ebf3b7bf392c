//! What HTTP handlers of all protocols share: their state, credentials of services, and publishing.

mod accepted;
mod connections;
mod credentials;
mod endpoint;
mod order;
mod role;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::auth::Authenticator;
use crate::config::Config;
use crate::process::{Process, ProcessPhase};
use crate::shard::Handle;

pub(crate) use accepted::publish_one;
pub(crate) use connections::{Closing, LISTED_DEFAULT, LISTED_MAX, Stopping, close_order, find};
pub(crate) use credentials::Service;
pub use endpoint::Endpoint;
pub(crate) use order::{
    BadOrder, DEFAULT_NAME, Failed, Order, body_of, count, open, receipt, source_of, take, text_of,
};
pub use role::Role;

/// The state of the handlers of one shard.
#[derive(Debug)]
pub struct State {
    /// The state that all shards share.
    pub shared: Arc<Shared>,
    /// The shard whose requests are answered.
    pub shard: Handle,
}

/// The state of the handlers of all shards.
#[derive(Debug)]
pub struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// Limits and tables of the process.
    pub process: Arc<Process>,
    /// The phase of the process.
    pub phase: watch::Receiver<ProcessPhase>,
    /// Keys and secrets that credentials are checked against.
    pub authenticator: Arc<Authenticator>,
    /// When the process began to serve.
    pub started: Instant,
    /// The OpenAPI document.
    pub openapi: String,
}

impl State {
    /// The time of the request, in seconds of Unix time.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.shard.clock.refresh();
        self.shard.clock.wall_seconds()
    }
}

impl Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}
