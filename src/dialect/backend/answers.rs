//! Answers to a member's operations, which are written in the order of the operations.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{ErrorCode, Failure};
use crate::engine::{Roster, Ticket};
use crate::id::{PeerId, Priority};
use crate::shard::Shard;

/// What an operation is answered with: fields of a JSON object, each with a comma before it.
pub(super) type Answered = Result<Vec<u8>, Failure>;

/// An answer to come.
pub(super) type AnswerFuture = Pin<Box<dyn Future<Output = Answered>>>;

/// Operations that are not answered yet.
const PENDING_MAX: usize = 1024;

/// The answers that have not been written, in the order of their operations.
#[derive(Default, Debug)]
pub(super) struct Answers {
    queue: VecDeque<PendingAnswer>,
    /// The number of the first of them.
    first: u64,
    /// How many of them are futures.
    futures: usize,
    /// How many of those subscribe or unsubscribe a connection.
    subscriptions: usize,
    /// How many of those answer messages of clients.
    replies: usize,
    /// How many of them list connections.
    lists: usize,
    /// Bytes of those that are ready.
    ready_bytes: usize,
}

#[derive(Debug)]
struct PendingAnswer {
    /// A JSON text; without one nothing is written.
    id: Option<Box<str>>,
    state: AnswerState,
}

enum AnswerState {
    /// This object is written, if it is not empty.
    Ready(Vec<u8>),
    /// The home of the topic answers with an outcome that has this answer's number.
    Publication,
    /// The home of the topic answers with this ticket.
    Roster(Ticket, Box<str>),
    Future {
        future: AnswerFuture,
        kind: FutureKind,
    },
}

/// What an answer to come is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FutureKind {
    /// An order that changes subscriptions.
    Subscription,
    /// A list of connections.
    List,
    /// An answer to a client's message.
    Reply,
    Other,
}

impl fmt::Debug for AnswerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready",
            Self::Publication => "Publication",
            Self::Roster(..) => "Roster",
            Self::Future { .. } => "Future",
        })
    }
}

impl Answers {
    /// Whether no more operations may be begun: so many are not answered, or the member does not read its answers.
    pub(super) fn is_full(&self, shard: &Shard) -> bool {
        self.queue.len() >= PENDING_MAX || self.ready_bytes >= shard.config.hub.outbox_max_bytes
    }

    /// Whether connections are being listed.
    pub(super) fn is_listing(&self) -> bool {
        self.lists > 0
    }

    /// Whether a connection has been ordered to change its subscriptions and has not done so yet.
    pub(super) fn is_subscribing(&self) -> bool {
        self.subscriptions > 0
    }

    /// Whether messages of clients have been answered and those answers may still be on their way.
    pub(super) fn is_replying(&self) -> bool {
        self.replies > 0
    }

