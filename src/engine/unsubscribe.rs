//! The end of subscriptions, and of topics that nobody reads any more.

use super::home::Interest;
use super::hub::Unsubscribed;
use super::interest::Standing;
use super::{Lanes, Place, Request, Turn};
use crate::id::{PeerId, TopicId, WireFormat};
use crate::topic::Pattern;

impl<L: Lanes> Turn<'_, L> {
    /// Ends a peer's membership of a topic.
    pub fn unsubscribe(&mut self, peer: PeerId, name: &str) {
        let Some(format) = self.engine.find_peer_format(peer) else {
            return;
        };
        let hub = &mut self.engine.readers.hub;
        let Some(topic) = hub.find(name) else { return };
        if hub.unsubscribe(peer.slot, topic) == Unsubscribed::Left {
            self.engine.tickets.note_vacant(topic, format);
            self.cancel_catch_up(peer, topic);
        }
    }

    /// Ends a peer's interest in all topics that a pattern matches.
    pub fn unsubscribe_pattern(&mut self, peer: PeerId, pattern: &Pattern) {
        let Some(format) = self.engine.find_peer_format(peer) else {
            return;
        };
        let hub = &mut self.engine.readers.hub;
        let left = hub.remove_pattern(peer.slot, pattern);
        let is_last = !hub.has_pattern(pattern, format);
        for topic in left {
            self.engine.tickets.note_vacant(topic, format);
            self.cancel_catch_up(peer, topic);
        }
        if is_last {
            let shard = self.engine.shard;
            let interest = Interest { shard, format };
            self.engine.homes.home.remove_pattern(interest, pattern);
            for other in self.engine.others() {
                let pattern = pattern.as_str().as_bytes();
                self.ask(other, Request::Unpattern { pattern, format });
            }
            self.engine.flush_wanted = true;
        }
    }

    /// Gives up topics that have no member any more. Called by the ticker, so that a topic whose
    /// subscribers come and go is not asked for each time.
    pub fn sweep_vacant(&mut self) {
        for (topic, format) in self.engine.tickets.take_vacant() {
            let is_topic = self.engine.readers.hub.is_topic(topic);
            if is_topic
                && !self.sweep_stream(topic)
                && !self.engine.readers.is_wanted(topic, format)
            {
                self.give_up(topic, format);
            }
        }
    }

    /// Gives up a topic that no peer here reads in `format`.
    fn give_up(&mut self, topic: TopicId, format: WireFormat) {
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
        let is_held = engine.readers.interests.has_any(topic)
            || engine.homes.home.is_wanted_by(&name, engine.shard);
        if !is_held {
            engine.readers.close_topic(topic);
        }
    }
}
