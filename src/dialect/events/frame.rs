//! The payloads that the gateway sends: JSON objects with `type` first and `timestamp` last.

mod answer;

use crate::engine::{Publication, PublicationKind};
use crate::json::put_string;
use crate::timestamp::timestamp_of;

use super::Refusal;

/// The start of a subscription to a topic or pattern.
#[derive(Clone, Copy, Debug)]
pub struct TopicStart<'a> {
    /// The topic's name, or the pattern.
    pub topic: &'a str,
    /// The topic's epoch.
    pub epoch: u64,
    /// The offset at which the live stream begins.
    pub offset: u64,
    /// If recovery was requested: whether it is complete, and the number of missed messages that follow.
    pub recovered: Option<(bool, u64)>,
}

/// The content of the first frame.
#[derive(Clone, Copy, Debug)]
pub struct Greeting<'a> {
    /// The client id, chosen by the client or generated.
    pub client_id: &'a str,
    /// The user, if authenticated, as in presence and in `publisher`.
    pub user: Option<&'a str>,
    /// The user's display name.
    pub name: Option<&'a str>,
    /// The user's role.
    pub role: Option<&'a str>,
    /// The connection's id, independent of the client id.
    pub session_id: &'a str,
    /// `demo`, `dev` or `prod`.
    pub endpoint: &'a str,
    /// When the user's token expires, in milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

