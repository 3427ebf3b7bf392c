//! What clients of this shard say to applications: told here, kept at the desk.

use std::cell::RefCell;
use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::desk::{
    AttachError, DeadLetterPage, Desk, DeskNote, ListedGroup, MemberLinks, PollRefused,
    PollRequest, PolledObjects,
};
use super::{
    CloseOrder, ConnectionOrder, Core, Disconnect, Note, OrderReply, OrderResult, Shard,
    ShardSettings, Wanted,
};
use crate::collections::HashSet;
use crate::id::{AnyPeer, PeerId, Priority, ShardId};
use crate::inbound::{
    DisconnectFields, MemberLimits, MessageFields, Object, ObjectKind, ObjectWriter,
};
use crate::json::put_string;
use crate::process::NotTaken;

/// The shard with the desk, which has the groups of all applications.
pub(super) const HOME: ShardId = ShardId(0);

/// What a shard has for applications.
#[derive(Debug)]
pub(super) struct Applications {
    /// What clients have told them in this turn.
    told: RefCell<Told>,
    /// Their groups; on the first shard, where applications may attach.
    desk: RefCell<Option<Box<Desk>>>,
    /// Their links that are here.
    pub(super) members: RefCell<HashSet<PeerId>>,
    /// Batches for those, where the desk is on another shard.
    arrived: RefCell<Vec<Arrived>>,
}

impl Applications {
    pub(super) fn new(settings: &ShardSettings, now_ms: u64) -> Self {
        let ShardSettings {
            config,
            process,
            counters,
            ..
        } = settings;
        let has_desk = settings.id == HOME && !process.inbound.is_empty();
        let desk = has_desk.then(|| Box::new(Desk::new(config, process, counters, now_ms)));
        Self {
            told: RefCell::default(),
            desk: RefCell::new(desk),
            members: RefCell::default(),
            arrived: RefCell::default(),
        }
    }
}

/// Batches from the desk of another shard for a member whose connection is here.
#[derive(Default, Debug)]
pub(super) struct Arrived {
    peer: PeerId,
    /// Those that its outbox has no room for yet. The desk bounds them.
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of others, which its connection has not written yet.
    on_way: usize,
}

/// What was told in this turn, and a buffer.
#[derive(Default, Debug)]
pub(super) struct Told {
    objects: Vec<Object>,
    text: Vec<u8>,
}

impl Shard {
    /// Whether applications may attach, and are told of connections.
    #[must_use]
    pub fn announces(&self) -> bool {
        !self.process.inbound.is_empty()
    }

    /// Tells applications that a connection has begun. `fields`: what [`ConnectFields`](crate::inbound::ConnectFields)
    /// has, written.
    pub fn tell_connect(&self, peer: PeerId, fields: &[u8]) {
        self.update_info(peer, |info| info.is_announced = true);
        // Beyond the room, too: whether there is any was asked when the request came.
        let _ = self.tell(peer, ObjectKind::Connect, "", |writer| {
            writer.raw_fields(fields);
        });
    }

    /// Tells applications what a client has said.
    ///
    /// Cost: a copy of it, an allocation, and two atomic additions for each group.
    ///
    /// # Errors
    /// Why it is not taken; then the client is to be told.
    pub fn tell_message(&self, peer: PeerId, message: &MessageFields<'_>) -> Result<(), NotTaken> {
        let id = message.id.unwrap_or("");
        let told = self.tell(peer, ObjectKind::Message, id, |writer| {
            writer.message(message);
        });
        match told {
            Ok(()) => {}
            Err(NotTaken::Full) => self.counters.backend_refused.add(1),
            Err(NotTaken::NoApplication) => self.counters.backend_unattended.add(1),
        }
        told
    }

