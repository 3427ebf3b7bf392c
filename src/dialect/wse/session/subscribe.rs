//! `subscription_update`: topics and patterns, with recovery (spec 1.6, 1.7).

use std::borrow::Cow;

use super::ack::{Ack, AckStart, WaitingAck, listed};
use super::awaited::Awaited;
use super::history::Replay;
use super::presence::Entering;
use super::subscriptions::is_pattern;
use super::{Phase, WseSession};
use crate::collections::{HashMap, HashSet};
use crate::conn::Flow;
use crate::dialect::wse::envelope::Envelope;
use crate::dialect::wse::frame::read_epoch;
use crate::engine::{
    Begin, Confirmation, PATTERNS_MAX, Recover, RecoverFrom, Ticket, is_queue_group,
};
use crate::id::{PeerId, Position};
use crate::inbound::ObjectKind;
use crate::json::{self, Raw};
use crate::metrics::Limited;
use crate::shard::{OrderReply, OrderResult, Shard};
use crate::topic::{self, Pattern, Selector};

/// Topics in one message, unless a connection may have more; with more of them it is refused.
const TOPICS_MAX: usize = 1000;

/// Topics that an error names; the acknowledgement names all.
const FAILED_MAX: usize = 100;

/// What a client wants of its subscriptions.
#[derive(Default, Debug)]
pub struct Wanted<'a> {
    /// What is to be done.
    pub action: Option<Cow<'a, str>>,
    /// Topics and patterns.
    pub topics: Vec<Cow<'a, str>>,
    /// Data for rosters, a JSON object.
    pub presence: Option<&'a str>,
    /// It wants what it has missed.
    pub recovers: bool,
    /// Its positions by topic, a JSON object.
    pub recovery: Option<Raw<'a>>,
    /// The queue group that it reads in.
    pub group: Option<Cow<'a, str>>,
}

impl<'a> Wanted<'a> {
    /// Reads the payload of a `subscription_update`. What it has of wrong types is left out.
    #[must_use]
    pub fn read(payload: &'a str) -> Self {
        let mut wanted = Self::default();
        let _ = json::fields(payload, |key, value| match key {
            "action" => wanted.action = value.as_string(),
            "topics" => wanted.topics = value.as_strings().unwrap_or_default(),
            "presence" if value.is_object() => wanted.presence = Some(value.text()),
            "recover" => wanted.recovers = value.text() == "true",
            "recovery" if value.is_object() => wanted.recovery = Some(value),
            "queue_group" => wanted.group = value.as_string(),
            _ => {}
        });
        wanted
    }

    /// The positions from which it wants to go on.
    #[must_use]
    pub fn positions(&self) -> Vec<Recover<'static>> {
        let mut positions = Vec::new();
        let recovery = self.recovery.filter(|_| self.recovers);
        let _ = json::fields(recovery.map_or("{}", Raw::text), |topic, value| {
            let (mut epoch, mut offset) = (None, None);
            let _ = json::fields(value.text(), |key, value| match key {
                "epoch" => epoch = value.as_string(),
                "offset" => offset = value.as_count(),
                _ => {}
            });
            if let (Some(epoch), Some(offset)) = (epoch, offset) {
                // No topic has the epoch of a text that is none.
                let epoch = read_epoch(&epoch).unwrap_or(0);
                positions.push(Recover {
                    topic: Cow::Owned(topic.to_owned()),
                    from: RecoverFrom::Position(Position { epoch, offset }),
                });
            }
        });
        positions
    }
}

