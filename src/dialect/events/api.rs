//! Publishing over HTTP: one event, or many in one request.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::IntoResponse;

use crate::http::{Answer, Rejection, refuse, respond};
use crate::json::{self, Fields, Raw};
use crate::service::{Order, State, count, open, publish_one, text_of};

/// Events in one batch.
const BATCH_EVENTS_MAX: usize = 10_000;

/// `POST /api/v1/events`: `{"event", "data", "user_id"?, "broadcast"?}`.
pub(super) async fn publish(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Answer, Rejection> {
    publish_one(&state, request, parse).await
}

/// `POST /api/v1/events/batch`: a JSON array of events, or one event per line (`application/x-ndjson`). All are
/// validated before the first is published.
pub(super) async fn publish_batch(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Answer, Rejection> {
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let is_lines = content_type.is_some_and(|kind| {
        let kind = kind.to_ascii_lowercase();
        kind.contains("ndjson") || kind.contains("jsonl")
    });
    let (service, body) = open(&state, request).await?;
    let text = text_of(&body)?;
    let items: Vec<&str> = if is_lines {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.take(BATCH_EVENTS_MAX + 1).collect()
    } else {
        let why = "The body is not a JSON array; for one event a line, send application/x-ndjson";
        let items = json::items(text, BATCH_EVENTS_MAX + 1).map_err(|_| refuse(422, why, &[]))?;
        items.into_iter().map(Raw::text).collect()
    };
    if items.len() > BATCH_EVENTS_MAX {
        let why = format!("A batch has at most {BATCH_EVENTS_MAX} events");
        return Err(refuse(413, &why, &[]).into());
    }
    let mut events = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let event = parse(&state, item).map_err(|why| {
            let why = format!("event {index}: {why}; nothing was published");
            refuse(422, &why, &[])
        })?;
        event.check_permission(&state, &service)?;
        events.push(event);
    }
    count(&state, &service, events.len())?;
    let (mut offsets, mut delivered) = (String::new(), 0);
    for (index, event) in events.iter().enumerate() {
        match event.put(&state).await {
            Ok(stored) => {
                let comma = if index > 0 { "," } else { "" };
                let _ = write!(offsets, "{comma}{}", stored.offset);
                delivered += stored.members;
            }
            Err(rejection) => {
                let why = format!(
                    "published {index} of {} events, then: busy or full",
                    events.len()
                );
                let answer = rejection.into_response();
                let mut partial = refuse(answer.status().as_u16(), &why, &[]);
                if let Some(seconds) = answer.headers().get(RETRY_AFTER) {
                    partial.headers_mut().insert(RETRY_AFTER, seconds.clone());
                }
                return Err(partial.into());
            }
        }
    }
    let count = events.len();
    Ok(respond(
        202,
        "application/json",
        format!(
            r#"{{"status":"accepted","count":{count},"delivered":{delivered},"offsets":[{offsets}]}}"#
        ),
    ))
}

fn parse<'a>(state: &State, text: &'a str) -> Result<Order<'a>, String> {
    let values = EVENT.read(text).map_err(|error| error.to_string())?;
    let [data, event, user, broadcast] = values;
    let data = data.ok_or("`data` is missing: any JSON value")?.text();
    let broadcast = match broadcast.map_or("false", Raw::text) {
        "true" => true,
        "false" => false,
        _ => return Err("`broadcast` is true or false".to_owned()),
    };
    let event = match event {
        Some(event) => Some(event.as_string().ok_or("`event` is not a string")?),
        None => None,
    };
    if broadcast {
        if user.is_some() {
            return Err("`broadcast` is for everybody, `user_id` for one: give one of them".into());
        }
        let name = event.unwrap_or_default();
        return Order::to_all(&state.shard, name, data).map_err(|why| format!("`event`: {why}"));
    }
    let event = event.ok_or("`event` is missing: the name to publish to, a string")?;
    let order = match user {
        Some(user) => {
            let user = user.as_string().ok_or("`user_id` is not a string")?;
            Order::to_user(&state.shard, &user, event, data)
        }
        None => Order::to_topic(&state.shard, event, Cow::Borrowed(""), data),
    };
    order.map_err(|why| format!("`event`: {why}"))
}

/// The body of a publication, and each event of a batch.
static EVENT: Fields<4> = Fields {
    names: ["data", "event", "user_id", "broadcast"],
    required: 1,
};
