//! The documentation of the protocol's WebSocket endpoints.

use crate::http::schema::{Field, Kind};
use crate::service::{
    BAD_ORIGIN, BAD_REQUEST, EndpointAccess, NO_ROOM, NO_UPGRADE, Operation, Parameter, Reply,
    SOCKET, TOO_MANY, UPGRADED,
};

pub(super) static EVENTS: Operation = Operation {
    summary: "A WebSocket of the events protocol",
    doc: "Subscribe, publish, ask: JSON or MessagePack, as docs/protocol.md says. A token that is not valid is \
          refused after the upgrade, with an error frame and close code 1008, since browsers hide statuses.",
    parameters: &[FORMAT, BATCH, INBOX_AFTER],
    ..SOCKET
};

pub(super) static EVENTS_AS: Operation = Operation {
    summary: "The same, for a client that names itself",
    doc: "The name is for logs and listings; it proves nothing.",
    parameters: &[
        Parameter::path(Field::required(
            "client_id",
            Kind::String,
            r#""ann""#,
            "1 to 64 letters, digits, `_` and `-`, but for `demo`, `dev`, `monitor`, `connections` and \
             `subscriptions`.",
        )),
        FORMAT,
        BATCH,
        INBOX_AFTER,
    ],
    replies: &[
        UPGRADED,
        BAD_REQUEST,
        BAD_ORIGIN,
        BAD_CLIENT_ID,
        NO_UPGRADE,
        TOO_MANY,
        NO_ROOM,
    ],
    ..SOCKET
};

pub(super) static EVENTS_DEV: Operation = Operation {
    summary: "The same, for trying things out",
    doc: "Messages of an unknown type are echoed. Not in prod mode.",
    parameters: &[FORMAT, BATCH, INBOX_AFTER, WELCOME],
    ..SOCKET
};

pub(super) static EVENTS_DEMO: Operation = Operation {
    summary: "The same, for everybody",
    doc: "No token is ever looked at. Messages of an unknown type are echoed.",
    access: EndpointAccess::Open,
    parameters: &[FORMAT, BATCH, WELCOME],
    ..SOCKET
};

const FORMAT: Parameter = Parameter::query(Field::optional(
    "format",
    Kind::OneOf(&[r#""json""#, r#""msgpack""#]),
    r#""json""#,
    "The encoding of all frames; `json` if it is not given.",
));

const BATCH: Parameter = Parameter::query(Field::optional(
    "batch",
    Kind::Boolean,
    "false",
    "Whether several events come in one frame; not with `msgpack`.",
));

const WELCOME: Parameter = Parameter::query(Field::optional(
    "welcome",
    Kind::Boolean,
    "false",
    "Whether an extra frame follows the greeting.",
));

const INBOX_AFTER: Parameter = Parameter::query(Field::optional(
    "inbox_after",
    Kind::String,
    r#""1763712871000-3""#,
    "The `event_id` of the last event that the user had in the own inbox: those after it come first.",
));

const BAD_CLIENT_ID: Reply = Reply::refusal(
    404,
    "This cannot be a client's name.",
    r#"{"detail":"`monitor` is reserved: choose another client id"}"#,
);
