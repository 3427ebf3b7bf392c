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
use crate::config::Config;
use crate::dialect::bridge::{Invalid, Push};
use crate::http::{Answer, Rejection, respond};
use crate::service::Service;
use crate::service::{Endpoint, State};
use crate::service::{Failed, Order, count};
use crate::topic;
use admission::admit;

const JSON: &str = "application/json";

/// The protocol's endpoints.
pub(super) fn endpoints(config: &Config) -> Vec<Endpoint> {
    let paths = &config.bridge;
    if !paths.enabled {
        return Vec::new();
    }
    let posts = [
        Endpoint::post("/sse/push", push).at(&paths.push_path),
        Endpoint::post("/sse/push/batch", push_batch).at(&paths.batch_path),
        Endpoint::post("/sse/send", send).at(&paths.send_path),
    ];
    let has_key = paths.api_key.is_some();
    let posts = posts.into_iter().map(|post| post.asking(has_key));
    posts
        .chain([Endpoint::claimed("/ws").at(&paths.ws_path)])
        .collect()
}

/// `POST /sse/push`: one message for one user.
async fn push(Shared(state): Shared<Arc<State>>, request: Request) -> Result<Answer, Rejection> {
    let admitted = admit(&state, request).await?;
    let push = Push::parse(admitted.text(Invalid::unread)?)?;
    let mut frame = Vec::new();
    let Some(order) = order(&state, &push, None, &mut frame) else {
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
    match order.is_permitted(state, service) {
        true => count(state, service.publisher, messages),
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
fn target<'a>(config: &Config, push: &'a Push<'_>) -> &'a str {
    push.mention(|name| config.bridge.is_public(name))
        .unwrap_or(&push.user)
}

/// The order that publishes a message; `None` if its recipient is no valid user id, so that no connection can have it.
/// `frame` receives the text.
fn order<'a>(
    state: &State,
    push: &'a Push<'_>,
    correlation: Option<&Correlation<'_>>,
    frame: &'a mut Vec<u8>,
) -> Option<Order<'a>> {
    let target = target(&state.config, push);
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
