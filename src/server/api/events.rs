//! Publishing over HTTP: one event, or many in one request.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::time::{sleep, timeout};

use super::State;
use super::credentials::Service;
use crate::http::{Answer, PeerAddress, refuse, respond};
use crate::protocol::json::{self, Raw};
use crate::shard::{self, Published};
use crate::topic;

/// Events in one batch.
const BATCH_EVENTS_MAX: usize = 10_000;

/// How long a publication waits for room before its sender is asked to come again.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// How long another core may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long it waits between two attempts.
const WAIT_STEP: Duration = Duration::from_millis(1);

/// One event of a request.
struct Event<'a> {
    topic: Cow<'a, str>,
    data: &'a str,
}

/// `POST /api/v1/events`: `{"event", "data"}`.
pub(super) async fn publish(
    Shared(state): Shared<Arc<State>>,
    Extension(address): Extension<PeerAddress>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let (service, text) = match open(&state, address, &headers, &body) {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let event = match parse(&state, text) {
        Ok(event) => event,
        Err(why) => return refuse(422, &why, &[]),
    };
    if let Err(answer) = check_publish(&state, &service, &event.topic) {
        return *answer;
    }
    match put(&event).await {
        Ok(offset) => respond(
            202,
            "application/json",
            format!(r#"{{"status":"accepted","offset":{offset}}}"#),
        ),
        Err(answer) => *answer,
    }
}

/// `POST /api/v1/events/batch`: a JSON array of events, or one event a line
/// (`application/x-ndjson`). All are checked before the first is published.
pub(super) async fn publish_batch(
    Shared(state): Shared<Arc<State>>,
    Extension(address): Extension<PeerAddress>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let (service, text) = match open(&state, address, &headers, &body) {
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
            Ok(event) => match check_publish(&state, &service, &event.topic) {
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
    let mut offsets = String::new();
    for (index, event) in events.iter().enumerate() {
        match put(event).await {
            Ok(offset) => {
                let comma = if index > 0 { "," } else { "" };
                let _ = write!(offsets, "{comma}{offset}");
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
        format!(r#"{{"status":"accepted","count":{count},"offsets":[{offsets}]}}"#),
    )
}

/// The text of a request whose sender may publish.
fn open<'a>(
    state: &State,
    address: PeerAddress,
    headers: &HeaderMap,
    body: &'a Result<Bytes, BytesRejection>,
) -> Result<(Service, &'a str), Box<Answer>> {
    let service = state.check_service(headers, address.0)?;
    let body = body.as_ref().map_err(|rejection| {
        let status = rejection.status().as_u16();
        let max = state.config.http.max_body_size;
        let why = if status == 413 {
            format!("The body is larger than {max} bytes")
        } else {
            rejection.body_text()
        };
        Box::new(refuse(status, &why, &[]))
    })?;
    let text = simdutf8::basic::from_utf8(body)
        .map_err(|_| Box::new(refuse(422, "The body is not UTF-8", &[])))?;
    Ok((service, text))
}

/// Refuses a topic that a service may not publish to.
fn check_publish(state: &State, service: &Service, topic: &str) -> Result<(), Box<Answer>> {
    if service.permissions(&state.config).may_publish(topic) {
        return Ok(());
    }
    let why = format!(
        "Publishing to `{topic}` takes a token whose `fanfare.publish` covers it, or another namespace"
    );
    Err(Box::new(refuse(403, &why, &[])))
}

fn parse<'a>(state: &State, text: &'a str) -> Result<Event<'a>, String> {
    let (mut topic, mut data, mut unknown) = (None, None, None);
    json::fields(text, |key, value| match key {
        "event" => topic = value.as_string(),
        "data" => data = Some(value.text()),
        "broadcast" | "user_id" if !value.is_null() && value.text() != "false" => {
            unknown = Some(key.to_owned());
        }
        _ => {}
    })
    .map_err(|error| error.to_string())?;
    if let Some(key) = unknown {
        return Err(format!(
            "`{key}` is not available: publish to a topic with `event`"
        ));
    }
    let topic = topic.ok_or("`event` is missing: the name to publish to, a string")?;
    topic::check_topic(&topic).map_err(|why| format!("`event`: {why}"))?;
    let data = data.ok_or("`data` is missing: any JSON value")?;
    let size_max = state.config.namespace(&topic).max_message_size;
    if data.len() > size_max {
        return Err(format!(
            "`data` has {} bytes; this topic takes {size_max}",
            data.len()
        ));
    }
    Ok(Event { topic, data })
}

/// Publishes one event and waits for its offset.
async fn put(event: &Event<'_>) -> Result<u64, Box<Answer>> {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let (published, answer) =
            shard::local(|shard| shard.publish_and_wait(&event.topic, event.data.as_bytes()));
        let published = match published {
            Published::Forwarded => match timeout(ANSWER_MAX, answer).await {
                Ok(answer) => answer.unwrap_or(Published::Wait),
                Err(_) => {
                    let why = "The topic's core is busy; whether it was published is not known";
                    return Err(Box::new(refuse(504, why, &[(RETRY_AFTER, "1")])));
                }
            },
            published => published,
        };
        match published {
            Published::At(offset) => return Ok(offset),
            Published::TooManyTopics => {
                return Err(Box::new(refuse(
                    503,
                    "There are too many topics",
                    &[(RETRY_AFTER, "60")],
                )));
            }
            Published::Wait | Published::Forwarded if Instant::now() >= deadline => {
                let why = "Subscribers are written to more slowly than messages come; try again";
                return Err(Box::new(refuse(429, why, &[(RETRY_AFTER, "1")])));
            }
            Published::Wait | Published::Forwarded => sleep(WAIT_STEP).await,
        }
    }
}
