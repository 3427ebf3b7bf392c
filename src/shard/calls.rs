//! Calls to users: who waits for an answer here, and how an answer finds the caller.
//!
//! A call is known in two places: at the home of its key, so that a key is one
//! call's in the whole process, and here, where its caller waits. An answer goes to
//! the home, which knows the caller's shard. Both lanes keep their order, so the
//! answers of a connection arrive as it gave them.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::process::CallPlace;
use super::{Shard, local};
use crate::collections::HashMap;
use crate::engine::{Call, Delivery, Request, home_of};

/// Those who wait for answers on this shard.
#[derive(Debug, Default)]
pub(super) struct Callers {
    waiting: HashMap<u64, Waiting>,
    /// The newest call's number.
    number: u64,
    /// Callers that there are, whether or not they have been told the last.
    open: usize,
}

#[derive(Debug)]
struct Waiting {
    key: Box<str>,
    said: mpsc::UnboundedSender<Said>,
    queued_bytes: Arc<AtomicUsize>,
    /// More came than may wait: the rest is dropped.
    overflowed: bool,
}

/// How long the end of a call waits until its home has forgotten it.
const FORGET_MAX: Duration = Duration::from_secs(1);

/// What a caller is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
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
pub enum NoCall {
    /// The key is that of a call that waits.
    InUse,
    /// As many wait as may.
    TooMany,
    /// The gateway stops.
    Stopping,
}

/// The end of a call at which somebody waits. Dropping it ends the call: what is
/// answered later goes nowhere.
#[derive(Debug)]
pub struct Caller {
    number: u64,
    said: mpsc::UnboundedReceiver<Said>,
    queued_bytes: Arc<AtomicUsize>,
    _place: CallPlace,
}

impl Caller {
    /// Waits for what is said next; `None` after the last.
    pub fn poll_said(&mut self, cx: &mut Context<'_>) -> Poll<Option<Said>> {
        self.said.poll_recv(cx).map(|said| {
            if let Some(Said::More(bytes) | Said::Last(bytes)) = &said {
                self.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            }
            said
        })
    }

    /// Ends the call. Whoever is told of the end when this is done can call again by the
    /// same key.
    pub async fn end(self) {
        let forgotten = local(|shard| shard.hang_up(self.number));
        if let Some(forgotten) = forgotten {
            // A home that has ended before this shard knows no calls, and does not say so.
            let _ = timeout(FORGET_MAX, forgotten).await;
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        local(|shard| {
            shard.callers.borrow_mut().open -= 1;
            // Nobody waits for it to be forgotten.
            drop(shard.hang_up(self.number));
        });
    }
}

impl Shard {
    /// Makes a call to `user` that is known by `key`, before anything is sent.
    ///
    /// # Errors
    /// Why not.
    pub async fn call(key: &str, user: &str) -> Result<Caller, NoCall> {
        let (mut caller, is_free) = local(|shard| shard.begin_call(key, user))?;
        let mut is_free = pin!(is_free);
        poll_fn(|cx| match is_free.as_mut().poll(cx) {
            Poll::Ready(Ok(true)) => Poll::Ready(Ok(())),
            Poll::Ready(Ok(false)) => Poll::Ready(Err(NoCall::InUse)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(NoCall::Stopping)),
            // A home that has ended before this shard does not answer any more.
            Poll::Pending => caller.poll_said(cx).map(|_| Err(NoCall::Stopping)),
        })
        .await?;
        Ok(caller)
    }

    fn begin_call(
        self: &Rc<Self>,
        key: &str,
        user: &str,
    ) -> Result<(Caller, oneshot::Receiver<bool>), NoCall> {
        let place = self.process.enter_call().ok_or(NoCall::TooMany)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued_bytes = Arc::<AtomicUsize>::default();
        let number = {
            let mut callers = self.callers.borrow_mut();
            callers.number += 1;
            callers.open += 1;
            let number = callers.number;
            let waiting = Waiting {
                key: key.into(),
                said: sender,
                queued_bytes: queued_bytes.clone(),
                overflowed: false,
            };
            callers.waiting.insert(number, waiting);
            number
        };
        let caller = Caller {
            number,
            said: receiver,
            queued_bytes,
            _place: place,
        };
        let call = Call {
            caller: self.id,
            number,
            user: user.into(),
        };
        let known_by: Box<str> = key.into();
        let is_free = self.ask_home(key, move |home| {
            home.calls.borrow_mut().open(&known_by, call)
        });
        Ok((caller, is_free))
    }

