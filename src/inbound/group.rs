//! A group of an application's members: every object of a client goes to one of them, in order, until it is
//! acknowledged.
//!
//! New objects enter one queue, and move from its head to the member that has their client, or, for a client that no
//! member has, to the one with the fewest clients. A member that leaves gives what it has not acknowledged back to the
//! front of that queue. So the objects of a client are never in two places out of order.

use std::collections::VecDeque;

use super::OBJECT_OVERHEAD;
use super::dead_letters::{DeadLetter, DeadLetters};
use super::kind::{Kinds, ObjectKind};
use super::member::{AckError, Member, MemberLimits};
use super::object::{Object, put_decimal};
use super::queue::{Pending, Queue};
use crate::collections::HashMap;
use crate::id::AnyPeer;

/// The limits of a group.
#[derive(Clone, Copy, Debug)]
pub struct GroupLimits {
    /// How often an object is sent before it is a dead letter.
    pub deliveries_max: u32,
    /// How long objects wait for a member, in milliseconds.
    pub linger_ms: u64,
    /// How long a member may take to acknowledge, in milliseconds.
    pub ack_timeout_ms: u64,
    /// Messages that clients may be answered by, the newest.
    pub asked_max: usize,
    /// Dead letters that are kept, and their bytes.
    pub dead_letters_max: (usize, usize),
}

/// Objects and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Held {
    /// How many.
    pub objects: usize,
    /// Their bytes, with [`OBJECT_OVERHEAD`] for each.
    pub bytes: usize,
}

/// A member of a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MemberId(pub u64);

/// What a group has, for listings and gauges.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct GroupState {
    /// Members.
    pub members: usize,
    /// What nobody has acknowledged.
    pub held: Held,
    /// The age of the oldest of it that was not sent, or else of the oldest that was, in milliseconds.
    pub lag_ms: u64,
    /// Dead letters that are kept.
    pub dead_letters: usize,
    /// Dead letters that there have been.
    pub dead_letters_total: u64,
}

/// A group.
#[derive(Debug)]
pub struct Group {
    limits: GroupLimits,
    next_n: u64,
    /// Objects that no member has.
    inlet: Queue,
    /// Messages in `inlet` that have given way; the next member is told.
    lost: u64,
    members: HashMap<MemberId, Member>,
    /// The member that has a client. Clients that have left are not in it.
    clients: HashMap<AnyPeer, MemberId>,
    /// Messages with an `id`, by number.
    asked: VecDeque<Asked>,
    dead: DeadLetters,
    /// What nobody has acknowledged.
    held: Held,
    /// What was held and is not any more, since it was last asked for.
    released: Held,
    /// Since when it has no member, in milliseconds since the process began.
    vacant_since_ms: Option<u64>,
    /// What has happened since it was last asked for.
    counts: GroupCounts,
}

/// What has happened in a group, for its counters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct GroupCounts {
    /// Objects sent.
    pub sent: u64,
    /// Those of them that had been sent before.
    pub redelivered: u64,
    /// Objects that became dead letters.
    pub dead: u64,
    /// Objects that gave way, or waited too long.
    pub dropped: u64,
}

/// Bytes of the `id` of a message that can be answered: so many messages are remembered, whatever is acknowledged.
/// Two of them are its quotes.
const ID_BYTES_MAX: usize = 258;

/// A message with an `id`.
#[derive(Debug)]
struct Asked {
    n: u64,
    connection: AnyPeer,
    id: Box<str>,
}

impl Group {
    /// A group without members.
    #[must_use]
    pub fn new(limits: GroupLimits, now_ms: u64) -> Self {
        Self {
            limits,
            next_n: 1,
            inlet: Queue::default(),
            lost: 0,
            members: HashMap::default(),
            clients: HashMap::default(),
            asked: VecDeque::new(),
            dead: DeadLetters::default(),
            held: Held::default(),
            released: Held::default(),
            vacant_since_ms: Some(now_ms),
            counts: GroupCounts::default(),
        }
    }

    /// Takes an object.
    ///
    /// Cost: amortized constant.
    pub fn take(&mut self, object: Object) {
        let n = self.next_n;
        self.next_n += 1;
        if object.kind == ObjectKind::Message && (1..=ID_BYTES_MAX).contains(&object.id.len()) {
            if self.asked.len() >= self.limits.asked_max {
                self.asked.pop_front();
            }
            self.asked.push_back(Asked {
                n,
                connection: object.connection,
                id: object.id,
            });
        }
        self.held.objects += 1;
        self.held.bytes += object.body.len() + OBJECT_OVERHEAD;
        self.inlet.push_back(Pending {
            n,
            connection: Some(object.connection),
            kind: object.kind,
            deliveries: 0,
            time_ms: object.time_ms,
            body: object.body,
        });
    }

