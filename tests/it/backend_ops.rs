//! What an application does over the backend link.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanfare::config::{Config, KeyHash, Mode};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{Client, EventStream, Response, Socket, TestGateway, request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PATH: &str = "/api/v1/backend";
const QUIET: Duration = Duration::from_millis(100);

/// A gateway that knows tokens, and lets clients in without one.
fn gateway(shards: usize) -> TestGateway {
    gateway_with(shards, |_| {})
}

fn gateway_with(shards: usize, change: impl FnOnce(&mut Config)) -> TestGateway {
    let toml = format!(
        "[backend]\nenabled = true\n[auth]\njwt_secret = \"{SECRET}\"\n[hub]\nhistory_size = 100\n\
         [namespace.\"room.\"]\npresence = true\n[namespace.\"closed.\"]\nsubscribe = \"nobody\"\n"
    );
    TestGateway::from_toml(&toml, |config| {
        config.server.shards = shards;
        change(config);
    })
}

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let mut claims = claims.clone();
    claims["exp"] = json!(4_000_000_000_u64);
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

fn bearer(claims: &Value) -> String {
    format!("Authorization: Bearer {}\r\n", token(claims))
}

fn service() -> String {
    bearer(&json!({ "sub": "app", "role": "service" }))
}

/// A connection of the events protocol that belongs to `user`.
fn client_of(address: SocketAddr, user: &str) -> Client {
    let token = token(&json!({ "sub": user }));
    let mut client = Client::connect(address, &format!("/api/v1/ws?token={token}"));
    assert_eq!(client.json()["authenticated"], true);
    client
}

/// An application that is attached.
struct Member {
    client: Client,
    is_packed: bool,
    operations: u64,
}

impl Member {
    fn attach(address: SocketAddr, query: &str) -> Self {
        Self::attach_with(address, query, &service())
    }

    fn attach_with(address: SocketAddr, query: &str, headers: &str) -> Self {
        Self {
            client: Client::connect_with(address, &format!("{PATH}?{query}"), headers),
            is_packed: query.contains("format=msgpack"),
            operations: 0,
        }
    }

    fn say(&mut self, value: &Value) {
        match self.is_packed {
            true => (self.client).send(0x82, &rmp_serde::to_vec_named(value).unwrap()),
            false => self.client.say(value),
        }
    }

    /// The next answer. What clients say is in arrays.
    fn next(&mut self) -> Value {
        loop {
            let frame = self.client.next().expect("a frame, not the end");
            let value: Value = match self.is_packed {
                true => {
                    assert_eq!(frame.first, 0x82, "{frame:?}");
                    rmp_serde::from_slice(&frame.payload).expect("MessagePack")
                }
                false => frame.json(),
            };
            if !value.is_array() {
                return value;
            }
        }
    }

    /// Runs an operation. Returns the answer, without its `id`.
    #[track_caller]
    fn ask(&mut self, operation: &Value) -> Value {
        self.operations += 1;
        let mut operation = operation.clone();
        operation["id"] = json!(self.operations);
        self.say(&operation);
        let mut answer = self.next();
        let id = answer.as_object_mut().unwrap().remove("id");
        assert_eq!(id, Some(json!(self.operations)), "{operation}: {answer}");
        answer
    }

    /// Runs an operation that has to succeed. Returns the rest of the answer.
    #[track_caller]
    fn done(&mut self, operation: &Value) -> Value {
        let mut answer = self.ask(operation);
        let ok = answer.as_object_mut().unwrap().remove("ok");
        assert_eq!(ok, Some(json!(true)), "{operation}: {answer}");
        answer
    }