impl WseSession {
    /// Processes a `subscription_update`.
    pub(super) fn subscription(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        message: &Envelope<'_>,
    ) -> Flow {
        if self.phase != Phase::Joined {
            return Flow::Wait;
        }
        let mut wanted = Wanted::read(message.payload_text());
        let action = wanted.action.take();
        let subscribes = match action.as_deref() {
            Some("subscribe") => true,
            Some("unsubscribe") => false,
            other => {
                let action = other.unwrap_or("none");
                let why = format!("Invalid subscription action: {action}");
                self.error(shard, peer, "INVALID_ACTION", &why);
                return Flow::Continue;
            }
        };
        if wanted.topics.is_empty() {
            self.error(shard, peer, "INVALID_SUBSCRIPTION", "No topics specified");
            return Flow::Continue;
        }
        let topics_max = self.wse.settings.max_subscriptions.max(TOPICS_MAX);
        if wanted.topics.len() > topics_max {
            let why = format!("At most {topics_max} topics in one message");
            self.error(shard, peer, "INVALID_SUBSCRIPTION", &why);
            return Flow::Continue;
        }
        if !self.may_change(shard, peer, &wanted.topics) {
            return Flow::Wait;
        }
        match subscribes {
            true => self.subscribe(shard, peer, &wanted, None),
            false => self.unsubscribe(shard, peer, &wanted.topics),
        }
        Flow::Continue
    }

    /// Whether the engine can change the client's subscriptions to these names now.
    pub(super) fn may_change<N: AsRef<str>>(
        &self,
        shard: &Shard,
        peer: PeerId,
        names: &[N],
    ) -> bool {
        let names = names.iter().map(AsRef::as_ref);
        let (patterns, topics): (Vec<&str>, Vec<&str>) = names.partition(|name| is_pattern(name));
        self.phase == Phase::Joined
            && shard.engine(|engine| engine.may_subscribe(peer, &topics, !patterns.is_empty()))
    }

