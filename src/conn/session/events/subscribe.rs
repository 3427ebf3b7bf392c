//! `subscribe` and `unsubscribe`.

use std::borrow::Cow;

use super::{Events, Unanswered, answer, error, limit_of, note_name};
use crate::auth::Permissions;
use crate::engine::Begin;
use crate::id::{PeerId, Position};
use crate::metrics::Limited;
use crate::protocol::events::{Recover, Refusal};
use crate::protocol::json::Raw;
use crate::shard::Shard;
use crate::topic::{self, Selector};

impl Events {
    pub(super) fn subscribe(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        id: Option<Raw<'_>>,
        names: &[Cow<'_, str>],
        recover: &[Recover<'_>],
    ) {
        let limit = shard.config.events.max_subscriptions;
        if recover.len() > limit {
            let message = format!("At most {limit} topics can be recovered at once");
            let refusal = Refusal::new(id, "SUBSCRIPTION_LIMIT", message);
            return error(shard, peer, &refusal.with_details(limit_of(limit)));
        }
        let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
        let (mut over_limit, mut too_many_topics) = (false, false);
        let may = Permissions::new(&shard.config, self.standing.identity());
        let ticket = shard.engine(|engine| engine.begin_subscription(peer));
        for name in names {
            let name: &str = name;
            let known = self.subscriptions.iter().any(|known| **known == *name);
            let selector = Selector::parse(name)
                .inspect_err(|why| note_name(shard, *why))
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
                    let begin = position_in(recover, topic).map_or(Begin::Live, Begin::After);
                    let subscribed =
                        shard.engine(|engine| engine.subscribe(peer, topic, begin, ticket));
                    let joined = subscribed.is_ok();
                    too_many_topics |= !joined;
                    if joined && shard.config.namespace(topic).presence {
                        let attendee = self.attendee(shard, peer);
                        shard.engine(|engine| engine.enter(topic, &attendee));
                    }
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
                    shard.engine(|engine| {
                        for topic in &known {
                            let begin =
                                position_in(recover, topic).map_or(Begin::Live, Begin::After);
                            too_many_topics |=
                                engine.subscribe(peer, topic, begin, ticket).is_err();
                        }
                        engine.subscribe_pattern(peer, &pattern, ticket);
                        for topic in known {
                            engine.unsubscribe(peer, topic);
                        }
                    });
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
        let unanswered = Unanswered::Subscribe {
            id: id_text.map(Into::into),
            accepted: owned(&accepted),
            rejected: owned(&rejected),
        };
        let confirmation = shard.engine(|engine| engine.confirm(ticket));
        self.await_confirmation(shard, peer, (ticket, unanswered), confirmation);
        if over_limit {
            shard.counters.limited(Limited::Subscriptions);
            let limit = shard.config.events.max_subscriptions;
            let message = format!("At most {limit} subscriptions");
            let refusal = Refusal::new(id, "SUBSCRIPTION_LIMIT", message);
            error(shard, peer, &refusal.with_details(limit_of(limit)));
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

    pub(super) fn unsubscribe(
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
            self.give_up(shard, peer, name);
        }
        let removed: Vec<&str> = removed.iter().map(|name| &**name).collect();
        answer(shard, peer, |w| w.unsubscribed(id, &removed));
    }

    /// Ends a subscription by the name it was made with.
    pub(super) fn give_up(&self, shard: &Shard, peer: PeerId, name: &str) {
        match Selector::parse(name) {
            Ok(Selector::Topic(topic)) => {
                shard.engine(|engine| engine.unsubscribe(peer, topic));
                if shard.config.namespace(topic).presence {
                    let attendee = self.attendee(shard, peer);
                    shard.engine(|engine| engine.exit(topic, &attendee));
                }
            }
            Ok(Selector::Pattern(pattern)) => {
                shard.engine(|engine| engine.unsubscribe_pattern(peer, &pattern));
            }
            Err(_) => unreachable!("only checked names are kept"),
        }
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