    /// Runs an operation that has to fail with this code and a text that has `why` in it.
    #[track_caller]
    fn fails(&mut self, operation: &Value, code: &str, why: &str) {
        let answer = self.ask(operation);
        assert_eq!(answer["error"], code, "{operation}: {answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(why), "{operation}: {message}");
        assert!(answer.get("ok").is_none());
    }

    /// Sends a text frame that has to be answered by an object without an `id`.
    #[track_caller]
    fn is_refused(&mut self, text: &str, code: &str, why: &str) {
        self.client.send(0x81, text.as_bytes());
        let answer = self.next();
        assert_eq!(answer["error"], code, "{text}: {answer}");
        assert!(answer.get("id").is_none(), "{text}: {answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(why), "{text}: {message}");
    }

    /// The id of the only connection of `user`.
    #[track_caller]
    fn connection_of(&mut self, user: &str) -> Value {
        let found = self.done(&json!({ "op": "connections", "user": user }));
        assert_eq!(found["total"], 1, "{found}");
        found["connections"][0]["id"].clone()
    }
}

fn get(address: SocketAddr, path: &str, headers: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    request(address, head.as_bytes())
}

/// Runs `test` on one and two shards, in both encodings.
fn everywhere(test: impl Fn(&TestGateway, &str)) {
    for shards in [1, 2] {
        for format in ["format=json", "format=msgpack"] {
            let gateway = gateway(shards);
            test(&gateway, format);
        }
    }
}

#[test]
fn an_application_publishes() {
    everywhere(|gateway, format| {
        let mut client = Client::events(gateway.address);
        let topics: Vec<String> = (0..8).map(|number| format!("topic.{number}")).collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        client.subscribe(&names);
        let mut member = Member::attach(gateway.address, format);
        for topic in &topics {
            let data = json!({ "x": [1, null, "ä"] });
            let published =
                member.done(&json!({ "op": "publish", "topic": topic, "data": data.clone() }));
            assert_eq!(published, json!({ "offset": 1 }));
            let event = client.json();
            assert_eq!((&event["event"], &event["data"]), (&json!(topic), &data));
            let again = json!({ "op": "publish", "topic": topic, "type": "named", "data": null, "key": "k" });
            assert_eq!(member.done(&again), json!({ "offset": 2 }));
            assert_eq!(member.done(&again), json!({ "offset": 2 }), "once");
            let event = client.json();
            assert_eq!(
                (&event["event"], &event["topic"]),
                (&json!("named"), &json!(topic))
            );
            assert_eq!(event["data"], Value::Null);
        }
        // Without an `id` nothing is answered.
        for number in 0..200 {
            let topic = &topics[number % topics.len()];
            member.say(&json!({ "op": "publish", "topic": topic, "data": number }));
        }
        for _ in 0..200 {
            assert_eq!(client.json()["type"], "event");
        }
        assert!(member.client.is_silent(Duration::from_millis(20)));
    });
}

#[test]
fn an_application_sends_to_one_connection_and_to_a_user() {
    everywhere(|gateway, format| {
        let mut member = Member::attach(gateway.address, format);
        let mut clients: Vec<Client> = (0..6)
            .map(|number| client_of(gateway.address, &format!("user{number}")))
            .collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let user = format!("user{number}");
            let conn = member.connection_of(&user);
            let data = json!({ "n": number });
            let sent = json!({ "op": "send", "conn": conn, "data": data, "type": "greeting", "priority": 8 });
            assert_eq!(member.done(&sent), json!({}));
            let mut event = client.json();
            assert!(event.as_object_mut().unwrap().remove("timestamp").is_some());
            let expected = json!({ "type": "event", "event": "greeting", "event_type": "greeting", "data": data });
            assert_eq!(event, expected);
            // In their order, also without answers.
            for n in 0..20 {
                member.say(&json!({ "op": "send", "conn": conn, "data": n }));
            }
            let to_user = json!({ "op": "send", "user": user, "data": "inbox" });
            assert_eq!(member.done(&to_user), json!({ "offset": 1 }));
            let mut direct = 0;
            for _ in 0..21 {
                let event = client.json();
                assert_eq!(event["event"], "message");
                if event["data"] != "inbox" {
                    assert_eq!(event["data"], direct);
                    direct += 1;
                }
            }
        }
        for client in &mut clients {
            assert!(client.is_silent(Duration::from_millis(10)), "to one alone");
        }
        let gone = json!({ "op": "send", "conn": "0-ffff-1", "data": 1 });
        member.fails(&gone, "not_found", "No connection has this id");
        let gone = json!({ "op": "send", "conn": "99-1-1", "data": 1 });
        member.fails(&gone, "not_found", "No connection has this id");
    });
}

#[test]
fn an_application_greets_a_connection_as_soon_as_it_is_there() {
    for shards in [1, 2] {
        let gateway = gateway(shards);
        let mut member = Member::attach(gateway.address, "");
        for number in 0..20 {
            let user = format!("user{number}");
            let token = token(&json!({ "sub": user }));
            let path = format!("/api/v1/ws?token={token}");
            let mut client = Client::connect(gateway.address, &path);
            let conn = member.connection_of(&user);
            member.done(&json!({ "op": "send", "conn": conn, "data": "hello" }));
            // The greeting of the protocol is first.
            assert_eq!(client.json()["type"], "connection_established");
            assert_eq!(client.json()["data"], "hello");
        }
    }
}

#[test]
fn an_application_rules_subscriptions() {
    everywhere(|gateway, format| {
        let mut member = Member::attach(gateway.address, format);
        for number in 0..4 {
            let user = format!("user{number}");
            let mut client = client_of(gateway.address, &user);
            let conn = member.connection_of(&user);
            let topic = format!("closed.{number}");
            member.done(&json!({ "op": "publish", "topic": topic, "data": 1 }));
            member.done(&json!({ "op": "publish", "topic": topic, "data": 2 }));
            // What the client may not do itself.
            client.say(&json!({ "type": "subscribe", "events": [topic] }));
            assert_eq!(client.json()["rejected"], json!([topic]));
            let subscribed = member.done(&json!({
                "op": "subscribe", "conn": conn, "topics": [topic, "b.*", "not a\nname"],
                "recover": { topic.clone(): { "last": 1 } },
            }));
            assert_eq!(
                subscribed,
                json!({ "accepted": [topic, "b.*"], "rejected": ["not a\nname"] })
            );
            let confirmed = client.json();
            assert_eq!(confirmed["type"], "subscription_confirmed");
            assert_eq!(confirmed["events"], json!([topic, "b.*"]));
            assert!(confirmed.get("id").is_none() && confirmed.get("rejected").is_none());
            assert_eq!(confirmed["topics"][&topic]["count"], 1, "{confirmed}");
            assert_eq!(client.json()["data"], 2, "the last one");
            member.done(&json!({ "op": "publish", "topic": topic, "data": 3 }));
            member.done(&json!({ "op": "publish", "topic": "b.c", "data": 4 }));
            let mut both = [client.json()["data"].clone(), client.json()["data"].clone()];
            both.sort_by_key(Value::as_u64);
            assert_eq!(both, [3, 4]);
            let ended = json!({ "op": "unsubscribe", "conn": conn, "topics": [topic, "b.*", "c"] });
            assert_eq!(member.done(&ended), json!({}));
            let told = client.json();
            assert_eq!(told["type"], "unsubscription_confirmed");
            assert_eq!(told["events"], json!([topic, "b.*"]));
            member.done(&json!({ "op": "publish", "topic": topic, "data": 5 }));
            assert!(client.is_silent(Duration::from_millis(20)));
        }
    });
}

#[test]
fn what_is_published_after_a_subscription_reaches_it() {
    everywhere(|gateway, format| {
        let mut member = Member::attach(gateway.address, format);
        for number in 0..20 {
            let user = format!("user{number}");
            let mut client = client_of(gateway.address, &user);
            let conn = member.connection_of(&user);
            // Nothing is waited for.
            let topic = format!("topic.{number}");
            member.say(&json!([
                { "op": "subscribe", "conn": conn, "topics": [topic] },
                { "op": "publish", "topic": topic, "data": number },
                { "op": "health", "id": "h" },
            ]));
            assert_eq!(client.json()["type"], "subscription_confirmed");
            assert_eq!(client.json()["data"], number);
            assert_eq!(member.next()["id"], "h");
        }
    });
}

#[test]
fn limits_of_subscriptions_hold_for_applications() {
    let gateway = gateway_with(1, |config| config.clients.max_subscriptions = 2);
    let mut member = Member::attach(gateway.address, "");
    let mut client = client_of(gateway.address, "ann");
    let conn = member.connection_of("ann");
    let all = json!({ "op": "subscribe", "conn": conn, "topics": ["a", "b", "c"] });
    assert_eq!(
        member.done(&all),
        json!({ "accepted": ["a", "b"], "rejected": ["c"] })
    );
    // The client did not ask, and is told of no error.
    assert_eq!(client.json()["events"], json!(["a", "b"]));
    assert!(client.is_silent(QUIET));
}

#[test]
fn an_application_ends_connections() {
    everywhere(|gateway, format| {
        let mut member = Member::attach(gateway.address, format);
        let mut ann = client_of(gateway.address, "ann");
        let conn = member.connection_of("ann");
        // What was sent before comes before.
        member.say(&json!({ "op": "send", "conn": conn, "data": "last" }));
        let end =
            json!({ "op": "disconnect", "conn": conn, "code": 4001, "reason": "used elsewhere" });
        assert_eq!(member.done(&end), json!({ "count": 1 }));
        assert_eq!(ann.json()["data"], "last");
        let close = ann.next().unwrap();
        assert_eq!(close.close_code(), Some(4001));
        assert_eq!(&close.payload[2..], b"used elsewhere");
        ann.wait_for_end();
        member.fails(&end, "not_found", "No connection has this id");
        let mut bobs: Vec<Client> = (0..5).map(|_| client_of(gateway.address, "bob")).collect();
        let all = json!({ "op": "disconnect", "user": "bob" });
        assert_eq!(member.done(&all), json!({ "count": 5 }));
        for bob in &mut bobs {
            assert_eq!(bob.until_close(), Some(1008));
            bob.wait_for_end();
        }
        assert_eq!(member.done(&all), json!({ "count": 0 }));
    });
}

#[test]
fn a_broadcast_is_for_connections_of_all_protocols_or_of_one() {
    everywhere(|gateway, format| {
        let mut events: Vec<Client> = (0..3).map(|_| Client::events(gateway.address)).collect();
        for client in &mut events {
            // Every shard knows of it.
            client.subscribe(&["settled.1", "settled.2", "settled.3", "settled.4"]);
        }
        let mut users: Vec<Client> = (0..3)
            .map(|number| Client::connect(gateway.address, &format!("/ws?user_id=u{number}")))
            .collect();
        let mut streams: Vec<EventStream> = (0..3)
            .map(|_| EventStream::subscribe(gateway.address, "topics=a"))
            .collect();
        let _other = Member::attach(gateway.address, "");
        let mut member = Member::attach(gateway.address, format);
        let mut broadcast = |dialect: Option<&str>, data: u64| {
            let mut operation =
                json!({ "op": "broadcast", "type": "notice", "data": { "n": data } });
            if let Some(dialect) = dialect {
                operation["dialect"] = dialect.into();
            }
            member.done(&operation)["count"].clone()
        };
        assert_eq!(broadcast(None, 1), 9);
        assert_eq!(broadcast(Some("events"), 2), 3);
        assert_eq!(broadcast(Some("bridge"), 3), 3);
        assert_eq!(broadcast(Some("sse"), 4), 3);
        assert_eq!(broadcast(Some("echo"), 5), 0);
        for client in &mut events {
            for n in [1, 2] {
                let event = client.json();
                assert_eq!(
                    (&event["type"], &event["event"]),
                    (&json!("broadcast"), &json!("notice"))
                );
                assert_eq!(event["data"], json!({ "n": n }));
            }
            assert!(client.is_silent(Duration::from_millis(10)));
        }
        for client in &mut users {
            for n in [1, 3] {
                assert_eq!(client.json()["n"], n);
            }
            assert!(client.is_silent(Duration::from_millis(10)));
        }
        for stream in &mut streams {
            for n in [1, 4] {
                let event = stream.event();
                assert_eq!((&*event.name, event.json()), ("notice", json!({ "n": n })));
            }
        }
    });
}

#[test]
fn connections_of_other_protocols_do_what_they_can() {
    everywhere(|gateway, format| {
        let mut member = Member::attach(gateway.address, format);
        let mut user = Client::connect(gateway.address, "/ws?user_id=zoe");
        let conn = member.connection_of("zoe");
        let sent = json!({ "op": "send", "conn": conn, "data": { "text": "hi" } });
        assert_eq!(member.done(&sent), json!({}));
        let push = user.json();
        assert_eq!(
            (&push["text"], &push["user_id"]),
            (&json!("hi"), &json!("zoe"))
        );
        assert_eq!(push["correlation_id"].as_str().unwrap().len(), 36);
        let subscribe = json!({ "op": "subscribe", "conn": conn, "topics": ["a"] });
        member.fails(&subscribe, "unsupported", "no words for it");
        let unsubscribe = json!({ "op": "unsubscribe", "conn": conn, "topics": ["a"] });
        member.fails(&unsubscribe, "unsupported", "no words for it");
        let mut stream = EventStream::subscribe(gateway.address, "topics=a");
        let all = member.done(&json!({ "op": "connections" }));
        let all = all["connections"].as_array().unwrap();
        let is_stream = |one: &&Value| one["protocol"] == "sse";
        let conn = &all.iter().find(is_stream).unwrap()["id"];
        member.done(&json!({ "op": "send", "conn": conn, "type": "x", "data": [1, "a\nb"] }));
        let event = stream.event();
        assert_eq!((&*event.name, event.json()), ("x", json!([1, "a\nb"])));
        assert_eq!(event.id, stream.last_id, "no position of its own");
        let subscribe = json!({ "op": "subscribe", "conn": conn, "topics": ["b"] });
        member.fails(&subscribe, "unsupported", "no words for it");
        let echo = Client::echo(gateway.address);
        let all = member.done(&json!({ "op": "connections" }));
        let all = all["connections"].as_array().unwrap();
        let conn = &all.iter().find(|one| one["protocol"] == "echo").unwrap()["id"];
        let sent = json!({ "op": "send", "conn": conn, "data": 1 });
        member.fails(&sent, "unsupported", "no words for it");
        drop(echo);
    });
}

#[test]
fn an_application_asks_what_there_is() {
    everywhere(|gateway, format| {
        let group = format!("{format}&group=orders");
        let mut member = Member::attach(gateway.address, &group);
        let mut ann = client_of(gateway.address, "ann");
        let _bob = client_of(gateway.address, "bob");
        for topic in ["room.1", "room.2", "room.3"] {
            ann.say(&json!({ "type": "subscribe", "events": [topic] }));
            // Its own presence may come first.
            while ann.json()["type"] != "subscription_confirmed" {}
            let there = member.done(&json!({ "op": "presence", "topic": topic }));
            assert_eq!(
                (&there["event"], &there["count"]),
                (&json!(topic), &json!(1))
            );
            assert_eq!(there["users"][0]["user"], "ann", "{there}");
            assert_eq!(there["more"], false);
            let rest = json!({ "op": "presence", "topic": topic, "after": "ann", "limit": 1 });
            assert_eq!(member.done(&rest)["users"], json!([]));
        }
        let none = json!({ "op": "presence", "topic": "hall" });
        member.fails(&none, "unsupported", "Presence is not kept");
        member.fails(
            &json!({ "op": "presence", "topic": "room\n" }),
            "invalid",
            "`topic`: ",
        );
        // As over HTTP.
        let listed = get(gateway.address, "/api/v1/connections?user=ann", &service()).json();
        let found = member.done(&json!({ "op": "connections", "user": "ann" }));
        assert_eq!(found["total"], 1);
        for key in [
            "id",
            "user",
            "protocol",
            "address",
            "since",
            "subscriptions",
        ] {
            assert_eq!(
                found["connections"][0][key], listed["connections"][0][key],
                "{key}"
            );
        }
        let some = member.done(&json!({ "op": "connections", "limit": 1 }));
        assert_eq!(some["total"], 3, "the member's own, too");
        assert_eq!(some["connections"].as_array().unwrap().len(), 1);
        let health = member.done(&json!({ "op": "health" }));
        assert_eq!(health["status"], "healthy");
        assert_eq!(health["connections"], 3);
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
        assert!(health["uptime_seconds"].is_u64());
        assert_eq!(health["group"]["name"], "orders");
    });
}

#[test]
fn answers_come_in_the_order_of_the_operations() {
    everywhere(|gateway, format| {
        let mut ann = client_of(gateway.address, "ann");
        ann.say(&json!({ "type": "subscribe", "events": ["room.1"] }));
        while ann.json()["type"] != "subscription_confirmed" {}
        let mut member = Member::attach(gateway.address, format);
        let conn = member.connection_of("ann");
        let kinds = [
            json!({ "op": "connections" }),
            json!({ "op": "health" }),
            json!({ "op": "publish", "topic": "t", "data": 1 }),
            json!({ "op": "send", "conn": conn, "data": 1 }),
            json!({ "op": "presence", "topic": "room.1" }),
            json!({ "op": "send", "conn": "0-ffff-1", "data": 1 }),
            json!({ "op": "broadcast", "dialect": "sse", "data": 1 }),
            json!({ "op": "publish", "topic": "u", "data": 1 }),
            json!({ "op": "subscribe", "conn": conn, "topics": ["v"] }),
            json!({ "op": "fly" }),
            json!({ "op": "publish", "topic": "v", "data": 1 }),
            json!({ "op": "disconnect", "user": "nobody" }),
        ];
        // More than may be pending, in frames of one and of many objects.
        let mut all = Vec::new();
        for number in 0..3000_u64 {
            let mut operation = kinds[number as usize % kinds.len()].clone();
            operation["id"] = match number % 2 {
                0 => json!(number),
                _ => json!(number.to_string()),
            };
            all.push(operation);
        }
        for frame in all.chunks(300) {
            member.say(&json!(frame));
            for operation in &frame[..10] {
                let mut again = operation.clone();
                again.as_object_mut().unwrap().remove("id");
                // It is answered without an `id` where it is not understood.
                if again["op"] != "fly" {
                    member.say(&again);
                }
            }
        }
        for operation in &all {
            let answer = member.next();
            assert_eq!(answer["id"], operation["id"], "{operation}: {answer}");
            let fails = operation["op"] == "fly" || operation["conn"] == "0-ffff-1";
            // Its client reads nothing, so that some of what is sent to it finds no room.
            let may_fail = !operation["conn"].is_null();
            assert!(
                answer["ok"] == true && !fails
                    || answer["error"].is_string() && (fails || may_fail),
                "{operation}: {answer}"
            );
        }
        assert!(member.client.is_silent(Duration::from_millis(20)));
    });
}

#[test]
fn a_wrong_operation_is_answered_and_the_link_stays() {
    everywhere(|gateway, format| {
        let mut member = Member::attach(gateway.address, format);
        for (operation, code, why) in [
            (
                json!({ "op": "fly" }),
                "unknown_op",
                "there are: publish, send",
            ),
            (json!({ "op": 1 }), "invalid", "`op` is the name"),
            (
                json!({ "op": "publish", "data": 1 }),
                "invalid",
                "`topic` is missing",
            ),
            (
                json!({ "op": "publish", "topic": "a" }),
                "invalid",
                "`data` is missing",
            ),
            (
                json!({ "op": "publish", "topic": "a b\n", "data": 1 }),
                "invalid",
                "",
            ),
            (
                json!({ "op": "publish", "topic": "system.metrics", "data": 1 }),
                "invalid",
                "by the gateway itself",
            ),
            (
                json!({ "op": "publish", "topic": "a", "data": "x".repeat(300_000) }),
                "too_large",
                "this topic takes",
            ),
            (
                json!({ "op": "send", "conn": "0-1-1", "data": "x".repeat(300_000) }),
                "too_large",
                "takes",
            ),
            (
                json!({ "op": "send", "data": 1 }),
                "invalid",
                "`conn` or `user`",
            ),
            (
                json!({ "op": "reply", "to": 1, "data": 1 }),
                "not_found",
                "No message",
            ),
            (
                json!({ "op": "reply", "data": 1 }),
                "invalid",
                "`to` is missing",
            ),
            (
                json!({ "op": "subscribe", "conn": "0-ffff-1", "topics": ["a"] }),
                "not_found",
                "No connection",
            ),
            (
                json!({ "op": "unsubscribe", "conn": "elsewhere", "topics": ["a"] }),
                "not_found",
                "No connection",
            ),
            (
                json!({ "op": "disconnect", "user": "u", "code": 1005 }),
                "invalid",
                "`code`: accepted",
            ),
            (
                json!({ "op": "broadcast", "dialect": "backend", "data": 1 }),
                "invalid",
                "`dialect`",
            ),
            (
                json!({ "op": "connections", "limit": 0 }),
                "invalid",
                "`limit`",
            ),
        ] {
            member.fails(&operation, code, why);
        }
        assert_eq!(member.done(&json!({ "op": "health" }))["status"], "healthy");
    });
}

#[test]
fn hostile_frames_are_refused_and_the_link_stays() {
    let gateway = gateway(1);
    let mut member = Member::attach(gateway.address, "");
    let deep = format!(
        r#"{{"op":"publish","topic":"a","data":{}{}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    for text in [
        "",
        "x",
        "1",
        "null",
        "\"op\"",
        "{",
        "[",
        "[{]",
        "{\"op\":\"health\"",
        "[[]]",
        "[1]",
        "\u{0}",
        "{\"op\":\"health\",\"op\"}",
        "{\"a\":\"\\ud800\\",
        &deep,
        &"[".repeat(10_000),
    ] {
        member.is_refused(
            text,
            "invalid",
            "A frame is a JSON object, or an array of objects",
        );
    }
    for text in ["{}", r#"{"op":"health","ack":1}"#, r#"{"data":1}"#] {
        member.is_refused(text, "invalid", "one of `op`, `ack` and `credit`");
    }
    member.is_refused(r#"{"op":"fly"}"#, "unknown_op", "there are: ");
    member.is_refused(
        r#"{"op":"health","id":{}}"#,
        "invalid",
        "`id` is a string or number",
    );
    let long = format!(r#"{{"op":"health","id":"{}"}}"#, "x".repeat(300));
    member.is_refused(&long, "invalid", "`id` is a string or number");
    member.is_refused(r#"{"ack":"1"}"#, "invalid", "`ack` is");
    member.is_refused(r#"{"credit":0}"#, "invalid", "`credit` is");
    let many = format!("[{}]", vec![r#"{"op":"health","id":1}"#; 1025].join(","));
    member.is_refused(&many, "too_large", "at most 1024 objects");
    // The others of an array are run.
    member.client.send(
        0x81,
        br#"[{"op":"health","id":1},7,{"op":"health","id":2},{"credit":1}]"#,
    );
    assert_eq!(member.next()["id"], 1);
    assert_eq!(member.next()["error"], "invalid");
    assert_eq!(member.next()["id"], 2);
    member.client.send(0x81, b"[]");
    assert!(member.client.is_silent(QUIET));
    assert_eq!(member.done(&json!({ "op": "health" }))["status"], "healthy");
    // Each encoding has its frames.
    member.client.send(0x82, b"\x80");
    assert_eq!(member.client.until_close(), Some(1003));
    let mut packed = Member::attach(gateway.address, "format=msgpack");
    packed.client.send(0x82, b"\xc1\xc1");
    let refused = packed.next();
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("Not a MessagePack message")
    );
    packed.client.send(0x81, b"{}");
    assert_eq!(packed.client.until_close(), Some(1003));
    // Larger than `backend.max_message_size`.
    let mut member = Member::attach(gateway.address, "");
    member.client.send(0x81, &vec![b' '; 1024 * 1024 + 1]);
    assert_eq!(member.client.until_close(), Some(1009));
}

/// The status of an attempt to attach, and what is said about it.
fn attempt(address: SocketAddr, query: &str, headers: &str) -> (u16, String) {
    let head = format!(
        "GET {PATH}{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    let response = request(address, head.as_bytes());
    (response.status, response.body)
}

#[test]
fn only_services_attach() {
    let key = "0123456789abcdef";
    let hash = "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
    for mode in [Mode::Demo, Mode::Dev, Mode::Prod] {
        let mode = format!("{mode:?}").to_lowercase();
        let toml = format!(
            "mode = \"{mode}\"\n[backend]\nenabled = true\n[auth]\njwt_secret = \"{SECRET}\"\n\
             [http]\nallowed_origins = [\"https://app.example\"]\n"
        );
        let gateway = TestGateway::from_toml(&toml, |config| {
            config.auth.api_keys = vec![KeyHash::parse(hash).unwrap()];
        });
        let status = |headers: &str| attempt(gateway.address, "", headers).0;
        assert_eq!(status(""), 401, "{mode}");
        assert_eq!(status("X-API-Key: wrong\r\n"), 401, "{mode}");
        assert_eq!(status("Authorization: Bearer x.y.z\r\n"), 401, "{mode}");
        assert_eq!(status(&bearer(&json!({ "sub": "ann" }))), 403, "{mode}");
        assert_eq!(status(&service()), 101, "{mode}");
        assert_eq!(status(&format!("X-API-Key: {key}\r\n")), 101, "{mode}");
        let elsewhere = format!("Origin: https://evil.example\r\n{}", service());
        assert_eq!(status(&elsewhere), 403, "{mode}");
    }
}

#[test]
fn a_demo_without_keys_asks_for_no_credential() {
    let gateway = TestGateway::with(|config| config.backend.enabled = true);
    assert_eq!(attempt(gateway.address, "", "").0, 101);
    // Of a page of another host a browser would not ask before.
    let page = "Origin: https://evil.example\r\n";
    assert_eq!(attempt(gateway.address, "", page).0, 403);
    for (query, why) in [
        ("?group=", "`group` is 1 to 64"),
        ("?format=xml", "`format` is unknown"),
        ("?filter=all", "`filter`: `all` is no kind"),
        ("?credit=0", "`credit` is from 1"),
        ("?x=1", "`x` is unknown"),
    ] {
        let (status, body) = attempt(gateway.address, query, "");
        assert_eq!(status, 400, "{query}");
        assert!(body.contains(why), "{query}: {body}");
    }
    let every = "?group=a&format=msgpack&filter=connect,message&credit=7";
    assert_eq!(attempt(gateway.address, every, "").0, 101);
    assert_eq!(get(gateway.address, PATH, "").status, 426);
    let off = TestGateway::with(|_| {});
    assert_eq!(attempt(off.address, "", "").0, 404);
}

#[test]
fn members_attach_where_services_are() {
    let gateway = TestGateway::with(|config| {
        config.backend.enabled = true;
        config.server.internal_listen = vec!["127.0.0.1:0".parse().unwrap()];
    });
    assert_eq!(attempt(gateway.address, "", "").0, 404);
    let internal = gateway.internal.unwrap();
    let mut member = Member::attach_with(internal, "", "");
    assert_eq!(member.done(&json!({ "op": "health" }))["connections"], 1);
}

#[test]
fn a_service_does_what_its_token_permits() {
    for shards in [1, 2] {
        let gateway = gateway_with(shards, |config| config.clients.publishes_per_minute = 5);
        let rights = json!({ "publish": ["orders.*"], "subscribe": ["room.1"] });
        let claims = json!({ "sub": "shop", "role": "service", "fanfare": rights });
        let mut member = Member::attach_with(gateway.address, "", &bearer(&claims));
        let publish = |topic: &str| json!({ "op": "publish", "topic": topic, "data": 1 });
        member.fails(&publish("news"), "forbidden", "fanfare.publish");
        let send = json!({ "op": "send", "user": "ann", "data": 1 });
        member.fails(&send, "forbidden", "fanfare.publish");
        member.fails(
            &json!({ "op": "broadcast", "data": 1 }),
            "forbidden",
            "fanfare.publish",
        );
        let presence = json!({ "op": "presence", "topic": "room.2" });
        member.fails(&presence, "forbidden", "fanfare.subscribe");
        for number in 0..5 {
            member.done(&publish(&format!("orders.{number}")));
        }
        // As over HTTP, and together with it.
        member.fails(&publish("orders.6"), "busy", "At most 5 events");
    }
}

#[test]
fn members_count_toward_no_limit_of_clients() {
    let gateway = gateway_with(1, |config| {
        config.clients.max_connections = 1;
        config.clients.max_connections_per_user = 1;
    });
    let _members: Vec<Member> = (0..3)
        .map(|_| Member::attach(gateway.address, ""))
        .collect();
    let _client = client_of(gateway.address, "app");
}

/// A member whose answers do not fit into its outbox is not read from, and nothing is lost.
#[test]
fn a_member_that_does_not_read_is_waited_for() {
    for shards in [1, 2] {
        let gateway = gateway_with(shards, |config| config.hub.outbox_max_bytes = 16 * 1024);
        let _clients: Vec<Client> = (0..20).map(|_| Client::events(gateway.address)).collect();
        let mut member = Member::attach(gateway.address, "");
        let count = 4000_u64;
        let writer = member.client.stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || write_all(writer, count));
        std::thread::sleep(Duration::from_millis(300));
        for number in 0..count {
            assert_eq!(member.next()["id"], number);
        }
        writing.join().unwrap();
        let too_large = json!({ "op": "connections", "limit": 20 });
        let answer = member.ask(&too_large);
        assert!(
            answer["ok"] == true || answer["error"] == "too_large",
            "{answer}"
        );
    }
}

fn write_all(mut to: Socket, count: u64) {
    use std::io::Write;
    for number in 0..count {
        let operation = match number % 3 {
            0 => json!({ "op": "connections", "limit": 10, "id": number }),
            1 => {
                json!({ "op": "publish", "topic": format!("t.{}", number % 7), "data": 1, "id": number })
            }
            _ => json!({ "op": "health", "id": number }),
        };
        let bytes = crate::support::frame(0x81, operation.to_string().as_bytes());
        to.write_all(&bytes).unwrap();
    }
}

#[test]
fn what_is_sent_before_a_connection_is_ended_comes_first() {
    for shards in [1, 2] {
        // The connection's task may come before the flush.
        let gateway = gateway_with(shards, |config| {
            config.hub.flush_delay = Duration::from_millis(20);
        });
        let mut member = Member::attach(gateway.address, "");
        for number in 0..4 {
            let user = format!("user{number}");
            let mut client = client_of(gateway.address, &user);
            let conn = member.connection_of(&user);
            member.say(&json!([
                { "op": "send", "conn": conn, "data": "last" },
                { "op": "disconnect", "conn": conn, "id": 1 },
                { "op": "send", "conn": conn, "data": "late" },
            ]));
            assert_eq!(member.next()["count"], 1);
            assert_eq!(client.json()["data"], "last");
            assert_eq!(client.until_close(), Some(1008));
        }
    }
}

/// A connection that is not open yet, and may not be for seconds, holds up what an application does for a moment only.
#[test]
fn a_connection_that_is_not_ready_is_waited_for_a_moment() {
    let gateway = gateway(1);
    let mut member = Member::attach(gateway.address, "");
    // It answers no ping, so that the gateway asks for 2 s whether it is there.
    let _first = Client::connect(gateway.address, "/ws?user_id=zoe");
    let first = member.connection_of("zoe");
    let mut second = Socket::connect(gateway.address).unwrap();
    let head = "GET /ws?user_id=zoe HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    std::io::Write::write_all(&mut second, head.as_bytes()).unwrap();
    let began = Instant::now();
    let conn = loop {
        let found = member.done(&json!({ "op": "connections", "user": "zoe" }));
        let mut all = found["connections"].as_array().unwrap().iter();
        if let Some(other) = all.find(|one| one["id"] != first) {
            break other["id"].clone();
        }
        assert!(began.elapsed() < Duration::from_secs(10));
    };
    let began = Instant::now();
    let sent = json!({ "op": "send", "conn": conn, "data": 1 });
    member.fails(&sent, "busy", "try again");
    let waited = began.elapsed();
    assert!(waited < Duration::from_millis(1500), "{waited:?}");
    assert!(waited > Duration::from_millis(200), "{waited:?}");
}

/// A client that does not read holds up nothing but what is for it.
#[test]
fn a_client_that_does_not_read_holds_up_no_application() {
    for shards in [1, 2] {
        let gateway = gateway(shards);
        let mut member = Member::attach(gateway.address, "");
        let _idle = client_of(gateway.address, "ann");
        let conn = member.connection_of("ann");
        let data = "x".repeat(60_000);
        let sent = json!({ "op": "send", "conn": conn, "data": data });
        let began = Instant::now();
        loop {
            let answer = member.ask(&sent);
            if answer["error"] == "busy" {
                break;
            }
            assert_eq!(answer["ok"], true, "{answer}");
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        let began = Instant::now();
        let subscribe = json!({ "op": "subscribe", "conn": conn, "topics": ["a.*"] });
        member.fails(&subscribe, "busy", "reads too slowly");
        member.done(&json!({ "op": "publish", "topic": "b", "data": 1 }));
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
