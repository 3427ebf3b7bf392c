//! Who comes to a topic and leaves it, told to the topic's subscribers.

use std::collections::VecDeque;

use super::Turn;
use super::home::HomeTopic;
use super::presence::{Change, Presence, ROSTER_USERS_MAX, Roster};
use super::publication::PublicationKind;
use super::subscribe::ANSWERS_MAX;
use super::{Asker, Engine, Homes, Lanes, Outcome, Place, Post, PublishResult, Request, Ticket};
use crate::collections::HashMap;
use crate::id::PeerId;

/// The rosters of this home and what has not been told of them.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    pub(super) presence: Presence,
    /// Changes that wait for room in their topics, in the order in which they came.
    untold: VecDeque<Change>,
    /// How many of them are of each topic.
    untold_of: HashMap<Box<str>, usize>,
}

/// Changes that wait for room in their topics. Beyond it the oldest are never told.
const UNTOLD_MAX: usize = 100_000;

impl Attendance {
    fn forget_untold(&mut self, topic: &str) {
        if let Some(count) = self.untold_of.get_mut(topic) {
            *count -= 1;
            if *count == 0 {
                self.untold_of.remove(topic);
            }
        }
    }
}

impl Engine {
    /// Who is in a topic that lives here.
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
    /// A connection of `user` came to a topic, where that is of interest.
    pub fn enter(&mut self, topic: &str, user: &str) {
        self.enter_or_exit(topic, user, true);
    }

    /// A connection of `user` left a topic.
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

    /// Notes at this home that a connection came or left.
    pub(super) fn note_presence(&mut self, topic: &str, user: &str, enters: bool) {
        let attendance = &mut self.engine.homes.attendance;
        if enters {
            let change = attendance.presence.enter(topic, user, self.now.wall_ms);
            if let Some(change) = change {
                self.tell_change(change);
            }
        } else {
            let grace = self.engine.config.namespace(topic).presence_grace;
            let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            let leaves_ms = self.now.ms.saturating_add(grace_ms);
            attendance.presence.exit(topic, user, leaves_ms);
        }
    }

    /// Tells who has left, and what could not be told before. Called by the ticker.
    pub fn sweep_presence(&mut self) {
        let attendance = &mut self.engine.homes.attendance;
        let left = attendance.presence.take_left(self.now.ms);
        let left: Vec<Change> = left.into_iter().collect();
        // What waits is older.
        let attendance = &mut self.engine.homes.attendance;
        attendance.untold_of.clear();
        for change in std::mem::take(&mut attendance.untold)
            .into_iter()
            .chain(left)
        {
            self.tell_change(change);
        }
    }

    /// Tells a change; one that has no room in its topic, or comes behind such a one, waits, and does
    /// not keep other topics waiting.
    ///
    /// Cost: one publication at most, however many wait.
    fn tell_change(&mut self, change: Change) {
        let attendance = &self.engine.homes.attendance;
        if !attendance.untold_of.contains_key(&change.topic) {
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
            .untold_of
            .entry(change.topic.clone())
            .or_default() += 1;
        attendance.untold.push_back(change);
        if attendance.untold.len() > UNTOLD_MAX
            && let Some(oldest) = attendance.untold.pop_front()
        {
            attendance.forget_untold(&oldest.topic);
            self.counters.messages_dropped.add(1);
        }
    }

    /// Asks who is in `topic`: `limit` users behind `after` in the order of their names. An
    /// [`Outcome::Roster`] for this ticket answers it. `None` if there is no room to ask.
    pub fn ask_roster(
        &mut self,
        peer: PeerId,
        topic: &str,
        after: &str,
        limit: usize,
    ) -> Option<Ticket> {
        let place = self.engine.place_of(topic);
        // What homes are asked for one peer at a time is limited.
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
