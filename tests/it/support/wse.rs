//! A client that speaks the wse protocol, of bytes: it reads every form of a message and checks what holds of all of them.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::client::Frame;
use super::{Client, Response, TestGateway, request};

/// The secret of tokens.
pub(crate) const WSE_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A connection of the wse protocol that has been greeted.
pub(crate) struct WseClient {
    /// The connection.
    pub client: Client,
    /// The greeting's payload.
    pub ready: Value,
}

/// In which form a message came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WseForm {
    /// A text frame; the category is in it.
    Text,
    /// A text frame; the category is before the object.
    Prefixed,
    /// A binary frame with the text as it is.
    Bytes,
    /// `C:` and zlib.
    Zlib,
    /// `M:` and MessagePack.
    Msgpack,
}

/// A message from the gateway.
#[derive(Clone, Debug)]
pub(crate) struct WseMessage {
    /// How it came.
    pub form: WseForm,
    /// Its text, decompressed; empty if it was MessagePack.
    pub text: String,
    /// The message, with its category in the field `c` wherever that was.
    pub json: Value,
}

impl WseMessage {
    /// Reads a frame, which has to be a message.
    #[track_caller]
    pub(crate) fn read(frame: &Frame) -> Self {
        let payload = &frame.payload;
        let (form, bytes) = match (frame.first, payload.get(..2)) {
            (0x81, _) => (WseForm::Text, payload.clone()),
            (0x82, Some(b"C:")) => (WseForm::Zlib, inflate(&payload[2..])),
            (0x82, Some(b"M:")) => {
                let json = rmp_serde::from_slice(&payload[2..]).expect("MessagePack");
                return Self::checked(WseForm::Msgpack, String::new(), json);
            }
            (0x82, _) => (WseForm::Bytes, payload.clone()),
            _ => panic!("no message: {frame:?}"),
        };
        Self::of(form, bytes)
    }

    /// Reads the text of a message.
    #[track_caller]
    pub(crate) fn of_text(text: &[u8]) -> Self {
        Self::of(WseForm::Text, text.to_vec())
    }

    #[track_caller]
    fn of(form: WseForm, bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (prefix, object) = text.split_at(text.find('{').expect("an object"));
        let mut json: Value =
            serde_json::from_str(object).unwrap_or_else(|error| panic!("{error}: {text}"));
        let mut form = form;
        if !prefix.is_empty() {
            assert!(json.get("c").is_none(), "two categories: {text}");
            json["c"] = prefix.into();
            if form == WseForm::Text {
                form = WseForm::Prefixed;
            }
        }
        Self::checked(form, text, json)
    }

    /// What holds of every message.
    #[track_caller]
    fn checked(form: WseForm, text: String, json: Value) -> Self {
        let category = json["c"].as_str().unwrap_or("none");
        assert!(matches!(category, "WSE" | "S" | "U"), "{json}");
        assert!(json["t"].is_string() && json["p"].is_object(), "{json}");
        assert_eq!(json["v"], 1, "{json}");
        // Clients up to 2.3.2 wait for a number that does not come, and TypeScript drops old events by its own clock.
        assert!(
            json.get("seq").is_none() && json.get("ts").is_none(),
            "{json}"
        );
        Self { form, text, json }
    }

    /// Its type.
    pub(crate) fn kind(&self) -> &str {
        self.json["t"].as_str().expect("a type")
    }

    /// Its payload.
    pub(crate) fn payload(&self) -> &Value {
        &self.json["p"]
    }
}

/// What a zlib stream holds.
pub(crate) fn inflate(packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ZlibDecoder::new(packed)
        .read_to_end(&mut out)
        .expect("zlib");
    out
}