    /// Subscribes as an application orders it, whatever the client may do itself.
    pub(super) fn subscribe_by_order(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        (topics, recover): (&[Box<str>], &[Recover<'static>]),
        (presence, group): (&str, &str),
        reply: OrderReply,
    ) {
        let wanted = Wanted {
            topics: topics.iter().map(|name| (&**name).into()).collect(),
            presence: Some(presence).filter(|data| !data.is_empty()),
            group: Some(group)
                .filter(|group| !group.is_empty())
                .map(Into::into),
            ..Wanted::default()
        };
        self.subscribe(shard, peer, &wanted, Some((reply, recover)));
    }

    fn subscribe(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        wanted: &Wanted<'_>,
        order: Option<(OrderReply, &[Recover<'static>])>,
    ) {
        let is_own = order.is_none();
        let (reply, positions) = match order {
            Some((reply, recover)) => (Some(reply), recover.to_vec()),
            None => (None, wanted.positions()),
        };
        let positions: HashMap<&str, RecoverFrom> = positions
            .iter()
            .map(|position| (&*position.topic, position.from))
            .collect();
        let position_of = |name: &str| positions.get(name).copied();
        let user = self.user(shard, peer).into_owned();
        let inbox = topic::inbox_of(&user);
        let mut ack = Box::new(Ack {
            reply,
            ..Ack::default()
        });
        let (mut topics, mut patterns) = (Vec::new(), Vec::new());
        let (mut over_limit, mut foreign, mut grouped) = (false, None, None);
        let mut asked: HashSet<&str> = HashSet::default();
        for name in &wanted.topics {
            let name: &str = name;
            if !asked.insert(name) {
                continue;
            }
            let from = position_of(name);
            let is_inbox = (name == inbox || is_written_inbox(&user, name))
                && (self.identity.is_none()
                    || self
                        .permissions(shard)
                        .may_subscribe(&Selector::Topic(&inbox)));
            let is_read = is_inbox || self.subscriptions.contains(name);
            // Clients ask so for topics that they read by a pattern.
            let is_repair = from.is_some() && !is_pattern(name) && self.subscriptions.covers(name);
            if is_read || is_repair {
                let topic = if is_inbox { &*inbox } else { name };
                match from {
                    Some(RecoverFrom::Position(from))
                        if !is_pattern(topic) && !self.was_replayed(topic, from) =>
                    {
                        match self.replay(Replay::repair(topic, from)) {
                            true => ack.later.push(name.into()),
                            false => ack.failed.push(name.into()),
                        }
                    }
                    _ => {
                        ack.already.push(name.into());
                        ack.success.push(name.into());
                    }
                }
                continue;
            }
            let selector = selector_of(name).filter(|selector| {
                // An inbox is its user's alone, whoever asks.
                let may = !is_own && !topic::is_inbox(name)
                    || self.permissions(shard).may_subscribe(selector);
                if !may && topic::is_inbox(name) {
                    foreign.get_or_insert(name);
                }
                may
            });
            let is_full = self.subscriptions.len() >= self.wse.settings.max_subscriptions
                || matches!(selector, Some(Selector::Pattern(_)))
                    && self.subscriptions.pattern_count() >= PATTERNS_MAX;
            over_limit |= is_full && selector.is_some();
            match selector.filter(|_| !is_full) {
                None => {
                    ack.failed.push(name.into());
                    continue;
                }
                Some(Selector::Pattern(_)) if wanted.group.is_some() => {
                    grouped.get_or_insert(name);
                    ack.failed.push(name.into());
                    continue;
                }
                Some(Selector::Pattern(pattern)) => {
                    let from = from.and_then(RecoverFrom::position);
                    patterns.push((pattern, from));
                }
                Some(Selector::Topic(name)) => topics.push((name, from)),
            }
            self.subscriptions.add(name);
            ack.success.push(name.into());
        }
        let how = (wanted.presence, wanted.group.as_deref());
        let ticket = self.begin(shard, peer, how, (&topics, &patterns), &mut ack);
        if over_limit {
            shard.counters.limited(Limited::Subscriptions);
        }
        let why = match (foreign, grouped) {
            _ if over_limit => {
                let limit = self.wse.settings.max_subscriptions;
                format!("At most {limit} topics and patterns, {PATTERNS_MAX} of them patterns")
            }
            (Some(name), _) => format!("`{name}` is somebody else's"),
            (None, Some(name)) => format!("`{name}` is a pattern: those have no queue groups"),
            (None, None) => "Some topics are not permitted, or no names of topics".to_owned(),
        };
        ack.why = Some(why).filter(|_| is_own);
        let confirmation = shard.engine(|engine| engine.confirm(ticket));
        let awaited = (ticket, Awaited::Subscribe(ack));
        self.await_outcome(shard, peer, awaited, confirmation);
        self.go_on(shard, peer);
    }
}

/// Topics and patterns of one message, each with where it begins.
type Taken<'a> = (
    &'a [(&'a str, Option<RecoverFrom>)],
    &'a [(Pattern, Option<Position>)],
);

impl WseSession {
    /// Begins the subscriptions that were taken. What has no room joins those that failed.
    fn begin(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        (presence, group): (Option<&str>, Option<&str>),
        (topics, patterns): Taken<'_>,
        ack: &mut Ack,
    ) -> Ticket {
        let ticket = shard.engine(|engine| engine.begin_subscription(peer));
        // Topics that one of the patterns matches are read through the pattern's log.
        shard.engine(|engine| engine.subscribe_patterns(peer, patterns, ticket));
        for &(topic, from) in topics {
            let is_covered = self.subscriptions.covers(topic);
            let begin = match from {
                Some(RecoverFrom::Position(from)) if !is_covered => Begin::AfterOrNewest(from),
                Some(RecoverFrom::Last(count)) if !is_covered => Begin::Last(count),
                _ => Begin::Live,
            };
            let is_begun = match group {
                Some(group) => self.join_queue(shard, peer, (topic, group), ticket),
                None => shard
                    .engine(|engine| engine.subscribe(peer, topic, begin, ticket))
                    .is_ok(),
            };
            if !is_begun {
                self.subscriptions.remove(topic);
                ack.success.retain(|name| **name != *topic);
                ack.failed.push(topic.into());
                continue;
            }
            if let (Some(RecoverFrom::Position(from)), true, None) = (from, is_covered, group) {
                // Without room for it the client sees a gap, and asks again.
                if self.replay(Replay::repair(topic, from)) {
                    ack.later.push(topic.into());
                    ack.success.retain(|name| **name != *topic);
                }
            }
            if shard.config.namespace(topic).presence {
                let data = presence.unwrap_or("");
                self.more().entering.push(Entering::new(topic, data));
            }
        }
        let added = ack.success.iter().map(|name| &**name);
        let added = added.filter(|name| !ack.already.iter().any(|known| **known == **name));
        shard.tell_topics(peer, ObjectKind::Subscribe, added);
        ticket
    }

