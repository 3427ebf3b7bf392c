//! The events protocol on a shard (spec/events.md 3.5).

mod publish;
mod subscribe;

use super::{Flow, Standing};
use crate::auth::Identity;
use crate::id::{PeerId, Priority};
use crate::protocol::Disconnect;
use crate::protocol::events::{Act, Command, Greeting, Refusal, Writer};
use crate::protocol::json::Raw;
use crate::shard::Shard;
use crate::ws::OpCode;

/// One connection's side of the events protocol.
#[derive(Debug)]
pub(in crate::conn) struct Events {
    endpoint: &'static str,
    standing: Standing,
    /// The names and patterns subscribed to, as they were given.
    subscriptions: Vec<Box<str>>,
}

impl Events {
    pub(super) fn new(endpoint: &'static str, standing: Standing) -> Self {
        Self {
            endpoint,
            standing,
            subscriptions: Vec::new(),
        }
    }

    pub(super) fn begin(&self, shard: &Shard, peer: PeerId) -> Flow {
        if matches!(self.standing, Standing::Refused) {
            let refusal = Refusal::new(None, "AUTHENTICATION_FAILED", "Invalid or expired token");
            error(shard, peer, &refusal);
            return Flow::End(Disconnect::Unauthenticated);
        }
        let identity = match &self.standing {
            Standing::Known(identity) => Some(&**identity),
            _ => None,
        };
        let greeting = Greeting {
            client_id: &format!("{}_{}-{peer}", self.endpoint, shard.id.0),
            user: identity
                .map(|identity| identity.name.as_ref().unwrap_or(&identity.user).as_str()),
            role: identity.and_then(|identity: &Identity| identity.role.as_deref()),
            endpoint: self.endpoint,
        };
        shard.send_text(peer, Priority::High, |out, timestamp| {
            Writer::new(out, timestamp).greeting(&greeting);
        });
        Flow::Continue
    }

    pub(super) fn message(
        &mut self,
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
        let command = match Command::parse(text) {
            Ok(command) => command,
            Err(refusal) => {
                error(shard, peer, &refusal);
                return Flow::Continue;
            }
        };
        let id = command.id.map(Raw::text);
        match command.act {
            Act::Publish { event, data } => {
                return publish::publish(shard, peer, command.id, &event, data);
            }
            Act::Subscribe(names) => self.subscribe(shard, peer, command.id, &names),
            Act::Unsubscribe(names) => self.unsubscribe(shard, peer, id, &names),
            Act::Ping => answer(shard, peer, |w| {
                w.pong(id, command.timestamp.map(Raw::text));
            }),
            Act::Heartbeat => answer(shard, peer, |w| w.heartbeat_ack(id)),
            Act::Unknown(kind) if self.endpoint == "prod" => {
                let message = format!("Unknown message type: {kind}");
                error(
                    shard,
                    peer,
                    &Refusal::new(command.id, "UNKNOWN_MESSAGE_TYPE", message),
                );
            }
            Act::Unknown(_) => answer(shard, peer, |w| w.echo(id, text)),
        }
        Flow::Continue
    }

    pub(super) fn end(&mut self, shard: &Shard, peer: PeerId) {
        for name in std::mem::take(&mut self.subscriptions) {
            subscribe::give_up(shard, peer, &name);
        }
    }
}

fn answer(shard: &Shard, peer: PeerId, write: impl FnOnce(Writer<'_>)) {
    shard.send_text(peer, Priority::High, |out, timestamp| {
        write(Writer::new(out, timestamp));
    });
}

fn error(shard: &Shard, peer: PeerId, refusal: &Refusal) {
    shard.counters.errors_sent.add(1);
    answer(shard, peer, |w| w.error(refusal));
}
