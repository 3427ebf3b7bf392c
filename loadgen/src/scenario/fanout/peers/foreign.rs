//! Connections in a foreign protocol.

use super::{FanoutPeers, FanoutRole, Stage};
use crate::foreign::{Foreign, Received, SetupStep};
use crate::net::{Id, Net};

impl FanoutPeers {
    /// Takes the next step of a connection's set-up.
    pub(super) fn foreign_step(
        &mut self,
        net: &mut Net,
        id: Id,
        foreign: Foreign,
        step: SetupStep,
    ) {
        match step {
            SetupStep::Wait => {}
            SetupStep::Send(payload) => {
                net.queue(id, foreign.opcode(), |out| out.extend_from_slice(&payload));
                net.flush(id);
            }
            SetupStep::Ready => {
                let peer = self.peers[id].as_mut().expect("it is being set up");
                peer.stage = Stage::Ready;
                let role = peer.role;
                self.mark_ready(net, id, role);
            }
        }
    }

    /// Handles a frame in a foreign protocol: its opcode and its payload.
    pub(super) fn foreign_frame(
        &mut self,
        net: &mut Net,
        id: Id,
        foreign: Foreign,
        (op, payload): (u8, &[u8]),
    ) {
        let Foreign::Gateway(encoding) = foreign else {
            return self.foreign_message(net, id, foreign, payload);
        };
        let mut unpacker = std::mem::take(&mut self.unpacker);
        // What cannot be unpacked is as corrupt as nothing.
        let message = unpacker.unpack(encoding, op, payload).unwrap_or_default();
        self.foreign_message(net, id, foreign, message);
        self.unpacker = unpacker;
    }

    fn foreign_message(&mut self, net: &mut Net, id: Id, foreign: Foreign, payload: &[u8]) {
        let Some(peer) = self.peers[id] else {
            return;
        };
        let reply = match (peer.stage, peer.role) {
            (Stage::Ready, FanoutRole::Member(_)) => {
                self.foreign_deliveries(net, id, foreign, payload)
            }
            (Stage::Ready, FanoutRole::Publisher(_)) => foreign.publisher_received(payload),
            _ => {
                let topic = &self.plan.names[0];
                match foreign.set_up(peer.role.side(), topic, payload) {
                    Ok(step) => {
                        self.foreign_step(net, id, foreign, step);
                        Ok(None)
                    }
                    Err(problem) => Err(problem),
                }
            }
        };
        match reply {
            Ok(None) => {}
            Ok(Some(reply)) => {
                net.queue(id, foreign.opcode(), |out| out.extend_from_slice(reply));
                net.flush(id);
            }
            Err(problem) => self.fail(problem),
        }
    }

    /// Checks all deliveries of a frame; returns the reply that it requires.
    pub(super) fn foreign_deliveries(
        &mut self,
        net: &mut Net,
        id: Id,
        foreign: Foreign,
        mut frame: &[u8],
    ) -> Result<Option<&'static [u8]>, String> {
        let (mut reply, mut messages) = (None, 0_u64);
        loop {
            match foreign.next(&mut frame)? {
                Received::Message(message) => {
                    messages += 1;
                    let peer = self.peers[id].as_mut().expect("it has just spoken");
                    if std::mem::replace(&mut peer.parsed, true) {
                        self.verifier.event(message);
                    } else {
                        self.verifier.first_event(message);
                    }
                }
                Received::Reply(bytes) => reply = Some(bytes),
                Received::Nothing => {}
            }
            if frame.is_empty() {
                break;
            }
        }
        net.count_more_messages(messages.saturating_sub(1));
        Ok(reply)
    }
}
