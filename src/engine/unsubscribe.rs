//! The end of subscriptions, and of topics that nobody reads any more.

use super::home::Interest;
use super::hub::Unsubscribed;
use super::interest::Standing;
use super::{Lanes, Place, Request, Turn};
use crate::id::{FormatId, PeerId, TopicId};
use crate::topic::Pattern;

impl<L: Lanes> Turn<'_, L> {
    /// Ends a peer's membership of a topic.
    pub fn unsubscribe(&mut self, peer: PeerId, name: &str) {
        let Some(format) = self.engine.find_peer_format(peer) else {
            return;
        };
        self.engine.subscription_steps += UNSUBSCRIPTION_STEPS;
        let readers = &mut self.engine.readers;
        if readers.patterns.remove_name(peer, name) {
            return;
        }
        let hub = &mut readers.hub;
        let Some(topic) = hub.find(name) else { return };
        if hub.unsubscribe(peer.slot, topic) == Unsubscribed::Left {
            hub.retain_aside(peer.slot, |aside| aside != topic);
            self.engine.tickets.note_vacant(topic, format);
            self.cancel_catch_up(peer, topic);
        }
    }

    /// Ends a peer's interest in all topics that these patterns match, but for those that others of its
    /// subscriptions cover.
    ///
    /// Cost: one step for each pair of its patterns, each topic that it has named and each frame that
    /// waits for it.
    pub fn unsubscribe_patterns(&mut self, peer: PeerId, patterns: &[Pattern]) {
        let Some(format) = self.engine.find_peer_format(peer) else {
            return;
        };
        let all = &mut self.engine.readers.patterns;
        let is_last = |pattern: &&Pattern| all.remove(peer, format, pattern);
        let unwanted: Vec<Pattern> = patterns.iter().filter(is_last).cloned().collect();
        self.regroup(peer);
        self.give_up_patterns(&unwanted, format);
        self.engine.flush_wanted = true;
    }

    /// Gives up what a peer has subscribed to that is about to be sent its last frame
    /// ([`Engine::send_last`]) or to leave: with that its memberships end, all at once.
    ///
    /// [`Engine::send_last`]: super::Engine::send_last
    pub fn end_subscriptions(&mut self, peer: PeerId) {
        if let Some(format) = self.engine.find_peer_format(peer) {
            let readers = &mut self.engine.readers;
            readers.hub.retain_aside(peer.slot, |_| false);
            readers.hub.drain_refill(peer.slot);
            self.engine.catch_ups.forget(peer);
            let unwanted = self.engine.readers.patterns.forget(peer, format);
            self.give_up_patterns(&unwanted, format);
        }
    }

    /// Nobody here that reads `format` has these patterns any more.
    fn give_up_patterns(&mut self, patterns: &[Pattern], format: FormatId) {
        let shard = self.engine.shard;
        let interest = Interest { shard, format };
        for pattern in patterns {
            self.engine.homes.home.remove_pattern(interest, pattern);
            for other in self.engine.others() {
                let pattern = pattern.as_str().as_bytes();
                self.ask(other, Request::Unpattern { pattern, format });
            }
        }
    }

    /// How many topics may have no member any more.
    #[must_use]
    pub fn vacant_count(&self) -> usize {
        self.engine.tickets.vacant_count()
    }

    /// Gives up topics that have no member any more, [`SWEPT_MAX`] at most. Called by the ticker, so that a
    /// topic whose subscribers come and go is not asked for each time.
    pub fn sweep_vacant(&mut self) {
        self.look_for_vacant();
        for (topic, format) in self.engine.tickets.take_vacant(SWEPT_MAX) {
            let is_topic = self.engine.readers.hub.is_topic(topic);
            if is_topic
                && !self.sweep_stream(topic)
                && !self.sweep_log(topic, format)
                && !self.engine.readers.is_wanted(topic, format)
            {
                self.give_up(topic, format);
            }
        }
    }

    /// Gives up a log of patterns that nobody reads any more; `true` if `log` is one, used or not.
    fn sweep_log(&mut self, log: TopicId, format: FormatId) -> bool {
        let readers = &mut self.engine.readers;
        if !readers.patterns.is_log(log) {
            return false;
        }
        if readers.hub.member_count(log, format) == 0 {
            readers.patterns.close(&mut readers.hub, log);
            // Which topics were wanted for its sake alone is found out in turns.
            self.engine.tickets.look_through();
        }
        true
    }

    /// Looks for topics that nobody reads any more since a log of patterns has lost its last member, a
    /// number of them in each turn.
    fn look_for_vacant(&mut self) {
        let Some(from) = self.engine.tickets.next_to_look_at() else {
            return;
        };
        let end = self.engine.readers.hub.topics_end();
        let until = end.min(from + LOOKED_AT_MAX);
        for index in from..until {
            let topic = TopicId(u32::try_from(index).expect("topics_max is below 2^32"));
            if !self.engine.readers.hub.is_topic(topic) {
                continue;
            }
            for number in self.engine.formats.numbers() {
                let format = self.engine.formats.id(number);
                if self.engine.is_held(topic, format)
                    && !self.engine.readers.is_wanted(topic, format)
                {
                    self.engine.tickets.note_vacant(topic, format);
                }
            }
        }
        self.engine.tickets.note_looked_at(until, until == end);
    }

    /// Gives up a topic that no peer here reads in `format`.
    fn give_up(&mut self, topic: TopicId, format: FormatId) {
        let name: Box<str> = self.engine.readers.hub.name(topic).into();
        match self.engine.place_of(&name) {
            Place::Here => {
                let shard = self.engine.shard;
                let interest = Interest { shard, format };
                self.engine.homes.home.remove_interest(&name, interest);
                self.engine.readers.lose(topic, format);
            }
            Place::Shard(home) if self.lanes.requests_full(home) => {
                return self.engine.tickets.note_vacant(topic, format);
            }
            Place::Shard(home) => {
                let readers = &mut self.engine.readers;
                if readers.interests.standing(topic, format) == Standing::Live {
                    readers.interests.set(topic, format, Standing::Closing);
                    readers.lose(topic, format);
                    let topic = name.as_bytes();
                    self.ask(home, Request::Disinterest { topic, format });
                }
            }
        }
        // Other formats may be wanted, or have a sweep to come.
        let engine = &mut *self.engine;
        let is_held = engine.readers.interests.has_any(topic, &engine.formats)
            || engine.homes.home.is_wanted_by(&name, engine.shard);
        if !is_held {
            engine.readers.close_topic(topic);
        }
    }
}

/// Topics that are given up in one turn.
pub const SWEPT_MAX: usize = 4096;

/// What ending one subscription takes, about, in the steps of a turn.
const UNSUBSCRIPTION_STEPS: usize = 10;

/// Topics that are looked at in one turn.
const LOOKED_AT_MAX: usize = 4096;

impl super::Engine {
    /// Whether a topic's home knows of an interest of this place in it.
    fn is_held(&self, topic: TopicId, format: FormatId) -> bool {
        let name = self.readers.hub.name(topic);
        match self.place_of(name) {
            Place::Here => {
                let shard = self.shard;
                let known = self.homes.home.find(name);
                known.is_some_and(|known| known.interest().contains(&Interest { shard, format }))
            }
            Place::Shard(_) => self.readers.interests.standing(topic, format) == Standing::Live,
        }
    }
}
