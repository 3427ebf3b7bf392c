//! The drain of a shard: its clients are closed one after the other, so that they do not reconnect elsewhere all at
//! once. HTTP requests are answered until the process ends, so that a load balancer sees that it is not ready.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::process::ProcessPhase;
use crate::shard::Disconnect;
use crate::shard::Shard;

/// The part of the drain time in which close frames are sent; in the rest clients may answer them.
const SPREAD_PERCENT: u32 = 70;

/// The longest time between two close frames, so that a shard with few clients drains quickly.
const PER_CLIENT_MAX: Duration = Duration::from_millis(2);

/// How often it is checked whether all clients have left.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until the process stops and this shard's clients have been closed.
pub(super) async fn wait(shard: &Rc<Shard>, mut phase: watch::Receiver<ProcessPhase>) {
    let began = phase
        .wait_for(|phase| *phase != ProcessPhase::Running)
        .await;
    let (from, deadline) = match began.map(|phase| *phase) {
        Ok(ProcessPhase::Draining { from, until }) => {
            (Instant::from_std(from), Instant::from_std(until))
        }
        // The sender is gone: the process ends.
        Ok(ProcessPhase::Running | ProcessPhase::Stopping) | Err(_) => return,
    };
    let drained = async {
        sleep_until(from).await;
        shard.process.begin_drain();
        // Calls end before the users are disconnected whose answers they wait for.
        shard.end_calls();
        close_all(shard, deadline).await;
        let mut is_drained = false;
        loop {
            shard.end_calls();
            let peers = shard.peers();
            if !is_drained && peers.is_empty() && !shard.has_calls() {
                is_drained = true;
                shard.process.note_drained();
            }
            // Shards end together, since each has a part of the listeners and topics.
            if shard.process.is_drained() {
                break;
            }
            // Also those that have upgraded meanwhile; the others are closing already.
            for peer in peers {
                shard.disconnect(peer, Disconnect::Drain);
            }
            sleep(POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = sleep_until(deadline) => {}
        _ = phase.wait_for(|phase| *phase == ProcessPhase::Stopping) => {}
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
        shard.disconnect(peer, Disconnect::Drain);
    }
}
