//! What happens on the connections of clients and members.

use std::time::Duration;

use serde::Deserialize;

use super::app_message::{self, AppMessages};
use super::clients::{ClientPhase, Clients, NORMAL};
use super::dialect::Told;
use super::inbox::Inbox;
use super::members::{Members, ReadEnd};
use crate::frame::opcode;
use crate::net::{End, Handler, Id, Net, Target};
use crate::scenario::connections::{ConnectionOwner, RunConnections};
use crate::wse::{self, Greeting};

/// Id of the question how much the group has not acknowledged.
const PENDING_ID: &str = "pending";

/// What a connection is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Role {
    #[default]
    None,
    Client(u32),
    Member(usize),
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
    /// How late the last member acknowledges.
    pub(crate) ack_delay: Duration,
}

/// The clients and members of a run.
#[derive(Debug)]
pub(crate) struct BackendHandler {
    target: Target,
    member_target: Target,
    pub(crate) clients: Clients,
    pub(crate) members: Members,
    pub(crate) inbox: Inbox,
    /// What the gateway last said that the group has not acknowledged.
    pub(crate) pending: Option<u64>,
    pub(crate) connections: RunConnections,
    /// By connection.
    roles: Vec<Role>,
}

/// An answer of the gateway to a member.
#[derive(Debug, Deserialize)]
struct Answer {
    id: String,
    group: Group,
}

#[derive(Debug, Deserialize)]
struct Group {
    pending: u64,
}

impl BackendHandler {
    pub(crate) fn new(plan: Plan, messages: AppMessages) -> Self {
        Self {
            clients: Clients::new(plan.clients, plan.burst, plan.in_flight),
            members: Members::new(plan.members, plan.ack_delay),
            inbox: Inbox::new(plan.clients, messages),
            target: plan.target,
            member_target: plan.member_target,
            pending: None,
            connections: RunConnections::default(),
            roles: Vec::new(),
        }
    }

    pub(crate) fn open_member(&mut self, net: &mut Net, number: usize) -> Result<(), String> {
        let id = net
            .open_to(&self.member_target)
            .map_err(|error| format!("cannot connect: {error}"))?;
        self.set_role(id, Role::Member(number));
        Ok(())
    }

    pub(crate) fn open_client(&mut self, net: &mut Net, client: u32) -> Result<Id, String> {
        let id = crate::scenario::open(net)?;
        self.set_role(id, Role::Client(client));
        self.clients.opening(client);
        Ok(id)
    }

    fn set_role(&mut self, id: Id, role: Role) {
        if self.roles.len() <= id {
            self.roles.resize(id + 1, Role::None);
        }
        self.roles[id] = role;
    }

    /// Sends `count` messages of a client that is open, in one write.
    pub(crate) fn send(&mut self, net: &mut Net, client: u32, count: u32, sent_ns: u64) {
        let Inbox {
            messages, ledger, ..
        } = &mut self.inbox;
        self.clients
            .send(net, messages, ledger, client, (count, sent_ns));
    }

    /// Has clients begin to send, in a closed loop.
    pub(crate) fn start(&mut self, net: &mut Net, clients: u32) {
        self.clients.sending = true;
        for client in 0..clients {
            self.clients.touch(client);
        }
        self.fill_touched(net);
    }

    pub(crate) fn reset_client(&mut self, net: &mut Net, client: u32) {
        self.clients.reset(net, &mut self.inbox.ledger, client);
    }

    fn fill_touched(&mut self, net: &mut Net) {
        let Inbox {
            messages, ledger, ..
        } = &mut self.inbox;
        self.clients.fill_touched(net, messages, ledger);
    }

