//! All connections of a run: users, and those that post.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::answer::{Answers, refusal};
use super::call::{Call, Pending};
use super::delivery::{Deliveries, Question};
use super::plan::{Kind, Plan};
use super::request::{Item, Requests};
use crate::frame::opcode;
use crate::net::{End, Handler, Id, Net, ResponsePart, Target};
use crate::payload::Layout;
use crate::scenario::arrivals::{Arrivals, Arriving};
use crate::scenario::{cannot_connect, failure};
use crate::verify::{Counts, new_histogram};

/// Who is behind a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Nobody,
    User(usize),
    Slot(u16),
}

/// What a connection that posts waits for.
#[derive(Debug)]
enum Waiting {
    /// Nothing: it may post, if it is open.
    Nothing,
    /// Whether this user is there.
    Probe(usize),
    Push,
    /// The results for users from this one on.
    Batch(usize),
    Call(Box<Call>),
}

/// A connection that posts, one request at a time, opened again when the server
/// closes it between two requests.
#[derive(Debug)]
struct Slot {
    kind: Kind,
    /// None while it is being opened again.
    id: Option<Id>,
    waiting: Waiting,
    /// Answers since it was opened.
    answers: u64,
    /// Number of its next call.
    calls: u32,
}

/// What the server was asked for besides messages, and how often it did it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Totals {
    /// Pushes, batches and calls that were answered.
    pub(crate) requests: u64,
    /// Calls that had all their answers.
    pub(crate) calls: u64,
    /// Answers to pushes and batches that were not success.
    pub(crate) refused: u64,
    /// Connections that the server closed between two requests.
    pub(crate) reopened: u64,
}

pub(crate) struct Peers {
    pub(crate) plan: Plan,
    pub(crate) deliveries: Deliveries,
    pub(crate) arrivals: Arrivals,
    /// Events at callers.
    pub(crate) events: Counts,
    /// From the question to the end of its stream.
    pub(crate) call_latency: Histogram<u64>,
    pub(crate) totals: Totals,
    /// Whether answers are followed by the next request.
    pub(crate) sending: bool,
    target: Target,
    layout: Layout,
    requests: Requests,
    answers: Answers,
    /// By connection.
    roles: Vec<Role>,
    slots: Vec<Slot>,
    /// Connection of each user.
    users: Vec<Id>,
    /// Slots that may post, on a schedule.
    idle: VecDeque<u16>,
    /// Slots to be opened again.
    closed: Vec<u16>,
    /// Users that were not found yet, while they are looked for.
    unseen: Vec<usize>,
    /// Answers that users have still to give.
    pending: VecDeque<Pending>,
    /// The user whose turn it is.
    turn: usize,
    first_refusal: Option<String>,
    leaving: bool,
    open: usize,
}

