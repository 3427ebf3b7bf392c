//! The control thread: periodic work off the path of messages, such as reading keys and certificates again.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::key_set::{FetchedKeySet, KeySetFetcher};
use super::read::read_file;
use super::service_manager::ServiceManager;
use crate::auth::Authenticator;
use crate::conn::Chore;
use crate::net::TlsServer;
use crate::process::Process;

/// How often files are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// How often the log has a line for a certificate that expires soon.
const REMINDER: Duration = Duration::from_hours(24);

/// The control thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Control {
    orders: Sender<ControlOrder>,
    thread: Option<JoinHandle<()>>,
}

/// An order to the control thread.
#[derive(Debug)]
pub(super) enum ControlOrder {
    /// Read all files now, fetch the key set, and tell the service manager when the files have been read.
    Reload(ServiceManager),
    /// A fetch of the key set has ended.
    KeySet(FetchedKeySet),
    /// End.
    Stop,
}

impl Control {
    /// Starts the thread, which reads the key files of `authenticator` and the certificates of `tls` again when they
    /// change, fetches the key set, and does the `chores`. The first fetch is over when this returns.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(super) fn start(
        authenticator: Arc<Authenticator>,
        process: Arc<Process>,
        tls: Option<Arc<TlsServer>>,
        mut key_set: Option<KeySetFetcher>,
        mut chores: Vec<Box<dyn Chore>>,
    ) -> io::Result<Self> {
        let (orders, receiver) = mpsc::channel();
        let results = orders.clone();
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                let mut keys = WatchedFiles::new("the keys of tokens");
                let mut certificates = WatchedFiles::new("the certificates");
                let mut reminded = Instant::now();
                loop {
                    let told = match receiver.recv_timeout(PERIOD) {
                        Ok(ControlOrder::Reload(manager)) => Some(manager),
                        Ok(ControlOrder::KeySet(fetched)) => {
                            if let Some(key_set) = &mut key_set {
                                key_set.take(fetched, &authenticator);
                            }
                            None
                        }
                        Err(RecvTimeoutError::Timeout) => None,
                        Ok(ControlOrder::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                    };
                    let asked = told.is_some();
                    let known = &authenticator.tokens.keys;
                    if known.has_files() {
                        if keys.look(asked, known.reload(read_file)) {
                            for warning in known.warnings() {
                                tracing::warn!("{warning}");
                            }
                        }
                    } else if asked && key_set.is_none() {
                        tracing::info!("there are no key files to read again");
                    }
                    if let Some(key_set) = &mut key_set {
                        let results = results.clone();
                        // The process may be at its end.
                        let send = move |fetched| {
                            let _ = results.send(ControlOrder::KeySet(fetched));
                        };
                        key_set.look(asked, &authenticator, send);
                    }
                    if let Some(tls) = &tls {
                        let changed = certificates.look(asked, tls.reload(read_file));
                        if changed || reminded.elapsed() >= REMINDER {
                            reminded = Instant::now();
                            for warning in tls.warnings(SystemTime::now()) {
                                tracing::warn!("{warning}");
                            }
                        }
                    }
                    for chore in &mut chores {
                        chore.look(&process, asked);
                    }
                    if let Some(manager) = told {
                        manager.reloaded();
                    }
                    authenticator.failures.tidy(Instant::now());
                    authenticator.revocations.tidy(unix_seconds());
                    process.ends.log_left_out();
                }
            })?;
        Ok(Self {
            orders,
            thread: Some(thread),
        })
    }

    /// Sends orders to the thread.
    pub(super) fn orders(&self) -> Sender<ControlOrder> {
        self.orders.clone()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The thread may have ended already.
        let _ = self.orders.send(ControlOrder::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Files that are read again, and the error at the last time.
struct WatchedFiles {
    /// What they hold, as the beginning of a sentence.
    what: &'static str,
    complaint: Option<String>,
}

impl WatchedFiles {
    fn new(what: &'static str) -> Self {
        let complaint = None;
        Self { what, complaint }
    }

    /// Logs what reading them has brought: whether they have changed. If not `asked` for, what is as it was is not
    /// told. Returns whether they have changed.
    fn look<E: Display>(&mut self, asked: bool, read: Result<bool, E>) -> bool {
        let what = self.what;
        match read {
            Ok(changed) => {
                if changed {
                    tracing::info!("{what} have changed");
                } else if asked {
                    tracing::info!("{what} are the same");
                }
                self.complaint = None;
                changed
            }
            Err(error) => {
                let complaint = error.to_string();
                if asked || self.complaint.as_ref() != Some(&complaint) {
                    tracing::warn!(%error, "{what} stay as they were");
                }
                self.complaint = Some(complaint);
                false
            }
        }
    }
}
