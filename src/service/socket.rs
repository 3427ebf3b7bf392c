//! The documentation of requests that become connections.

use super::operation::{EndpointAccess, EndpointGroup, Operation, Reply};

/// The documentation that all WebSocket endpoints have in common.
pub(crate) const SOCKET: Operation = Operation {
    group: EndpointGroup::Receiving,
    summary: "",
    doc: "",
    access: EndpointAccess::Client,
    parameters: &[],
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

pub(crate) const UPGRADED: Reply = Reply::empty(101, "The connection is a WebSocket now.");

pub(crate) const BAD_REQUEST: Reply = Reply::refusal(
    400,
    "No WebSocket handshake, or a parameter that means nothing.",
    r#"{"detail":"`format` is unknown; there are: json, msgpack"}"#,
);

pub(crate) const BAD_ORIGIN: Reply = Reply::refusal(
    403,
    "The page's origin is not in `http.allowed_origins`.",
    r#"{"detail":"The page's origin is not in http.allowed_origins"}"#,
);

pub(crate) const NO_UPGRADE: Reply = Reply::refusal(
    426,
    "The request asks for no upgrade to a WebSocket of version 13.",
    r#"{"detail":"this path speaks WebSocket: an Upgrade header is needed"}"#,
);

pub(crate) const TOO_MANY: Reply = Reply::refusal(
    429,
    "Too many wrong credentials or connections of this address or user. `Retry-After` says when to come back.",
    r#"{"detail":"Too many wrong credentials from this address; try again later"}"#,
);

pub(crate) const NO_ROOM: Reply = Reply::refusal(
    503,
    "Too many connections, or the gateway is stopping. `Retry-After` says when to come back, where that is known.",
    r#"{"detail":"Too many connections"}"#,
);
