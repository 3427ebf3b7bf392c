//! The documentation of the SSE endpoint.

use crate::http::schema::{Field, Kind};
use crate::service::{
    EndpointAccess, EndpointGroup, NO_ROOM, Operation, Parameter, Reply, TOO_MANY,
};

pub(super) static SSE: Operation = Operation {
    group: EndpointGroup::Receiving,
    summary: "A stream of Server-Sent Events",
    doc: "The events of some topics, for `EventSource`, `curl` and anything that reads HTTP. The `id` of each says \
          where all topics of the stream stand: a client that comes back with it goes on there.",
    access: EndpointAccess::Client,
    parameters: &[
        Parameter::query(Field::required(
            "topics",
            Kind::String,
            r#""orders,stock""#,
            "Topics by their exact names, separated by commas; may be repeated, also as `topic`.",
        )),
        Parameter::query(Field::optional(
            "last_event_id",
            Kind::String,
            r#""AaXw1pDTNAABAADYR0cfrWnUVg""#,
            "Where to go on: the `id` of an event of the same topics.",
        )),
        Parameter::header(Field::optional(
            "Last-Event-ID",
            Kind::String,
            r#""AaXw1pDTNAABAADYR0cfrWnUVg""#,
            "The same, as browsers send it; it wins.",
        )),
    ],
    body: None,
    replies: &[
        Reply::text(
            200,
            "The stream, which ends with the connection.",
            "text/event-stream",
            "id: AaXw1pDTNAABAADYR0cfrWnUVg\nevent: orders\ndata: {\"number\":17}\n\n",
        ),
        Reply::refusal(
            400,
            "No topic, a name that is none, a pattern, or more than `sse.max_topics`.",
            r#"{"detail":"say which topics: ?topics=a,b or ?topic=a&topic=b"}"#,
        ),
        Reply::refusal(
            401,
            "The token is not valid, or missing where one is asked for.",
            r#"{"detail":"Invalid or expired token"}"#,
        ),
        Reply::refusal(
            403,
            "A topic that may not be read, or a page whose origin may not.",
            r#"{"detail":"`secrets`: not yours to read"}"#,
        ),
        TOO_MANY,
        NO_ROOM,
    ],
};
