//! A subscription's way: into the hub, to the topic's home, and back as the confirmation that from
//! here on everything arrives.

use super::catch_up::CatchUp;
use super::confirmation::{Confirmation, Resume, Resumed, Start, Subscribing, SubscribingPattern};
use super::home::{Interest, RECOVERED_TOPICS_MAX};
use super::hub::Subscribed;
use super::interest::Standing;
use super::patterns::Regrouped;
use super::{Asker, Covered, Gap, GapCause, Lanes, Outcome, Place, Reach, Request, Ticket, Turn};
use crate::collections::HashSet;
use crate::id::{FormatId, PeerId, Position, ShardId, TopicId};
use crate::topic::Pattern;

/// Answers that one peer may wait for: confirmations and rosters. Beyond it the peer is not read
/// from until homes have answered.
pub(super) const ANSWERS_MAX: u8 = 16;

/// What beginning one subscription takes, about, in the steps of a turn.
const SUBSCRIPTION_STEPS: usize = 40;

/// Why a subscription cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubscribeError {
    /// There are too many topics to make a new one.
    Topics,
    /// Memberships take as much memory as they may.
    Memory,
}

/// Where a membership begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// With the next message that arrives here, which the subscriber may have seen elsewhere.
    Live,
    /// With the first message that the topic's home takes from now on, or a later one if the home
    /// hears of it late: never with one that the subscriber can have seen.
    Here,
    /// Behind this place, as far as the topic reaches back.
    After(Position),
}

