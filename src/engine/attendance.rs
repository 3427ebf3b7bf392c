//! Presence at this home: joins, leaves and changes of data, published to the topic's subscribers.

use std::collections::VecDeque;

use super::Turn;
use super::home::HomeTopic;
use super::presence::{Attending, Change, Presence, ROSTER_USERS_MAX, Roster};
use super::publication::PublicationKind;
use super::ticket::ANSWERS_MAX;
use super::{Asker, Engine, Homes, Lanes, Outcome, Place, Post, PublishResult, Request, Ticket};
use crate::collections::HashMap;
use crate::id::PeerId;
use crate::metrics::Limited;

/// The rosters of this home, and changes not yet published.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    pub(super) presence: Presence,
    /// Changes not yet published because their topic is congested, oldest first.
    unpublished: VecDeque<Change>,
    /// How many of them each topic has.
    unpublished_of: HashMap<Box<str>, usize>,
    /// Bytes of data in them.
    unpublished_bytes: usize,
}

/// Limits of `unpublished`, in changes and in bytes of data. Beyond them the oldest changes are dropped unpublished.
const UNPUBLISHED_MAX: usize = 100_000;
const UNPUBLISHED_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Attendance {
    fn wait(&mut self, change: Change) {
        *self.unpublished_of.entry(change.topic.clone()).or_default() += 1;
        self.unpublished_bytes += change.data.len();
        self.unpublished.push_back(change);
    }

    /// Drops the oldest change beyond the limits. Returns how many were dropped.
    fn drop_oldest(&mut self) -> u64 {
        let mut dropped = 0;
        while self.unpublished.len() > UNPUBLISHED_MAX
            || self.unpublished_bytes > UNPUBLISHED_BYTES_MAX
        {
            let Some(Change { topic, data, .. }) = self.unpublished.pop_front() else {
                break;
            };
            self.unpublished_bytes -= data.len();
            if let Some(count) = self.unpublished_of.get_mut(&topic) {
                *count -= 1;
                if *count == 0 {
                    self.unpublished_of.remove(&topic);
                }
            }
            dropped += 1;
        }
        dropped
    }

    fn take_unpublished(&mut self) -> VecDeque<Change> {
        self.unpublished_of.clear();
        self.unpublished_bytes = 0;
        std::mem::take(&mut self.unpublished)
    }
}

impl Engine {
    /// The users in a topic whose home is this shard.
    pub(super) fn roster(&self, topic: &str, after: &str, limit: usize) -> Roster {
        let Homes {
            home, attendance, ..
        } = &self.homes;
        Roster {
            sequence: home.find(topic).map_or(0, HomeTopic::presence_sequence),
            ..attendance.presence.roster(topic, after, limit)
        }
    }
}

