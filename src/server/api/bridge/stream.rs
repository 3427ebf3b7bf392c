//! The answers to one question as the body of a response.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep};

use crate::protocol::bridge::{Correlation, put_error_event};
use crate::shard::{Caller, Said};

/// Answers, one event each, until the last one or until none comes in time.
pub(super) struct AnswerStream {
    /// `None` after the last event: the call has ended by then.
    caller: Option<Caller>,
    correlation: Correlation<'static>,
    /// How long each answer may take.
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
}

impl AnswerStream {
    pub(super) fn new(caller: Caller, correlation: &Correlation<'_>, timeout: Duration) -> Self {
        Self {
            caller: Some(caller),
            correlation: correlation.clone().into_owned(),
            timeout,
            timer: Box::pin(sleep(timeout)),
        }
    }

    /// Ends the call, with an event that says why.
    fn end(&mut self, why: &str) -> Bytes {
        self.caller = None;
        let mut event = Vec::new();
        put_error_event(&mut event, why, &self.correlation);
        event.into()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(caller) = &mut self.caller else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(said) = caller.poll_said(cx) {
            return Poll::Ready(Some(match said {
                Some(Said::More(event)) => {
                    self.timer.as_mut().reset(Instant::now() + self.timeout);
                    event
                }
                Some(Said::Last(event)) => {
                    self.caller = None;
                    event
                }
                Some(Said::Overflow) => self.end("Answers are read too slowly"),
                Some(Said::Stopping) | None => self.end("Server shutdown"),
            }));
        }
        let timed_out = self.timer.as_mut().poll(cx);
        timed_out.map(|()| Some(self.end("Timeout waiting for response")))
    }
}

impl Stream for AnswerStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = self.poll_event(cx);
        event.map(|event| event.map(Ok))
    }
}