    /// Tells applications which topics a client has subscribed to, or unsubscribed from. If they have no room for it,
    /// they are told that something is missing.
    ///
    /// Cost: one comparison where there are no applications.
    pub fn tell_topics<'t>(
        &self,
        peer: PeerId,
        kind: ObjectKind,
        topics: impl Iterator<Item = &'t str>,
    ) {
        if self.announces() {
            let mut topics = topics.peekable();
            if topics.peek().is_some() {
                let _ = self.tell(peer, kind, "", |writer| writer.topics(topics));
            }
        }
    }

    /// Tells applications that a connection has ended, if they were told that it has begun.
    pub(super) fn tell_disconnect(&self, core: &Core, peer: PeerId, why: Disconnect, code: u16) {
        let Some(link) = core.links.get(peer) else {
            return;
        };
        let Some(info) = link.info.as_deref().filter(|info| info.is_announced) else {
            return;
        };
        let registered = &self.process.registered;
        let reason = match (why, &info.detail, why.close(registered)) {
            (Disconnect::Ordered(_), Some(ordered), _) => ordered,
            (_, _, Some((_, reason))) if code != 0 => reason,
            _ => "",
        };
        let fields = DisconnectFields {
            code,
            reason,
            cause: match why {
                Disconnect::Closed(_) => "client",
                why => why.label(registered),
            },
            open_ms: self.clock.wall_ms().saturating_sub(info.connected_ms),
            received: link.received,
            sent: link.sent,
        };
        let _ = self.tell_of(core, (peer, ObjectKind::Disconnect, ""), |writer| {
            writer.disconnect(&fields);
        });
    }

    fn tell(
        &self,
        peer: PeerId,
        kind: ObjectKind,
        id: &str,
        write: impl FnOnce(ObjectWriter<'_>),
    ) -> Result<(), NotTaken> {
        self.tell_of(&self.core.borrow(), (peer, kind, id), write)
    }

    fn tell_of(
        &self,
        core: &Core,
        (peer, kind, id): (PeerId, ObjectKind, &str),
        write: impl FnOnce(ObjectWriter<'_>),
    ) -> Result<(), NotTaken> {
        if !self.announces() {
            return Err(NotTaken::NoApplication);
        }
        let info = core.links.get(peer).and_then(|link| link.info.as_deref());
        let info = info.ok_or(NotTaken::NoApplication)?;
        let user = info.user.as_deref().map(|user| &*user.id);
        let mut told = self.applications.told.borrow_mut();
        let Told { objects, text } = &mut *told;
        text.clear();
        let connection = (self.id, peer);
        let writer = ObjectWriter::begin(text, kind, connection, (info.endpoint.0, user));
        write(writer);
        let groups = self.process.inbound.take(kind, text.len())?;
        objects.push(Object {
            connection,
            kind,
            groups,
            id: id.into(),
            time_ms: self.clock.now_ms(),
            body: text.as_slice().into(),
        });
        self.flusher.raise();
        Ok(())
    }

    /// Hands what was told in this turn to the desk, and has it send. Called before each flush.
    ///
    /// Cost: one comparison where applications cannot attach.
    pub fn begin_inbound(&self) {
        if !self.announces() {
            return;
        }
        let objects = {
            let mut told = self.applications.told.borrow_mut();
            if told.text.capacity() > TEXT_KEPT_MAX {
                told.text = Vec::new();
            }
            std::mem::take(&mut told.objects)
        };
        self.put_arrived();
        match &mut *self.applications.desk.borrow_mut() {
            Some(desk) => {
                desk.take(objects);
                desk.send(&mut &*self, self.clock.now_ms());
            }
            None if objects.is_empty() => {}
            None => self.note(HOME, Note::Desk(DeskNote::Objects(objects))),
        }
    }

    /// Looks whether members' connections have written what was on its way to them. Called after each flush. Returns
    /// whether there is more to be sent.
    ///
    /// Cost: one comparison where applications cannot attach; otherwise a look at each member of this shard.
    #[must_use]
    pub fn end_inbound(&self) -> bool {
        if !self.announces() {
            return false;
        }
        let mut is_ready = false;
        let written: Vec<(PeerId, usize)> = {
            let mut arrived = self.applications.arrived.borrow_mut();
            let written = arrived.iter_mut().filter_map(|it| {
                let next = it.waiting.front();
                is_ready |= next.is_some_and(|text| self.fits(it.peer, text));
                let is_written = it.on_way > 0 && self.unwritten_here(it.peer) == 0;
                is_written.then(|| (it.peer, std::mem::take(&mut it.on_way)))
            });
            let written = written.collect();
            arrived.retain(|it| it.on_way > 0 || !it.waiting.is_empty());
            written
        };
        for (peer, bytes) in written {
            self.to_desk(DeskNote::Written((self.id, peer), bytes));
        }
        match &mut *self.applications.desk.borrow_mut() {
            Some(desk) => desk.is_ready_again(&self),
            None => is_ready,
        }
    }

    /// Checks the deadlines of members and groups. Called by the ticker.
    pub fn check_inbound(&self) {
        if let Some(desk) = &mut *self.applications.desk.borrow_mut() {
            desk.check(self.clock.now_ms());
            self.flusher.raise();
        }
    }

    /// Makes a connection a member of a group.
    pub fn attach(&self, peer: PeerId, group: &str, limits: MemberLimits) {
        self.applications.members.borrow_mut().insert(peer);
        self.to_desk(DeskNote::Attach {
            link: (self.id, peer),
            group: group.into(),
            limits,
        });
    }

    /// Ends a connection's membership. What it has not acknowledged goes to other members.
    pub fn detach(&self, peer: PeerId) {
        self.applications.members.borrow_mut().remove(&peer);
        self.applications
            .arrived
            .borrow_mut()
            .retain(|it| it.peer != peer);
        self.to_desk(DeskNote::Detach((self.id, peer)));
    }

    /// Notes that a member has acknowledged all objects up to `seq`. If it has not been sent so many, it is told.
    pub fn acknowledge(&self, peer: PeerId, seq: u64) {
        self.to_desk(DeskNote::Acknowledge((self.id, peer), seq));
    }

    /// Lets a member have `more` objects unacknowledged.
    pub fn add_credit(&self, peer: PeerId, more: u32) {
        self.to_desk(DeskNote::Credit((self.id, peer), more));
    }

    /// Answers the client's message with number `n` in the group of a member. The sender is dropped if the connection, or
    /// the shard of one of them, ends before.
    pub fn ask_reply(&self, peer: PeerId, n: u64, data: &str) -> oneshot::Receiver<OrderResult> {
        let (reply, answer) = OrderReply::new();
        self.to_desk(DeskNote::Reply {
            link: (self.id, peer),
            n,
            data: data.into(),
            reply,
        });
        answer
    }

    /// Whether the desk is here, so that what is asked of it is done at once.
    #[must_use]
    pub fn has_desk(&self) -> bool {
        self.id == HOME
    }

    /// Asks for objects for a member that polls. If the receiver is dropped before they are there, they stay at the
    /// desk.
    pub fn ask_poll(
        &self,
        poll: PollRequest,
    ) -> oneshot::Receiver<Result<PolledObjects, PollRefused>> {
        self.ask_desk(|reply| DeskNote::Poll(poll, reply))
    }

    /// Notes that a member that polls has acknowledged all objects up to `seq`. Answers with how many it has not.
    pub fn ask_acknowledge(
        &self,
        (group, member): (&str, &str),
        seq: u64,
    ) -> oneshot::Receiver<Result<usize, PollRefused>> {
        self.ask_desk(|reply| DeskNote::AckPolled {
            group: group.into(),
            member: member.into(),
            seq,
            reply,
        })
    }

    /// Asks for the newest dead letters of a group; `None` if there is no such group.
    pub fn ask_dead_letters(
        &self,
        group: &str,
        limit: usize,
    ) -> oneshot::Receiver<Option<DeadLetterPage>> {
        self.ask_desk(|reply| DeskNote::DeadLetters {
            group: group.into(),
            limit,
            reply,
        })
    }

    /// Asks for all groups.
    pub fn ask_groups(&self) -> oneshot::Receiver<Vec<ListedGroup>> {
        self.ask_desk(DeskNote::Groups)
    }

    fn ask_desk<T>(
        &self,
        note: impl FnOnce(oneshot::Sender<T>) -> DeskNote,
    ) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        self.to_desk(note(reply));
        answer
    }

    fn to_desk(&self, note: DeskNote) {
        match self.id == HOME {
            true => self.take_desk_note(note),
            false => self.note(HOME, Note::Desk(note)),
        }
    }

    /// Takes a note for the desk, or from it.
    pub(super) fn take_desk_note(&self, note: DeskNote) {
        let note = match note {
            DeskNote::Batch(peer, text) => return self.take_batch(peer, text),
            DeskNote::Error(peer, text) => return self.send_json(peer, Priority::Normal, &text),
            note => note,
        };
        let now_ms = self.clock.now_ms();
        let mut desk = self.applications.desk.borrow_mut();
        let Some(desk) = &mut *desk else { return };
        self.flusher.raise();
        // The receiver of a reply may have been dropped.
        match note {
            DeskNote::Objects(objects) => desk.take(objects),
            DeskNote::Attach {
                link,
                group,
                limits,
            } => {
                if let Err(error) = desk.attach(link, &group, limits, now_ms) {
                    self.refuse_member(link, error);
                }
            }
            DeskNote::Detach(link) => desk.detach(link, now_ms),
            DeskNote::Acknowledge(link, seq) => {
                if let Err(error) = desk.acknowledge(link, seq, now_ms) {
                    let mut text = br#"{"error":"invalid","message":"#.to_vec();
                    put_string(&mut text, &error.to_string());
                    text.push(b'}');
                    match link.0 == self.id {
                        true => self.send_json(link.1, Priority::Normal, &text),
                        false => self.note(link.0, Note::Desk(DeskNote::Error(link.1, text))),
                    }
                }
            }
            DeskNote::Credit(link, more) => desk.add_credit(link, more),
            DeskNote::Written(link, bytes) => desk.note_written(link, bytes),
            DeskNote::Poll(poll, reply) => desk.poll(&poll, reply, now_ms),
            DeskNote::AckPolled {
                group,
                member,
                seq,
                reply,
            } => {
                let _ = reply.send(desk.acknowledge_polled((&group, &member), seq, now_ms));
            }
            DeskNote::Reply {
                link,
                n,
                data,
                reply,
            } => match desk.asked(link, n) {
                Some((connection, id)) => {
                    let id = id.into();
                    self.order(connection, ConnectionOrder::Reply { id, data }, reply);
                }
                None => reply.answer(OrderResult::NotFound),
            },
            DeskNote::DeadLetters {
                group,
                limit,
                reply,
            } => {
                let _ = reply.send(desk.dead_letters(&group, limit));
            }
            DeskNote::Groups(reply) => {
                let _ = reply.send(desk.list(now_ms));
            }
            DeskNote::Batch(..) | DeskNote::Error(..) => unreachable!("they were handled"),
        }
    }

    /// Takes a batch for a member whose connection is here.
    fn take_batch(&self, peer: PeerId, text: Vec<u8>) {
        let mut arrived = self.applications.arrived.borrow_mut();
        let at = arrived.iter().position(|known| known.peer == peer);
        let at = at.unwrap_or_else(|| {
            arrived.push(Arrived {
                peer,
                ..Arrived::default()
            });
            arrived.len() - 1
        });
        arrived[at].waiting.push_back(text);
        self.flusher.raise();
    }

    /// Closes a connection that cannot be a member.
    fn refuse_member(&self, link: AnyPeer, error: AttachError) {
        let (code, reason) = error.close();
        let wanted = Wanted {
            connection: Some(link),
            ..Wanted::default()
        };
        let order = CloseOrder {
            code,
            reason: Some(reason.into()),
        };
        // Nobody waits for how many that were.
        drop(self.ask_close(link.0, &wanted, &order));
    }

    /// Passes what has come from the desk to members' connections, as far as it fits into their outboxes.
    fn put_arrived(&self) {
        let mut arrived = self.applications.arrived.borrow_mut();
        for Arrived {
            peer,
            waiting,
            on_way,
        } in &mut *arrived
        {
            while waiting.front().is_some_and(|text| self.fits(*peer, text)) {
                let text = waiting.pop_front().expect("it was looked at");
                self.send_json(*peer, Priority::High, &text);
                *on_way += text.len();
            }
        }
    }

    /// Whether a batch fits into a connection's outbox beside what is there. One that is larger than the outbox is sent
    /// alone.
    fn fits(&self, peer: PeerId, text: &[u8]) -> bool {
        let unwritten = self.unwritten_here(peer);
        unwritten == 0 || unwritten + text.len() <= self.config.hub.outbox_max_bytes / 2
    }

    /// Bytes that a connection of this shard has not written; very many if it has as many messages as it may.
    fn unwritten_here(&self, peer: PeerId) -> usize {
        let core = self.core.borrow();
        let hub = core.engine.hub();
        match hub.is_present(peer) && hub.is_outbox_full(peer.slot) {
            true => usize::MAX / 2,
            false => usize::try_from(hub.unsent(peer)).unwrap_or(usize::MAX / 2),
        }
    }
}

impl MemberLinks for &Shard {
    fn unwritten(&self, (shard, peer): AnyPeer) -> Option<usize> {
        (shard == self.id).then(|| self.unwritten_here(peer))
    }

    fn send(&mut self, (shard, peer): AnyPeer, text: &[u8]) {
        match shard == self.id {
            // Errors are below it, which give way first.
            true => self.send_json(peer, Priority::High, text),
            false => self.note(shard, Note::Desk(DeskNote::Batch(peer, text.to_vec()))),
        }
    }
}

/// Capacity that the buffer keeps between turns.
const TEXT_KEPT_MAX: usize = 64 * 1024;
