//! Queue groups: a message of a topic goes to one member of each group.
//!
//! The topic's home decides whose turn it is (`queue_groups.rs`), and hands the message to that member's shard, which
//! encodes it and queues it for the member. A shard on which the member has left or does not keep up gives it to
//! another one of the group there; if there is none it hands the message back, once. When no shard has a member that
//! keeps up, the message goes to the one whose turn it is all the same. Nothing is kept for members that come back.

use std::collections::VecDeque;

use super::home::Opened;
use super::hub::{Hub, Readiness};
use super::message::{QueuedMessage, low_bits};
use super::publication::Publication;
use super::queue_groups::{Fitness, QueueError, QueueMember};
use super::subscribe::SUBSCRIPTION_STEPS;
use super::{Delivery, Engine, Lanes, Place, Post, Request, Taken, Ticket, Turn};
use crate::collections::HashMap;
use crate::id::{FormatId, Gather, PeerId, Priority, ShardId, TopicId, UserKey};
use crate::metrics::Limited;

/// The members of queue groups on this shard, and messages that wait for them.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// By topic.
    groups: HashMap<Box<str>, Vec<LocalGroup>>,
    peers: HashMap<PeerId, Vec<QueueMembership>>,
    /// All of them.
    memberships: usize,
    /// Memberships of peers that left, of which homes are to be told.
    left: Vec<(PeerId, QueueMembership)>,
    /// Messages for members whose outbox is half full until the next flush, oldest first. Meanwhile no deliveries are
    /// taken, and no topic with queue groups is published to: it holds a batch at most.
    held: VecDeque<HeldMessage>,
}

/// The members of a group on this shard; there is one at least.
#[derive(Debug)]
struct LocalGroup {
    name: Box<str>,
    members: Vec<PeerId>,
    /// The index of the member whose turn it is when another one cannot take its message.
    turn: usize,
}

#[derive(Clone, Debug)]
struct QueueMembership {
    topic: Box<str>,
    group: Box<str>,
    /// The subscription that it came with.
    ticket: Ticket,
}

#[derive(Debug)]
struct HeldMessage {
    peer: PeerId,
    is_last: bool,
    message: QueuedMessage<Box<[u8]>>,
}

/// What became of a message that was offered to the members of a shard.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Offered {
    /// A member has it in its outbox.
    Given,
    /// It waits for the next flush.
    Held,
    /// No member keeps up.
    Refused,
    /// There is no member that it is for.
    NoMember,
}

impl Queues {
    fn add(&mut self, peer: PeerId, topic: &str, group: &str, ticket: Ticket) -> bool {
        let mine = self.peers.entry(peer).or_default();
        let mut known = mine.iter_mut();
        if let Some(known) = known.find(|one| *one.topic == *topic && *one.group == *group) {
            known.ticket = ticket;
            return false;
        }
        mine.push(QueueMembership {
            topic: topic.into(),
            group: group.into(),
            ticket,
        });
        self.memberships += 1;
        let groups = match self.groups.get_mut(topic) {
            Some(groups) => groups,
            None => self.groups.entry(topic.into()).or_default(),
        };
        match groups.iter_mut().find(|local| *local.name == *group) {
            Some(local) => local.members.push(peer),
            None => groups.push(LocalGroup {
                name: group.into(),
                members: vec![peer],
                turn: 0,
            }),
        }
        true
    }

    /// Removes a membership. Returns whether there was one.
    fn remove(&mut self, peer: PeerId, topic: &str, group: &str) -> bool {
        let Some(mine) = self.peers.get_mut(&peer) else {
            return false;
        };
        let mut known = mine.iter();
        let known = known.position(|one| *one.topic == *topic && *one.group == *group);
        let Some(known) = known else { return false };
        mine.swap_remove(known);
        if mine.is_empty() {
            self.peers.remove(&peer);
        }
        self.remove_member(peer, topic, group);
        true
    }

    fn remove_member(&mut self, peer: PeerId, topic: &str, group: &str) {
        self.memberships -= 1;
        let Some(groups) = self.groups.get_mut(topic) else {
            return;
        };
        for local in groups.iter_mut().filter(|local| *local.name == *group) {
            local.members.retain(|member| *member != peer);
        }
        groups.retain(|local| !local.members.is_empty());
        if groups.is_empty() {
            self.groups.remove(topic);
        }
        if self.peers.is_empty() && self.peers.capacity() > SHRINK_FROM {
            (self.peers, self.groups) = (HashMap::default(), HashMap::default());
        }
    }

