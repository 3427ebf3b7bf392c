//! Clients and members of a run, and what comes on their connections.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;
use memchr::memmem;
use serde::Deserialize;

use super::app_message::{self, AppHead, AppMessages};
use super::batch::{BatchReader, Body, Object, Step};
use super::group_numbers::Numbered;
use super::ledger::{Ledger, Receipt};
use super::lifecycles::Lifecycles;
use crate::events::ServerFrame;
use crate::frame::opcode;
use crate::net::{End, Handler, Id, Net, Target};
use crate::payload;
use crate::scenario::connections::{ConnectionOwner, RunConnections};
use crate::verify::{Counts, new_histogram};

/// Close code of a client that a reset ended.
const NO_CODE: u64 = 0;

/// Close code of a client that closed.
pub(crate) const NORMAL: u16 = 1000;

/// Id of the question how much the group has not acknowledged.
const PENDING_ID: &str = "pending";

/// What a connection is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Role {
    #[default]
    None,
    Client(u32),
    Member(usize),
}

/// Where a client is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ClientPhase {
    #[default]
    Absent,
    Opening(Id),
    Open(Id),
    /// It has sent a close frame.
    Closing,
    Closed,
    Reset,
}

/// One session of a member, or none while it is away.
#[derive(Debug, Default)]
struct Member {
    id: Option<Id>,
    session: u32,
    /// The `seq` of its next object.
    next_seq: u64,
    /// The last `seq` that it acknowledged.
    acknowledged_seq: u64,
    /// New messages of the current read.
    messages: u64,
    /// Objects of the current read.
    objects: u64,
    /// How late it acknowledges.
    delay_ns: u64,
    /// Acknowledgements held back: when due, up to which `seq`, how many new messages.
    held: VecDeque<(u64, u64, u64)>,
}

/// Faults of members' frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LinkFaults {
    /// Objects whose `seq` does not follow the last one's.
    pub(crate) seqs: u64,
    /// Objects that say that others were dropped, and how many those say.
    pub(crate) gaps: u64,
    pub(crate) gap_lost: u64,
}

/// What does not change in a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) member_target: Target,
    pub(crate) clients: usize,
    pub(crate) members: usize,
    pub(crate) burst: u32,
    /// Messages of a client on the way, in a closed loop.
    pub(crate) in_flight: Option<u32>,
    /// Of the last member.
    pub(crate) ack_delay: Duration,
}

/// The clients and members of a run.
pub(crate) struct BackendHandler {
    plan: Plan,
    messages: AppMessages,
    reader: BatchReader,
    pub(crate) ledger: Ledger,
    pub(crate) lifecycles: Lifecycles,
    pub(crate) faults: LinkFaults,
    pub(crate) latency: Histogram<u64>,
    /// New messages that members acknowledged.
    pub(crate) acknowledged: u64,
    /// Whether clients answer what was received by more, in a closed loop.
    pub(crate) sending: bool,
    /// Whether what comes is of a run before this one.
    pub(crate) discarding: bool,
    pub(crate) discarded: u64,
    /// The member that gets the next messages resets its connection instead of acknowledging them.
    pub(crate) kill: bool,
    /// Objects that a member had not acknowledged when it was killed.
    pub(crate) unacknowledged: u64,
    /// What the gateway last said of the group.
    pub(crate) pending: Option<u64>,
    pub(crate) connections: RunConnections,
    roles: Vec<Role>,
    members: Vec<Member>,
    /// Whether members were asked to close.
    is_over: bool,
    clients: Vec<ClientPhase>,
    /// Clients that were greeted, in that order.
    pub(crate) opened: VecDeque<u32>,
    pub(crate) ended: usize,
    /// Clients of whom something was received or refused since they last sent.
    touched: Vec<u32>,
    is_touched: Vec<bool>,
    /// Messages with one send time that are not in `latency` yet.
    run: (u128, u64),
    /// The last object that was not understood.
    pub(crate) last_corrupt: String,
}

/// An answer of the gateway to a member.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    group: Option<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    pending: u64,
}

