//! The control thread: periodic work off the path of messages, such as reloading key files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::auth::{Authenticator, Refusals};

/// How often key files are checked.
const PERIOD: Duration = Duration::from_secs(1);

/// The largest key file, in bytes.
const KEY_FILE_LEN_MAX: u64 = 64 * 1024;

/// The control thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Control {
    orders: Sender<ControlOrder>,
    thread: Option<JoinHandle<()>>,
}

/// An order to the control thread.
#[derive(Debug, Clone, Copy)]
pub(super) enum ControlOrder {
    /// Read the key files now.
    Reload,
    /// End.
    Stop,
}

impl Control {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(super) fn start(authenticator: Arc<Authenticator>) -> io::Result<Self> {
        let (orders, receiver) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                let mut keys = KeyFiles {
                    authenticator,
                    complaint: None,
                };
                loop {
                    match receiver.recv_timeout(PERIOD) {
                        Ok(ControlOrder::Reload) => keys.look(true),
                        Err(RecvTimeoutError::Timeout) => keys.look(false),
                        Ok(ControlOrder::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                    }
                    keys.authenticator.failures.tidy(Instant::now());
                    log_left_out(&keys.authenticator.refusals);
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

/// Logs how many refused tokens had no log line of their own.
fn log_left_out(refusals: &Refusals) {
    for (reason, left_out) in refusals.take_unlogged(Instant::now()) {
        tracing::info!(%reason, left_out, "more tokens were refused");
    }
}

/// The key files and their errors at the last check.
struct KeyFiles {
    authenticator: Arc<Authenticator>,
    complaint: Option<String>,
}

impl KeyFiles {
    /// Reads the files and installs changed keys. If `asked` for, it logs the result; otherwise only changes.
    fn look(&mut self, asked: bool) {
        let keys = &self.authenticator.tokens.keys;
        if !keys.has_files() {
            if asked {
                tracing::info!("there are no key files to read again");
            }
            return;
        }
        match keys.reload(read_key_file) {
            Ok(changed) => {
                if changed {
                    tracing::info!("the keys of tokens have changed");
                    for warning in keys.warnings() {
                        tracing::warn!("{warning}");
                    }
                } else if asked {
                    tracing::info!("the keys of tokens are the same");
                }
                self.complaint = None;
            }
            Err(error) => {
                let complaint = error.to_string();
                if asked || self.complaint.as_ref() != Some(&complaint) {
                    tracing::warn!(%error, "the keys of tokens stay as they were");
                }
                self.complaint = Some(complaint);
            }
        }
    }
}

/// The content of a key file.
pub(super) fn read_key_file(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, KEY_FILE_LEN_MAX, "64 KiB")
}

/// The content of a file. One of more than `len_max` bytes, which are `shown`, is refused.
pub(crate) fn read_at_most(path: &Path, len_max: u64, shown: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(len_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > len_max {
        let why = format!("it holds more than {shown}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}