    /// The number of the next answer.
    pub(super) fn next_number(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    /// Answers the operation with this `id`. Without one nothing is written.
    pub(super) fn put(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        id: Option<&str>,
        answered: &Answered,
    ) {
        if id.is_some() {
            self.put_object(shard, peer, object_of(shard, id, answered));
        }
    }

    /// Says something behind the answers so far: at once if there is none.
    pub(super) fn put_object(&mut self, shard: &Shard, peer: PeerId, object: Vec<u8>) {
        let state = self.ready(object);
        self.push(None, state);
        self.write(shard, peer);
    }

    /// The answer comes as the outcome of a publication with [`Self::next_number`].
    pub(super) fn await_publication(&mut self, id: &str) {
        self.push(Some(id), AnswerState::Publication);
    }

    /// The answer comes as the roster with this ticket.
    pub(super) fn await_roster(&mut self, id: Option<&str>, ticket: Ticket, topic: &str) {
        self.push(id, AnswerState::Roster(ticket, topic.into()));
    }

    /// The answer is what `future` gives. Also without an `id` it counts until it is ready.
    pub(super) fn await_future(&mut self, id: Option<&str>, future: AnswerFuture) {
        self.push_future(id, future, FutureKind::Other);
    }

    /// As [`Self::await_future`], for a list of connections.
    pub(super) fn await_list(&mut self, id: Option<&str>, future: AnswerFuture) {
        self.lists += 1;
        self.push_future(id, future, FutureKind::List);
    }

    /// As [`Self::await_future`], for an order that changes the subscriptions of a connection.
    pub(super) fn await_subscription(&mut self, id: Option<&str>, future: AnswerFuture) {
        self.subscriptions += 1;
        self.push_future(id, future, FutureKind::Subscription);
    }

    /// As [`Self::await_future`], for an answer to a client's message.
    pub(super) fn await_reply(&mut self, id: Option<&str>, future: AnswerFuture) {
        self.replies += 1;
        self.push_future(id, future, FutureKind::Reply);
    }

    fn push_future(&mut self, id: Option<&str>, future: AnswerFuture, kind: FutureKind) {
        self.futures += 1;
        self.push(id, AnswerState::Future { future, kind });
    }

    fn ready(&mut self, object: Vec<u8>) -> AnswerState {
        self.ready_bytes += object.len();
        AnswerState::Ready(object)
    }

    fn push(&mut self, id: Option<&str>, state: AnswerState) {
        let id = id.map(Into::into);
        self.queue.push_back(PendingAnswer { id, state });
    }

    /// The publication with this number is answered.
    pub(super) fn take_publication(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        number: u64,
        answered: &Answered,
    ) {
        let at = number.checked_sub(self.first);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let pending = at.and_then(|at| self.queue.get_mut(at));
        if let Some(PendingAnswer { id, state }) = pending
            && matches!(state, AnswerState::Publication)
        {
            let object = object_of(shard, id.as_deref(), answered);
            self.ready_bytes += object.len();
            *state = AnswerState::Ready(object);
            self.write_from_afar(shard, peer);
        }
    }

    /// The roster with this ticket has come.
    pub(super) fn take_roster(
        &mut self,
        shard: &Shard,
        peer: PeerId,
        wanted: Ticket,
        roster: &Roster,
    ) {
        for PendingAnswer { id, state } in &mut self.queue {
            if let AnswerState::Roster(ticket, topic) = state
                && *ticket == wanted
            {
                let mut fields = vec![b','];
                roster.put_fields(&mut fields, topic);
                let object = object_of(shard, id.as_deref(), &Ok(fields));
                self.ready_bytes += object.len();
                *state = AnswerState::Ready(object);
                return self.write_from_afar(shard, peer);
            }
        }
    }

    /// Polls the futures, each of which wakes the task of `cx`.
    ///
    /// Cost: one comparison where there is none, else a look at each pending answer.
    pub(super) fn poll(&mut self, shard: &Shard, cx: &mut Context<'_>) {
        if self.futures == 0 {
            return;
        }
        for PendingAnswer { id, state } in &mut self.queue {
            let AnswerState::Future { future, kind } = state else {
                continue;
            };
            if let Poll::Ready(answered) = future.as_mut().poll(cx) {
                self.futures -= 1;
                self.subscriptions -= usize::from(*kind == FutureKind::Subscription);
                self.lists -= usize::from(*kind == FutureKind::List);
                self.replies -= usize::from(*kind == FutureKind::Reply);
                let object = object_of(shard, id.as_deref(), &answered);
                self.ready_bytes += object.len();
                *state = AnswerState::Ready(object);
            }
        }
    }

    /// As [`Self::write`], not from the connection's task: which has to wait for room if there is none.
    fn write_from_afar(&mut self, shard: &Shard, peer: PeerId) {
        self.write(shard, peer);
        if shard.is_outbox_full(peer) {
            shard.wake(peer);
        }
    }

    /// Writes the answers that are ready, up to the first that is not, as far as the outbox has room. Where it has none,
    /// the connection's task goes on when it is polled.
    pub(super) fn write(&mut self, shard: &Shard, peer: PeerId) {
        while let Some(PendingAnswer {
            state: AnswerState::Ready(object),
            ..
        }) = self.queue.front()
        {
            if !object.is_empty() {
                if shard.is_outbox_full(peer) {
                    return;
                }
                shard.send_text(peer, Priority::High, |out, _| out.extend_from_slice(object));
            }
            self.ready_bytes -= object.len();
            self.first += 1;
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            self.queue.shrink_to(CAPACITY_KEPT_MAX);
        }
    }

    /// The connection ends: nothing more is written.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }
}

/// Capacity that an empty queue keeps.
const CAPACITY_KEPT_MAX: usize = 64;

/// The object that answers the operation with this `id`; empty without one.
fn object_of(shard: &Shard, id: Option<&str>, answered: &Answered) -> Vec<u8> {
    let mut object = Vec::new();
    let Some(id) = id else { return object };
    // The other half is for what clients say.
    let bytes_max = shard.config.hub.outbox_max_bytes / 2;
    let failure = match answered {
        Ok(fields) if fields.len() + id.len() <= bytes_max => {
            object.extend_from_slice(format!(r#"{{"id":{id},"ok":true"#).as_bytes());
            object.extend_from_slice(fields);
            object.push(b'}');
            return object;
        }
        Ok(fields) => &Failure::new(
            ErrorCode::TooLarge,
            format!(
                "The answer has {} bytes, and half of `hub.outbox_max_bytes` is {bytes_max}: ask for less with `limit`",
                fields.len()
            ),
        ),
        Err(failure) => failure,
    };
    shard.counters.errors_sent.add(1);
    failure.put(&mut object, Some(id));
    object
}
