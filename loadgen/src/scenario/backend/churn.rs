//! Clients that come, say one thing, and go, half of them by a reset.

use std::collections::VecDeque;
use std::time::Duration;

use super::link::{Link, TURN_MAX};
use crate::cli;
use crate::scenario::HANDSHAKES_MAX;
use crate::schedule::Schedule;

/// How long a client stays after it was greeted.
const STAY_NS: u64 = 200_000_000;

/// Lets all clients come and go; every second one is reset.
pub(crate) fn run(link: &mut Link<'_>, options: &cli::Backend) -> Result<(), String> {
    let clients = options.clients();
    let began_ns = link.now_ns();
    let rate = clients as f64 / options.over().as_secs_f64();
    let mut schedule = Schedule::new(began_ns, rate, 1);
    let mut opened = 0;
    let mut greeted = 0;
    // When each has to leave.
    let mut leaving = VecDeque::new();
    link.start_window(began_ns);
    while (link.handler.ended as u64) < u64::from(clients) && !link.has_failed() {
        let now_ns = link.now_ns();
        while opened < clients
            && (opened - greeted) < HANDSHAKES_MAX as u32
            && schedule.take(now_ns).is_some()
        {
            link.handler.open_client(&mut link.net, opened)?;
            opened += 1;
        }
        while let Some(client) = link.handler.opened.pop_front() {
            greeted += 1;
            link.handler.send(&mut link.net, client, 1, now_ns);
            leaving.push_back((now_ns + STAY_NS, client));
        }
        while let Some(&(due_ns, client)) = leaving.front()
            && due_ns <= now_ns
        {
            leaving.pop_front();
            if client % 2 == 0 {
                link.handler.close_client(&mut link.net, client);
            } else {
                link.handler.reset_client(&mut link.net, client);
            }
        }
        let until_next = schedule.next_ns().saturating_sub(now_ns);
        let timeout = match opened < clients {
            true => Duration::from_nanos(until_next.max(1_000_000)).min(TURN_MAX),
            false => TURN_MAX,
        };
        link.turn("churning", timeout)?;
    }
    link.stop_window(link.now_ns());
    link.turn_until(
        |link| link.handler.ledger.outstanding() == 0 || link.is_stalled(),
        "draining",
    )?;
    link.leave(clients as usize)
}
