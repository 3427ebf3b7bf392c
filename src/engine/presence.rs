//! The rosters of the topics whose home is this shard.
//!
//! A user is present while it has a connection, and for a grace period after, so that a quick reconnect is not
//! published. It may have data: a JSON text, the newest that any of its connections gave.

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
    /// Bytes in the data of all users.
    data_held: usize,
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
    /// A JSON text; empty: none.
    data: Box<str>,
}

/// What a session reports of its user.
#[derive(Clone, Copy, Debug)]
pub enum Attending<B> {
    /// A connection came, with this data of the user; empty: it gives none.
    Enters(B),
    /// The user has this data from now on; empty: none.
    Updates(B),
    /// A connection left.
    Exits,
}

impl<B> Attending<B> {
    /// As [`Request::map`](super::Request::map).
    pub(super) fn map<C>(self, refer: impl FnOnce(B) -> C) -> Attending<C> {
        match self {
            Self::Enters(data) => Attending::Enters(refer(data)),
            Self::Updates(data) => Attending::Updates(refer(data)),
            Self::Exits => Attending::Exits,
        }
    }
}

/// What a presence message tells of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PresenceAction {
    /// It joined.
    Join,
    /// It is present and has other data.
    Update,
    /// It left.
    Leave,
}

/// A user joined, left or has other data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The topic.
    pub topic: Box<str>,
    /// The user.
    pub user: Box<str>,
    /// What it did.
    pub action: PresenceAction,
    /// Users after the change.
    pub users: usize,
    /// The user's data after a join or an update: a JSON text; empty: none.
    pub data: Box<str>,
}

impl Change {
    /// The data of the presence message.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let action = match self.action {
            PresenceAction::Join => "join",
            PresenceAction::Update => "update",
            PresenceAction::Leave => "leave",
        };
        let users = self.users;
        let mut json = format!(r#"{{"action":"{action}","users":{users},"user":"#).into_bytes();
        put_string(&mut json, &self.user);
        put_data(&mut json, &self.data);
        json.push(b'}');
        json
    }
}

/// Appends the field `data` of a user, if it has some.
fn put_data(out: &mut Vec<u8>, data: &str) {
    if !data.is_empty() {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data.as_bytes());
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
            out.push(b'"');
            put_data(out, &attendee.data);
            out.push(b'}');
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
    /// Its data: a JSON text; empty: none.
    pub data: Box<str>,
}

/// Users in one answer: the limit and the default.
pub const ROSTER_USERS_MAX: usize = 1000;

/// Bytes of data in one answer, at which it ends: more users follow.
const ROSTER_DATA_MAX: usize = 256 * 1024;

/// Bytes in the data of one user. Callers of [`Turn::enter`](super::Turn::enter) and
/// [`Turn::update_presence`](super::Turn::update_presence) refuse more.
pub const PRESENCE_DATA_MAX: usize = 4096;

/// Bytes in the data of all users at one home. Beyond it new data is not kept.
pub(super) const PRESENCE_MEMORY_MAX: usize = 64 * 1024 * 1024;

impl Presence {
    /// Whether there is memory for the data of one more user.
    #[must_use]
    pub(super) fn has_room_for_data(&self) -> bool {
        self.data_held + PRESENCE_DATA_MAX <= PRESENCE_MEMORY_MAX
    }

    /// A connection of `user` came to `topic`, at `since_ms` of the wall clock. Returns a change if it is its first, or
    /// if it brings other data.
    pub(super) fn enter(
        &mut self,
        topic: &str,
        user: &str,
        data: &str,
        since_ms: u64,
    ) -> Option<Change> {
        self.data_held += data.len();
        let roster = match self.topics.get_mut(topic) {
            Some(roster) => roster,
            None => self.topics.entry(topic.into()).or_default(),
        };
        roster.connections += 1;
        if let Some(present) = roster.users.get_mut(user) {
            present.connections += 1;
            present.leaves_ms = None;
            if data.is_empty() || *present.data == *data {
                self.data_held -= data.len();
                return None;
            }
            self.data_held -= present.data.len();
            present.data = data.into();
            return Some(roster.change((topic, user), PresenceAction::Update, data));
        }
        let present = PresentUser {
            connections: 1,
            since_ms,
            leaves_ms: None,
            is_listed: false,
            data: data.into(),
        };
        roster.users.insert(user.into(), present);
        Some(roster.change((topic, user), PresenceAction::Join, data))
    }

    /// `user` has this data from now on. Returns the change, also if it had the same before; `None` if it is not
    /// present.
    pub(super) fn update(&mut self, topic: &str, user: &str, data: &str) -> Option<Change> {
        let roster = self.topics.get_mut(topic)?;
        let present = roster.users.get_mut(user)?;
        self.data_held = self.data_held + data.len() - present.data.len();
        present.data = data.into();
        Some(roster.change((topic, user), PresenceAction::Update, data))
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
            self.data_held -= present.data.len();
            roster.users.remove(&user);
            left.push(roster.change((&topic, &user), PresenceAction::Leave, ""));
            if roster.users.is_empty() {
                self.topics.remove(&topic);
            }
        }
        left
    }

    /// Up to `limit` users in `topic` that sort after `after`; fewer if they have much data.
    ///
    /// Cost: one step and one copy for each of them.
    #[must_use]
    pub(super) fn roster(&self, topic: &str, after: &str, limit: usize) -> Roster {
        let Some(room) = self.topics.get(topic) else {
            return Roster::default();
        };
        let from = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let mut behind = room.users.range::<str, _>(from).peekable();
        let (mut users, mut bytes) = (Vec::new(), 0);
        while users.len() < limit
            && bytes < ROSTER_DATA_MAX
            && let Some((user, present)) = behind.next()
        {
            bytes += present.data.len();
            users.push(Attendee {
                user: user.clone(),
                connections: present.connections,
                since_ms: present.since_ms,
                data: present.data.clone(),
            });
        }
        Roster {
            sequence: 0,
            count: room.users.len(),
            connections: room.connections,
            users,
            more: behind.peek().is_some(),
        }
    }
}