impl Peers {
    pub(crate) fn new(plan: Plan, target: Target, layout: impl Fn() -> Layout) -> Self {
        let slot = |&kind: &Kind| Slot {
            kind,
            id: None,
            waiting: Waiting::Nothing,
            answers: 0,
            calls: 0,
        };
        Self {
            deliveries: Deliveries::new(&plan, layout()),
            arrivals: Arrivals::default(),
            events: Counts::default(),
            call_latency: new_histogram(),
            totals: Totals::default(),
            sending: false,
            layout: layout(),
            requests: Requests::new(target.clone(), layout(), &plan),
            answers: Answers::default(),
            roles: Vec::new(),
            slots: plan.slots.iter().map(slot).collect(),
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
        self.plan.users.len() + self.slots.len()
    }

    /// Connections that are open.
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// Requests without an answer.
    pub(crate) fn unanswered(&self) -> usize {
        let waiting = |slot: &&Slot| !matches!(slot.waiting, Waiting::Nothing);
        self.slots.iter().filter(waiting).count()
    }

    /// The first answer to a push or batch that was not success.
    pub(crate) fn first_refusal(&self) -> Option<&str> {
        self.first_refusal.as_deref()
    }

    /// Lets every connection that posts look for a user. The upgrade may be answered
    /// before the server knows where the user is. [`Self::are_all_seen`] ends it.
    pub(crate) fn look_for_users(&mut self, net: &mut Net) {
        for slot in 0..self.slots.len() {
            self.next(net, slot as u16);
        }
    }

    /// Whether every user was found.
    pub(crate) fn are_all_seen(&self) -> bool {
        self.unseen.is_empty() && self.unanswered() == 0
    }

    /// Lets every connection post its first request.
    pub(crate) fn start(&mut self, net: &mut Net) {
        self.sending = true;
        self.idle.clear();
        for slot in 0..self.slots.len() {
            self.next(net, slot as u16);
        }
    }

    /// Posts on a connection that has nothing to do, if there is one.
    pub(crate) fn post_scheduled(&mut self, net: &mut Net, due_ns: u64) -> bool {
        while let Some(number) = self.idle.pop_front() {
            if self.slots[usize::from(number)].id.is_some() {
                self.post(net, number, due_ns);
                return true;
            }
        }
        false
    }

    /// Whether [`Self::post_scheduled`] would find a connection.
    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Gives one of the answers to each question, and opens what was closed.
    pub(crate) fn work(&mut self, net: &mut Net) -> Result<(), String> {
        for _ in 0..self.pending.len() {
            let Some(mut pending) = self.pending.pop_front() else {
                break;
            };
            if self.plan.intruders && pending.index == 0 {
                self.intrude(net, &pending);
            }
            if !self.answer(net, &pending, pending.user) {
                pending.index += 1;
                self.pending.push_back(pending);
            }
        }
        for slot in std::mem::take(&mut self.closed) {
            let id = net.open_http().map_err(cannot_connect)?;
            self.assign(id, Role::Slot(slot));
        }
        Ok(())
    }

    /// Lets somebody answer who was not asked.
    fn intrude(&self, net: &mut Net, pending: &Pending) {
        let others = self.plan.users.len() - 1;
        let other = (pending.user + 1 + net.random.below(others)) % self.plan.users.len();
        self.answer(net, pending, other);
    }

    /// Sends the next answer as `user`; true if it was the final one.
    fn answer(&self, net: &mut Net, pending: &Pending, user: usize) -> bool {
        let id = self.users[user];
        let now_ns = net.now_ns();
        let mut is_final = false;
        net.queue(id, opcode::TEXT, |out| {
            is_final = pending.write(out, &self.layout, self.plan.answers, user, now_ns);
        });
        net.flush(id);
        is_final
    }

    /// Counts what the streams still lack that have not ended.
    pub(crate) fn abandon_calls(&mut self) {
        for slot in &self.slots {
            if let Waiting::Call(call) = &slot.waiting {
                call.end(&mut self.events);
            }
        }
    }

    /// Whether a user has still to answer something.
    pub(crate) fn is_answering(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Ends all connections; [`Self::open_count`] says when they are gone.
    pub(crate) fn leave(&mut self, net: &mut Net) {
        self.leaving = true;
        for id in 0..self.roles.len() {
            if self.roles[id] != Role::Nobody {
                net.close(id, 1000);
            }
        }
    }

    fn assign(&mut self, id: Id, role: Role) {
        if self.roles.len() <= id {
            self.roles.resize(id + 1, Role::Nobody);
        }
        self.roles[id] = role;
    }

    /// Goes on with a connection that has its answer.
    fn next(&mut self, net: &mut Net, number: u16) {
        let slot = &mut self.slots[usize::from(number)];
        slot.waiting = Waiting::Nothing;
        let Some(id) = slot.id else {
            return;
        };
        if net.is_last(id) {
            // It is opened again when the server has closed it.
            return;
        }
        if let Some(user) = self.unseen.pop() {
            slot.waiting = Waiting::Probe(user);
            net.queue_request(id, |out| self.requests.probe(out, &self.plan, user));
            net.flush(id);
        } else if self.sending && self.plan.rate.is_none() {
            let now_ns = net.now_ns();
            self.post(net, number, now_ns);
        } else {
            self.idle.push_back(number);
        }
    }

    /// Posts the next request of a connection.
    fn post(&mut self, net: &mut Net, number: u16, sent_ns: u64) {
        let slot = &mut self.slots[usize::from(number)];
        let id = slot.id.expect("the caller looked");
        let users = self.plan.users.len();
        let (plan, requests, deliveries) = (&self.plan, &self.requests, &mut self.deliveries);
        match slot.kind {
            Kind::Push | Kind::Batch => {
                let first = self.turn;
                let count = if slot.kind == Kind::Push {
                    1
                } else {
                    plan.batch
                };
                self.turn = (first + count) % users;
                slot.waiting = match slot.kind {
                    Kind::Push => Waiting::Push,
                    _ => Waiting::Batch(first),
                };
                let is_batch = slot.kind == Kind::Batch;
                net.queue_request(id, |out| {
                    requests.head(out, slot.kind);
                    for at in 0..count {
                        if is_batch {
                            out.push(if at == 0 { b'[' } else { b',' });
                        }
                        let user = (first + at) % users;
                        let sequence = deliveries.send(number, user);
                        requests.item(out, plan, number, Item { user, sequence }, sent_ns);
                    }
                    if is_batch {
                        out.push(b']');
                    }
                });
            }
            Kind::Call => {
                let user = net.random.below(users);
                let sequence = slot.calls;
                slot.calls = sequence.wrapping_add(1);
                let call = Call::new(number, user, sequence, plan.answers, sent_ns);
                let item = Item { user, sequence };
                net.queue_request(id, |out| {
                    requests.call(out, plan, number, item, &call.correlation, sent_ns);
                });
                slot.waiting = Waiting::Call(Box::new(call));
            }
        }
        net.flush(id);
    }

    /// Takes an answer that is no stream.
    fn answered(&mut self, net: &mut Net, number: u16, status: u16, body: &[u8]) {
        let slot = &mut self.slots[usize::from(number)];
        slot.answers += 1;
        let result = match &slot.waiting {
            Waiting::Nothing => Err(format!("nobody asked: {}", refusal(status, body))),
            Waiting::Probe(user) => {
                if status == 200 && self.answers.push(status, body).is_err() {
                    // Not known to the server yet.
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

    /// Takes bytes of a call's stream.
    fn chunk(&mut self, number: u16, bytes: &[u8]) {
        if let Waiting::Call(call) = &mut self.slots[usize::from(number)].waiting
            && let Err(problem) = call.chunk(&self.layout, bytes, &mut self.events)
        {
            self.arrivals.fail(problem);
        }
    }

    /// A call's stream has ended.
    fn ended(&mut self, net: &mut Net, number: u16) {
        let slot = &mut self.slots[usize::from(number)];
        slot.answers += 1;
        if let Waiting::Call(call) = &slot.waiting {
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

    /// A question came to the user whom its payload names.
    fn asked(&mut self, user: usize, question: Question) {
        let slot = self.slots.get_mut(usize::from(question.slot));
        let Some(Waiting::Call(call)) = slot.map(|slot| &mut slot.waiting) else {
            self.events.misrouted += 1;
            return;
        };
        if call.user != user || call.sequence != question.sequence {
            // It was for another call of this connection, which is over.
            self.events.duplicated += 1;
        } else if call.correlation != question.correlation {
            self.events.corrupt += 1;
        } else if std::mem::replace(&mut call.asked, true) {
            self.events.duplicated += 1;
        } else {
            self.pending.push_back(Pending {
                user,
                slot: question.slot,
                sequence: question.sequence,
                correlation: question.correlation,
                index: 0,
            });
        }
    }
}

impl Arriving for Peers {
    fn arrivals(&mut self) -> &mut Arrivals {
        &mut self.arrivals
    }

    fn open(&mut self, net: &mut Net, number: usize) -> Result<Id, String> {
        let users = self.plan.users.len();
        let (opened, role) = if number < users {
            let parameter = format!("user_id={}", self.plan.user(number));
            (net.open_with(&parameter), Role::User(number))
        } else {
            (net.open_http(), Role::Slot((number - users) as u16))
        };
        let id = opened.map_err(cannot_connect)?;
        self.assign(id, role);
        Ok(id)
    }
}

impl Handler for Peers {
    fn opened(&mut self, net: &mut Net, id: Id) {
        self.open += 1;
        match self.roles[id] {
            Role::User(user) => self.users[user] = id,
            Role::Slot(number) => {
                let slot = &mut self.slots[usize::from(number)];
                slot.id = Some(id);
                slot.answers = 0;
                if self.totals.reopened > 0 && !self.leaving {
                    self.next(net, number);
                    return;
                }
            }
            Role::Nobody => {}
        }
        self.arrivals.arrived(id);
    }

    fn message(&mut self, net: &mut Net, id: Id, _op: u8, payload: &[u8]) {
        let Role::User(user) = self.roles[id] else {
            return;
        };
        let (plan, now_ns) = (&self.plan, net.read_at_ns());
        let name = &plan.users[user];
        if let Some(question) = self.deliveries.frame(user, name, payload, plan, now_ns) {
            self.asked(user, question);
        }
    }

    fn response(&mut self, net: &mut Net, id: Id, part: ResponsePart<'_>) {
        let Role::Slot(number) = self.roles[id] else {
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
        let role = std::mem::replace(&mut self.roles[id], Role::Nobody);
        if self.leaving {
            return;
        }
        match role {
            Role::Slot(number) => {
                let slot = &mut self.slots[usize::from(number)];
                slot.id = None;
                if slot.answers > 0 && matches!(slot.waiting, Waiting::Nothing) {
                    self.totals.reopened += 1;
                    self.closed.push(number);
                } else {
                    let text = failure(&self.target, "an HTTP connection", &end);
                    self.arrivals.fail(text);
                }
            }
            _ => self.arrivals.fail(failure(&self.target, "a user", &end)),
        }
    }
}