    /// Removes the oldest messages that were not sent, until no more than `max` are held. Returns how many it removed.
    pub fn evict(&mut self, max: Held) -> u64 {
        let mut count = 0;
        while self.held.objects > max.objects || self.held.bytes > max.bytes {
            // What no member has is the newest there is.
            let longest = self.members.values_mut();
            let longest = longest.max_by_key(|member| member.waiting.len());
            let evict = |member: &mut Member| {
                let body = member.waiting.evict()?;
                member.lost += 1;
                Some(body)
            };
            let from_member = longest.and_then(evict);
            // The longest queue may have none that may go.
            let from_member = from_member.or_else(|| self.members.values_mut().find_map(evict));
            let body = from_member.or_else(|| {
                let body = self.inlet.evict()?;
                self.lost += 1;
                Some(body)
            });
            let Some(body) = body else { break };
            self.release(body.len());
            count += 1;
        }
        self.counts.dropped += count;
        count
    }

    /// Counts objects that were not kept, of which the next member is told.
    pub fn note_lost(&mut self, lost: u64) {
        self.lost += lost;
    }

    /// Adds a member, or changes the limits of one.
    pub fn attach(&mut self, member: MemberId, limits: MemberLimits, now_ms: u64) {
        self.vacant_since_ms = None;
        let known = self.members.entry(member);
        let known = known.or_insert_with(|| Member::new(limits, now_ms));
        known.limits = limits;
    }

    /// Removes a member. What it has not acknowledged goes to others, or waits for one. Returns whether it was here.
    ///
    /// Cost: a look at each of the group's clients.
    pub fn detach(&mut self, member: MemberId, now_ms: u64) -> bool {
        let is_here = self.take_back(member);
        if is_here {
            let left = self.members.remove(&member);
            self.lost += left.map_or(0, |member| member.lost);
            if self.members.is_empty() {
                self.vacant_since_ms = Some(now_ms);
            }
        }
        is_here
    }

    /// Gives a member's objects and clients back.
    fn take_back(&mut self, id: MemberId) -> bool {
        let Some(member) = self.members.get_mut(&id) else {
            return false;
        };
        let mut dead = Vec::new();
        for object in member.take_all() {
            if object.kind == ObjectKind::Gap {
                self.lost += lost_of(&object);
            } else if object.deliveries >= self.limits.deliveries_max {
                dead.push(object);
            } else {
                self.inlet.push_front(object);
            }
        }
        member.clients = 0;
        self.clients.retain(|_, owner| *owner != id);
        for object in dead.into_iter().rev() {
            self.release(object.body.len());
            self.counts.dead += 1;
            self.dead.push(object, self.limits.dead_letters_max);
        }
        true
    }

    /// Notes that a member has acknowledged all objects up to `seq`. Returns how many that were.
    ///
    /// # Errors
    /// It has not been sent so many.
    pub fn acknowledge(
        &mut self,
        member: MemberId,
        seq: u64,
        now_ms: u64,
    ) -> Result<usize, AckError> {
        let Some(member) = self.members.get_mut(&member) else {
            return Ok(0);
        };
        let mut count = 0;
        let mut freed = Held::default();
        for object in member.acknowledge(seq, now_ms)? {
            count += 1;
            if object.kind != ObjectKind::Gap {
                freed.objects += 1;
                freed.bytes += object.body.len() + OBJECT_OVERHEAD;
            }
        }
        self.release_all(freed);
        Ok(count)
    }

    /// Lets a member have `more` objects unacknowledged, up to `max`.
    pub fn add_credit(&mut self, member: MemberId, more: u32, max: u32) {
        if let Some(member) = self.members.get_mut(&member) {
            let credit = member.limits.credit.saturating_add(more);
            member.limits.credit = credit.min(max);
        }
    }

