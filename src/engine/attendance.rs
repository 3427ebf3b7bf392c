//! Presence at this home: joins and leaves, published to the topic's subscribers.

use std::collections::VecDeque;

use super::Turn;
use super::home::HomeTopic;
use super::presence::{Change, Presence, ROSTER_USERS_MAX, Roster};
use super::publication::PublicationKind;
use super::ticket::ANSWERS_MAX;
use super::{Asker, Engine, Homes, Lanes, Outcome, Place, Post, PublishResult, Request, Ticket};
use crate::collections::HashMap;
use crate::id::PeerId;

/// The rosters of this home, and changes not yet published.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    pub(super) presence: Presence,
    /// Changes not yet published because their topic is congested, oldest first.
    unpublished: VecDeque<Change>,
    /// How many of them each topic has.
    unpublished_of: HashMap<Box<str>, usize>,
}

/// Limit of `unpublished`. Beyond it the oldest changes are dropped unpublished.
const UNPUBLISHED_MAX: usize = 100_000;

impl Attendance {
    fn forget_unpublished(&mut self, topic: &str) {
        if let Some(count) = self.unpublished_of.get_mut(topic) {
            *count -= 1;
            if *count == 0 {
                self.unpublished_of.remove(topic);
            }
        }
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
    /// A connection of `user` came to a topic that has presence.
    pub fn enter(&mut self, topic: &str, user: &str) {
        self.enter_or_exit(topic, user, true);
    }

    /// A connection of `user` left a topic that has presence.
    pub fn exit(&mut self, topic: &str, user: &str) {
        self.enter_or_exit(topic, user, false);
    }

    fn enter_or_exit(&mut self, topic: &str, user: &str, enters: bool) {
        if !self.engine.config.namespace(topic).presence {
            return;
        }
        match self.engine.place_of(topic) {
            Place::Here => self.note_presence(topic, user, enters),
            Place::Shard(home) => self.ask(
                home,
                Request::Presence {
                    topic: topic.as_bytes(),
                    user: user.as_bytes(),
                    enters,
                },
            ),
        }
    }

    /// Records at this home that a connection came or left.
    pub(super) fn note_presence(&mut self, topic: &str, user: &str, enters: bool) {
        let attendance = &mut self.engine.homes.attendance;
        if enters {
            let change = attendance.presence.enter(topic, user, self.now.wall_ms);
            if let Some(change) = change {
                self.publish_change(change);
            }
        } else {
            let grace = self.engine.config.namespace(topic).presence_grace;
            let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            let leaves_ms = self.now.ms.saturating_add(grace_ms);
            attendance.presence.exit(topic, user, leaves_ms);
        }
    }

    /// Publishes who has left, and changes that waited for room. Called by the ticker.
    pub fn sweep_presence(&mut self) {
        let attendance = &mut self.engine.homes.attendance;
        let left = attendance.presence.take_left(self.now.ms);
        let left: Vec<Change> = left.into_iter().collect();
        // Waiting changes are older, so they come first.
        let attendance = &mut self.engine.homes.attendance;
        attendance.unpublished_of.clear();
        for change in std::mem::take(&mut attendance.unpublished)
            .into_iter()
            .chain(left)
        {
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
            let data = change.data();
            let post = Post {
                kind: PublicationKind::Presence,
                ..Post::event(&change.topic, &data)
            };
            if self.publish_here(&post, None) != PublishResult::Busy {
                return;
            }
        }
        let attendance = &mut self.engine.homes.attendance;
        *attendance
            .unpublished_of
            .entry(change.topic.clone())
            .or_default() += 1;
        attendance.unpublished.push_back(change);
        if attendance.unpublished.len() > UNPUBLISHED_MAX
            && let Some(oldest) = attendance.unpublished.pop_front()
        {
            attendance.forget_unpublished(&oldest.topic);
            self.counters.messages_dropped.add(1);
        }
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
