//! All connections of a run: users over WebSocket, services over HTTP.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::answer::{Answers, refusal};
use super::call::{Call, PendingAnswer};
use super::delivery::{Deliveries, Question};
use super::plan::{BridgePlan, RequestKind};
use super::request::{Requests, UserMessage};
use crate::frame::opcode;
use crate::net::{End, Handler, Id, Net, ResponsePart, Target};
use crate::payload::Layout;
use crate::scenario::connections::{ConnectionOwner, RunConnections};
use crate::scenario::{cannot_connect, failure};
use crate::verify::{Counts, new_histogram};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BridgeRole {
    /// It ended.
    None,
    User(usize),
    Service(u16),
}

/// The answer that a service waits for.
#[derive(Debug)]
enum Waiting {
    /// None: it may post, if it is connected.
    Nothing,
    /// Whether the server knows this user.
    Probe(usize),
    Push,
    /// The results for users from this one on.
    Batch(usize),
    Call(Box<Call>),
}

/// A service: posts one request at a time, and reconnects when the server closes its
/// connection between two requests.
#[derive(Debug)]
struct Service {
    kind: RequestKind,
    /// `None` while it reconnects.
    id: Option<Id>,
    waiting: Waiting,
    /// Answers on this connection.
    answers: u64,
    /// Sequence number of its next call.
    calls: u32,
}

/// Totals of requests and answers.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Totals {
    /// Answered pushes, batches and calls.
    pub(crate) requests: u64,
    /// Calls that got all their events.
    pub(crate) calls: u64,
    /// Answers that do not say success.
    pub(crate) refused: u64,
    /// Connections that the server closed between two requests.
    pub(crate) reopened: u64,
}

pub(crate) struct BridgePeers {
    pub(crate) plan: BridgePlan,
    pub(crate) deliveries: Deliveries,
    pub(crate) connections: RunConnections,
    /// Events of all calls.
    pub(crate) events: Counts,
    /// From the request of a call to the end of its stream.
    pub(crate) call_latency: Histogram<u64>,
    pub(crate) totals: Totals,
    /// Whether services post; false once the window has closed.
    pub(crate) sending: bool,
    target: Target,
    layout: Layout,
    requests: Requests,
    answers: Answers,
    /// By connection.
    roles: Vec<BridgeRole>,
    services: Vec<Service>,
    /// Connection of each user.
    users: Vec<Id>,
    /// Services that may post, when there is a schedule.
    idle: VecDeque<u16>,
    /// Services that must reconnect.
    closed: Vec<u16>,
    /// Users that the server is not known to know, before the run.
    unseen: Vec<usize>,
    /// Questions that users have not answered completely.
    pending: VecDeque<PendingAnswer>,
    /// The user that gets the next push.
    turn: usize,
    first_refusal: Option<String>,
    leaving: bool,
    open: usize,
}

impl BridgePeers {
    pub(crate) fn new(plan: BridgePlan, target: Target, layout: impl Fn() -> Layout) -> Self {
        let service = |&kind: &RequestKind| Service {
            kind,
            id: None,
            waiting: Waiting::Nothing,
            answers: 0,
            calls: 0,
        };
        Self {
            deliveries: Deliveries::new(&plan, layout()),
            connections: RunConnections::default(),
            events: Counts::default(),
            call_latency: new_histogram(),
            totals: Totals::default(),
            sending: false,
            layout: layout(),
            requests: Requests::new(target.clone(), layout(), &plan),
            answers: Answers::default(),
            roles: Vec::new(),
            services: plan.services.iter().map(service).collect(),
            users: vec![0; plan.users.len()],
            idle: VecDeque::new(),
            closed: Vec::new(),
            unseen: (0..plan.users.len()).rev().collect(),
            pending: VecDeque::new(),
            turn: 0,
            first_refusal: None,
            leaving: false,
            open: 0,
            target,
            plan,
        }
    }

    /// Connections of the run.
    pub(crate) fn count(&self) -> usize {
        self.plan.users.len() + self.services.len()
    }

