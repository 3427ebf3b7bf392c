//! The process: one shard per core, started, supervised and stopped together.

mod control;
mod fetch;
mod files;
mod key_set;
mod listeners;
mod read;
mod service_manager;
mod signals;
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::api::Routes;
use crate::auth::{Authenticator, KeyError};
use crate::bus::Mesh;
use crate::config::{Config, ListenAddress, Mode};
use crate::conn::Registry;
use crate::dialect::{self, Protocol};
use crate::id::ShardId;
use crate::net::{self, CertificateError, SocketFile, TlsServer};
use crate::process::{Process, ProcessPhase};
use crate::reactor::{self, Plan};
use crate::shard::ShardSettings;
use crate::sse::CursorKey;
use crate::store::StoreError;
use control::{Control, ControlOrder};
pub(crate) use fetch::{FetchError, FetchLimits, FetchRequest, Trust};
pub(crate) use files::FILES_BESIDES;
use key_set::KeySetFetcher;
pub(crate) use key_set::KeySetSource;
use listeners::Listeners;
pub use listeners::{ListenError, unusable_addresses};
pub(crate) use read::read_file;
use service_manager::ServiceManager;
use watchdog::Watchdog;

/// Why a gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A key that tokens are checked with cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What a setting of a protocol names cannot be used.
    #[error("cannot use {0}")]
    Setting(String),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread or its runtime could not be made.
    #[error("cannot start a shard: {0}")]
    Start(io::Error),
    /// A shard's thread ended by itself.
    #[error("shard {0} failed")]
    Shard(u16),
}

/// A gateway that has been started.
#[derive(Debug)]
pub struct Gateway {
    /// Where it listens. Ports that were given as 0 have their numbers here.
    pub addresses: Vec<ListenAddress>,
    /// Where it listens for services, if that is elsewhere: `server.internal_listen`, likewise.
    pub internal: Vec<ListenAddress>,
    /// Where it redirects clients to https://, if it does.
    pub redirect: Option<SocketAddr>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    phase: watch::Sender<ProcessPhase>,
    stopping: Stopping,
    control: Control,
    process: Arc<Process>,
    /// The files of unix sockets, removed at the end.
    #[expect(dead_code, reason = "dropping them removes them")]
    files: Vec<SocketFile>,
}

/// Runs a gateway until SIGTERM or SIGINT; a second signal stops it at once. At SIGHUP it reads its
/// key files again.
///
/// # Errors
/// It could not be started, or a shard failed.
pub fn run(config: Config) -> Result<(), ServeError> {
    run_with(config, &[])
}

/// As [`run`], with protocols besides the gateway's (docs/extending.md).
///
/// # Errors
/// It could not be started, or a shard failed.
pub fn run_with(config: Config, more: &[Protocol]) -> Result<(), ServeError> {
    let mode = config.mode;
    if !config.server.huge_pages {
        net::use_small_pages();
    }
    let signals = signals::install().map_err(ServeError::Start)?;
    let gateway = Gateway::start_with(config, more)?;
    let shards = gateway.shards.len();
    for listen in &gateway.addresses {
        tracing::info!(address = %listen.socket(), tls = listen.tls, shards, %mode, "listening");
    }
    for listen in &gateway.internal {
        let (address, tls) = (listen.socket(), listen.tls);
        tracing::info!(%address, tls, shards, %mode, "listening for services");
    }
    if let Some(address) = gateway.redirect {
        tracing::info!(%address, "redirecting to https");
    }
    let manager = ServiceManager::from_env();
    let _watchdog = Watchdog::start(&manager, &gateway.process).map_err(ServeError::Start)?;
    let (stop, orders) = (gateway.phase.clone(), gateway.control.orders());
    let (told, process) = (manager.clone(), gateway.process.clone());
    let stop = move |signal, again| {
        let phase = if again {
            ProcessPhase::Stopping
        } else {
            let connections = process.connections();
            told.stopping(&format!("closing {connections} connections"));
            gateway.stopping.begin()
        };
        tracing::info!(signal, again, "stopping");
        let _ = stop.send(phase);
    };
    let told = manager.clone();
    let reload = move || {
        told.reloading();
        let _ = orders.send(ControlOrder::Reload(told.clone()));
    };
    signals.watch(stop, reload).map_err(ServeError::Start)?;
    let addresses = gateway.addresses.iter().chain(&gateway.internal);
    let addresses: Vec<_> = addresses.map(ToString::to_string).collect();
    manager.ready(&format!("listening on {}", addresses.join(", ")));
    let joined = join(gateway.shards, &gateway.phase);
    stop_store(&gateway.process);
    gateway.process.ends.log_all_left_out();
    joined?;
    tracing::info!("stopped");
    Ok(())
}

