//! SIGTERM and SIGINT.

use std::io;
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Calls `stop` with a signal's name and whether it is not the first one.
///
/// # Errors
/// The thread or its runtime could not be made.
pub(super) fn watch(stop: impl Fn(&'static str, bool) + Send + 'static) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
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
                    };
                    stop(name, again);
                    again = true;
                }
            });
        })?;
    Ok(())
}
