//! Takes connections off a listener.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use super::Phase;
use crate::conn::{self, Records};
use crate::http::Api;
use crate::net::Acceptor;
use crate::shard::Shard;

/// How long a listener rests when the process or the machine has no more files
/// (HOSTILE R05): trying at once would only burn a core.
const REST: Duration = Duration::from_millis(50);

/// The log says at most once in this time that a listener rests.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Accepts until the process stops.
pub(super) async fn run(
    shard: Rc<Shard>,
    records: Rc<Records>,
    listener: Acceptor,
    api: Api,
    mut phase: watch::Receiver<Phase>,
) {
    let mut told: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        };
        match accepted {
            Ok((stream, address)) => {
                tokio::task::spawn_local(conn::accept(
                    shard.clone(),
                    records.clone(),
                    api.clone(),
                    stream,
                    address.ip(),
                ));
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                if told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
                    told = Some(Instant::now());
                    tracing::error!(%error, "cannot accept connections; raise the limit of open files");
                }
                sleep(REST).await;
            }
        }
    }
}

/// Whether only the connection that was about to be accepted is lost.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
