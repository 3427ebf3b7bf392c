//! Broadcasts, inboxes, and publishing with an `id`.

use std::net::SocketAddr;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{Client, Response, TestGateway, request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const QUIET: Duration = Duration::from_millis(100);

fn post(address: SocketAddr, path: &str, body: &Value) -> Response {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    request(address, head.as_bytes())
}

/// Publishes and returns the answer, which must be an acceptance.
fn accepted(address: SocketAddr, path: &str, body: &Value) -> Value {
    let response = post(address, path, body);
    assert_eq!(response.status, 202, "{response:?}");
    response.json()
}

/// A gateway that knows tokens and asks for none.
fn gateway(shards: usize) -> TestGateway {
    let toml = format!("[auth]\njwt_secret = \"{SECRET}\"\n[hub]\nhistory_size = 100");
    TestGateway::from_toml(&toml, |config| config.server.shards = shards)
}

/// A connection of `user`, whose name may be followed by `&` and more parameters.
fn client_of(address: SocketAddr, user: &str) -> Client {
    let (user, parameters) = user.split_once('&').unwrap_or((user, ""));
    let claims = json!({ "sub": user, "exp": 4_000_000_000_u64 });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    let mut client = Client::connect(
        address,
        &format!("/api/v1/ws/dev?token={token}&{parameters}"),
    );
    let greeting = client.json();
    assert_eq!(greeting["authenticated"], true, "{greeting}");
    client
}

/// Waits until the connection has been told of by every shard.
fn settle(client: &mut Client) {
    client.subscribe(&["settled.1", "settled.2", "settled.3", "settled.4"]);
}

#[test]
fn a_broadcast_reaches_everybody_subscribed_or_not() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let mut clients: Vec<Client> = (0..6).map(|_| Client::events(gateway.address)).collect();
        clients[0].subscribe(&["*"]);
        for client in &mut clients {
            settle(client);
        }
        let body = json!({ "event": "notice", "data": { "text": "hello" }, "broadcast": true });
        let answer = accepted(gateway.address, "/api/v1/events", &body);
        assert_eq!(answer["delivered"], 6);
        for client in &mut clients {
            let frame = client.json();
            assert_eq!(
                (&frame["type"], &frame["event"], &frame["data"]["text"]),
                (&json!("broadcast"), &json!("notice"), &json!("hello"))
            );
            assert!(frame["timestamp"].is_string() && frame.get("id").is_none());
        }
        accepted(
            gateway.address,
            "/api/v1/events",
            &json!({ "data": 1, "broadcast": true }),
        );
        for client in &mut clients {
            assert_eq!(client.json()["event"], Value::Null);
            assert!(client.is_silent(Duration::from_millis(10)), "once each");
        }
    }
}

#[test]
fn an_event_for_a_user_reaches_all_its_connections_and_nobody_elses() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let mut ann: Vec<Client> = (0..3).map(|_| client_of(gateway.address, "ann")).collect();
        let mut bob = client_of(gateway.address, "bob");
        let mut nobody = Client::events(gateway.address);
        nobody.subscribe(&["*"]);
        for client in ann.iter_mut().chain([&mut bob]) {
            settle(client);
        }
        let body = json!({ "event": "invoice.paid", "data": 7, "user_id": "ann" });
        let answer = accepted(gateway.address, "/api/v1/events", &body);
        assert_eq!(answer["delivered"], 3, "{shards} shards");
        for client in &mut ann {
            let event = client.json();
            assert_eq!(
                (&event["type"], &event["event"]),
                (&json!("event"), &json!("invoice.paid"))
            );
            assert_eq!(event["data"], 7);
        }
        assert!(bob.is_silent(QUIET) && nobody.is_silent(QUIET));
        let body = json!({ "event": "x", "data": 1, "user_id": "carol" });
        let answer = accepted(gateway.address, "/api/v1/events", &body);
        assert_eq!(answer["delivered"], 0, "nobody is there");
    }
}

#[test]
fn a16_users_whose_names_look_like_topics_share_nothing() {
    let gateway = gateway(1);
    let mut tricky = client_of(gateway.address, "ann:events");
    let mut ann = client_of(gateway.address, "ann");
    accepted(
        gateway.address,
        "/api/v1/publish",
        &json!({ "user_id": "ann", "payload": 1 }),
    );
    assert_eq!(ann.json()["event"], "message");
    assert!(tricky.is_silent(QUIET));
    let body = json!({ "user_id": "ann:events", "payload": 2, "type": "secret" });
    accepted(gateway.address, "/api/v1/publish", &body);
    assert_eq!(tricky.json()["data"], 2);
    assert!(ann.is_silent(QUIET));
}

