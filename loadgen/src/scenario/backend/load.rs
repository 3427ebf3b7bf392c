//! Clients that send as fast as the application takes it, or on a schedule.

use std::time::Duration;

use super::link::{Link, TURN_MAX};
use crate::cli;
use crate::scenario::connections::connect_all;
use crate::schedule::Schedule;

/// Bytes queued on a client above which scheduled messages wait; they keep their times.
const QUEUED_BYTES_MAX: usize = 1 << 20;

/// Connects the clients, measures, waits until everything came, and closes them.
pub(crate) fn run(link: &mut Link<'_>, options: &cli::Backend) -> Result<(), String> {
    let clients = usize::from(options.connections);
    connect_all(&mut link.net, &mut link.handler, clients, link.common)?;
    let began_ns = link.now_ns();
    let start_ns = began_ns + link.common.warmup.as_nanos() as u64;
    let stop_ns = start_ns + link.common.duration.as_nanos() as u64;
    let mut pacer = options.rate.map(|rate| Pacer {
        schedule: Schedule::new(began_ns, rate, options.burst()),
        burst: options.burst(),
        next: 0,
        clients: options.connections.into(),
    });
    let mut kill_ns = options
        .kill_member_after
        .map(|after| start_ns + after.as_nanos() as u64);
    let mut is_killing = false;
    link.handler
        .start(&mut link.net, options.connections.into());
    while !link.has_failed() && !link.is_stalled() {
        let now_ns = link.now_ns();
        if now_ns >= start_ns && !link.window.is_started() {
            link.start_window(now_ns);
        }
        if now_ns >= stop_ns && !link.window.is_stopped() {
            link.stop_window(now_ns);
            link.handler.clients.sending = false;
        }
        let is_stopped = link.window.is_stopped();
        let is_done =
            link.handler.inbox.ledger.outstanding() == 0 && !link.handler.members.has_held();
        if is_stopped && is_done && (!is_killing || link.handler.members.kill) {
            break;
        }
        if kill_ns.is_some_and(|due_ns| now_ns >= due_ns) {
            kill_ns = None;
            is_killing = true;
            link.kill_member();
        }
        if is_killing && link.has_killed(now_ns) {
            is_killing = false;
        }
        let mut timeout = TURN_MAX;
        if let Some(pacer) = pacer.as_mut().filter(|_| !is_stopped) {
            timeout = timeout.min(pacer.send(link, now_ns));
        }
        let phase = match (link.window.is_started(), is_stopped) {
            (false, _) => "warming",
            (true, false) => "measuring",
            (true, true) => "draining",
        };
        link.turn(phase, timeout)?;
    }
    if kill_ns.is_some() || link.handler.members.kill {
        let failure = "no member was killed: the load ended before --kill-member-after";
        link.handler.connections.fail(failure.into());
    }
    link.handler.clients.sending = false;
    link.turn_until(|link| link.handler.members.absent().is_none(), "attaching")?;
    for client in 0..u32::from(options.connections) {
        link.handler.clients.close(&mut link.net, client);
    }
    link.leave(clients)
}

/// Sends on a schedule, one client after the other.
struct Pacer {
    schedule: Schedule,
    burst: u32,
    next: u32,
    clients: u32,
}

impl Pacer {
    /// Sends what is due; returns how long until the next burst is.
    fn send(&mut self, link: &mut Link<'_>, now_ns: u64) -> Duration {
        loop {
            if link.handler.clients.queued_bytes(&link.net, self.next) >= QUEUED_BYTES_MAX {
                return TURN_MAX;
            }
            let Some(due_ns) = self.schedule.take(now_ns) else {
                return Duration::from_nanos(self.schedule.next_ns() - now_ns);
            };
            link.handler
                .send(&mut link.net, self.next, self.burst, due_ns);
            self.next = (self.next + 1) % self.clients;
        }
    }
}
