//! Publishing over HTTP independently of a protocol
//! (docs/protocol.md, "Publishing in general terms").

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State as Shared};

use crate::engine::KEY_BYTES_MAX;
use crate::http::{Answer, Rejection};
use crate::id::Priority;
use crate::json::{Fields, Raw};
use crate::service::{DEFAULT_NAME, Order, State, publish_one};

/// `POST /api/v1/publish`: `{"topic", "type"?, "payload", "user_id"?, "priority"?, "id"?}`. With an `id` it is
/// idempotent for five minutes: it is published once, and each response has the same offset.
pub(super) async fn publish(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Answer, Rejection> {
    publish_one(&state, request, parse).await
}

fn parse<'a>(state: &State, text: &'a str) -> Result<Order<'a>, String> {
    let values = PUBLICATION.read(text).map_err(|error| error.to_string())?;
    let [payload, topic, kind, user, priority, id] = values;
    let payload = payload
        .map(Raw::text)
        .ok_or("`payload` is missing: any JSON value")?;
    let topic = string("topic", topic)?;
    let name = string("type", kind)?;
    let user = string("user_id", user)?;
    // Messages of a topic keep their order, so a priority belongs to the topic's namespace. The field is validated
    // only.
    let is_priority =
        |number: u64| u8::try_from(number).is_ok_and(|n| Priority::from_number(n).is_some());
    if priority.is_some_and(|given: Raw<'_>| !given.as_count().is_some_and(is_priority)) {
        return Err("`priority` is 1, 3, 5, 8 or 10".to_owned());
    }
    let order = match (user, topic) {
        (Some(user), topic) => {
            let name = name.or(topic).unwrap_or(Cow::Borrowed(DEFAULT_NAME));
            Order::to_user(&state.shard, &user, name, payload)
        }
        (None, Some(topic)) => {
            Order::to_topic(&state.shard, topic, name.unwrap_or_default(), payload)
        }
        (None, None) => {
            return Err("`topic` is missing: the name to publish to; or give `user_id`".to_owned());
        }
    };
    let order = order.map_err(|why| format!("`topic`: {why}"))?;
    let Some(id) = id else { return Ok(order) };
    let key = id
        .as_key(KEY_BYTES_MAX)
        .ok_or_else(|| format!("`id` is a string or number of at most {KEY_BYTES_MAX} bytes"))?;
    Ok(order.once(key))
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

/// The body of a publication.
static PUBLICATION: Fields<6> = Fields {
    names: ["payload", "topic", "type", "user_id", "priority", "id"],
    required: 1,
};
