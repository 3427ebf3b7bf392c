//! Clients that come, say one thing, and go, half of them by a reset.

use std::collections::VecDeque;
use std::time::Duration;

use super::link::{Link, TURN_MAX};
use crate::cli;
use crate::scenario::HANDSHAKES_MAX;
use crate::schedule::Schedule;
use crate::stall::StallTimer;

/// How long a client stays after it was greeted.
const STAY_NS: u64 = 200_000_000;

/// Between two looks at the schedule when it is late.
const PAUSE_NS: u64 = 1_000_000;

/// Clients that are there at once at most, twice what is usual.
pub(crate) fn at_once(options: &cli::Backend) -> u32 {
    let staying = rate(options) * STAY_NS as f64 / 1e9;
    let usual = (staying as u32).saturating_add(HANDSHAKES_MAX as u32);
    options.clients().min(usual.saturating_mul(2))
}

/// Clients that come in a second.
fn rate(options: &cli::Backend) -> f64 {
    f64::from(options.clients()) / options.over().as_secs_f64()
}

/// Lets all clients come and go; every second one is reset.
pub(crate) fn run(link: &mut Link<'_>, options: &cli::Backend) -> Result<(), String> {
    let clients = options.clients();
    let began_ns = link.now_ns();
    let at_once = at_once(options);
    let mut schedule = Schedule::new(began_ns, rate(options), 1);
    let mut stall = StallTimer::new(began_ns);
    let mut opened = 0;
    let mut greeted = 0;
    let ended = |link: &Link<'_>| link.handler.clients.ended();
    // When each has to leave.
    let mut leaving = VecDeque::new();
    link.start_window(began_ns);
    while ended(link) < clients && !link.has_failed() {
        let now_ns = link.now_ns();
        while opened < clients
            && opened - greeted < HANDSHAKES_MAX as u32
            && opened - ended(link) < at_once
            && schedule.take(now_ns).is_some()
        {
            link.handler.open_client(&mut link.net, opened)?;
            opened += 1;
        }
        while let Some(client) = link.handler.clients.take_greeted() {
            greeted += 1;
            link.handler.send(&mut link.net, client, 1, now_ns);
            leaving.push_back((now_ns + STAY_NS, client));
        }
        while let Some(&(due_ns, client)) = leaving.front()
            && due_ns <= now_ns
        {
            leaving.pop_front();
            if client % 2 == 0 {
                link.handler.clients.close(&mut link.net, client);
            } else {
                link.handler.reset_client(&mut link.net, client);
            }
        }
        let until_next = schedule.next_ns().saturating_sub(now_ns);
        let timeout = Duration::from_nanos(until_next.max(PAUSE_NS)).min(TURN_MAX);
        link.turn("churning", timeout)?;
        stall.update(u64::from(greeted) + u64::from(ended(link)), now_ns);
        if stall.exceeds(link.common.patience, now_ns) {
            let (waiting, patience) = (opened - ended(link), link.common.patience);
            let failure =
                format!("stalled: of {waiting} clients none was greeted or left for {patience:?}");
            link.handler.connections.fail(failure);
        }
    }
    link.stop_window(link.now_ns());
    link.turn_until(
        |link| link.handler.inbox.ledger.outstanding() == 0 || link.is_stalled(),
        "draining",
    )?;
    link.leave(clients as usize)
}
