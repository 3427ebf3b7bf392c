//! The messenger protocol (docs/messenger.md): accounts with Ed25519 keys, messages that are stored until their
//! recipients have them, and signed commands.

mod account;
mod api;
mod audit;
mod bucket;
mod challenge;
mod claim;
mod command;
mod format;
mod frame;
mod recorder;
mod session;
mod settings;
mod static_files;
mod statistics;
mod token;

pub use account::{Registration, RegistrationError};
pub use command::{AskedCommand, COMMAND_MAX};
pub use frame::{Ignored, Inbound};
pub use settings::{Duplicate, MessengerSettings};

use std::rc::Rc;
use std::sync::Arc;

use hyper::{Method, Request};

use crate::config::Config;
use crate::conn::{Admission, Chore, Claimed, Commands, Dialect, Registry, Route};
use crate::http::{Answer, Source};
use crate::metrics::{CounterId, CounterRegistry};
use crate::process::Publishers;
use crate::service::{Endpoint, State};
use crate::shard::{Disconnect, Shard};
use crate::store::Store;
use audit::{AuditEvent, AuditLog};
use bucket::Buckets;
use challenge::Challenges;
use format::MessengerFormats;
use recorder::Recorder;
use static_files::StaticFiles;
use token::TokenIssuer;

/// The name of the protocol in the log and in listings.
const NAME: &str = "messenger";

/// Where its clients connect.
const WS_PATH: &str = "/ws";

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
    formats: MessengerFormats,
    causes: CloseCauses,
    /// The server commands.
    commands: Commands,
    buckets: Buckets,
    ignored: IgnoredCounters,
}

/// Counts messages that are ignored: their senders are not told.
#[derive(Debug)]
struct IgnoredCounters {
    invalid: CounterId,
    unknown_type: CounterId,
    recipient: CounterId,
}

impl IgnoredCounters {
    fn register(counters: &mut CounterRegistry) -> Self {
        Self {
            invalid: counters.register(
                "messenger_invalid_total",
                "Messages of the messenger that are not JSON of its shape, and are ignored.",
            ),
            unknown_type: counters.register(
                "messenger_unknown_type_total",
                "Messages of the messenger whose message_type is unknown, and which are ignored.",
            ),
            recipient: counters.register(
                "messenger_no_recipient_total",
                "Messages of the messenger for ids that nobody can have, which are ignored.",
            ),
        }
    }

    fn of(&self, why: Ignored) -> CounterId {
        match why {
            Ignored::Invalid => self.invalid,
            Ignored::UnknownType => self.unknown_type,
            Ignored::Recipient => self.recipient,
        }
    }
}

/// Why the protocol closes connections, beside the reasons that all protocols have.
#[derive(Debug)]
struct CloseCauses {
    /// A newer connection of the user replaces this one.
    replaced: Disconnect,
    /// The account is not there.
    unknown: Disconnect,
    /// The store does not say what waits for the user.
    unavailable: Disconnect,
}

impl CloseCauses {
    fn register(counters: &mut CounterRegistry) -> Self {
        let mut cause = |label, code, text| Disconnect::register(counters, label, (code, text));
        Self {
            replaced: cause("replaced", 1008, "Replaced by new connection"),
            unknown: cause("no_account", 1008, "Invalid user"),
            unavailable: cause("store", 1013, "The store does not answer: try again later"),
        }
    }
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
        let interval = Some(settings.metrics_interval).filter(|it| !it.is_zero());
        let recorder = store.clone().zip(interval);
        let recorder = recorder.map(|(store, every)| Recorder::new(store, every));
        registry
            .chores
            .extend(recorder.map(|it| Box::new(it) as Box<dyn Chore>));
        let files = settings.static_dir.as_deref().and_then(|folder| {
            let files = StaticFiles::open(folder);
            let failed = |error| registry.fail("messenger.static_dir", &error);
            files.map_err(failed).ok()
        });
        if settings.enabled
            && let Err(taken) = command::add_all(&registry.commands)
        {
            registry.fail("messenger.enabled", &taken);
        }
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
            formats: MessengerFormats::register(&mut registry.formats),
            causes: CloseCauses::register(&mut registry.counters),
            commands: registry.commands.clone(),
            buckets: Buckets::default(),
            ignored: IgnoredCounters::register(&mut registry.counters),
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
        let is_own = self.store.is_some() && path == WS_PATH;
        is_own.then_some(Route::Connection)
    }

    /// Another protocol has the same path, and names its user in the query.
    fn takes(&self, query: &str) -> bool {
        !query
            .split('&')
            .any(|pair| pair.split('=').next() == Some("user_id"))
    }

    fn openapi(&self) -> &'static str {
        include_str!("messenger/openapi.json")
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        api::endpoints(self)
    }

    fn unrouted(&self, method: &Method, path: &str, status: u16) -> Option<Answer> {
        self.store.as_ref()?;
        if path == "/static" && self.files.is_some() {
            return Some(static_files::to_folder(path));
        }
        api::unrouted(method, path, status)
    }

    fn claim(
        &self,
        shard: &Rc<Shard>,
        request: &Request<()>,
        source: Source,
    ) -> Admission<Claimed> {
        let claim = claim::claim(self, shard, request, source)?;
        Ok(Claimed::WebSocket(Box::new(claim)))
    }
}
