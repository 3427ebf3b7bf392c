//! The messenger protocol (docs/messenger.md): accounts with Ed25519 keys, messages that are stored until their
//! recipients have them, and signed commands.

mod account;
mod api;
mod audit;
mod challenge;
mod settings;
mod static_files;
mod statistics;
mod token;

pub use settings::{Duplicate, MessengerSettings};

use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};

use crate::config::Config;
use crate::conn::{Admission, Claimed, Dialect, Registry, Route};
use crate::http::{Answer, Source};
use crate::process::Publishers;
use crate::service::{Endpoint, State};
use crate::shard::Shard;
use crate::store::Store;
use audit::{AuditEvent, AuditLog};
use challenge::Challenges;
use static_files::StaticFiles;
use token::TokenIssuer;

/// The name of the protocol in the log and in listings.
const NAME: &str = "messenger";

/// The messenger protocol: what all shards of the process share of it.
#[derive(Debug)]
pub struct Messenger {
    settings: MessengerSettings,
    /// Accounts and messages; `None` where the protocol is not enabled.
    store: Option<Arc<Store>>,
    challenges: Challenges,
    tokens: TokenIssuer,
    /// Counts requests toward `messenger.requests_per_minute`.
    requests: Publishers,
    /// Counts requests toward `messenger.registrations_per_minute`.
    registrations: Publishers,
    audit: AuditLog,
    /// The files of `messenger.static_dir`.
    files: Option<StaticFiles>,
}

impl Messenger {
    /// Registers the protocol, and opens the store if it is enabled.
    pub fn register(config: &Config, registry: &mut Registry) -> Box<dyn Dialect> {
        let mut settings: MessengerSettings = config.section();
        if !settings.enabled {
            settings.security_log_file = None;
            settings.static_dir = None;
        }
        let store = settings
            .enabled
            .then(|| registry.open_store(config))
            .flatten();
        registry.issues_tokens |= settings.enabled;
        let audit = AuditLog::open(settings.security_log_file.clone());
        let audit = audit.unwrap_or_else(|error| {
            registry.fail("messenger.security_log_file", &error);
            AuditLog::default()
        });
        registry.chores.extend(audit.chore());
        let files = settings.static_dir.as_deref().and_then(|folder| {
            let files = StaticFiles::open(folder);
            let failed = |error| registry.fail("messenger.static_dir", &error);
            files.map_err(failed).ok()
        });
        let lifetime_ms = u64::try_from(settings.challenge_lifetime.as_millis());
        Box::new(Arc::new(Self {
            store,
            challenges: Challenges::new(
                settings.max_challenges,
                lifetime_ms.expect("it has an upper limit"),
            ),
            tokens: TokenIssuer::new(&config.auth, settings.token_lifetime.as_secs()),
            requests: Publishers::new(settings.requests_per_minute),
            registrations: Publishers::new(settings.registrations_per_minute),
            audit,
            files,
            settings,
        }))
    }

    /// The store, for endpoints and connections, which there are only with it.
    fn store(&self) -> &Arc<Store> {
        let store = self.store.as_ref();
        store.expect("there is nothing of the protocol without it")
    }

    /// Writes a line into the security log.
    fn note(&self, state: &State, event: AuditEvent<'_>) {
        state.shard.clock.refresh();
        self.audit.note(event, state.shard.clock.wall_ms());
    }
}

impl Dialect for Arc<Messenger> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, path: &str) -> Option<Route> {
        let _ = path;
        None
    }

    fn openapi(&self) -> &'static str {
        include_str!("messenger/openapi.json")
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        api::endpoints(self)
    }

    fn unrouted(&self, method: &Method, path: &str, status: u16) -> Option<Answer> {
        self.store.as_ref()?;
        api::unrouted(method, path, status)
    }

    fn claim(
        &self,
        _shard: &Rc<Shard>,
        _request: &Request<Incoming>,
        _source: Source,
    ) -> Admission<Claimed> {
        unreachable!("no path has a route of connections")
    }
}