/// A zlib stream.
pub(crate) fn deflate(message: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

/// The `client_hello` of a client with these features.
pub(crate) fn wse_hello(features: &Value) -> Value {
    let p = json!({ "client_version": "2.0.7", "protocol_version": 1, "features": features });
    json!({ "c": "WSE", "t": "client_hello", "p": p, "v": 1, "pri": 10 })
}

/// A token of these claims.
pub(crate) fn wse_token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(WSE_SECRET.as_bytes());
    let mut claims = claims.clone();
    claims["exp"] = json!(4_000_000_000_u64);
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

/// The header of a service's token.
pub(crate) fn wse_service() -> String {
    let token = wse_token(&json!({ "sub": "app", "role": "service" }));
    format!("Authorization: Bearer {token}\r\n")
}

/// The path for a user with a token of these further claims.
pub(crate) fn wse_path(user: &str, claims: &Value) -> String {
    let mut claims = claims.clone();
    claims["sub"] = user.into();
    format!("/wse?token={}", wse_token(&claims))
}

/// A gateway with so many shards that knows tokens and lets clients in without one, keeps histories and has the
/// further lines of `toml`, which begin with sections of their own.
pub(crate) fn wse_gateway(shards: usize, toml: &str) -> TestGateway {
    let toml = format!("[auth]\njwt_secret = \"{WSE_SECRET}\"\n{toml}");
    TestGateway::from_toml(&toml, |config| config.server.shards = shards)
}

/// Publishes over HTTP, and returns the offset.
#[track_caller]
pub(crate) fn wse_publish(address: SocketAddr, topic: &str, kind: &str, data: &Value) -> u64 {
    let mut body = json!({ "topic": topic, "payload": data });
    if !kind.is_empty() {
        body["type"] = kind.into();
    }
    let answer = post_json(address, "/api/v1/publish", &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["offset"].as_u64().expect("an offset")
}

/// Posts JSON.
pub(crate) fn post_json(address: SocketAddr, path: &str, body: &Value) -> Response {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    request(address, &[head.as_bytes(), body.as_bytes()].concat())
}

impl WseClient {
    /// Connects without a token and takes the greeting. How it reads is not known yet.
    #[track_caller]
    pub(crate) fn greeted(address: SocketAddr, path: &str) -> Self {
        Self::greeted_with(address, path, "")
    }

    /// As [`Self::greeted`], with more header lines, each ended by CRLF.
    #[track_caller]
    pub(crate) fn greeted_with(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut client = Self {
            client: Client::connect_with(address, path, headers),
            ready: Value::Null,
        };
        let ready = client.next();
        assert_eq!(ready.kind(), "server_ready", "{ready:?}");
        assert_eq!(ready.form, WseForm::Text);
        client.ready = ready.payload().clone();
        client
    }

    /// A client without a token that reads plain JSON, and has its topics.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::open_at(address, "/wse")
    }

    /// The client of a user who reads plain JSON, and has its topics.
    #[track_caller]
    pub(crate) fn of(address: SocketAddr, user: &str) -> Self {
        Self::open_at(address, &wse_path(user, &json!({})))
    }

    /// As [`Self::open`], at this path.
    #[track_caller]
    pub(crate) fn open_at(address: SocketAddr, path: &str) -> Self {
        let mut client = Self::greeted(address, path);
        client.hello(&json!({}));
        client
    }

    /// Says hello and takes the answer's payload.
    #[track_caller]
    pub(crate) fn hello(&mut self, features: &Value) -> Value {
        self.say(&wse_hello(features));
        self.expect("server_hello")
    }

    /// Waits until every shard knows of its inbox: what it subscribes to after that is known.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        let topics = ["settled.1", "settled.2", "settled.3", "settled.4"];
        self.subscribe(&topics);
        self.unsubscribe(&topics);
    }

    /// Its user, as the greeting says.
    pub(crate) fn user(&self) -> &str {
        self.ready["details"]["user_id"].as_str().expect("a user")
    }

    /// The id of its connection.
    pub(crate) fn id(&self) -> &str {
        self.ready["details"]["connection_id"]
            .as_str()
            .expect("an id")
    }

    /// Sends a message.
    pub(crate) fn say(&mut self, message: &Value) {
        self.client.say(message);
    }

    /// Sends a message of this type.
    pub(crate) fn send(&mut self, kind: &str, payload: &Value) {
        self.say(&json!({ "c": "WSE", "t": kind, "p": payload, "v": 1 }));
    }

    /// The next message. Heartbeats, of which the first may come at any time, are passed over.
    #[track_caller]
    pub(crate) fn next(&mut self) -> WseMessage {
        loop {
            let message = self.next_of_all();
            if message.kind() != "PING" {
                return message;
            }
        }
    }

    /// The next message, a heartbeat too.
    #[track_caller]
    pub(crate) fn next_of_all(&mut self) -> WseMessage {
        let frame = self.client.next().expect("a message, not the end");
        WseMessage::read(&frame)
    }

    /// The next message's payload; the message has to be of this type.
    #[track_caller]
    pub(crate) fn expect(&mut self, kind: &str) -> Value {
        let message = self.next();
        assert_eq!(message.kind(), kind, "{message:?}");
        message.payload().clone()
    }

    /// Sends a message of this type, whose answer has to be of that one. Returns the answer's payload.
    #[track_caller]
    pub(crate) fn ask(&mut self, kind: &str, payload: &Value, answer: &str) -> Value {
        self.send(kind, payload);
        self.expect(answer)
    }

    /// The next message has to be an error of this code. Returns its payload.
    #[track_caller]
    pub(crate) fn error(&mut self, code: &str) -> Value {
        let error = self.expect("error");
        assert_eq!(error["code"], code, "{error}");
        let has_text = error["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        assert!(has_text && error["timestamp"].is_string(), "{error}");
        error
    }

    /// Subscribes, and takes the acknowledgement's payload.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, topics: &[&str]) -> Value {
        let ack = self.subscribe_with(&json!({ "topics": topics }));
        assert_eq!(ack["success"], true, "{ack}");
        assert_eq!(ack["success_topics"], json!(topics), "{ack}");
        ack
    }

    /// Subscribes with these fields, and takes the payload of the acknowledgement, which has to come next.
    #[track_caller]
    pub(crate) fn subscribe_with(&mut self, fields: &Value) -> Value {
        self.send_subscribe(fields);
        let ack = self.expect("subscription_update");
        assert_eq!(ack["action"], "subscribe", "{ack}");
        ack
    }

    /// Subscribes with these fields, some of which fail: the payloads of the acknowledgement and the error, which may
    /// come first if a home is asked.
    #[track_caller]
    pub(crate) fn subscribe_failing(&mut self, fields: &Value) -> (Value, Value) {
        self.send_subscribe(fields);
        let (first, second) = (self.next(), self.next());
        let (ack, error) = match first.kind() {
            "error" => (second, first),
            _ => (first, second),
        };
        assert_eq!(ack.kind(), "subscription_update", "{ack:?}");
        assert_eq!(ack.payload()["success"], false, "{ack:?}");
        assert_eq!(error.payload()["code"], "SUBSCRIPTION_FAILED", "{error:?}");
        (ack.payload().clone(), error.payload().clone())
    }

    /// Sends a subscription with these fields.
    pub(crate) fn send_subscribe(&mut self, fields: &Value) {
        let mut fields = fields.clone();
        fields["action"] = "subscribe".into();
        self.send("subscription_update", &fields);
    }

    /// Ends subscriptions, and takes the acknowledgement's payload.
    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, topics: &[&str]) -> Value {
        let fields = json!({ "action": "unsubscribe", "topics": topics });
        self.ask("subscription_update", &fields, "subscription_update")
    }

    /// Checks that nothing has been sent to it but what it has read: the answer to a ping is next. Only for what
    /// was sent in an earlier turn of its shard.
    #[track_caller]
    pub(crate) fn has_nothing(&mut self) {
        let mark = json!(rand_mark());
        let pong = self.ask("ping", &json!({ "timestamp": mark }), "PONG");
        assert_eq!(pong["client_timestamp"], mark, "{pong}");
    }

    /// Whether nothing comes within `time`.
    pub(crate) fn is_silent(&mut self, time: Duration) -> bool {
        self.client.is_silent(time)
    }

    /// Messages up to a close frame, and its code.
    pub(crate) fn until_close(&mut self) -> (Vec<WseMessage>, Option<u16>) {
        let mut messages = Vec::new();
        loop {
            match self.client.next() {
                Some(frame) if frame.first == 0x88 => return (messages, frame.close_code()),
                Some(frame) if frame.first == 0x89 => {}
                Some(frame) => messages.push(WseMessage::read(&frame)),
                None => return (messages, None),
            }
        }
    }
}

