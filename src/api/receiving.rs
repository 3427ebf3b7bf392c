//! What is said of the connections that `conn` takes out of HTTP: WebSockets and
//! streams of events.

use super::operation::{Access, Group, Operation, Parameter, Reply};
use crate::http::schema::{Field, Kind};

pub(super) static EVENTS: Operation = Operation {
    summary: "A WebSocket of the events protocol",
    doc: "Subscribe, publish, ask: JSON or MessagePack, as docs/protocol.md says. A token that is not valid is \
          refused after the upgrade, with an error frame and close code 1008, since browsers hide statuses.",
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
    access: Access::Open,
    parameters: &[FORMAT, BATCH, WELCOME],
    ..SOCKET
};

pub(super) static ECHO: Operation = Operation {
    summary: "A WebSocket that sends everything back",
    doc: "For tests and measurements.",
    access: Access::Open,
    parameters: &[],
    ..SOCKET
};

pub(super) static BRIDGE: Operation = Operation {
    group: Group::Bridge,
    summary: "A user's WebSocket",
    doc: "The user has what services push, one JSON object a message, and answers a question with an object that \
          has its `correlation_id`; `\"is_final\":true` makes it the last answer. In demo and dev mode \
          whoever names a user is that user; a token's user has to be the same. A second connection of a user is \
          closed with 1008, unless `bridge.duplicate` says otherwise.",
    parameters: &[Parameter::query(Field::required(
        "user_id",
        Kind::String,
        r#""alice""#,
        "The user, of 1 to 128 bytes.",
    ))],
    replies: &[
        UPGRADED,
        Reply::text(
            400,
            "`user_id` is empty, too long, not UTF-8 or given twice; or this is no WebSocket handshake.",
            "text/plain; charset=utf-8",
            "`user_id` is empty",
        ),
        Reply::text(
            401,
            "No `user_id` and no token, or a token that is not valid.",
            "text/plain; charset=utf-8",
            "Missing authentication token",
        ),
        Reply::text(
            403,
            "The token is another user's, or the page's origin is not in `http.allowed_origins`.",
            "text/plain; charset=utf-8",
            "The token is another user's than `user_id`",
        ),
        Reply::text(
            426,
            "The request asks for no upgrade.",
            "text/plain; charset=utf-8",
            "this path speaks WebSocket: an Upgrade header is needed",
        ),
        TOO_MANY,
        NO_ROOM,
    ],
    ..SOCKET
};

pub(super) static SSE: Operation = Operation {
    group: Group::Receiving,
    summary: "A stream of Server-Sent Events",
    doc: "The events of some topics, for `EventSource`, `curl` and anything that reads HTTP. The `id` of each says \
          where all topics of the stream stand: a client that comes back with it goes on there.",
    access: Access::Client,
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

/// What all WebSockets of the events protocol have in common.
const SOCKET: Operation = Operation {
    group: Group::Receiving,
    summary: "",
    doc: "",
    access: Access::Client,
    parameters: &[FORMAT, BATCH, INBOX_AFTER],
    body: None,
    replies: &[
        UPGRADED,
        BAD_REQUEST,
        BAD_ORIGIN,
        NO_UPGRADE,
        TOO_MANY,
        NO_ROOM,
    ],
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

const UPGRADED: Reply = Reply::empty(101, "The connection is a WebSocket now.");

const BAD_REQUEST: Reply = Reply::refusal(
    400,
    "No WebSocket handshake, or a parameter that means nothing.",
    r#"{"detail":"`format` is unknown; there are: json, msgpack"}"#,
);

const BAD_ORIGIN: Reply = Reply::refusal(
    403,
    "The page's origin is not in `http.allowed_origins`.",
    r#"{"detail":"The page's origin is not in http.allowed_origins"}"#,
);

const BAD_CLIENT_ID: Reply = Reply::refusal(
    404,
    "This cannot be a client's name.",
    r#"{"detail":"`monitor` is reserved: choose another client id"}"#,
);

const NO_UPGRADE: Reply = Reply::refusal(
    426,
    "The request asks for no upgrade to a WebSocket of version 13.",
    r#"{"detail":"this path speaks WebSocket: an Upgrade header is needed"}"#,
);

const TOO_MANY: Reply = Reply::refusal(
    429,
    "Too many wrong credentials or connections of this address or user. `Retry-After` says when to come back.",
    r#"{"detail":"Too many wrong credentials from this address; try again later"}"#,
);

const NO_ROOM: Reply = Reply::refusal(
    503,
    "Too many connections, or the gateway is stopping. `Retry-After` says when to come back, where that is known.",
    r#"{"detail":"Too many connections"}"#,
);