impl BackendHandler {
    pub(crate) fn new(plan: Plan, messages: AppMessages) -> Self {
        let clients = plan.clients;
        let mut members: Vec<_> = (0..plan.members).map(|_| Member::default()).collect();
        if let Some(last) = members.last_mut() {
            last.delay_ns = plan.ack_delay.as_nanos() as u64;
        }
        Self {
            plan,
            messages,
            reader: BatchReader::new(clients),
            ledger: Ledger::new(clients),
            lifecycles: Lifecycles::new(clients),
            faults: LinkFaults::default(),
            latency: new_histogram(),
            acknowledged: 0,
            sending: false,
            discarding: false,
            discarded: 0,
            kill: false,
            unacknowledged: 0,
            pending: None,
            connections: RunConnections::default(),
            roles: Vec::new(),
            members,
            is_over: false,
            clients: vec![ClientPhase::Absent; clients],
            opened: VecDeque::new(),
            ended: 0,
            touched: Vec::new(),
            is_touched: vec![false; clients],
            run: (0, 0),
            last_corrupt: String::new(),
        }
    }

    pub(crate) fn open_member(&mut self, net: &mut Net, number: usize) -> Result<(), String> {
        let id = net
            .open_to(&self.plan.member_target)
            .map_err(|error| format!("cannot connect: {error}"))?;
        self.set_role(id, Role::Member(number));
        Ok(())
    }

    pub(crate) fn open_client(&mut self, net: &mut Net, number: u32) -> Result<Id, String> {
        let id = crate::scenario::open(net)?;
        self.set_role(id, Role::Client(number));
        self.clients[number as usize] = ClientPhase::Opening(id);
        Ok(id)
    }

    fn set_role(&mut self, id: Id, role: Role) {
        if self.roles.len() <= id {
            self.roles.resize(id + 1, Role::None);
        }
        self.roles[id] = role;
    }

    /// The first member that is away.
    pub(crate) fn absent_member(&self) -> Option<usize> {
        self.members.iter().position(|member| member.id.is_none())
    }

    /// Messages that are received and not acknowledged.
    pub(crate) fn has_held_acks(&self) -> bool {
        self.members.iter().any(|member| !member.held.is_empty())
    }

    /// Faults so far.
    pub(crate) fn fault_count(&self) -> u64 {
        let Counts {
            duplicated,
            reordered,
            corrupt,
            misrouted,
            ..
        } = self.ledger.counts;
        duplicated + reordered + corrupt + misrouted + self.faults.seqs
    }

    pub(crate) fn parses(&self) -> u64 {
        self.reader.parses()
    }

    /// Sends `count` messages of a client that is open, in one write.
    pub(crate) fn send(&mut self, net: &mut Net, client: u32, count: u32, sent_ns: u64) {
        let ClientPhase::Open(id) = self.clients[client as usize] else {
            return;
        };
        for _ in 0..count {
            let sequence = self.ledger.send(client);
            let messages = &self.messages;
            net.queue(id, opcode::TEXT, |out| {
                messages.write(out, client, sequence, sent_ns);
            });
        }
        net.flush(id);
    }

    /// Bytes that the client's socket has not taken.
    pub(crate) fn queued_bytes(&self, net: &Net, client: u32) -> usize {
        match self.clients[client as usize] {
            ClientPhase::Open(id) => net.queued_bytes(id),
            _ => 0,
        }
    }

    /// Fills up what a client may have on the way, in a closed loop.
    pub(crate) fn fill(&mut self, net: &mut Net, client: u32) {
        let Some(in_flight) = self.plan.in_flight.filter(|_| self.sending) else {
            return;
        };
        let room = in_flight.saturating_sub(self.ledger.in_flight(client));
        let bursts = room / self.plan.burst;
        if bursts > 0 {
            let now_ns = net.now_ns();
            self.send(net, client, bursts * self.plan.burst, now_ns);
        }
    }

    fn touch(&mut self, client: u32) {
        if !std::mem::replace(&mut self.is_touched[client as usize], true) {
            self.touched.push(client);
        }
    }