#[test]
fn a_publication_with_an_id_is_published_once() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let mut client = Client::events(gateway.address);
        client.subscribe(&["orders", "others"]);
        let body =
            json!({ "topic": "orders", "type": "order.paid", "payload": { "n": 1 }, "id": "k-1" });
        let first = accepted(gateway.address, "/api/v1/publish", &body);
        assert_eq!(
            (&first["offset"], &first["delivered"]),
            (&json!(1), &json!(1))
        );
        let again = accepted(gateway.address, "/api/v1/publish", &body);
        assert_eq!(
            (&again["offset"], &again["delivered"]),
            (&json!(1), &json!(0))
        );
        let other = json!({ "topic": "others", "payload": 2, "id": "k-1", "priority": 5 });
        assert_eq!(
            accepted(gateway.address, "/api/v1/publish", &other)["offset"],
            1
        );
        let next = json!({ "topic": "orders", "payload": 3, "id": "k-2" });
        assert_eq!(
            accepted(gateway.address, "/api/v1/publish", &next)["offset"],
            2
        );
        let mut seen: Vec<String> = (0..3).map(|_| client.json()["event"].to_string()).collect();
        seen.sort();
        assert_eq!(seen, ["\"order.paid\"", "\"orders\"", "\"others\""]);
        assert!(client.is_silent(Duration::from_millis(20)));
    }
}

#[test]
fn m05_what_cannot_be_published_is_refused_by_name() {
    let gateway = gateway(1);
    for (body, word) in [
        (json!({ "payload": 1 }), "`topic` is missing"),
        (json!({ "topic": "a" }), "`payload` is missing"),
        (json!({ "topic": "a\nb", "payload": 1 }), "control"),
        (
            json!({ "topic": "#broadcast", "payload": 1 }),
            "gateway's own",
        ),
        (
            json!({ "topic": "system.metrics", "payload": 1 }),
            "the gateway itself",
        ),
        (
            json!({ "topic": 5, "payload": 1 }),
            "`topic` is not a string",
        ),
        (
            json!({ "topic": "a", "payload": 1, "type": "x\r\ny" }),
            "control characters",
        ),
        (
            json!({ "topic": "a", "payload": 1, "priority": 4 }),
            "`priority`",
        ),
        (json!({ "topic": "a", "payload": 1, "id": {} }), "`id`"),
        (
            json!({ "topic": "a", "payload": 1, "id": "k".repeat(200) }),
            "`id`",
        ),
        (json!({ "user_id": "", "payload": 1 }), "`user_id`"),
        (
            json!({ "user_id": "u".repeat(200), "payload": 1 }),
            "`user_id`",
        ),
    ] {
        let response = post(gateway.address, "/api/v1/publish", &body);
        assert_eq!(response.status, 422, "{body}");
        let detail = response.json()["detail"].to_string();
        assert!(detail.contains(word), "{body}: {detail}");
    }
}

#[test]
fn an_inbox_can_be_caught_up_with() {
    let gateway = gateway(2);
    let mut ann = client_of(gateway.address, "ann&");
    let body = |event: &str| json!({ "event": event, "data": 1, "user_id": "ann" });
    accepted(gateway.address, "/api/v1/events", &body("first"));
    let first = ann.json();
    assert_eq!(first["event"], "first");
    drop(ann);
    accepted(gateway.address, "/api/v1/events", &body("missed"));
    let last = first["event_id"].as_str().unwrap();
    let mut ann = client_of(gateway.address, &format!("ann&inbox_after={last}"));
    assert_eq!(ann.json()["event"], "missed");
    accepted(gateway.address, "/api/v1/events", &body("new"));
    assert_eq!(ann.json()["event"], "new");
    let mut ann = client_of(gateway.address, "ann&inbox_after=5-1");
    let gap = ann.json();
    assert_eq!(
        (&gap["type"], &gap["event"]),
        (&json!("gap"), &json!("user:ann:events"))
    );
    let path = "GET /api/v1/topics/user:ann:events/history HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let kept = request(gateway.address, path.as_bytes()).json();
    assert_eq!(kept["events"][0]["event"], "first", "{kept}");
}
