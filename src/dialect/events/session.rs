//! The events protocol on a shard (docs/protocol.md).

mod batch;
mod command;
mod outcome;
mod publish;
mod query;
mod registry;
mod subscribe;
mod subscriptions;

use super::{Action, Command, Encoding, Envelope, Parameters, Refusal, Writer, msgpack};
use crate::auth::{Identity, Permissions};
use crate::call::CallAnswer;
use crate::conn::{Authentication, Flow, Session};
use crate::engine::{Begin, Gap, Outcome, Ticket};
use crate::id::{PeerId, Position, Priority};
use crate::json::Raw;
use crate::metrics::Limited;
use crate::process::{LimitReached, RateLimited};
use crate::shard::{ConnectionInfo, ConnectionUser, Disconnect, Shard};
use crate::topic::{self, NameError, Selector};
use crate::ws::OpCode;
use subscriptions::Subscriptions;

/// One connection's side of the events protocol.
#[derive(Debug)]
pub(super) struct EventsSession {
    endpoint: &'static str,
    /// The name that the client gave itself.
    client_id: Option<Box<str>>,
    /// The events that the user has had from its inbox, if it says so.
    inbox_after: Option<Box<Position>>,
    authentication: Authentication,
    subscriptions: Subscriptions,
    /// Subscriptions that are being given up, a number of them in each turn.
    unsubscribing: Option<Box<Unsubscribing>>,
    /// The last message has to come again, since there was no room for all of
    /// it: how many messages of it, if it is a batch, have been dealt with.
    resume: Option<u32>,
    encoding: Encoding,
    /// An extra frame says what the endpoint is for.
    welcome: bool,
    /// The greeting has gone out.
    is_greeted: bool,
    /// Messages of batches that have not been counted in any limit.
    uncharged: u32,
    /// What is to be said when homes have answered.
    pending: Vec<(Ticket, PendingReply)>,
}

/// Subscriptions that are being given up.
#[derive(Debug)]
struct Unsubscribing {
    names: Vec<Box<str>>,
    /// How many of them have been.
    done: usize,
}

/// What was asked that homes have to answer.
#[derive(Debug)]
enum PendingReply {
    /// Nothing: the client is greeted when everything arrives from then on.
    Greeting,
    /// To subscribe.
    Subscribe {
        id: Option<Box<str>>,
        accepted: Vec<Box<str>>,
        rejected: Vec<Box<str>>,
    },
    /// Who is in a topic.
    Roster {
        id: Option<Box<str>>,
        topic: Box<str>,
    },
}

impl EventsSession {
    pub(super) fn new(
        endpoint: &'static str,
        client_id: Option<&str>,
        parameters: Parameters,
        authentication: Authentication,
    ) -> Self {
        Self {
            endpoint,
            client_id: client_id.map(Into::into),
            inbox_after: parameters
                .inbox_after
                .map(|(epoch, offset)| Box::new(Position { epoch, offset })),
            authentication,
            subscriptions: Subscriptions::default(),
            unsubscribing: None,
            resume: None,
            encoding: parameters.encoding,
            welcome: parameters.welcome,
            is_greeted: false,
            uncharged: 0,
            pending: Vec::new(),
        }
    }

    /// Answers a message that is dropped, those of a batch first. Where nobody takes the answers it
    /// stops, and goes on when the message comes again.
    fn drop_message(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        message: &Envelope<'_>,
        over: RateLimited,
    ) -> Flow {
        let done = self.resume.take().unwrap_or(0);
        for (index, one) in (0_u32..).zip(&message.messages).skip(done as usize) {
            if index > done && shard.is_outbox_full(peer) {
                self.resume = Some(index);
                return Flow::Wait;
            }
            limited(shard, peer, &Envelope::read(one.text()), over);
            self.uncharged += u32::from(index > 0);
        }
        if message.messages.is_empty() || message.id.is_some() {
            limited(shard, peer, message, over);
        }
        Flow::Continue
    }

