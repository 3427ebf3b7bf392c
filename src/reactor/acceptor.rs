//! Accepts connections from a listener.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::conn::{self, Purpose, Records};
use crate::http::Api;
use crate::net::{Acceptor, Spare, is_out_of_files};
use crate::shard::Shard;

/// How long a listener backs off when the process or the system is out of files (docs/hostile-inputs.md, R05).
const BACKOFF: Duration = Duration::from_millis(50);

/// The shortest time between two log lines about this.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Accepts until the shard ends: during a drain requests are still answered.
pub(super) async fn run(
    shard: Rc<Shard>,
    records: Rc<Records>,
    (mut listener, purpose): (Acceptor, Purpose),
    api: Api,
) {
    let mut told: Option<Instant> = None;
    let mut spare = Spare::open();
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                tokio::task::spawn_local(conn::accept(
                    shard.clone(),
                    records.clone(),
                    api.clone(),
                    (stream, purpose),
                    address.ip(),
                ));
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                if told.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                    told = Some(Instant::now());
                    tracing::error!(%error, "cannot accept connections; raise the limit of open files");
                }
                // Queued clients are refused one after the other, using the spare file.
                if is_out_of_files(&error) && spare.give_up() {
                    if let Ok((stream, address)) = listener.accept().await {
                        conn::refuse_out_of_files(&shard, stream, address.ip()).await;
                    }
                } else {
                    sleep(BACKOFF).await;
                }
                spare = Spare::open();
            }
        }
    }
}

/// Whether an error concerns only the connection that was being accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
