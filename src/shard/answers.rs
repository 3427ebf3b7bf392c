//! Tasks that wait for what the engine will answer: HTTP handlers, and callers of users.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Handle, Shard};
use crate::collections::HashMap;
use crate::engine::{Counting, Kept, Outcome, Post, PublishResult, Ticket};
use crate::process::{ByteBudget, CallSlot};

/// An answer that will come. There is none if a shard that has a part in it ends before.
pub type PendingOutcome = oneshot::Receiver<Outcome>;

/// Who waits for answers on this shard, by ticket.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: HashMap<Ticket, oneshot::Sender<Outcome>>,
    callers: HashMap<Ticket, CallQueue>,
    /// Callers that there are, whether or not they have been told the last.
    callers_open: usize,
}

#[derive(Debug)]
struct CallQueue {
    said: mpsc::UnboundedSender<CallerEvent>,
    queued_bytes: Arc<AtomicUsize>,
    /// More came than may wait: the rest is dropped.
    overflowed: bool,
}

/// A publication whose subscribers are counted.
#[must_use]
#[derive(Debug)]
pub enum CountedPublish {
    /// They have been: all of them are here.
    Done(PublishResult),
    /// Other shards have to say how many they have: [`Outcome::Published`].
    Pending(PendingOutcome),
}

/// How long the end of a call waits until its home has forgotten it.
const FORGET_MAX: Duration = Duration::from_secs(1);

/// What a caller is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallerEvent {
    /// An answer; more may follow.
    More(Bytes),
    /// The last answer.
    Last(Bytes),
    /// More answers came than may wait for the caller to take them. Nothing follows.
    Overflow,
    /// The gateway stops. Nothing follows.
    Stopping,
}

/// Why a call is not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError {
    /// The key is that of a call that waits.
    InUse,
    /// As many wait as may.
    TooMany,
    /// The gateway stops.
    Stopping,
}

/// The end of a call at which somebody waits. Dropping it ends the call: what is answered later goes
/// nowhere.
#[derive(Debug)]
pub struct Caller {
    shard: Handle,
    ticket: Ticket,
    said: mpsc::UnboundedReceiver<CallerEvent>,
    queued_bytes: Arc<AtomicUsize>,
    _slot: CallSlot,
}

impl Caller {
    /// Waits for what is said next; `None` after the last.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<CallerEvent>> {
        self.said.poll_recv(cx).map(|said| {
            if let Some(CallerEvent::More(bytes) | CallerEvent::Last(bytes)) = &said {
                self.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                self.shard.process.http_bodies.give(bytes.len());
            }
            said
        })
    }

    /// Ends the call. Whoever is told of the end when this is done can call again by the same key.
    pub async fn end(self) {
        if let Some(forgotten) = self.shard.hang_up(self.ticket) {
            // A home that has ended before this shard knows no calls, and does not say so.
            let _ = timeout(FORGET_MAX, forgotten).await;
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.shard.answers.borrow_mut().callers_open -= 1;
        // Nobody waits for it to be forgotten.
        drop(self.shard.hang_up(self.ticket));
        let untaken = self.queued_bytes.load(Ordering::Relaxed);
        self.shard.process.http_bodies.give(untaken);
    }
}

impl Handle {
    /// Makes a call to `user` that is known by `key`, before anything is sent.
    ///
    /// # Errors
    /// Why not.
    pub async fn call(&self, key: &str, user: &str) -> Result<Caller, CallError> {
        let slot = self.process.take_call_slot().ok_or(CallError::TooMany)?;
        let (sender, said) = mpsc::unbounded_channel();
        let queued_bytes = Arc::<AtomicUsize>::default();
        let call = CallQueue {
            said: sender,
            queued_bytes: queued_bytes.clone(),
            overflowed: false,
        };
        let ticket = self.engine(|engine| engine.call(key, user));
        let is_free = {
            let mut answers = self.answers.borrow_mut();
            answers.callers.insert(ticket, call);
            answers.callers_open += 1;
            answers.wait(ticket)
        };
        let mut caller = Caller {
            shard: self.clone(),
            ticket,
            said,
            queued_bytes,
            _slot: slot,
        };
        let mut is_free = pin!(is_free);
        poll_fn(|cx| match is_free.as_mut().poll(cx) {
            Poll::Ready(Ok(Outcome::Called(true))) => Poll::Ready(Ok(())),
            Poll::Ready(Ok(_)) => Poll::Ready(Err(CallError::InUse)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(CallError::Stopping)),
            // A home that has ended before this shard does not answer any more.
            Poll::Pending => caller.poll_event(cx).map(|_| Err(CallError::Stopping)),
        })
        .await?;
        Ok(caller)
    }