impl Gateway {
    /// Starts a gateway; it serves when this returns.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(config: Config) -> Result<Self, ServeError> {
        Self::start_with(config, &[])
    }

    /// As [`Self::start`], with protocols besides the gateway's (docs/extending.md).
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_with(mut config: Config, more: &[Protocol]) -> Result<Self, ServeError> {
        let authenticator = Authenticator::new(&config, read_file)?;
        let authenticator = Arc::new(authenticator);
        let cores = net::available_cores();
        let shards = match config.server.shards {
            0 => cores.len(),
            shards => shards,
        };
        let shards = u16::try_from(shards).unwrap_or(u16::MAX);
        let sockets_max = files::fit(&mut config, shards);
        let speaks_tls = config.server.listeners().any(|listen| listen.tls);
        let tls = speaks_tls.then(|| TlsServer::new(&config.tls, read_file));
        let tls = tls.transpose()?.map(Arc::new);
        let mut key_set = KeySetFetcher::of(&config.auth);
        if let Some(key_set) = &mut key_set {
            // Before anybody can connect, who would have to wait for it.
            key_set.fetch_first(&authenticator);
        }
        let listeners = Listeners::open(&config, shards, tls.as_ref())?;
        let purposes = listeners.purposes();
        let stopping = Stopping {
            ready_delay: config.server.ready_delay,
            drain_timeout: config.server.drain_timeout,
        };
        let mut registry = Registry::default();
        let dialects = dialect::register(&config, &mut registry, more);
        let store = registry.store.transpose()?;
        if let Some(failed) = registry.failed {
            return Err(ServeError::Setting(failed));
        }
        if registry.issues_tokens && authenticator.tokens.keys.begin_issuing() {
            let told = "there is no secret (`auth.jwt_secret_file`, JWT_SECRET) that tokens could be signed with: those \
                        of logins are signed with a random one, and are not valid after a restart";
            match config.mode {
                Mode::Demo => tracing::info!("{told}"),
                Mode::Dev | Mode::Prod => tracing::warn!("{told}"),
            }
        }
        let process = Process::new(&config, shards, sockets_max, registry.counters, store);
        let random = || Arc::new(CursorKey::random());
        let cursors = registry.cursors.unwrap_or_else(random);
        let (phase, watching) = watch::channel(ProcessPhase::Running);
        let (config, mesh) = (Arc::new(config), Mesh::new(shards));
        let formats = Arc::new(registry.formats);
        let known = (&process, &authenticator);
        let routes = Routes::new(&config, known, watching.clone(), dialects.clone());
        let mut gateway = Self {
            addresses: listeners.addresses,
            internal: listeners.internal,
            redirect: listeners.redirect,
            shards: Vec::new(),
            phase,
            stopping,
            control: Control::start(
                authenticator.clone(),
                process.clone(),
                tls,
                key_set,
                registry.chores,
            )
            .map_err(ServeError::Start)?,
            process: process.clone(),
            files: listeners.files,
        };
        let mut starting = Vec::with_capacity(usize::from(shards));
        for (index, listeners) in (0..shards).zip(listeners.by_shard) {
            let routes = routes.clone();
            let (ready, is_ready) = mpsc::channel();
            let plan = Plan {
                settings: ShardSettings {
                    id: ShardId(index),
                    config: config.clone(),
                    process: process.clone(),
                    authenticator: authenticator.clone(),
                    counters: process.counters[usize::from(index)].clone(),
                    formats: formats.clone(),
                    cursors: cursors.clone(),
                },
                mesh: mesh.clone(),
                dialects: dialects.clone(),
                api: Box::new(move |shard, role| routes.of(shard, role)),
                core: config
                    .server
                    .pin_threads
                    .then(|| cores[usize::from(index) % cores.len()]),
                phase: watching.clone(),
                ready,
                listeners: listeners.into_iter().zip(purposes.clone()).collect(),
            };
            let thread = thread::Builder::new().name(format!("shard-{index}"));
            let stop = StopOnPanic(gateway.phase.clone());
            // If the thread cannot be created, its plan is dropped, which closes its listeners.
            let spawned = thread.spawn(move || {
                let _stop = stop;
                reactor::run(plan)
            });
            match spawned {
                Ok(shard) => gateway.shards.push(shard),
                Err(error) => return Err(gateway.give_up(ServeError::Start(error))),
            }
            starting.push(is_ready);
        }
        // All threads start at the same time: connections queue at the listeners of all shards.
        for (index, is_ready) in (0..shards).zip(starting) {
            if is_ready.recv().is_err() {
                return Err(gateway.give_up(ServeError::Shard(index)));
            }
        }
        Ok(gateway)
    }

    /// Stops as SIGTERM does and waits for the end.
    ///
    /// # Errors
    /// A shard failed.
    pub fn stop(self) -> Result<(), ServeError> {
        let _ = self.phase.send(self.stopping.begin());
        let joined = join(self.shards, &self.phase);
        stop_store(&self.process);
        joined
    }

    /// Stops the shards that have started. A shard's own error is returned instead of `error`.
    fn give_up(self, error: ServeError) -> ServeError {
        let _ = self.phase.send(ProcessPhase::Stopping);
        let joined = join(self.shards, &self.phase);
        stop_store(&self.process);
        joined.err().unwrap_or(error)
    }
}

/// How a gateway stops.
#[derive(Clone, Copy, Debug)]
struct Stopping {
    ready_delay: Duration,
    drain_timeout: Duration,
}

impl Stopping {
    /// The phase to enter when it is told to stop now.
    fn begin(self) -> ProcessPhase {
        let from = Instant::now() + self.ready_delay;
        ProcessPhase::Draining {
            from,
            until: from + self.drain_timeout,
        }
    }
}

/// Stops all shards when the thread that holds this panics.
struct StopOnPanic(watch::Sender<ProcessPhase>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(ProcessPhase::Stopping);
        }
    }
}

/// Lets the store commit what the shards have left for it.
fn stop_store(process: &Process) {
    if let Some(store) = &process.store {
        store.stop();
    }
}

/// Waits for all shards. If one fails, all are stopped: a gateway without some of its topics is of no use.
fn join(
    shards: Vec<JoinHandle<io::Result<()>>>,
    phase: &watch::Sender<ProcessPhase>,
) -> Result<(), ServeError> {
    let mut failed = None;
    for (index, shard) in (0_u16..).zip(shards) {
        match shard.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed = Some(ServeError::Start(error)),
            Err(_) => failed = Some(ServeError::Shard(index)),
        }
        if failed.is_some() {
            let _ = phase.send(ProcessPhase::Stopping);
        }
    }
    failed.map_or(Ok(()), Err)
}
