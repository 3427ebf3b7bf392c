//! The bridge protocol on a shard (spec/bridge.md 1.2).

use super::Flow;
use crate::id::{PeerId, Priority};
use crate::protocol::Disconnect;
use crate::protocol::bridge::Inbound;
use crate::shard::{Login, Shard};
use crate::ws::OpCode;

/// One connection's side of the bridge protocol.
#[derive(Debug)]
pub(in crate::conn) struct Bridge {
    user: Box<str>,
    /// The user's place, while the connection has it.
    login: Option<Login>,
    /// The answer to the upgrade request, until it has gone out.
    head: Vec<u8>,
    /// Why the connection ends as soon as it is open.
    refused: Option<Disconnect>,
}

impl Bridge {
    pub(super) fn new(user: &str, head: Vec<u8>, refused: Option<Disconnect>) -> Self {
        Self {
            user: user.into(),
            login: None,
            head,
            refused,
        }
    }

    /// Opens the connection, when whatever is pushed to its user from then on reaches
    /// it: a client that knows that it is connected misses nothing.
    pub(super) fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        let head = std::mem::take(&mut self.head);
        if self.refused.is_none() {
            let duplicate = shard.config.bridge.duplicate;
            let entered = shard
                .process
                .logins
                .enter(&self.user, (shard.id, peer), duplicate);
            match entered {
                Ok((login, replaced)) => {
                    self.login = Some(login);
                    for (shard_id, peer) in replaced {
                        shard.condemn_at(shard_id, peer, Disconnect::Replaced);
                    }
                }
                Err(_) => self.refused = Some(Disconnect::Duplicate),
            }
        }
        if let Some(why) = self.refused {
            shard.send_raw(peer, Priority::Critical, &head);
            return Flow::End(why);
        }
        match shard.attend_inbox(peer, &self.user, head) {
            Ok(()) => Flow::Continue,
            // Better no connection than one that misses what is meant for it.
            Err(_) => Flow::End(Disconnect::Overloaded),
        }
    }

    /// A message came, or comes again after [`Flow::Wait`].
    pub(super) fn message(
        &self,
        shard: &Shard,
        peer: PeerId,
        opcode: OpCode,
        payload: &[u8],
    ) -> Flow {
        if opcode != OpCode::Text {
            return Flow::End(Disconnect::Unsupported);
        }
        let Ok(text) = simdutf8::basic::from_utf8(payload) else {
            return Flow::End(Disconnect::Protocol(1007));
        };
        match Inbound::parse(text) {
            Inbound::Answer(answer) => {
                let key = answer.correlation().key();
                let had_room = shard.with_answer(|said| {
                    answer.put_events(said);
                    shard.answer_call(&key, &self.user, said, answer.is_last())
                });
                if had_room { Flow::Continue } else { Flow::Wait }
            }
            Inbound::Ignored => Flow::Continue,
            Inbound::Broken => {
                shard.counters.errors_sent.add(1);
                shard.send_bridge_error(peer, "Error processing your message");
                Flow::Continue
            }
        }
    }

    /// The user's place is free before the peer has left: whoever knows that a
    /// connection ends may connect again.
    pub(super) fn end(&mut self) {
        self.login = None;
    }
}
