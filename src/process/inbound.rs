//! The room that groups of applications have for what clients say, shared by all shards: taken where a client speaks,
//! given back where an application acknowledges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::config::{Backend, BackendFull};
use crate::inbound::{Held, Kinds, OBJECT_OVERHEAD, ObjectKind};

/// The rooms of all groups.
#[derive(Debug)]
pub struct InboundRooms {
    /// Whether applications may attach.
    pub is_enabled: bool,
    /// By group.
    rooms: Box<[GroupRoom]>,
    /// Rooms in front of this one have been used.
    used: AtomicUsize,
    /// What one group may hold of messages, and of everything.
    messages_max: Held,
    all_max: Held,
    /// Messages beyond the limit are taken, and the oldest ones give way.
    drops_oldest: bool,
    members: AtomicUsize,
    members_max: usize,
}

/// What clients may say in one turn beyond the limit, where the oldest messages give way. Beyond that they are refused.
const GIVING_WAY_MAX: Held = Held {
    objects: 65_536,
    bytes: 64 * 1024 * 1024,
};

/// The room of one group.
#[derive(Default, Debug)]
struct GroupRoom {
    /// The kinds that its members get; none while it is closed.
    kinds: AtomicU8,
    objects: AtomicUsize,
    bytes: AtomicUsize,
    /// What was not kept besides messages, whose clients are told.
    lost: AtomicU64,
}

/// Why an object is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTaken {
    /// No application is there, nor has been for a while, or none asks for this kind.
    NoApplication,
    /// A group has no room.
    Full,
}

/// A member's place. Dropping it frees it.
#[derive(Debug)]
pub struct MemberSlot(Arc<InboundRooms>);

impl InboundRooms {
    /// The rooms that the configuration allows. The first group is there from the start: what clients say waits for it.
    #[must_use]
    pub fn new(config: &Backend) -> Arc<Self> {
        let all_max = Held {
            objects: config.max_pending,
            bytes: config.max_pending_size,
        };
        let rooms = match config.enabled {
            true => config.max_groups,
            false => 0,
        };
        let rooms: Box<[GroupRoom]> = (0..rooms).map(|_| GroupRoom::default()).collect();
        if let Some(first) = rooms.first() {
            first.kinds.store(Kinds::ALL.bits(), Ordering::Relaxed);
        }
        Arc::new(Self {
            is_enabled: config.enabled,
            used: AtomicUsize::new(rooms.len().min(1)),
            rooms,
            // The rest is for connections that come and go.
            messages_max: Held {
                objects: all_max.objects / 10 * 9,
                bytes: all_max.bytes / 10 * 9,
            },
            all_max,
            drops_oldest: config.full == BackendFull::DropOldest,
            members: AtomicUsize::new(0),
            members_max: config.max_members,
        })
    }

    /// How many rooms there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// What one group may hold of messages.
    #[must_use]
    pub fn messages_max(&self) -> Held {
        self.messages_max
    }

    /// Whether messages beyond the limit are taken, and the oldest ones give way.
    #[must_use]
    pub fn drops_oldest(&self) -> bool {
        self.drops_oldest
    }

    /// Takes room for an object with `body_bytes` in each group that wants it. Returns these groups, a bit each; none
    /// where the object is of no use.
    ///
    /// Cost: two atomic additions for each group.
    ///
    /// # Errors
    /// No group wants it, or one has no room; then room is taken in none. The end of a connection is always taken.
    pub fn take(&self, kind: ObjectKind, body_bytes: usize) -> Result<u64, NotTaken> {
        let bytes = body_bytes + OBJECT_OVERHEAD;
        let max = match kind {
            ObjectKind::Disconnect | ObjectKind::Connect => Held {
                objects: usize::MAX,
                bytes: usize::MAX,
            },
            // Those that give way are removed where the group is, once in a turn.
            _ if self.drops_oldest => Held {
                objects: self.all_max.objects + GIVING_WAY_MAX.objects,
                bytes: self.all_max.bytes + GIVING_WAY_MAX.bytes,
            },
            _ => self.messages_max,
        };
        let mut groups = 0;
        for (index, room) in self.in_use() {
            let kinds = Kinds::from_bits(room.kinds.load(Ordering::Relaxed));
            // With the end of a connection groups forget it, whatever their members get.
            let is_end = kind == ObjectKind::Disconnect && kinds != Kinds::NONE;
            if !kinds.has(kind) && !is_end {
                let is_missed = kinds == Kinds::NONE && kind != ObjectKind::Message;
                room.lost.fetch_add(u64::from(is_missed), Ordering::Relaxed);
                continue;
            }
            let objects = room.objects.fetch_add(1, Ordering::Relaxed);
            let held = room.bytes.fetch_add(bytes, Ordering::Relaxed);
            groups |= 1 << index;
            if objects >= max.objects || held.saturating_add(bytes) > max.bytes {
                self.give(groups, Held { objects: 1, bytes });
                if kind != ObjectKind::Message {
                    self.note_lost();
                }
                return Err(NotTaken::Full);
            }
        }
        match groups {
            0 => Err(NotTaken::NoApplication),
            groups => Ok(groups),
        }
    }

    /// Whether each group has room for one more connection, which is told when it begins and when it ends.
    ///
    /// Cost: three loads for each group.
    #[must_use]
    pub fn has_room_for_connection(&self) -> bool {
        self.in_use().all(|(_, room)| {
            room.kinds.load(Ordering::Relaxed) == 0
                || room.objects.load(Ordering::Relaxed) < self.all_max.objects
                    && room.bytes.load(Ordering::Relaxed) < self.all_max.bytes
        })
    }

