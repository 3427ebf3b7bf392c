//! `subscribe` and `unsubscribe`.

use std::borrow::Cow;

use super::subscriptions::is_pattern;
use super::{EventsSession, Flow, PendingReply, Unsubscribing, answer, error};
use super::{identity_of, limit_of, note_name};
use crate::auth::Permissions;
use crate::collections::HashSet;
use crate::dialect::events::Refusal;
use crate::engine::{Begin, PATTERNS_MAX, Recover, RecoverFrom, SubscribeError};
use crate::id::PeerId;
use crate::inbound::ObjectKind;
use crate::json::Raw;
use crate::metrics::Limited;
use crate::shard::{OrderReply, OrderResult, Shard};
use crate::topic::{self, Pattern, Selector};

/// Who wants a subscription.
pub(super) enum By<'a> {
    /// The client itself, with the `id` of its message.
    Client(Option<Raw<'a>>),
    /// An application, which needs no permission of the client's and is told itself what was refused.
    Application(OrderReply),
}

impl EventsSession {
    pub(super) fn subscribe(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        by: By<'_>,
        names: &[Cow<'_, str>],
        recover: &[Recover<'_>],
    ) {
        let (id, reply) = match by {
            By::Client(id) => (id, None),
            By::Application(reply) => (None, Some(reply)),
        };
        let is_own = reply.is_none();
        let limit = shard.config.clients.max_subscriptions;
        if recover.len() > limit {
            if let Some(reply) = reply {
                let rejected = names.iter().map(|name| (&**name).into()).collect();
                return reply.answer(OrderResult::Subscribed {
                    accepted: Vec::new(),
                    rejected,
                });
            }
            let message = format!("At most {limit} topics can be recovered at once");
            let refusal = Refusal::new(id, "SUBSCRIPTION_LIMIT", message);
            return error(shard, peer, &refusal.with_details(limit_of(limit)));
        }
        let (mut over_limit, mut no_room, mut wide) = (None, None, None);
        let may = Permissions::new(&shard.config, identity_of(self.user.as_deref()));
        let ticket = shard.engine(|engine| engine.begin_subscription(peer));
        let (mut taken, mut topics, mut patterns) = (Vec::new(), Vec::new(), Vec::new());
        let mut added = Vec::new();
        for name in names {
            let name: &str = name;
            let is_known = self.subscriptions.contains(name);
            let selector = Selector::parse(name)
                .inspect_err(|why| note_name(shard, *why))
                .ok()
                .filter(|selector| {
                    let is_allowed = !is_own || may.may_subscribe(selector);
                    if !is_allowed && wide.is_none() && may.lacks_claim(selector) {
                        wide = Some(name);
                    }
                    is_allowed
                });
            let over = match &selector {
                _ if is_known => None,
                Some(_) if self.subscriptions.len() >= limit => Some((limit, "subscriptions")),
                Some(Selector::Pattern(_))
                    if self.subscriptions.pattern_count() >= PATTERNS_MAX =>
                {
                    Some((PATTERNS_MAX, "patterns"))
                }
                _ => None,
            };
            over_limit = over_limit.or(over);
            let selector = selector.filter(|_| over.is_none() && !is_known);
            taken.push(is_known || selector.is_some());
            match selector {
                Some(Selector::Topic(topic)) => topics.push(topic),
                Some(Selector::Pattern(pattern)) => {
                    let from = wanted_of(recover, name).and_then(RecoverFrom::position);
                    patterns.push((pattern, from));
                }
                None => continue,
            }
            added.push(name);
            self.subscriptions.add(name);
        }
        // Topics that one of the patterns matches are read through the pattern's log.
        shard.engine(|engine| engine.subscribe_patterns(peer, &patterns, ticket));
        let begin_at = |topic| wanted_of(recover, topic).map_or(Begin::Live, RecoverFrom::begin);
        let mut refused: HashSet<&str> = HashSet::default();
        for topic in topics {
            let begin = begin_at(topic);
            let subscribed = shard.engine(|engine| engine.subscribe(peer, topic, begin, ticket));
            if let Err(why) = subscribed {
                no_room = Some(why);
                refused.insert(topic);
            } else if shard.config.namespace(topic).presence {
                let attendee = self.attendee(shard, peer);
                shard.engine(|engine| engine.enter(topic, &attendee, ""));
            }
        }
        for (name, taken) in names.iter().zip(&mut taken) {
            if refused.contains(&**name) {
                *taken = false;
                let _ = self.subscriptions.remove(name);
            }
        }
        let added = added.into_iter().filter(|name| !refused.contains(name));
        shard.tell_topics(peer, ObjectKind::Subscribe, added);
        // Topics in `recover` that are not in `names`.
        let missed = recover.iter().map(|recover| &*recover.topic);
        let missed = missed.filter(|topic| topic::check_topic(topic).is_ok());
        let is_covered = |topic: &str| patterns.iter().any(|(pattern, _)| pattern.matches(topic));
        for topic in missed.filter(|topic| is_covered(topic)) {
            if self.subscriptions.contains(topic) {
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
        let pending = PendingReply::Subscribe {
            id: id_text.map(Into::into),
            accepted: of(true),
            rejected: of(false),
            reply,
        };
        let confirmation = shard.engine(|engine| engine.confirm(ticket));
        self.await_confirmation(shard, peer, (ticket, pending), confirmation);
        if over_limit.is_some() {
            shard.counters.limited(Limited::Subscriptions);
        }
        if !is_own {
            return;
        }
        if let Some(pattern) = wide {
            let message = format!(
                "`{pattern}` reaches across namespaces: that takes a token whose `fanfare.subscribe` covers it, as [\"{pattern}\"]"
            );
            error(shard, peer, &Refusal::new(id, "FORBIDDEN", message));
        }
        if let Some((limit, of)) = over_limit {
            let message = format!("At most {limit} {of}");
            let refusal = Refusal::new(id, "SUBSCRIPTION_LIMIT", message);
            error(shard, peer, &refusal.with_details(limit_of(limit)));
        }
        if let Some(why) = no_room {
            refuse(shard, peer, id_text, why);
        }
    }

    /// Unsubscribes, from at most [`UNSUBSCRIBED_PER_TURN`] names per turn: while some are left, it returns
    /// [`Flow::Wait`] and is called again.
    pub(super) fn unsubscribe(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        id: Option<&str>,
        names: &[Cow<'_, str>],
    ) -> Flow {
        let mut unsubscribing = self.unsubscribing.take().unwrap_or_else(|| {
            let names = match names.is_empty() {
                true => self.subscriptions.take(),
                false => names
                    .iter()
                    .filter_map(|name| self.subscriptions.remove(name))
                    .collect(),
            };
            Box::new(Unsubscribing { names, done: 0 })
        });
        let Unsubscribing { names, done } = &mut *unsubscribing;
        let end = names.len().min(*done + UNSUBSCRIBED_PER_TURN);
        self.end_topics(shard, peer, &names[*done..end]);
        *done = end;
        let is_last = *done == names.len();
        let has_patterns = is_last && names.iter().any(|name| is_pattern(name));
        if !is_last || !shard.engine(|engine| engine.may_subscribe(peer, &[], has_patterns)) {
            self.unsubscribing = Some(unsubscribing);
            self.resume = Some(0);
            return Flow::Wait;
        }
        end_patterns(shard, peer, names);
        unsubscribed(shard, peer, id, names);
        Flow::Continue
    }

    /// Ends the subscriptions to those of `names` that are topics.
    pub(super) fn end_topics(&self, shard: &Shard, peer: PeerId, names: &[Box<str>]) {
        for name in names.iter().filter(|name| !is_pattern(name)) {
            shard.engine(|engine| engine.unsubscribe(peer, name));
            self.exit(shard, peer, name);
        }
    }

    /// Removes this subscription from the roster of its topic.
    pub(super) fn exit(&self, shard: &Shard, peer: PeerId, name: &str) {
        if !is_pattern(name) && shard.config.namespace(name).presence {
            let attendee = self.attendee(shard, peer);
            shard.engine(|engine| engine.exit(name, &attendee));
        }
    }
}

/// Ends the subscriptions to those of `names` that are patterns. The engine may take that now.
pub(super) fn end_patterns(shard: &Shard, peer: PeerId, names: &[Box<str>]) {
    let patterns = names.iter().filter(|name| is_pattern(name));
    let patterns = patterns.map(|name| Pattern::segments(name).expect("it was checked"));
    let patterns: Vec<Pattern> = patterns.collect();
    if !patterns.is_empty() {
        shard.engine(|engine| engine.unsubscribe_patterns(peer, &patterns));
    }
}

/// Tells the client which of its subscriptions have ended.
pub(super) fn unsubscribed(shard: &Shard, peer: PeerId, id: Option<&str>, names: &[Box<str>]) {
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    shard.tell_topics(peer, ObjectKind::Unsubscribe, names.iter().copied());
    answer(shard, peer, |w| w.unsubscribed(id, &names));
}

/// Subscriptions that one turn ends.
const UNSUBSCRIBED_PER_TURN: usize = 4096;

/// Answers a subscription that exceeds a limit with an error.
pub(super) fn refuse(shard: &Shard, peer: PeerId, id: Option<&str>, why: SubscribeError) {
    let (limited, refusal) = match why {
        SubscribeError::Topics => (Limited::Topics, Refusal::too_many_topics(id.unwrap_or(""))),
        SubscribeError::Memory => (Limited::SubscriptionMemory, Refusal::no_memory(id)),
    };
    shard.counters.limited(limited);
    error(shard, peer, &refusal);
}

/// What the client wants of `topic`, if it said so.
fn wanted_of(recover: &[Recover<'_>], topic: &str) -> Option<RecoverFrom> {
    let recover = recover.iter().find(|recover| recover.topic == topic)?;
    Some(recover.from)
}
