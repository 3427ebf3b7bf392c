//! What ends the threads of a test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Raises its flag when it is dropped, so that the threads of a `thread::scope` which run until then end with a test that
/// fails, too: the scope would wait for them forever.
#[must_use]
pub(crate) struct RaiseOnDrop<'a>(pub &'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long a test may have a gateway, on however busy a machine.
const TEST_MAX: Duration = Duration::from_mins(15);

/// Ends the whole test program if it is not dropped in time, and says which test it was: a test that hangs would
/// otherwise hang everything after it, in silence.
pub(crate) struct Patience(
    #[expect(dead_code, reason = "dropping it is what it is for")] Sender<()>,
);

impl Patience {
    pub(crate) fn new() -> Self {
        let (alive, ended) = channel();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if ended.recv_timeout(TEST_MAX) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} has had a gateway for {TEST_MAX:?}: it hangs");
                std::process::abort();
            }
        });
        Self(alive)
    }
}