    /// Says `said`, in the words of the caller's protocol, to whoever waits for the
    /// answer of `user` to the call known by `key`; to nobody if nobody does. Returns
    /// whether there was room: if not, come again after the next flush, and read no
    /// more from the user until then.
    ///
    /// Cost: one lookup and one copy; one more of each if the call is known elsewhere.
    #[must_use]
    pub fn answer_call(&self, key: &str, user: &str, said: &[u8], is_last: bool) -> bool {
        let home = home_of(key, self.port.borrow().shards());
        if home == self.id {
            // What the user said before, on a connection elsewhere, comes first.
            if self.port.borrow().has_requests() {
                let _ = self.hear_requests();
            }
            return self.answer_here(key, user, said, is_last);
        }
        let mut port = self.port.borrow_mut();
        if port.requests_full(home) {
            return false;
        }
        port.request(home, |batch| Request::Answer {
            key: batch.put(key.as_bytes()),
            user: batch.put(user.as_bytes()),
            said: batch.put(said),
            is_last,
        });
        self.flusher.raise();
        true
    }

    /// Gives an answer to a call that is at home here to its caller. Returns
    /// whether there was room.
    pub(super) fn answer_here(&self, key: &str, user: &str, said: &[u8], is_last: bool) -> bool {
        let found = self.calls.borrow().find(key, user);
        let Some((caller, number)) = found else {
            self.counters.answers_unclaimed.add(1);
            return true;
        };
        if caller == self.id {
            self.hear(number, said, is_last);
        } else {
            let mut port = self.port.borrow_mut();
            if port.deliveries_full(caller) {
                return false;
            }
            port.deliver(caller, |batch| Delivery::Answered {
                call: number,
                said: batch.put(said),
                is_last,
            });
            self.flusher.raise();
        }
        if is_last {
            self.calls.borrow_mut().close(key, caller, number);
        }
        true
    }

    /// An answer has come to a caller that waits here, or waited.
    pub(super) fn hear(&self, number: u64, said: &[u8], is_last: bool) {
        let mut callers = self.callers.borrow_mut();
        let waiting = callers.waiting.get_mut(&number);
        let Some(waiting) = waiting.filter(|waiting| !waiting.overflowed) else {
            self.counters.answers_unclaimed.add(1);
            return;
        };
        let queued = waiting
            .queued_bytes
            .fetch_add(said.len(), Ordering::Relaxed);
        let max = self.config.bridge.max_answer_bytes;
        waiting.overflowed = queued > 0 && queued + said.len() > max;
        let said = match (waiting.overflowed, is_last) {
            (true, _) => Said::Overflow,
            (false, true) => Said::Last(Bytes::copy_from_slice(said)),
            (false, false) => Said::More(Bytes::copy_from_slice(said)),
        };
        self.counters.answers.add(u64::from(!waiting.overflowed));
        // Whoever waited may have just gone away.
        let _ = waiting.said.send(said);
        if is_last {
            // The home has forgotten the call when it sent this.
            callers.waiting.remove(&number);
        }
    }

    /// A caller does not wait any more. Says when the call's home has forgotten it, if
    /// it has not by now.
    fn hang_up(self: &Rc<Self>, number: u64) -> Option<oneshot::Receiver<()>> {
        let waiting = self.callers.borrow_mut().waiting.remove(&number)?;
        let (caller, key) = (self.id, waiting.key);
        Some(self.ask_home(&key.clone(), move |home| {
            home.calls.borrow_mut().close(&key, caller, number);
        }))
    }

    /// Whether anybody here has not taken the end of a call.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.callers.borrow().open > 0
    }

    /// Ends all calls that wait here, since the gateway stops.
    pub fn end_calls(&self) {
        for waiting in self.callers.borrow().waiting.values() {
            // Whoever waited may have just gone away.
            let _ = waiting.said.send(Said::Stopping);
        }
    }
}
