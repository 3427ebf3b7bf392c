//! The tasks of a shard besides those of its connections: flush, exchange, tick.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::conn::Records;
use crate::engine::SWEPT_MAX;
use crate::engine::hub::Flush;
use crate::shard::{Deadlines, Shard};

/// How often deadlines are checked, and thus how late they may be noticed.
const TICK: Duration = Duration::from_millis(100);

/// Ticks between two frees of memory and removals of vacant topics.
const TICKS_PER_TIDY: u32 = 10;

/// Ticks between two publications of `system.metrics`: 5 s (docs/protocol.md).
const TICKS_PER_SYSTEM_METRICS: u32 = 50;

/// A home forgets a topic that was not used for once to twice this many ticks.
const TICKS_PER_HOME_SWEEP: u32 = 600;

/// Flushes of a turn in which only members of applications are sent more.
const MEMBER_FLUSHES_MAX: usize = 16;

/// Starts the tasks of a shard. None of them ends except by a defect.
pub(super) fn start(shard: &Rc<Shard>, records: &Rc<Records>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn_local(flush(shard.clone(), records.clone()));
    tasks.spawn_local(exchange(shard.clone()));
    tasks.spawn_local(tick(shard.clone(), records.clone()));
    tasks
}

/// Flushes at the end of a turn: the first message of a turn wakes this task, which then runs after all other ready
/// tasks and so writes the output of all of them.
async fn flush(shard: Rc<Shard>, records: Rc<Records>) {
    let delay = shard.config.hub.flush_delay;
    loop {
        poll_fn(|cx| shard.flusher.poll_raised(cx)).await;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        shard.clock.refresh();
        let began = shard.clock.read_at();
        while flush_once(&shard, &records) == Flush::More {
            yield_now().await;
            shard.clock.refresh();
        }
        shard
            .counters
            .flush_times
            .record(began.elapsed().as_secs_f64());
        if shard.is_stalled() {
            while shard.exchange() {
                yield_now().await;
            }
            // Yields, so that the other tasks of the shard continue.
            yield_now().await;
        }
    }
}

/// Hands outcomes to sessions before anything newer is written.
fn flush_once(shard: &Shard, records: &Records) -> Flush {
    shard.begin_flush();
    records.deliver_outcomes(shard);
    if shard.announces() {
        return flush_to_applications(shard, records);
    }
    let flush = shard.flush();
    records.deliver_outcomes(shard);
    flush
}

/// Flushes with what is for applications and from them. One that keeps up is sent what clients have said in a turn
/// before they have the next one.
fn flush_to_applications(shard: &Shard, records: &Records) -> Flush {
    for _ in 0..MEMBER_FLUSHES_MAX {
        records.execute_orders(shard);
        shard.begin_inbound();
        let flush = shard.flush();
        records.deliver_outcomes(shard);
        let has_more = shard.end_inbound();
        if flush == Flush::More || !has_more {
            return match has_more || shard.has_cut_orders() {
                true => Flush::More,
                false => flush,
            };
        }
    }
    Flush::More
}

/// Processes requests and deliveries of other shards.
async fn exchange(shard: Rc<Shard>) {
    loop {
        poll_fn(|cx| shard.poll_mesh(cx)).await;
        while shard.exchange() {
            yield_now().await;
        }
    }
}

/// Unsubscribes from topics that have no members left, some per turn.
async fn sweep_vacant(shard: &Shard) {
    let vacant = shard.engine(|engine| engine.vacant_count());
    for _ in 0..=vacant / SWEPT_MAX {
        shard.engine(|engine| engine.sweep_vacant());
        yield_now().await;
        shard.clock.refresh();
    }
}

/// Removes unused topics whose home is this shard, some per turn.
async fn sweep_home(shard: &Shard) {
    let mut next = Some(0);
    while let Some(from) = next {
        next = shard.engine(|engine| engine.sweep_home(from));
        yield_now().await;
        shard.clock.refresh();
    }
}

/// Checks deadlines and frees memory.
async fn tick(shard: Rc<Shard>, records: Rc<Records>) {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let websocket = &shard.config.websocket;
    let limits = Deadlines {
        ping_after_ms: ms(websocket.ping_interval),
        silent_after_ms: ms(websocket.ping_timeout),
        unfinished_after_ms: ms(websocket.message_timeout),
        stalled_after_ms: ms(shard.config.hub.max_stall),
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 1_u32.. {
        ticks.tick().await;
        shard.counters.ticks.add(1);
        shard.clock.set();
        for peer in shard.check_deadlines(&limits) {
            records.beat(&shard, peer);
        }
        shard.check_inbound();
        shard.engine(|engine| engine.close_groups());
        if tick % TICKS_PER_TIDY == 0 {
            sweep_vacant(&shard).await;
            shard.tidy();
            if shard.engine(|engine| engine.is_home_over_half()) {
                sweep_home(&shard).await;
            }
        }
        shard.engine(|engine| {
            engine.sweep_presence();
            engine.sweep_keys();
        });
        if tick % TICKS_PER_SYSTEM_METRICS == 0 {
            shard.publish_system_metrics();
        }
        if tick % TICKS_PER_HOME_SWEEP == 0 {
            sweep_home(&shard).await;
        }
    }
}