impl<L: Lanes> Turn<'_, L> {
    /// Whether a change of `peer`'s subscriptions to `names` may be asked for now. If not, try again
    /// after the next flush; until then, read no more from it.
    ///
    /// What homes are asked never finds a lane full ([`Lanes::request`]), so whoever asks looks here
    /// first; what one message asks for is bounded by its size.
    #[must_use]
    pub fn may_subscribe(&self, peer: PeerId, names: &[&str]) -> bool {
        let engine = &*self.engine;
        if engine.readers.hub.answers_awaited(peer) >= ANSWERS_MAX {
            return false;
        }
        // Which topics a pattern brings back depends on what the peer has subscribed to besides.
        if engine.tickets.is_recovering(peer) {
            return false;
        }
        let is_pattern = |name: &&str| name.contains('*');
        if names.iter().any(is_pattern) && !self.may_regroup(peer) {
            return false;
        }
        let is_full = |home: ShardId| self.lanes.requests_full(home);
        if !engine.others().any(is_full) {
            return true;
        }
        // A pattern asks every home.
        let asks_full = |name: &&str| {
            is_pattern(name) || matches!(engine.place_of(name), Place::Shard(home) if is_full(home))
        };
        !names.iter().any(asks_full)
    }

    /// Whether the patterns of a peer may be changed. What waits for it in logs goes with it
    /// ([`Self::regroup`]), so that has to be little, and nothing may be on hold.
    fn may_regroup(&self, peer: PeerId) -> bool {
        let engine = &*self.engine;
        let hub = &engine.readers.hub;
        let is_held = hub.answers_awaited(peer) > 0 || engine.catch_ups.has(peer);
        !is_held && !hub.is_blocked(peer.slot) && !hub.is_outbox_full(peer.slot)
    }

    /// Whether homes have not answered all that was asked for `peer`, or it has not been told.
    #[must_use]
    pub fn is_confirming(&self, peer: PeerId) -> bool {
        self.engine.readers.hub.answers_awaited(peer) > 0
    }

    /// Begins a subscription of `peer` to any number of topics, whose confirmation has this number.
    /// [`Self::confirm`] ends it.
    #[must_use]
    pub fn begin_subscription(&mut self, peer: PeerId) -> Ticket {
        let ticket = self.engine.outcomes.ticket();
        self.engine.readers.hub.note_asked(peer);
        self.engine.tickets.open(ticket, peer);
        ticket
    }

    /// Ends what [`Self::begin_subscription`] began. Returns the confirmation if nothing has to be
    /// waited for; otherwise it will be an [`Outcome::Confirmed`].
    #[must_use]
    pub fn confirm(&mut self, ticket: Ticket) -> Option<Confirmation> {
        self.recover_here(ticket);
        let mut confirmation = self.engine.tickets.settle(ticket)?;
        self.locate_flowing(&mut confirmation);
        Some(confirmation)
    }

    /// Where the topics stand that the peer is sent already: behind the last message that it has been
    /// written. Called when it is about to be told.
    pub(super) fn locate_flowing(&mut self, confirmation: &mut Confirmation) {
        let Confirmation { peer, topics, .. } = confirmation;
        for begun in topics.iter_mut().filter(|begun| begun.hold.is_none()) {
            let topic = begun.topic;
            if !self.engine.readers.is_reading(*peer, topic, &begun.name) {
                continue;
            }
            // What waits in a group comes behind the confirmation, and so does what the peer is
            // catching up with.
            self.close_group(topic);
            let engine = &*self.engine;
            let epoch = begun.position.map_or(0, |position| position.epoch);
            let live = engine.readers.written_number(*peer, topic, &begun.name);
            let missed = engine.catch_ups.written(*peer, topic, epoch);
            // Where the peer says that it was, it may never have been.
            let written = missed.map_or(live, |missed| live.map(|live| live.min(missed)));
            if let (Some(position), Some(written)) = (&mut begun.position, written) {
                position.offset = written;
            }
        }
    }

    /// The peer has been told what a confirmation says: what it has missed follows, and then what is
    /// new.
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
        for covering in patterns.iter().filter(is_lost) {
            let topic = Some(covering.pattern.as_str().into());
            let (lost, cause) = (None, GapCause::History);
            self.tell_gap(*peer, Gap { topic, lost, cause });
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

    /// Makes a peer a member of a topic. A peer that is a member already only stays one for longer.
    ///
    /// # Errors
    /// The topic is new and there are too many, or there is no memory for a membership of its own.
    pub fn subscribe(
        &mut self,
        peer: PeerId,
        name: &str,
        begin: Begin,
        ticket: Ticket,
    ) -> Result<(), SubscribeError> {
        self.engine.subscription_steps += SUBSCRIPTION_STEPS;
        let from = match begin {
            Begin::Live => None,
            Begin::Here => Some(None),
            Begin::After(position) => Some(Some(position)),
        };
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
                let flows = readers.patterns.flows(peer, name, ticket);
                readers.patterns.add_name(peer, name);
                let hold = self.engine.tickets.hold_of(ticket, log);
                (log, false, hold.filter(|_| !flows))
            }
            None if !readers.hub.has_room_for_members() => return Err(SubscribeError::Memory),
            None => {
                let is_new = readers.hub.subscribe(peer.slot, topic) != Subscribed::Covered;
                // Nothing is written of it before the peer has been told where it begins.
                let hold = is_new.then(|| readers.hub.hold(peer.slot, topic));
                (topic, is_new, hold)
            }
        };
        if !is_new && self.engine.tickets.has(ticket, topic) {
            return Ok(());
        }
        if let (Some(_), Some(Some(from))) = (hold, from) {
            self.engine.catch_ups.ask(peer, topic, from);
        }
        let resume = from.map(|from| Resume { from, reach: None });
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

    /// Adds a topic to a subscription and finds out where it stands.
    fn locate(&mut self, ticket: Ticket, begun: Subscribing, format: FormatId) {
        match self.engine.place_of(&begun.name) {
            Place::Here => self.subscribe_here(ticket, begun, format),
            Place::Shard(home) => self.subscribe_there(home, ticket, begun, format),
        }
    }

    fn subscribe_here(&mut self, ticket: Ticket, mut begun: Subscribing, format: FormatId) {
        let shard = self.engine.shard;
        let id = self.take_interest(&begun.name, Interest { shard, format });
        let position = self.engine.homes.home.topic(id).position();
        // It may have been published to before anybody here read it in this format.
        let hub = &mut self.engine.readers.hub;
        hub.begin(begun.topic, format, position.offset);
        begun.position = Some(position);
        if let Some(resume) = &mut begun.resume {
            resume.reach = Some(self.engine.reach(&begun.name, resume.after(), self.now));
        }
        self.engine.tickets.add(ticket, begun, 0);
    }

    fn subscribe_there(
        &mut self,
        home: ShardId,
        ticket: Ticket,
        mut begun: Subscribing,
        format: FormatId,
    ) {
        let (topic, name) = (begun.topic, begun.name.clone());
        let standing = self.engine.readers.interests.standing(topic, format);
        if standing == Standing::None {
            self.ask_interest(home, topic, &name, format);
        }
        begun.position = self.engine.live_position(&name, topic, format);
        let is_live = begun.position.is_some();
        let resume = begun.resume.filter(|resume| resume.reach.is_none());
        let after = resume.map(|resume| resume.after());
        let answers = usize::from(!is_live) + usize::from(after.is_some());
        let index = self.engine.tickets.add(ticket, begun, answers);
        if !is_live {
            self.engine.tickets.wait_for_topic(ticket, topic, format);
        }
        if let Some(after) = after {
            let topic = name.as_bytes();
            self.ask(
                home,
                Request::Reach {
                    topic,
                    after,
                    ticket,
                    index,
                },
            );
        }
    }

    /// Has a peer read all topics that these patterns match, those that there are and those that will
    /// be. Comes before the topics that are named in the same subscription. Where a pattern comes with
    /// the position that an earlier confirmation named, the peer goes on in the topics that were published
    /// to since, but for those that it has subscribed to besides.
    ///
    /// Cost: one round for each home; one step for each pair of its patterns, each topic that it has named
    /// and each frame that waits for it. With a position, a look at every topic of each home.
    pub fn subscribe_patterns(
        &mut self,
        peer: PeerId,
        patterns: &[(Pattern, Option<Position>)],
        ticket: Ticket,
    ) {
        let Some(format) = self.engine.find_peer_format(peer) else {
            return;
        };
        let (shard, mut is_new) = (self.engine.shard, false);
        // A topic that several of them match begins where the first one says.
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
            let home = &mut self.engine.homes.home;
            home.add_pattern(Interest { shard, format }, pattern);
            let position = Position {
                epoch: self.engine.process,
                offset: self.now.ms,
            };
            let is_of_now =
                |from: Position| from.epoch == position.epoch && from.offset <= position.offset;
            let covering = SubscribingPattern {
                pattern: pattern.clone(),
                from: *from,
                position,
                is_complete: from.is_none_or(is_of_now),
            };
            let since_ms = covering.since_ms();
            let index = self.engine.tickets.add_pattern(ticket, covering);
            for other in self.engine.others() {
                self.engine.tickets.wait(ticket);
                let pattern = pattern.as_str().as_bytes();
                let request = Request::Pattern {
                    pattern,
                    format,
                    since_ms,
                    ticket,
                    index,
                };
                self.ask(other, request);
            }
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

    /// Goes on in the topics that live here, of the patterns of a subscription that has named its topics.
    fn recover_here(&mut self, ticket: Ticket) {
        for index in 0.. {
            let Some(covering) = self.engine.tickets.patterns(ticket).get(index) else {
                return;
            };
            if let Some(since_ms) = covering.since_ms() {
                let pattern = covering.pattern.clone();
                let covered = self.covered(&pattern, Some(since_ms));
                let index = u32::try_from(index).expect("subscriptions are limited");
                self.take_covered(ticket, index, &covered);
            }
        }
    }

    /// What this home knows of a pattern that a subscriber comes back to. Topics are announced before.
    pub(super) fn covered(
        &mut self,
        pattern: &Pattern,
        since_ms: Option<u64>,
    ) -> Covered<Box<str>> {
        let (now_ms, home) = (self.now.ms, &mut self.engine.homes.home);
        let since = since_ms.map(|since_ms| home.published_since(pattern, since_ms, now_ms));
        let mut covered = Covered {
            from_ms: now_ms,
            topics: Vec::new(),
            is_complete: since.as_ref().is_none_or(|since| since.is_complete),
        };
        for (id, place) in since.into_iter().flat_map(|since| since.topics) {
            let home = &mut self.engine.homes.home;
            let (name, wanted) = (Box::from(home.topic(id).name()), home.look_up(id));
            self.announce(id, &name, &wanted);
            covered.topics.push((name, place.unwrap_or_default()));
        }
        covered
    }

    /// A home has said which topics a pattern brings back.
    pub(super) fn take_covered(
        &mut self,
        ticket: Ticket,
        index: u32,
        covered: &Covered<impl AsRef<str>>,
    ) {
        let mut is_complete = covered.is_complete;
        for (name, from) in &covered.topics {
            is_complete &= self.recover(ticket, name.as_ref(), *from);
        }
        let covering = self.engine.tickets.pattern_mut(ticket, index);
        covering.position.offset = covering.position.offset.min(covered.from_ms);
        covering.is_complete &= is_complete;
    }

    /// Has a peer go on in a topic because of a pattern of the same subscription, unless it has subscribed
    /// to it besides. Returns whether there was room.
    fn recover(&mut self, ticket: Ticket, name: &str, from: Position) -> bool {
        let peer = self.engine.tickets.peer_of(ticket);
        let Some(format) = self.engine.find_peer_format(peer) else {
            return true;
        };
        let (readers, tickets) = (&mut self.engine.readers, &self.engine.tickets);
        let log = readers.patterns.log_of(peer, name);
        let hold = log.and_then(|log| Some((log, tickets.hold_of(ticket, log)?)));
        // None: the patterns of a peer that is about to leave have ended.
        let Some((log, hold)) = hold else {
            return true;
        };
        let known = readers.hub.find(name);
        if readers.patterns.flows(peer, name, ticket)
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
        self.engine.catch_ups.ask(peer, topic, from);
        let reach = Reach {
            epoch: from.epoch,
            complete: true,
        };
        let begun = Subscribing {
            name: name.into(),
            topic,
            log,
            position: None,
            hold: Some(hold),
            resume: Some(Resume {
                from: Some(from),
                reach: Some(reach),
            }),
        };
        self.locate(ticket, begun, format);
        true
    }

    /// Has a peer read what its patterns say by now. Returns the logs that it enters.
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

    /// Notes at this home that a shard wants a topic.
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
        interests.set(topic, format, Standing::Requested);
        let topic = name.as_bytes();
        self.ask(home, Request::Interest { topic, format });
    }

    /// A home has answered about a topic: what waited for it waits no more.
    pub(super) fn settle_topic(&mut self, topic: TopicId, format: FormatId, position: Position) {
        for ticket in self.engine.tickets.locate(topic, format, position) {
            self.settle(ticket);
        }
    }

    /// A home has said how far back a topic reaches.
    pub(super) fn settle_reach(&mut self, ticket: Ticket, index: u32, reach: Reach) {
        self.engine.tickets.reach(ticket, index, reach);
        self.settle(ticket);
    }

    /// All that homes had published when they said how far back topics reach has arrived here, so the
    /// peer has seen nothing newer: live streams begin for it here and now, and not where they were when
    /// it came, since it may have been ahead of this shard.
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

    /// One answer less that a confirmation waits for.
    pub(super) fn settle(&mut self, ticket: Ticket) {
        if let Some(mut confirmation) = self.engine.tickets.settle(ticket) {
            self.begin_live(&mut confirmation);
            let peer = Asker::Peer(confirmation.peer);
            self.tell(peer, Outcome::Confirmed(confirmation));
        }
    }
}

impl super::Engine {
    /// Where a topic stands, as far as its messages have come here; `None` if they do not.
    fn live_position(&self, name: &str, topic: TopicId, format: FormatId) -> Option<Position> {
        if self.place_of(name) == Place::Here {
            return Some(self.homes.home.find(name)?.position());
        }
        let is_live = self.readers.interests.standing(topic, format) == Standing::Live;
        is_live.then(|| Position {
            epoch: self.readers.interests.epoch(topic),
            offset: self.readers.hub.number(topic, format),
        })
    }
}