    fn join_queue(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        (topic, group): (&str, &str),
        ticket: Ticket,
    ) -> bool {
        let is_joined = is_queue_group(group)
            && shard
                .engine(|engine| engine.join_queue(peer, topic, group, ticket))
                .is_ok();
        if is_joined {
            self.more().queues.push((topic.into(), group.into()));
        }
        is_joined
    }

    /// Takes back what a home has refused.
    pub(super) fn note_refused(
        &mut self,
        (shard, peer): (&Shard, PeerId),
        confirmation: &Confirmation,
        ack: &mut Ack,
    ) {
        let refused = confirmation.refused.iter().map(|(topic, _)| &**topic);
        for topic in refused {
            if self.subscriptions.remove(topic) {
                self.leave_roster(shard, peer, topic);
            }
            if let Some(more) = &mut self.more {
                more.queues.retain(|(name, _)| **name != *topic);
            }
            ack.success.retain(|name| **name != *topic);
            ack.failed.push(topic.into());
        }
    }

    /// Ends a subscription to a topic.
    fn leave_topic(&mut self, shard: &Shard, peer: PeerId, topic: &str) {
        let queues = self.more.as_mut().map(|more| &mut more.queues);
        let queue = queues.and_then(|queues| {
            let at = queues.iter().position(|(name, _)| **name == *topic)?;
            Some(queues.remove(at).1)
        });
        match queue {
            Some(group) => shard.engine(|engine| engine.leave_queue(peer, topic, &group)),
            None => shard.engine(|engine| engine.unsubscribe(peer, topic)),
        }
    }

    /// Writes an acknowledgement, or keeps it until the missed messages before it are written.
    pub(super) fn put_ack(&mut self, shard: &Shard, peer: PeerId, ack: Box<Ack>) {
        if shard.engine(|engine| engine.is_catching_up(peer)) {
            self.more().acks.push(WaitingAck(ack));
        } else {
            self.send_ack(shard, peer, *ack);
        }
    }

    /// Writes the acknowledgements that waited for missed messages.
    pub(super) fn send_acks(&mut self, shard: &Shard, peer: PeerId) {
        let Some(more) = &mut self.more else { return };
        for WaitingAck(ack) in std::mem::take(&mut more.acks) {
            self.send_ack(shard, peer, *ack);
        }
        self.tidy();
    }

    fn send_ack(&self, shard: &Shard, peer: PeerId, mut ack: Ack) {
        // Clients of topics without history are told no positions.
        let has_history = |start: &AckStart| {
            start.is_recovered || start.count > 0 || {
                shard.config.namespace(&start.topic).history_size > 0
            }
        };
        for start in ack.starts.iter_mut().filter(|start| !has_history(start)) {
            start.position = Position::default();
        }
        ack.starts
            .retain(|start| start.position != Position::default());
        // What was given up meanwhile is not subscribed to.
        let is_read = |name: &str| topic::is_inbox(name) || self.subscriptions.contains(name);
        ack.success.retain(|name| is_read(name));
        let is_empty = ack.success.is_empty() && ack.failed.is_empty();
        if !is_empty || ack.later.is_empty() {
            let all = listed(self.subscriptions.iter());
            self.send_system(shard, peer, "subscription_update", |p| {
                ack.put(p, "subscribe", &all);
            });
        }
        if let Some(why) = ack.why.as_deref().filter(|_| !ack.failed.is_empty()) {
            let failed = ack.failed.iter().take(FAILED_MAX);
            let failed = listed(failed.map(|name| &**name));
            self.error_with(shard, peer, "SUBSCRIPTION_FAILED", why, |p| {
                p.object("details", |p| {
                    p.raw("topics", &failed);
                });
            });
        }
        if let Some(reply) = ack.reply.take() {
            ack.success.append(&mut ack.later);
            reply.answer(OrderResult::Subscribed {
                accepted: ack.success,
                rejected: ack.failed,
            });
        }
    }

