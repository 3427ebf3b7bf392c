//! The bridge protocol on a shard (spec/bridge.md 1.2).

use super::Flow;
use crate::config::Duplicate;
use crate::engine::{Begin, Outcome};
use crate::id::{PeerId, Priority};
use crate::metrics::Limited;
use crate::protocol::Disconnect;
use crate::protocol::bridge::{Inbound, put_error_frame};
use crate::shard::{Login, Shard};
use crate::topic;
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
        shard.hold_open(peer, std::mem::take(&mut self.head));
        if self.refused.is_none() {
            let duplicate = shard.config.bridge.duplicate;
            let per_user_max = match shard.config.events.max_connections_per_user {
                0 => usize::MAX,
                max => max,
            };
            let entered =
                shard
                    .process
                    .logins
                    .enter(&self.user, (shard.id, peer), duplicate, per_user_max);
            match entered {
                Ok((login, replaced)) => {
                    self.login = Some(login);
                    for (shard_id, peer) in replaced {
                        shard.condemn_at(shard_id, peer, Disconnect::Replaced);
                    }
                }
                Err(_) if duplicate == Duplicate::Allow => {
                    shard.counters.limited(Limited::ConnectionsPerUser);
                    self.refused = Some(Disconnect::ConnectionLimit);
                }
                Err(_) => self.refused = Some(Disconnect::Duplicate),
            }
        }
        if let Some(why) = self.refused {
            return Flow::End(why);
        }
        let inbox = topic::inbox_of(&self.user);
        let (subscribed, confirmation) = shard.engine(|engine| {
            let ticket = engine.begin_subscription(peer);
            let subscribed = engine.subscribe(peer, &inbox, Begin::Here, ticket);
            (subscribed, engine.confirm(ticket))
        });
        if subscribed.is_err() {
            // Better no connection than one that misses what is meant for it.
            return Flow::End(Disconnect::Overloaded);
        }
        if let Some(confirmation) = confirmation {
            outcome(shard, peer, &Outcome::Confirmed(confirmation));
        }
        Flow::Continue
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
                send_error(shard, peer, "Error processing your message");
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

/// The engine has something to tell.
pub(super) fn outcome(shard: &Shard, peer: PeerId, outcome: &Outcome) {
    match outcome {
        Outcome::Confirmed(confirmation) => {
            shard.open(peer);
            shard.engine(|engine| engine.go_on(confirmation));
        }
        // The protocol has no gaps, but errors.
        Outcome::Gap(gap) => {
            let lost = gap.lost.map(|lost| format!("{lost} messages"));
            let lost = lost.as_deref().unwrap_or("Messages");
            let message = format!("{lost} lost: this connection reads too slowly");
            send_error(shard, peer, &message);
        }
        _ => {}
    }
}

fn send_error(shard: &Shard, peer: PeerId, message: &str) {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds have 43 bits")]
    let timestamp = shard.clock.wall_ms() as f64 / 1000.0;
    shard.send_text(peer, Priority::High, |out, _| {
        put_error_frame(out, message, timestamp);
    });
}
