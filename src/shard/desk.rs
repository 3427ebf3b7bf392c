//! The desk: the groups of all applications, on one shard, and their members, on all shards and over HTTP.
//!
//! A batch is written here once, as JSON, and goes to its member's connection as one message; the shard of the
//! connection packs it if the member reads MessagePack. What is on its way to a connection is bounded: the desk sends
//! more when the connection has written it.

mod note;
mod polled;

use std::sync::Arc;

pub use note::{DeadLetterPage, DeskNote, ListedGroup, PollRefused, PollRequest, PolledObjects};

use crate::collections::HashMap;
use crate::config::Config;
use crate::id::AnyPeer;
use crate::inbound::{AckError, Group, GroupLimits, Kinds, MemberId, MemberLimits, Object};
use crate::metrics::Counters;
use crate::process::{InboundRooms, Process};
use polled::PollingMember;

/// Bytes of a batch beyond which no object begins.
const BATCH_BYTES: usize = 64 * 1024;

/// Bytes on their way to a member's connection beyond which it is sent nothing more: what waits then makes larger
/// batches.
const WINDOW_BYTES: usize = 64 * 1024;

/// Bytes on their way to a member's connection at most, unless one object has more; half of its outbox if that is less.
const ON_WAY_BYTES_MAX: usize = 512 * 1024;

/// The groups of all applications, and their members.
#[derive(Debug)]
pub(super) struct Desk {
    config: Arc<Config>,
    rooms: Arc<InboundRooms>,
    counters: Arc<Counters>,
    /// By room.
    groups: Vec<Option<NamedGroup>>,
    members: HashMap<MemberId, Member>,
    /// Members by their connections.
    links: HashMap<AnyPeer, MemberId>,
    next_member: u64,
    /// Something may have to be sent.
    is_dirty: bool,
    /// Connections that are sent more when they have fewer bytes than this to write.
    full_links: Vec<(AnyPeer, usize)>,
    /// A buffer.
    text: Vec<u8>,
}

#[derive(Debug)]
struct NamedGroup {
    /// `None` until its first member comes.
    name: Option<Box<str>>,
    group: Group,
    /// It takes objects.
    is_open: bool,
}

#[derive(Debug)]
struct Member {
    /// The room of its group.
    group: usize,
    way: Way,
}

/// How a member gets objects.
#[derive(Debug)]
enum Way {
    /// By its connection, to which so many bytes are on their way.
    Link(AnyPeer, usize),
    /// It polls.
    Polls(PollingMember),
}

/// The connections of members, as the desk needs them.
pub(super) trait MemberLinks {
    /// Bytes that a connection of this shard has not written; `None` for one of another shard, whose bytes the desk
    /// counts.
    fn unwritten(&self, link: AnyPeer) -> Option<usize>;
    /// Sends a message.
    fn send(&mut self, link: AnyPeer, text: &[u8]);
}

/// Why a connection cannot be a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AttachError {
    /// There are `backend.max_groups` groups.
    Groups,
    /// The group's members get other kinds. All objects of a client go to one of them, so none may leave out what
    /// another one gets.
    Kinds,
}

impl AttachError {
    /// The close code and the reason.
    pub(super) fn close(self) -> (u16, &'static str) {
        match self {
            Self::Groups => (1013, "There are `backend.max_groups` groups already"),
            Self::Kinds => (
                1008,
                "The members of this group have another `filter`: all have the same one",
            ),
        }
    }
}

impl Desk {
    /// The first group is there from the start, and gets the name that its first member asks for.
    pub(super) fn new(
        config: &Arc<Config>,
        process: &Process,
        counters: &Arc<Counters>,
        now_ms: u64,
    ) -> Self {
        let rooms = process.inbound.clone();
        let mut desk = Self {
            config: config.clone(),
            groups: (0..rooms.len()).map(|_| None).collect(),
            rooms,
            counters: counters.clone(),
            members: HashMap::default(),
            links: HashMap::default(),
            next_member: 0,
            is_dirty: false,
            full_links: Vec::new(),
            text: Vec::new(),
        };
        if let Some(first) = desk.groups.first_mut() {
            *first = Some(NamedGroup {
                name: None,
                group: Group::new(group_limits(config), now_ms),
                is_open: true,
            });
        }
        desk
    }

