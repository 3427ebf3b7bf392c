//! Events sent in groups, to clients that connected with `?batch=true` (docs/protocol.md).
//!
//! A topic's events are grouped once for all such readers, and a group is one frame of the topic's log.

use super::message::Offsets;
use super::{Lanes, Turn};
use crate::collections::HashMap;
use crate::id::{FormatId, TopicId, UserKey};

/// Events in one group. A group that is not full is sent by the ticker, ten times a second.
const EVENTS_MAX: usize = 10;

/// Bytes in one group; the last event may exceed it.
const BYTES_MAX: usize = 64 * 1024;

/// The groups that are being filled.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<TopicId, Vec<Group>>);

/// Events that are sent as one frame.
#[derive(Debug)]
pub(super) struct Group {
    /// The format of its readers.
    pub(super) format: FormatId,
    /// The events, separated by commas.
    pub(super) events: Vec<u8>,
    pub(super) count: usize,
    /// Whose connections skip it. Such a group has one event.
    pub(super) except: UserKey,
    /// The offsets of the first message and the last; `last < first` if there is none.
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Groups {
    /// Adds an event to the group of its topic. Returns whether the group is full and has to be sent.
    pub(super) fn add(
        &mut self,
        (topic, format): (TopicId, FormatId),
        (event, except): (&[u8], UserKey),
        offsets: Offsets,
    ) -> bool {
        let numbers = offsets.numbers();
        let groups = self.0.entry(topic).or_default();
        let known = groups.iter().position(|group| group.format == format);
        let group = known.unwrap_or_else(|| {
            groups.push(Group {
                format,
                events: Vec::new(),
                count: 0,
                except,
                first: *numbers.start(),
                last: *numbers.end(),
            });
            groups.len() - 1
        });
        let group = &mut groups[group];
        if group.count > 0 {
            group.events.push(b',');
        }
        group.events.extend_from_slice(event);
        group.count += 1;
        group.last = *numbers.end();
        debug_assert!(
            group.count == 1 || except == group.except,
            "it is closed before"
        );
        let is_alone = !group.except.is_none();
        is_alone || group.count == EVENTS_MAX || group.events.len() >= BYTES_MAX
    }

    /// Takes the groups of a topic, one for each format.
    pub(super) fn take(&mut self, topic: TopicId) -> Vec<Group> {
        self.0.remove(&topic).unwrap_or_default()
    }

    /// Drops the group of a topic in a format.
    pub(super) fn forget(&mut self, topic: TopicId, format: FormatId) {
        if let Some(groups) = self.0.get_mut(&topic) {
            groups.retain(|group| group.format != format);
            if groups.is_empty() {
                self.0.remove(&topic);
            }
        }
    }
}

impl<L: Lanes> Turn<'_, L> {
    /// Sends the group of a topic.
    pub(super) fn close_group(&mut self, topic: TopicId) {
        let engine = &mut *self.engine;
        let time_ms = self.now.wall_ms;
        engine
            .readers
            .close_group(topic, &mut engine.formats, time_ms);
    }

    /// Sends all groups. Called by the ticker.
    pub fn close_groups(&mut self) {
        if self.engine.readers.groups.0.is_empty() {
            return;
        }
        let topics: Vec<TopicId> = self.engine.readers.groups.0.keys().copied().collect();
        for topic in topics {
            self.close_group(topic);
        }
        self.engine.flush_wanted = true;
    }
}
