//! Takes connections off a listener.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::conn::{self, SessionTable};
use crate::http::Api;
use crate::net::{Acceptor, Spare, is_out_of_files};
use crate::shard::Shard;

/// How long a listener rests when the process or the machine has no more files
/// (hostile-inputs.md R05): trying at once would only burn a core.
const REST: Duration = Duration::from_millis(50);

/// The log says at most once in this time that a listener rests.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Accepts until the shard ends: one that closes its clients still answers requests.
pub(super) async fn run(
    shard: Rc<Shard>,
    sessions: Rc<SessionTable>,
    listener: Acceptor,
    api: Api,
) {
    let mut told: Option<Instant> = None;
    let mut spare = Spare::open();
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                tokio::task::spawn_local(conn::accept(
                    shard.clone(),
                    sessions.clone(),
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
                // Who waits is told so, one after the other, with the file that is kept for it.
                if is_out_of_files(&error) && spare.give_up() {
                    if let Ok((stream, _)) = listener.accept().await {
                        conn::refuse_out_of_files(&shard, stream).await;
                    }
                } else {
                    sleep(REST).await;
                }
                spare = Spare::open();
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
