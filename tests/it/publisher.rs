//! Who published an event: said by the gateway, and by nothing that a client sends.

use serde_json::{Value, json};

use crate::support::{Client, EventStream, TestGateway, request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A token of a user, valid for long.
fn token(user: &str, role: &str) -> String {
    let claims =
        json!({ "sub": user, "name": "Someone Else", "role": role, "exp": 4_000_000_000_u64 });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

fn gateway(shards: usize) -> TestGateway {
    let toml = format!(
        "[auth]\njwt_secret = \"{SECRET}\"\n[hub]\nhistory_size = 100\n\
         [namespace.\"quiet.\"]\npublisher = false\n"
    );
    TestGateway::from_toml(&toml, |config| config.server.shards = shards)
}

/// A connection at `path` with the greeting taken.
fn connect(gateway: &TestGateway, path: &str) -> (Client, Value) {
    let mut client = Client::connect(gateway.address, path);
    let greeting = client.json();
    assert_eq!(greeting["type"], "connection_established", "{greeting}");
    (client, greeting)
}

fn with_token(gateway: &TestGateway, user: &str, role: &str) -> (Client, Value) {
    connect(gateway, &format!("/api/v1/ws?token={}", token(user, role)))
}

/// A publication whose client claims to be somebody, in every way that it can.
fn claim(topic: &str, id: u32) -> Value {
    let data = json!({ "publisher": "mallory", "text": "hello" });
    let publisher = json!("mallory");
    json!({ "type": "publish", "event": topic, "data": data, "publisher": publisher, "id": id })
}

fn http(gateway: &TestGateway, method: &str, path: &str, body: &Value) -> Value {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    request(gateway.address, text.as_bytes()).json()
}

/// Topics whose homes are different shards.
const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn a21_an_event_names_the_user_of_the_token_that_published_it_and_nobody_else() {
    const USER: &str = "an\"n";
    for shards in [1, 2] {
        let gateway = gateway(shards);
        let mut readers = ["", "?format=msgpack", "?batch=true"].map(|query| {
            let mut client = Client::connect(gateway.address, &format!("/api/v1/ws{query}"));
            client.next().expect("a greeting");
            let subscribe = json!({ "type": "subscribe", "events": TOPICS });
            match query {
                "?format=msgpack" => client.send(0x82, &rmp_serde::to_vec(&subscribe).unwrap()),
                _ => client.say(&subscribe),
            }
            client.next().expect("a confirmation");
            client
        });
        let mut stream = EventStream::connect(gateway.address, "topics=a,b,c,d");
        let (mut ann, greeting) = with_token(&gateway, USER, "user");
        assert_eq!(
            (&greeting["user"], &greeting["name"], &greeting["role"]),
            (&json!(USER), &json!("Someone Else"), &json!("user"))
        );
        assert_eq!(greeting["expires_at"], "2096-10-02T07:06:40.000Z");
        let mut originals = Vec::new();
        for topic in TOPICS {
            ann.say(&claim(topic, 1));
            assert_eq!(ann.json()["result"]["offset"], 1);
            for (reader, format) in readers.iter_mut().zip(["json", "msgpack", "batch"]) {
                let frame = reader.next().expect("an event");
                let event: Value = match format {
                    "msgpack" => rmp_serde::from_slice(&frame.payload).unwrap(),
                    "json" => frame.json(),
                    _ => match frame.json() {
                        batch if batch["type"] == "batch" => batch["messages"][0].clone(),
                        event => event,
                    },
                };
                assert_eq!(event["event"], topic, "{event}");
                assert_eq!(event["publisher"], USER, "{format}: {event}");
                assert_eq!(event["data"]["publisher"], "mallory", "{event}");
                if format == "json" {
                    originals.push(event);
                }
            }
            let event = stream.next().expect("an event");
            assert_eq!(
                event.json(),
                json!({ "publisher": "mallory", "text": "hello" })
            );
        }
        // As it was: to a reader that comes back, and in the history for services.
        for (topic, original) in TOPICS.into_iter().zip(&originals) {
            let id = original["event_id"].as_str().unwrap();
            let (epoch, _) = id.split_once('-').unwrap();
            let mut late = Client::events(gateway.address);
            late.say(&json!({
                "type": "subscribe",
                "events": [topic],
                "recover": { topic: { "epoch": epoch, "offset": 0 } },
            }));
            assert_eq!(late.json()["topics"][topic]["count"], 1);
            assert_eq!(late.json(), *original);
            let path = format!("/api/v1/topics/{topic}/history");
            let history = http(&gateway, "GET", &path, &Value::Null);
            assert_eq!(history["events"], json!([original]));
        }
    }
}

#[test]
fn a21_what_the_application_and_the_nameless_publish_has_no_publisher() {
    for shards in [1, 2] {
        let gateway = gateway(shards);
        let mut reader = Client::events(gateway.address);
        reader.subscribe(&["*", "quiet.a"]);
        let check = |reader: &mut Client, whose: &str| {
            let event = reader.json();
            assert_eq!(event["type"], "event", "{event}");
            assert!(event.get("publisher").is_none(), "{whose}: {event}");
        };
        for topic in TOPICS {
            let (mut nameless, _) = connect(&gateway, "/api/v1/ws/mallory");
            nameless.say(&claim(topic, 1));
            check(&mut reader, "without a token");
            let (mut service, _) = with_token(&gateway, "backend", "service");
            service.say(&claim(topic, 1));
            check(&mut reader, "a service");
            let body = json!({ "event": topic, "data": 1, "publisher": "mallory" });
            http(&gateway, "POST", "/api/v1/events", &body);
            check(&mut reader, "over HTTP");
        }
        let (mut ann, _) = with_token(&gateway, "ann", "user");
        ann.say(&claim("quiet.a", 1));
        check(&mut reader, "where it is off");
        ann.say(&claim("loud.a", 1));
        let event = reader.json();
        assert_eq!(event["publisher"], "ann", "{event}");
    }
}

#[test]
fn a_key_is_its_users_and_a_publication_with_it_is_published_once() {
    for shards in [1, 2] {
        let gateway = gateway(shards);
        for topic in TOPICS {
            let publish = |client: &mut Client, key: &Value| {
                client.say(
                    &json!({ "type": "publish", "event": topic, "data": 1, "key": key, "id": 1 }),
                );
                client.json()["result"]["offset"].clone()
            };
            let clients = [
                ("ann", "user"),
                ("bob", "user"),
                ("backend", "service"),
                ("", ""),
            ];
            for (offset, (user, role)) in (1..).step_by(2).zip(clients) {
                // Twice, as after a lost connection.
                for _ in 0..2 {
                    let (mut client, _) = match user {
                        "" => connect(&gateway, "/api/v1/ws"),
                        _ => with_token(&gateway, user, role),
                    };
                    assert_eq!(publish(&mut client, &json!("7")), offset, "{user}");
                    assert_eq!(publish(&mut client, &json!(7)), offset + 1, "{user}");
                }
            }
            // A service has one set of keys, over HTTP and here.
            let body = json!({ "topic": topic, "payload": 1, "id": "7" });
            let answer = http(&gateway, "POST", "/api/v1/publish", &body);
            assert_eq!(answer["offset"], 5, "{answer}");
        }
    }
}