    /// Connections that are open.
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// Requests not answered yet.
    pub(crate) fn unanswered(&self) -> usize {
        let waiting = |service: &&Service| !matches!(service.waiting, Waiting::Nothing);
        self.services.iter().filter(waiting).count()
    }

    /// The first answer that does not say success.
    pub(crate) fn first_refusal(&self) -> Option<&str> {
        self.first_refusal.as_deref()
    }

    /// Makes every service probe users: the server may answer an upgrade before it can
    /// push to the user. [`Self::are_all_seen`] ends it.
    pub(crate) fn look_for_users(&mut self, net: &mut Net) {
        for service in 0..self.services.len() {
            self.next(net, service as u16);
        }
    }

    /// Whether the server knows every user.
    pub(crate) fn are_all_seen(&self) -> bool {
        self.unseen.is_empty() && self.unanswered() == 0
    }

    /// Makes every service post its first request.
    pub(crate) fn start(&mut self, net: &mut Net) {
        self.sending = true;
        self.idle.clear();
        for service in 0..self.services.len() {
            self.next(net, service as u16);
        }
    }

    /// Posts on an idle service, if there is one.
    pub(crate) fn post_scheduled(&mut self, net: &mut Net, due_ns: u64) -> bool {
        while let Some(number) = self.idle.pop_front() {
            if self.services[usize::from(number)].id.is_some() {
                self.post(net, number, due_ns);
                return true;
            }
        }
        false
    }

    /// Whether a service may be idle.
    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Sends the next answer to each question, and reconnects closed services.
    pub(crate) fn work(&mut self, net: &mut Net) -> Result<(), String> {
        for _ in 0..self.pending.len() {
            let Some(mut pending) = self.pending.pop_front() else {
                break;
            };
            if self.plan.intruders && pending.index == 0 {
                self.answer_unasked(net, &pending);
            }
            if !self.answer(net, &pending, pending.user) {
                pending.index += 1;
                self.pending.push_back(pending);
            }
        }
        for service in std::mem::take(&mut self.closed) {
            let id = net.open_http().map_err(cannot_connect)?;
            self.assign(id, BridgeRole::Service(service));
        }
        Ok(())
    }

    /// Answers from a random user that was not asked.
    fn answer_unasked(&self, net: &mut Net, pending: &PendingAnswer) {
        let others = self.plan.users.len() - 1;
        let other = (pending.user + 1 + net.random.below(others)) % self.plan.users.len();
        self.answer(net, pending, other);
    }

    /// Sends the next answer from `user`; true if it is the final one.
    fn answer(&self, net: &mut Net, pending: &PendingAnswer, user: usize) -> bool {
        let id = self.users[user];
        let now_ns = net.now_ns();
        let mut is_final = false;
        net.queue(id, opcode::TEXT, |out| {
            is_final = pending.write(out, &self.layout, self.plan.answers, user, now_ns);
        });
        net.flush(id);
        is_final
    }

    /// Counts the missing events of calls that have not ended.
    pub(crate) fn abandon_calls(&mut self) {
        for service in &self.services {
            if let Waiting::Call(call) = &service.waiting {
                call.end(&mut self.events);
            }
        }
    }