    /// Asks how much the group has not acknowledged; the answer will be in `pending`.
    pub(crate) fn ask_pending(&self, net: &mut Net) {
        if let Some(id) = self.members.attached().next() {
            let question = format!(r#"{{"op":"health","id":"{PENDING_ID}"}}"#);
            net.queue(id, opcode::TEXT, |out| {
                out.extend_from_slice(question.as_bytes());
            });
            net.flush(id);
        }
    }

    /// A frame to a member.
    fn member_frame(&mut self, net: &mut Net, number: usize, frame: &[u8]) {
        if frame.first() == Some(&b'{') {
            return self.answered(frame);
        }
        let before = self.members.objects(number);
        let now_ns = net.read_at_ns();
        self.inbox
            .batch(&mut self.members, &mut self.clients, number, frame, now_ns);
        let objects = self.members.objects(number) - before;
        net.count_more_messages(objects.saturating_sub(1));
    }

    /// An answer to [`Self::ask_pending`], or an error.
    fn answered(&mut self, frame: &[u8]) {
        match serde_json::from_slice(frame) {
            Ok(Answer { id, group }) if id == PENDING_ID => self.pending = Some(group.pending),
            _ => {
                let text = String::from_utf8_lossy(frame);
                let failure = format!("a member got an unexpected answer: {text:.300}");
                self.connections.fail(failure);
            }
        }
    }

    /// A frame to a client that is being greeted.
    fn greeted(&mut self, net: &mut Net, id: Id, client: u32, payload: &[u8]) {
        match self.inbox.messages.dialect().greet(payload) {
            Ok(Greeting::Done) => {
                self.clients.greet(client, id);
                self.connections.mark_ready(id);
            }
            Ok(Greeting::Send(answer)) => Self::answer(net, id, &answer),
            Err(problem) => self.connections.fail(problem),
        }
    }

    fn answer(net: &mut Net, id: Id, text: &[u8]) {
        net.queue(id, opcode::TEXT, |out| out.extend_from_slice(text));
        net.flush(id);
    }

    /// A frame to a client that was greeted: its message was refused, or the connection is kept alive.
    fn told(&mut self, net: &mut Net, id: Id, client: u32, payload: &[u8]) {
        let sequence = match self.inbox.messages.dialect().told(payload) {
            Told::Refused { id } => Some(id.and_then(app_message::sequence_of)),
            Told::Heartbeat(answer) => return Self::answer(net, id, answer),
            Told::Unexpected => None,
        };
        let messages = &self.inbox.messages;
        let is_named = messages.has_ids() && messages.dialect().names_refused();
        if let Some(sequence) = sequence.filter(|sequence| sequence.is_some() == is_named) {
            self.inbox.ledger.refuse(client, sequence);
            self.clients.touch(client);
        } else {
            let text = String::from_utf8_lossy(payload);
            self.connections.fail(format!(
                "a client got an unexpected frame: {text:.300}{}",
                wse::rate_hint(payload)
            ));
        }
    }

    fn member_read_ended(&mut self, net: &mut Net, number: usize) {
        self.inbox.record_run(net.read_at_ns());
        match self.members.end_read(net, number) {
            ReadEnd::Taken => {}
            ReadEnd::Killed { session } => self.inbox.ledger.end_session(session),
        }
        self.fill_touched(net);
    }
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
    fn opened(&mut self, net: &mut Net, id: Id) {
        if let Role::Member(number) = self.roles[id] {
            let session = self.inbox.ledger.begin_session();
            self.members.attach(number, id, session);
            // What all clients say comes to a few members.
            net.set_eager(id);
        }
    }

    fn message(&mut self, net: &mut Net, id: Id, _op: u8, payload: &[u8]) {
        match self.roles[id] {
            Role::Member(number) => self.member_frame(net, number, payload),
            Role::Client(client) => match self.clients.phase(client) {
                ClientPhase::Opening => self.greeted(net, id, client, payload),
                _ => self.told(net, id, client, payload),
            },
            Role::None => {}
        }
    }

    fn read_ended(&mut self, net: &mut Net, id: Id) {
        match self.roles[id] {
            Role::Member(number) => self.member_read_ended(net, number),
            Role::Client(_) => self.fill_touched(net),
            Role::None => {}
        }
    }

    fn closed(&mut self, _net: &mut Net, id: Id, end: End) {
        let is_clean = matches!(end, End::Closed { code: NORMAL, .. });
        let (target, what, was_asked) = match std::mem::take(&mut self.roles[id]) {
            Role::Client(client) => {
                let was_asked = self.clients.closed(client) == ClientPhase::Closing;
                (&self.target, "client", was_asked)
            }
            Role::Member(number) => {
                let was_asked = self.members.detach(number);
                (&self.member_target, "member", was_asked)
            }
            Role::None => return,
        };
        if !was_asked || !is_clean {
            let failure = crate::scenario::failure(target, what, &end);
            self.connections.fail(failure);
        }
    }
}