    /// The oldest missed messages of a topic are not kept: before the newest ones the client is told to go on from
    /// there. It drops what does not follow on.
    pub(super) fn pass_over(&mut self, shard: &Shard, peer: PeerId, topic: &str, lost: u64) {
        let Some(more) = &mut self.more else { return };
        let mut starts = more.acks.iter_mut().flat_map(|ack| &mut ack.0.starts);
        let start = starts.find(|start| *start.topic == *topic && start.after.is_some());
        let Some(start) = start else { return };
        start.count = start.count.saturating_sub(lost);
        let after = start.after.take().unwrap_or(0) + lost;
        let epoch = start.position.epoch;
        let position = Position {
            epoch,
            offset: after,
        };
        let start = AckStart::replayed(topic, position, false, start.count);
        self.send_position(shard, peer, start, "recover");
    }

    /// Tells the client where a topic goes on.
    pub(super) fn send_position(&self, shard: &Shard, peer: PeerId, start: AckStart, action: &str) {
        let ack = Ack {
            success: vec![start.topic.clone()],
            starts: vec![start],
            ..Ack::default()
        };
        let all = listed(self.subscriptions.iter());
        self.send_system(shard, peer, "subscription_update", |p| {
            ack.put(p, action, &all);
        });
    }

    /// Ends subscriptions. One that there is not has ended.
    pub(super) fn unsubscribe<N: AsRef<str>>(&mut self, shard: &Shard, peer: PeerId, names: &[N]) {
        let user = self.user(shard, peer).into_owned();
        let inbox = topic::inbox_of(&user);
        let (mut ack, mut ended) = (Ack::default(), Vec::new());
        for name in names.iter().map(AsRef::as_ref) {
            if name == inbox || is_written_inbox(&user, name) {
                ack.failed.push(name.into());
                continue;
            }
            ack.success.push(name.into());
            if self.subscriptions.remove(name) {
                ended.push(name);
            }
        }
        let (patterns, topics): (Vec<&str>, Vec<&str>) =
            ended.iter().partition(|name| is_pattern(name));
        for topic in topics {
            self.leave_topic(shard, peer, topic);
            self.leave_roster(shard, peer, topic);
        }
        let patterns: Vec<Pattern> = patterns.into_iter().filter_map(Pattern::bytes).collect();
        if !patterns.is_empty() {
            shard.engine(|engine| engine.unsubscribe_patterns(peer, &patterns));
        }
        self.drop_unread(shard, peer);
        shard.tell_topics(peer, ObjectKind::Unsubscribe, ended.iter().copied());
        let all = listed(self.subscriptions.iter());
        self.send_system(shard, peer, "subscription_update", |p| {
            ack.put(p, "unsubscribe", &all);
        });
    }
}

/// Whether a name is that of a user's inbox with the user's name as it is, which in topics is escaped.
fn is_written_inbox(user: &str, name: &str) -> bool {
    let rest = name.strip_prefix("user:");
    rest.and_then(|rest| rest.strip_suffix(":events")) == Some(user)
}

/// What a client means by a name; `None` if no topic has such a name.
fn selector_of(name: &str) -> Option<Selector<'_>> {
    match is_pattern(name) {
        true => Pattern::bytes(name).map(Selector::Pattern),
        false => topic::is_name(name).then_some(Selector::Topic(name)),
    }
}
