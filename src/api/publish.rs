//! Publishing over HTTP independently of a protocol
//! (docs/protocol.md, "Publishing in general terms").

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State as Shared};

use crate::engine::KEY_BYTES_MAX;
use crate::http::Answer;
use crate::http::schema::{Field, Kind, Object};
use crate::id::Priority;
use crate::json::Raw;
use crate::service::{
    ACCEPTED, ACCEPTED_EXAMPLE, BUSY, DEFAULT_NAME, EndpointAccess, EndpointGroup, Example,
    Operation, Order, Reply, RequestBody, State, UNAVAILABLE, UNKNOWN, publish_one,
};

/// `POST /api/v1/publish`: `{"topic", "type"?, "payload", "user_id"?, "priority"?, "id"?}`. With an `id` it is
/// idempotent for five minutes: it is published once, and each response has the same offset.
pub(super) async fn publish(Shared(state): Shared<Arc<State>>, request: Request) -> Answer {
    publish_one(&state, request, parse).await
}

fn parse<'a>(state: &State, text: &'a str) -> Result<Order<'a>, String> {
    let values = PUBLICATION.read(text).map_err(|error| error.to_string())?;
    let [topic, kind, payload, user, priority, id] = values;
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

pub(super) static ABOUT: Operation = Operation {
    group: EndpointGroup::Publishing,
    summary: "Publish to a topic or to a user",
    doc: "In words that no protocol owns: the subscribers of a topic, or all connections of a user, have it \
          in the form of their protocol. With an `id` it can be sent again when no answer came.",
    access: EndpointAccess::Service,
    parameters: &[],
    body: Some(RequestBody {
        kind: Kind::Of(&PUBLICATION),
        lines: false,
        examples: &[
            Example {
                name: "to a topic",
                json: r#"{"topic":"orders","type":"order.paid","payload":{"number":7},"id":"7f3a"}"#,
            },
            Example {
                name: "to a user",
                json: r#"{"user_id":"alice","type":"note","payload":"Welcome back"}"#,
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

/// What is published.
static PUBLICATION: Object<6> = Object {
    name: "Publication",
    doc: "Something to publish.",
    fields: [
        Field::optional("topic", Kind::Topic, r#""orders""#, "Where to.")
            .unless("user_id")
            .nullable(),
        Field::optional(
            "type",
            Kind::Topic,
            r#""order.paid""#,
            "What the event is called, if not like its topic. For a user: if not like `topic`, or else \
             `message`.",
        )
        .nullable(),
        Field::required(
            "payload",
            Kind::Any,
            r#"{"number":7}"#,
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
            "priority",
            Kind::OneOf(&["1", "3", "5", "8", "10"]),
            "5",
            "Checked and not used: messages of a topic never overtake each other.",
        )
        .nullable(),
        Field::optional(
            "id",
            Kind::Id,
            r#""7f3a""#,
            "At most 128 bytes. Within five minutes one publication to the topic is made of all that have \
             it.",
        )
        .nullable(),
    ],
};