    /// Whether answers may be sent: nothing is before the greeting, which waits for homes.
    fn may_answer(&mut self, shard: &Shard, peer: PeerId) -> bool {
        if !self.is_greeted {
            self.is_greeted = !shard.engine(|engine| engine.is_confirming(peer));
        }
        self.is_greeted
    }

    fn text(&mut self, shard: &Shard, peer: PeerId, text: &str) -> Flow {
        let done = self.resume.take();
        match Command::parse(text) {
            Ok(Command {
                act: Action::Batch(messages),
                ..
            }) => self.batch(shard, peer, &messages, done.unwrap_or(0)),
            Ok(command) => self.act(shard, peer, text, command),
            Err(refusal) => {
                error(shard, peer, &refusal);
                Flow::Continue
            }
        }
    }

    /// Does what one message, which is `text`, asks for.
    fn act(&mut self, shard: &Shard, peer: PeerId, text: &str, command: Command<'_>) -> Flow {
        let id = command.id.map(Raw::text);
        if !self.may_ask(shard, peer, &command.act) {
            return Flow::Wait;
        }
        match command.act {
            Action::Publish { event, data } => {
                let flow = publish::publish(
                    shard,
                    peer,
                    self.permissions(shard),
                    command.id,
                    &event,
                    data,
                );
                if flow == Flow::Wait {
                    self.resume = Some(0);
                }
                return flow;
            }
            Action::Subscribe(names, recover) => {
                self.subscribe(shard, peer, command.id, &names, &recover);
            }
            Action::Unsubscribe(names) => return self.unsubscribe(shard, peer, id, &names),
            Action::Ping => answer(shard, peer, |w| {
                w.pong(id, command.timestamp.map(Raw::text));
            }),
            Action::Heartbeat => answer(shard, peer, |w| w.heartbeat_ack(id)),
            Action::Query(query) => self.query(shard, peer, command.id, &query),
            Action::Command { name, params } => {
                self.command(shard, peer, command.id, &name, params)
            }
            Action::AgentCommand {
                command: name,
                agent_id,
            } => self.agent_command(shard, peer, command.id, name, &agent_id),
            Action::Batch(_) => {
                let refusal = Refusal::invalid(command.id, "A batch has no batches in it");
                error(shard, peer, &refusal);
            }
            Action::Response if self.identity().is_some() => {
                return self.response(shard, text);
            }
            // Nobody can have been asked who is not known.
            Action::Response => self.unknown(shard, peer, text, command.id, "response"),
            Action::Unknown(kind) => self.unknown(shard, peer, text, command.id, &kind),
        }
        Flow::Continue
    }

    /// Answers a message of a type that this gateway does not know.
    fn unknown(&self, shard: &Shard, peer: PeerId, text: &str, id: Option<Raw<'_>>, kind: &str) {
        if self.endpoint == "prod" {
            let refusal =
                Refusal::unknown(id, "UNKNOWN_MESSAGE_TYPE", "Unknown message type", kind);
            error(shard, peer, &refusal);
        } else {
            answer(shard, peer, |w| w.echo(id.map(Raw::text), text));
        }
    }

    /// Gives an answer to whoever asked the user (docs/bridge.md, "A user's connection").
    fn response(&mut self, shard: &Shard, text: &str) -> Flow {
        let user = &self.identity().expect("as the caller has seen").user;
        let Some(said) = CallAnswer::from_response(text) else {
            return Flow::Continue;
        };
        let had_room = shard.with_answer(|out| {
            said.put_events(out);
            let key = said.correlation().key();
            shard.answer_call(&key, user, out, said.is_last())
        });
        if had_room {
            return Flow::Continue;
        }
        self.resume = Some(0);
        Flow::Wait
    }

