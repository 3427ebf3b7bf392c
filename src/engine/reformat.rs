//! A peer changes its wire format while it lives.
//!
//! What it reads is requested in the new format too. When every topic has arrived up to the same message in both, the
//! peer moves from the logs of one to those of the other, so no message is lost and none comes twice. What it has not
//! read by then is written in the old format, before the [`Outcome::Reformatted`] that tells its session.

use super::interest::InterestState;
use super::readers::Readers;
use super::{Asker, Engine, Lanes, Outcome, Place, Ticket, Turn};
use crate::id::{FormatId, Gather, PeerId, TopicId};

/// Topics looked at in one turn; the last peer's may exceed it.
const STEPS_MAX: usize = 20_000;

/// The peers that change their format.
#[derive(Debug, Default)]
pub(super) struct Reformats(Vec<Reformat>);

#[derive(Debug)]
struct Reformat {
    peer: PeerId,
    /// The new format.
    format: FormatId,
    /// The ticket of the requests; `None` once all are answered.
    asked: Option<Ticket>,
}

impl Reformats {
    /// All requests of a ticket are answered. Returns whether it is one of a change of format.
    pub(super) fn settle(&mut self, ticket: Ticket) -> bool {
        let mut pending = self.0.iter_mut();
        let known = pending.find(|reformat| reformat.asked == Some(ticket));
        known.map(|reformat| reformat.asked = None).is_some()
    }

    /// Whether a peer changes its format.
    pub(super) fn has(&self, peer: PeerId) -> bool {
        self.0.iter().any(|reformat| reformat.peer == peer)
    }

    /// Removes a peer's change. Returns the format that it has not changed to.
    fn remove(&mut self, peer: PeerId) -> Option<FormatId> {
        let at = self.0.iter().position(|reformat| reformat.peer == peer)?;
        Some(self.0.swap_remove(at).format)
    }
}

impl Engine {
    /// Whether a peer of this shard reads a topic in a format, or is about to.
    pub(super) fn is_read(&mut self, topic: TopicId, format: FormatId) -> bool {
        if self.readers.is_wanted(topic, format) {
            return true;
        }
        let (hub, patterns) = (&self.readers.hub, &self.readers.patterns);
        let mut changing = self.reformats.0.iter();
        changing.any(|one| {
            one.format == format
                && hub.is_present(one.peer)
                && (hub.is_in(one.peer.slot, topic)
                    || patterns.log_of(one.peer, hub.name(topic)).is_some())
        })
    }
}