    /// Whether what clients say is wanted by somebody.
    #[must_use]
    pub fn has_application(&self) -> bool {
        let wants = |room: &GroupRoom| {
            let kinds = Kinds::from_bits(room.kinds.load(Ordering::Relaxed));
            kinds.has(ObjectKind::Message)
        };
        self.in_use().any(|(_, room)| wants(room))
    }

    /// Whether applications have acknowledged everything, or none is attached by a link.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_empty = |room: &GroupRoom| room.objects.load(Ordering::Relaxed) == 0;
        self.members.load(Ordering::Relaxed) == 0 || self.in_use().all(|(_, room)| is_empty(room))
    }

    /// Gives room back in each of `groups`.
    pub fn give(&self, groups: u64, held: Held) {
        for (index, room) in self.in_use() {
            if groups & 1 << index != 0 {
                room.objects.fetch_sub(held.objects, Ordering::Relaxed);
                room.bytes.fetch_sub(held.bytes, Ordering::Relaxed);
            }
        }
    }

    /// Counts something that is not kept and that no client is told of.
    fn note_lost(&self) {
        for (_, room) in self.in_use() {
            room.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many objects were not kept since the last call.
    #[must_use]
    pub fn take_lost(&self, group: usize) -> u64 {
        self.rooms[group].lost.swap(0, Ordering::Relaxed)
    }

    /// Sets the kinds that a group wants; none closes it.
    pub fn set_kinds(&self, group: usize, kinds: Kinds) {
        self.used.fetch_max(group + 1, Ordering::Relaxed);
        self.rooms[group]
            .kinds
            .store(kinds.bits(), Ordering::Relaxed);
    }

    /// Takes a place for a member; `None` if all are taken.
    #[must_use]
    pub fn take_member_slot(self: &Arc<Self>) -> Option<MemberSlot> {
        let taken = self
            .members
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < self.members_max).then_some(open + 1)
            });
        taken.is_ok().then(|| MemberSlot(self.clone()))
    }

    fn in_use(&self) -> impl Iterator<Item = (usize, &GroupRoom)> {
        let used = self.used.load(Ordering::Relaxed);
        self.rooms[..used].iter().enumerate()
    }
}

impl Drop for MemberSlot {
    fn drop(&mut self) {
        self.0.members.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    fn rooms(change: impl FnOnce(&mut Backend)) -> Arc<InboundRooms> {
        let mut config = Backend {
            enabled: true,
            max_pending: 100,
            ..crate::config::Config::for_mode(Mode::Demo).backend
        };
        change(&mut config);
        InboundRooms::new(&config)
    }

    #[test]
    fn a_tenth_of_the_room_is_for_connections_that_come_and_go() {
        let rooms = rooms(|_| {});
        for _ in 0..90 {
            assert_eq!(rooms.take(ObjectKind::Message, 10), Ok(1));
        }
        assert_eq!(rooms.take(ObjectKind::Message, 10), Err(NotTaken::Full));
        assert_eq!(rooms.take(ObjectKind::Subscribe, 10), Err(NotTaken::Full));
        assert_eq!(rooms.take_lost(0), 1, "the subscription");
        for _ in 0..10 {
            assert!(rooms.has_room_for_connection());
            assert_eq!(rooms.take(ObjectKind::Connect, 10), Ok(1));
        }
        assert!(!rooms.has_room_for_connection());
        assert_eq!(rooms.take(ObjectKind::Disconnect, 10), Ok(1));
        let held = Held {
            objects: 101,
            bytes: 101 * (10 + OBJECT_OVERHEAD),
        };
        rooms.give(1, held);
        assert_eq!(rooms.take(ObjectKind::Message, 10), Ok(1));
    }

    #[test]
    fn bytes_are_a_limit_too_and_what_is_refused_takes_nothing() {
        let rooms = rooms(|config| config.max_pending_size = 1 << 20);
        let max = rooms.messages_max().bytes;
        assert_eq!(rooms.take(ObjectKind::Message, max), Err(NotTaken::Full));
        let body = max - OBJECT_OVERHEAD;
        assert_eq!(rooms.take(ObjectKind::Message, body), Ok(1));
        assert_eq!(rooms.take(ObjectKind::Message, 1), Err(NotTaken::Full));
    }

    #[test]
    fn every_group_that_wants_it_has_room_or_none_takes_it() {
        let rooms = rooms(|_| {});
        rooms.set_kinds(2, Kinds::read("message").unwrap());
        assert_eq!(rooms.take(ObjectKind::Message, 1), Ok(0b101));
        assert_eq!(rooms.take(ObjectKind::Connect, 1), Ok(0b001));
        rooms.set_kinds(0, Kinds::NONE);
        assert_eq!(
            rooms.take(ObjectKind::Connect, 1),
            Err(NotTaken::NoApplication)
        );
        for _ in 1..90 {
            assert_eq!(rooms.take(ObjectKind::Message, 1), Ok(0b100));
        }
        rooms.set_kinds(0, Kinds::ALL);
        assert_eq!(rooms.take(ObjectKind::Message, 1), Err(NotTaken::Full));
        rooms.set_kinds(2, Kinds::NONE);
        // The first one has the object from the beginning and the connection.
        for _ in 2..90 {
            assert_eq!(rooms.take(ObjectKind::Message, 1), Ok(0b001));
        }
        assert_eq!(rooms.take(ObjectKind::Message, 1), Err(NotTaken::Full));
    }

    #[test]
    fn members_have_a_limit_and_give_their_places_back() {
        let rooms = rooms(|config| config.max_members = 1);
        let first = rooms.take_member_slot();
        assert!(first.is_some() && rooms.take_member_slot().is_none());
        drop(first);
        assert!(rooms.take_member_slot().is_some());
    }
}
