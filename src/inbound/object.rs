//! Objects and their fields (docs/backend.md, "What the application is told").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::kind::ObjectKind;
use super::{Held, OBJECT_OVERHEAD};
use crate::id::{AnyPeer, PeerId, ShardId};
use crate::json::put_string;

/// What a shard tells the groups.
#[derive(Clone, Debug)]
pub struct Object {
    /// The client's connection.
    pub connection: AnyPeer,
    /// Its kind.
    pub kind: ObjectKind,
    /// The groups that have room for it, a bit each.
    pub groups: u64,
    /// The `id` of a message as JSON, for a reply to it; empty if it has none.
    pub id: Box<str>,
    /// When it came, in milliseconds since the process began.
    pub time_ms: u64,
    /// Its fields as JSON, without braces.
    pub body: Box<[u8]>,
}

impl Object {
    /// The room that it takes.
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            objects: 1,
            bytes: self.body.len() + OBJECT_OVERHEAD,
        }
    }
}

/// What `connect` tells besides the connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectFields<'a> {
    /// Which of its protocol's endpoints it came to; empty if there is only one.
    pub endpoint: &'a str,
    /// Whether a token proves the user.
    pub is_verified: bool,
    /// The claims of the token: a JSON object.
    pub claims: Option<&'a str>,
    /// The client's address.
    pub address: &'a str,
    /// The path of its request.
    pub path: &'a str,
    /// The query of its request, without tokens.
    pub query: &'a str,
    /// Headers by name in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// Now, in milliseconds since 1970.
    pub time_ms: u64,
}

/// What `message` tells besides the connection.
#[derive(Clone, Copy, Debug)]
pub struct MessageFields<'a> {
    /// The type, if it has one.
    pub kind: Option<&'a str>,
    /// Its `id` as JSON: a string or a number.
    pub id: Option<&'a str>,
    /// What it says.
    pub body: MessageBody<'a>,
}

