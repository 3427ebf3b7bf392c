//! A shard's thread: runtime, acceptors, flusher, exchange, ticker.

mod acceptor;
mod drain;
mod tasks;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::bus::Mesh;
use crate::conn::{Dialects, Purpose, Records};
use crate::http::Api;
use crate::net::{self, Listener};
use crate::process::ProcessPhase;
use crate::service::Role;
use crate::shard::{Handle, Note, Shard, ShardSettings};

/// Creates the HTTP API of one shard and of its listeners of a role, on its thread.
pub type MakeApi = Box<dyn Fn(Handle, Role) -> Api + Send>;

/// The settings of one reactor.
#[expect(missing_debug_implementations, reason = "it has a closure")]
pub struct Plan {
    /// The settings of its shard.
    pub settings: ShardSettings,
    /// The lanes to the other shards.
    pub mesh: Arc<Mesh<Note>>,
    /// The protocols of its connections.
    pub dialects: Dialects,
    /// Creates its HTTP APIs.
    pub api: MakeApi,
    /// The core that its thread is pinned to, if any.
    pub core: Option<usize>,
    /// The phase of the process.
    pub phase: watch::Receiver<ProcessPhase>,
    /// Sent to once the reactor serves; dropped if it fails before.
    pub ready: Sender<()>,
    /// Its listeners, one per address, and what they are for. The kernel queues connections at them already.
    pub listeners: Vec<(Listener, Purpose)>,
}

/// Tasks polled between two polls of the sockets: large enough to batch output of many publishers, small enough to
/// notice new input.
const EVENT_INTERVAL: u32 = 61;

/// Runs a reactor until the process has been told to stop and its connections
/// have ended.
///
/// # Errors
/// The runtime could not be made, or cannot poll a listener.
pub fn run(plan: Plan) -> io::Result<()> {
    if let Some(core) = plan.core
        && let Err(error) = net::pin_to_core(core)
    {
        tracing::warn!(core, %error, "the shard's thread is not pinned");
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build_local(LocalOptions::default())?;
    runtime.block_on(serve(plan))
}

async fn serve(plan: Plan) -> io::Result<()> {
    let Plan {
        settings,
        mesh,
        api,
        phase,
        ready,
        listeners,
        ..
    } = plan;
    let shard = Shard::new(settings, &mesh);
    let records = Rc::new(Records::new(plan.dialects));
    let listeners = listeners
        .into_iter()
        .map(|(listener, purpose)| Ok((listener.register()?, purpose)))
        .collect::<io::Result<Vec<_>>>()?;
    let mut tasks = tasks::start(&shard, &records);
    let mut apis: Vec<(Role, Api)> = Vec::new();
    for listener in listeners {
        let role = listener.1.role();
        let made = apis.iter().find(|(known, _)| *known == role);
        let api = made.map_or_else(
            || api(Handle::new(shard.clone()), role),
            |(_, api)| api.clone(),
        );
        apis.push((role, api.clone()));
        tokio::task::spawn_local(acceptor::run(shard.clone(), records.clone(), listener, api));
    }
    let _ = ready.send(());
    tokio::select! {
        () = drain::wait(&shard, phase) => Ok(()),
        // Without its flusher a shard serves no client. This thread fails, and the process stops with an error.
        ended = tasks.join_next() => panic!("a task of the shard ended: {ended:?}"),
    }
}
