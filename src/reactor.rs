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
use crate::conn::{Dialects, SessionTable};
use crate::http::Api;
use crate::net::{self, Listener};
use crate::process::ProcessPhase;
use crate::shard::{Handle, Note, Shard, ShardSettings};

/// Makes what answers the requests of one shard, on its thread.
pub type MakeApi = Box<dyn FnOnce(Handle) -> Api + Send>;

/// How one reactor is run.
#[expect(missing_debug_implementations, reason = "it has a closure")]
pub struct Plan {
    /// What its shard is made from.
    pub settings: ShardSettings,
    /// The lanes to the other shards.
    pub mesh: Arc<Mesh<Note>>,
    /// The protocols of its connections.
    pub dialects: Dialects,
    /// Makes what answers its requests.
    pub api: MakeApi,
    /// The core its thread stays on, if it does.
    pub core: Option<usize>,
    /// What the process is doing.
    pub phase: watch::Receiver<ProcessPhase>,
    /// Told once when it serves; dropped without a word if it does not get that far.
    pub ready: Sender<()>,
    /// Its listeners, one for each address. Connections queue at them already.
    pub listeners: Vec<Listener>,
}

/// Tasks that are polled before the sockets are looked at again. Large enough
/// to join what many publishers sent, small enough to notice new input.
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
    let sessions = Rc::new(SessionTable::new(plan.dialects));
    let api = api(Handle::new(shard.clone()));
    let listeners = listeners
        .into_iter()
        .map(Listener::register)
        .collect::<io::Result<Vec<_>>>()?;
    let mut tasks = tasks::start(&shard, &sessions);
    for listener in listeners {
        tokio::task::spawn_local(acceptor::run(
            shard.clone(),
            sessions.clone(),
            listener,
            api.clone(),
        ));
    }
    let _ = ready.send(());
    tokio::select! {
        () = drain::wait(&shard, phase) => Ok(()),
        // Without its flusher a shard serves nobody. The process notices that
        // this thread has failed, and stops with an error.
        ended = tasks.join_next() => panic!("a task of the shard ended: {ended:?}"),
    }
}
