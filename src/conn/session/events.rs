//! The events protocol on a shard (spec/events.md 3.5).

use std::borrow::Cow;

use super::{Flow, Standing};
use crate::auth::{Identity, Permissions};
use crate::id::{PeerId, Priority};
use crate::mesh::{Position, Post, ReplyTo};
use crate::protocol::Disconnect;
use crate::protocol::events::{Act, Begun, Command, Greeting, Recover, Refusal, Writer};
use crate::protocol::json::Raw;
use crate::shard::{Published, Resumed, Shard, Start};
use crate::topic::{self, Selector};
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
        let identity = self.standing.identity();
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
        shard.attend(peer, identity.map(|identity| identity.user.as_str()));
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
                let may = Permissions::new(&shard.config, self.standing.identity());
                return publish(shard, peer, may, command.id, &event, data);
            }
            Act::Subscribe(names, recover) => {
                self.subscribe(shard, peer, command.id, &names, &recover);
            }
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

    fn subscribe(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        id: Option<Raw<'_>>,
        names: &[Cow<'_, str>],
        recover: &[Recover<'_>],
    ) {
        let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
        let (mut over_limit, mut too_many_topics) = (false, false);
        let may = Permissions::new(&shard.config, self.standing.identity());
        let pending = shard.pending(peer);
        for name in names {
            let name: &str = name;
            let known = self.subscriptions.iter().any(|known| **known == *name);
            let selector = Selector::parse(name)
                .ok()
                .filter(|selector| may.may_subscribe(selector));
            let taken = match selector {
                _ if known => true,
                None => false,
                Some(_) if self.subscriptions.len() >= shard.config.events.max_subscriptions => {
                    over_limit = true;
                    false
                }
                Some(Selector::Topic(topic)) => {
                    let resume = position_in(recover, topic);
                    let joined = shard.subscribe(peer, topic, resume, &pending).is_ok();
                    too_many_topics |= !joined;
                    joined
                }
                Some(Selector::Pattern(pattern)) => {
                    // Topics to go on in must not begin before that is settled.
                    let known: Vec<&str> = recover
                        .iter()
                        .map(|recover| &*recover.topic)
                        .filter(|topic| topic::check_topic(topic).is_ok())
                        .filter(|topic| pattern.matches(topic))
                        .collect();
                    for topic in &known {
                        let resume = position_in(recover, topic);
                        too_many_topics |= shard.subscribe(peer, topic, resume, &pending).is_err();
                    }
                    shard.subscribe_pattern(peer, &pattern, &pending);
                    for topic in known {
                        shard.unsubscribe(peer, topic);
                    }
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
        let (own_id, accepted, rejected) = (
            id_text.map(str::to_owned),
            owned(&accepted),
            owned(&rejected),
        );
        shard.confirm(pending, move |out, timestamp, starts| {
            let accepted: Vec<&str> = accepted.iter().map(|name| &**name).collect();
            let rejected: Vec<&str> = rejected.iter().map(|name| &**name).collect();
            let begun = starts.iter().map(begun);
            Writer::new(out, timestamp).subscribed(own_id.as_deref(), &accepted, &rejected, begun);
        });
        if over_limit {
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

fn owned(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|&name| name.into()).collect()
}

/// Where the client was in `topic`, if it says so.
fn position_in(recover: &[Recover<'_>], topic: &str) -> Option<Position> {
    let recover = recover.iter().find(|recover| recover.topic == topic)?;
    Some(Position {
        epoch: recover.epoch,
        offset: recover.offset,
    })
}

fn begun(start: &Start) -> Begun<'_> {
    Begun {
        topic: &start.name,
        epoch: start.position.epoch,
        offset: start.position.offset,
        recovered: start.resumed.map(|resumed| match resumed {
            Resumed::Complete(count) => (true, count),
            _ => (false, 0),
        }),
    }
}

fn give_up(shard: &Shard, peer: PeerId, name: &str) {
    match Selector::parse(name) {
        Ok(Selector::Topic(topic)) => shard.unsubscribe(peer, topic),
        Ok(Selector::Pattern(pattern)) => shard.unsubscribe_pattern(peer, &pattern),
        Err(_) => unreachable!("only checked names are kept"),
    }
}

fn publish(
    shard: &Shard,
    peer: PeerId,
    may: Permissions<'_>,
    id: Option<Raw<'_>>,
    event: &str,
    data: &str,
) -> Flow {
    if let Err(why) = topic::check_topic(event) {
        error(
            shard,
            peer,
            &Refusal::new(id, "INVALID_MESSAGE", format!("`event`: {why}")),
        );
        return Flow::Continue;
    }
    if !may.may_publish(event) {
        let message = if topic::is_inbox(event) {
            "Inboxes are written to by services only".to_owned()
        } else {
            format!(
                "Publishing to `{event}` takes a token whose `fanfare.publish` covers it, or another namespace"
            )
        };
        error(shard, peer, &Refusal::new(id, "FORBIDDEN", message));
        return Flow::Continue;
    }
    let size_max = shard.config.namespace(event).max_message_size;
    if data.len() > size_max {
        let message = format!(
            "`data` has {} bytes; this topic takes {size_max}",
            data.len()
        );
        error(shard, peer, &Refusal::new(id, "MESSAGE_TOO_LARGE", message));
        return Flow::Continue;
    }
    // Without an id nobody waits for the answer, but a refusal is still told.
    let id_text = id.map_or("", Raw::text);
    let post = Post::event(event, data.as_bytes());
    match shard.publish(&post, Some((ReplyTo::Peer(peer), id_text))) {
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
