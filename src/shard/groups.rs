//! Events that are sent a few at a time, to clients that asked for it
//! (spec/events.md 3.5, `?batch=true`).
//!
//! A topic's events are grouped once for all who read them so, and a group is one
//! frame of the topic's log.

use super::Shard;
use crate::collections::HashMap;
use crate::engine::hub::Hub;
use crate::id::{TopicId, WireFormat};
use crate::protocol::events::Writer;
use crate::ws::OpCode;
use crate::ws::encode::put_frame;

/// Events of one group. Besides, a group goes when the ticker comes by, which is
/// ten times a second.
const EVENTS_MAX: usize = 10;

/// Bytes of one group, but for its last event.
const BYTES_MAX: usize = 64 * 1024;

/// The groups that are being filled.
#[derive(Debug, Default)]
pub(super) struct Groups {
    topics: HashMap<TopicId, Group>,
    /// A message and its frame, put together here.
    message: Vec<u8>,
    frame: Vec<u8>,
}

#[derive(Debug)]
struct Group {
    /// The events, comma between them.
    events: Vec<u8>,
    count: usize,
    /// The first one's offset, and the last one's.
    first: u64,
    last: u64,
}

impl Groups {
    /// Adds an event to the group of its topic. Returns whether the group is full.
    fn add(&mut self, topic: TopicId, event: &[u8], offset: u64) -> bool {
        let group = self.topics.entry(topic).or_insert_with(|| Group {
            events: Vec::new(),
            count: 0,
            first: offset,
            last: offset,
        });
        if group.count > 0 {
            group.events.push(b',');
        }
        group.events.extend_from_slice(event);
        group.count += 1;
        group.last = offset;
        group.count == EVENTS_MAX || group.events.len() >= BYTES_MAX
    }

    /// Appends the group of a topic, if there is one, to its log.
    fn close(&mut self, hub: &mut Hub, topic: TopicId, timestamp: &[u8]) {
        let Some(group) = self.topics.remove(&topic) else {
            return;
        };
        self.message.clear();
        Writer::new(&mut self.message, timestamp).batch(&group.events, group.count);
        self.frame.clear();
        put_frame(&mut self.frame, OpCode::Text, &self.message);
        let numbers = group.first..=group.last;
        hub.append_group(topic, WireFormat::EventsBatch, &self.frame, numbers);
    }
}

impl Shard {
    /// Adds an event to its topic's group. Returns for how many it is.
    pub(super) fn append_to_group(
        &self,
        hub: &mut Hub,
        topic: TopicId,
        event: &[u8],
        offset: u64,
    ) -> usize {
        let members = hub.member_count(topic, WireFormat::EventsBatch);
        if members == 0 {
            // Whoever a group was begun for has left. Only where the topic stands
            // is noted.
            self.groups.borrow_mut().topics.remove(&topic);
            return hub.append(topic, WireFormat::EventsBatch, event, offset);
        }
        let mut groups = self.groups.borrow_mut();
        if groups.add(topic, event, offset) {
            groups.close(hub, topic, &self.clock.timestamp());
        }
        members
    }

    /// Ends the group of a topic, so that whoever comes now begins behind it.
    pub(super) fn close_group(&self, hub: &mut Hub, topic: TopicId) {
        let mut groups = self.groups.borrow_mut();
        groups.close(hub, topic, &self.clock.timestamp());
    }

    /// Ends all groups. Called by the ticker.
    pub fn close_groups(&self) {
        let mut groups = self.groups.borrow_mut();
        if groups.topics.is_empty() {
            return;
        }
        let (mut hub, timestamp) = (self.hub.borrow_mut(), self.clock.timestamp());
        let topics: Vec<TopicId> = groups.topics.keys().copied().collect();
        for topic in topics {
            groups.close(&mut hub, topic, &timestamp);
        }
        self.flusher.raise();
    }
}
