//! Publishing over HTTP in words that every protocol shares (spec/gateway.md 6.5).

use std::borrow::Cow;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;

use super::State;
use super::events::accepted;
use super::order::{DEFAULT_NAME, Order, count, open};
use crate::http::{Answer, ClientAddress, refuse};
use crate::id::Priority;
use crate::mesh::KEY_BYTES_MAX;
use crate::protocol::json::{self, Raw};

/// `POST /api/v1/publish`: `{"topic", "type"?, "payload", "user_id"?, "priority"?,
/// "id"?}`. With an `id` it may be sent again: within five minutes it is published
/// once, and each answer has the same offset.
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
    let order = match parse(&state, text) {
        Ok(order) => order,
        Err(why) => return refuse(422, &why, &[]),
    };
    let permitted = order.check_permission(&state, &service);
    if let Err(answer) = permitted.and_then(|()| count(&state, service.publisher, 1)) {
        return *answer;
    }
    match order.put().await {
        Ok(receipt) => accepted(receipt),
        Err(answer) => *answer,
    }
}

fn parse<'a>(state: &State, text: &'a str) -> Result<Order<'a>, String> {
    let (mut topic, mut kind, mut payload, mut user) = (None, None, None, None);
    let (mut priority, mut id) = (None, None);
    json::fields(text, |key, value| {
        let field = match key {
            "topic" => &mut topic,
            "type" => &mut kind,
            "payload" => &mut payload,
            "user_id" => &mut user,
            "priority" => &mut priority,
            "id" => &mut id,
            _ => return,
        };
        *field = Some(value).filter(|value| key == "payload" || !value.is_null());
    })
    .map_err(|error| error.to_string())?;
    let payload = payload
        .map(Raw::text)
        .ok_or("`payload` is missing: any JSON value")?;
    let topic = string("topic", topic)?;
    let name = string("type", kind)?;
    let user = string("user_id", user)?;
    // Messages of a topic never overtake each other, so a priority is a topic's,
    // set by its namespace. Yet a wrong one is a mistake to be told of.
    let is_priority =
        |number: u64| u8::try_from(number).is_ok_and(|n| Priority::from_number(n).is_some());
    if priority.is_some_and(|given: Raw<'_>| !given.as_count().is_some_and(is_priority)) {
        return Err("`priority` is 1, 3, 5, 8 or 10".to_owned());
    }
    let order = match (user, topic) {
        (Some(user), topic) => {
            let name = name.or(topic).unwrap_or(Cow::Borrowed(DEFAULT_NAME));
            Order::to_user(state, &user, name, payload)
        }
        (None, Some(topic)) => Order::to_topic(state, topic, name.unwrap_or_default(), payload),
        (None, None) => {
            return Err("`topic` is missing: the name to publish to; or give `user_id`".to_owned());
        }
    };
    let order = order.map_err(|why| format!("`topic`: {why}"))?;
    let Some(id) = id else { return Ok(order) };
    if !id.is_scalar_id() || id.text().len() > KEY_BYTES_MAX {
        return Err(format!(
            "`id` is a string or number of at most {KEY_BYTES_MAX} bytes"
        ));
    }
    Ok(order.once(Cow::Borrowed(id.text())))
}

fn string<'a>(name: &str, value: Option<Raw<'a>>) -> Result<Option<Cow<'a, str>>, String> {
    match value {
        None => Ok(None),
        Some(value) => match value.as_string() {
            Some(text) => Ok(Some(text)),
            None => Err(format!("`{name}` is not a string")),
        },
    }
}