/// Writes payloads. The timestamp is RFC 3339 in UTC with milliseconds.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    timestamp: &'a [u8],
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, timestamp: &'a [u8]) -> Self {
        Self { out, timestamp }
    }

    /// The first frame of a connection.
    pub fn greeting(mut self, greeting: &Greeting<'_>) {
        self.put(r#"{"type":"connection_established","client_id":"#);
        put_string(self.out, greeting.client_id);
        self.put(if greeting.user.is_some() {
            r#","authenticated":true"#
        } else {
            r#","authenticated":false"#
        });
        self.put(r#","user":"#);
        self.put_optional(greeting.user);
        self.put(r#","name":"#);
        self.put_optional(greeting.name);
        self.put(r#","role":"#);
        self.put_optional(greeting.role);
        if let Some(expires_ms) = greeting.expires_ms {
            self.put_expiry(expires_ms);
        }
        self.put(r#","data":{"client_id":"#);
        put_string(self.out, greeting.client_id);
        self.put(r#","session_id":"#);
        put_string(self.out, greeting.session_id);
        self.put(r#","server_version":""#);
        self.put(env!("CARGO_PKG_VERSION"));
        self.put(r#"","endpoint":""#);
        self.put(greeting.endpoint);
        self.put(r#""}"#);
        self.end();
    }

    /// An event for the subscribers of its topic. Never carries `id`.
    ///
    /// Cost: a few copies; no allocation once `out` is warm.
    pub fn event(mut self, publication: &Publication<'_>) {
        match publication.kind {
            PublicationKind::Event => {
                self.put_event(publication.name);
                if publication.name != publication.topic {
                    // Its `event_id` is a position in this topic.
                    self.put(r#","topic":"#);
                    put_string(self.out, publication.topic);
                }
                self.put(r#","data":"#);
            }
            PublicationKind::Broadcast if publication.name.is_empty() => {
                self.put(r#"{"type":"broadcast","event":null,"data":"#);
            }
            PublicationKind::Broadcast | PublicationKind::Presence => {
                self.put(match publication.kind {
                    PublicationKind::Presence => r#"{"type":"presence","event":"#,
                    _ => r#"{"type":"broadcast","event":"#,
                });
                put_string(self.out, publication.name);
                self.put(r#","data":"#);
            }
        }
        self.out.extend_from_slice(publication.data);
        if !publication.publisher.is_empty() {
            self.put(r#","publisher":"#);
            put_string(self.out, publication.publisher);
        }
        if publication.kind == PublicationKind::Presence {
            self.put(r#","presence_seq":"#);
            self.put_number(publication.offset);
            return self.end();
        }
        self.put(r#","event_id":""#);
        self.put_number(publication.epoch);
        self.out.push(b'-');
        self.put_number(publication.offset);
        self.out.push(b'"');
        self.end();
    }

    /// An event for one connection, of no topic: it has no position.
    pub fn direct(mut self, name: &str, data: &str) {
        self.put_event(name);
        self.put(r#","data":"#);
        self.put(data);
        self.end();
    }

    /// The answer to `ping`, with the client's own timestamp if it sent one.
    pub fn pong(mut self, id: Option<&str>, client_timestamp: Option<&str>) {
        self.put(r#"{"type":"pong""#);
        self.put_raw(r#","client_timestamp":"#, client_timestamp);
        self.end_with_id(id);
    }

    /// The answer to `heartbeat`.
    pub fn heartbeat_ack(mut self, id: Option<&str>) {
        self.put(r#"{"type":"heartbeat_ack""#);
        self.end_with_id(id);
    }

    /// The answer to `subscribe`: what was accepted and what was not.
    pub fn subscribed<'b>(
        mut self,
        id: Option<&str>,
        accepted: &[&str],
        rejected: &[&str],
        topics: impl Iterator<Item = TopicStart<'b>>,
    ) {
        let mut any = false;
        self.put(r#"{"type":"subscription_confirmed""#);
        self.put_list(r#","events":"#, accepted);
        self.put_list(r#","event_types":"#, accepted);
        if !rejected.is_empty() {
            self.put_list(r#","rejected":"#, rejected);
        }
        self.put_list(r#","data":{"events":"#, accepted);
        self.put(r#","status":"active"}"#);
        for (index, begun) in topics.enumerate() {
            self.put(if index == 0 { r#","topics":{"# } else { "," });
            put_string(self.out, begun.topic);
            self.put(r#":{"epoch":"#);
            self.put_number(begun.epoch);
            self.put(r#","offset":"#);
            self.put_number(begun.offset);
            if let Some((recovered, count)) = begun.recovered {
                self.put(if recovered {
                    r#","recovered":true,"count":"#
                } else {
                    r#","recovered":false,"count":"#
                });
                self.put_number(count);
            }
            self.put("}");
            any = true;
        }
        if any {
            self.put("}");
        }
        self.end_with_id(id);
    }

    /// The answer to `unsubscribe`: the subscriptions that ended.
    pub fn unsubscribed(mut self, id: Option<&str>, removed: &[&str]) {
        self.put(r#"{"type":"unsubscription_confirmed""#);
        self.put_list(r#","events":"#, removed);
        self.put_list(r#","event_types":"#, removed);
        self.end_with_id(id);
    }

    /// The answer to `publish` with an `id`: the message's offset in its topic.
    pub fn published(mut self, id: &str, offset: u64) {
        self.put(r#"{"type":"response""#);
        self.put_raw(r#","id":"#, Some(id));
        self.put(r#","result":{"offset":"#);
        self.put_number(offset);
        self.out.push(b'}');
        self.end();
    }

    /// Several events in one frame. `events`: their JSON texts, separated by commas.
    pub fn batch(mut self, events: &[u8], count: usize) {
        self.put(r#"{"type":"batch","messages":["#);
        self.out.extend_from_slice(events);
        self.put(r#"],"count":"#);
        self.put_number(count as u64);
        self.end();
    }

    /// Reports lost messages of a topic, and their number if known. Without a topic: of broadcasts or the inbox.
    pub fn gap(mut self, topic: Option<&str>, lost: Option<u64>) {
        self.put(r#"{"type":"gap","event":"#);
        self.put_optional(topic);
        self.put(r#","lost":"#);
        match lost {
            Some(lost) => self.put_number(lost),
            None => self.put("null"),
        }
        self.end();
    }

    /// An unknown message, sent back by demo and dev endpoints.
    pub fn echo(mut self, id: Option<&str>, original: &str) {
        self.put(r#"{"type":"echo","original":"#);
        self.put(original);
        self.end_with_id(id);
    }

    /// An error.
    pub fn error(mut self, refusal: &Refusal) {
        self.put(r#"{"type":"error","code":""#);
        self.put(refusal.code);
        self.put(r#"","message":"#);
        put_string(self.out, &refusal.message);
        self.put_raw(r#","details":"#, refusal.details.as_deref());
        self.end_with_id(refusal.id.as_deref());
    }

    /// The error for a message of this `kind` that exceeds the rate limit of `limit` per minute. Retry in `retry_after`
    /// seconds.
    pub fn rate_limited(
        mut self,
        id: Option<&str>,
        kind: Option<&str>,
        limit: u32,
        retry_after: u64,
    ) {
        self.put(r#"{"type":"error","code":"RATE_LIMIT_EXCEEDED","message":"Too many requests","details":{"type":"#);
        self.put_optional(kind);
        self.put(r#","limit":"#);
        self.put_number(u64::from(limit));
        self.put(r#","window":"1m","retry_after":"#);
        self.put_number(retry_after);
        self.out.push(b'}');
        self.end_with_id(id);
    }

    /// The error for a connection beyond the `limit` of its `scope`, `user` or `ip`.
    pub fn connection_limit(mut self, limit: usize, scope: &str) {
        self.put(r#"{"type":"error","code":"CONNECTION_LIMIT_EXCEEDED","message":"Too many connections","details":{"limit":"#);
        self.put_number(limit as u64);
        self.put(r#","scope":""#);
        self.put(scope);
        self.put(r#""}"#);
        self.end();
    }

    fn put_event(&mut self, name: &str) {
        self.put(r#"{"type":"event","event":"#);
        let start = self.out.len();
        put_string(self.out, name);
        let end = self.out.len();
        self.put(r#","event_type":"#);
        self.out.extend_from_within(start..end);
    }

    fn put_expiry(&mut self, expires_ms: u64) {
        self.put(r#","expires_at":""#);
        self.out.extend_from_slice(&timestamp_of(expires_ms));
        self.put("\"");
    }

    fn end_with_id(mut self, id: Option<&str>) {
        self.put_raw(r#","id":"#, id);
        self.end();
    }

    fn end(mut self) {
        self.put(r#","timestamp":""#);
        self.out.extend_from_slice(self.timestamp);
        self.put(r#""}"#);
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn put_raw(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(key);
            self.put(value);
        }
    }

    fn put_number(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number));
    }

    fn put_optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => put_string(self.out, text),
            None => self.put("null"),
        }
    }

    fn put_list(&mut self, key: &str, names: &[&str]) {
        self.put(key);
        self.out.push(b'[');
        for (index, name) in names.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            put_string(self.out, name);
        }
        self.out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Form;
    use serde_json::{Value, json};

    const TIME: &[u8] = b"2026-11-21T07:34:31.524Z";

    pub(super) fn check(write: impl FnOnce(Writer<'_>), expected: Value) {
        let mut out = Vec::new();
        write(Writer::new(&mut out, TIME));
        let mut got: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(got["timestamp"], "2026-11-21T07:34:31.524Z");
        got.as_object_mut().unwrap().remove("timestamp");
        assert_eq!(got, expected);
    }

    #[test]
    fn frames_are_as_specified() {
        check(
            |w| {
                w.greeting(&Greeting {
                    client_id: "c1",
                    session_id: "s1",
                    user: None,
                    name: None,
                    role: None,
                    endpoint: "demo",
                    expires_ms: None,
                });
            },
            json!({"type":"connection_established","client_id":"c1","authenticated":false,"user":null,"name":null,
                "role":null,
                "data":{"client_id":"c1","session_id":"s1","server_version":env!("CARGO_PKG_VERSION"),"endpoint":"demo"}}),
        );
        let publication = Publication {
            kind: PublicationKind::Event,
            form: Form::NEUTRAL,
            topic: "a.b",
            name: "a.b",
            data: br#"{"x":1}"#,
            publisher: "",
            epoch: 7,
            offset: 12,
        };
        check(
            |w| w.event(&publication),
            json!({"type":"event","event":"a.b","event_type":"a.b","data":{"x":1},"event_id":"7-12"}),
        );
        let published = Publication {
            publisher: "an\"n",
            ..publication
        };
        check(
            |w| w.event(&published),
            json!({"type":"event","event":"a.b","event_type":"a.b","data":{"x":1},"publisher":"an\"n",
                "event_id":"7-12"}),
        );
        let named = Publication {
            name: "c",
            ..publication
        };
        check(
            |w| w.event(&named),
            json!({"type":"event","event":"c","event_type":"c","topic":"a.b","data":{"x":1},"event_id":"7-12"}),
        );
        let escaped = Publication {
            topic: "a\"\\\u{1f3ba}",
            name: "b\"",
            ..publication
        };
        check(
            |w| w.event(&escaped),
            json!({"type":"event","event":"b\"","event_type":"b\"","topic":"a\"\\\u{1f3ba}","data":{"x":1},
                "event_id":"7-12"}),
        );
        for (kind, name, expected) in [
            (
                PublicationKind::Broadcast,
                "a",
                json!({"type":"broadcast","event":"a"}),
            ),
            (
                PublicationKind::Broadcast,
                "",
                json!({"type":"broadcast","event":null}),
            ),
            (
                PublicationKind::Presence,
                "a\"",
                json!({"type":"presence","event":"a\""}),
            ),
        ] {
            let mut expected = expected;
            expected["data"] = json!({"x":1});
            // Presence has a count of its own.
            match kind {
                PublicationKind::Presence => expected["presence_seq"] = json!(12),
                _ => expected["event_id"] = json!("7-12"),
            }
            let publication = Publication {
                kind,
                name,
                ..publication
            };
            check(|w| w.event(&publication), expected);
        }
        check(
            |w| w.direct("a\"", "[1]"),
            json!({"type":"event","event":"a\"","event_type":"a\"","data":[1]}),
        );
        check(
            |w| w.pong(Some("7"), Some("123")),
            json!({"type":"pong","id":7,"client_timestamp":123}),
        );
        check(|w| w.heartbeat_ack(None), json!({"type":"heartbeat_ack"}));
        check(
            |w| w.subscribed(Some("\"i\""), &["a"], &["b\"\n"], std::iter::empty()),
            json!({"type":"subscription_confirmed","id":"i","events":["a"],"event_types":["a"],
                "rejected":["b\"\n"],"data":{"events":["a"],"status":"active"}}),
        );
        let topics = [(None, "a"), (Some((true, 3)), "b"), (Some((false, 0)), "c")];
        let topics = topics.map(|(recovered, topic)| TopicStart {
            topic,
            epoch: 7,
            offset: 12,
            recovered,
        });
        check(
            |w| w.subscribed(None, &[], &[], topics.into_iter()),
            json!({"type":"subscription_confirmed","events":[],"event_types":[],
                "data":{"events":[],"status":"active"},
                "topics":{"a":{"epoch":7,"offset":12},
                    "b":{"epoch":7,"offset":12,"recovered":true,"count":3},
                    "c":{"epoch":7,"offset":12,"recovered":false,"count":0}}}),
        );
        check(
            |w| w.unsubscribed(None, &["a", "b"]),
            json!({"type":"unsubscription_confirmed","events":["a","b"],"event_types":["a","b"]}),
        );
        check(
            |w| w.published("1", 9),
            json!({"type":"response","id":1,"result":{"offset":9}}),
        );
        check(
            |w| w.gap(Some("a"), Some(3)),
            json!({"type":"gap","event":"a","lost":3}),
        );
        check(
            |w| w.gap(None, None),
            json!({"type":"gap","event":null,"lost":null}),
        );
        check(
            |w| w.echo(None, r#"{"type":"x"}"#),
            json!({"type":"echo","original":{"type":"x"}}),
        );
        check(
            |w| w.rate_limited(Some("7"), Some("ping"), 100, 42),
            json!({"type":"error","id":7,"code":"RATE_LIMIT_EXCEEDED","message":"Too many requests",
                "details":{"type":"ping","limit":100,"window":"1m","retry_after":42}}),
        );
        check(
            |w| w.rate_limited(None, None, 100, 42),
            json!({"type":"error","code":"RATE_LIMIT_EXCEEDED","message":"Too many requests",
                "details":{"type":null,"limit":100,"window":"1m","retry_after":42}}),
        );
        check(
            |w| w.connection_limit(5, "user"),
            json!({"type":"error","code":"CONNECTION_LIMIT_EXCEEDED","message":"Too many connections",
                "details":{"limit":5,"scope":"user"}}),
        );
        let refusal = Refusal {
            id: Some("5".into()),
            code: "INVALID_JSON",
            message: "no \"x\"".into(),
            details: Some(r#"{"limit":1}"#.into()),
        };
        check(
            |w| w.error(&refusal),
            json!({"type":"error","id":5,"code":"INVALID_JSON","message":"no \"x\"","details":{"limit":1}}),
        );
    }
}