    /// Takes what clients have said into their groups.
    pub(super) fn take(&mut self, objects: Vec<Object>) {
        if objects.is_empty() {
            return;
        }
        for mut object in objects {
            let groups = std::mem::take(&mut object.groups);
            let last = groups.checked_ilog2();
            let mut others = groups & !last.map_or(0, |last| 1 << last);
            while others != 0 {
                self.take_one(others.trailing_zeros() as usize, object.clone());
                others &= others - 1;
            }
            if let Some(last) = last {
                self.take_one(last as usize, object);
            }
        }
        if self.rooms.drops_oldest() {
            let max = self.rooms.messages_max();
            for index in 0..self.groups.len() {
                if let Some(it) = &mut self.groups[index] {
                    it.group.evict(max);
                    self.settle(index);
                }
            }
        }
        self.is_dirty = true;
    }

    fn take_one(&mut self, index: usize, object: Object) {
        match self.groups[index].as_mut().filter(|it| it.is_open) {
            Some(it) => it.group.take(object),
            // It was closed meanwhile. Its client was not told, so the next member is.
            None => {
                self.rooms.give(1 << index, object.held());
                self.counters.backend_dropped.add(1);
                if let Some(it) = &mut self.groups[index] {
                    it.group.note_lost(1);
                }
            }
        }
    }

    /// Makes a connection a member of the group called `name`.
    pub(super) fn attach(
        &mut self,
        link: AnyPeer,
        name: &str,
        limits: MemberLimits,
        now_ms: u64,
    ) -> Result<(), AttachError> {
        let index = self.open(name, now_ms).ok_or(AttachError::Groups)?;
        if !self.group_mut(index).may_attach(None, limits.kinds) {
            return Err(AttachError::Kinds);
        }
        let id = self.add(index, limits, Way::Link(link, 0), now_ms);
        self.links.insert(link, id);
        Ok(())
    }

    /// Ends a connection's membership.
    pub(super) fn detach(&mut self, link: AnyPeer, now_ms: u64) {
        self.full_links.retain(|(full, _)| *full != link);
        if let Some(id) = self.links.remove(&link) {
            self.remove(id, now_ms);
        }
    }

    /// Notes that a member has acknowledged all objects up to `seq`.
    pub(super) fn acknowledge(
        &mut self,
        link: AnyPeer,
        seq: u64,
        now_ms: u64,
    ) -> Result<(), AckError> {
        match self.links.get(&link) {
            Some(&id) => self.acknowledge_member(id, seq, now_ms),
            None => Ok(()),
        }
    }

    fn acknowledge_member(&mut self, id: MemberId, seq: u64, now_ms: u64) -> Result<(), AckError> {
        let index = self.members[&id].group;
        let acked = self.group_mut(index).acknowledge(id, seq, now_ms)?;
        self.counters.backend_acked.add(acked as u64);
        self.settle(index);
        self.is_dirty = true;
        Ok(())
    }

    /// Lets a member have `more` objects unacknowledged.
    pub(super) fn add_credit(&mut self, link: AnyPeer, more: u32) {
        if let Some(&id) = self.links.get(&link) {
            let index = self.members[&id].group;
            self.group_mut(index).add_credit(id, more, CREDIT_MAX);
            self.is_dirty = true;
        }
    }

    /// Notes that `bytes` have been written to a member's connection.
    pub(super) fn note_written(&mut self, link: AnyPeer, bytes: usize) {
        let member = self.links.get(&link);
        let member = member.and_then(|id| self.members.get_mut(id));
        if let Some(Way::Link(_, unwritten)) = member.map(|member| &mut member.way) {
            *unwritten = unwritten.saturating_sub(bytes);
            self.is_dirty = true;
        }
    }

    /// The client's message with number `n` in the group of a member: its connection, and its `id` as JSON.
    pub(super) fn asked(&self, link: AnyPeer, n: u64) -> Option<(AnyPeer, &str)> {
        let member = self.members.get(self.links.get(&link)?)?;
        let group = self.groups[member.group].as_ref()?;
        group.group.asked(n)
    }

