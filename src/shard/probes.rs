//! Connections that are asked whether they are there still, because another one of their user wants in.
//!
//! A user whose network went away is connected for as long as nobody has noticed. So a second
//! connection makes the gateway ping the first: without an answer the first is gone, and the second is in.

use super::Disconnect;
use super::links::Transport;
use super::{Note, Shard};
use crate::id::PeerId;
use crate::process::Connection;

/// How long a connection has for the answer to a ping that another one of its user waits for.
pub const PROBE_MS_MAX: u64 = 2_000;

/// The connections of a shard that are being asked.
#[derive(Debug, Default)]
pub(super) struct Probes(Vec<Probe>);

#[derive(Debug)]
struct Probe {
    peer: PeerId,
    since_ms: u64,
    /// The connection that waits for what comes of it.
    asker: Connection,
}

impl Probes {
    /// Takes those for which `is_over` holds.
    ///
    /// Cost: one comparison if there are none.
    fn take(&mut self, is_over: impl Fn(&Probe) -> bool) -> Vec<Probe> {
        if self.0.is_empty() {
            return Vec::new();
        }
        self.0.extract_if(.., |probe| is_over(probe)).collect()
    }
}

impl Shard {
    /// Finds out whether `first` is there still. If it is, `asker`, a connection of this shard, is told
    /// that its user is connected already; if not, `first` ends.
    pub fn probe(&self, first: Connection, asker: PeerId) {
        let (at, peer) = first;
        let asker = (self.id, asker);
        if at == self.id {
            self.begin_probe(peer, asker);
        } else {
            self.note(at, Note::Probe { peer, asker });
        }
    }

    pub(super) fn begin_probe(&self, peer: PeerId, asker: Connection) {
        let is_there = {
            let mut core = self.core.borrow_mut();
            match core.links.get_mut(peer) {
                // It has just left.
                None => return,
                // It has just come, or is not read from, so that its silence is ours.
                Some(link) => {
                    let is_socket = matches!(link.transport, Transport::WebSocket { .. });
                    link.head.is_some() || link.life.paused || !is_socket
                }
            }
        };
        if is_there {
            return self.tell_asker(asker);
        }
        let since_ms = self.clock.now().ms;
        let probe = Probe {
            peer,
            since_ms,
            asker,
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

    /// A connection has been heard: those who wanted to know are told.
    pub(super) fn end_probes_of(&self, peer: PeerId) {
        let over = self
            .core
            .borrow_mut()
            .probes
            .take(|probe| probe.peer == peer);
        for probe in over {
            self.tell_asker(probe.asker);
        }
    }

    /// Ends connections that have not answered. Called by the ticker.
    pub(super) fn check_probes(&self) {
        let now_ms = self.clock.now().ms;
        let is_late = |probe: &Probe| now_ms.saturating_sub(probe.since_ms) >= PROBE_MS_MAX;
        let late = self.core.borrow_mut().probes.take(is_late);
        for probe in late {
            self.disconnect(probe.peer, Disconnect::Silent);
        }
    }

    fn tell_asker(&self, (at, asker): Connection) {
        self.disconnect_at(at, asker, Disconnect::Duplicate);
    }
}