    /// Removes all memberships of a peer.
    fn forget(&mut self, peer: PeerId) -> Vec<QueueMembership> {
        let gone = self.peers.remove(&peer).unwrap_or_default();
        for QueueMembership { topic, group, .. } in &gone {
            self.remove_member(peer, topic, group);
        }
        gone
    }

    /// Whether a peer's membership came with this ticket.
    fn is_of(&self, peer: PeerId, topic: &str, group: &str, ticket: Ticket) -> bool {
        let mine = self.peers.get(&peer);
        mine.into_iter()
            .flatten()
            .any(|one| (&*one.topic, &*one.group, one.ticket) == (topic, group, ticket))
    }

    /// The topics in whose groups a peer is.
    pub(super) fn topics_of(&self, peer: PeerId) -> impl Iterator<Item = &str> {
        let mine = self.peers.get(&peer).into_iter().flatten();
        mine.map(|membership| &*membership.topic)
    }

    /// All memberships.
    pub(super) fn count(&self) -> usize {
        self.memberships
    }

    /// Whether messages wait for the next flush.
    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether homes have to be told of peers that left.
    pub(super) fn has_left(&self) -> bool {
        !self.left.is_empty()
    }

    /// The member that takes a message for `peer`: that one, unless it has left or another one keeps up better. `None`
    /// if the group has no member here that the message is for.
    ///
    /// Cost: one step where it keeps up; else a look at every member of the group on this shard.
    fn recipient(
        &mut self,
        hub: &Hub,
        peer: PeerId,
        (topic, group): (&str, &str),
        except: UserKey,
    ) -> Option<(PeerId, Readiness)> {
        let mut groups = self.groups.get_mut(topic)?.iter_mut();
        let local = groups.find(|local| *local.name == *group)?;
        let readiness = |member: PeerId| {
            let readiness = hub.readiness(member);
            let is_left_out = !except.is_none()
                && readiness != Readiness::Gone
                && hub.user_of(member.slot) == except;
            match is_left_out {
                true => Readiness::Gone,
                false => readiness,
            }
        };
        let mut best = (peer, Readiness::Gone);
        let mut mine = self.peers.get(&peer).into_iter().flatten();
        if mine.any(|one| *one.topic == *topic && *one.group == *group) {
            best.1 = readiness(peer);
        }
        let count = local.members.len();
        for step in 0..count {
            if best.1 == Readiness::KeepsUp {
                break;
            }
            let at = (local.turn + step) % count;
            let (member, found) = (local.members[at], readiness(local.members[at]));
            if found < best.1 {
                best = (member, found);
                if found == Readiness::KeepsUp {
                    local.turn = (at + 1) % count;
                }
            }
        }
        Some(best).filter(|(_, readiness)| *readiness != Readiness::Gone)
    }
}

/// Capacity of the tables below which they are not shrunk.
const SHRINK_FROM: usize = 1024;

impl Engine {
    /// A peer leaves its queue groups without a turn; homes are told in the next one.
    pub(super) fn abandon_queues(&mut self, peer: PeerId) {
        let gone = self.queues.forget(peer);
        if !gone.is_empty() {
            self.readers.hub.uncount_members(gone.len());
            self.flush_wanted = true;
            let gone = gone.into_iter().map(|membership| (peer, membership));
            self.queues.left.extend(gone);
        }
    }
}