    /// Who the connection is in a topic's roster: its user, or itself.
    fn attendee(&self, shard: &Shard, peer: PeerId) -> String {
        match (self.identity(), &self.client_id) {
            (Some(identity), _) => identity.user.clone(),
            (None, Some(client_id)) => client_id.to_string(),
            (None, None) => shard.session_id(self.endpoint, peer),
        }
    }

    fn identity(&self) -> Option<&Identity> {
        self.authentication.identity()
    }

    /// What this client may do.
    fn permissions<'a>(&'a self, shard: &'a Shard) -> Permissions<'a> {
        Permissions::new(&shard.config, self.identity())
    }

    /// Whether homes can be asked what a message asks for.
    fn may_ask(&self, shard: &Shard, peer: PeerId, act: &Action<'_>) -> bool {
        let names: Vec<&str> = match act {
            Action::Unsubscribe(names) if names.is_empty() => self.subscriptions.iter().collect(),
            Action::Subscribe(names, _) | Action::Unsubscribe(names) => {
                names.iter().map(|name| &**name).collect()
            }
            _ => return true,
        };
        shard.engine(|engine| engine.may_subscribe(peer, &names))
    }

    /// The user's name to show.
    fn user(&self) -> Option<&str> {
        self.identity().map(name_of)
    }
}

impl Session for EventsSession {
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        if matches!(self.authentication, Authentication::Refused) {
            let refusal = Refusal::new(None, "AUTHENTICATION_FAILED", "Invalid or expired token");
            error(shard, peer, &refusal);
            return Flow::End(Disconnect::Unauthenticated);
        }
        let identity = self.identity();
        let about = ConnectionInfo {
            client_id: self.client_id.clone(),
            endpoint: self.endpoint,
            user: identity.map(|identity| {
                Box::new(ConnectionUser {
                    id: identity.user.as_str().into(),
                    name: name_of(identity).into(),
                    role: identity.role.as_deref().map(Into::into),
                })
            }),
            connected_ms: shard.clock.wall_ms(),
        };
        shard.set_info(peer, about);
        let resume = self.inbox_after.as_deref().copied();
        let inbox = identity.map(|identity| topic::inbox_of(&identity.user));
        let permissions = self.permissions(shard);
        let inbox = inbox.filter(|inbox| permissions.may_subscribe(&Selector::Topic(inbox)));
        let (ticket, subscribed, confirmation) = shard.engine(|engine| {
            let ticket = engine.begin_subscription(peer);
            let broadcasts = engine.subscribe(peer, topic::BROADCAST, Begin::Live, ticket);
            let begin = resume.map_or(Begin::Live, Begin::After);
            let inbox = inbox.map_or(Ok(()), |inbox| {
                engine.subscribe(peer, &inbox, begin, ticket)
            });
            (ticket, broadcasts.and(inbox), engine.confirm(ticket))
        });
        if let Err(why) = subscribed {
            // Better no connection than one that misses what is meant for it.
            subscribe::refuse(shard, peer, None, why);
            return Flow::End(Disconnect::Overloaded);
        }
        self.await_confirmation(shard, peer, (ticket, PendingReply::Greeting), confirmation);
        Flow::Continue
    }

    /// A message came, or comes again after [`Flow::Wait`].
    fn message(&mut self, shard: &Shard, peer: PeerId, opcode: OpCode, payload: &[u8]) -> Flow {
        if !self.may_answer(shard, peer) {
            return Flow::Wait;
        }
        match (self.encoding, opcode) {
            (Encoding::Json | Encoding::JsonBatch, OpCode::Text) => {
                match simdutf8::basic::from_utf8(payload) {
                    Ok(text) => self.text(shard, peer, text),
                    Err(_) => Flow::End(Disconnect::Protocol(1007)),
                }
            }
            (Encoding::Msgpack, OpCode::Binary) => shard.with_text(|text| {
                if let Err(why) = msgpack::to_json(payload, text) {
                    let message = format!("Not a MessagePack message: {why}");
                    error(shard, peer, &Refusal::invalid(None, message));
                    return Flow::Continue;
                }
                let text = str::from_utf8(text).expect("its strings have been checked");
                self.text(shard, peer, text)
            }),
            _ => Flow::End(Disconnect::Unsupported),
        }
    }

    /// A message came, or comes again, that is beyond a rate: it is answered and does nothing. A
    /// batch is answered message by message, as it would have been.
    fn limited(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        (opcode, payload): (OpCode, &[u8]),
        over: RateLimited,
    ) -> Flow {
        if !self.may_answer(shard, peer) {
            return Flow::Wait;
        }
        match (self.encoding, opcode) {
            (Encoding::Json | Encoding::JsonBatch, OpCode::Text) => {
                let text = str::from_utf8(payload).unwrap_or("");
                self.drop_message(shard, peer, &Envelope::read(text), over)
            }
            (Encoding::Msgpack, OpCode::Binary) => shard.with_text(|text| {
                let is_read = msgpack::to_json(payload, text).is_ok();
                let text = str::from_utf8(text).ok().filter(|_| is_read);
                let message = Envelope::read(text.unwrap_or(""));
                self.drop_message(shard, peer, &message, over)
            }),
            _ => self.drop_message(shard, peer, &Envelope::default(), over),
        }
    }

    /// How many messages have been dealt with besides those that were counted,
    /// since the last call.
    fn take_uncharged(&mut self) -> u32 {
        std::mem::take(&mut self.uncharged)
    }

    fn end(&mut self, shard: &Shard, peer: PeerId) {
        let unsubscribing = self.unsubscribing.take();
        let unsubscribing = unsubscribing
            .iter()
            .flat_map(|unsubscribing| &unsubscribing.names[unsubscribing.done..]);
        for name in self.subscriptions.take().iter().chain(unsubscribing) {
            self.exit(shard, peer, name);
        }
        shard.engine(|engine| engine.end_subscriptions(peer));
    }

    fn refuse(&mut self, shard: &Shard, peer: PeerId, limit_reached: LimitReached) {
        shard.counters.errors_sent.add(1);
        let (limited, limit, scope) = match limit_reached {
            LimitReached::Ip(limit) => (Limited::ConnectionsPerIp, limit, "ip"),
            LimitReached::User(limit) => (Limited::ConnectionsPerUser, limit, "user"),
        };
        shard.counters.limited(limited);
        answer(shard, peer, |w| w.connection_limit(limit, scope));
    }

    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        self.handle_outcome(shard, peer, outcome);
    }
}

