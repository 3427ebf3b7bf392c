//! The session of a WebSocket connection of the bridge protocol (docs/bridge.md).

use std::sync::Arc;

use super::logins::{AlreadyConnected, Login};
use super::{Bridge, Duplicate, Inbound, put_correlated, put_error_frame};
use crate::call::Correlation;
use crate::conn::{Flow, Session};
use crate::engine::{Begin, Outcome};
use crate::id::{PeerId, Priority};
use crate::inbound::{MessageBody, MessageFields};
use crate::json::Raw;
use crate::metrics::Limited;
use crate::process::NotTaken;
use crate::shard::{ConnectionOrder, Disconnect, OrderReply, OrderResult, PROBE_MS_MAX, Shard};
use crate::topic;
use crate::ws::Payload;

/// The session of a WebSocket connection of the bridge protocol.
#[derive(Debug)]
pub(super) struct BridgeSession {
    bridge: Arc<Bridge>,
    user: Box<str>,
    /// The entry in the table of connected users, while the connection has it.
    login: Option<Login>,
    /// The upgrade response, until the connection begins.
    head: Vec<u8>,
    /// Why the connection is closed as soon as it is open.
    refused: Option<Disconnect>,
    /// When the probe of another connection of the user began, in milliseconds of the shard's clock.
    probing_since_ms: Option<u64>,
}

impl BridgeSession {
    pub(super) fn new(
        bridge: Arc<Bridge>,
        user: &str,
        head: Vec<u8>,
        refused: Option<Disconnect>,
    ) -> Self {
        Self {
            bridge,
            user: user.into(),
            login: None,
            head,
            refused,
            probing_since_ms: None,
        }
    }

    /// Enters the user into the table, or probes whether the connection that is there is alive.
    fn enter(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        let duplicate = self.bridge.settings.duplicate;
        let per_user_max = match shard.config.clients.max_connections_per_user {
            0 => usize::MAX,
            max => max,
        };
        let logins = &self.bridge.logins;
        match logins.enter(&self.user, (shard.id, peer), duplicate, per_user_max) {
            Ok((login, replaced)) => {
                self.login = Some(login);
                self.probing_since_ms = None;
                for (shard_id, peer) in replaced {
                    shard.disconnect_at(shard_id, peer, self.bridge.causes.replaced);
                }
                self.subscribe_inbox(shard, peer)
            }
            Err(_) if duplicate == Duplicate::Allow => {
                shard.counters.limited(Limited::ConnectionsPerUser);
                Flow::End(Disconnect::ConnectionLimit)
            }
            Err(AlreadyConnected(first)) => {
                let now_ms = shard.clock.now_ms();
                let Some(since_ms) = self.probing_since_ms else {
                    self.probing_since_ms = Some(now_ms);
                    shard.probe(first, peer, self.bridge.causes.duplicate);
                    return Flow::Continue;
                };
                // A third connection was faster, or the shard of the first one does not answer.
                match now_ms.saturating_sub(since_ms) > 2 * PROBE_MS_MAX {
                    true => Flow::End(self.bridge.causes.duplicate),
                    false => Flow::Continue,
                }
            }
        }
    }

    /// Tells the application what the user says. If it is not taken, the user is told.
    fn tell_application(&self, shard: &Shard, peer: PeerId, text: &str, kind: Option<Raw<'_>>) {
        let kind = kind.and_then(Raw::as_string);
        let message = MessageFields {
            kind: kind.as_deref(),
            id: None,
            body: MessageBody::Json(text),
        };
        let why = match shard.tell_message(peer, &message) {
            Ok(()) => return,
            Err(NotTaken::NoApplication) => "No application is attached",
            Err(NotTaken::Full) => "The application is busy: try again later",
        };
        shard.counters.errors_sent.add(1);
        send_error(shard, peer, why);
    }

    /// Subscribes to the user's inbox.
    fn subscribe_inbox(&self, shard: &Shard, peer: PeerId) -> Flow {
        let inbox = topic::inbox_of(&self.user);
        let (subscribed, confirmation) = shard.engine(|engine| {
            let ticket = engine.begin_subscription(peer);
            let subscribed = engine.subscribe(peer, &inbox, Begin::Here, ticket);
            (subscribed, engine.confirm(ticket))
        });
        if subscribed.is_err() {
            // No connection is better than one that misses its user's messages.
            return Flow::End(Disconnect::Overloaded);
        }
        if let Some(confirmation) = confirmation {
            handle_outcome(shard, peer, &Outcome::Confirmed(confirmation));
        }
        Flow::Continue
    }
}

impl Session for BridgeSession {
    /// The upgrade response is held back until the inbox is subscribed, so that a client that sees itself connected
    /// gets every later push.
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        shard.hold_open(peer, std::mem::take(&mut self.head));
        match self.refused {
            Some(why) => Flow::End(why),
            None => self.enter(shard, peer),
        }
    }

    /// Checks whether the table has room for the user by now.
    fn open_again(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        match self.probing_since_ms {
            Some(_) => self.enter(shard, peer),
            None => Flow::Continue,
        }
    }

    fn message(&mut self, shard: &Shard, peer: PeerId, payload: Payload<'_>) -> Flow {
        let Payload::Text(text) = payload else {
            return Flow::End(Disconnect::Unsupported);
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
            Inbound::Message { kind } if self.bridge.settings.forward => {
                self.tell_application(shard, peer, text, kind);
                Flow::Continue
            }
            Inbound::Message { .. } | Inbound::Ignored => Flow::Continue,
            Inbound::Broken => {
                shard.counters.errors_sent.add(1);
                send_error(shard, peer, "Error processing your message");
                Flow::Continue
            }
        }
    }

    fn order(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        order: &ConnectionOrder,
        _: &mut OrderReply,
    ) -> OrderResult {
        let (data, priority, correlation) = match order {
            ConnectionOrder::Send { data, priority, .. } => (data, *priority, None),
            ConnectionOrder::Reply { id, data } => (data, Priority::High, Correlation::of_id(id)),
            ConnectionOrder::Subscribe { .. } | ConnectionOrder::Unsubscribe { .. } => {
                return OrderResult::Unsupported;
            }
        };
        if shard.is_opening(peer) {
            return OrderResult::Later;
        }
        shard.send_text(peer, priority, |out, _| {
            put_correlated(out, &self.user, data, correlation);
        });
        OrderResult::Done
    }

    fn is_announced(&self) -> bool {
        self.refused.is_none()
    }

    /// The user is removed from the table before the close frame is sent, so that a client that sees it can reconnect.
    fn end(&mut self, _: &Shard, _: PeerId) {
        self.login = None;
    }

    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        handle_outcome(shard, peer, &outcome);
    }
}

/// Writes an outcome of the engine to the peer.
fn handle_outcome(shard: &Shard, peer: PeerId, outcome: &Outcome) {
    match outcome {
        Outcome::Confirmed(confirmation) => {
            shard.open(peer);
            shard.engine(|engine| engine.go_on(confirmation));
        }
        // The protocol has no gap frames: a gap is an error.
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