impl TopicUsers {
    fn change(&self, (topic, user): (&str, &str), action: PresenceAction, data: &str) -> Change {
        Change {
            topic: topic.into(),
            user: user.into(),
            action,
            users: self.users.len(),
            data: data.into(),
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
        let joined = presence.enter("t", "ann", "", 5).unwrap();
        assert_eq!((joined.action, joined.users), (PresenceAction::Join, 1));
        assert_eq!(presence.enter("t", "ann", "", 6), None);
        assert_eq!(presence.enter("t", "bob", "", 7).unwrap().users, 2);
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
        assert_eq!((left.len(), left[0].users), (1, 1));
        assert_eq!(left[0].action, PresenceAction::Leave);
    }

    #[test]
    fn the_newest_data_of_a_user_counts_whatever_connection_gave_it() {
        let mut presence = Presence::default();
        let text = |change: Option<Change>| {
            change.map(|change| String::from_utf8(change.to_json()).unwrap())
        };
        let check = |change: Option<Change>, expected: Option<&str>| {
            assert_eq!(text(change).as_deref(), expected);
        };
        check(presence.update("t", "ann", "1"), None);
        check(
            presence.enter("t", "ann", r#"{"a":1}"#, 5),
            Some(r#"{"action":"join","users":1,"user":"ann","data":{"a":1}}"#),
        );
        // A connection that gives none, or the same, changes nothing.
        check(presence.enter("t", "ann", "", 6), None);
        check(presence.enter("t", "ann", r#"{"a":1}"#, 6), None);
        check(
            presence.enter("t", "ann", "[2]", 6),
            Some(r#"{"action":"update","users":1,"user":"ann","data":[2]}"#),
        );
        check(
            presence.update("t", "ann", "\"x\""),
            Some(r#"{"action":"update","users":1,"user":"ann","data":"x"}"#),
        );
        check(presence.update("t", "bob", "1"), None);
        let mut fields = Vec::new();
        presence.roster("t", "", 9).put_fields(&mut fields, "t");
        let fields = String::from_utf8(fields).unwrap();
        assert!(
            fields.contains(r#"Z","data":"x"}],"more":false"#),
            "{fields}"
        );
        check(
            presence.update("t", "ann", ""),
            Some(r#"{"action":"update","users":1,"user":"ann"}"#),
        );
        assert_eq!(presence.data_held, 0);
        let _ = presence.update("t", "ann", "true");
        assert_eq!(presence.data_held, 4);
        for _ in 0..4 {
            presence.exit("t", "ann", 10);
        }
        // It is present for the grace period.
        assert!(presence.update("t", "ann", "false").is_some());
        let left = presence.take_left(10);
        assert_eq!(
            left[0].to_json(),
            br#"{"action":"leave","users":0,"user":"ann"}"#
        );
        assert_eq!(presence.data_held, 0);
    }

    #[test]
    fn an_answer_ends_early_where_users_have_much_data() {
        let mut presence = Presence::default();
        let data = "1".repeat(PRESENCE_DATA_MAX);
        for user in 0..100 {
            let _ = presence.enter("t", &format!("u{user:03}"), &data, 0);
        }
        let roster = presence.roster("t", "", 1000);
        assert_eq!((roster.users.len(), roster.more), (64, true));
        let rest = presence.roster("t", "u063", 1000);
        assert_eq!((rest.users.len(), rest.more), (36, false));
        assert_eq!(presence.data_held, 100 * PRESENCE_DATA_MAX);
    }

    #[test]
    fn a_quick_reconnect_is_no_news() {
        let mut presence = Presence::default();
        let _ = presence.enter("t", "ann", "", 0);
        presence.exit("t", "ann", 50);
        assert_eq!(presence.enter("t", "ann", "", 40), None);
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
                let is_there = change.action != PresenceAction::Leave;
                let was_there = std::mem::replace(&mut told[index], is_there);
                assert_eq!(was_there, change.action != PresenceAction::Join);
            };
            for (now_ms, (user, enters)) in (0u64..).zip(steps) {
                if enters {
                    open[user] += 1;
                    let data = ["", "1", "22"][now_ms as usize % 3];
                    presence.enter("t", users[user], data, now_ms).iter().for_each(&mut note);
                } else if open[user] > 0 {
                    open[user] -= 1;
                    presence.exit("t", users[user], now_ms + 3);
                }
                presence.take_left(now_ms).iter().for_each(&mut note);
                let data = presence.roster("t", "", 9).users;
                let held = data.iter().map(|one| one.data.len()).sum::<usize>();
                prop_assert_eq!(presence.data_held, held);
                prop_assert_eq!(presence.roster("t", "", 0).connections, open.iter().sum::<usize>());
            }
            for (user, open) in users.iter().zip(open) {
                for _ in 0..open {
                    presence.exit("t", user, 1000);
                }
            }
            presence.take_left(1000).iter().for_each(&mut note);
            prop_assert!(told.iter().all(|told| !told));
            prop_assert!(presence.topics.is_empty() && presence.data_held == 0);
        }
    }
}
