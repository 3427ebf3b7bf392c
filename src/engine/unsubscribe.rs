//! The end of subscriptions, and of topics without readers.

use super::home::Interest;
use super::hub::Unsubscribed;
use super::interest::InterestState;
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

    /// Ends a peer's subscriptions to these patterns. Topics that its other subscriptions cover stay.
    ///
    /// Cost: one step for each pair of its patterns, each topic it has named and each of its unread frames.
    pub fn unsubscribe_patterns(&mut self, peer: PeerId, patterns: &[Pattern]) {
        let Some(format) = self.engine.find_peer_format(peer) else {
            return;
        };
        let all = &mut self.engine.readers.patterns;
        let is_last = |pattern: &&Pattern| all.remove(peer, format, pattern);
        let unwanted: Vec<Pattern> = patterns.iter().filter(is_last).cloned().collect();
        self.regroup(peer);
        self.withdraw_patterns(&unwanted, format);
        self.engine.flush_wanted = true;
    }

    /// Ends the patterns of a peer, and its memberships of queue groups, that is about to be sent its last frame ([`Engine::send_last`]) or to leave; these
    /// calls end its memberships.
    ///
    /// [`Engine::send_last`]: super::Engine::send_last
    pub fn end_subscriptions(&mut self, peer: PeerId) {
        if let Some(format) = self.engine.find_peer_format(peer) {
            self.cancel_reformat(peer);
            let readers = &mut self.engine.readers;
            readers.hub.retain_aside(peer.slot, |_| false);
            readers.hub.drain_refill(peer.slot);
            self.engine.catch_ups.forget(peer);
            self.leave_queues(peer);
            let unwanted = self.engine.readers.patterns.forget(peer, format);
            self.withdraw_patterns(&unwanted, format);
        }
    }

    /// Withdraws patterns that no peer of this shard with `format` has any more.
    pub(super) fn withdraw_patterns(&mut self, patterns: &[Pattern], format: FormatId) {
        let shard = self.engine.shard;
        let interest = Interest { shard, format };
        for pattern in patterns {
            self.engine.homes.home.remove_pattern(interest, pattern);
            for other in self.engine.others() {
                let request = Request::Unpattern {
                    pattern: pattern.as_str().as_bytes(),
                    matcher: pattern.matcher(),
                    format,
                };
                self.ask(other, request);
            }
        }
    }

    /// Topics that may have lost their last member.
    #[must_use]
    pub fn vacant_count(&self) -> usize {
        self.engine.tickets.vacant_count()
    }

    /// Withdraws interests in topics without members, at most [`SWEPT_MAX`]. Called by the ticker, so that a topic
    /// whose subscribers come and go is not requested each time.
    pub fn sweep_vacant(&mut self) {
        self.scan_vacant();
        for (topic, format) in self.engine.tickets.take_vacant(SWEPT_MAX) {
            let is_topic = self.engine.readers.hub.is_topic(topic);
            if is_topic
                && !self.sweep_stream(topic)
                && !self.sweep_log(topic, format)
                && !self.engine.is_read(topic, format)
            {
                self.withdraw(topic, format);
            }
        }
    }

    /// Removes a log of patterns without readers. Returns whether `log` is a log of patterns, in use or not.
    fn sweep_log(&mut self, log: TopicId, format: FormatId) -> bool {
        let readers = &mut self.engine.readers;
        if !readers.patterns.is_log(log) {
            return false;
        }
        if readers.hub.member_count(log, format) == 0 {
            readers.patterns.close(&mut readers.hub, log);
            // Which topics only this log needed is found by a scan, in several turns.
            self.engine.tickets.start_scan();
        }
        true
    }

    /// Scans for topics that lost their last reader with a log of patterns, [`SCANNED_MAX`] in each turn.
    fn scan_vacant(&mut self) {
        let Some(from) = self.engine.tickets.scan_index() else {
            return;
        };
        let end = self.engine.readers.hub.topics_end();
        let until = end.min(from + SCANNED_MAX);
        for index in from..until {
            let topic = TopicId(u32::try_from(index).expect("topics_max is below 2^32"));
            if !self.engine.readers.hub.is_topic(topic) {
                continue;
            }
            for number in self.engine.formats.numbers() {
                let format = self.engine.formats.id(number);
                if self.engine.is_held(topic, format) && !self.engine.is_read(topic, format) {
                    self.engine.tickets.note_vacant(topic, format);
                }
            }
        }
        self.engine.tickets.note_scanned(until, until == end);
    }

    /// Withdraws the interest in a topic that no peer of this shard reads in `format`.
    fn withdraw(&mut self, topic: TopicId, format: FormatId) {
        let name: Box<str> = self.engine.readers.hub.name(topic).into();
        match self.engine.place_of(&name) {
            Place::Here => {
                let shard = self.engine.shard;
                let interest = Interest { shard, format };
                self.engine.homes.home.remove_interest(&name, interest);
                self.engine.readers.end_format(topic, format);
            }
            Place::Shard(home) if self.lanes.requests_full(home) => {
                return self.engine.tickets.note_vacant(topic, format);
            }
            Place::Shard(home) => {
                let readers = &mut self.engine.readers;
                if readers.interests.state(topic, format) == InterestState::Live {
                    readers.interests.set(topic, format, InterestState::Closing);
                    readers.end_format(topic, format);
                    let topic = name.as_bytes();
                    self.ask(home, Request::Disinterest { topic, format });
                }
            }
        }
        // The topic may have readers in other formats, or be noted for another sweep.
        let engine = &mut *self.engine;
        let is_held = engine.readers.interests.has_any(topic, &engine.formats)
            || engine.homes.home.is_wanted_by(&name, engine.shard);
        if is_held {
            return;
        }
        let read = engine.formats.numbers().find_map(|number| {
            let format = engine.formats.id(number);
            engine.is_read(topic, format).then_some(format)
        });
        match read {
            // By a pattern that its home will announce it to with the next message: there must be room for it then.
            Some(format) => self.request_again(topic, &name, format),
            None => self.engine.readers.close_topic(topic),
        }
    }

    /// Requests a topic that has readers by pattern.
    fn request_again(&mut self, topic: TopicId, name: &str, format: FormatId) {
        match self.engine.place_of(name) {
            Place::Here => {
                let shard = self.engine.shard;
                let id = self.take_interest(name, Interest { shard, format });
                let offset = self.engine.homes.home.topic(id).position().offset;
                self.engine.readers.hub.begin(topic, format, offset);
            }
            Place::Shard(home) => self.ask_interest(home, topic, name, format),
        }
    }
}

/// Topics swept in one turn.
pub const SWEPT_MAX: usize = 4096;

/// The approximate cost of ending one subscription, in the steps of a turn.
const UNSUBSCRIPTION_STEPS: usize = 10;

/// Topics scanned in one turn.
const SCANNED_MAX: usize = 4096;

impl super::Engine {
    /// Whether a topic's home has an interest of this shard on record.
    fn is_held(&self, topic: TopicId, format: FormatId) -> bool {
        let name = self.readers.hub.name(topic);
        match self.place_of(name) {
            Place::Here => {
                let shard = self.shard;
                let known = self.homes.home.find(name);
                known.is_some_and(|known| known.interest().contains(&Interest { shard, format }))
            }
            Place::Shard(_) => self.readers.interests.state(topic, format) == InterestState::Live,
        }
    }
}