    /// Whether a question is not answered completely.
    pub(crate) fn is_answering(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Closes all connections; [`Self::open_count`] becomes 0 when they have ended.
    pub(crate) fn leave(&mut self, net: &mut Net) {
        self.leaving = true;
        for id in 0..self.roles.len() {
            if self.roles[id] != BridgeRole::None {
                net.close(id, 1000);
            }
        }
    }

    fn assign(&mut self, id: Id, role: BridgeRole) {
        if self.roles.len() <= id {
            self.roles.resize(id + 1, BridgeRole::None);
        }
        self.roles[id] = role;
    }

    /// Continues with a service that has its answer.
    fn next(&mut self, net: &mut Net, number: u16) {
        let service = &mut self.services[usize::from(number)];
        service.waiting = Waiting::Nothing;
        let Some(id) = service.id else {
            return;
        };
        if net.is_last(id) {
            // The server closes it now; then it reconnects.
            return;
        }
        if let Some(user) = self.unseen.pop() {
            service.waiting = Waiting::Probe(user);
            net.queue_request(id, |out| self.requests.probe(out, &self.plan, user));
            net.flush(id);
        } else if self.sending && self.plan.rate.is_none() {
            let now_ns = net.now_ns();
            self.post(net, number, now_ns);
        } else {
            self.idle.push_back(number);
        }
    }

    /// Posts the next request of a service.
    fn post(&mut self, net: &mut Net, number: u16, sent_ns: u64) {
        let service = &mut self.services[usize::from(number)];
        let id = service.id.expect("the caller looked");
        let users = self.plan.users.len();
        let (plan, requests, deliveries) = (&self.plan, &self.requests, &mut self.deliveries);
        match service.kind {
            RequestKind::Push | RequestKind::Batch => {
                let first = self.turn;
                let count = if service.kind == RequestKind::Push {
                    1
                } else {
                    plan.batch
                };
                self.turn = (first + count) % users;
                service.waiting = match service.kind {
                    RequestKind::Push => Waiting::Push,
                    _ => Waiting::Batch(first),
                };
                let is_batch = service.kind == RequestKind::Batch;
                net.queue_request(id, |out| {
                    requests.head(out, service.kind);
                    for at in 0..count {
                        if is_batch {
                            out.push(if at == 0 { b'[' } else { b',' });
                        }
                        let user = (first + at) % users;
                        let sequence = deliveries.send(number, user);
                        requests.message(
                            out,
                            plan,
                            number,
                            UserMessage { user, sequence },
                            sent_ns,
                        );
                    }
                    if is_batch {
                        out.push(b']');
                    }
                });
            }
            RequestKind::Call => {
                let user = net.random.below(users);
                let sequence = service.calls;
                service.calls = sequence.wrapping_add(1);
                let call = Call::new(number, user, sequence, plan.answers, sent_ns);
                let message = UserMessage { user, sequence };
                net.queue_request(id, |out| {
                    requests.call(out, plan, number, message, &call.correlation, sent_ns);
                });
                service.waiting = Waiting::Call(Box::new(call));
            }
        }
        net.flush(id);
    }

    /// Handles an answer that is no event stream.
    fn answered(&mut self, net: &mut Net, number: u16, status: u16, body: &[u8]) {
        let service = &mut self.services[usize::from(number)];
        service.answers += 1;
        let result = match &service.waiting {
            Waiting::Nothing => Err(format!("nobody asked: {}", refusal(status, body))),
            Waiting::Probe(user) => {
                if status == 200 && self.answers.push(status, body).is_err() {
                    // The server does not know the user yet: probe again.
                    self.unseen.insert(0, *user);
                    Ok(())
                } else {
                    self.answers.push(status, body)
                }
            }
            Waiting::Push => {
                self.totals.requests += 1;
                self.answers.push(status, body)
            }
            Waiting::Batch(first) => {
                self.totals.requests += 1;
                Answers::batch(&self.plan, *first, status, body)
            }
            Waiting::Call(call) => {
                self.totals.requests += 1;
                call.end(&mut self.events);
                Err(refusal(status, body))
            }
        };
        if let Err(text) = result {
            self.totals.refused += 1;
            self.first_refusal.get_or_insert(text);
        }
        self.next(net, number);
    }

    /// Handles a chunk of a call's stream.
    fn chunk(&mut self, number: u16, bytes: &[u8]) {
        if let Waiting::Call(call) = &mut self.services[usize::from(number)].waiting
            && let Err(problem) = call.chunk(&self.layout, bytes, &mut self.events)
        {
            self.connections.fail(problem);
        }
    }

    /// Handles the end of a call's stream.
    fn ended(&mut self, net: &mut Net, number: u16) {
        let service = &mut self.services[usize::from(number)];
        service.answers += 1;
        if let Waiting::Call(call) = &service.waiting {
            self.totals.requests += 1;
            call.end(&mut self.events);
            if call.is_complete() {
                self.totals.calls += 1;
                let took_ns = net.read_at_ns().saturating_sub(call.began_ns);
                self.call_latency.saturating_record(took_ns.max(1));
            }
        }
        self.next(net, number);
    }

    /// Handles a question received by its user.
    fn asked(&mut self, user: usize, question: Question) {
        let service = self.services.get_mut(usize::from(question.service));
        let Some(Waiting::Call(call)) = service.map(|service| &mut service.waiting) else {
            self.events.misrouted += 1;
            return;
        };
        if call.user != user || call.sequence != question.sequence {
            // Of an earlier call of this service.
            self.events.duplicated += 1;
        } else if call.correlation != question.correlation {
            self.events.corrupt += 1;
        } else if std::mem::replace(&mut call.asked, true) {
            self.events.duplicated += 1;
        } else {
            self.pending.push_back(PendingAnswer {
                user,
                service: question.service,
                sequence: question.sequence,
                correlation: question.correlation,
                index: 0,
            });
        }
    }
}

impl ConnectionOwner for BridgePeers {
    fn connections(&mut self) -> &mut RunConnections {
        &mut self.connections
    }

