//! The reading side of a shard: logs, cursors, and interests in the topics of other homes.

use super::format::Formats;
use super::groups::Groups;
use super::hub::{Frame, Hub};
use super::interest::Interests;
use super::merge::Merges;
use super::message::Offsets;
use super::patterns::Patterns;
use crate::id::{FormatId, Gather, PeerId, TopicId, UserKey};

/// The readers' side of an engine.
#[derive(Debug)]
pub(super) struct Readers {
    pub(super) hub: Hub,
    pub(super) interests: Interests,
    pub(super) merges: Merges,
    pub(super) groups: Groups,
    pub(super) patterns: Patterns,
}

/// The result of an append.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(super) struct Appended {
    /// How many peers read it.
    pub(super) members: usize,
    /// The group is full and has to be sent.
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

    /// Appends messages, encoded as one frame, to the log of their topic and those of matching patterns, or to those of
    /// the streams that include the topic.
    ///
    /// Cost: see [`Hub::append`] and [`Merges::append`]; one copy for each log.
    pub(super) fn append(
        &mut self,
        topic: TopicId,
        format: FormatId,
        (frame, except): (&[u8], UserKey),
        offsets: Offsets,
    ) -> Appended {
        let whole = |bytes| Frame {
            bytes,
            numbers: offsets.numbers(),
            publications: 1,
            except,
        };
        let mut is_group_full = false;
        let members = match format.gather {
            Gather::Merge => {
                let read = (topic, format);
                self.merges
                    .append(&mut self.hub, read, (frame, except), offsets)
            }
            Gather::Group => {
                let members = self.member_count(topic, format);
                if members == 0 {
                    // The readers of the open group have left; only the topic's position is recorded.
                    self.groups.forget(topic, format);
                    self.put(topic, format, whole(frame));
                } else {
                    self.hub.note_arrived(topic, format);
                    let event = (frame, except);
                    is_group_full = self.groups.add((topic, format), event, offsets);
                }
                members
            }
            Gather::Each => self.put(topic, format, whole(frame)),
        };
        Appended {
            members,
            is_group_full,
        }
    }

    fn put(&mut self, topic: TopicId, format: FormatId, frame: Frame<'_>) -> usize {
        let hub = &mut self.hub;
        let mut members = hub.append(topic, format, frame.clone());
        for &log in self.patterns.logs_of(hub, topic) {
            members += hub.append_shared(log, format, topic, frame.clone());
        }
        members
    }

    /// Peers that read a topic in a format, by name or by pattern.
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

    /// Sends the open group of a topic, if there is one, so that a new reader begins after it.
    pub(super) fn close_group(&mut self, topic: TopicId, formats: &mut Formats, time_ms: u64) {
        for group in self.groups.take(topic) {
            let bytes = formats.group(group.format, &group.events, group.count, time_ms);
            let frame = Frame {
                bytes,
                numbers: group.first..=group.last,
                // They were counted when they arrived.
                publications: 0,
                except: group.except,
            };
            self.put(topic, group.format, frame);
        }
    }

    /// Whether a peer of this shard reads a topic in a format.
    pub(super) fn is_wanted(&mut self, topic: TopicId, format: FormatId) -> bool {
        match format.gather {
            Gather::Merge => self.merges.wants(topic),
            Gather::Each | Gather::Group => self.member_count(topic, format) > 0,
        }
    }

    /// The log in which a peer reads a topic: that of its patterns, or the topic's own.
    pub(super) fn log_of(&self, peer: PeerId, topic: TopicId, name: &str) -> TopicId {
        self.patterns.log_of(peer, name).unwrap_or(topic)
    }

    /// The number of the newest message of a topic that has been written to a peer.
    pub(super) fn written_number(&self, peer: PeerId, topic: TopicId, name: &str) -> Option<u64> {
        match self.patterns.log_of(peer, name) {
            Some(log) => self.hub.written_number_in(peer.slot, log, topic),
            None => self.hub.written_number(peer.slot, topic),
        }
    }

    /// Whether `topic` is still called `name` and `peer` reads it. Topic numbers are reused.
    pub(super) fn is_reading(&self, peer: PeerId, topic: TopicId, name: &str) -> bool {
        let (hub, log) = (&self.hub, self.log_of(peer, topic, name));
        hub.is_present(peer) && hub.find(name) == Some(topic) && hub.is_in(peer.slot, log)
    }

    /// Removes a topic that has no members.
    pub(super) fn close_topic(&mut self, topic: TopicId) {
        if self.hub.close_topic(topic) {
            drop(self.groups.take(topic));
            self.patterns.forget_topic(topic);
        }
    }

    /// Records that messages of a topic no longer arrive in this format.
    pub(super) fn end_format(&mut self, topic: TopicId, format: FormatId) {
        if format.gather == Gather::Merge {
            self.merges.unlocate(topic);
        }
    }
}