/// A number that no other ping has.
fn rand_mark() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static MARK: AtomicU64 = AtomicU64::new(1);
    MARK.fetch_add(1, Ordering::Relaxed)
}

/// An application on the backend link of a demo gateway with `backend.enabled`.
pub(crate) struct WseApp {
    link: Client,
    objects: std::collections::VecDeque<Value>,
    answers: std::collections::VecDeque<Value>,
    seq: u64,
    operations: u64,
}

impl WseApp {
    /// Attaches it.
    pub(crate) fn attach(address: SocketAddr) -> Self {
        Self {
            link: Client::connect_with(address, "/api/v1/backend", &wse_service()),
            objects: std::collections::VecDeque::new(),
            answers: std::collections::VecDeque::new(),
            seq: 0,
            operations: 0,
        }
    }

    fn read(&mut self) {
        match self.link.json() {
            Value::Array(batch) => self.objects.extend(batch),
            answer => self.answers.push_back(answer),
        }
    }

    /// The next object of this event; others before it are passed over. All are acknowledged.
    #[track_caller]
    pub(crate) fn next(&mut self, event: &str) -> Value {
        loop {
            while self.objects.is_empty() {
                self.read();
            }
            let object = self.objects.pop_front().expect("there is one");
            self.seq += 1;
            assert_eq!(object["seq"], self.seq, "{object}");
            self.link.say(&json!({ "ack": self.seq }));
            if object["event"] == event {
                return object;
            }
        }
    }

    /// Runs an operation, which has to succeed. Returns its answer.
    #[track_caller]
    pub(crate) fn run(&mut self, operation: &Value) -> Value {
        let answer = self.ask(operation);
        assert_eq!(answer["ok"], true, "{operation}: {answer}");
        answer
    }

    /// Runs an operation. Returns its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, operation: &Value) -> Value {
        self.operations += 1;
        let mut operation = operation.clone();
        operation["id"] = self.operations.into();
        self.link.say(&operation);
        while self.answers.is_empty() {
            self.read();
        }
        let answer = self.answers.pop_front().expect("there is one");
        assert_eq!(answer["id"], self.operations, "{answer}");
        answer
    }
}
