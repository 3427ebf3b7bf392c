//! How much one client may do: messages in a minute, connections, subscriptions,
//! sizes; and what the others notice of it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfare::config::{Config, Mode, Secret};
use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{Client, Process, Socket, TestGateway, frame, metric, request};

/// Far more than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(15);

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Has everybody at 127.0.0.1 believed who says whom it speaks for.
fn behind_proxy(config: &mut Config) {
    config.server.forwarded_from = vec!["127.0.0.1/32".parse().unwrap()];
    config.auth.jwt_secret = Secret::new(SECRET);
}

/// The path of the token endpoint with a token of `user` and these claims of ours.
fn path_of(user: &str, fanfare: &Value) -> String {
    let claims = json!({ "sub": user, "exp": 4_000_000_000_u32, "fanfare": fanfare });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    format!("/api/v1/ws?token={token}")
}

/// A connection from an address behind the proxy, and the first frame it is sent.
fn connect(gateway: &TestGateway, from: &str, path: &str) -> (Client, Value) {
    let mut client = Client::connect_with(
        gateway.address,
        path,
        &format!("X-Forwarded-For: {from}\r\n"),
    );
    let first = client.json();
    (client, first)
}

/// A connection that is let in.
fn enter(gateway: &TestGateway, from: &str, path: &str) -> Client {
    let (client, first) = connect(gateway, from, path);
    assert_eq!(first["type"], "connection_established", "{first}");
    client
}

/// A connection that is refused by the limit of this scope.
#[track_caller]
fn crowded(gateway: &TestGateway, from: &str, path: &str, limit: u64, scope: &str) {
    let (mut client, first) = connect(gateway, from, path);
    assert_eq!(first["type"], "error", "{first}");
    assert_eq!(first["code"], "CONNECTION_LIMIT_EXCEEDED");
    assert_eq!(first["details"], json!({ "limit": limit, "scope": scope }));
    assert!(first["timestamp"].is_string());
    assert_eq!(client.until_close(), Some(1008));
}

/// Tries until it is let in, at most until patience ends.
fn enter_at_last(gateway: &TestGateway, from: &str, path: &str) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (client, first) = connect(gateway, from, path);
        if first["type"] == "connection_established" {
            return client;
        }
        assert!(Instant::now() < deadline, "the place does not become free");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a metric has this value.
