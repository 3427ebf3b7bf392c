//! The response body of a call: one event per answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep};

use crate::call::{Correlation, put_error_event};
use crate::shard::{Caller, CallerEvent};

/// The answers, one event each, until the last one or a timeout.
pub(super) struct AnswerStream {
    phase: AnswerPhase,
    correlation: Correlation<'static>,
    /// The timeout of each answer.
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
}

enum AnswerPhase {
    /// The call is open.
    Waiting(Caller),
    /// The call is being ended at its home; then an event that states this reason follows.
    Ending(Pin<Box<dyn Future<Output = ()> + Send>>, &'static str),
    /// The last event has been returned.
    Done,
}

impl AnswerStream {
    pub(super) fn new(caller: Caller, correlation: &Correlation<'_>, timeout: Duration) -> Self {
        Self {
            phase: AnswerPhase::Waiting(caller),
            correlation: correlation.clone().into_owned(),
            timeout,
            timer: Box::pin(sleep(timeout)),
        }
    }

    /// The event that states why no further answer follows.
    fn end_event(&self, why: &str) -> Bytes {
        let mut event = Vec::new();
        put_error_event(&mut event, why, &self.correlation);
        event.into()
    }

    /// The next event; `None` after the last.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let caller = match &mut self.phase {
                AnswerPhase::Waiting(caller) => caller,
                AnswerPhase::Ending(forgotten, why) => {
                    let why = *why;
                    ready!(forgotten.as_mut().poll(cx));
                    self.phase = AnswerPhase::Done;
                    return Poll::Ready(Some(self.end_event(why)));
                }
                AnswerPhase::Done => return Poll::Ready(None),
            };
            let why = match caller.poll_event(cx) {
                Poll::Ready(Some(CallerEvent::More(event))) => {
                    self.timer.as_mut().reset(Instant::now() + self.timeout);
                    return Poll::Ready(Some(event));
                }
                Poll::Ready(Some(CallerEvent::Last(event))) => {
                    self.phase = AnswerPhase::Done;
                    return Poll::Ready(Some(event));
                }
                Poll::Ready(Some(CallerEvent::Overflow)) => "Answers are read too slowly",
                Poll::Ready(Some(CallerEvent::Stopping) | None) => {
                    // The gateway stops: the key cannot be reused, and the home may have ended already.
                    self.phase = AnswerPhase::Done;
                    return Poll::Ready(Some(self.end_event("Server shutdown")));
                }
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    "Timeout waiting for response"
                }
            };
            if let AnswerPhase::Waiting(caller) =
                std::mem::replace(&mut self.phase, AnswerPhase::Done)
            {
                self.phase = AnswerPhase::Ending(Box::pin(caller.end()), why);
            }
        }
    }
}

impl Stream for AnswerStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = self.poll_event(cx);
        event.map(|event| event.map(Ok))
    }
}
