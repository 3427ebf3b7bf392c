//! What the peers of a place read: logs with cursors, and where their messages come from.

use std::sync::Arc;

use super::Encode;
use super::groups::Groups;
use super::hub::Hub;
use super::interest::Interests;
use super::merge::Merges;
use super::message::Offsets;
use crate::id::{PeerId, TopicId, WireFormat};
use crate::sse::CursorKey;

/// The readers' side of an engine.
#[derive(Debug)]
pub(super) struct Readers {
    pub(super) hub: Hub,
    pub(super) interests: Interests,
    pub(super) merges: Merges,
    pub(super) groups: Groups,
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
    pub(super) fn new(hub: Hub, cursors: Arc<CursorKey>) -> Self {
        Self {
            hub,
            interests: Interests::default(),
            merges: Merges::new(cursors),
            groups: Groups::default(),
        }
    }

    /// Appends messages, which are one frame, to their topic's log, or to those of the streams that
    /// the topic is in.
    ///
    /// Cost: see [`Hub::append`] and [`Merges::append`].
    pub(super) fn append(
        &mut self,
        topic: TopicId,
        format: WireFormat,
        frame: &[u8],
        offsets: Offsets,
    ) -> Appended {
        let (hub, mut is_group_full) = (&mut self.hub, false);
        let members = match format {
            WireFormat::Sse => self.merges.append(hub, topic, frame, offsets),
            WireFormat::EventsBatch => {
                let members = hub.member_count(topic, format);
                if members == 0 {
                    // The readers that a group was begun for have left. Only where the topic stands
                    // is noted.
                    self.groups.drop(topic);
                    hub.append_group(topic, format, frame, offsets.numbers());
                } else {
                    is_group_full = self.groups.add(topic, frame, offsets);
                }
                members
            }
            _ => hub.append_group(topic, format, frame, offsets.numbers()),
        };
        Appended {
            members,
            is_group_full,
        }
    }

    /// Ends the group of a topic, if there is one, so that whoever comes now begins behind it.
    pub(super) fn close_group(&mut self, topic: TopicId, encoder: &mut dyn Encode, time_ms: u64) {
        self.groups.close(&mut self.hub, topic, encoder, time_ms);
    }

    /// Whether a peer here reads a topic in a format.
    pub(super) fn is_wanted(&self, topic: TopicId, format: WireFormat) -> bool {
        match format {
            WireFormat::Sse => self.merges.wants(topic),
            _ => self.hub.member_count(topic, format) > 0,
        }
    }

    /// Whether `topic` is what is called `name` still, and `peer` reads it. Numbers of topics are given
    /// again.
    pub(super) fn is_reading(&self, peer: PeerId, topic: TopicId, name: &str) -> bool {
        let hub = &self.hub;
        hub.is_present(peer) && hub.find(name) == Some(topic) && hub.is_in(peer.slot, topic)
    }

    /// Forgets a topic that has no members.
    pub(super) fn close_topic(&mut self, topic: TopicId) {
        if self.hub.close_topic(topic) {
            self.groups.drop(topic);
        }
    }

    /// Notes that no messages of a topic come in this format any more.
    pub(super) fn lose(&mut self, topic: TopicId, format: WireFormat) {
        if format == WireFormat::Sse {
            self.merges.lose(topic);
        }
    }
}