    /// Moves objects to the members that get them.
    ///
    /// Cost: a lookup for each object that moves; for a new client a look at each member.
    pub fn distribute(&mut self) {
        while let Some(next) = self.inlet.front() {
            let (connection, kind) = (next.connection, next.kind);
            let Some(id) = self.member_for(connection) else {
                return;
            };
            let object = self.inlet.pop_front().expect("it was looked at");
            let member = self.members.get_mut(&id).expect("it was found");
            if let Some(connection) = connection {
                if kind == ObjectKind::Disconnect {
                    // Nothing follows.
                    member.clients -= usize::from(self.clients.remove(&connection).is_some());
                } else if self.clients.insert(connection, id).is_none() {
                    member.clients += 1;
                }
            }
            if member.limits.kinds.has(kind) {
                member.waiting.push_back(object);
                continue;
            }
            if kind == ObjectKind::Message {
                // It was taken when the group's members got messages.
                member.lost += 1;
                self.counts.dropped += 1;
            }
            self.release(object.body.len());
        }
    }

    /// The member that gets the next object of a client.
    fn member_for(&self, connection: Option<AnyPeer>) -> Option<MemberId> {
        if let Some(id) = connection.and_then(|it| self.clients.get(&it)) {
            return Some(*id);
        }
        let free = self.members.iter().filter(|(_, member)| member.has_room());
        let fewest = free.min_by_key(|(id, member)| (member.clients, **id));
        fewest.map(|(id, _)| *id)
    }

    /// Whether a member may be sent something.
    pub fn may_send(&mut self, member: MemberId) -> bool {
        let member = self.members.get_mut(&member);
        member.is_some_and(|member| member.may_send(self.lost > 0))
    }

