//! Tells the service manager that the process works, as long as every shard does (`WatchdogSec=`).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;

use super::service_manager::ServiceManager;
use crate::process::Process;

/// A thread that does nothing else: reading files may take long where the control thread reads them. It ends when this
/// is dropped.
#[derive(Debug)]
pub(super) struct Watchdog(#[expect(dead_code, reason = "dropping it ends the thread")] Sender<()>);

impl Watchdog {
    /// Starts the thread; `None` where the manager does not watch.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(super) fn start(
        manager: &ServiceManager,
        process: &Arc<Process>,
    ) -> io::Result<Option<Self>> {
        let Some(limit) = manager.watchdog else {
            return Ok(None);
        };
        let (manager, process) = (manager.clone(), process.clone());
        let (end, ended) = mpsc::channel::<()>();
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                let mut turns = Turns::default();
                while ended.recv_timeout(limit / PINGS) == Err(RecvTimeoutError::Timeout) {
                    let shards = process.counters.iter();
                    if turns.all_made(shards.map(|shard| shard.ticks.read())) {
                        manager.alive();
                    }
                }
            })?;
        Ok(Some(Self(end)))
    }
}

/// Looks within the time in which the manager wants to be told. A shard that hangs is noticed after one to one and a
/// quarter of it.
const PINGS: u32 = 4;

/// The ticks of all shards when all of them had last made a turn.
#[derive(Debug, Default)]
struct Turns(Vec<u64>);

impl Turns {
    /// Whether every shard has made a turn since this last said so.
    fn all_made(&mut self, ticks: impl Iterator<Item = u64>) -> bool {
        let ticks: Vec<u64> = ticks.collect();
        let mut seen = self.0.iter().copied().chain(std::iter::repeat(0));
        let all = ticks.iter().all(|ticks| seen.next() != Some(*ticks));
        if all {
            self.0 = ticks;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_that_hangs_is_not_hidden_by_the_others() {
        let mut turns = Turns::default();
        let mut check = |ticks: [u64; 2], all| {
            assert_eq!(turns.all_made(ticks.into_iter()), all, "{ticks:?}");
        };
        check([0, 1], false);
        check([1, 1], true);
        check([2, 1], false);
        check([9, 1], false);
        check([9, 2], true);
        check([9, 2], false);
        check([10, 3], true);
    }
}
