//! The connected users: each sends, and checks what it gets.

use hdrhistogram::Histogram;

use super::accounts::number_of;
use super::ledger::{Audience, Ledger};
use crate::frame::opcode;
use crate::messenger::{Frame, SERVER, put_message, rate_hint};
use crate::net::{End, Handler, Id, Net, Target};
use crate::payload::{self, Layout, PayloadHead, Source};
use crate::scenario::connections::{ConnectionOwner, RunConnections};
use crate::scenario::{cannot_connect, failure};
use crate::verify::new_histogram;

/// Whom a broadcast is for.
const ALL: &str = "broadcast";

/// The connected users.
pub(super) struct Users {
    names: Vec<String>,
    tokens: Vec<String>,
    audience: Audience,
    layout: Layout,
    target: Target,
    pub(super) ledger: Ledger,
    /// From the send time of a message to its receipt.
    pub(super) latency: Histogram<u64>,
    pub(super) connections: RunConnections,
    /// Connections by user, and users by connection.
    ids: Vec<Id>,
    users: Vec<usize>,
    /// Users who may send more, each once.
    pub(super) ready: Vec<usize>,
    is_ready: Vec<bool>,
    first_fault: Option<String>,
}

impl Users {
    pub(super) fn new(
        names: Vec<String>,
        tokens: Vec<String>,
        (audience, layout): (Audience, Layout),
        target: &Target,
    ) -> Self {
        let count = names.len();
        Self {
            ledger: Ledger::new(audience, count),
            names,
            tokens,
            audience,
            layout,
            target: target.clone(),
            latency: new_histogram(),
            connections: RunConnections::default(),
            ids: vec![0; count],
            users: Vec::new(),
            ready: Vec::new(),
            is_ready: vec![false; count],
            first_fault: None,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// The first frame that was not as it had to be.
    pub(super) fn first_fault(&self) -> Option<&str> {
        self.first_fault.as_deref()
    }

    /// Queues the next message of a user.
    pub(super) fn send(&mut self, net: &mut Net, user: usize, sent_ns: u64) {
        let number = self.ledger.send(user);
        let recipient = self.ledger.recipient(user, number);
        let to = recipient.map_or(ALL, |recipient| &self.names[recipient]);
        let source = source_of(user, recipient);
        net.queue(self.ids[user], opcode::TEXT, |out| {
            let parties = (&*self.names[user], to);
            let (kind, timestamp) = (kind_of(self.audience), timestamp_of(number));
            put_message(out, parties, kind, &timestamp, |out| {
                self.layout.write(out, source, number, sent_ns);
            });
        });
    }

    /// The connection of a user.
    pub(super) fn id(&self, user: usize) -> Id {
        self.ids[user]
    }

    /// What a message of a user has: its recipient, timestamp and content.
    pub(super) fn text_of(&self, user: usize, number: u32) -> (&str, &str, String, String) {
        let recipient = self.ledger.recipient(user, number);
        let mut content = Vec::new();
        let source = source_of(user, recipient);
        self.layout.write(&mut content, source, number, 0);
        let content = String::from_utf8_lossy(&content[1..content.len() - 1]).into_owned();
        let to = recipient.map_or(ALL, |recipient| &self.names[recipient]);
        (&self.names[user], to, timestamp_of(number), content)
    }

    fn mark_ready(&mut self, user: usize) {
        if !std::mem::replace(&mut self.is_ready[user], true) {
            self.ready.push(user);
        }
    }

    /// The users who may send more now.
    pub(super) fn take_ready(&mut self) -> Vec<usize> {
        let ready = std::mem::take(&mut self.ready);
        for user in &ready {
            self.is_ready[*user] = false;
        }
        ready
    }

    fn receive(&mut self, net: &Net, user: usize, payload: &[u8]) -> Result<(), String> {
        let frame = Frame::parse(payload)?;
        let header = &frame.header;
        if header.from == SERVER && header.to == self.names[user] {
            let id = frame.acknowledged()?;
            self.ledger.acknowledge(user, id);
            self.mark_ready(user);
            return Ok(());
        }
        let shown = || {
            let text = String::from_utf8_lossy(payload);
            format!("unexpected{}: {text:.300}", rate_hint(payload))
        };
        let (Some(id), None) = (frame.id, frame.status) else {
            return Err(shown());
        };
        let sender = number_of(header.from).filter(|sender| *sender < self.count());
        let sender = sender.filter(|sender| self.names[*sender] == header.from);
        let sender = sender.ok_or_else(shown)?;
        let content = frame.content();
        let head = PayloadHead::of(content).filter(|_| content.len() == self.layout.bytes());
        let number = head.and_then(|head| payload::number(head.sequence));
        let source = head.and_then(|head| payload::number(head.source));
        let sent_ns = head.and_then(|head| payload::time_ns(head.time));
        let (Some(number), Some(source), Some(sent_ns)) = (number, source, sent_ns) else {
            self.fault(|counts| counts.corrupt += 1, shown);
            return Ok(());
        };
        let recipient = self.ledger.recipient(sender, number);
        let is_mine = match recipient {
            Some(recipient) => recipient == user && header.to == self.names[user],
            None => sender != user && header.to == ALL,
        };
        if !is_mine {
            self.fault(|counts| counts.misrouted += 1, shown);
            return Ok(());
        }
        let is_whole = source == source_of(sender, recipient).number()
            && header.message_type == kind_of(self.audience)
            && header.is_broadcast == (self.audience == Audience::Others)
            && header.timestamp == timestamp_of(number)
            && content[0] == b'"'
            && self.layout.tail_matches(content, source, number);
        if !is_whole {
            self.fault(|counts| counts.corrupt += 1, shown);
            return Ok(());
        }
        let faults = self.ledger.counts.faults();
        self.ledger.deliver((sender, number), user, id);
        if self.ledger.counts.faults() > faults {
            self.first_fault.get_or_insert_with(shown);
        }
        self.mark_ready(sender);
        self.latency
            .saturating_record(net.read_at_ns().saturating_sub(sent_ns).max(1));
        Ok(())
    }

    fn fault(
        &mut self,
        count: impl FnOnce(&mut crate::verify::Counts),
        shown: impl FnOnce() -> String,
    ) {
        count(&mut self.ledger.counts);
        self.first_fault.get_or_insert_with(shown);
    }
}

fn source_of(sender: usize, recipient: Option<usize>) -> Source {
    Source {
        topic: recipient.map_or(0, |recipient| recipient as u32),
        publisher: sender as u16,
    }
}

fn kind_of(audience: Audience) -> &'static str {
    match audience {
        Audience::One => "direct",
        Audience::Others => ALL,
    }
}

/// The time that a message says it was written, which tells its number.
fn timestamp_of(number: u32) -> String {
    format!("2026-01-02T03:04:05.{:06}Z", number % 1_000_000)
}

impl ConnectionOwner for Users {
    fn connections(&mut self) -> &mut RunConnections {
        &mut self.connections
    }

    fn open(&mut self, net: &mut Net, number: usize) -> Result<Id, String> {
        let query = format!("ack=true&token={}", self.tokens[number]);
        let target = self.target.at("/ws", &query, &[]);
        let id = net.open_to(&target).map_err(cannot_connect)?;
        if self.users.len() <= id {
            self.users.resize(id + 1, usize::MAX);
        }
        self.users[id] = number;
        self.ids[number] = id;
        Ok(id)
    }
}

impl Handler for Users {
    fn opened(&mut self, _net: &mut Net, id: Id) {
        self.connections.mark_ready(id);
    }

    fn message(&mut self, net: &mut Net, id: Id, _op: u8, payload: &[u8]) {
        if let Err(problem) = self.receive(net, self.users[id], payload) {
            self.connections.fail(problem);
        }
    }

    fn closed(&mut self, _net: &mut Net, _id: Id, end: End) {
        let failure = failure(&self.target, "user", &end);
        self.connections.fail(failure);
    }
}