    /// Writes the next objects for a member as a JSON array: `count_max` of them at most, none that begins beyond
    /// `bytes_max` bytes. Returns how many there are; if none, nothing is written.
    ///
    /// Cost: a copy of each.
    pub fn put_batch(
        &mut self,
        member: MemberId,
        (count_max, bytes_max): (usize, usize),
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> usize {
        let Some(member) = self.members.get_mut(&member) else {
            return 0;
        };
        let begin = out.len();
        out.push(b'[');
        let mut count = 0;
        if !member.is_suspended {
            member.lost += std::mem::take(&mut self.lost);
        }
        while count < count_max && out.len() - begin < bytes_max && member.may_send(false) {
            let object = if member.lost > 0 {
                let n = self.next_n;
                self.next_n += 1;
                gap(n, std::mem::take(&mut member.lost), now_ms)
            } else {
                let mut object = member.waiting.pop_front().expect("it may be sent");
                object.deliveries += 1;
                self.counts.redelivered += u64::from(object.deliveries > 1);
                object
            };
            if count > 0 {
                out.push(b',');
            }
            count += 1;
            put_object(out, &object, member.next_seq);
            let _ = member.note_sent(object, now_ms);
        }
        self.counts.sent += count as u64;
        match count {
            0 => out.truncate(begin),
            _ => out.push(b']'),
        }
        count
    }

    /// Takes back the last `count` objects that a member was sent, which did not reach it. They are as if they had not
    /// been sent.
    pub fn take_back_last(&mut self, member: MemberId, count: usize) {
        let Some(member) = self.members.get_mut(&member) else {
            return;
        };
        for _ in 0..count {
            let Some(mut object) = member.sent.pop_back() else {
                return;
            };
            member.next_seq -= 1;
            self.counts.sent = self.counts.sent.saturating_sub(1);
            if object.kind == ObjectKind::Gap {
                member.lost += lost_of(&object);
            } else {
                let was_again = u64::from(object.deliveries > 1);
                self.counts.redelivered = self.counts.redelivered.saturating_sub(was_again);
                object.deliveries -= 1;
                member.waiting.push_front(object);
            }
        }
    }

    /// Suspends members that have not acknowledged in time, and gives their objects to others. Returns whether there
    /// were any.
    ///
    /// Cost: a look at each member.
    pub fn check_members(&mut self, now_ms: u64) -> bool {
        let timeout = self.limits.ack_timeout_ms;
        let is_late = |member: &Member| {
            let waited = now_ms.saturating_sub(member.progress_ms);
            !member.sent.is_empty() && !member.is_suspended && waited >= timeout
        };
        let late = self.members.iter().filter(|(_, member)| is_late(member));
        let late: Vec<MemberId> = late.map(|(id, _)| *id).collect();
        for id in &late {
            self.take_back(*id);
            if let Some(member) = self.members.get_mut(id) {
                member.is_suspended = true;
            }
        }
        !late.is_empty()
    }

    /// Drops what has waited for a member too long. Returns whether it has.
    pub fn check_linger(&mut self, now_ms: u64) -> bool {
        let since = self.vacant_since_ms.unwrap_or(now_ms);
        let is_over =
            self.vacant_since_ms.is_some() && now_ms.saturating_sub(since) >= self.limits.linger_ms;
        if is_over {
            self.drop_waiting();
        }
        is_over
    }

    /// Drops what no member has.
    pub fn drop_waiting(&mut self) {
        while let Some(object) = self.inlet.pop_front() {
            self.lost += 1;
            self.counts.dropped += 1;
            self.release(object.body.len());
        }
    }

    /// The connection of a message with an `id`, and the `id`. `None` if it has none, or is too old.
    #[must_use]
    pub fn asked(&self, n: u64) -> Option<(AnyPeer, &str)> {
        let at = self.asked.binary_search_by_key(&n, |asked| asked.n).ok()?;
        let asked = &self.asked[at];
        Some((asked.connection, &asked.id))
    }

    /// The kinds that any member gets; all if there is none.
    #[must_use]
    pub fn kinds(&self) -> Kinds {
        let members = self.members.values().map(|member| member.limits.kinds);
        members.reduce(Kinds::and).unwrap_or(Kinds::ALL)
    }

    /// Whether a member, one that is here if `known`, may get `kinds`: as all others do.
    #[must_use]
    pub fn may_attach(&self, known: Option<MemberId>, kinds: Kinds) -> bool {
        let mut members = self.members.iter();
        members.all(|(id, member)| Some(*id) == known || member.limits.kinds == kinds)
    }

    /// Gives a member what it has not acknowledged once more, before what is new.
    pub fn send_again(&mut self, member: MemberId) {
        if self.take_back(member)
            && let Some(member) = self.members.get_mut(&member)
        {
            member.is_suspended = false;
        }
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> Vec<MemberId> {
        self.members.keys().copied().collect()
    }

    /// The number that the next object of a member has, and how many it has not acknowledged.
    #[must_use]
    pub fn place_of(&self, member: MemberId) -> Option<(u64, usize)> {
        let member = self.members.get(&member)?;
        Some((member.next_seq, member.sent.len()))
    }

    /// What the group has.
    ///
    /// Cost: a look at each member.
    #[must_use]
    pub fn state(&self, now_ms: u64) -> GroupState {
        let members = self.members.values();
        let sent = members
            .clone()
            .filter_map(|member| Some(member.sent.front()?.time_ms));
        let waiting = members.filter_map(|member| member.waiting.oldest_ms());
        let oldest = sent.chain(waiting).chain(self.inlet.oldest_ms()).min();
        GroupState {
            members: self.members.len(),
            held: self.held,
            lag_ms: oldest.map_or(0, |oldest| now_ms.saturating_sub(oldest)),
            dead_letters: self.dead.len(),
            dead_letters_total: self.dead.total,
        }
    }

    /// The newest dead letters, oldest first.
    pub fn dead_letters(&self, limit: usize) -> impl Iterator<Item = DeadLetter<'_>> {
        self.dead.last(limit)
    }

    /// What was held and is not any more, since the last call.
    pub fn take_released(&mut self) -> Held {
        std::mem::take(&mut self.released)
    }

    /// What has happened since the last call.
    pub fn take_counts(&mut self) -> GroupCounts {
        std::mem::take(&mut self.counts)
    }

    fn release(&mut self, body_bytes: usize) {
        self.release_all(Held {
            objects: 1,
            bytes: body_bytes + OBJECT_OVERHEAD,
        });
    }

    fn release_all(&mut self, freed: Held) {
        self.held.objects -= freed.objects;
        self.held.bytes -= freed.bytes;
        self.released.objects += freed.objects;
        self.released.bytes += freed.bytes;
    }
}

/// An object that tells of lost ones.
fn gap(n: u64, lost: u64, now_ms: u64) -> Pending {
    let mut body = br#""event":"gap","lost":"#.to_vec();
    put_decimal(&mut body, lost);
    Pending {
        n,
        connection: None,
        kind: ObjectKind::Gap,
        deliveries: 1,
        time_ms: now_ms,
        body: body.into(),
    }
}

/// How many objects a gap tells of.
fn lost_of(gap: &Pending) -> u64 {
    let digits = gap.body.rsplit(|&byte| byte == b':').next();
    let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn put_object(out: &mut Vec<u8>, object: &Pending, seq: u64) {
    out.extend_from_slice(br#"{"n":"#);
    put_decimal(out, object.n);
    out.extend_from_slice(br#","seq":"#);
    put_decimal(out, seq);
    out.push(b',');
    if object.deliveries > 1 {
        out.extend_from_slice(br#""again":true,"#);
    }
    out.extend_from_slice(&object.body);
    out.push(b'}');
}
