//! The session of a WebSocket connection of the events protocol (docs/protocol.md).

mod application;
mod authenticate;
mod batch;
mod command;
mod order;
mod outcome;
mod publish;
mod query;
mod subscribe;
mod subscriptions;

use super::{Action, Command, Encoding, Envelope, Parameters, Refusal, Writer};
use crate::auth::{Identity, Permissions};
use crate::call::CallAnswer;
use crate::conn::{Authentication, Denied, Flow, Session};
use crate::engine::{Begin, Gap, Outcome, Ticket};
use crate::http::Source;
use crate::id::{PeerId, Position, Priority};
use crate::json::Raw;
use crate::metrics::Limited;
use crate::msgpack;
use crate::process::{LimitReached, RateLimited};
use crate::shard::{ConnectionOrder, Disconnect, OrderReply, OrderResult, Shard};
use crate::topic::{self, NameError, Selector};
use crate::ws::Payload;
use publish::ClientPost;
use subscribe::By;
use subscriptions::{Subscriptions, is_pattern};

/// The session of a WebSocket connection of the events protocol.
#[derive(Debug)]
pub(super) struct EventsSession {
    endpoint: &'static str,
    /// The client id of the URL.
    client_id: Option<Box<str>>,
    /// The position in the user's inbox at which to resume.
    inbox_after: Option<Box<Position>>,
    user: Option<Box<EventsUser>>,
    /// Why the credentials of its request are refused, if they are.
    denied: Option<Denied>,
    subscriptions: Subscriptions,
    /// An `unsubscribe` in progress, over several turns.
    unsubscribing: Option<Box<Unsubscribing>>,
    /// Set if the last message returned [`Flow::Wait`]: the number of messages of the batch that are done.
    resume: Option<u32>,
    encoding: Encoding,
    /// An additional first frame was requested.
    welcome: bool,
    /// The greeting has been queued.
    is_greeted: bool,
    /// Messages of batches not yet charged to the rate limit.
    uncharged: u32,
    /// Replies to write when homes have answered.
    pending: Vec<(Ticket, PendingReply)>,
}

/// The user of a connection.
#[derive(Debug)]
struct EventsUser {
    identity: Identity,
    /// Where the connection comes from: wrong tokens count toward the limit of this address.
    source: Source,
    /// When a new token was last looked at, in milliseconds of the shard's clock.
    renewal_ms: Option<u64>,
}

/// An `unsubscribe` in progress.
#[derive(Debug)]
struct Unsubscribing {
    names: Vec<Box<str>>,
    /// The number of names that are done.
    done: usize,
}