    fn open(&mut self, net: &mut Net, number: usize) -> Result<Id, String> {
        let users = self.plan.users.len();
        let (opened, role) = if number < users {
            let parameter = format!("user_id={}", self.plan.user(number));
            (net.open_with(&parameter), BridgeRole::User(number))
        } else {
            (
                net.open_http(),
                BridgeRole::Service((number - users) as u16),
            )
        };
        let id = opened.map_err(cannot_connect)?;
        self.assign(id, role);
        Ok(id)
    }
}

impl Handler for BridgePeers {
    fn opened(&mut self, net: &mut Net, id: Id) {
        self.open += 1;
        match self.roles[id] {
            BridgeRole::User(user) => self.users[user] = id,
            BridgeRole::Service(number) => {
                let service = &mut self.services[usize::from(number)];
                service.id = Some(id);
                service.answers = 0;
                if self.totals.reopened > 0 && !self.leaving {
                    self.next(net, number);
                    return;
                }
            }
            BridgeRole::None => {}
        }
        self.connections.mark_ready(id);
    }

    fn message(&mut self, net: &mut Net, id: Id, _op: u8, payload: &[u8]) {
        let BridgeRole::User(user) = self.roles[id] else {
            return;
        };
        let (plan, now_ns) = (&self.plan, net.read_at_ns());
        let name = &plan.users[user];
        if let Some(question) = self.deliveries.frame(user, name, payload, plan, now_ns) {
            self.asked(user, question);
        }
    }

    fn response(&mut self, net: &mut Net, id: Id, part: ResponsePart<'_>) {
        let BridgeRole::Service(number) = self.roles[id] else {
            return;
        };
        match part {
            ResponsePart::Answer { status, body } => self.answered(net, number, status, body),
            ResponsePart::Stream => {}
            ResponsePart::Chunk(bytes) => self.chunk(number, bytes),
            ResponsePart::End => self.ended(net, number),
        }
    }

    fn closed(&mut self, _net: &mut Net, id: Id, end: End) {
        self.open = self.open.saturating_sub(1);
        let role = std::mem::replace(&mut self.roles[id], BridgeRole::None);
        if self.leaving {
            return;
        }
        match role {
            BridgeRole::Service(number) => {
                let service = &mut self.services[usize::from(number)];
                service.id = None;
                if service.answers > 0 && matches!(service.waiting, Waiting::Nothing) {
                    self.totals.reopened += 1;
                    self.closed.push(number);
                } else {
                    let text = failure(&self.target, "an HTTP connection", &end);
                    self.connections.fail(text);
                }
            }
            _ => self.connections.fail(failure(&self.target, "a user", &end)),
        }
    }
}
