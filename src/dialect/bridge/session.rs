//! The bridge protocol on a shard (docs/bridge.md).

use super::{Inbound, put_error_frame};
use crate::config::Duplicate;
use crate::conn::{Flow, Session};
use crate::engine::{Begin, Outcome};
use crate::id::{PeerId, Priority};
use crate::metrics::Limited;
use crate::process::{AlreadyConnected, Login};
use crate::shard::{Disconnect, PROBE_MS_MAX, Shard};
use crate::topic;
use crate::ws::OpCode;

/// One connection's side of the bridge protocol.
#[derive(Debug)]
pub(super) struct BridgeSession {
    user: Box<str>,
    /// The user's place, while the connection has it.
    login: Option<Login>,
    /// The answer to the upgrade request, until it has gone out.
    head: Vec<u8>,
    /// Why the connection ends as soon as it is open.
    refused: Option<Disconnect>,
    /// Another connection of the user has been asked whether it is there still, at this time of the
    /// shard's clock.
    probing_since_ms: Option<u64>,
}

impl BridgeSession {
    pub(super) fn new(user: &str, head: Vec<u8>, refused: Option<Disconnect>) -> Self {
        Self {
            user: user.into(),
            login: None,
            head,
            refused,
            probing_since_ms: None,
        }
    }

    /// Takes the user's place, or finds out whether the connection that has it is there still.
    fn enter(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        let duplicate = shard.config.bridge.duplicate;
        let per_user_max = match shard.config.events.max_connections_per_user {
            0 => usize::MAX,
            max => max,
        };
        let logins = &shard.process.logins;
        match logins.enter(&self.user, (shard.id, peer), duplicate, per_user_max) {
            Ok((login, replaced)) => {
                self.login = Some(login);
                self.probing_since_ms = None;
                for (shard_id, peer) in replaced {
                    shard.disconnect_at(shard_id, peer, Disconnect::Replaced);
                }
                self.attend(shard, peer)
            }
            Err(_) if duplicate == Duplicate::Allow => {
                shard.counters.limited(Limited::ConnectionsPerUser);
                Flow::End(Disconnect::ConnectionLimit)
            }
            Err(AlreadyConnected(first)) => {
                let now_ms = shard.clock.now_ms();
                let Some(since_ms) = self.probing_since_ms else {
                    self.probing_since_ms = Some(now_ms);
                    shard.probe(first, peer);
                    return Flow::Continue;
                };
                // A third one was faster, or the first one's shard does not answer.
                match now_ms.saturating_sub(since_ms) > 2 * PROBE_MS_MAX {
                    true => Flow::End(Disconnect::Duplicate),
                    false => Flow::Continue,
                }
            }
        }
    }

    /// Becomes a member of the user's inbox.
    fn attend(&self, shard: &Shard, peer: PeerId) -> Flow {
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
            tell(shard, peer, &Outcome::Confirmed(confirmation));
        }
        Flow::Continue
    }
}

impl Session for BridgeSession {
    /// Opens the connection, when whatever is pushed to its user from then on reaches
    /// it: a client that knows that it is connected misses nothing.
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        shard.hold_open(peer, std::mem::take(&mut self.head));
        match self.refused {
            Some(why) => Flow::End(why),
            None => self.enter(shard, peer),
        }
    }

    /// The connection is not open yet: it may be by now.
    fn open_again(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        match self.probing_since_ms {
            Some(_) => self.enter(shard, peer),
            None => Flow::Continue,
        }
    }

    /// A message came, or comes again after [`Flow::Wait`].
    fn message(&mut self, shard: &Shard, peer: PeerId, opcode: OpCode, payload: &[u8]) -> Flow {
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
    fn end(&mut self, _: &Shard, _: PeerId) {
        self.login = None;
    }

    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        tell(shard, peer, &outcome);
    }
}

/// The engine has something to tell.
fn tell(shard: &Shard, peer: PeerId, outcome: &Outcome) {
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
