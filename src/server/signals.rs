//! SIGTERM, SIGINT and SIGHUP.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals received since [`install`].
pub(super) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// Installs the handlers; [`Signals::watch`] sets what they do. Called before the gateway serves, so that no signal is
/// missed.
///
/// # Errors
/// The runtime could not be created.
pub(super) fn install() -> io::Result<Signals> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (terminate, interrupt, hang_up) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    Ok(Signals {
        runtime,
        terminate,
        interrupt,
        hang_up,
    })
}

impl Signals {
    /// Calls `stop` at SIGTERM and SIGINT, with the signal's name and whether it is a repeated one, and `reload` at
    /// SIGHUP.
    ///
    /// # Errors
    /// The thread could not be created.
    pub(super) fn watch(
        self,
        stop: impl Fn(&'static str, bool) + Send + 'static,
        reload: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        let Self {
            runtime,
            mut terminate,
            mut interrupt,
            mut hang_up,
        } = self;
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
}
