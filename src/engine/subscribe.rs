//! The steps of a subscription: into the hub, to the topic's home, and back as the confirmation from which every
//! message is delivered.

use super::begin::Begin;
use super::catch_up::CatchUp;
use super::confirmation::{Confirmation, Resume, Resumed, Start, Subscribing, SubscribingPattern};
use super::home::{Interest, RECOVERED_TOPICS_MAX};
use super::hub::Subscribed;
use super::interest::InterestState;
use super::patterns::Regrouped;
use super::ticket::ANSWERS_MAX;
use super::{
    Asker, Gap, GapCause, Lanes, Outcome, PatternRecovery, Place, Reach, Request, Ticket, Turn,
};
use crate::collections::HashSet;
use crate::id::{FormatId, PeerId, Position, ShardId, TopicId};
use crate::topic::Pattern;

/// The approximate cost of beginning one subscription, in the steps of
/// [`Engine::take_steps`](super::Engine::take_steps).
pub(super) const SUBSCRIPTION_STEPS: usize = 40;

/// Why a subscription is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubscribeError {
    /// The topic is new and the hub is at its topic limit.
    Topics,
    /// The hub is at its memory limit for memberships.
    Memory,
}

impl<L: Lanes> Turn<'_, L> {
    /// Whether `peer` may change its subscriptions to these topics, and to patterns if `has_patterns`, now. If not, try
    /// again after the next flush, and do not read from the peer until then.
    ///
    /// [`Lanes::request`] never refuses, so callers check here first; what one message can request is bounded by
    /// its size.
    #[must_use]
    pub fn may_subscribe(&self, peer: PeerId, topics: &[&str], has_patterns: bool) -> bool {
        let engine = &*self.engine;
        if engine.readers.hub.answers_awaited(peer) >= ANSWERS_MAX {
            return false;
        }
        // Which topics a pattern resumes depends on the peer's other subscriptions.
        if engine.tickets.is_recovering(peer) || engine.reformats.has(peer) {
            return false;
        }
        if has_patterns && !self.may_regroup(peer) {
            return false;
        }
        let is_full = |home: ShardId| self.lanes.requests_full(home);
        if !engine.others().any(is_full) {
            return true;
        }
        // A pattern is sent to every home.
        let asks_full =
            |name: &&str| matches!(engine.place_of(name), Place::Shard(home) if is_full(home));
        !has_patterns && !topics.iter().any(asks_full)
    }

    /// Whether the patterns of a peer may be changed. [`Self::regroup`] moves its unread frames, so these have to
    /// be few, and none of its logs may be on hold.
    fn may_regroup(&self, peer: PeerId) -> bool {
        let engine = &*self.engine;
        let hub = &engine.readers.hub;
        let is_held = hub.answers_awaited(peer) > 0 || engine.catch_ups.has(peer);
        !is_held && !hub.is_blocked(peer.slot) && !hub.is_outbox_full(peer.slot)
    }

    /// Whether a request of `peer` is unanswered, or an answer not yet written to it.
    #[must_use]
    pub fn is_confirming(&self, peer: PeerId) -> bool {
        self.engine.readers.hub.answers_awaited(peer) > 0
    }

    /// Opens a subscription of `peer` to any number of topics; the ticket identifies its confirmation.
    /// [`Self::confirm`] closes it.
    #[must_use]
    pub fn begin_subscription(&mut self, peer: PeerId) -> Ticket {
        let ticket = self.engine.outcomes.ticket();
        self.engine.readers.hub.note_asked(peer);
        self.engine.tickets.open(ticket, peer);
        ticket
    }

    /// Closes what [`Self::begin_subscription`] opened. Returns the confirmation if no home has to answer; otherwise it
    /// comes as an [`Outcome::Confirmed`].
    #[must_use]
    pub fn confirm(&mut self, ticket: Ticket) -> Option<Confirmation> {
        self.recover_here(ticket);
        let mut confirmation = self.engine.tickets.settle(ticket)?;
        self.locate_underway(&mut confirmation);
        Some(confirmation)
    }

    /// Sets the positions of topics that were delivered to the peer before: after the last message written to it.
    /// Called just before the reply is written.
    pub(super) fn locate_underway(&mut self, confirmation: &mut Confirmation) {
        let Confirmation { peer, topics, .. } = confirmation;
        for begun in topics.iter_mut().filter(|begun| begun.hold.is_none()) {
            let topic = begun.topic;
            if !self.engine.readers.is_reading(*peer, topic, &begun.name) {
                continue;
            }
            // An open group is written after the reply, and so is what the peer has yet to catch up with.
            self.close_group(topic);
            let engine = &*self.engine;
            let epoch = begun.position.map_or(0, |position| position.epoch);
            let live = engine.readers.written_number(*peer, topic, &begun.name);
            let missed = engine.catch_ups.written(*peer, topic, epoch);
            // The position that the peer claims may be one it never reached.
            let written = missed.map_or(live, |missed| live.map(|live| live.min(missed)));
            if let (Some(position), Some(written)) = (&mut begun.position, written) {
                position.offset = written;
            }
        }
    }

    /// The reply to a subscription has been written: releases the holds, so that missed messages and then new ones are
    /// written.
    pub fn go_on(&mut self, confirmation: &Confirmation) {
        let Confirmation {
            peer,
            patterns,
            topics,
            ..
        } = confirmation;
        if !self.engine.readers.hub.is_present(*peer) {
            return;
        }
        self.engine.readers.hub.note_answered(*peer);
        let is_lost = |one: &&SubscribingPattern| one.from.is_some() && !one.is_complete;
        for pending in patterns.iter().filter(is_lost) {
            let gap = Gap {
                topic: Some(pending.pattern.as_str().into()),
                matcher: Some(pending.pattern.matcher()),
                lost: None,
                cause: GapCause::History,
            };
            self.tell_gap(*peer, gap);
        }
        let mut missed = Vec::new();
        for begun in topics {
            if begun.hold.is_some() && begun.resume.is_some() {
                self.engine.catch_ups.tell(*peer, begun.topic);
            }
            let Start {
                position, resumed, ..
            } = begun.start();
            let resumed = resumed.unwrap_or(Resumed::Complete(0));
            match begun.hold {
                Some(hold) if self.engine.readers.hub.is_held(peer.slot, begun.log, hold) => {
                    missed.extend(self.miss(*peer, (begun, hold), position, resumed));
                }
                None if resumed == Resumed::Underway => {
                    self.tell_underway(*peer, begun.topic, &begun.name);
                }
                _ => {}
            }
        }
        let held = topics
            .iter()
            .filter_map(|begun| Some((begun.log, begun.hold?)));
        for (log, hold) in held {
            let is_missed = missed.iter().any(|missed: &CatchUp| missed.held == log);
            if !is_missed && self.engine.readers.hub.is_held(peer.slot, log, hold) {
                self.release(*peer, log);
            }
        }
        self.begin_catch_up(*peer, missed);
    }

    /// Makes a peer a member of a topic. A peer that is a member already stays one.
    ///
    /// # Errors
    /// The hub is at its limit of topics, or of memory for memberships.
    pub fn subscribe(
        &mut self,
        peer: PeerId,
        name: &str,
        begin: Begin,
        ticket: Ticket,
    ) -> Result<(), SubscribeError> {
        self.engine.subscription_steps += SUBSCRIPTION_STEPS;
        let topic = self
            .engine
            .readers
            .hub
            .open(name)
            .ok_or(SubscribeError::Topics)?;
        self.close_group(topic);
        let readers = &mut self.engine.readers;
        let format = readers.hub.format_of(peer.slot);
        let (log, is_new, hold) = match readers.patterns.log_of(peer, name) {
            Some(log) => {
                let is_underway = readers.patterns.is_underway(peer, name, ticket);
                readers.patterns.add_name(peer, name);
                let hold = self.engine.tickets.hold_of(ticket, log);
                (log, false, hold.filter(|_| !is_underway))
            }
            None if !readers.hub.has_room_for_members() => return Err(SubscribeError::Memory),
            None => {
                let is_new = readers.hub.subscribe(peer.slot, topic) != Subscribed::Covered;
                // No message of it is written before the reply that says where it begins.
                let hold = is_new.then(|| readers.hub.hold(peer.slot, topic));
                (topic, is_new, hold)
            }
        };
        if !is_new && self.engine.tickets.has(ticket, topic) {
            return Ok(());
        }
        match (hold, begin) {
            (Some(_), Begin::After(from) | Begin::AfterOrNewest(from)) => {
                self.engine.catch_ups.ask(peer, topic, Some(from));
            }
            (Some(_), Begin::Last(_)) => self.engine.catch_ups.ask(peer, topic, None),
            _ => {}
        }
        let resume = (begin != Begin::Live).then_some(Resume {
            from: begin,
            reach: None,
        });
        let begun = Subscribing {
            name: name.into(),
            topic,
            log,
            position: None,
            hold,
            resume,
        };
        self.locate(ticket, begun, format);
        Ok(())
    }

    /// Adds a topic to a subscription and determines its position.
    fn locate(&mut self, ticket: Ticket, begun: Subscribing, format: FormatId) {
        match self.engine.place_of(&begun.name) {
            Place::Here => self.subscribe_local(ticket, begun, format),
            Place::Shard(home) => self.subscribe_remote(home, ticket, begun, format),
        }
    }

    fn subscribe_local(&mut self, ticket: Ticket, mut begun: Subscribing, format: FormatId) {
        let shard = self.engine.shard;
        let id = self.take_interest(&begun.name, Interest { shard, format });
        let position = self.engine.homes.home.topic(id).position();
        // It may have been published to before it had a reader in this format.
        let hub = &mut self.engine.readers.hub;
        hub.begin(begun.topic, format, position.offset);
        begun.position = Some(position);
        if let Some(resume) = &mut begun.resume {
            resume.reach = Some(self.engine.reach(&begun.name, resume.wanted(), self.now));
        }
        self.engine.tickets.add(ticket, begun, 0);
    }

    fn subscribe_remote(
        &mut self,
        home: ShardId,
        ticket: Ticket,
        mut begun: Subscribing,
        format: FormatId,
    ) {
        let (topic, name) = (begun.topic, begun.name.clone());
        let state = self.engine.readers.interests.state(topic, format);
        if state == InterestState::None {
            self.ask_interest(home, topic, &name, format);
        }
        begun.position = self.engine.live_position(&name, topic, format);
        let is_live = begun.position.is_some();
        let resume = begun.resume.filter(|resume| resume.reach.is_none());
        let wanted = resume.map(|resume| resume.wanted());
        let answers = usize::from(!is_live) + usize::from(wanted.is_some());
        let index = self.engine.tickets.add(ticket, begun, answers);
        if !is_live {
            self.engine.tickets.wait_for_topic(ticket, topic, format);
        }
        if let Some(from) = wanted {
            let topic = name.as_bytes();
            self.ask(
                home,
                Request::Reach {
                    topic,
                    from,
                    ticket,
                    index,
                },
            );
        }
    }

    /// Subscribes a peer to all topics that match these patterns, existing and future. Comes before the topics named in
    /// the same subscription. A pattern with the position of an earlier confirmation resumes the topics published to
    /// since, except those that the peer has subscribed to by name.
    ///
    /// Cost: one round trip to each home; one step for each pair of its patterns, each topic it has named and each of
    /// its unread frames. With a position, a look at every topic of each home.
    pub fn subscribe_patterns(
        &mut self,
        peer: PeerId,
        patterns: &[(Pattern, Option<Position>)],
        ticket: Ticket,
    ) {
        let Some(format) = self.engine.find_peer_format(peer) else {
            return;
        };
        let mut is_new = false;
        // A topic that several of them match begins at the earliest position.
        let mut patterns: Vec<_> = patterns.iter().collect();
        patterns.sort_by_key(|(_, from)| from.map(|from| from.offset));
        for (pattern, from) in patterns {
            if !self
                .engine
                .readers
                .patterns
                .add((peer, format), pattern, ticket)
            {
                continue;
            }
            is_new = true;
            self.begin_pattern(ticket, (pattern, format), *from);
        }
        if !is_new {
            return;
        }
        for log in self.regroup(peer) {
            let hub = &mut self.engine.readers.hub;
            let begun = Subscribing {
                name: hub.name(log).into(),
                topic: log,
                log,
                position: None,
                hold: Some(hub.hold(peer.slot, log)),
                resume: None,
            };
            self.engine.tickets.add(ticket, begun, 0);
        }
        self.engine.flush_wanted = true;
    }

    /// Adds a pattern to a subscription, and requests the topics that match it from all homes.
    pub(super) fn begin_pattern(
        &mut self,
        ticket: Ticket,
        (pattern, format): (&Pattern, FormatId),
        from: Option<Position>,
    ) {
        let position = Position {
            epoch: self.engine.process,
            offset: self.now.ms,
        };
        let is_of_now =
            |from: Position| from.epoch == position.epoch && from.offset <= position.offset;
        let pending = SubscribingPattern {
            pattern: pattern.clone(),
            from,
            position,
            is_complete: from.is_none_or(is_of_now),
        };
        let since_ms = pending.since_ms();
        let index = self.engine.tickets.add_pattern(ticket, pending);
        let shard = self.engine.shard;
        let home = &mut self.engine.homes.home;
        home.add_pattern(Interest { shard, format }, pattern);
        for other in self.engine.others() {
            self.engine.tickets.wait(ticket);
            let request = Request::Pattern {
                pattern: pattern.as_str().as_bytes(),
                matcher: pattern.matcher(),
                format,
                since_ms,
                ticket,
                index,
            };
            self.ask(other, request);
        }
    }

    /// Determines the position of a topic that a peer reads, in another format.
    pub(super) fn locate_too(&mut self, ticket: Ticket, topic: TopicId, format: FormatId) {
        let begun = Subscribing {
            name: self.engine.readers.hub.name(topic).into(),
            topic,
            log: topic,
            position: None,
            hold: None,
            resume: None,
        };
        self.locate(ticket, begun, format);
    }

    /// Resumes the topics whose home is this shard, for the patterns of a subscription whose topics have been added.
    fn recover_here(&mut self, ticket: Ticket) {
        for index in 0.. {
            let Some(pending) = self.engine.tickets.patterns(ticket).get(index) else {
                return;
            };
            if let Some(since_ms) = pending.since_ms() {
                let pattern = pending.pattern.clone();
                let recovery = self.pattern_recovery(&pattern, Some(since_ms));
                let index = u32::try_from(index).expect("subscriptions are limited");
                self.take_pattern_recovery(ticket, index, &recovery);
            }
        }
    }

    /// This home's answer to a pattern that a subscriber resumes. Its topics are announced first.
    pub(super) fn pattern_recovery(
        &mut self,
        pattern: &Pattern,
        since_ms: Option<u64>,
    ) -> PatternRecovery<Box<str>> {
        let (now_ms, home) = (self.now.ms, &mut self.engine.homes.home);
        let since = since_ms.map(|since_ms| home.published_since(pattern, since_ms, now_ms));
        let mut recovery = PatternRecovery {
            from_ms: now_ms,
            topics: Vec::new(),
            is_complete: since.as_ref().is_none_or(|since| since.is_complete),
        };
        for (id, place) in since.into_iter().flat_map(|since| since.topics) {
            let home = &mut self.engine.homes.home;
            let (name, wanted) = (
                Box::from(home.topic(id).name()),
                home.take_new_interests(id),
            );
            self.announce(id, &name, &wanted);
            recovery.topics.push((name, place.unwrap_or_default()));
        }
        recovery
    }

    /// A home has named the topics that a pattern resumes.
    pub(super) fn take_pattern_recovery(
        &mut self,
        ticket: Ticket,
        index: u32,
        recovery: &PatternRecovery<impl AsRef<str>>,
    ) {
        let mut is_complete = recovery.is_complete;
        for (name, from) in &recovery.topics {
            is_complete &= self.recover(ticket, name.as_ref(), *from);
        }
        let pending = self.engine.tickets.pattern_mut(ticket, index);
        pending.position.offset = pending.position.offset.min(recovery.from_ms);
        pending.is_complete &= is_complete;
    }

    /// Resumes a topic because of a pattern of the same subscription, unless the peer has subscribed to it by name.
    /// Returns `false` at the limit.
    fn recover(&mut self, ticket: Ticket, name: &str, from: Position) -> bool {
        let peer = self.engine.tickets.peer_of(ticket);
        let Some(format) = self.engine.find_peer_format(peer) else {
            return true;
        };
        let (readers, tickets) = (&mut self.engine.readers, &self.engine.tickets);
        let log = readers.patterns.log_of(peer, name);
        let hold = log.and_then(|log| Some((log, tickets.hold_of(ticket, log)?)));
        // `None`: the peer is about to leave, and its patterns have been removed.
        let Some((log, hold)) = hold else {
            return true;
        };
        let known = readers.hub.find(name);
        if readers.patterns.is_underway(peer, name, ticket)
            || known.is_some_and(|topic| tickets.has(ticket, topic))
        {
            return true;
        }
        if tickets.topic_count(ticket) >= RECOVERED_TOPICS_MAX {
            return false;
        }
        let Some(topic) = readers.hub.open(name) else {
            return false;
        };
        self.close_group(topic);
        self.engine.catch_ups.ask(peer, topic, Some(from));
        let reach = Reach {
            epoch: from.epoch,
            after: from.offset,
            complete: true,
        };
        let begun = Subscribing {
            name: name.into(),
            topic,
            log,
            position: None,
            hold: Some(hold),
            resume: Some(Resume {
                from: Begin::After(from),
                reach: Some(reach),
            }),
        };
        self.locate(ticket, begun, format);
        true
    }

    /// Moves a peer to the logs of its current patterns. Returns the logs that are new to it.
    pub(super) fn regroup(&mut self, peer: PeerId) -> Vec<TopicId> {
        self.close_groups();
        let readers = &mut self.engine.readers;
        let format = readers.hub.format_of(peer.slot);
        let Regrouped { entered, left } = readers.patterns.regroup(&mut readers.hub, peer);
        self.take_incidents();
        for log in left {
            self.engine.tickets.note_vacant(log, format);
        }
        entered
    }

    /// Adds a shard to the subscribers of a topic at this home.
    pub(super) fn take_interest(&mut self, name: &str, interest: Interest) -> TopicId {
        let (id, wanted) = self.engine.homes.home.open_for_subscriber(name);
        self.announce(id, name, &wanted);
        self.engine.homes.home.add_interest(id, interest);
        id
    }

    pub(super) fn ask_interest(
        &mut self,
        home: ShardId,
        topic: TopicId,
        name: &str,
        format: FormatId,
    ) {
        let interests = &mut self.engine.readers.interests;
        interests.set(topic, format, InterestState::Requested);
        let topic = name.as_bytes();
        self.ask(home, Request::Interest { topic, format });
    }

    /// A home has given a topic's position: subscriptions that wait for it go on.
    pub(super) fn settle_topic(&mut self, topic: TopicId, format: FormatId, position: Position) {
        for ticket in self.engine.tickets.locate(topic, format, position) {
            self.settle(ticket);
        }
    }

    /// A home has said whether it retains the messages that a subscription or a stream wants.
    pub(super) fn settle_reach(&mut self, ticket: Ticket, index: u32, reach: Reach) {
        if let Some(log) = self.engine.readers.merges.take_reach(ticket, index, reach) {
            return self.begin_streams(log);
        }
        self.engine.tickets.reach(ticket, index, reach);
        self.settle(ticket);
    }

    /// All messages that the homes had published when they answered [`Request::Reach`] have arrived at this shard,
    /// so the peer has received nothing newer. Live streams begin for it at this point, not at the point of the
    /// subscription, when the peer may have been ahead of this shard.
    fn begin_live(&mut self, confirmation: &mut Confirmation) {
        let Confirmation { peer, topics, .. } = confirmation;
        let is_there = |begun: &&Subscribing| {
            begun.resume.is_some() && self.engine.place_of(&begun.name) != Place::Here
        };
        let resumed = topics.iter().filter(is_there);
        let mut resumed: Vec<(TopicId, u16)> = resumed
            .filter_map(|begun| Some((begun.log, begun.hold?)))
            .collect();
        resumed.dedup();
        for (log, hold) in resumed {
            let hub = &self.engine.readers.hub;
            if !hub.is_present(*peer) || !hub.is_held(peer.slot, log, hold) {
                continue;
            }
            self.close_groups();
            let format = self.engine.readers.hub.format_of(peer.slot);
            let mut missed: HashSet<TopicId> = HashSet::default();
            let begun = topics
                .iter_mut()
                .filter(|begun| begun.log == log && begun.hold.is_some());
            for begun in begun.filter(|begun| begun.resume.is_some()) {
                if let Some(now) = self.engine.live_position(&begun.name, begun.topic, format) {
                    begun.position = Some(now);
                    missed.insert(begun.topic);
                }
            }
            let hub = &mut self.engine.readers.hub;
            hub.set_aside(peer.slot, log, |topic| !missed.contains(&topic));
            self.take_incidents();
        }
    }

    /// One of the answers that a confirmation waits for has come.
    pub(super) fn settle(&mut self, ticket: Ticket) {
        let Some(mut confirmation) = self.engine.tickets.settle(ticket) else {
            return;
        };
        if self.engine.reformats.settle(ticket) {
            self.engine.flush_wanted = true;
        } else {
            self.begin_live(&mut confirmation);
            let peer = Asker::Peer(confirmation.peer);
            self.tell(peer, Outcome::Confirmed(confirmation));
        }
    }
}

impl super::Engine {
    /// The position up to which a topic's messages have arrived at this shard; `None` if they are not sent here.
    fn live_position(&self, name: &str, topic: TopicId, format: FormatId) -> Option<Position> {
        if self.place_of(name) == Place::Here {
            return Some(self.homes.home.find(name)?.position());
        }
        let is_live = self.readers.interests.state(topic, format) == InterestState::Live;
        is_live.then(|| Position {
            epoch: self.readers.interests.epoch(topic),
            offset: self.readers.hub.number(topic, format),
        })
    }
}
