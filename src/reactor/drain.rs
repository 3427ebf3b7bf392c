//! The drain of a shard: its clients are closed one after the other, so that they do not reconnect elsewhere all at
//! once. HTTP requests are answered until the process ends, so that a load balancer sees that it is not ready.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::id::ShardId;
use crate::process::ProcessPhase;
use crate::shard::Disconnect;
use crate::shard::Shard;

/// The part of the drain time in which close frames are sent; in the rest clients may answer them.
const SPREAD_PERCENT: u32 = 70;

/// How often it is checked whether all clients have left.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long applications have to acknowledge what they were told, once all clients have left.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// What is left of the drain time after that, for their close frames.
const CLOSE_TIME: Duration = Duration::from_millis(200);

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
        let (mut is_vacated, mut is_drained) = (false, false);
        let mut settling = None;
        loop {
            shard.end_calls();
            let clients = shard.open_clients();
            if !is_vacated && clients.is_empty() && !shard.has_calls() {
                is_vacated = true;
                shard.process.note_vacated();
            }
            // Applications are told of every end before their links are closed.
            if shard.process.is_vacated() {
                let until = || (Instant::now() + SETTLE_MAX).min(deadline - CLOSE_TIME);
                let until = *settling.get_or_insert_with(until);
                if shard.process.inbound.is_settled() || Instant::now() >= until {
                    for peer in shard.peers() {
                        shard.disconnect(peer, Disconnect::Drain);
                    }
                }
            }
            if !is_drained && shard.peers().is_empty() && !shard.has_calls() {
                is_drained = true;
                shard.process.note_drained();
            }
            // Shards end together, since each has a part of the listeners and topics.
            if shard.process.is_drained() {
                break;
            }
            // Also those that have upgraded meanwhile; the others are closing already.
            for peer in clients {
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

/// Closes the clients, evenly spread: they come back at the same pace, here or elsewhere.
async fn close_all(shard: &Rc<Shard>, deadline: Instant) {
    let peers = shard.open_clients();
    let began = Instant::now();
    let spread = (deadline - began) * SPREAD_PERCENT / 100;
    let place = (shard.id, shard.process.counters.len());
    let times = times(peers.len(), spread, place);
    for (peer, after) in peers.into_iter().zip(times) {
        // Nobody waits for the turn of one that has left by itself.
        while shard.is_present(peer) && began.elapsed() < after {
            sleep_until((began + after).min(Instant::now() + POLL_INTERVAL)).await;
        }
        shard.disconnect(peer, Disconnect::Drain);
    }
}

/// When each of `count` clients of a shard is closed, from the beginning of `spread`. A single client is closed at once;
/// with more of them, `shard` of so many shards begins within its first step, so that they do not close in step.
fn times(
    count: usize,
    spread: Duration,
    (shard, shards): (ShardId, usize),
) -> impl Iterator<Item = Duration> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let shards = u32::try_from(shards).unwrap_or(u32::MAX).max(1);
    let step = spread / count.max(1);
    let first = match count {
        0 | 1 => Duration::ZERO,
        _ => step * u32::from(shard.0) / shards,
    };
    (0..count).map(move |index| first + spread.mul_f64(f64::from(index) / f64::from(count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_closed_evenly_whatever_their_number() {
        let spread = Duration::from_secs(4);
        for count in [2, 3, 10, 1000, 200_000] {
            let all = (0..4).flat_map(|shard| times(count, spread, (ShardId(shard), 4)));
            let mut all: Vec<Duration> = all.collect();
            all.sort_unstable();
            assert_eq!(all.len(), 4 * count);
            assert_eq!(all[0], Duration::ZERO);
            assert!(all[4 * count - 1] < spread);
            let step = spread / u32::try_from(4 * count).unwrap();
            for pair in all.windows(2) {
                let between = pair[1] - pair[0];
                assert!(between.abs_diff(step) < Duration::from_micros(1), "{count}");
            }
        }
        let one: Vec<_> = times(1, spread, (ShardId(3), 4)).collect();
        assert_eq!(one, [Duration::ZERO]);
        assert_eq!(times(0, spread, (ShardId(0), 1)).count(), 0);
    }
}
