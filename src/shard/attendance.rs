//! Who comes to a topic and leaves it, told to the topic's subscribers.

use std::collections::VecDeque;

use super::Shard;
use super::subscribe::CONFIRMATIONS_MAX;
use crate::collections::HashSet;
use crate::engine::{Change, Outcome, Post, Presence, Request, home_of};
use crate::id::{PeerId, Priority};
use crate::protocol::events::{Kind, Writer};
use crate::protocol::json::put_string;

/// The rosters of this home and what has not been told of them.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    presence: Presence,
    /// Changes that wait for room in their topics.
    untold: VecDeque<Change>,
}

/// Changes that wait for room in their topics. Beyond it the oldest are never told.
const UNTOLD_MAX: usize = 100_000;

/// Users in one answer, and how many there are if nothing is said.
pub const ROSTER_USERS_MAX: usize = 1000;

impl Shard {
    /// A connection of `user` came to a topic, where that is of interest.
    pub fn enter(&self, topic: &str, user: &str) {
        self.attend_or_leave(topic, user, true);
    }

    /// A connection of `user` left a topic.
    pub fn exit(&self, topic: &str, user: &str) {
        self.attend_or_leave(topic, user, false);
    }

    fn attend_or_leave(&self, topic: &str, user: &str, enters: bool) {
        if !self.config.namespace(topic).presence {
            return;
        }
        let mut port = self.port.borrow_mut();
        let home = home_of(topic, port.shards());
        if home == self.id {
            drop(port);
            return self.note_presence(topic, user, enters);
        }
        port.request(home, |_| Request::Presence {
            topic: topic.into(),
            user: user.into(),
            enters,
        });
        self.flusher.raise();
    }

    /// Notes at this home that a connection came or left.
    pub(super) fn note_presence(&self, topic: &str, user: &str, enters: bool) {
        let mut attendance = self.attendance.borrow_mut();
        if enters {
            let since_ms = self.clock.wall_ms();
            let change = attendance.presence.enter(topic, user, since_ms);
            attendance.untold.extend(change);
            drop(attendance);
            self.tell_presence();
        } else {
            let grace = self.config.namespace(topic).presence_grace;
            let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            let leaves_ms = self.clock.now_ms().saturating_add(grace_ms);
            attendance.presence.exit(topic, user, leaves_ms);
        }
    }

    /// Tells who has left, and what could not be told before. Called by the ticker.
    pub fn sweep_presence(&self) {
        let mut attendance = self.attendance.borrow_mut();
        let left = attendance.presence.take_left(self.clock.now_ms());
        attendance.untold.extend(left);
        drop(attendance);
        self.tell_presence();
    }

    /// Tells what can be told; what has no room in its topic waits, and does not
    /// keep other topics waiting.
    fn tell_presence(&self) {
        let mut untold = std::mem::take(&mut self.attendance.borrow_mut().untold);
        let mut busy: HashSet<Box<str>> = HashSet::default();
        untold.retain(|change| {
            if busy.contains(&change.topic) {
                return true;
            }
            let mut data = format!(
                r#"{{"action":"{}","users":{},"user":"#,
                if change.joined { "join" } else { "leave" },
                change.users
            )
            .into_bytes();
            put_string(&mut data, &change.user);
            data.push(b'}');
            let post = Post {
                kind: Kind::Presence,
                ..Post::event(&change.topic, &data)
            };
            let is_busy = self.publish_here(&post, None) == Outcome::Busy;
            if is_busy {
                busy.insert(change.topic.clone());
            }
            is_busy
        });
        let surplus = untold.len().saturating_sub(UNTOLD_MAX);
        untold.drain(..surplus);
        self.counters.messages_dropped.add(surplus as u64);
        let mut attendance = self.attendance.borrow_mut();
        untold.extend(std::mem::take(&mut attendance.untold));
        attendance.untold = untold;
    }

    /// Answers a peer's question who is in `topic`: `limit` users behind `after`
    /// in the order of their names. Returns whether there was room to ask.
    pub fn answer_roster(
        &self,
        peer: PeerId,
        id: Option<&str>,
        topic: &str,
        after: &str,
        limit: usize,
    ) -> bool {
        {
            // What homes are asked for one peer at a time is limited.
            let mut links = self.links.borrow_mut();
            match links.get_mut(peer) {
                Some(link) if link.confirmations < CONFIRMATIONS_MAX => link.confirmations += 1,
                _ => return false,
            }
        }
        let id = id.map(str::to_owned);
        let (name, after) = (topic.to_owned(), after.to_owned());
        let was_asked = self.ask_home_then(
            topic,
            move |home| home.roster(&name, &after, limit.min(ROSTER_USERS_MAX)),
            move |shard, roster| {
                shard.note_answer(peer);
                shard.send_text(peer, Priority::High, |out, timestamp| {
                    Writer::new(out, timestamp).response(id.as_deref(), |out| {
                        out.extend_from_slice(&roster);
                    });
                });
            },
        );
        if !was_asked {
            self.note_answer(peer);
        }
        was_asked
    }

    /// One question less that homes have not answered.
    fn note_answer(&self, peer: PeerId) {
        if let Some(link) = self.links.borrow_mut().get_mut(peer) {
            link.confirmations -= 1;
        }
    }

    /// Who is in a topic that is at home here, as JSON.
    fn roster(&self, topic: &str, after: &str, limit: usize) -> Vec<u8> {
        let attendance = self.attendance.borrow();
        let (count, connections) = attendance.presence.count(topic);
        let mut out =
            format!(r#"{{"event":"{topic}","count":{count},"connections":{connections},"users":["#)
                .into_bytes();
        let mut users = attendance.presence.users(topic, after);
        for (index, attendee) in users.by_ref().take(limit).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"user":"#);
            put_string(&mut out, attendee.user);
            let since = super::clock::timestamp_of(attendee.since_ms);
            out.extend_from_slice(
                format!(r#","connections":{},"since":""#, attendee.connections).as_bytes(),
            );
            out.extend_from_slice(&since);
            out.extend_from_slice(br#""}"#);
        }
        let more = users.next().is_some();
        out.extend_from_slice(format!(r#"],"more":{more}}}"#).as_bytes());
        out
    }
}
