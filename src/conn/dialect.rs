//! What a protocol implements: which paths are its own, and how requests to them become connections.

use std::fmt::{Debug, Display};
use std::rc::Rc;
use std::sync::Arc;

use hyper::{Method, Request};

use super::claim::{Admission, Claimed, Route};
use super::commands::Commands;
use crate::config::{Config, Mode};
use crate::engine::FormatRegistry;
use crate::http::{Answer, Source};
use crate::metrics::CounterRegistry;
use crate::process::Process;
use crate::service::{Endpoint, Role};
use crate::shard::Shard;
use crate::sse::CursorKey;
use crate::store::{Store, StoreError};

/// A protocol, registered at the start.
pub trait Dialect: Debug + Send + Sync {
    /// Whether `path` belongs to the dialect; `None` if not. Paths are compared as they are, without decoding, case
    /// folding or normalization (docs/hostile-inputs.md, H16).
    fn route(&self, path: &str) -> Option<Route>;

    /// Whether a request with this query is the dialect's, of those to a path that several dialects have a route for: the
    /// first one of these that takes it.
    fn takes(&self, query: &str) -> bool {
        let _ = query;
        true
    }

    /// Its HTTP endpoints, and the documentation of its connections.
    fn endpoints(&self) -> Vec<Endpoint> {
        Vec::new()
    }

    /// The answer to a request for `path` that no endpoint takes, where the dialect answers in a form of its own: the
    /// `status` would be 404, or 405 if endpoints of the path take other methods.
    fn unrouted(&self, method: &Method, path: &str, status: u16) -> Option<Answer> {
        let _ = (method, path, status);
        None
    }

    /// The description of its HTTP endpoints and of its connections, each at its default path: the part of an OpenAPI
    /// document.
    fn openapi(&self) -> &'static str {
        "{}"
    }

    /// Who its connections are for, and so at which listeners they are.
    fn role(&self) -> Role {
        Role::Clients
    }

    /// Its name in the log and in listings.
    fn name(&self) -> &'static str;

    /// Decides about a request to a path whose route is [`Route::Connection`].
    ///
    /// # Errors
    /// The response that refuses it.
    fn claim(&self, shard: &Rc<Shard>, request: &Request<()>, source: Source)
    -> Admission<Claimed>;
}

/// What protocols register at the start of a process.
#[derive(Default, Debug)]
pub struct Registry {
    /// Wire formats.
    pub formats: FormatRegistry,
    /// Counters of their own.
    pub counters: CounterRegistry,
    /// Signs the cursors of event streams, the same for all shards.
    pub cursors: Option<Arc<CursorKey>>,
    /// Commands that clients call by name.
    pub commands: Commands,
    /// Whether a protocol logs users in, with tokens that the gateway signs.
    pub issues_tokens: bool,
    /// Work beside the connections.
    pub chores: Vec<Box<dyn Chore>>,
    /// Why the gateway cannot start: what a setting of a protocol names cannot be used.
    pub failed: Option<String>,
    /// The store, once a protocol has opened it; a gateway does not start without one that could not be opened.
    pub store: Option<Result<Arc<Store>, StoreError>>,
}

impl Registry {
    /// Has the gateway not start, since what the key `setting` names cannot be used.
    pub fn fail(&mut self, setting: &str, error: &dyn Display) {
        self.failed
            .get_or_insert_with(|| format!("`{setting}`: {error}"));
    }

    /// The store of the process, opened for the first protocol that stores anything. `None` if it cannot be opened.
    pub fn open_store(&mut self, config: &Config) -> Option<Arc<Store>> {
        let open = || Store::open(&config.store, config.mode == Mode::Demo);
        let store = self.store.get_or_insert_with(open);
        store.as_ref().ok().cloned()
    }
}

/// Work of a protocol that the control thread does.
pub trait Chore: Debug + Send {
    /// Called about once a second, and at SIGHUP, which `is_reload` says: files are to be opened again. Must not take
    /// long.
    fn look(&mut self, process: &Process, is_reload: bool);
}

/// All protocols of a process.
pub type Dialects = Arc<[Box<dyn Dialect>]>;
