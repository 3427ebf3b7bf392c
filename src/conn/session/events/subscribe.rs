//! `subscribe` and `unsubscribe`.

use std::borrow::Cow;

use super::{Events, Unanswered, answer, error, limit_of, note_name};
use crate::auth::Permissions;
use crate::collections::HashSet;
use crate::engine::{Begin, SubscribeError};
use crate::id::{PeerId, Position};
use crate::metrics::Limited;
use crate::protocol::events::{Recover, Refusal};
use crate::protocol::json::Raw;
use crate::shard::Shard;
use crate::topic::{self, Pattern, Selector};

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
        let (mut over_limit, mut no_room) = (false, None);
        let may = Permissions::new(&shard.config, self.standing.identity());
        let ticket = shard.engine(|engine| engine.begin_subscription(peer));
        let (mut taken, mut topics, mut patterns) = (Vec::new(), Vec::new(), Vec::new());
        let pairs = (self.subscriptions.len() + names.len()) * names.len();
        let known_names = (pairs > LOOKED_THROUGH_MAX).then(|| self.subscriptions.iter().cloned());
        let mut known_names: Option<HashSet<Box<str>>> = known_names.map(Iterator::collect);
        for name in names {
            let name: &str = name;
            let known = match &known_names {
                Some(known) => known.contains(name),
                None => self.subscriptions.iter().any(|known| **known == *name),
            };
            let selector = Selector::parse(name)
                .inspect_err(|why| note_name(shard, *why))
                .ok()
                .filter(|selector| may.may_subscribe(selector));
            let has_room = self.subscriptions.len() < limit;
            over_limit |= !known && selector.is_some() && !has_room;
            let selector = selector.filter(|_| has_room && !known);
            taken.push(known || selector.is_some());
            match selector {
                Some(Selector::Topic(topic)) => topics.push(topic),
                Some(Selector::Pattern(pattern)) => {
                    let from = position_in(recover, name);
                    patterns.push((pattern, from));
                }
                None => continue,
            }
            self.subscriptions.push(name.into());
            if let Some(known) = &mut known_names {
                known.insert(name.into());
            }
        }
        // Topics that one of the patterns matches are read by it.
        shard.engine(|engine| engine.subscribe_patterns(peer, &patterns, ticket));
        let begin_at = |topic| position_in(recover, topic).map_or(Begin::Live, Begin::After);
        let mut refused: HashSet<&str> = HashSet::default();
        for topic in topics {
            let begin = begin_at(topic);
            let subscribed = shard.engine(|engine| engine.subscribe(peer, topic, begin, ticket));
            if let Err(why) = subscribed {
                no_room = Some(why);
                refused.insert(topic);
            } else if shard.config.namespace(topic).presence {
                let attendee = self.attendee(shard, peer);
                shard.engine(|engine| engine.enter(topic, &attendee));
            }
        }
        if !refused.is_empty() {
            self.subscriptions
                .retain(|known| !refused.contains(&**known));
            for (name, taken) in names.iter().zip(&mut taken) {
                *taken &= !refused.contains(&**name);
            }
        }
        // Those to go on in that are not named.
        let missed = recover.iter().map(|recover| &*recover.topic);
        let missed = missed.filter(|topic| topic::check_topic(topic).is_ok());
        let is_covered = |topic: &str| patterns.iter().any(|(pattern, _)| pattern.matches(topic));
        for topic in missed.filter(|topic| is_covered(topic)) {
            if self.subscriptions.iter().any(|known| **known == *topic) {
                continue;
            }
            let begin = begin_at(topic);
            shard.engine(|engine| {
                no_room = engine
                    .subscribe(peer, topic, begin, ticket)
                    .err()
                    .or(no_room);
                engine.unsubscribe(peer, topic);
            });
        }
        let of = |is_meant: bool| {
            let names = names.iter().zip(&taken);
            let names = names.filter(move |(_, taken)| **taken == is_meant);
            names.map(|(name, _)| (**name).into()).collect()
        };
        let id_text = id.map(Raw::text);
        let unanswered = Unanswered::Subscribe {
            id: id_text.map(Into::into),
            accepted: of(true),
            rejected: of(false),
        };
        let confirmation = shard.engine(|engine| engine.confirm(ticket));
        self.await_confirmation(shard, peer, (ticket, unanswered), confirmation);
        if over_limit {
            shard.counters.limited(Limited::Subscriptions);
            let message = format!("At most {limit} subscriptions");
            let refusal = Refusal::new(id, "SUBSCRIPTION_LIMIT", message);
            error(shard, peer, &refusal.with_details(limit_of(limit)));
        }
        if let Some(why) = no_room {
            refuse(shard, peer, id_text, why);
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
        let is_large = self.subscriptions.len() * names.len() > LOOKED_THROUGH_MAX;
        let meant: HashSet<&str> = match is_large {
            true => names.iter().map(|name| &**name).collect(),
            false => HashSet::default(),
        };
        let is_meant = |name: &str| match is_large {
            true => meant.contains(name),
            false => all || names.iter().any(|other| **other == *name),
        };
        let removed: Vec<Box<str>> = self
            .subscriptions
            .extract_if(.., |name| is_meant(name))
            .collect();
        let mut patterns = Vec::new();
        for name in &removed {
            patterns.extend(self.give_up(shard, peer, name));
        }
        if !patterns.is_empty() {
            shard.engine(|engine| engine.unsubscribe_patterns(peer, &patterns));
        }
        let removed: Vec<&str> = removed.iter().map(|name| &**name).collect();
        answer(shard, peer, |w| w.unsubscribed(id, &removed));
    }

    /// Ends a subscription by the name it was made with. A pattern is returned, to be given up with
    /// others.
    pub(super) fn give_up(&self, shard: &Shard, peer: PeerId, name: &str) -> Option<Pattern> {
        match Selector::parse(name) {
            Ok(Selector::Topic(topic)) => {
                shard.engine(|engine| engine.unsubscribe(peer, topic));
                if shard.config.namespace(topic).presence {
                    let attendee = self.attendee(shard, peer);
                    shard.engine(|engine| engine.exit(topic, &attendee));
                }
                None
            }
            Ok(Selector::Pattern(pattern)) => Some(pattern),
            Err(_) => unreachable!("only checked names are kept"),
        }
    }
}

/// Pairs of names that are compared one by one. Above it, a table pays.
const LOOKED_THROUGH_MAX: usize = 16 * 1024;

/// Tells a client that there is no room for a subscription.
pub(super) fn refuse(shard: &Shard, peer: PeerId, id: Option<&str>, why: SubscribeError) {
    let (limited, refusal) = match why {
        SubscribeError::Topics => (Limited::Topics, Refusal::too_many_topics(id.unwrap_or(""))),
        SubscribeError::Memory => (Limited::SubscriptionMemory, Refusal::no_memory(id)),
    };
    shard.counters.limited(limited);
    error(shard, peer, &refusal);
}

/// Where the client was in `topic`, if it says so.
fn position_in(recover: &[Recover<'_>], topic: &str) -> Option<Position> {
    let recover = recover.iter().find(|recover| recover.topic == topic)?;
    Some(Position {
        epoch: recover.epoch,
        offset: recover.offset,
    })
}
