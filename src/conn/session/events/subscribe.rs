//! `subscribe` and `unsubscribe`.

use std::borrow::Cow;

use super::{Events, answer, error, limit_of};
use crate::id::PeerId;
use crate::protocol::events::{Refusal, Writer};
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
    ) {
        let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
        let (mut over_limit, mut too_many_topics) = (false, false);
        let pending = shard.pending(peer);
        for name in names {
            let name: &str = name;
            let known = self.subscriptions.iter().any(|known| **known == *name);
            let selector = Selector::parse(name)
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
            let limit = shard.config.events.max_subscriptions;
            let message = format!("At most {limit} subscriptions");
            let refusal = Refusal::new(id, "SUBSCRIPTION_LIMIT", message);
            error(shard, peer, &refusal.with_details(limit_of(limit)));
        }
        if too_many_topics {
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
            give_up(shard, peer, name);
        }
        let removed: Vec<&str> = removed.iter().map(|name| &**name).collect();
        answer(shard, peer, |w| w.unsubscribed(id, &removed));
    }
}

/// Ends a subscription by the name it was made with.
pub(super) fn give_up(shard: &Shard, peer: PeerId, name: &str) {
    match Selector::parse(name) {
        Ok(Selector::Topic(topic)) => shard.unsubscribe(peer, topic),
        Ok(Selector::Pattern(pattern)) => shard.unsubscribe_pattern(peer, &pattern),
        Err(_) => unreachable!("only checked names are kept"),
    }
}