/// What a message says.
#[derive(Clone, Copy, Debug)]
pub enum MessageBody<'a> {
    /// A JSON value.
    Json(&'a str),
    /// A text that its protocol has no meaning for.
    Text(&'a str),
    /// Bytes that its protocol has no meaning for.
    Binary(&'a [u8]),
}

/// What `disconnect` tells besides the connection.
#[derive(Clone, Copy, Debug)]
pub struct DisconnectFields<'a> {
    /// The close code; 0: none.
    pub code: u16,
    /// The reason that the client was told, or has told.
    pub reason: &'a str,
    /// The cause, as it is counted.
    pub cause: &'a str,
    /// How long it was open, in milliseconds.
    pub open_ms: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

/// Writes the fields of objects.
#[derive(Debug)]
pub struct ObjectWriter<'o>(&'o mut Vec<u8>);

impl<'o> ObjectWriter<'o> {
    /// Begins an object of `connection`, whose protocol and user these are, in an empty buffer.
    pub fn begin(
        out: &'o mut Vec<u8>,
        kind: ObjectKind,
        connection: AnyPeer,
        (dialect, user): (&str, Option<&str>),
    ) -> Self {
        out.extend_from_slice(br#""event":""#);
        out.extend_from_slice(kind.name().as_bytes());
        out.extend_from_slice(br#"","conn":""#);
        put_connection(out, connection);
        out.extend_from_slice(br#"","dialect":""#);
        out.extend_from_slice(dialect.as_bytes());
        out.extend_from_slice(br#"","user":"#);
        match user {
            Some(user) => put_string(out, user),
            None => out.extend_from_slice(b"null"),
        }
        Self(out)
    }

    /// Fields that are written already.
    pub fn raw_fields(self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    /// Writes the fields of `connect` alone, for [`Self::raw_fields`].
    pub fn put_connect(out: &'o mut Vec<u8>, fields: &ConnectFields<'_>) {
        Self(out).connect(fields);
    }

    fn connect(mut self, fields: &ConnectFields<'_>) {
        self.text("endpoint", fields.endpoint);
        self.raw(
            "verified",
            if fields.is_verified { "true" } else { "false" },
        );
        self.raw("claims", fields.claims.unwrap_or("null"));
        self.text("ip", fields.address);
        self.text("path", fields.path);
        self.text("query", fields.query);
        self.raw("headers", "{");
        for (index, (name, value)) in fields.headers.iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            put_string(self.0, name);
            self.0.push(b':');
            put_string(self.0, value);
        }
        self.0.push(b'}');
        self.number("time", fields.time_ms);
    }

    /// The fields of `message`.
    pub fn message(mut self, fields: &MessageFields<'_>) {
        if let Some(kind) = fields.kind {
            self.text("type", kind);
        }
        if let Some(id) = fields.id {
            self.raw("id", id);
        }
        match fields.body {
            MessageBody::Json(json) => self.raw("data", json),
            MessageBody::Text(text) => {
                self.raw("raw", "true");
                self.text("data", text);
            }
            MessageBody::Binary(bytes) => {
                self.raw("binary", "true");
                self.text("data", &BASE64.encode(bytes));
            }
        }
    }

    /// The fields of `subscribe` and `unsubscribe`.
    pub fn topics<'t>(mut self, topics: impl Iterator<Item = &'t str>) {
        self.raw("topics", "[");
        for (index, topic) in topics.enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            put_string(self.0, topic);
        }
        self.0.push(b']');
    }

    /// The fields of `disconnect`.
    pub fn disconnect(mut self, fields: &DisconnectFields<'_>) {
        self.number("code", u64::from(fields.code));
        self.text("reason", fields.reason);
        self.text("cause", fields.cause);
        let (seconds, ms) = (fields.open_ms / 1000, fields.open_ms % 1000);
        self.raw("seconds", &format!("{seconds}.{ms:03}"));
        self.number("in", fields.received);
        self.number("out", fields.sent);
    }

    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.0.extend_from_slice(json.as_bytes());
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        put_string(self.0, text);
    }

    fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        put_decimal(self.0, number);
    }
}

/// Appends a number.
pub(super) fn put_decimal(out: &mut Vec<u8>, number: u64) {
    put_digits(out, number, 10);
}

/// Appends the id of a connection, as listings have it: the shard in decimal, slot and generation in hexadecimal
/// digits.
fn put_connection(out: &mut Vec<u8>, (ShardId(shard), PeerId { slot, generation }): AnyPeer) {
    put_decimal(out, u64::from(shard));
    out.push(b'-');
    put_digits(out, u64::from(slot.0), 16);
    out.push(b'-');
    put_digits(out, u64::from(generation), 16);
}

/// Appends a number in a base up to 16. Several times as fast as `write!`, which matters per message.
fn put_digits(out: &mut Vec<u8>, mut number: u64, base: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[usize::try_from(number % base).expect("a digit")];
        number /= base;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Slot;
    use serde_json::{Value, json};

    fn check(kind: ObjectKind, write: impl FnOnce(ObjectWriter<'_>), expected: &Value) {
        let peer = PeerId {
            slot: Slot(0xab),
            generation: 16,
        };
        let mut out = b"{".to_vec();
        let place = ("events", Some("an\"n"));
        write(ObjectWriter::begin(
            &mut out,
            kind,
            (ShardId(12), peer),
            place,
        ));
        out.push(b'}');
        let mut got: Value = serde_json::from_slice(&out).unwrap();
        let fields = got.as_object_mut().unwrap();
        assert_eq!(fields.remove("event"), Some(json!(kind.name())));
        assert_eq!(fields.remove("conn"), Some(json!(format!("12-{peer}"))));
        assert_eq!(fields.remove("dialect"), Some(json!("events")));
        assert_eq!(fields.remove("user"), Some(json!("an\"n")));
        assert_eq!(got, *expected);
    }

    #[test]
    fn each_kind_has_its_fields() {
        let connect = ConnectFields {
            endpoint: "prod",
            is_verified: true,
            claims: Some(r#"{"sub":"ann"}"#),
            address: "::1",
            path: "/a\"b",
            query: "x=1",
            headers: &[("user-agent", "a\\b"), ("x", "")],
            time_ms: u64::MAX,
        };
        check(
            ObjectKind::Connect,
            |w| w.connect(&connect),
            &json!({"endpoint": "prod", "verified": true, "claims": {"sub": "ann"}, "ip": "::1", "path": "/a\"b",
                    "query": "x=1", "headers": {"user-agent": "a\\b", "x": ""}, "time": u64::MAX}),
        );
        let message = MessageFields {
            kind: Some("app"),
            id: Some("7"),
            body: MessageBody::Json(r#"{"type":"app","id":7}"#),
        };
        check(
            ObjectKind::Message,
            |w| w.message(&message),
            &json!({"type": "app", "id": 7, "data": {"type": "app", "id": 7}}),
        );
        let bare = MessageFields {
            kind: None,
            id: None,
            body: MessageBody::Json("[]"),
        };
        check(
            ObjectKind::Message,
            |w| w.message(&bare),
            &json!({"data": []}),
        );
        let topics = ["a", "b\u{1}"];
        check(
            ObjectKind::Subscribe,
            |w| w.topics(topics.into_iter()),
            &json!({ "topics": topics }),
        );
        let end = DisconnectFields {
            code: 1008,
            reason: "so",
            cause: "slow",
            open_ms: 61_005,
            received: 0,
            sent: 12,
        };
        check(
            ObjectKind::Disconnect,
            |w| w.disconnect(&end),
            &json!({"code": 1008, "reason": "so", "cause": "slow", "seconds": 61.005, "in": 0, "out": 12}),
        );
    }
}
