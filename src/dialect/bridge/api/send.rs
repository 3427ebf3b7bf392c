//! `POST /sse/send`: asks a user a question and streams the answers as the response (docs/bridge.md, "Questions").

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Response;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use futures_util::stream::once;

use super::admission::admit;
use super::stream::AnswerStream;
use super::{BridgeHandle, check_order, note, order, target};
use crate::call::{Correlation, put_error_event};
use crate::dialect::bridge::{Invalid, Push};
use crate::http::{Answer, Rejection, refuse};
use crate::metrics::Limited;
use crate::service::State;
use crate::shard::{CallError, CallLimits};

/// Pushes a message and streams its user's answers.
pub(super) async fn send(
    bridge: BridgeHandle,
    state: Arc<State>,
    request: Request,
) -> Result<Answer, Rejection> {
    let admitted = admit(&bridge, &state, request).await?;
    let push = Push::parse(admitted.text(Invalid::unread)?)?;
    let correlation = match push.correlation() {
        Some(correlation) => correlation,
        None => Correlation::generate(),
    };
    let limits = CallLimits {
        calls_max: bridge.settings.max_calls,
        answer_bytes_max: bridge.settings.max_answer_bytes,
    };
    // The call is registered before the message is published, so that no answer is missed.
    let (key, user) = (correlation.key(), target(&bridge, &push));
    let caller = state.shard.call(&key, user, limits).await;
    let caller = caller.map_err(|why| refusal(&state, why))?;
    let mut frame = Vec::new();
    let is_delivered = match order(&bridge, &state, &push, Some(&correlation), &mut frame) {
        Some(order) => {
            check_order(&state, &admitted.service, &order, 1)?;
            note(&state, order.put(&state).await?.members)
        }
        None => false,
    };
    if is_delivered {
        state.shard.counters.calls.add(1);
        let timeout = bridge.settings.response_timeout;
        let stream = AnswerStream::new(caller, &correlation, timeout);
        return Ok(event_stream(Body::from_stream(stream)));
    }
    caller.end().await;
    let mut event = Vec::new();
    put_error_event(&mut event, "User not connected", &correlation);
    // A streamed body, like that of any other call.
    let event = Ok::<_, Infallible>(Bytes::from(event));
    Ok(event_stream(Body::from_stream(once(ready(event)))))
}

fn refusal(state: &State, why: CallError) -> Answer {
    match why {
        CallError::InUse => refuse(409, "correlation_id already in use", &[]),
        CallError::TooMany => {
            state.shard.counters.limited(Limited::Calls);
            let why = "Too many requests wait for answers; try again later";
            refuse(503, why, &[(RETRY_AFTER, "1")])
        }
        CallError::Stopping => refuse(503, "The gateway is stopping", &[(RETRY_AFTER, "1")]),
    }
}

fn event_stream(body: Body) -> Answer {
    let mut answer = Response::new(body);
    for (name, value) in [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}
