//! Liveness probes of a user's connection when another one of the same user connects, where a user may have only one.
//!
//! A connection whose network is gone stays open until a timeout. So the gateway pings the first connection: if it
//! answers, the second is refused; if not, the first is closed and the second takes its place.

use super::Disconnect;
use super::links::Transport;
use super::{Note, Shard};
use crate::id::{AnyPeer, PeerId};

/// How long the first connection has to answer the probe.
pub const PROBE_MS_MAX: u64 = 2_000;

/// The probes of a shard's connections that are in progress.
#[derive(Debug, Default)]
pub(super) struct Probes(Vec<Probe>);

#[derive(Debug)]
struct Probe {
    peer: PeerId,
    since_ms: u64,
    /// The newer connection, which waits for the result.
    asker: AnyPeer,
    /// Why it ends if the first one answers.
    refusal: Disconnect,
}

impl Probes {
    /// Takes the probes for which `is_over` holds.
    ///
    /// Cost: one comparison if there are no probes.
    fn take(&mut self, is_over: impl Fn(&Probe) -> bool) -> Vec<Probe> {
        if self.0.is_empty() {
            return Vec::new();
        }
        self.0.extract_if(.., |probe| is_over(probe)).collect()
    }
}

impl Shard {
    /// Probes `first`. If it answers, `asker`, a connection of this shard, ends with `refusal`; if not, `first` ends with
    /// [`Disconnect::Silent`].
    pub fn probe(&self, first: AnyPeer, asker: PeerId, refusal: Disconnect) {
        let (at, peer) = first;
        let asker = (self.id, asker);
        if at == self.id {
            self.begin_probe(peer, asker, refusal);
        } else {
            let probe = Note::Probe {
                peer,
                asker,
                refusal,
            };
            self.note(at, probe);
        }
    }

    pub(super) fn begin_probe(&self, peer: PeerId, asker: AnyPeer, refusal: Disconnect) {
        let is_alive = {
            let mut core = self.core.borrow_mut();
            match core.links.get_mut(peer) {
                // It has left.
                None => return,
                // Not open yet, or not read from: a pong would not be seen, so it counts as alive.
                Some(link) => {
                    let is_socket = matches!(link.transport, Transport::WebSocket { .. });
                    link.head.is_some() || link.is_paused || !is_socket
                }
            }
        };
        if is_alive {
            return self.refuse_asker(asker, refusal);
        }
        let since_ms = self.clock.now().ms;
        let probe = Probe {
            peer,
            since_ms,
            asker,
            refusal,
        };
        let is_asked = {
            let probes = &mut self.core.borrow_mut().probes.0;
            let is_asked = probes.iter().any(|probe| probe.peer == peer);
            probes.push(probe);
            is_asked
        };
        if !is_asked {
            self.send_ping(peer);
        }
    }

    /// Ends the probes of a connection that has sent something: the newer connections are refused.
    pub(super) fn end_probes_of(&self, peer: PeerId) {
        let over = self
            .core
            .borrow_mut()
            .probes
            .take(|probe| probe.peer == peer);
        for probe in over {
            self.refuse_asker(probe.asker, probe.refusal);
        }
    }

    /// Disconnects connections that have not answered a probe in time. Called by the ticker.
    pub(super) fn check_probes(&self) {
        let now_ms = self.clock.now().ms;
        let is_late = |probe: &Probe| now_ms.saturating_sub(probe.since_ms) >= PROBE_MS_MAX;
        let late = self.core.borrow_mut().probes.take(is_late);
        for probe in late {
            self.disconnect(probe.peer, Disconnect::Silent);
        }
    }

    fn refuse_asker(&self, (at, asker): AnyPeer, refusal: Disconnect) {
        self.disconnect_at(at, asker, refusal);
    }
}
