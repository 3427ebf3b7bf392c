//! The bridge protocol's requests: services push to users, and ask them
//! (spec/bridge.md 1.1).

mod admission;
mod batch;
mod send;
mod stream;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State as Shared};
use axum::http::HeaderMap;

pub(super) use batch::push_batch;
pub(super) use send::send;

use super::State;
use super::order::Order;
use crate::config::Config;
use crate::http::{Answer, ClientAddress, respond};
use crate::protocol::bridge::{Correlation, Push};
use crate::shard;
use crate::topic;
use admission::{admit, check, invalid};

const JSON: &str = "application/json";

/// `POST /sse/push`: one message for one user.
pub(super) async fn push(
    Shared(state): Shared<Arc<State>>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let body = match admit(&state, &headers, address, &body) {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    let push = match check(&headers, body).and_then(Push::parse) {
        Ok(push) => push,
        Err(why) => return invalid(&why),
    };
    let mut frame = Vec::new();
    let Some(order) = order(&state.config, &push, None, &mut frame) else {
        return outcome(false);
    };
    match order.put().await {
        Ok(receipt) => outcome(note(receipt.delivered)),
        Err(answer) => *answer,
    }
}

fn outcome(is_delivered: bool) -> Answer {
    let body = match is_delivered {
        true => r#"{"status":"success","message":"Message delivered"}"#,
        false => r#"{"status":"partial","message":"User not connected"}"#,
    };
    respond(200, JSON, body.to_owned())
}

/// Whom a message goes to: the first public account that it mentions, or the user
/// it names (spec/bridge.md 1.4).
fn target<'a>(config: &Config, push: &'a Push<'_>) -> &'a str {
    push.mention(|name| config.bridge.is_public(name))
        .unwrap_or(&push.user)
}

/// What is to be published for a message; nothing if nobody can be connected as its
/// user. `frame` is where its text is put.
fn order<'a>(
    config: &Config,
    push: &'a Push<'_>,
    correlation: Option<&Correlation<'_>>,
    frame: &'a mut Vec<u8>,
) -> Option<Order<'a>> {
    let target = target(config, push);
    if target.is_empty() || target.len() > topic::NAME_BYTES_MAX {
        note(0);
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
    Some(Order::push(target, push.event_type.as_deref(), text))
}

/// Counts a message that reached so many connections. Returns whether it reached any.
fn note(connections: u64) -> bool {
    shard::local(|shard| {
        shard.counters.pushes.add(1);
        shard
            .counters
            .pushes_undelivered
            .add(u64::from(connections == 0));
    });
    connections > 0
}