    /// The newest dead letters of the group called `name`.
    pub(super) fn dead_letters(&self, name: &str, limit: usize) -> Option<DeadLetterPage> {
        let group = &self.groups[self.find(name)?].as_ref()?.group;
        let state = group.state(0);
        let mut page = DeadLetterPage {
            total: state.dead_letters_total,
            kept: state.dead_letters,
            items: Vec::new(),
        };
        for dead in group.dead_letters(limit) {
            if !page.items.is_empty() {
                page.items.push(b',');
            }
            let begin = format!(r#"{{"n":{},"deliveries":{},"#, dead.n, dead.deliveries);
            page.items.extend_from_slice(begin.as_bytes());
            page.items.extend_from_slice(dead.body);
            page.items.push(b'}');
        }
        Some(page)
    }

    /// The groups.
    pub(super) fn list(&self, now_ms: u64) -> Vec<ListedGroup> {
        let groups = self.groups.iter().flatten();
        let listed = groups.map(|it| ListedGroup {
            name: it.name.clone().unwrap_or_default(),
            state: it.group.state(now_ms),
        });
        listed.collect()
    }

    /// Sends what members may be sent.
    ///
    /// Cost: one comparison if nothing has happened; otherwise a look at each member, and a copy of each object.
    pub(super) fn send(&mut self, links: &mut impl MemberLinks, now_ms: u64) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        let on_way_max = ON_WAY_BYTES_MAX.min(self.config.hub.outbox_max_bytes / 2);
        let window = WINDOW_BYTES.min(on_way_max);
        let limits = (
            self.config.backend.max_batch,
            BATCH_BYTES.min(on_way_max / 2),
        );
        for index in 0..self.groups.len() {
            let Some(it) = &mut self.groups[index] else {
                continue;
            };
            it.group.distribute();
            for id in it.group.members() {
                let Some(member) = self.members.get_mut(&id) else {
                    continue;
                };
                let (link, on_way) = match &mut member.way {
                    Way::Link(link, on_way) => (*link, on_way),
                    Way::Polls(polling) => {
                        polling.answer(id, &mut it.group, now_ms);
                        continue;
                    }
                };
                let here = links.unwritten(link);
                let mut unwritten = here.unwrap_or(*on_way);
                let mut full = self.full_links.iter();
                let mut until = match full.position(|(full, _)| *full == link) {
                    Some(at) if unwritten >= self.full_links[at].1 => continue,
                    Some(at) => {
                        self.full_links.swap_remove(at);
                        None
                    }
                    None => (unwritten >= window).then_some(window),
                };
                while until.is_none() && it.group.may_send(id) {
                    self.text.clear();
                    let count = it.group.put_batch(id, limits, now_ms, &mut self.text);
                    if count == 0 {
                        break;
                    }
                    if unwritten > 0 && unwritten + self.text.len() > on_way_max {
                        it.group.take_back_last(id, count);
                        until = Some(window.min(unwritten));
                        break;
                    }
                    links.send(link, &self.text);
                    unwritten += self.text.len();
                }
                if let Some(until) = until {
                    self.full_links.push((link, until));
                }
                if here.is_none() {
                    *on_way = unwritten;
                }
            }
            self.settle(index);
        }
        if self.text.capacity() > 4 * BATCH_BYTES {
            self.text = Vec::new();
        }
    }

    /// Whether more can be sent now that connections of this shard have written. Called after each flush.
    ///
    /// Cost: a look at each connection that could not be sent everything.
    pub(super) fn is_ready_again(&mut self, links: &impl MemberLinks) -> bool {
        let is_free = |(link, until): &(AnyPeer, usize)| {
            let unwritten = links.unwritten(*link);
            unwritten.is_some_and(|unwritten| unwritten < *until)
        };
        self.is_dirty |= self.full_links.iter().any(is_free);
        self.is_dirty
    }

    /// Checks deadlines: of members that do not acknowledge or poll, and of groups without members. Sets the gauges.
    ///
    /// Cost: a look at each member.
    pub(super) fn check(&mut self, now_ms: u64) {
        let timeout_ms = group_limits(&self.config).ack_timeout_ms;
        let gone = self.members.iter().filter(|(_, member)| match &member.way {
            Way::Polls(polling) => polling.has_left(now_ms, timeout_ms),
            Way::Link(..) => false,
        });
        let gone: Vec<MemberId> = gone.map(|(id, _)| *id).collect();
        for id in gone {
            self.remove(id, now_ms);
        }
        let (mut held, mut lag_ms) = (crate::inbound::Held::default(), 0);
        for index in 0..self.groups.len() {
            let Some(it) = &mut self.groups[index] else {
                continue;
            };
            it.group.note_lost(self.rooms.take_lost(index));
            if it.group.check_members(now_ms) {
                self.is_dirty = true;
            }
            if it.is_open && it.group.check_linger(now_ms) {
                it.is_open = false;
            }
            let state = it.group.state(now_ms);
            held.objects += state.held.objects;
            held.bytes += state.held.bytes;
            lag_ms = lag_ms.max(state.lag_ms);
            self.update_kinds(index);
            self.settle(index);
        }
        let counters = &self.counters;
        counters.backend_pending.set(held.objects as u64);
        counters.backend_pending_bytes.set(held.bytes as u64);
        counters.backend_lag_seconds.set(lag_ms / 1000);
        counters.backend_members.set(self.members.len() as u64);
        let open = self.groups.iter().flatten().filter(|it| it.is_open);
        counters.backend_groups.set(open.count() as u64);
    }