    fn fill_touched(&mut self, net: &mut Net) {
        let mut touched = std::mem::take(&mut self.touched);
        for client in touched.drain(..) {
            self.is_touched[client as usize] = false;
            self.fill(net, client);
        }
        self.touched = touched;
    }

    /// Closes a client's connection.
    pub(crate) fn close_client(&mut self, net: &mut Net, client: u32) {
        if let ClientPhase::Open(id) = self.clients[client as usize] {
            self.clients[client as usize] = ClientPhase::Closing;
            net.close(id, NORMAL);
        }
    }

    /// Resets a client's connection.
    pub(crate) fn reset_client(&mut self, net: &mut Net, client: u32) {
        if let ClientPhase::Open(id) = self.clients[client as usize] {
            self.clients[client as usize] = ClientPhase::Reset;
            self.ended += 1;
            self.ledger.reset(client);
            self.roles[id] = Role::None;
            net.abort(id);
        }
    }

    /// Closes the members' connections; a run is over.
    pub(crate) fn close_members(&mut self, net: &mut Net) {
        self.is_over = true;
        for member in &self.members {
            if let Some(id) = member.id {
                net.close(id, NORMAL);
            }
        }
    }

    pub(crate) fn has_members(&self) -> bool {
        self.members.iter().any(|member| member.id.is_some())
    }