/// A reply that needs answers of homes.
#[derive(Debug)]
enum PendingReply {
    /// The greeting, written when broadcasts and the inbox are subscribed.
    Greeting,
    /// The answer to `subscribe`.
    Subscribe {
        id: Option<Box<str>>,
        accepted: Vec<Box<str>>,
        rejected: Vec<Box<str>>,
        /// An application has ordered it, which is told what is rejected, and not the client.
        reply: Option<OrderReply>,
    },
    /// The answer to a query of a topic's history.
    History {
        id: Option<Box<str>>,
        topic: Box<str>,
    },
    /// The answer to a query of a topic's roster.
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
        (authentication, source): (Authentication, Source),
    ) -> Self {
        Self {
            endpoint,
            client_id: client_id.map(Into::into),
            inbox_after: parameters
                .inbox_after
                .map(|(epoch, offset)| Box::new(Position { epoch, offset })),
            denied: match authentication {
                Authentication::Refused(denied) => Some(denied),
                Authentication::Anonymous | Authentication::Known(_) => None,
            },
            user: match authentication {
                Authentication::Known(identity) => Some(Box::new(EventsUser {
                    identity: *identity,
                    source,
                    renewal_ms: None,
                })),
                Authentication::Anonymous | Authentication::Refused(_) => None,
            },
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

    /// Answers a dropped message with errors, for a batch one per message. It stops when the outbox is full, and
    /// resumes when the message is passed again.
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

    /// Whether answers may be sent: nothing is sent before the greeting, which waits for homes.
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
                action: Action::Batch(messages),
                ..
            }) => self.batch(shard, peer, &messages, done.unwrap_or(0)),
            Ok(command) => self.execute(shard, peer, text, command),
            Err(refusal) => {
                error(shard, peer, &refusal);
                Flow::Continue
            }
        }
    }

    /// Executes one message, whose text is `text`.
    fn execute(&mut self, shard: &Shard, peer: PeerId, text: &str, command: Command<'_>) -> Flow {
        let id = command.id.map(Raw::text);
        if !self.may_proceed(shard, peer, &command.action) {
            return Flow::Wait;
        }
        match command.action {
            Action::Publish { event, data, key } => {
                let post = ClientPost {
                    id: command.id,
                    event: &event,
                    data,
                    key: key.as_deref(),
                };
                let flow = publish::publish(shard, peer, self.identity(), &post);
                if flow == Flow::Wait {
                    self.resume = Some(0);
                }
                return flow;
            }
            Action::Subscribe(names, recover) => {
                self.subscribe(shard, peer, By::Client(command.id), &names, &recover);
            }
            Action::Unsubscribe(names) => return self.unsubscribe(shard, peer, id, &names),
            Action::Authenticate(token) => self.authenticate(shard, peer, command.id, &token),
            Action::Ping => answer(shard, peer, |w| {
                w.pong(id, command.timestamp.map(Raw::text));
            }),
            Action::Heartbeat => answer(shard, peer, |w| w.heartbeat_ack(id)),
            Action::Query(query) => self.query(shard, peer, command.id, &query),
            Action::Command { name, params } => {
                self.command(shard, peer, command.id, &name, params);
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
            // Only authenticated users are called.
            Action::Response => self.unknown(shard, peer, text, command.id, "response"),
            Action::App => application::tell(shard, peer, text, command.id, "app"),
            Action::Unknown(kind) if shard.config.clients.forward_unknown => {
                application::tell(shard, peer, text, command.id, &kind);
            }
            Action::Unknown(kind) => self.unknown(shard, peer, text, command.id, &kind),
        }
        Flow::Continue
    }

    /// Answers a message of an unknown type: with an error, or on the demo and dev endpoints with an echo.
    fn unknown(&self, shard: &Shard, peer: PeerId, text: &str, id: Option<Raw<'_>>, kind: &str) {
        if self.endpoint == "prod" {
            let refusal =
                Refusal::unknown(id, "UNKNOWN_MESSAGE_TYPE", "Unknown message type", kind);
            error(shard, peer, &refusal);
        } else {
            answer(shard, peer, |w| w.echo(id.map(Raw::text), text));
        }
    }

    /// Passes an answer to the caller that asked the user (docs/bridge.md, "A user's connection").
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

    /// The connection's name in rosters: its user, else its client id.
    fn attendee(&self, shard: &Shard, peer: PeerId) -> String {
        match (self.identity(), &self.client_id) {
            (Some(identity), _) => identity.user.clone(),
            (None, Some(client_id)) => client_id.to_string(),
            (None, None) => shard.session_id(self.endpoint, peer),
        }
    }

    fn identity(&self) -> Option<&Identity> {
        identity_of(self.user.as_deref())
    }

    /// The client's permissions.
    fn permissions<'a>(&'a self, shard: &'a Shard) -> Permissions<'a> {
        Permissions::new(&shard.config, self.identity())
    }

    /// Whether the engine can take the subscriptions of a message now; if not, the message waits.
    fn may_proceed(&self, shard: &Shard, peer: PeerId, action: &Action<'_>) -> bool {
        match action {
            Action::Unsubscribe(names) if names.is_empty() => {
                may_change(shard, peer, self.subscriptions.iter())
            }
            Action::Subscribe(names, _) | Action::Unsubscribe(names) => {
                may_change(shard, peer, names.iter().map(|name| &**name))
            }
            _ => true,
        }
    }

    /// The user's display name, or the user where the token has none.
    fn user(&self) -> Option<&str> {
        self.identity().map(name_of)
    }
}

