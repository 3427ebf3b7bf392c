//! The HTTP endpoints of the bridge protocol: services push to users, and ask them questions (docs/bridge.md,
//! "Endpoints").

mod admission;
mod batch;
mod send;
mod stream;

use std::sync::Arc;

use axum::extract::{Request, State as Shared};

use batch::push_batch;
use send::send;

use crate::call::Correlation;
use crate::dialect::bridge::{Bridge, Invalid, Push};
use crate::http::{Answer, Rejection, respond};
use crate::service::{Endpoint, Failed, Order, Service, State, count};
use crate::topic;
use admission::admit;

const JSON: &str = "application/json";

/// The protocol as requests of one shard hold it: with a count of its own, so that they share no cache line.
type BridgeHandle = Arc<Arc<Bridge>>;

/// The protocol's endpoints.
pub(super) fn endpoints(bridge: &Arc<Bridge>) -> Vec<Endpoint> {
    let paths = &bridge.settings;
    match paths.enabled {
        true => vec![
            post(bridge, "/sse/push", push).at(&paths.push_path),
            post(bridge, "/sse/push/batch", push_batch).at(&paths.batch_path),
            post(bridge, "/sse/send", send).at(&paths.send_path),
            Endpoint::claimed("/ws")
                .at(&paths.ws_path)
                .asking(bridge.asks),
        ],
        false => Vec::new(),
    }
}

fn post<F: Future<Output = Result<Answer, Rejection>> + Send + 'static>(
    bridge: &Arc<Bridge>,
    path: &'static str,
    handler: fn(BridgeHandle, Arc<State>, Request) -> F,
) -> Endpoint {
    let asks = bridge.asks || !bridge.key.is_empty();
    let bridge = Arc::new(bridge.clone());
    let handler = move |Shared(state), request| handler(bridge.clone(), state, request);
    Endpoint::post(path, handler).asking(asks)
}

/// `POST /sse/push`: one message for one user.
async fn push(
    bridge: BridgeHandle,
    state: Arc<State>,
    request: Request,
) -> Result<Answer, Rejection> {
    let admitted = admit(&bridge, &state, request).await?;
    let push = Push::parse(admitted.text(Invalid::unread)?)?;
    let mut frame = Vec::new();
    let Some(order) = order(&bridge, &state, &push, None, &mut frame) else {
        return Ok(outcome(false));
    };
    check_order(&state, &admitted.service, &order, 1)?;
    let stored = order.put(&state).await?;
    Ok(outcome(note(&state, stored.members)))
}

/// Checks that a service may publish an order, and counts `messages` toward its rate limit.
fn check_order(
    state: &State,
    service: &Service,
    order: &Order<'_>,
    messages: usize,
) -> Result<(), Rejection> {
    match order.is_permitted(&state.config, service) {
        true => count(state, service, messages),
        false => Err(Failed::Forbidden.into()),
    }
}

fn outcome(is_delivered: bool) -> Answer {
    let body = match is_delivered {
        true => r#"{"status":"success","message":"Message delivered"}"#,
        false => r#"{"status":"partial","message":"User not connected"}"#,
    };
    respond(200, JSON, body)
}

/// The recipient of a message: the first public account that it mentions, else its `user_id` (docs/bridge.md, "Public
/// accounts").
fn target<'a>(bridge: &Bridge, push: &'a Push<'_>) -> &'a str {
    push.mention(|name| bridge.settings.is_public(name))
        .unwrap_or(&push.user)
}

/// The order that publishes a message; `None` if its recipient is no valid user id, so that no connection can have it.
/// `frame` receives the text.
fn order<'a>(
    bridge: &Bridge,
    state: &State,
    push: &'a Push<'_>,
    correlation: Option<&Correlation<'_>>,
    frame: &'a mut Vec<u8>,
) -> Option<Order<'a>> {
    let target = target(bridge, push);
    if target.is_empty() || target.len() > topic::NAME_BYTES_MAX {
        state.shard.counters.pushes.add(1);
        note(state, 0);
        return None;
    }
    frame.clear();
    match correlation {
        Some(correlation) => push.put_frame(frame, correlation),
        None => match push.correlation() {
            Some(correlation) => push.put_frame(frame, &correlation),
            None => push.put_frame(frame, &Correlation::generate()),
        },
    }
    let text = str::from_utf8(frame).expect("it is made of texts");
    Some(Order::push(
        target,
        push.event_type.as_deref(),
        super::PUSH,
        text,
    ))
}

/// Counts the push as undelivered if it reached no connections. Returns whether it reached any.
fn note(state: &State, connections: u64) -> bool {
    let counters = &state.shard.counters;
    counters.pushes_undelivered.add(u64::from(connections == 0));
    connections > 0
}