fn name_of(identity: &Identity) -> &str {
    identity.name.as_ref().unwrap_or(&identity.user)
}

/// Tells a peer that it misses messages.
fn gap(shard: &Shard, peer: PeerId, gap: &Gap) {
    answer(shard, peer, |w| w.gap(gap.topic.as_deref(), gap.lost));
}

/// Tells a peer that a message is dropped, and when the next one is taken.
fn limited(shard: &Shard, peer: PeerId, message: &Envelope<'_>, over: RateLimited) {
    shard.counters.errors_sent.add(1);
    let retry_after = over.retry_after(shard.clock.now_ms());
    let (id, kind) = (message.id.map(Raw::text), message.kind.as_deref());
    answer(shard, peer, |w| {
        w.rate_limited(id, kind, over.limit, retry_after);
    });
}

/// Counts a name that is refused because it is too long.
fn note_name(shard: &Shard, why: NameError) {
    if why == NameError::TooLong {
        shard.counters.limited(Limited::NameSize);
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

/// The details of an error about a limit.
fn limit_of(limit: usize) -> String {
    format!(r#"{{"limit":{limit}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_connection_has_is_small() {
        // The size that the allocator has a class of.
        assert!(
            size_of::<EventsSession>() <= 128,
            "{}",
            size_of::<EventsSession>()
        );
    }
}