/// Whether the engine can begin and end subscriptions to `names` now.
fn may_change<'a>(shard: &Shard, peer: PeerId, names: impl Iterator<Item = &'a str>) -> bool {
    let (patterns, topics): (Vec<&str>, Vec<&str>) = names.partition(|name| is_pattern(name));
    shard.engine(|engine| engine.may_subscribe(peer, &topics, !patterns.is_empty()))
}

impl Session for EventsSession {
    fn begin(&mut self, shard: &Shard, peer: PeerId) -> Flow {
        if let Some(denied) = self.denied {
            let refusal = Refusal::new(None, "AUTHENTICATION_FAILED", denied.text());
            error(shard, peer, &refusal);
            return Flow::End(denied.disconnect());
        }
        let identity = self.identity();
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
            // No connection is better than one that misses its user's messages.
            subscribe::refuse(shard, peer, None, why);
            return Flow::End(Disconnect::Overloaded);
        }
        self.await_confirmation(shard, peer, (ticket, PendingReply::Greeting), confirmation);
        Flow::Continue
    }

    fn message(&mut self, shard: &Shard, peer: PeerId, payload: Payload<'_>) -> Flow {
        if !self.may_answer(shard, peer) {
            return Flow::Wait;
        }
        match (self.encoding, payload) {
            (Encoding::Json | Encoding::JsonBatch, Payload::Text(text)) => {
                self.text(shard, peer, text)
            }
            (Encoding::Msgpack, Payload::Binary(packed)) => shard.with_text(|text| {
                if let Err(why) = msgpack::to_json(packed, text) {
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

    /// Answers a message that exceeds a rate limit with an error; for a batch, one per message.
    fn limited(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        payload: Payload<'_>,
        over: RateLimited,
    ) -> Flow {
        if !self.may_answer(shard, peer) {
            return Flow::Wait;
        }
        match (self.encoding, payload) {
            (Encoding::Json | Encoding::JsonBatch, Payload::Text(text)) => {
                self.drop_message(shard, peer, &Envelope::read(text), over)
            }
            (Encoding::Msgpack, Payload::Binary(packed)) => shard.with_text(|text| {
                let is_read = msgpack::to_json(packed, text).is_ok();
                let text = str::from_utf8(text).ok().filter(|_| is_read);
                let message = Envelope::read(text.unwrap_or(""));
                self.drop_message(shard, peer, &message, over)
            }),
            _ => self.drop_message(shard, peer, &Envelope::default(), over),
        }
    }

    fn is_announced(&self) -> bool {
        self.denied.is_none()
    }

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

    fn order(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        order: &ConnectionOrder,
        reply: &mut OrderReply,
    ) -> OrderResult {
        self.execute_order(shard, peer, order, reply)
    }

    fn outcome(&mut self, shard: &Shard, peer: PeerId, outcome: Outcome) {
        self.handle_outcome(shard, peer, outcome);
    }
}

fn identity_of(user: Option<&EventsUser>) -> Option<&Identity> {
    user.map(|user| &user.identity)
}

fn name_of(identity: &Identity) -> &str {
    identity.name.as_ref().unwrap_or(&identity.user)
}

/// Writes a gap frame.
fn gap(shard: &Shard, peer: PeerId, gap: &Gap) {
    answer(shard, peer, |w| w.gap(gap.topic.as_deref(), gap.lost));
}

/// Answers a dropped message with an error that says when to retry.
fn limited(shard: &Shard, peer: PeerId, message: &Envelope<'_>, over: RateLimited) {
    shard.counters.errors_sent.add(1);
    let retry_after = over.retry_after(shard.clock.now_ms());
    let (id, kind) = (message.id.map(Raw::text), message.kind.as_deref());
    answer(shard, peer, |w| {
        w.rate_limited(id, kind, over.limit, retry_after);
    });
}

/// Counts a name that is refused for its length.
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
        // A size class of the allocator.
        assert!(
            size_of::<EventsSession>() <= 128,
            "{}",
            size_of::<EventsSession>()
        );
    }
}