#[track_caller]
fn await_metric(address: SocketAddr, name: &str, value: u64) {
    let deadline = Instant::now() + PATIENCE;
    while metric(address, name) != value {
        let now = metric(address, name);
        assert!(Instant::now() < deadline, "{name} is {now}, not {value}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn limited(limit: &str) -> String {
    format!("limited_total{{reason=\"{limit}\"}}")
}

const PING: &[u8] = br#"{"type":"ping"}"#;

/// Sends `count` pings at once and counts the answers up to the error of the rate.
fn pongs_before_limit(client: &mut Client, count: usize) -> (usize, Value) {
    client.send_bytes(&frame(0x81, PING).repeat(count));
    for pongs in 0.. {
        let answer = client.json();
        if answer["type"] != "pong" {
            return (pongs, answer);
        }
    }
    unreachable!()
}

#[test]
fn the_101st_message_of_a_minute_is_dropped_and_answered() {
    let gateway = TestGateway::with(|config| config.clients.frames_per_minute = 100);
    let mut client = Client::events(gateway.address);
    let (pongs, error) = pongs_before_limit(&mut client, 110);
    assert_eq!(pongs, 100);
    assert_eq!(error["type"], "error");
    assert_eq!(error["code"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(error["message"], "Too many requests");
    assert_eq!(error["details"]["limit"], 100);
    assert_eq!(error["details"]["window"], "1m");
    let retry_after = error["details"]["retry_after"].as_u64().unwrap();
    assert!((1..=60).contains(&retry_after), "{error}");
    (0..9).for_each(|_| assert_eq!(client.json()["code"], "RATE_LIMIT_EXCEEDED"));
    // The connection stays, and control frames are no messages.
    client.send(0x89, b"still here");
    let next = client.next().unwrap();
    assert_eq!((next.first, &next.payload[..]), (0x8a, &b"still here"[..]));
    assert_eq!(metric(gateway.address, &limited("frames_per_minute")), 10);
    // A neighbour has a count of its own.
    let mut other = Client::events(gateway.address);
    other.send_bytes(&frame(0x81, PING).repeat(100));
    (0..100).for_each(|_| assert_eq!(other.json()["type"], "pong"));
}

#[test]
fn case_c3_each_dropped_message_is_answered_with_its_id_and_type() {
    let gateway = TestGateway::with(|config| config.clients.frames_per_minute = 2);
    for format in ["", "?format=msgpack"] {
        let mut client = Client::connect(gateway.address, &format!("/api/v1/ws/demo{format}"));
        let mut say = |text: &str| {
            let value: Value = serde_json::from_str(text).unwrap();
            if format.is_empty() {
                client.send(0x81, text.as_bytes());
            } else {
                client.send(0x82, &rmp_serde::to_vec(&value).unwrap());
            }
        };
        say(r#"{"type":"ping","id":1}"#);
        say(r#"{"type":"ping","id":2}"#);
        for text in [
            r#"{"type":"ping","id":3}"#,
            r#"{"type":"subscribe","events":["x"],"id":"four"}"#,
            r#"{"type":"no_such_type"}"#,
            r#"{"type":5,"id":null}"#,
            r#"[1]"#,
            r#"{"type":"batch","messages":[{"type":"ping","id":5},{"type":"query","id":6},7]}"#,
            r#"{"type":"batch","id":8,"messages":[{"type":"ping","id":9}]}"#,
            r#"{"type":"batch","id":10}"#,
        ] {
            say(text);
        }
        let mut next = || -> Value {
            let frame = client.next().expect("an answer");
            if format.is_empty() {
                serde_json::from_slice(&frame.payload).unwrap()
            } else {
                rmp_serde::from_slice(&frame.payload).unwrap()
            }
        };
        assert_eq!(next()["type"], "connection_established");
        assert_eq!(
            (next()["id"].clone(), next()["id"].clone()),
            (json!(1), json!(2))
        );
        for (id, kind) in [
            (json!(3), json!("ping")),
            (json!("four"), json!("subscribe")),
            (Value::Null, json!("no_such_type")),
            (Value::Null, Value::Null),
            (Value::Null, Value::Null),
            (json!(5), json!("ping")),
            (json!(6), json!("query")),
            (Value::Null, Value::Null),
            (json!(9), json!("ping")),
            (json!(8), json!("batch")),
            (json!(10), json!("batch")),
        ] {
            let answer = next();
            assert_eq!(answer["type"], "error", "{answer}");
            assert_eq!(answer["code"], "RATE_LIMIT_EXCEEDED", "{answer}");
            assert_eq!(answer["message"], "Too many requests", "{answer}");
            assert_eq!(
                answer.get("id"),
                Some(&id).filter(|id| !id.is_null()),
                "{answer}"
            );
            assert_eq!(answer["details"]["type"], kind, "{answer}");
            assert_eq!(answer["details"]["limit"], 2, "{answer}");
            assert_eq!(answer["details"]["window"], "1m", "{answer}");
            let retry_after = answer["details"]["retry_after"].as_u64().unwrap();
            assert!((1..=60).contains(&retry_after), "{answer}");
            assert!(answer["timestamp"].is_string(), "{answer}");
        }
        assert!(client.is_silent(Duration::from_millis(100)));
    }
}

#[test]
fn case_c3_who_takes_no_answers_is_not_read_from_and_has_them_all_at_last() {
    const COUNT: u64 = 20_000;
    let gateway = TestGateway::with(|config| {
        config.server.shards = 1;
        config.clients.frames_per_minute = 1;
        config.clients.max_rate_excess = 0;
        config.hub.outbox_max_messages = 20;
        config.server.send_buffer = 32 * 1024;
    });
    let mut client = Client::events(gateway.address);
    SockRef::from(&client.stream)
        .set_recv_buffer_size(16 * 1024)
        .unwrap();
    let mut writer = client.stream.try_clone().unwrap();
    let flood = thread::spawn(move || {
        for first in (0..COUNT).step_by(50) {
            let one = |id| format!(r#"{{"type":"ping","id":{id}}}"#);
            let many: Vec<String> = (first..first + 50).map(one).collect();
            let batch = format!(r#"{{"type":"batch","messages":[{}]}}"#, many.join(","));
            writer.write_all(&frame(0x81, batch.as_bytes())).unwrap();
        }
    });
    // The sender gets stuck, and nobody else does.
    thread::sleep(Duration::from_millis(500));
    let read_so_far = metric(gateway.address, "errors_sent_total");
    assert!(read_so_far < COUNT / 2, "{read_so_far}");
    let mut other = Client::events(gateway.address);
    other.send(0x81, PING);
    assert_eq!(other.json()["type"], "pong");
    for id in 0..COUNT {
        // The first batch is taken, which the limit of one feels afterwards.
        let answer = client.json();
        assert_eq!(answer["id"], id, "{answer}");
        assert_eq!(answer["type"] == "error", id >= 50, "{answer}");
    }
    flood.join().unwrap();
}

#[test]
fn case_c3_nothing_is_answered_before_the_greeting() {
    let gateway = TestGateway::with(|config| {
        behind_proxy(config);
        config.server.shards = 4;
        config.clients.frames_per_minute_per_ip = 1;
    });
    let _first = enter(&gateway, "192.0.2.1", "/api/v1/ws/demo");
    for number in 0..20 {
        let head = "GET /api/v1/ws/demo HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut stream = Socket::connect(gateway.address).unwrap();
        let early = [head.as_bytes(), &frame(0x81, PING)].concat();
        stream.write_all(&early).unwrap();
        let mut client = Client::answered(stream).expect("the upgrade succeeds");
        assert_eq!(client.json()["type"], "connection_established", "{number}");
        let expected = if number == 0 { "pong" } else { "error" };
        assert_eq!(client.json()["type"], expected, "{number}");
    }
}

const RATE_EXCEEDED: &str = "disconnects_total{reason=\"rate_exceeded\"}";

/// An offer of compression in which no message refers to earlier ones.
const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// A message that says it is compressed and is not.
fn corrupt() -> Vec<u8> {
    frame(0xc1, &[0xff; 20])
}

#[test]
fn r11_who_stays_far_beyond_its_rate_is_closed_and_its_last_message_is_not_inflated() {
    let gateway = TestGateway::with(|config| {
        config.clients.frames_per_minute = 2;
        config.clients.max_rate_excess = 3;
        config.websocket.deflate_min_size = 1 << 20;
    });
    let mut client = Client::connect_with(gateway.address, "/api/v1/ws/demo", DEFLATE);
    assert_eq!(client.json()["type"], "connection_established");
    for id in 0..8 {
        client.say(&json!({ "type": "ping", "id": id }));
    }
    client.send_bytes(&corrupt());
    for id in 0..8 {
        let answer = client.json();
        assert_eq!(answer["id"], id, "{answer}");
        assert_eq!(answer["type"] == "error", id >= 2, "{answer}");
    }
    let close = client.next().expect("a close frame");
    assert_eq!(close.close_code(), Some(1008));
    assert_eq!(&close.payload[2..], b"Too many messages beyond the rate");
    assert_eq!(metric(gateway.address, RATE_EXCEEDED), 1);
    assert_eq!(metric(gateway.address, &limited("frames_per_minute")), 7);
}

#[test]
fn r11_who_goes_on_sending_when_it_is_closed_is_not_read_from() {
    let gateway = TestGateway::with(|config| {
        config.clients.frames_per_minute = 1;
        config.clients.max_rate_excess = 1;
    });
    let mut client = Client::events(gateway.address);
    client.send_bytes(&frame(0x81, PING).repeat(3));
    let timeout = Some(Duration::from_millis(500));
    client.stream.set_write_timeout(timeout).unwrap();
    let flood = frame(0x81, PING).repeat(5000);
    let mut sent = 0;
    while sent < 64 << 20 && client.stream.write_all(&flood).is_ok() {
        sent += flood.len();
    }
    // What is thrown away, and what sockets hold.
    assert!(sent < 32 << 20, "{sent} bytes");
    assert_eq!(client.until_close(), Some(1008));
}

#[test]
fn r11_messages_of_a_dropped_batch_count_as_dropped() {
    let gateway = TestGateway::with(|config| {
        config.clients.frames_per_minute = 1;
        config.clients.max_rate_excess = 10;
    });
    let mut client = Client::events(gateway.address);
    client.send(0x81, PING);
    let batch = json!({ "type": "batch", "messages": vec![json!({ "type": "ping" }); 9] });
    client.say(&batch);
    client.send_bytes(&frame(0x81, PING).repeat(2));
    assert_eq!(client.json()["type"], "pong");
    (0..10).for_each(|_| assert_eq!(client.json()["code"], "RATE_LIMIT_EXCEEDED"));
    assert_eq!(client.until_close(), Some(1008));
}

#[test]
fn r11_an_address_far_beyond_its_rate_is_answered_unread() {
    let gateway = TestGateway::with(|config| {
        behind_proxy(config);
        config.clients.frames_per_minute_per_ip = 1;
        config.clients.max_rate_excess = 5;
        config.websocket.deflate_client_contexts = true;
        config.websocket.deflate_min_size = 1 << 20;
    });
    // Its connections come and go, and each sends little.
    let mut first = enter(&gateway, "192.0.2.1", "/api/v1/ws/demo");
    first.send_bytes(&frame(0x81, PING).repeat(4));
    assert_eq!(first.json()["type"], "pong");
    (0..3).for_each(|_| assert_eq!(first.json()["details"]["type"], "ping"));
    let connect = |offer: &str| {
        let headers = format!(
            "X-Forwarded-For: 192.0.2.1\r\nSec-WebSocket-Extensions: permessage-deflate{offer}\r\n"
        );
        let mut client = Client::connect_with(gateway.address, "/api/v1/ws/demo", &headers);
        assert_eq!(client.json()["type"], "connection_established");
        client
    };
    let mut second = connect("; client_no_context_takeover");
    second.send_bytes(&frame(0x81, br#"{"type":"ping","id":1}"#).repeat(3));
    second.send_bytes(&corrupt());
    for is_read in [true, true, false, false] {
        let answer = second.json();
        assert_eq!(answer["code"], "RATE_LIMIT_EXCEEDED", "{answer}");
        assert_eq!(answer["id"] == 1, is_read, "{answer}");
        assert_eq!(answer["details"]["type"] == "ping", is_read, "{answer}");
        assert_eq!(answer["details"]["limit"], 1, "{answer}");
    }
    // Where later messages may refer to this one, it cannot be passed over.
    let mut third = connect("");
    third.send_bytes(&corrupt());
    assert_eq!(third.until_close(), Some(1008));
    assert_eq!(metric(gateway.address, RATE_EXCEEDED), 1);
    // Another address has a rate of its own.
    let mut other = enter(&gateway, "192.0.2.2", "/api/v1/ws/demo");
    other.send(0x81, PING);
    assert_eq!(other.json()["type"], "pong");
}

#[test]
fn a_dropped_message_does_nothing() {
    let gateway = TestGateway::with(|config| config.clients.frames_per_minute = 2);
    let mut client = Client::events(gateway.address);
    client.subscribe(&["x"]);
    let publish = frame(0x81, br#"{"type":"publish","event":"x","data":1}"#);
    client.send_bytes(&publish.repeat(3));
    let mut types = [(); 3].map(|()| client.json()["type"].clone());
    types.sort_by_key(ToString::to_string);
    assert_eq!(types, ["error", "error", "event"]);
    assert!(client.is_silent(Duration::from_millis(100)));
    assert_eq!(metric(gateway.address, "publications_total"), 1);
}

#[test]
fn a_token_may_carry_its_own_rate() {
    let gateway = TestGateway::in_mode(Mode::Prod, behind_proxy);
    for (claims, expected) in [
        (json!({ "frames_per_minute": 3 }), 3),
        (json!({ "frames_per_minute": 150 }), 150),
        (json!({}), 100),
    ] {
        let mut client = enter(&gateway, "192.0.2.1", &path_of("alice", &claims));
        let (pongs, error) = pongs_before_limit(&mut client, expected + 1);
        assert_eq!(
            (pongs, &error["details"]["limit"]),
            (expected, &json!(expected))
        );
    }
    let mut unlimited = enter(
        &gateway,
        "192.0.2.1",
        &path_of("alice", &json!({ "frames_per_minute": 0 })),
    );
    unlimited.send_bytes(&frame(0x81, PING).repeat(400));
    (0..400).for_each(|_| assert_eq!(unlimited.json()["type"], "pong"));
}

#[test]
fn all_connections_of_an_address_share_its_rate_on_all_shards() {
    let gateway = TestGateway::with(|config| {
        behind_proxy(config);
        config.server.shards = 2;
        config.clients.frames_per_minute_per_ip = 40;
    });
    let mut others = enter(&gateway, "192.0.2.2", "/api/v1/ws/demo");
    for round in 0..5 {
        // Some leave and come back, which gains them nothing.
        let mut client = enter(&gateway, "192.0.2.1", "/api/v1/ws/demo");
        if round < 4 {
            client.send_bytes(&frame(0x81, PING).repeat(10));
            (0..10).for_each(|_| assert_eq!(client.json()["type"], "pong"));
        } else {
            let (pongs, error) = pongs_before_limit(&mut client, 5);
            assert_eq!((pongs, &error["code"]), (0, &json!("RATE_LIMIT_EXCEEDED")));
            assert_eq!(error["details"]["limit"], 40);
            // Each connection is told, each time.
            let mut late = enter(&gateway, "192.0.2.1", "/api/v1/ws/demo");
            assert_eq!(pongs_before_limit(&mut late, 5).0, 0);
            (0..4).for_each(|_| assert_eq!(late.json()["code"], "RATE_LIMIT_EXCEEDED"));
            assert!(late.is_silent(Duration::from_millis(100)));
        }
    }
    others.send(0x81, PING);
    assert_eq!(others.json()["type"], "pong");
    assert_eq!(
        metric(gateway.address, &limited("frames_per_minute_per_ip")),
        10
    );
}

#[test]
fn an_endpoint_family_that_is_full_says_503_and_when_to_come_back() {
    let gateway = TestGateway::with(|config| config.clients.max_connections = 2);
    let first = Client::events(gateway.address);
    let _second = Client::events(gateway.address);
    for path in ["/api/v1/ws", "/api/v1/ws/dev", "/api/v1/ws/demo"] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = request(gateway.address, head.as_bytes());
        assert_eq!((answer.status, answer.closed), (503, true), "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    // Other endpoints are not of the family.
    Client::echo(gateway.address);
    assert_eq!(metric(gateway.address, &limited("max_connections")), 3);
    drop(first);
    await_metric(gateway.address, "events_connections", 1);
    Client::events(gateway.address);
}

#[test]
fn a_users_sixth_connection_is_told_why_and_closed() {
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        behind_proxy(config);
        config.server.shards = 2;
        config.clients.max_connections_per_user = 5;
    });
    let (alice, bob) = (path_of("alice", &json!({})), path_of("bob", &json!({})));
    // From addresses all over the world.
    let from = |number: usize| format!("192.0.2.{number}");
    let mut hers: Vec<Client> = (0..5)
        .map(|number| enter(&gateway, &from(number), &alice))
        .collect();
    crowded(&gateway, &from(9), &alice, 5, "user");
    crowded(&gateway, &from(0), &alice, 5, "user");
    enter(&gateway, &from(0), &bob);
    drop(hers.pop());
    hers.push(enter_at_last(&gateway, &from(9), &alice));
    assert!(metric(gateway.address, &limited("max_connections_per_user")) >= 2);
    assert!(
        metric(
            gateway.address,
            "disconnects_total{reason=\"connection_limit\"}"
        ) >= 2
    );
}

#[test]
fn r08_connections_of_an_address_beyond_the_limit_are_told_why_and_ipv6_counts_by_network() {
    let gateway = TestGateway::with(|config| {
        behind_proxy(config);
        config.server.shards = 2;
        config.clients.max_connections_per_ip = 2;
    });
    let demo = "/api/v1/ws/demo";
    let v4 = [
        enter(&gateway, "192.0.2.1", demo),
        enter(&gateway, "::ffff:192.0.2.1", demo),
    ];
    crowded(&gateway, "192.0.2.1", demo, 2, "ip");
    let _v6 = [
        enter(&gateway, "2001:db8::1", demo),
        enter(&gateway, "2001:db8::ffff:2:3:4", demo),
    ];
    crowded(&gateway, "2001:db8::5", demo, 2, "ip");
    enter(&gateway, "2001:db8:0:1::1", demo);
    assert_eq!(
        metric(gateway.address, &limited("max_connections_per_ip")),
        2
    );
    drop(v4);
    enter_at_last(&gateway, "192.0.2.1", demo);
}

#[test]
fn who_shows_no_valid_token_takes_nobodys_place() {
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        behind_proxy(config);
        config.clients.max_connections_per_ip = 1;
        config.clients.max_connections = 2;
        // Those who were refused do not leave.
        config.websocket.close_timeout = Duration::from_secs(60);
    });
    let refused: Vec<_> = (0..5)
        .map(|_| connect(&gateway, "192.0.2.1", "/api/v1/ws?token=x"))
        .collect();
    assert!(
        refused
            .iter()
            .all(|(_, first)| first["code"] == "AUTHENTICATION_FAILED")
    );
    enter(&gateway, "192.0.2.1", &path_of("alice", &json!({})));
}

#[test]
fn r08_the_counts_equal_the_truth_after_clients_come_and_go_as_they_like() {
    let gateway = TestGateway::with(|config| {
        behind_proxy(config);
        config.server.shards = 2;
        config.clients.max_connections = 12;
        config.clients.max_connections_per_ip = 4;
        config.clients.max_connections_per_user = 3;
        config.clients.frames_per_minute_per_ip = 1_000_000;
        config.websocket.close_timeout = Duration::from_millis(200);
    });
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) as usize % limit
    };
    let mut open: Vec<Client> = Vec::new();
    let tokens: Vec<String> = (0..4)
        .map(|user| path_of(&format!("user{user}"), &json!({})))
        .collect();
    for _ in 0..500 {
        if below(5) < 3 && open.len() < 12 {
            let head = format!(
                "GET {} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Forwarded-For: 192.0.2.{}\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                tokens[below(4)],
                below(4)
            );
            let mut stream = Socket::connect(gateway.address).unwrap();
            match below(4) {
                // Killed in the middle of its request, or before the answer.
                0 => stream
                    .write_all(&head.as_bytes()[..below(head.len())])
                    .unwrap(),
                1 => stream.write_all(head.as_bytes()).unwrap(),
                _ => {
                    stream.write_all(head.as_bytes()).unwrap();
                    open.extend(Client::answered(stream));
                    continue;
                }
            }
            if below(2) == 0 {
                SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        } else if !open.is_empty() {
            let at = below(open.len());
            let mut client = open.swap_remove(at);
            match below(4) {
                0 => client.send(0x88, &1000_u16.to_be_bytes()),
                1 => client.send(0x83, b"no such frame"),
                2 => client.send_bytes(&frame(0x81, PING)[..5]),
                _ => SockRef::from(&client.stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap(),
            }
        }
    }
    drop(open);
    for gauge in [
        "events_connections",
        "events_addresses",
        "events_users",
        "connections",
    ] {
        await_metric(gateway.address, gauge, 0);
    }
    // Every place is there again, and not one more.
    let _full: Vec<Client> = (0..12)
        .map(|number| {
            enter(
                &gateway,
                &format!("192.0.2.{}", number % 3),
                &tokens[number / 3],
            )
        })
        .collect();
    await_metric(gateway.address, "events_connections", 12);
    await_metric(gateway.address, "events_addresses", 3);
    await_metric(gateway.address, "events_users", 4);
}

#[test]
fn r04_a_frozen_peer_is_dropped_and_its_place_is_free() {
    let gateway = TestGateway::with(|config| {
        behind_proxy(config);
        config.clients.max_connections_per_ip = 1;
        config.websocket.ping_interval = Duration::from_millis(200);
        config.websocket.ping_timeout = Duration::from_millis(300);
    });
    // Its kernel acknowledges everything; it reads nothing and answers nothing.
    let mut frozen = enter(&gateway, "192.0.2.1", "/api/v1/ws/demo");
    frozen.subscribe(&["x"]);
    let _instead = enter_at_last(&gateway, "192.0.2.1", "/api/v1/ws/demo");
    assert!(metric(gateway.address, "disconnects_total{reason=\"silent\"}") >= 1);
    await_metric(gateway.address, "subscriptions", 0);
}

fn publish_over_http(
    address: SocketAddr,
    headers: &str,
    path: &str,
    body: &str,
) -> (u16, Option<u64>) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let answer = request(address, head.as_bytes());
    let retry_after = answer
        .header("retry-after")
        .and_then(|value| value.parse().ok());
    (answer.status, retry_after)
}

#[test]
fn a_publisher_over_http_has_a_rate_of_its_own() {
    let gateway = TestGateway::with(|config| {
        behind_proxy(config);
        config.clients.publishes_per_minute = 3;
    });
    let one = r#"{"event":"x","data":1}"#;
    let post = |from: &str, path: &str, body: &str| {
        publish_over_http(
            gateway.address,
            &format!("X-Forwarded-For: {from}\r\n"),
            path,
            body,
        )
    };
    let (single, batch) = ("/api/v1/events", "/api/v1/events/batch");
    assert_eq!(post("192.0.2.1", single, one).0, 202);
    // What is refused as a request does not count.
    assert_eq!(post("192.0.2.1", single, "{}").0, 422);
    // All of them or none.
    assert_eq!(
        post("192.0.2.1", batch, &format!("[{one},{one},{one}]")).0,
        429
    );
    assert_eq!(post("192.0.2.1", batch, &format!("[{one},{one}]")).0, 202);
    let (status, retry_after) = post("192.0.2.1", single, one);
    assert_eq!(status, 429);
    assert!(
        retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)),
        "{retry_after:?}"
    );
    assert_eq!(post("192.0.2.2", single, one).0, 202);
    assert_eq!(
        post("192.0.2.3", batch, &format!("[{one},{one},{one},{one}]")).0,
        413
    );
    assert_eq!(metric(gateway.address, "publications_total"), 4);
    assert_eq!(metric(gateway.address, &limited("publishes_per_minute")), 2);
}

#[test]
fn services_are_counted_by_their_credentials() {
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = Secret::new(SECRET);
        config.clients.publishes_per_minute = 1;
    });
    let token = |user: &str| {
        let claims = json!({ "sub": user, "role": "service", "exp": 4_000_000_000_u32 });
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let post = |token: &str| {
        let headers = format!("Authorization: Bearer {token}\r\n");
        publish_over_http(
            gateway.address,
            &headers,
            "/api/v1/events",
            r#"{"event":"x","data":1}"#,
        )
        .0
    };
    assert_eq!(post(&token("billing")), 202);
    assert_eq!(post(&token("billing")), 429);
    assert_eq!(post(&token("orders")), 202);
    assert_eq!(post("nobody"), 401);
}

#[test]
fn m04_each_size_and_number_is_exact() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    // Names: 128 bytes and one more.
    let (longest, too_long) = ("n".repeat(128), "n".repeat(129));
    let answer = client.subscribe(&[&longest, &too_long]);
    assert_eq!(
        (&answer["events"], &answer["rejected"]),
        (&json!([longest]), &json!([too_long]))
    );
    client.say(&json!({ "type": "publish", "id": 1, "event": too_long, "data": 1 }));
    assert_eq!(client.json()["code"], "INVALID_MESSAGE");
    assert_eq!(metric(gateway.address, &limited("name_size")), 2);
    // Subscriptions: 50 and one more.
    let names: Vec<String> = (1..50).map(|number| format!("t.{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(client.subscribe(&names)["rejected"].is_null());
    assert_eq!(client.subscribe(&["t.50"])["rejected"], json!(["t.50"]));
    let error = client.json();
    assert_eq!(error["code"], "SUBSCRIPTION_LIMIT");
    assert_eq!(metric(gateway.address, &limited("max_subscriptions")), 1);
    // What there is already is not counted again.
    assert!(client.subscribe(&["t.1"])["rejected"].is_null());
    // Messages: 65,536 bytes and one more.
    let padded = |len: usize| {
        let mut text = PING.to_vec();
        text.resize(len, b' ');
        text
    };
    client.send(0x81, &padded(65_536));
    assert_eq!(client.json()["type"], "pong");
    client.send(0x81, b"");
    assert_eq!(client.json()["code"], "INVALID_JSON");
    client.send(0x81, &padded(65_537));
    assert_eq!(client.until_close(), Some(1009));
    assert_eq!(metric(gateway.address, &limited("max_message_size")), 1);
}

#[test]
fn m04_topics_are_limited_and_the_refusal_is_counted() {
    let gateway = TestGateway::with(|config| config.hub.max_topics = 10);
    let mut client = Client::events(gateway.address);
    let names: Vec<String> = (0..11).map(|number| format!("t.{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // The gateway may need some for itself.
    let rejected = client.subscribe(&names)["rejected"].clone();
    assert!(
        rejected
            .as_array()
            .is_some_and(|rejected| rejected.len() < 4),
        "{rejected}"
    );
    assert_eq!(client.json()["code"], "TOPIC_LIMIT");
    client.say(&json!({ "type": "publish", "id": 1, "event": "c", "data": 1 }));
    assert_eq!(client.json()["code"], "TOPIC_LIMIT");
    assert_eq!(metric(gateway.address, &limited("max_topics")), 2);
}

/// Floods the gateway with `bytes` from several connections until `stop`.
fn flood(
    address: SocketAddr,
    bytes: Vec<u8>,
    stop: &Arc<AtomicBool>,
) -> Vec<thread::JoinHandle<()>> {
    let flood = |_| {
        let (bytes, stop) = (bytes.clone(), stop.clone());
        let client = Client::events(address);
        let mut writer = client.stream.try_clone().unwrap();
        let mut reader = client.stream;
        thread::spawn(move || {
            let reading = thread::spawn(move || {
                let _ = std::io::copy(&mut reader, &mut std::io::sink());
            });
            while !stop.load(Ordering::SeqCst) && writer.write_all(&bytes).is_ok() {}
            let _ = writer.shutdown(std::net::Shutdown::Both);
            reading.join().unwrap();
        })
    };
    (0..4).map(flood).collect()
}

#[test]
fn r11_a_flood_of_legal_messages_stops_nobody_else() {
    let gateway = TestGateway::start();
    let stop = Arc::new(AtomicBool::new(false));
    let floods = flood(gateway.address, frame(0x81, PING).repeat(2000), &stop);
    let mut canary = Client::events(gateway.address);
    canary.subscribe(&["canary"]);
    for number in 0..50 {
        canary.say(&json!({ "type": "publish", "event": "canary", "data": number }));
        assert_eq!(canary.json()["data"], number);
    }
    stop.store(true, Ordering::SeqCst);
    floods.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Canaries publish to themselves while others flood a topic with subscribers.
fn canaries_sing_in_a_flood(shards: usize, canaries: usize, rounds: usize) {
    let gateway = TestGateway::with(|config| config.server.shards = shards);
    let address = gateway.address;
    let mut canaries: Vec<Client> = (0..canaries).map(|_| Client::events(address)).collect();
    for (index, canary) in canaries.iter_mut().enumerate() {
        canary.subscribe(&[&format!("canary.{index}")]);
    }
    let sinks: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Client::events(address);
            client.subscribe(&["flood"]);
            let writer = client.stream.try_clone().unwrap();
            let mut reader = client.stream;
            let sink = thread::spawn(move || {
                let _ = std::io::copy(&mut reader, &mut std::io::sink());
            });
            (writer, sink)
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let publish = frame(
        0x81,
        br#"{"type":"publish","event":"flood","data":"0123456789"}"#,
    );
    let floods = flood(address, publish.repeat(500), &stop);
    let deadline = Instant::now() + PATIENCE;
    while metric(address, "publications_total") < 5000 {
        assert!(Instant::now() < deadline, "there is no flood");
    }
    for round in 0..rounds {
        for (index, canary) in canaries.iter_mut().enumerate() {
            canary.say(
                &json!({ "type": "publish", "event": format!("canary.{index}"), "data": round }),
            );
        }
        for canary in &mut canaries {
            assert_eq!(canary.json()["data"], round);
        }
    }
    stop.store(true, Ordering::SeqCst);
    floods.into_iter().for_each(|thread| thread.join().unwrap());
    for (writer, sink) in sinks {
        let _ = writer.shutdown(std::net::Shutdown::Both);
        sink.join().unwrap();
    }
}

#[test]
fn m09_a_flood_of_publications_does_not_stop_other_topics() {
    canaries_sing_in_a_flood(1, 4, 5);
}

#[test]
fn m09_a_flood_across_shards_does_not_stop_other_topics() {
    canaries_sing_in_a_flood(2, 8, 1);
}

#[test]
fn publishers_go_on_when_another_shard_has_room_again() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    // The shard is a part of the name that a connection is given.
    let mut connections: Vec<(bool, Client)> = (0..24)
        .map(|_| {
            let mut client = Client::connect(gateway.address, "/api/v1/ws/demo");
            let greeting = client.json();
            let is_first = greeting["client_id"]
                .as_str()
                .unwrap()
                .starts_with("demo_0-");
            (is_first, client)
        })
        .collect();
    let (publishers, subscribers): (Vec<_>, Vec<_>) =
        connections.drain(..).partition(|(is_first, _)| *is_first);
    let topics: Vec<String> = (0..8).map(|number| format!("across.{number}")).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    for (_, mut client) in subscribers {
        client.subscribe(&names);
        thread::spawn(move || std::io::copy(&mut client.stream, &mut std::io::sink()));
    }
    let threads: Vec<_> = publishers
        .into_iter()
        .zip(topics.into_iter().cycle())
        .map(|((_, mut client), topic)| {
            thread::spawn(move || {
                let text = format!(
                    r#"{{"type":"publish","event":"{topic}","data":"{}"}}"#,
                    "x".repeat(500)
                );
                let bytes = frame(0x81, text.as_bytes()).repeat(200);
                for _ in 0..10 {
                    client.send_bytes(&bytes);
                }
                client.say(&json!({ "type": "ping", "id": "done" }));
                assert_eq!(client.json()["id"], "done");
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn m07_subscriptions_to_homes_that_are_behind_wait_and_all_are_confirmed() {
    let gateway = TestGateway::with(|config| {
        config.server.shards = 2;
        config.clients.max_subscriptions = 100_000;
    });
    let threads: Vec<_> = (0..4)
        .map(|index| {
            let mut client = Client::events(gateway.address);
            let mut reader = Client::reading(client.stream.try_clone().unwrap());
            thread::spawn(move || {
                // Asked without waiting for the answers: topics, patterns, and back again.
                let rounds = 12;
                let writing = thread::spawn(move || {
                    for round in 0..rounds {
                        let names: Vec<String> = (0..200)
                            .map(|n| format!("c{index}.r{round}.t{n}"))
                            .collect();
                        let globs: Vec<String> = (0..3)
                            .map(|n| format!("c{index}.r{round}.g{n}.*"))
                            .collect();
                        client.say(&json!({ "type": "subscribe", "id": round, "events": names }));
                        client.say(&json!({ "type": "subscribe", "id": round, "events": globs }));
                        client.say(&json!({ "type": "unsubscribe", "id": round }));
                    }
                    client
                });
                for _ in 0..rounds {
                    let mut sizes = [0, 0, 0];
                    for size in &mut sizes {
                        let answer = reader.json();
                        *size = answer["events"]
                            .as_array()
                            .unwrap_or_else(|| panic!("{answer}"))
                            .len();
                    }
                    sizes.sort_unstable();
                    // Confirmations may overtake each other, and none is missing.
                    assert!(
                        sizes.iter().all(|size| [3, 200, 203].contains(size)),
                        "{sizes:?}"
                    );
                }
                drop(writing.join().unwrap());
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    await_metric(gateway.address, "subscriptions", 0);
    await_metric(gateway.address, "topics", 0);
}

#[test]
fn m07_a_flood_of_subscriptions_gives_its_memory_back() {
    let process = Process::with(
        &["--shards", "2"],
        &[
            ("FANFARE_EVENTS__MAX_SUBSCRIPTIONS", "100000"),
            ("FANFARE_SERVER__PIN_THREADS", "false"),
        ],
    );
    let mut client = Client::events(process.address);
    let mut cycle = |number: usize| {
        for part in 0..4 {
            let names: Vec<String> = (0..1000)
                .map(|n| format!("cycle{number}.part{part}.topic{n}"))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert!(client.subscribe(&names)["rejected"].is_null());
        }
        client.say(&json!({ "type": "unsubscribe" }));
        assert_eq!(client.json()["type"], "unsubscription_confirmed");
        await_metric(process.address, "topics", 0);
        process.rss()
    };
    let first = cycle(0);
    (1..4).map(&mut cycle).for_each(drop);
    // Homes keep what they know of a topic for a minute or two, and the allocator
    // gives pages back when it is asked to, once a second.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let growth = process.rss().saturating_sub(first);
        if growth < 24 << 20 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{growth} bytes more after 12,000 topics more"
        );
        thread::sleep(Duration::from_millis(100));
    }
}
