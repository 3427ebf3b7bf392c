//! The rosters of the topics whose home is this shard.
//!
//! A user is present while it has a connection, and for a grace period after, so that a quick reconnect is not
//! published.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::collections::HashMap;
use crate::json::put_string;
use crate::timestamp::timestamp_of;

/// The rosters of a home.
#[derive(Debug, Default)]
pub(super) struct Presence {
    topics: HashMap<Box<str>, TopicUsers>,
    /// Users without connections, by the time their grace period ends.
    leaving: BinaryHeap<Reverse<Departure>>,
}

/// When a grace period ends, the topic, and the user.
type Departure = (u64, Box<str>, Box<str>);

/// The users in one topic, by name.
#[derive(Debug, Default)]
struct TopicUsers {
    users: BTreeMap<Box<str>, PresentUser>,
    connections: usize,
}

#[derive(Debug)]
struct PresentUser {
    connections: u32,
    since_ms: u64,
    /// When its grace period ends; `None` while it has connections.
    leaves_ms: Option<u64>,
    /// Whether `leaving` has an entry for it; it has one at most.
    is_listed: bool,
}

/// A user joined or left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The topic.
    pub topic: Box<str>,
    /// The user.
    pub user: Box<str>,
    /// Joined or left.
    pub joined: bool,
    /// Users after the change.
    pub users: usize,
}

impl Change {
    /// The data of the presence message.
    pub(super) fn data(&self) -> Vec<u8> {
        let action = if self.joined { "join" } else { "leave" };
        let users = self.users;
        let mut data = format!(r#"{{"action":"{action}","users":{users},"user":"#).into_bytes();
        put_string(&mut data, &self.user);
        data.push(b'}');
        data
    }
}

/// The users in a topic.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Roster {
    /// The number of the topic's newest presence message. Later ones change this roster; some of them may report
    /// changes that it includes already.
    pub sequence: u64,
    /// Users in all.
    pub count: usize,
    /// Their connections.
    pub connections: usize,
    /// The requested users, sorted by name.
    pub users: Vec<Attendee>,
    /// Whether more users follow.
    pub more: bool,
}

