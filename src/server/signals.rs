//! SIGTERM, SIGINT and SIGHUP.

use std::io;
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Calls `stop` with the name of a signal that asks for the end and whether it is not the first one,
/// and `reload` at SIGHUP.
///
/// # Errors
/// The thread or its runtime could not be made.
pub(super) fn watch(
    stop: impl Fn(&'static str, bool) + Send + 'static,
    reload: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt, mut hang_up) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let mut again = false;
                loop {
                    let name = tokio::select! {
                        _ = terminate.recv() => "SIGTERM",
                        _ = interrupt.recv() => "SIGINT",
                        _ = hang_up.recv() => {
                            reload();
                            continue;
                        }
                    };
                    stop(name, again);
                    again = true;
                }
            });
        })?;
    Ok(())
}