    /// What is retained of a topic: at most `limit` messages after `since`. `None` if the gateway
    /// stops.
    pub async fn history(&self, topic: &str, since: u64, limit: u32) -> Option<Box<Kept>> {
        self.clock.refresh();
        let ticket = self.engine(|engine| engine.read_history(topic, since, limit));
        let kept = self.answers.borrow_mut().wait(ticket);
        match kept.await {
            Ok(Outcome::History(kept)) => Some(kept),
            _ => None,
        }
    }
}

impl Shard {
    /// Publishes `post` and counts whom it reaches.
    pub fn publish_counted(&self, post: &Post<'_>) -> CountedPublish {
        let counting = self.engine(|engine| engine.publish_counted(post));
        // The answer over HTTP does not wait for a flush.
        self.update_gauges(&self.core.borrow());
        match counting {
            Counting::Done(result) => CountedPublish::Done(result),
            Counting::Pending(ticket) => {
                CountedPublish::Pending(self.answers.borrow_mut().wait(ticket))
            }
        }
    }

    /// An answer has come for a task.
    pub(super) fn take_answer(&self, ticket: Ticket, outcome: Outcome) {
        let mut answers = self.answers.borrow_mut();
        if let Outcome::Answered { said, is_last } = outcome {
            let is_taken = answers.queue_answer(
                ticket,
                said,
                is_last,
                self.config.bridge.max_answer_bytes,
                &self.process.http_bodies,
            );
            let counters = &self.counters;
            match is_taken {
                Some(true) => counters.answers.add(1),
                Some(false) => {}
                None => counters.answers_unclaimed.add(1),
            }
        } else if let Some(waiting) = answers.waiting.remove(&ticket) {
            // Whoever asked may have gone away meanwhile.
            let _ = waiting.send(outcome);
        }
    }

    /// A caller does not wait any more. Says when the call's home has forgotten it, if it has not by
    /// now.
    fn hang_up(&self, ticket: Ticket) -> Option<PendingOutcome> {
        let is_asked = self.engine(|engine| engine.hang_up(ticket));
        let mut answers = self.answers.borrow_mut();
        answers.callers.remove(&ticket);
        is_asked.then(|| answers.wait(ticket))
    }

    /// Whether anybody here has not taken the end of a call.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.answers.borrow().callers_open > 0
    }

    /// Ends all calls that wait here, since the gateway stops.
    pub fn end_calls(&self) {
        for call in self.answers.borrow().callers.values() {
            // Whoever waited may have just gone away.
            let _ = call.said.send(CallerEvent::Stopping);
        }
    }
}

impl Answers {
    fn wait(&mut self, ticket: Ticket) -> PendingOutcome {
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(ticket, sender);
        receiver
    }

    /// An answer has come to a caller. Returns whether it was taken, or more has come than may wait;
    /// `None` if the caller is not waiting.
    fn queue_answer(
        &mut self,
        ticket: Ticket,
        said: Bytes,
        is_last: bool,
        queued_bytes_max: usize,
        budget: &ByteBudget,
    ) -> Option<bool> {
        let call = self.callers.get_mut(&ticket);
        let call = call.filter(|call| !call.overflowed)?;
        let queued = call.queued_bytes.load(Ordering::Relaxed);
        let is_taken =
            (queued == 0 || queued + said.len() <= queued_bytes_max) && budget.take(said.len());
        call.overflowed = !is_taken;
        if is_taken {
            let queued = &call.queued_bytes;
            queued.fetch_add(said.len(), Ordering::Relaxed);
        }
        let said = match (is_taken, is_last) {
            (false, _) => CallerEvent::Overflow,
            (true, true) => CallerEvent::Last(said),
            (true, false) => CallerEvent::More(said),
        };
        // Whoever waited may have just gone away.
        let _ = call.said.send(said);
        if is_last {
            self.callers.remove(&ticket);
        }
        Some(is_taken)
    }
}
