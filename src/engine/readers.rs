//! What the peers of a place read: logs with cursors, and where their messages come from.

use std::ops::RangeInclusive;

use super::format::Formats;
use super::groups::Groups;
use super::hub::Hub;
use super::interest::Interests;
use super::merge::Merges;
use super::message::Offsets;
use super::patterns::Patterns;
use crate::id::{FormatId, Gather, PeerId, TopicId};

/// The readers' side of an engine.
#[derive(Debug)]
pub(super) struct Readers {
    pub(super) hub: Hub,
    pub(super) interests: Interests,
    pub(super) merges: Merges,
    pub(super) groups: Groups,
    pub(super) patterns: Patterns,
}

/// What came of a message that was appended.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(super) struct Appended {
    /// How many it is for.
    pub(super) members: usize,
    /// It was the last one of its group, which is to be closed.
    pub(super) is_group_full: bool,
}

impl Readers {
    pub(super) fn new(hub: Hub, merges: Merges) -> Self {
        Self {
            hub,
            interests: Interests::default(),
            merges,
            groups: Groups::default(),
            patterns: Patterns::default(),
        }
    }

    /// Appends messages, which are one frame, to their topic's log and those of patterns that match it,
    /// or to those of the streams that the topic is in.
    ///
    /// Cost: see [`Hub::append`] and [`Merges::append`]; one copy for each log.
    pub(super) fn append(
        &mut self,
        topic: TopicId,
        format: FormatId,
        frame: &[u8],
        offsets: Offsets,
    ) -> Appended {
        let mut is_group_full = false;
        let members = match format.gather {
            Gather::Merge => {
                let read = (topic, format);
                self.merges.append(&mut self.hub, read, frame, offsets)
            }
            Gather::Group => {
                let members = self.member_count(topic, format);
                if members == 0 {
                    // The readers that a group was begun for have left. Only where the topic stands
                    // is noted.
                    self.groups.forget(topic, format);
                    self.put(topic, format, frame, offsets.numbers());
                } else {
                    is_group_full = self.groups.add((topic, format), frame, offsets);
                }
                members
            }
            Gather::Each => self.put(topic, format, frame, offsets.numbers()),
        };
        Appended {
            members,
            is_group_full,
        }
    }

    fn put(
        &mut self,
        topic: TopicId,
        format: FormatId,
        frame: &[u8],
        numbers: RangeInclusive<u64>,
    ) -> usize {
        let hub = &mut self.hub;
        let mut members = hub.append_group(topic, format, frame, numbers.clone());
        for &log in self.patterns.logs_of(hub, topic) {
            members += hub.append_shared(log, format, frame, (topic, numbers.clone()));
        }
        members
    }

    /// How many read a topic in a format, by its name or by patterns.
    fn member_count(&mut self, topic: TopicId, format: FormatId) -> usize {
        let (hub, logs) = (&self.hub, self.patterns.logs_of(&self.hub, topic));
        let logs = logs.iter().map(|&log| hub.member_count(log, format));
        hub.member_count(topic, format) + logs.sum::<usize>()
    }

    /// Whether publications to a topic should wait for the next flush.
    pub(super) fn is_congested(&mut self, topic: TopicId, format: FormatId) -> bool {
        if format.gather == Gather::Merge {
            return self.merges.is_congested(&self.hub, topic);
        }
        let (hub, logs) = (&self.hub, self.patterns.logs_of(&self.hub, topic));
        hub.is_congested(topic) || logs.iter().any(|&log| hub.is_congested(log))
    }

    /// Ends the group of a topic, if there is one, so that whoever comes now begins behind it.
    pub(super) fn close_group(&mut self, topic: TopicId, formats: &mut Formats, time_ms: u64) {
        for group in self.groups.take(topic) {
            let frame = formats.group(group.format, &group.events, group.count, time_ms);
            self.put(topic, group.format, frame, group.first..=group.last);
        }
    }

    /// Whether a peer here reads a topic in a format.
    pub(super) fn is_wanted(&mut self, topic: TopicId, format: FormatId) -> bool {
        match format.gather {
            Gather::Merge => self.merges.wants(topic),
            Gather::Each | Gather::Group => self.member_count(topic, format) > 0,
        }
    }

    /// In which topic's log a peer reads a topic: that of its patterns, or its own.
    pub(super) fn log_of(&self, peer: PeerId, topic: TopicId, name: &str) -> TopicId {
        self.patterns.log_of(peer, name).unwrap_or(topic)
    }

    /// The number of the newest message of a topic that a peer has been written.
    pub(super) fn written_number(&self, peer: PeerId, topic: TopicId, name: &str) -> Option<u64> {
        match self.patterns.log_of(peer, name) {
            Some(log) => self.hub.written_number_in(peer.slot, log, topic),
            None => self.hub.written_number(peer.slot, topic),
        }
    }

    /// Whether `topic` is what is called `name` still, and `peer` reads it. Numbers of topics are given
    /// again.
    pub(super) fn is_reading(&self, peer: PeerId, topic: TopicId, name: &str) -> bool {
        let (hub, log) = (&self.hub, self.log_of(peer, topic, name));
        hub.is_present(peer) && hub.find(name) == Some(topic) && hub.is_in(peer.slot, log)
    }

    /// Forgets a topic that has no members.
    pub(super) fn close_topic(&mut self, topic: TopicId) {
        if self.hub.close_topic(topic) {
            drop(self.groups.take(topic));
            self.patterns.forget_topic(topic);
        }
    }

    /// Notes that no messages of a topic come in this format any more.
    pub(super) fn lose(&mut self, topic: TopicId, format: FormatId) {
        if format.gather == Gather::Merge {
            self.merges.lose(topic);
        }
    }
}
