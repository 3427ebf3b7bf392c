//! Tasks that wait for outcomes of the engine: HTTP handlers, and callers, which stream a user's answers.

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
use crate::engine::{
    HistoryExcerpt, HistoryPage, Outcome, Post, PublishCount, PublishResult, Ticket,
};
use crate::process::{ByteBudget, CallSlot};

/// An outcome to come. The sender is dropped if a shard that contributes to it ends before.
pub type PendingOutcome = oneshot::Receiver<Outcome>;

/// The tasks of this shard that wait for outcomes, by ticket.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: HashMap<Ticket, oneshot::Sender<Outcome>>,
    callers: HashMap<Ticket, CallQueue>,
    /// The number of `Caller` values, including those that have been sent their last event.
    callers_open: usize,
}

#[derive(Debug)]
struct CallQueue {
    said: mpsc::UnboundedSender<CallerEvent>,
    queued_bytes: Arc<AtomicUsize>,
    queued_bytes_max: usize,
    /// The queue has reached its limit: further answers are dropped.
    overflowed: bool,
}

/// A publication that reports how many connections it reaches.
#[must_use]
#[derive(Debug)]
pub enum CountedPublish {
    /// All subscribers are on this shard: the result is final.
    Done(PublishResult),
    /// Other shards report their counts: [`Outcome::Published`] follows.
    Pending(PendingOutcome),
}

/// How long the end of a call waits for its home to forget it.
const FORGET_MAX: Duration = Duration::from_secs(1);

/// What a caller receives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallerEvent {
    /// An answer; more may follow.
    More(Bytes),
    /// The last answer.
    Last(Bytes),
    /// The queue reached [`CallLimits::answer_bytes_max`]: answers are lost. Nothing follows.
    Overflow,
    /// The gateway stops. Nothing follows.
    Stopping,
}

/// The limits of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Open calls of the process.
    pub calls_max: usize,
    /// Bytes of answers that wait for the caller to read them.
    pub answer_bytes_max: usize,
}

/// Why a call is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError {
    /// Another call with this key is open.
    InUse,
    /// [`CallLimits::calls_max`] are open.
    TooMany,
    /// The gateway stops.
    Stopping,
}

/// The receiving end of a call. Dropping it ends the call: later answers are discarded.
#[derive(Debug)]
pub struct Caller {
    shard: Handle,
    ticket: Ticket,
    said: mpsc::UnboundedReceiver<CallerEvent>,
    queued_bytes: Arc<AtomicUsize>,
    _slot: CallSlot,
}

impl Caller {
    /// Waits for the next event; `None` after the last.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<CallerEvent>> {
        self.said.poll_recv(cx).map(|said| {
            if let Some(CallerEvent::More(bytes) | CallerEvent::Last(bytes)) = &said {
                self.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                self.shard.process.http_bodies.give(bytes.len());
            }
            said
        })
    }

    /// Ends the call, and waits until its home has forgotten the key, so that a client that sees the end of this
    /// response can use the key again.
    pub async fn end(self) {
        if let Some(forgotten) = self.shard.hang_up(self.ticket) {
            // A home that ended before this shard does not answer.
            let _ = timeout(FORGET_MAX, forgotten).await;
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.shard.answers.borrow_mut().callers_open -= 1;
        // Not awaited here.
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
    pub async fn call(
        &self,
        key: &str,
        user: &str,
        limits: CallLimits,
    ) -> Result<Caller, CallError> {
        let slot = self.process.take_call_slot(limits.calls_max);
        let slot = slot.ok_or(CallError::TooMany)?;
        let (sender, said) = mpsc::unbounded_channel();
        let queued_bytes = Arc::<AtomicUsize>::default();
        let call = CallQueue {
            said: sender,
            queued_bytes: queued_bytes.clone(),
            queued_bytes_max: limits.answer_bytes_max,
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
            // A home that ended before this shard does not answer.
            Poll::Pending => caller.poll_event(cx).map(|_| Err(CallError::Stopping)),
        })
        .await?;
        Ok(caller)
    }

    /// A page of the retained messages of a topic. `None` if the gateway stops.
    pub async fn history(&self, topic: &str, page: &HistoryPage) -> Option<Box<HistoryExcerpt>> {
        self.clock.refresh();
        let ticket = self.engine(|engine| engine.read_history(topic, page));
        let kept = self.answers.borrow_mut().wait(ticket);
        match kept.await {
            Ok(Outcome::History { kept, .. }) => Some(kept),
            _ => None,
        }
    }
}

impl Shard {
    /// Publishes `post` and counts the connections that it reaches.
    pub fn publish_counted(&self, post: &Post<'_>) -> CountedPublish {
        let counting = self.engine(|engine| engine.publish_counted(post));
        // The HTTP response does not wait for a flush, which would set the gauges.
        self.update_gauges(&self.core.borrow());
        match counting {
            PublishCount::Done(result) => CountedPublish::Done(result),
            PublishCount::Pending(ticket) => {
                CountedPublish::Pending(self.answers.borrow_mut().wait(ticket))
            }
        }
    }

    /// Passes an outcome to the task that waits for it.
    pub(super) fn take_answer(&self, ticket: Ticket, outcome: Outcome) {
        let mut answers = self.answers.borrow_mut();
        if let Outcome::Answered { said, is_last } = outcome {
            let is_taken = answers.queue_answer(ticket, said, is_last, &self.process.http_bodies);
            let counters = &self.counters;
            match is_taken {
                Some(true) => counters.answers.add(1),
                Some(false) => {}
                None => counters.answers_unclaimed.add(1),
            }
        } else if let Some(waiting) = answers.waiting.remove(&ticket) {
            // The receiver may have been dropped.
            let _ = waiting.send(outcome);
        }
    }

    /// Ends a caller's wait. Returns the outcome that tells when the call's home has forgotten it, unless it has
    /// already.
    fn hang_up(&self, ticket: Ticket) -> Option<PendingOutcome> {
        let is_asked = self.engine(|engine| engine.hang_up(ticket));
        let mut answers = self.answers.borrow_mut();
        answers.callers.remove(&ticket);
        is_asked.then(|| answers.wait(ticket))
    }

    /// Whether any caller of this shard is left.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.answers.borrow().callers_open > 0
    }

    /// Ends all calls of this shard, since the gateway stops.
    pub fn end_calls(&self) {
        for call in self.answers.borrow().callers.values() {
            // The caller may have been dropped.
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

    /// Queues an answer for a caller. Returns whether there was room; `None` if the caller has left or its queue has
    /// overflowed before.
    fn queue_answer(
        &mut self,
        ticket: Ticket,
        said: Bytes,
        is_last: bool,
        budget: &ByteBudget,
    ) -> Option<bool> {
        let call = self.callers.get_mut(&ticket);
        let call = call.filter(|call| !call.overflowed)?;
        let queued = call.queued_bytes.load(Ordering::Relaxed);
        let is_taken = (queued == 0 || queued + said.len() <= call.queued_bytes_max)
            && budget.take(said.len());
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
        // The caller may have been dropped.
        let _ = call.said.send(said);
        if is_last {
            self.callers.remove(&ticket);
        }
        Some(is_taken)
    }
}
