//! Publishing over HTTP: one event, or many in one request.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};

use super::State;
use super::order::{Order, Receipt, count, open};
use crate::http::{Answer, ClientAddress, refuse, respond};
use crate::protocol::json::{self, Raw};

/// Events in one batch.
const BATCH_EVENTS_MAX: usize = 10_000;

/// `POST /api/v1/events`: `{"event", "data", "user_id"?, "broadcast"?}`.
pub(super) async fn publish(
    Shared(state): Shared<Arc<State>>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let (service, text) = match open(&state, &headers, address, &body) {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let event = match parse(&state, text) {
        Ok(event) => event,
        Err(why) => return refuse(422, &why, &[]),
    };
    let permitted = event.check_permission(&state, &service);
    if let Err(answer) = permitted.and_then(|()| count(&state, service.publisher, 1)) {
        return *answer;
    }
    match event.put().await {
        Ok(receipt) => accepted(receipt),
        Err(answer) => *answer,
    }
}

/// `POST /api/v1/events/batch`: a JSON array of events, or one event a line
/// (`application/x-ndjson`). All are checked before the first is published.
pub(super) async fn publish_batch(
    Shared(state): Shared<Arc<State>>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let (service, text) = match open(&state, &headers, address, &body) {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let is_lines = content_type.contains("ndjson") || content_type.contains("jsonl");
    let items: Vec<&str> = if is_lines {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.take(BATCH_EVENTS_MAX + 1).collect()
    } else {
        match json::items(text, BATCH_EVENTS_MAX + 1) {
            Ok(items) => items.into_iter().map(Raw::text).collect(),
            Err(_) => {
                return refuse(
                    422,
                    "The body is not a JSON array; for one event a line, send application/x-ndjson",
                    &[],
                );
            }
        }
    };
    if items.len() > BATCH_EVENTS_MAX {
        return refuse(
            413,
            &format!("A batch has at most {BATCH_EVENTS_MAX} events"),
            &[],
        );
    }
    let mut events = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        match parse(&state, item) {
            Ok(event) => match event.check_permission(&state, &service) {
                Ok(()) => events.push(event),
                Err(answer) => return *answer,
            },
            Err(why) => {
                return refuse(
                    422,
                    &format!("event {index}: {why}; nothing was published"),
                    &[],
                );
            }
        }
    }
    if let Err(answer) = count(&state, service.publisher, events.len()) {
        return *answer;
    }
    let (mut offsets, mut delivered) = (String::new(), 0);
    for (index, event) in events.iter().enumerate() {
        match event.put().await {
            Ok(receipt) => {
                let comma = if index > 0 { "," } else { "" };
                let _ = write!(offsets, "{comma}{}", receipt.offset);
                delivered += receipt.delivered;
            }
            Err(mut answer) => {
                let why = format!(
                    "published {index} of {} events, then: busy or full",
                    events.len()
                );
                let headers = std::mem::take(answer.headers_mut());
                let mut partial = refuse(answer.status().as_u16(), &why, &[]);
                partial.headers_mut().extend(
                    headers
                        .into_iter()
                        .filter(|(name, _)| name.as_ref() == Some(&RETRY_AFTER)),
                );
                return partial;
            }
        }
    }
    let count = events.len();
    respond(
        202,
        "application/json",
        format!(
            r#"{{"status":"accepted","count":{count},"delivered":{delivered},"offsets":[{offsets}]}}"#
        ),
    )
}

/// The answer to a publication that has its place.
pub(super) fn accepted(receipt: Receipt) -> Answer {
    let Receipt { offset, delivered } = receipt;
    respond(
        202,
        "application/json",
        format!(r#"{{"status":"accepted","offset":{offset},"delivered":{delivered}}}"#),
    )
}

fn parse<'a>(state: &State, text: &'a str) -> Result<Order<'a>, String> {
    let (mut event, mut data, mut user, mut broadcast) = (None, None, None, None);
    json::fields(text, |key, value| match key {
        "event" => event = Some(value),
        "data" => data = Some(value.text()),
        "user_id" => user = Some(value),
        "broadcast" => broadcast = Some(value),
        _ => {}
    })
    .map_err(|error| error.to_string())?;
    let data = data.ok_or("`data` is missing: any JSON value")?;
    let broadcast = match broadcast.map_or("null", Raw::text) {
        "true" => true,
        "false" | "null" => false,
        _ => return Err("`broadcast` is true or false".to_owned()),
    };
    let event = match event.filter(|event| !event.is_null()) {
        Some(event) => Some(event.as_string().ok_or("`event` is not a string")?),
        None => None,
    };
    if broadcast {
        if user.is_some_and(|user| !user.is_null()) {
            return Err("`broadcast` is for everybody, `user_id` for one: give one of them".into());
        }
        let name = event.unwrap_or_default();
        return Order::to_all(state, name, data).map_err(|why| format!("`event`: {why}"));
    }
    let event = event.ok_or("`event` is missing: the name to publish to, a string")?;
    let order = match user.filter(|user| !user.is_null()) {
        Some(user) => {
            let user = user.as_string().ok_or("`user_id` is not a string")?;
            Order::to_user(state, &user, event, data)
        }
        None => Order::to_topic(state, event, Cow::Borrowed(""), data),
    };
    order.map_err(|why| format!("`event`: {why}"))
}