impl Roster {
    /// Appends it as the fields of a JSON object, without braces: that of `topic`.
    pub fn put_fields(&self, out: &mut Vec<u8>, topic: &str) {
        let Self {
            sequence,
            count,
            connections,
            users,
            more,
        } = self;
        out.extend_from_slice(br#""event":"#);
        put_string(out, topic);
        out.extend_from_slice(
            format!(
                r#","presence_seq":{sequence},"count":{count},"connections":{connections},"users":["#
            )
            .as_bytes(),
        );
        for (index, attendee) in users.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"user":"#);
            put_string(out, &attendee.user);
            out.extend_from_slice(
                format!(r#","connections":{},"since":""#, attendee.connections).as_bytes(),
            );
            out.extend_from_slice(&timestamp_of(attendee.since_ms));
            out.extend_from_slice(br#""}"#);
        }
        out.extend_from_slice(format!(r#"],"more":{more}"#).as_bytes());
    }
}

/// One user of a roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attendee {
    /// The user's name.
    pub user: Box<str>,
    /// Its connections; 0 during the grace period.
    pub connections: u32,
    /// When it joined, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// Users in one answer: the limit and the default.
pub const ROSTER_USERS_MAX: usize = 1000;

impl Presence {
    /// A connection of `user` came to `topic`, at `since_ms` of the wall clock. Returns a change if it is its first.
    pub(super) fn enter(&mut self, topic: &str, user: &str, since_ms: u64) -> Option<Change> {
        let roster = match self.topics.get_mut(topic) {
            Some(roster) => roster,
            None => self.topics.entry(topic.into()).or_default(),
        };
        roster.connections += 1;
        if let Some(present) = roster.users.get_mut(user) {
            present.connections += 1;
            present.leaves_ms = None;
            return None;
        }
        let present = PresentUser {
            connections: 1,
            since_ms,
            leaves_ms: None,
            is_listed: false,
        };
        roster.users.insert(user.into(), present);
        Some(Change {
            topic: topic.into(),
            user: user.into(),
            joined: true,
            users: roster.users.len(),
        })
    }

    /// A connection of `user` left `topic`. After its last one the user leaves at `leaves_ms` of the monotonic clock,
    /// unless a connection comes before.
    pub(super) fn exit(&mut self, topic: &str, user: &str, leaves_ms: u64) {
        let Some(roster) = self.topics.get_mut(topic) else {
            return;
        };
        let Some(present) = roster.users.get_mut(user).filter(|p| p.connections > 0) else {
            return;
        };
        roster.connections -= 1;
        present.connections -= 1;
        if present.connections == 0 {
            present.leaves_ms = Some(leaves_ms);
            if !std::mem::replace(&mut present.is_listed, true) {
                let leaving = (leaves_ms, topic.into(), user.into());
                self.leaving.push(Reverse(leaving));
            }
        }
    }

    /// Removes the users whose grace period has ended.
    ///
    /// Cost: a step for each of them.
    pub(super) fn take_left(&mut self, now_ms: u64) -> Vec<Change> {
        let mut left = Vec::new();
        while let Some(Reverse((leaves_ms, _, _))) = self.leaving.peek() {
            if *leaves_ms > now_ms {
                break;
            }
            let Some(Reverse((_, topic, user))) = self.leaving.pop() else {
                break;
            };
            let Some(roster) = self.topics.get_mut(&topic) else {
                continue;
            };
            let Some(present) = roster.users.get_mut(&user) else {
                continue;
            };
            match present.leaves_ms {
                Some(when) if when <= now_ms => {}
                // It has reconnected, and its grace period may have begun again.
                Some(when) => {
                    self.leaving.push(Reverse((when, topic, user)));
                    continue;
                }
                None => {
                    present.is_listed = false;
                    continue;
                }
            }
            roster.users.remove(&user);
            let users = roster.users.len();
            if users == 0 {
                self.topics.remove(&topic);
            }
            left.push(Change {
                topic,
                user,
                joined: false,
                users,
            });
        }
        left
    }

    /// Up to `limit` users in `topic` that sort after `after`.
    ///
    /// Cost: one step and one copy for each of them.
    #[must_use]
    pub(super) fn roster(&self, topic: &str, after: &str, limit: usize) -> Roster {
        let Some(room) = self.topics.get(topic) else {
            return Roster::default();
        };
        let from = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let mut behind = room.users.range::<str, _>(from);
        let users = behind.by_ref().take(limit);
        let users = users.map(|(user, present)| Attendee {
            user: user.clone(),
            connections: present.connections,
            since_ms: present.since_ms,
        });
        Roster {
            sequence: 0,
            count: room.users.len(),
            connections: room.connections,
            users: users.collect(),
            more: behind.next().is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(presence: &Presence, topic: &str, after: &str) -> Vec<String> {
        let users = presence.roster(topic, after, 9).users;
        users.into_iter().map(|one| one.user.into()).collect()
    }

    #[test]
    fn a_user_is_there_once_however_many_connections_it_has() {
        let mut presence = Presence::default();
        let joined = presence.enter("t", "ann", 5).unwrap();
        assert_eq!((joined.joined, joined.users), (true, 1));
        assert_eq!(presence.enter("t", "ann", 6), None);
        assert_eq!(presence.enter("t", "bob", 7).unwrap().users, 2);
        let roster = presence.roster("t", "", 1);
        assert_eq!(
            (roster.count, roster.connections, roster.more),
            (2, 3, true)
        );
        assert_eq!(names(&presence, "t", ""), ["ann", "bob"]);
        assert_eq!(names(&presence, "t", "ann"), ["bob"]);
        presence.exit("t", "ann", 10);
        assert!(presence.take_left(100).is_empty());
        presence.exit("t", "ann", 110);
        assert!(presence.take_left(109).is_empty());
        let left = presence.take_left(110);
        assert_eq!((left.len(), left[0].joined, left[0].users), (1, false, 1));
    }

    #[test]
    fn a_quick_reconnect_is_no_news() {
        let mut presence = Presence::default();
        let _ = presence.enter("t", "ann", 0);
        presence.exit("t", "ann", 50);
        assert_eq!(presence.enter("t", "ann", 40), None);
        assert!(presence.take_left(60).is_empty());
        presence.exit("t", "ann", 90);
        assert!(presence.take_left(89).is_empty());
        assert_eq!(presence.take_left(90).len(), 1);
        assert!(presence.topics.is_empty() && presence.leaving.is_empty());
    }

    proptest! {
        /// Whatever the order, joins and leaves of a user alternate, and in the end the topic is empty.
        #[test]
        fn changes_add_up(steps in prop::collection::vec((0usize..4, any::<bool>()), 0..80)) {
            let mut presence = Presence::default();
            let mut open = [0usize; 4];
            let mut told = [false; 4];
            let users = ["a", "b", "c", "d"];
            let mut note = |change: &Change| {
                let index = users.iter().position(|user| *user == &*change.user).unwrap();
                assert_ne!(std::mem::replace(&mut told[index], change.joined), change.joined);
            };
            for (now_ms, (user, enters)) in (0u64..).zip(steps) {
                if enters {
                    open[user] += 1;
                    presence.enter("t", users[user], now_ms).iter().for_each(&mut note);
                } else if open[user] > 0 {
                    open[user] -= 1;
                    presence.exit("t", users[user], now_ms + 3);
                }
                presence.take_left(now_ms).iter().for_each(&mut note);
                prop_assert_eq!(presence.roster("t", "", 0).connections, open.iter().sum::<usize>());
            }
            for (user, open) in users.iter().zip(open) {
                for _ in 0..open {
                    presence.exit("t", user, 1000);
                }
            }
            presence.take_left(1000).iter().for_each(&mut note);
            prop_assert!(told.iter().all(|told| !told));
            prop_assert!(presence.topics.is_empty());
        }
    }
}
