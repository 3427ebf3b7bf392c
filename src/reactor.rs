//! A shard's thread: runtime, acceptors, flusher, exchange, ticker.

mod acceptor;
mod drain;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

pub use drain::Phase;

use crate::engine::Mesh;
use crate::http::Api;
use crate::net::{self, Tuning};
use crate::shard::{Settings, Shard};

/// How one reactor is run.
#[derive(Debug)]
pub struct Plan {
    /// What its shard is made from.
    pub settings: Settings,
    /// The lanes to the other shards.
    pub mesh: Arc<Mesh>,
    /// The requests it answers.
    pub api: Api,
    /// The core its thread stays on, if it does.
    pub core: Option<usize>,
    /// What the process is doing.
    pub phase: watch::Receiver<Phase>,
    /// Told the addresses it listens on, or why it does not.
    pub ready: std::sync::mpsc::Sender<std::io::Result<Vec<SocketAddr>>>,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
}

/// Tasks that are polled before the sockets are looked at again. Large enough
/// to join what many publishers sent, small enough to notice new input.
const EVENT_INTERVAL: u32 = 61;

/// Runs a reactor until the process has been told to stop and its connections
/// have ended.
///
/// # Errors
/// The runtime could not be made.
pub fn run(plan: Plan) -> std::io::Result<()> {
    if let Some(core) = plan.core
        && let Err(error) = net::pin_to_core(core)
    {
        tracing::warn!(core, %error, "the shard's thread is not pinned");
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build_local(LocalOptions::default())?;
    runtime.block_on(serve(plan));
    Ok(())
}

async fn serve(plan: Plan) {
    let Plan {
        settings,
        mesh,
        api,
        phase,
        ready,
        listen,
        ..
    } = plan;
    let config = settings.config.clone();
    let backlog = config.server.backlog;
    let tuning = Tuning {
        // A ping is acknowledged by the peer's kernel as soon as it arrives.
        unacknowledged_max: config.websocket.ping_interval + config.websocket.ping_timeout,
        send_buffer_bytes: config.server.send_buffer,
    };
    let shard = Shard::install(settings, &mesh);
    let listeners: std::io::Result<Vec<_>> = listen
        .iter()
        .map(|&address| net::listen(address, backlog, tuning))
        .collect();
    let listeners = match listeners {
        Ok(listeners) => listeners,
        Err(error) => {
            // Whoever started this thread knows what to do about it.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let addresses = listeners
        .iter()
        .map(tokio::net::TcpListener::local_addr)
        .collect();
    let _ = ready.send(addresses);
    let mut tasks = tasks::start(&shard);
    for listener in listeners {
        tokio::task::spawn_local(acceptor::run(
            shard.clone(),
            listener,
            api.clone(),
            phase.clone(),
        ));
    }
    tokio::select! {
        () = drain::wait(&shard, phase) => {}
        // Without its flusher a shard serves nobody. The process notices that
        // this thread has failed, and stops with an error.
        ended = tasks.join_next() => panic!("a task of the shard ended: {ended:?}"),
    }
}
