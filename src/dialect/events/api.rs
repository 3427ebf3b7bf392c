//! Publishing over HTTP: one event, or many in one request.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};

use crate::http::schema::{Field, Kind, Object};
use crate::http::{Answer, refuse, respond};
use crate::json::{self, Raw};
use crate::service::{
    ACCEPTED, ACCEPTED_EXAMPLE, BUSY, EndpointAccess, EndpointGroup, Example, Operation, Order,
    Reply, RequestBody, State, UNAVAILABLE, UNKNOWN, count, open, publish_one, text_of,
};

/// Events in one batch.
const BATCH_EVENTS_MAX: usize = 10_000;

/// `POST /api/v1/events`: `{"event", "data", "user_id"?, "broadcast"?}`.
pub(super) async fn publish(Shared(state): Shared<Arc<State>>, request: Request) -> Answer {
    publish_one(&state, request, parse).await
}

/// `POST /api/v1/events/batch`: a JSON array of events, or one event per line (`application/x-ndjson`). All are
/// validated before the first is published.
pub(super) async fn publish_batch(Shared(state): Shared<Arc<State>>, request: Request) -> Answer {
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let is_lines = content_type.is_some_and(|kind| {
        let kind = kind.to_ascii_lowercase();
        kind.contains("ndjson") || kind.contains("jsonl")
    });
    let (service, body) = match open(&state, request).await {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let text = match text_of(&body) {
        Ok(text) => text,
        Err(answer) => return *answer,
    };
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
        match event.put(&state).await {
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

fn parse<'a>(state: &State, text: &'a str) -> Result<Order<'a>, String> {
    let values = EVENT.read(text).map_err(|error| error.to_string())?;
    let [event, data, user, broadcast] = values;
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
        return Order::to_all(state, name, data).map_err(|why| format!("`event`: {why}"));
    }
    let event = event.ok_or("`event` is missing: the name to publish to, a string")?;
    let order = match user {
        Some(user) => {
            let user = user.as_string().ok_or("`user_id` is not a string")?;
            Order::to_user(state, &user, event, data)
        }
        None => Order::to_topic(state, event, Cow::Borrowed(""), data),
    };
    order.map_err(|why| format!("`event`: {why}"))
}

pub(super) static PUBLISH: Operation = Operation {
    group: EndpointGroup::Publishing,
    summary: "Publish an event",
    doc: "To the subscribers of the topic `event`, to the connections of one user, or to everybody.",
    access: EndpointAccess::Service,
    parameters: &[],
    body: Some(RequestBody {
        kind: Kind::Of(&EVENT),
        lines: false,
        examples: &[
            Example {
                name: "to a topic",
                json: r#"{"event":"news","data":{"title":"Hello"}}"#,
            },
            Example {
                name: "to a user",
                json: r#"{"event":"note","user_id":"alice","data":"Welcome back"}"#,
            },
            Example {
                name: "to everybody",
                json: r#"{"event":"maintenance","broadcast":true,"data":{"in_minutes":10}}"#,
            },
        ],
    }),
    replies: &[
        Reply::json(
            202,
            "It has its place.",
            Kind::Of(&ACCEPTED),
            ACCEPTED_EXAMPLE,
        ),
        BUSY,
        UNAVAILABLE,
        UNKNOWN,
    ],
};

pub(super) static PUBLISH_BATCH: Operation = Operation {
    group: EndpointGroup::Publishing,
    summary: "Publish many events",
    doc: "Up to 10,000, as an array or one a line. All are checked before the first is published.",
    access: EndpointAccess::Service,
    parameters: &[],
    body: Some(RequestBody {
        kind: Kind::ListOf(&Kind::Of(&EVENT)),
        lines: true,
        examples: &[Example {
            name: "two events",
            json: r#"[{"event":"news","data":1},{"event":"news","data":2}]"#,
        }],
    }),
    replies: &[
        Reply::json(
            202,
            "They have their places.",
            Kind::Of(&ACCEPTED_BATCH),
            r#"{"status":"accepted","count":2,"delivered":24,"offsets":[41,42]}"#,
        ),
        Reply::refusal(
            413,
            "More than 10,000 events, or than may be published in a minute, or a body larger than \
             `http.max_body_size`.",
            r#"{"detail":"A batch has at most 10000 events"}"#,
        ),
        Reply::refusal(
            422,
            "One of the events is not what it should be; none is published.",
            r#"{"detail":"event 1: `data` is missing: any JSON value; nothing was published"}"#,
        ),
        BUSY,
        UNAVAILABLE,
        UNKNOWN,
    ],
};

/// The body of a publication.
static EVENT: Object<4> = Object {
    name: "Event",
    doc: "An event to publish.",
    fields: [
        Field::optional(
            "event",
            Kind::Topic,
            r#""news""#,
            "The topic, or what the event for a user or for everybody is called.",
        )
        .unless("broadcast")
        .nullable(),
        Field::required(
            "data",
            Kind::Any,
            r#"{"title":"Hello"}"#,
            "What happened: any JSON, passed on byte for byte.",
        ),
        Field::optional(
            "user_id",
            Kind::String,
            r#""alice""#,
            "The user, of 1 to 128 bytes, who alone is to have it, on every connection.",
        )
        .nullable(),
        Field::optional(
            "broadcast",
            Kind::Boolean,
            "false",
            "Whether it is for everybody; then `event` is not needed.",
        )
        .nullable(),
    ],
};

static ACCEPTED_BATCH: Object<4> = Object {
    name: "AcceptedBatch",
    doc: "What has been published.",
    fields: [
        Field::required(
            "status",
            Kind::OneOf(&[r#""accepted""#]),
            r#""accepted""#,
            "Always this.",
        ),
        Field::required("count", Kind::Integer(0, u64::MAX), "2", "How many events."),
        Field::required(
            "delivered",
            Kind::Integer(0, u64::MAX),
            "24",
            "How many connections have them queued, each counted for itself.",
        ),
        Field::required(
            "offsets",
            Kind::ListOf(&Kind::Integer(0, u64::MAX)),
            "[41,42]",
            "Their places in their topics.",
        ),
    ],
};