impl<L: Lanes> Turn<'_, L> {
    /// Makes a peer a member of a queue group of a topic, as part of the subscription `ticket`. From the confirmation on
    /// it has its turn; its first messages may come before. They come through its outbox, encoded by
    /// [`Format::encode_queued`](super::Format::encode_queued). [`Self::may_subscribe`] is to be asked first, with the
    /// topic. A peer that is a member already stays one.
    ///
    /// A home on another shard may refuse it, too: then it is among
    /// [`Confirmation::refused`](super::Confirmation::refused).
    ///
    /// Callers check [`is_queue_group`](super::is_queue_group). The format is not [`Gather::Merge`].
    ///
    /// # Errors
    /// The topic is new and its home is at its topic limit, the topic has
    /// [`QUEUE_GROUPS_MAX`](super::QUEUE_GROUPS_MAX) groups, or there is no memory for memberships.
    pub fn join_queue(
        &mut self,
        peer: PeerId,
        topic: &str,
        group: &str,
        ticket: Ticket,
    ) -> Result<(), QueueError> {
        let Some(format) = self.engine.find_peer_format(peer) else {
            return Ok(());
        };
        debug_assert!(format.gather != Gather::Merge, "streams have no outbox");
        self.engine.subscription_steps += SUBSCRIPTION_STEPS;
        if !self.engine.readers.hub.has_room_for_members() {
            return Err(QueueError::Memory);
        }
        let user = self.engine.readers.hub.user_of(peer.slot);
        match self.engine.place_of(topic) {
            Place::Here => {
                let member = QueueMember::new(self.engine.shard, peer, user);
                self.take_queue_member(topic, group, member)?;
            }
            Place::Shard(home) => {
                self.engine.tickets.wait(ticket);
                let (topic, group) = (topic.as_bytes(), group.as_bytes());
                let request = Request::JoinQueue {
                    topic,
                    group,
                    peer,
                    user,
                    ticket,
                };
                self.ask(home, request);
            }
        }
        if self.engine.queues.add(peer, topic, group, ticket) {
            self.engine.readers.hub.count_member();
        }
        Ok(())
    }

    /// Ends a peer's membership of a queue group. What is in its outbox is still written; its next messages go to other
    /// members.
    pub fn leave_queue(&mut self, peer: PeerId, topic: &str, group: &str) {
        if self.engine.queues.remove(peer, topic, group) {
            self.engine.readers.hub.uncount_members(1);
            self.withdraw_queue_member(peer, topic, group);
        }
    }

    /// Ends all of a peer's memberships of queue groups.
    pub(super) fn leave_queues(&mut self, peer: PeerId) {
        self.engine.abandon_queues(peer);
        self.tell_left();
    }

    /// Tells homes of members that left.
    pub(super) fn tell_left(&mut self) {
        for (peer, QueueMembership { topic, group, .. }) in
            std::mem::take(&mut self.engine.queues.left)
        {
            self.withdraw_queue_member(peer, &topic, &group);
        }
    }

    fn withdraw_queue_member(&mut self, peer: PeerId, topic: &str, group: &str) {
        match self.engine.place_of(topic) {
            Place::Here => {
                let member = (self.engine.shard, peer);
                self.engine.homes.home.leave_queue(topic, group, member);
            }
            Place::Shard(home) => {
                let (topic, group) = (topic.as_bytes(), group.as_bytes());
                self.ask(home, Request::LeaveQueue { topic, group, peer });
            }
        }
    }

    /// Adds a member to a queue group of a topic whose home is this shard.
    pub(super) fn take_queue_member(
        &mut self,
        topic: &str,
        group: &str,
        member: QueueMember,
    ) -> Result<(), QueueError> {
        let id = match self.engine.homes.home.open(topic) {
            Opened::Existing(id) => id,
            Opened::Created(id, wanted) => {
                self.announce(id, topic, &wanted);
                id
            }
            Opened::Full => {
                self.counters.limited(Limited::Topics);
                return Err(QueueError::Topics);
            }
        };
        match self.engine.homes.home.join_queue(id, group, member) {
            true => Ok(()),
            false => Err(QueueError::Groups),
        }
    }

    /// A home has answered [`Request::JoinQueue`].
    pub(super) fn take_queue_joined(
        &mut self,
        ticket: Ticket,
        (topic, group): (&str, &str),
        refused: Option<QueueError>,
    ) {
        if let Some(why) = refused {
            let peer = self.engine.tickets.peer_of(ticket);
            self.engine.tickets.refuse(ticket, topic, why);
            let queues = &mut self.engine.queues;
            if queues.is_of(peer, topic, group, ticket) && queues.remove(peer, topic, group) {
                self.engine.readers.hub.uncount_members(1);
            }
        }
        self.settle(ticket);
    }

    /// Whether a message to a topic of this home has to wait for the members of its queue groups.
    #[cold]
    pub(super) fn is_queue_congested(&self, id: TopicId, except: UserKey) -> bool {
        let Some(queues) = self.engine.homes.home.topic(id).queues() else {
            return false;
        };
        self.engine.queues.has_held()
            || queues.groups().iter().any(|group| {
                let best = group.best(|member| self.fitness(member, except, self.now.ms));
                best.is_some_and(|(_, best)| best == Fitness::NoRoom)
            })
    }

    /// How well a member takes a message that was published at `since_ms`; `None` if it is not for it.
    fn fitness(&self, member: &QueueMember, except: UserKey, since_ms: u64) -> Option<Fitness> {
        let is_left_out = !except.is_none() && member.user == except;
        match member.shard == self.engine.shard {
            _ if is_left_out => None,
            true => match self.engine.readers.hub.readiness(member.peer) {
                Readiness::KeepsUp => Some(Fitness::Ready),
                Readiness::Unflushed => Some(Fitness::Likely),
                Readiness::Blocked => Some(Fitness::Behind),
                Readiness::Gone => None,
            },
            false if self.lanes.deliveries_full(member.shard) => Some(Fitness::NoRoom),
            false => Some(member.fitness(since_ms, self.now.ms)),
        }
    }

    /// Hands a message of a topic of this home to one member of each queue group. Returns the number of groups with a
    /// member that it is for.
    ///
    /// Cost: for each group one step where the member whose turn it is keeps up, one encoding, and one copy.
    #[cold]
    pub(super) fn queue(&mut self, id: TopicId, post: &Post<'_>, offset: u64) -> u64 {
        let home = &self.engine.homes.home;
        let groups = home.topic(id).queues().map_or(0, |all| all.groups().len());
        let mut reached = 0;
        for index in 0..groups {
            let topic = self.engine.homes.home.topic(id);
            let Some(group) = topic.queues().map(|all| all.groups()[index].name()) else {
                break;
            };
            let labels = [post.topic, group, post.name, post.publisher].join("\0");
            let mut at = topic.position();
            at.offset = offset;
            let message = QueuedMessage {
                labels: labels.as_bytes(),
                data: post.data,
                kind: post.kind,
                form: post.form,
                at,
                time_ms: self.now.wall_ms,
                since_bits: low_bits(self.now.ms),
                except: post.except,
            };
            let is_taken = self.hand_over_queued(id, index, message);
            reached += u64::from(is_taken);
        }
        reached
    }

    /// Hands a message to the member of a group that takes it best. Returns `false` if it is for none.
    fn hand_over_queued(
        &mut self,
        id: TopicId,
        index: usize,
        message: QueuedMessage<&[u8]>,
    ) -> bool {
        let Some(queues) = self.engine.homes.home.topic(id).queues() else {
            return false;
        };
        let (except, since_ms) = (message.except, message.since_ms(self.now.ms));
        let best = queues.groups()[index].best(|one| self.fitness(one, except, since_ms));
        let Some((at, fitness)) = best else {
            return false;
        };
        let group = self.engine.homes.home.queue_group_mut(id, index);
        let QueueMember { shard, peer, .. } = group.take_turn(at);
        let is_last = fitness >= Fitness::NoRoom;
        if shard == self.engine.shard {
            let offered = self.offer(peer, is_last, message);
            self.return_unless_taken(offered, peer, message);
            return true;
        }
        let queued = Delivery::Queued {
            peer,
            is_last,
            message,
        };
        self.lanes.deliver(shard, queued);
        self.engine.flush_wanted = true;
        true
    }

    /// A home has handed a message to this shard.
    pub(super) fn take_queued(
        &mut self,
        home: ShardId,
        peer: PeerId,
        is_last: bool,
        message: QueuedMessage<&[u8]>,
    ) {
        // Where the lane has no room either, its members are not spared.
        let is_last = is_last || self.lanes.requests_full(home);
        let offered = self.offer(peer, is_last, message);
        self.return_unless_taken(offered, peer, message);
    }

    /// Offers a message to a member of this shard, or to others of its group here; if `is_last` also to one that does
    /// not keep up.
    fn offer(&mut self, peer: PeerId, is_last: bool, message: QueuedMessage<&[u8]>) -> Offered {
        if !self.engine.queues.has_held() {
            let offered = self.offer_now(peer, is_last, message);
            if offered != Offered::Held {
                return offered;
            }
        }
        // Those behind it wait, too, so that members get them in order.
        self.engine.queues.held.push_back(HeldMessage {
            peer,
            is_last,
            message: message.map(Into::into),
        });
        self.engine.flush_wanted = true;
        Offered::Held
    }

    fn offer_now(&mut self, peer: PeerId, is_last: bool, message: QueuedMessage<&[u8]>) -> Offered {
        let labels = message.labels();
        let Engine {
            queues, readers, ..
        } = &mut *self.engine;
        let group = (labels.topic, labels.group);
        match queues.recipient(&readers.hub, peer, group, message.except) {
            None => Offered::NoMember,
            Some((_, Readiness::Unflushed)) => Offered::Held,
            Some((_, Readiness::Blocked)) if !is_last => Offered::Refused,
            Some((member, _)) => {
                self.give(member, &message.publication(), message.time_ms);
                Offered::Given
            }
        }
    }

    fn give(&mut self, member: PeerId, publication: &Publication<'_>, time_ms: u64) {
        let Engine {
            readers, formats, ..
        } = &mut *self.engine;
        let format: FormatId = readers.hub.format_of(member.slot);
        let frame = formats.encode_queued(format, publication, time_ms);
        let queued = readers.hub.send(member.slot, Priority::Normal, frame);
        self.engine.flush_wanted = true;
        self.counters.deliveries.add(1);
        self.note_dropped(queued);
    }

    /// Goes on with the messages that waited for a flush, which has taken place.
    pub(super) fn offer_held(&mut self) {
        while let Some(HeldMessage {
            peer,
            is_last,
            message,
        }) = self.engine.queues.held.pop_front()
        {
            let borrowed = message.borrow();
            let offered = self.offer_now(peer, is_last, borrowed);
            if offered == Offered::Held {
                // The flush has not come to it.
                self.engine.queues.held.push_front(HeldMessage {
                    peer,
                    is_last,
                    message,
                });
                self.engine.flush_wanted = true;
                return;
            }
            self.return_unless_taken(offered, peer, borrowed);
        }
        self.engine.queues.held = VecDeque::new();
    }

    /// Hands a message that no member of this shard takes back to its home.
    fn return_unless_taken(
        &mut self,
        offered: Offered,
        peer: PeerId,
        message: QueuedMessage<&[u8]>,
    ) {
        let is_gone = match offered {
            Offered::Given | Offered::Held => return,
            Offered::Refused => false,
            Offered::NoMember => true,
        };
        match self.engine.place_of(message.labels().topic) {
            Place::Here => self.take_back(self.engine.shard, peer, is_gone, message),
            Place::Shard(home) => self.ask(
                home,
                Request::Requeue {
                    peer,
                    is_gone,
                    message,
                },
            ),
        }
    }

    /// A shard hands a message back; [`Taken::Stalled`] if none can take it now.
    pub(super) fn take_requeued(
        &mut self,
        from: ShardId,
        peer: PeerId,
        is_gone: bool,
        message: QueuedMessage<&[u8]>,
    ) -> Taken {
        let home = &self.engine.homes.home;
        if let Some((id, _)) = home.find_queue(message.labels().topic, message.labels().group)
            && self.is_queue_congested(id, message.except)
        {
            self.engine.flush_wanted = true;
            return Taken::Stalled;
        }
        self.take_back(from, peer, is_gone, message);
        Taken::Done
    }

    fn take_back(
        &mut self,
        from: ShardId,
        peer: PeerId,
        is_gone: bool,
        message: QueuedMessage<&[u8]>,
    ) {
        let labels = message.labels();
        let home = &mut self.engine.homes.home;
        if is_gone {
            home.leave_queue(labels.topic, labels.group, (from, peer));
        }
        let Some((id, index)) = home.find_queue(labels.topic, labels.group) else {
            return;
        };
        if !is_gone {
            home.queue_group_mut(id, index).pass_over(from, self.now.ms);
        }
        let _ = self.hand_over_queued(id, index, message);
    }
}
