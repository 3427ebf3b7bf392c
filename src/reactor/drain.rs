//! The end of a shard: its clients are told one after the other, so that they do
//! not all come back somewhere else in the same moment.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::protocol::Disconnect;
use crate::shard::Shard;

/// What the process is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Serving.
    Running,
    /// Closing its clients, done at this time at the latest.
    Draining(std::time::Instant),
    /// Stopping now.
    Stopping,
}

/// The part of the drain time in which close frames go out; the rest is for
/// clients to answer them.
const SPREAD_PERCENT: u32 = 70;

/// Few clients are not made to wait: this long for each at most.
const PER_CLIENT_MAX: Duration = Duration::from_millis(2);

/// How often it is looked whether everybody has left.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until the process stops and this shard's clients have been closed.
pub(super) async fn wait(shard: &Rc<Shard>, mut phase: watch::Receiver<Phase>) {
    let began = phase.wait_for(|phase| *phase != Phase::Running).await;
    let deadline = match began.map(|phase| *phase) {
        Ok(Phase::Draining(deadline)) => Instant::from_std(deadline),
        // Nobody is left to say more.
        Ok(Phase::Running | Phase::Stopping) | Err(_) => return,
    };
    let drained = async {
        // Before the users go whose answers they wait for.
        shard.end_calls();
        close_all(shard, deadline).await;
        loop {
            shard.end_calls();
            let peers = shard.peers();
            if peers.is_empty() && !shard.has_calls() {
                break;
            }
            // Those who upgrade late, too; the others know already.
            for peer in peers {
                shard.condemn(peer, Disconnect::Drain);
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = sleep_until(deadline) => {}
        _ = phase.wait_for(|phase| *phase == Phase::Stopping) => {}
    }
}

async fn close_all(shard: &Rc<Shard>, deadline: Instant) {
    let peers = shard.peers();
    let count = u32::try_from(peers.len()).unwrap_or(u32::MAX).max(1);
    let began = Instant::now();
    let spread = (deadline - began) * SPREAD_PERCENT / 100;
    let step = (spread / count).min(PER_CLIENT_MAX);
    for (index, peer) in (0_u32..).zip(peers) {
        sleep_until(began + step * index).await;
        shard.condemn(peer, Disconnect::Drain);
    }
}
