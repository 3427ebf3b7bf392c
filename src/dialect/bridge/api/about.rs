//! The documentation of the bridge protocol's endpoints.

use crate::dialect::bridge::MESSAGE;
use crate::http::schema::{Field, Kind, Object};
use crate::service::{
    BUSY, EndpointAccess, EndpointGroup, Example, NO_ROOM, Operation, Parameter, Reply,
    RequestBody, SOCKET, TOO_MANY, UNAVAILABLE, UNKNOWN, UPGRADED,
};

pub(super) static PUSH: Operation = Operation {
    group: EndpointGroup::Bridge,
    summary: "Push a message to a user",
    doc: "The user has `data` with `original_sender`, `user_id` and `correlation_id` set. Nothing is kept for \
          whoever is not connected.",
    access: EndpointAccess::BridgeService,
    parameters: &[],
    body: Some(RequestBody {
        kind: Kind::Of(&MESSAGE),
        lines: false,
        examples: &[
            Example {
                name: "a notification",
                json: r#"{"user_id":"alice","data":{"type":"notification","message":"Build 7 is done"}}"#,
            },
            Example {
                name: "with all fields",
                json: r#"{"user_id":"alice","data":{"message":"Ask @helpdesk","timestamp":1763712871,"correlation_id":"req_1"},"event_type":"hint","event_id":"42","timestamp":"1763712871.5"}"#,
            },
        ],
    }),
    replies: &[
        Reply::json(
            200,
            "It is in the gateway's hands, or the user is not connected.",
            Kind::Of(&PUSHED),
            r#"{"status":"success","message":"Message delivered"}"#,
        ),
        INVALID,
        BUSY,
        UNAVAILABLE,
        UNKNOWN,
    ],
};

pub(super) static PUSH_BATCH: Operation = Operation {
    group: EndpointGroup::Bridge,
    summary: "Push many messages",
    doc: "They are put on their way together. If one is not valid, none is delivered.",
    access: EndpointAccess::BridgeService,
    parameters: &[],
    body: Some(RequestBody {
        kind: Kind::ListOf(&Kind::Of(&MESSAGE)),
        lines: false,
        examples: &[Example {
            name: "two messages",
            json: r#"[{"user_id":"alice","data":{"message":"Hello"}},{"user_id":"bob","data":{"message":"Hello"}}]"#,
        }],
    }),
    replies: &[
        Reply::json(
            200,
            "What became of each, in their order.",
            Kind::Of(&PUSHED_BATCH),
            r#"{"results":[{"index":0,"user_id":"alice","success":true},{"index":1,"user_id":"bob","success":false}]}"#,
        ),
        INVALID,
    ],
};

pub(super) static SEND: Operation = Operation {
    group: EndpointGroup::Bridge,
    summary: "Ask a user",
    doc: "Pushes a message and streams back what the user sends with the same `correlation_id`: one event each, of \
          one line of JSON, until an answer has `\"is_final\":true` or `\"type\":\"final_response\"`, or none comes for \
          `bridge.response_timeout` (30 s). Why a stream ends without an answer is an event as well: \
          `{\"error\":\"User not connected\",\"correlation_id\":\"req_1\"}`.",
    access: EndpointAccess::BridgeService,
    parameters: &[],
    body: Some(RequestBody {
        kind: Kind::Of(&MESSAGE),
        lines: false,
        examples: &[Example {
            name: "a question",
            json: r#"{"user_id":"alice","data":{"type":"question","message":"Deploy to production?"}}"#,
        }],
    }),
    replies: &[
        Reply::text(
            200,
            "The stream of answers.",
            "text/event-stream",
            "data: {\"type\":\"response\",\"correlation_id\":\"req_1\",\"message\":\"Yes\",\"is_final\":true}\n\n",
        ),
        Reply::refusal(
            409,
            "Another question with this `correlation_id` waits for answers.",
            r#"{"detail":"correlation_id already in use"}"#,
        ),
        INVALID,
        BUSY,
        UNAVAILABLE,
        UNKNOWN,
    ],
};

const INVALID: Reply = Reply::json(
    422,
    "The body is not what it should be: everything that is wrong, up to 100 faults.",
    Kind::Of(&VALIDATION_ERRORS),
    r#"{"detail":[{"type":"missing","loc":["body","user_id"],"msg":"Field required","input":{"data":{}}}]}"#,
);

static PUSHED: Object<2> = Object {
    name: "Pushed",
    doc: "What became of a message.",
    fields: [
        Field::required(
            "status",
            Kind::OneOf(&[r#""success""#, r#""partial""#]),
            r#""success""#,
            "`partial`: nobody was there.",
        ),
        Field::required(
            "message",
            Kind::OneOf(&[r#""Message delivered""#, r#""User not connected""#]),
            r#""Message delivered""#,
            "The same for people.",
        ),
    ],
};

static PUSHED_BATCH: Object<1> = Object {
    name: "PushedBatch",
    doc: "What became of the messages of a batch.",
    fields: [Field::required(
        "results",
        Kind::ListOf(&Kind::Of(&PUSHED_ONE)),
        r#"[{"index":0,"user_id":"alice","success":true}]"#,
        "Each, in the order of the batch.",
    )],
};

static PUSHED_ONE: Object<4> = Object {
    name: "PushedOne",
    doc: "What became of a message of a batch.",
    fields: [
        Field::required("index", Kind::Integer(0, u64::MAX), "0", "Which one."),
        Field::required(
            "user_id",
            Kind::String,
            r#""alice""#,
            "As in the message, also where a mention sent it elsewhere.",
        ),
        Field::required(
            "success",
            Kind::Boolean,
            "true",
            "Whether somebody was there.",
        ),
        Field::optional(
            "error",
            Kind::String,
            r#""Subscribers are written to more slowly than messages come; try again""#,
            "Why it failed, if it did.",
        ),
    ],
};

static VALIDATION_ERRORS: Object<1> = Object {
    name: "HTTPValidationError",
    doc: "What is wrong with a body.",
    fields: [Field::required(
        "detail",
        Kind::ListOf(&Kind::Of(&VALIDATION_ERROR)),
        "[]",
        "Each fault.",
    )],
};

static VALIDATION_ERROR: Object<5> = Object {
    name: "ValidationError",
    doc: "What is wrong at one place of a body.",
    fields: [
        Field::required(
            "type",
            Kind::String,
            r#""missing""#,
            "What is wrong, for programs.",
        ),
        Field::required(
            "loc",
            Kind::ListOf(&Kind::Id),
            r#"["body","user_id"]"#,
            "Where: names of fields, and indices in a batch; for what is not JSON, a byte.",
        ),
        Field::required(
            "msg",
            Kind::String,
            r#""Field required""#,
            "What is wrong, for people.",
        ),
        Field::required(
            "input",
            Kind::Any,
            "{}",
            "The value that is wrong, or lacks something.",
        ),
        Field::optional(
            "ctx",
            Kind::Object,
            r#"{"error":"Expecting value"}"#,
            "More about it.",
        ),
    ],
};

pub(super) static SOCKET_OF_USER: Operation = Operation {
    group: EndpointGroup::Bridge,
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