impl<L: Lanes> Turn<'_, L> {
    /// Begins to change the wire format of a peer. An [`Outcome::Reformatted`] follows, which the session tells it by
    /// [`Engine::send_reformatted`]. Until then the peer subscribes to nothing. Returns `false` if it is too busy: try
    /// again after the next flush.
    ///
    /// Cost: a request for each topic that it reads, and for each pattern to every other shard.
    ///
    /// # Panics
    /// One of the formats is merged: its readers never change it.
    #[must_use]
    pub fn reformat(&mut self, peer: PeerId, format: FormatId) -> bool {
        let Some(old) = self.engine.find_peer_format(peer) else {
            return true;
        };
        assert!(old.gather != Gather::Merge && format.gather != Gather::Merge);
        if !self.may_subscribe(peer, &[], true) {
            return false;
        }
        let ticket = self.begin_subscription(peer);
        let asked = Some(ticket);
        let reformat = Reformat {
            peer,
            format,
            asked,
        };
        self.engine.reformats.0.push(reformat);
        let Readers { hub, patterns, .. } = &self.engine.readers;
        // Also those that it named and reads by a pattern: it may give up the pattern alone.
        let named = patterns.names_of(peer).filter_map(|name| hub.find(name));
        let read = hub.topics_of(peer.slot);
        let read = read.filter(|topic| !patterns.is_log(*topic));
        let topics: Vec<TopicId> = read.chain(named).collect();
        for topic in topics {
            self.locate_too(ticket, topic, format);
        }
        for pattern in self.engine.readers.patterns.take_format(peer, format) {
            self.begin_pattern(ticket, (&pattern, format), None);
        }
        if self.engine.tickets.settle(ticket).is_some() {
            self.engine.reformats.settle(ticket);
        }
        self.engine.flush_wanted = true;
        true
    }

    /// Moves peers to the logs of their new formats where these are as far as those of the old ones. Called at the end
    /// of a turn.
    pub(super) fn finish_reformats(&mut self) {
        let pending = self.engine.reformats.0.iter();
        let ready = pending.filter(|reformat| reformat.asked.is_none());
        let ready: Vec<_> = ready.map(|one| (one.peer, one.format)).collect();
        let mut steps = 0;
        for (peer, format) in ready {
            let hub = &self.engine.readers.hub;
            if hub.is_blocked(peer.slot) || self.engine.catch_ups.has(peer) {
                continue;
            }
            if steps > STEPS_MAX {
                // Others come first in the next turn.
                self.engine.reformats.0.rotate_left(1);
                self.engine.flush_wanted = true;
                break;
            }
            steps += match self.engine.readers.patterns.has(peer) {
                true => hub.topic_count(),
                false => hub.topics_of(peer.slot).count(),
            };
            if self.is_in_step(peer, format) {
                self.finish_reformat(peer, format);
            }
        }
    }

    /// Whether all that a peer reads has arrived up to the same message in its own format and in another.
    ///
    /// Cost: a look at each topic that it reads, and with a pattern at every topic of this shard.
    fn is_in_step(&self, peer: PeerId, format: FormatId) -> bool {
        let engine = &*self.engine;
        let (hub, patterns) = (&engine.readers.hub, &engine.readers.patterns);
        let old = hub.format_of(peer.slot);
        let is_in_step = |(topic, name): (TopicId, &str)| match engine.place_of(name) {
            // Its home appends to all formats at once.
            Place::Here => true,
            Place::Shard(_) => {
                let state = |format| engine.readers.interests.state(topic, format);
                match (state(old), state(format)) {
                    (InterestState::Live, InterestState::Live) => {
                        hub.is_in_step(topic, old, format)
                    }
                    (_, InterestState::Closing) => false,
                    // Matched by a pattern, and not published to since its home knows of the pattern.
                    _ => true,
                }
            }
        };
        let mut named = hub
            .topics_of(peer.slot)
            .filter(|topic| !patterns.is_log(*topic));
        let mut all = hub.topics().take_while(|_| patterns.has(peer));
        named.all(|topic| is_in_step((topic, hub.name(topic))))
            && all.all(|(topic, name)| {
                patterns.log_of(peer, name).is_none() || is_in_step((topic, name))
            })
    }

    fn finish_reformat(&mut self, peer: PeerId, format: FormatId) {
        // What has arrived belongs to the old logs.
        self.close_groups();
        let old = self.engine.readers.hub.format_of(peer.slot);
        self.note_format_left(peer, old);
        self.engine.readers.hub.reformat(peer.slot, format);
        self.take_incidents();
        let unwanted = self.engine.readers.patterns.release_format(peer, old);
        self.withdraw_patterns(&unwanted, old);
        self.engine.reformats.remove(peer);
        self.engine.readers.hub.note_answered(peer);
        self.tell(Asker::Peer(peer), Outcome::Reformatted(format));
        self.engine.flush_wanted = true;
    }

    /// Gives up a peer's change of format, which is about to leave.
    pub(super) fn cancel_reformat(&mut self, peer: PeerId) {
        if let Some(format) = self.engine.reformats.remove(peer) {
            self.note_format_left(peer, format);
            let unwanted = self.engine.readers.patterns.release_format(peer, format);
            self.withdraw_patterns(&unwanted, format);
        }
    }

    /// Notes that what a peer reads may have lost its last reader in a format.
    fn note_format_left(&mut self, peer: PeerId, format: FormatId) {
        for topic in self.engine.readers.hub.topics_of(peer.slot) {
            self.engine.tickets.note_vacant(topic, format);
        }
        // Topics that match its patterns are found by a scan.
        if self.engine.readers.patterns.has(peer) {
            self.engine.tickets.start_scan();
        }
    }
}
