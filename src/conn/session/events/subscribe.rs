//! `subscribe` and `unsubscribe`.

use std::borrow::Cow;

use super::{Events, answer, error, limit_of, note_name};
use crate::auth::Permissions;
use crate::engine::Position;
use crate::id::PeerId;
use crate::metrics::Limited;
use crate::protocol::events::{Begun, Recover, Refusal};
use crate::protocol::json::Raw;
use crate::shard::{Begin, Resumed, Shard, Start};
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
        let pending = shard.pending(peer);
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
                    let joined = shard.subscribe(peer, topic, begin, &pending).is_ok();
                    too_many_topics |= !joined;
                    if joined && shard.config.namespace(topic).presence {
                        shard.enter(topic, &self.attendee(shard, peer));
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
                    for topic in &known {
                        let begin = position_in(recover, topic).map_or(Begin::Live, Begin::After);
                        too_many_topics |= shard.subscribe(peer, topic, begin, &pending).is_err();
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
        shard.confirm(pending, move |shard, starts| {
            let accepted: Vec<&str> = accepted.iter().map(|name| &**name).collect();
            let rejected: Vec<&str> = rejected.iter().map(|name| &**name).collect();
            let begun = starts.iter().map(begun);
            answer(shard, peer, |w| {
                w.subscribed(own_id.as_deref(), &accepted, &rejected, begun);
            });
        });
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
                shard.unsubscribe(peer, topic);
                if shard.config.namespace(topic).presence {
                    shard.exit(topic, &self.attendee(shard, peer));
                }
            }
            Ok(Selector::Pattern(pattern)) => shard.unsubscribe_pattern(peer, &pattern),
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