impl<L: Lanes> Turn<'_, L> {
    /// A connection of `user` came to a topic that has presence, with `data` of the user: a JSON text of at most
    /// [`PRESENCE_DATA_MAX`](super::PRESENCE_DATA_MAX) bytes, which the caller checks; empty: it gives none, and the
    /// user keeps what it had. Data that differs from what the user had is published.
    pub fn enter(&mut self, topic: &str, user: &str, data: &str) {
        self.attend(topic, user, Attending::Enters(data));
    }

    /// `user` has this data in a topic that has presence from now on, as in [`Self::enter`]; empty: none. It is
    /// published, also if the user had the same. Does nothing if the user is not present.
    pub fn update_presence(&mut self, topic: &str, user: &str, data: &str) {
        self.attend(topic, user, Attending::Updates(data));
    }

    /// A connection of `user` left a topic that has presence.
    pub fn exit(&mut self, topic: &str, user: &str) {
        self.attend(topic, user, Attending::Exits);
    }

    fn attend(&mut self, topic: &str, user: &str, attending: Attending<&str>) {
        if !self.engine.config.namespace(topic).presence {
            return;
        }
        match self.engine.place_of(topic) {
            Place::Here => self.note_presence(topic, user, attending),
            Place::Shard(home) => self.ask(
                home,
                Request::Presence {
                    topic: topic.as_bytes(),
                    user: user.as_bytes(),
                    attending: attending.map(str::as_bytes),
                },
            ),
        }
    }

    /// Records at this home what a session has reported of its user.
    pub(super) fn note_presence(&mut self, topic: &str, user: &str, attending: Attending<&str>) {
        let presence = &mut self.engine.homes.attendance.presence;
        let has_room = match attending {
            Attending::Enters(data) | Attending::Updates(data) => {
                data.is_empty() || presence.has_room_for_data()
            }
            Attending::Exits => true,
        };
        if !has_room {
            self.counters.limited(Limited::PresenceMemory);
        }
        let change = match attending {
            Attending::Enters(data) => {
                let data = if has_room { data } else { "" };
                presence.enter(topic, user, data, self.now.wall_ms)
            }
            Attending::Updates(data) if has_room => presence.update(topic, user, data),
            Attending::Updates(_) => None,
            Attending::Exits => {
                let grace = self.engine.config.namespace(topic).presence_grace;
                let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                let leaves_ms = self.now.ms.saturating_add(grace_ms);
                presence.exit(topic, user, leaves_ms);
                None
            }
        };
        if let Some(change) = change {
            self.publish_change(change);
        }
    }

    /// Publishes who has left, and changes that waited for room. Called by the ticker.
    pub fn sweep_presence(&mut self) {
        let attendance = &mut self.engine.homes.attendance;
        let left = attendance.presence.take_left(self.now.ms);
        // Waiting changes are older, so they come first.
        for change in attendance.take_unpublished().into_iter().chain(left) {
            self.publish_change(change);
        }
    }

    /// Publishes a change. If its topic is congested, or an earlier change of it waits, the change waits; other
    /// topics are not delayed.
    ///
    /// Cost: at most one publication, however many changes wait.
    fn publish_change(&mut self, change: Change) {
        let attendance = &self.engine.homes.attendance;
        if !attendance.unpublished_of.contains_key(&change.topic) {
            let data = change.to_json();
            let post = Post {
                kind: PublicationKind::Presence,
                ..Post::event(&change.topic, &data)
            };
            if self.publish_here(&post, None) != PublishResult::Busy {
                return;
            }
        }
        let attendance = &mut self.engine.homes.attendance;
        attendance.wait(change);
        self.counters.messages_dropped.add(attendance.drop_oldest());
    }

    /// Requests the roster of `topic`: up to `limit` users that sort after `after`. Answered by an [`Outcome::Roster`]
    /// for this ticket. `None` if the lane has no room.
    pub fn ask_roster(
        &mut self,
        peer: PeerId,
        topic: &str,
        after: &str,
        limit: usize,
    ) -> Option<Ticket> {
        let place = self.engine.place_of(topic);
        // The number of pending answers of one peer is limited.
        let hub = &mut self.engine.readers.hub;
        let is_full = matches!(place, Place::Shard(home) if self.lanes.requests_full(home));
        if is_full || !hub.is_present(peer) || hub.answers_awaited(peer) >= ANSWERS_MAX {
            return None;
        }
        hub.note_asked(peer);
        let ticket = self.engine.outcomes.ticket();
        let (limit, asker) = (limit.min(ROSTER_USERS_MAX), Asker::Peer(peer));
        match place {
            Place::Here => {
                let roster = Box::new(self.engine.roster(topic, after, limit));
                self.tell(asker, Outcome::Roster { ticket, roster });
            }
            Place::Shard(home) => self.ask(
                home,
                Request::Roster {
                    topic: topic.as_bytes(),
                    after: after.as_bytes(),
                    limit: u32::try_from(limit).expect("it is limited"),
                    asker,
                    ticket,
                },
            ),
        }
        Some(ticket)
    }
}
