//! The deadlines of connections: pings, unfinished messages, unanswered closes.

use std::time::Duration;

use super::Disconnect;
use super::links::{Since, Transport};
use super::{Core, Lease, Shard};
use crate::id::{PeerId, Priority};
use crate::sse::HEARTBEAT;

/// Deadlines in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Silence of a WebSocket peer before a ping.
    pub ping_after_ms: u64,
    /// Time for the answer to the ping.
    pub silent_after_ms: u64,
    /// Time to receive one message.
    pub unfinished_after_ms: u64,
    /// Time for a full socket to become writable.
    pub stalled_after_ms: u64,
}

impl Shard {
    /// Has the session of a connection asked every `interval` to say that the gateway lives. It is rounded up to tenths
    /// of a second; connections take turns.
    pub fn set_beat(&self, peer: PeerId, interval: Duration) {
        let tenths = interval.as_millis().div_ceil(100);
        if let Some(link) = self.core.borrow_mut().links.get_mut(peer)
            && let Transport::WebSocket { beat_tenths, .. } = &mut link.transport
        {
            *beat_tenths = u16::try_from(tenths).unwrap_or(u16::MAX);
        }
    }

    /// Looks at every connection and acts on deadlines that have passed. Returns the connections whose sessions are to
    /// say that the gateway lives.
    ///
    /// Cost: a few nanoseconds per connection; called by the ticker.
    #[must_use]
    pub fn check_deadlines(&self, deadlines: &Deadlines) -> Vec<PeerId> {
        let now = self.clock.now_ms();
        let checked = self.checked_ms.replace(now);
        let mut to_beat: Vec<PeerId> = Vec::new();
        let wall = self.clock.wall_seconds();
        let keys = self.authenticator.tokens.keys.serials();
        let holds = |lease: Lease| wall < u64::from(lease.until.get()) && keys.contains(&lease.key);
        let mut to_ping: Vec<PeerId> = Vec::new();
        let mut to_disconnect: Vec<(PeerId, Disconnect)> = Vec::new();
        let mut to_heartbeat: Vec<PeerId> = Vec::new();
        let mut core = self.core.borrow_mut();
        let Core { engine, links, .. } = &mut *core;
        let hub = engine.hub();
        for link in links.iter_mut() {
            if link.head.is_some() {
                // Its upgrade response is held back: the session checks whether it may be sent.
                link.wake();
            }
            if let Transport::WebSocket { beat_tenths, .. } = link.transport
                && is_beat(link.peer, beat_tenths, (checked, now))
                && link.life.closing.is_none()
            {
                to_beat.push(link.peer);
            }
            let life = &mut link.life;
            let passed = |since: u64, limit: u64| now.saturating_sub(since) >= limit;
            if life.closing.is_some() {
                // The connection's task has a timer for the close timeout.
            } else if life.lease.is_some_and(|lease| !holds(lease)) {
                to_disconnect.push((link.peer, Disconnect::Expired));
            } else if let Transport::Sse { heartbeat_tenths } = link.transport {
                // An SSE client sends nothing. A stalled one is found by `find_stalled` below. Heartbeats begin when
                // the stream is confirmed, that is, when the peer is a member of its log.
                let slot = link.peer.slot;
                if hub.is_member(slot)
                    && !hub.is_blocked(slot)
                    && passed(hub.written_ms(slot), 100 * u64::from(heartbeat_tenths))
                {
                    to_heartbeat.push(link.peer);
                }
            } else if life
                .unfinished
                .is_some_and(|since| passed(since.ms(), deadlines.unfinished_after_ms))
            {
                to_disconnect.push((link.peer, Disconnect::Unfinished));
            } else if link.is_paused {
                // It is not read from, so its silence means nothing.
            } else if let Some(pinged) = life.pinged {
                if passed(pinged.ms(), deadlines.silent_after_ms) {
                    to_disconnect.push((link.peer, Disconnect::Silent));
                }
            } else if passed(life.received, deadlines.ping_after_ms) {
                life.pinged = Some(Since::new(now));
                to_ping.push(link.peer);
            }
        }
        to_disconnect.extend(self.revoked(&core));
        drop(core);
        for peer in to_heartbeat {
            self.send_raw(peer, Priority::Background, HEARTBEAT);
        }
        for peer in to_ping {
            self.send_ping(peer);
        }
        for (peer, why) in to_disconnect {
            self.disconnect(peer, why);
        }
        self.check_probes();
        self.check_orders();
        self.engine(|engine| {
            engine.go_on_waiting();
            engine.find_stalled(deadlines.stalled_after_ms);
        });
        to_beat
    }

    /// Frees memory that is no longer needed. Called by the ticker, last.
    pub fn tidy(&self) {
        let mut core = self.core.borrow_mut();
        core.engine.tidy(self.clock.now());
        self.buffers.codec.borrow_mut().tidy();
        nudge_allocator();
        if self.id.0 == 0 {
            self.process.seats.sweep(self.clock.now_ms());
        }
        self.update_gauges(&core);
    }
}

/// Whether the turn of a connection came between two times, the first not included.
fn is_beat(peer: PeerId, tenths: u16, (before_ms, now_ms): (u64, u64)) -> bool {
    if tenths == 0 {
        return false;
    }
    // Neighbours are far apart in turn.
    let (interval, place) = (100 * u64::from(tenths), u64::from(peer.slot.0));
    let phase = place.wrapping_mul(0x9E37_79B9_7F4A_7C15) % interval;
    (before_ms + phase) / interval != (now_ms + phase) / interval
}

/// Larger than the allocations that mimalloc serves from a thread's own pages.
const NUDGE_BYTES: usize = 8 << 20;

/// Makes mimalloc return freed pages to the system, which it does only at a large allocation, and an idle gateway makes
/// none. Without this, memory of closed connections stays resident (measured: 12 MiB after 9,000 idle connections).
///
/// Cost: the allocation is never touched, so no memory is mapped for it.
fn nudge_allocator() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(NUDGE_BYTES)));
}
