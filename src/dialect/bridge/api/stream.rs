//! The answers to one question as the body of a response.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep};

use crate::call::{Correlation, put_error_event};
use crate::shard::{Caller, CallerEvent};

/// Answers, one event each, until the last one or until none comes in time.
pub(super) struct AnswerStream {
    phase: AnswerPhase,
    correlation: Correlation<'static>,
    /// How long each answer may take.
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
}

enum AnswerPhase {
    /// Somebody may answer.
    Waiting(Caller),
    /// The event that says why nobody may any more, when the call is forgotten.
    Ending(Pin<Box<dyn Future<Output = ()> + Send>>, &'static str),
    /// The last event has been given.
    Over,
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

    /// The event that says why no answer follows.
    fn last_words(&self, why: &str) -> Bytes {
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
                    self.phase = AnswerPhase::Over;
                    return Poll::Ready(Some(self.last_words(why)));
                }
                AnswerPhase::Over => return Poll::Ready(None),
            };
            let why = match caller.poll_event(cx) {
                Poll::Ready(Some(CallerEvent::More(event))) => {
                    self.timer.as_mut().reset(Instant::now() + self.timeout);
                    return Poll::Ready(Some(event));
                }
                Poll::Ready(Some(CallerEvent::Last(event))) => {
                    self.phase = AnswerPhase::Over;
                    return Poll::Ready(Some(event));
                }
                Poll::Ready(Some(CallerEvent::Overflow)) => "Answers are read too slowly",
                Poll::Ready(Some(CallerEvent::Stopping) | None) => {
                    // Nobody can call again, and the home may have ended already.
                    self.phase = AnswerPhase::Over;
                    return Poll::Ready(Some(self.last_words("Server shutdown")));
                }
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    "Timeout waiting for response"
                }
            };
            if let AnswerPhase::Waiting(caller) =
                std::mem::replace(&mut self.phase, AnswerPhase::Over)
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