    /// Asks how much the group has not acknowledged; the answer is in `pending`.
    pub(crate) fn ask_pending(&self, net: &mut Net) {
        if let Some(id) = self.members.iter().find_map(|member| member.id) {
            let question = format!(r#"{{"op":"health","id":"{PENDING_ID}"}}"#);
            net.queue(id, opcode::TEXT, |out| {
                out.extend_from_slice(question.as_bytes());
            });
            net.flush(id);
        }
    }

    /// Sends the acknowledgements that were held back until now.
    pub(crate) fn send_held_acks(&mut self, net: &mut Net, now_ns: u64) {
        for member in &mut self.members {
            let mut last = None;
            while let Some(&(due_ns, seq, messages)) = member.held.front()
                && due_ns <= now_ns
            {
                member.held.pop_front();
                last = Some(seq);
                self.acknowledged += messages;
            }
            if let (Some(seq), Some(id)) = (last, member.id) {
                member.acknowledged_seq = seq;
                acknowledge(net, id, seq);
            }
        }
    }

    fn greeted(&mut self, id: Id, client: u32, payload: &[u8]) {
        match ServerFrame::parse(payload) {
            Ok(frame) if frame.kind == "connection_established" => {
                self.clients[client as usize] = ClientPhase::Open(id);
                self.opened.push_back(client);
                self.connections.mark_ready(id);
            }
            Ok(frame) => self
                .connections
                .fail(format!("greeted with {}", frame.kind)),
            Err(problem) => self.connections.fail(problem),
        }
    }

    /// A frame to a client that was greeted: its message was refused.
    fn refused(&mut self, client: u32, payload: &[u8]) {
        let is_refusal = payload.starts_with(br#"{"type":"error""#)
            && memmem::find(payload, br#""code":"BACKEND_BUSY""#).is_some();
        let sequence = memmem::find(payload, br#""id":""#)
            .and_then(|at| payload.get(at + 6..at + 14))
            .and_then(app_message::sequence_of);
        if !is_refusal || sequence.is_some() != self.messages.has_ids() {
            let text = String::from_utf8_lossy(payload);
            self.connections
                .fail(format!("a client got an unexpected frame: {text:.300}"));
            return;
        }
        self.ledger.refuse(client, sequence);
        self.touch(client);
    }

    /// A frame to a member.
    fn member_frame(&mut self, number: usize, frame: &[u8], now_ns: u64) {
        if frame.first() == Some(&b'{') {
            return self.answered(frame);
        }
        let mut rest = frame;
        loop {
            match self.reader.next(&self.messages, &mut rest) {
                Some(Step::Object(object)) if self.discarding => {
                    self.discarded += 1;
                    self.count_seq(number, object.seq);
                }
                Some(Step::Object(object)) => self.object(number, object, frame, now_ns),
                Some(Step::Broken) => {
                    self.ledger.counts.corrupt += 1;
                    self.last_corrupt = String::from_utf8_lossy(frame).into_owned();
                    return;
                }
                None => return,
            }
        }
    }

    #[inline]
    fn count_seq(&mut self, number: usize, seq: u64) {
        let member = &mut self.members[number];
        self.faults.seqs += u64::from(seq != member.next_seq);
        member.next_seq = seq + 1;
        member.objects += 1;
    }

    #[inline]
    fn object(&mut self, number: usize, object: Object<'_>, frame: &[u8], now_ns: u64) {
        let Object {
            n,
            seq,
            again,
            body,
        } = object;
        self.count_seq(number, seq);
        let Body::Message { head, conn } = body else {
            return self.event(n, again, &body, frame);
        };
        let AppHead {
            client,
            sequence,
            time,
        } = head;
        if let Some(conn) = conn {
            self.lifecycles.message(&conn, client, again);
        }
        let member = &mut self.members[number];
        match self
            .ledger
            .receive(member.session, n, again, client, sequence)
        {
            Receipt::First => {}
            Receipt::NotNew => return,
        }
        member.messages += 1;
        if time != self.run.0 {
            self.record_run(now_ns);
            self.run.0 = time;
        }
        self.run.1 += 1;
        if !self.is_touched[client as usize] {
            self.touch(client);
        }
    }

    /// An object that is no message.
    #[cold]
    fn event(&mut self, n: u64, again: bool, body: &Body<'_>, frame: &[u8]) {
        let (number, is_first, left) = match body {
            Body::Connect { conn } => {
                let (number, is_first) = self.lifecycles.connect(conn, again);
                (number, is_first, false)
            }
            Body::Disconnect { conn, code } => {
                let Some((number, is_first, client)) = self.lifecycles.disconnect(conn, again)
                else {
                    return;
                };
                if let Some(client) = client {
                    self.reader.forget(client);
                    let expected = match self.clients[client as usize] {
                        ClientPhase::Reset => NO_CODE,
                        _ => NORMAL.into(),
                    };
                    self.lifecycles.faults.wrong_codes += u64::from(is_first && *code != expected);
                }
                (number, is_first, true)
            }
            Body::Gap { lost } => {
                self.faults.gaps += 1;
                self.faults.gap_lost += lost;
                return;
            }
            Body::Other => {
                self.ledger.counts.other += 1;
                return;
            }
            Body::Message { .. } | Body::Corrupt => {
                self.ledger.counts.corrupt += 1;
                self.last_corrupt = String::from_utf8_lossy(frame).into_owned();
                return;
            }
        };
        if again {
            self.ledger.count_again();
        }
        let object = Numbered::connection(number, left);
        let is_right = match (is_first, again) {
            (true, _) => self.ledger.numbers.first(n, object),
            (false, true) => {
                self.ledger.repeated += 1;
                self.ledger.numbers.is_kept(n, object)
            }
            // Counted as what came twice.
            (false, false) => true,
        };
        self.ledger.faults.numbers += u64::from(!is_right);
    }

    /// An answer to [`Self::ask_pending`], or an error.
    fn answered(&mut self, frame: &[u8]) {
        let answer: Option<Answer> = serde_json::from_slice(frame).ok();
        match answer {
            Some(Answer {
                id: Some(id),
                group: Some(group),
            }) if id == PENDING_ID => self.pending = Some(group.pending),
            _ => {
                let text = String::from_utf8_lossy(frame);
                self.connections
                    .fail(format!("a member got an unexpected answer: {text:.300}"));
            }
        }
    }

    /// Records the messages with one send time.
    fn record_run(&mut self, now_ns: u64) {
        let count = std::mem::take(&mut self.run.1);
        if count > 0
            && let Some(sent_ns) = payload::time_ns(self.run.0)
        {
            let latency = now_ns.saturating_sub(sent_ns).max(1);
            self.latency.saturating_record_n(latency, count);
        }
    }

    /// Acknowledges what a read brought, or resets the connection instead.
    fn member_read_ended(&mut self, net: &mut Net, number: usize) {
        let now_ns = net.read_at_ns();
        self.record_run(now_ns);
        let member = &mut self.members[number];
        let messages = std::mem::take(&mut member.messages);
        let objects = std::mem::take(&mut member.objects);
        let Some(id) = member.id.filter(|_| objects > 0) else {
            return;
        };
        if self.kill && messages > 0 {
            self.kill = false;
            member.id = None;
            // They come again, and are acknowledged then, but are not new any more.
            let held = member.held.drain(..).map(|(_, _, messages)| messages);
            self.acknowledged += messages + held.sum::<u64>();
            self.unacknowledged += member.next_seq - 1 - member.acknowledged_seq;
            self.ledger.end_session(member.session);
            self.roles[id] = Role::None;
            net.abort(id);
            self.fill_touched(net);
            return;
        }
        let seq = member.next_seq - 1;
        if member.delay_ns > 0 {
            let due_ns = now_ns + member.delay_ns;
            member.held.push_back((due_ns, seq, messages));
        } else {
            self.acknowledged += messages;
            member.acknowledged_seq = seq;
            acknowledge(net, id, seq);
        }
        self.fill_touched(net);
    }
}

fn acknowledge(net: &mut Net, id: Id, seq: u64) {
    net.queue(id, opcode::TEXT, |out| {
        out.extend_from_slice(format!(r#"{{"ack":{seq}}}"#).as_bytes());
    });
    net.flush(id);
}

impl ConnectionOwner for BackendHandler {
    fn connections(&mut self) -> &mut RunConnections {
        &mut self.connections
    }

    /// Opens a client; members are there by then.
    fn open(&mut self, net: &mut Net, number: usize) -> Result<Id, String> {
        self.open_client(net, number as u32)
    }
}

impl Handler for BackendHandler {
    fn opened(&mut self, _net: &mut Net, id: Id) {
        if let Role::Member(number) = self.roles[id] {
            let member = &mut self.members[number];
            member.id = Some(id);
            member.session = self.ledger.begin_session();
            member.next_seq = 1;
            member.acknowledged_seq = 0;
        }
    }

    fn message(&mut self, net: &mut Net, id: Id, _op: u8, payload: &[u8]) {
        match self.roles[id] {
            Role::Member(number) => {
                let before = self.members[number].objects;
                self.member_frame(number, payload, net.read_at_ns());
                let objects = self.members[number].objects - before;
                net.count_more_messages(objects.saturating_sub(1));
            }
            Role::Client(client) => match self.clients[client as usize] {
                ClientPhase::Opening(_) => self.greeted(id, client, payload),
                _ => self.refused(client, payload),
            },
            Role::None => {}
        }
    }

    fn read_ended(&mut self, net: &mut Net, id: Id) {
        match self.roles[id] {
            Role::Member(number) => self.member_read_ended(net, number),
            Role::Client(_) if !self.touched.is_empty() => self.fill_touched(net),
            _ => {}
        }
    }

    fn closed(&mut self, _net: &mut Net, id: Id, end: End) {
        let is_clean = matches!(end, End::Closed { code: NORMAL, .. });
        match std::mem::take(&mut self.roles[id]) {
            Role::Client(client) => {
                let phase = &mut self.clients[client as usize];
                if *phase != ClientPhase::Closing || !is_clean {
                    let failure = crate::scenario::failure(&self.plan.target, "client", &end);
                    self.connections.fail(failure);
                }
                *phase = ClientPhase::Closed;
                self.ended += 1;
            }
            Role::Member(number) => {
                self.members[number].id = None;
                if !self.is_over || !is_clean {
                    let failure =
                        crate::scenario::failure(&self.plan.member_target, "member", &end);
                    self.connections.fail(failure);
                }
            }
            Role::None => {}
        }
    }
}