    fn find(&self, name: &str) -> Option<usize> {
        let mut groups = self.groups.iter();
        groups.position(|it| {
            it.as_ref()
                .is_some_and(|it| it.name.as_deref() == Some(name))
        })
    }

    fn group_mut(&mut self, index: usize) -> &mut Group {
        let group = self.groups[index].as_mut();
        &mut group.expect("a group with members is there").group
    }

    /// The room of the group called `name`, which begins if it is not there. `None` if there are too many.
    fn open(&mut self, name: &str, now_ms: u64) -> Option<usize> {
        let find = |is_it: fn(&Option<NamedGroup>) -> bool| self.groups.iter().position(is_it);
        let index = self
            .find(name)
            .or_else(|| find(|it| it.as_ref().is_some_and(|it| it.name.is_none())))
            .or_else(|| find(Option::is_none))
            // One that has ended is kept for its dead letters until its room is needed.
            .or_else(|| find(|it| it.as_ref().is_some_and(|it| !it.is_open)))?;
        let known = self.groups[index].take().filter(|it| {
            let known = it.name.as_deref();
            known.is_none_or(|known| known == name)
        });
        let mut it = known.unwrap_or_else(|| {
            // What was lost before it began is nothing to it.
            let _ = self.rooms.take_lost(index);
            NamedGroup {
                name: None,
                group: Group::new(group_limits(&self.config), now_ms),
                is_open: false,
            }
        });
        it.name.get_or_insert_with(|| name.into());
        it.is_open = true;
        self.groups[index] = Some(it);
        Some(index)
    }

    fn add(&mut self, index: usize, limits: MemberLimits, way: Way, now_ms: u64) -> MemberId {
        let id = MemberId(self.next_member);
        self.next_member += 1;
        self.group_mut(index).attach(id, limits, now_ms);
        self.members.insert(id, Member { group: index, way });
        self.update_kinds(index);
        self.is_dirty = true;
        id
    }

    fn remove(&mut self, id: MemberId, now_ms: u64) {
        let Some(member) = self.members.remove(&id) else {
            return;
        };
        self.group_mut(member.group).detach(id, now_ms);
        self.update_kinds(member.group);
        self.settle(member.group);
        self.is_dirty = true;
    }

    /// Sets which kinds a group's room takes.
    fn update_kinds(&self, index: usize) {
        let group = self.groups[index].as_ref().filter(|it| it.is_open);
        let kinds = group.map_or(Kinds::NONE, |it| it.group.kinds());
        self.rooms.set_kinds(index, kinds);
    }

    /// Gives room back, and counts what has happened in a group.
    fn settle(&mut self, index: usize) {
        let Some(it) = &mut self.groups[index] else {
            return;
        };
        let released = it.group.take_released();
        if released.objects > 0 {
            self.rooms.give(1 << index, released);
        }
        let counts = it.group.take_counts();
        self.counters.backend_sent.add(counts.sent);
        self.counters.backend_redelivered.add(counts.redelivered);
        self.counters.backend_dead_letters.add(counts.dead);
        self.counters.backend_dropped.add(counts.dropped);
    }
}

/// Objects that a member may have unacknowledged at most, whatever credit it gives.
pub const CREDIT_MAX: u32 = 1_000_000;

fn group_limits(config: &Config) -> GroupLimits {
    let backend = &config.backend;
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    GroupLimits {
        deliveries_max: backend.max_deliveries,
        linger_ms: ms(backend.linger),
        ack_timeout_ms: ms(backend.ack_timeout),
        asked_max: backend.max_pending,
        dead_letters_max: (backend.max_dead_letters, backend.max_dead_letters_size),
    }
}
