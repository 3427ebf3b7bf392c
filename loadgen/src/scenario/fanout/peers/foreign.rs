//! Connections in the protocol of another product.

use super::{Peers, Role, Stage};
use crate::foreign::{Foreign, Received, SetupStep};
use crate::net::{Id, Net};

impl Peers {
    /// A connection of another protocol has got on.
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
                self.got_ready(net, id, role);
            }
        }
    }

    /// A message in another protocol.
    pub(super) fn foreign_message(
        &mut self,
        net: &mut Net,
        id: Id,
        foreign: Foreign,
        payload: &[u8],
    ) {
        let Some(peer) = self.peers[id] else {
            return;
        };
        let outcome = match (peer.stage, peer.role) {
            (Stage::Ready, Role::Member(_)) => self.foreign_deliveries(net, id, foreign, payload),
            (Stage::Ready, Role::Publisher(_)) => foreign.publisher_received(payload),
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
        match outcome {
            Ok(None) => {}
            Ok(Some(answer)) => {
                net.queue(id, foreign.opcode(), |out| out.extend_from_slice(answer));
                net.flush(id);
            }
            Err(problem) => self.fail(problem),
        }
    }

    /// Checks all deliveries of a frame; returns what it wants to have answered.
    fn foreign_deliveries(
        &mut self,
        net: &mut Net,
        id: Id,
        foreign: Foreign,
        mut frame: &[u8],
    ) -> Result<Option<&'static [u8]>, String> {
        let (mut answer, mut messages) = (None, 0_u64);
        while !frame.is_empty() {
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
                Received::Reply(wanted) => answer = Some(wanted),
                Received::Nothing => {}
            }
        }
        net.count_more_messages(messages.saturating_sub(1));
        Ok(answer)
    }
}
