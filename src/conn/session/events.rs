//! The events protocol on a shard (spec/events.md 3.5).

use std::borrow::Cow;

use super::{Flow, Standing};
use crate::auth::Identity;
use crate::id::{PeerId, Priority};
use crate::mesh::ReplyTo;
use crate::metrics::Limited;
use crate::protocol::Disconnect;
use crate::protocol::events::{Act, Command, Greeting, Refusal, Writer};
use crate::protocol::json::Raw;
use crate::shard::{Crowd, Over, Published, Shard};
use crate::topic::{self, NameError, Selector};
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
        if !self.may_ask(shard, peer, &command.act) {
            return Flow::Wait;
        }
        match command.act {
            Act::Publish { event, data } => return publish(shard, peer, command.id, &event, data),
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
            give_up(shard, peer, &name);
        }
    }

    /// Whether homes can be asked what a message asks for.
    fn may_ask(&self, shard: &Shard, peer: PeerId, act: &Act<'_>) -> bool {
        match act {
            Act::Unsubscribe(names) if names.is_empty() => {
                shard.may_subscribe(peer, self.subscriptions.iter().map(|name| &**name))
            }
            Act::Subscribe(names) | Act::Unsubscribe(names) => {
                shard.may_subscribe(peer, names.iter().map(|name| &**name))
            }
            _ => true,
        }
    }

    fn subscribe(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        id: Option<Raw<'_>>,
        names: &[Cow<'_, str>],
    ) {
        let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
        let (mut over_limit, mut too_many_topics) = (false, false);
        let pending = shard.pending(peer);
        for name in names {
            let name: &str = name;
            let known = self.subscriptions.iter().any(|known| **known == *name);
            let selector = Selector::parse(name)
                .inspect_err(|why| note_name(shard, *why))
                .ok()
                .filter(|_| !topic::is_inbox(name));
            let taken = match selector {
                _ if known => true,
                None => false,
                Some(_) if self.subscriptions.len() >= shard.config.events.max_subscriptions => {
                    over_limit = true;
                    false
                }
                Some(Selector::Topic(topic)) => {
                    let joined = shard.subscribe(peer, topic, &pending).is_ok();
                    too_many_topics |= !joined;
                    joined
                }
                Some(Selector::Pattern(pattern)) => {
                    shard.subscribe_pattern(peer, &pattern, &pending);
                    true
                }
            };
            if taken && !known {
                self.subscriptions.push(name.into());
            }
            if taken {
                accepted.push(name);
            } else {
                rejected.push(name);
            }
        }
        let id_text = id.map(Raw::text);
        shard.confirm(pending, |out, timestamp| {
            Writer::new(out, timestamp).subscribed(id_text, &accepted, &rejected);
        });
        if over_limit {
            shard.counters.limited(Limited::Subscriptions);
            let message = format!(
                "At most {} subscriptions",
                shard.config.events.max_subscriptions
            );
            error(
                shard,
                peer,
                &Refusal::new(id, "SUBSCRIPTION_LIMIT", message),
            );
        }
        if too_many_topics {
            shard.counters.limited(Limited::Topics);
            error(
                shard,
                peer,
                &Refusal::too_many_topics(id_text.unwrap_or("")),
            );
        }
    }

    fn unsubscribe(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        id: Option<&str>,
        names: &[Cow<'_, str>],
    ) {
        let all = names.is_empty();
        let is_meant = |name: &str| all || names.iter().any(|other| **other == *name);
        let removed: Vec<Box<str>> = self
            .subscriptions
            .extract_if(.., |name| is_meant(name))
            .collect();
        for name in &removed {
            give_up(shard, peer, name);
        }
        let removed: Vec<&str> = removed.iter().map(|name| &**name).collect();
        answer(shard, peer, |w| w.unsubscribed(id, &removed));
    }
}

/// Tells a peer that there is no room for it.
pub(super) fn refuse(shard: &Shard, peer: PeerId, crowd: Crowd) {
    shard.counters.errors_sent.add(1);
    let (limited, limit, scope) = match crowd {
        Crowd::Ip(limit) => (Limited::ConnectionsPerIp, limit, "ip"),
        Crowd::User(limit) => (Limited::ConnectionsPerUser, limit, "user"),
    };
    shard.counters.limited(limited);
    answer(shard, peer, |w| w.crowded(limit, scope));
}

/// Tells a peer that its messages are dropped for a while.
pub(super) fn limited(shard: &Shard, peer: PeerId, over: Over) {
    shard.counters.errors_sent.add(1);
    let retry_after = over.retry_after(shard.clock.now_ms());
    answer(shard, peer, |w| w.rate_limited(over.limit, retry_after));
}

fn give_up(shard: &Shard, peer: PeerId, name: &str) {
    match Selector::parse(name) {
        Ok(Selector::Topic(topic)) => shard.unsubscribe(peer, topic),
        Ok(Selector::Pattern(pattern)) => shard.unsubscribe_pattern(peer, &pattern),
        Err(_) => unreachable!("only checked names are kept"),
    }
}

fn note_name(shard: &Shard, why: NameError) {
    if why == NameError::TooLong {
        shard.counters.limited(Limited::NameSize);
    }
}

fn publish(shard: &Shard, peer: PeerId, id: Option<Raw<'_>>, event: &str, data: &str) -> Flow {
    if let Err(why) = topic::check_topic(event) {
        note_name(shard, why);
        error(
            shard,
            peer,
            &Refusal::new(id, "INVALID_MESSAGE", format!("`event`: {why}")),
        );
        return Flow::Continue;
    }
    if topic::is_inbox(event) {
        error(
            shard,
            peer,
            &Refusal::new(id, "FORBIDDEN", "Inboxes are written to by services only"),
        );
        return Flow::Continue;
    }
    let size_max = shard.config.namespace(event).max_message_size;
    if data.len() > size_max {
        shard.counters.limited(Limited::MessageSize);
        let message = format!(
            "`data` has {} bytes; this topic takes {size_max}",
            data.len()
        );
        error(shard, peer, &Refusal::new(id, "MESSAGE_TOO_LARGE", message));
        return Flow::Continue;
    }
    // Without an id nobody waits for the answer, but a refusal is still told.
    let id_text = id.map_or("", Raw::text);
    match shard.publish(event, data.as_bytes(), Some((ReplyTo::Peer(peer), id_text))) {
        Published::At(offset) if id.is_some() => {
            answer(shard, peer, |w| w.published(id_text, offset));
        }
        Published::At(_) | Published::Forwarded => {}
        Published::Wait => return Flow::Wait,
        Published::TooManyTopics => error(shard, peer, &Refusal::too_many_topics(id_text)),
    }
    Flow::Continue
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
