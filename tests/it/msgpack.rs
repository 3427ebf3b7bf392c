//! The events protocol in MessagePack, read and written by another implementation.

use serde_json::{Value, json};

use crate::support::{Client, TestGateway, request};

/// A client that speaks MessagePack only.
struct Packed(Client);

impl Packed {
    fn connect(gateway: &TestGateway, path: &str) -> Self {
        let mut client = Self(Client::connect(gateway.address, path));
        assert_eq!(client.json()["type"], "connection_established");
        client
    }

    fn start(gateway: &TestGateway) -> Self {
        Self::connect(gateway, "/api/v1/ws/demo?format=msgpack")
    }

    fn say(&mut self, value: &Value) {
        self.0.send(0x82, &rmp_serde::to_vec(value).unwrap());
    }

    fn json(&mut self) -> Value {
        let frame = self.0.next().expect("a frame, not the end");
        assert_eq!(frame.first, 0x82, "a whole binary frame: {frame:?}");
        rmp_serde::from_slice(&frame.payload).expect("MessagePack")
    }

    fn ask(&mut self, value: &Value) -> Value {
        self.say(value);
        self.json()
    }

    fn check_error(&mut self, bytes: &[u8], why: &str) {
        self.0.send(0x82, bytes);
        let error = self.json();
        assert_eq!(error["code"], "INVALID_MESSAGE", "{bytes:x?}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(why), "{bytes:x?}: {message}");
        assert_eq!(self.ask(&json!({"type": "ping"}))["type"], "pong");
    }
}

#[test]
fn every_request_is_answered_as_in_json() {
    let gateway = TestGateway::start();
    let mut packed = Packed::connect(&gateway, "/api/v1/ws/dev?format=msgpack&token=dev");
    let mut plain = Client::connect(gateway.address, "/api/v1/ws/dev?format=json");
    plain.json();
    for request in [
        json!({"type": "ping", "id": 1, "timestamp": 1_700_000_000_123_u64}),
        json!({"type": "ping", "id": "é\u{0}\"", "timestamp": "2026-11-21T07:34:31.5"}),
        json!({"type": "ping", "id": 18_446_744_073_709_551_615_u64}),
        json!({"type": "ping", "id": i64::MIN}),
        json!({"type": "ping", "id": 1.5}),
        json!({"type": "heartbeat"}),
        json!({"type": "subscribe", "events": ["a", "b.*", "bad name"], "id": 2}),
        json!({"type": "unsubscribe"}),
        json!({"type": "query", "params": {"query": "connections"}}),
        json!({"type": "query", "params": {"query": "nothing"}}),
        json!({"type": "query", "data": {"query_type": "agent_status"}}),
        json!({"type": "command", "command": "echo", "params": {"deep": [[{"x": [null, true, -1.25]}]]}}),
        json!({"type": "agent_command", "data": {"command": "stop", "agent_id": "a"}}),
        json!({"type": "other", "data": vec![1; 40], "map": {"k": "x".repeat(300)}}),
        json!({"type": "subscribe"}),
        json!({"type": 5}),
        json!([]),
        json!("text"),
        json!({}),
    ] {
        plain.say(&request);
        let (mut got, mut expected) = (packed.ask(&request), plain.json());
        for answer in [&mut got, &mut expected] {
            if let Some(ms) = answer.pointer_mut("/topics/b.*/offset") {
                assert!(ms.is_u64());
                *ms = json!(0);
            }
            let fields = answer.as_object_mut().unwrap();
            assert!(fields.remove("timestamp").unwrap().is_string());
            if let Some(data) = fields.get_mut("data").and_then(Value::as_object_mut) {
                data.remove("timestamp");
            }
        }
        assert_eq!(got, expected, "{request}");
    }
}

#[test]
fn events_reach_both_formats_and_say_the_same() {
    for shards in [1, 3] {
        let gateway = TestGateway::with(|config| config.server.shards = shards);
        let mut packed: Vec<Packed> = (0..4).map(|_| Packed::start(&gateway)).collect();
        let mut plain: Vec<Client> = (0..4).map(|_| Client::events(gateway.address)).collect();
        for client in &mut packed {
            let answer = client.ask(&json!({"type": "subscribe", "events": ["t.*", "t.1"]}));
            assert_eq!(answer["events"], json!(["t.*", "t.1"]));
        }
        for client in &mut plain {
            client.subscribe(&["t.1"]);
        }
        for (number, data) in [
            json!(null),
            json!({"a": [1, -1, 0.5, "é", {"b": {}}], "n": u64::MAX}),
            json!("x".repeat(40_000)),
            json!((0..1000).collect::<Vec<u32>>()),
        ]
        .into_iter()
        .enumerate()
        {
            let publish = json!({"type": "publish", "event": "t.1", "data": data});
            if number % 2 == 0 {
                packed[0].say(&publish);
            } else {
                plain[0].say(&publish);
            }
            let expected = plain[0].json();
            assert_eq!(expected["data"], data);
            assert!(
                plain[1..]
                    .iter_mut()
                    .all(|client| client.json() == expected)
            );
            for client in &mut packed {
                assert_eq!(client.json(), expected);
            }
        }
    }
}

#[test]
fn a_pattern_brings_back_what_was_missed() {
    for shards in [1, 3] {
        let gateway = TestGateway::with(|config| config.server.shards = shards);
        let subscribe = json!({"type": "subscribe", "events": ["t.*"]});
        let recover = Packed::start(&gateway).ask(&subscribe)["topics"].clone();
        let publish = json!({"type": "publish", "event": "t.1", "data": 5, "id": 1});
        assert_eq!(Packed::start(&gateway).ask(&publish)["type"], "response");
        let mut client = Packed::start(&gateway);
        let subscribe = json!({"type": "subscribe", "events": ["t.*"], "recover": recover});
        let topics = client.ask(&subscribe)["topics"].clone();
        assert_eq!(topics["t.*"]["recovered"], true);
        assert_eq!(topics["t.1"]["count"], 1);
        assert_eq!(client.json()["data"], 5);
    }
}

#[test]
fn data_that_only_json_can_say_is_told_as_nearly_as_possible() {
    let gateway = TestGateway::start();
    let mut packed = Packed::start(&gateway);
    packed.ask(&json!({"type": "subscribe", "events": ["t"]}));
    let mut plain = Client::events(gateway.address);
    let mut data = |text: &str| {
        let publish = format!(r#"{{"type":"publish","event":"t","data":{text}}}"#);
        plain.send(0x81, publish.as_bytes());
        packed.0.next().unwrap().payload
    };
    let has = |payload: &[u8], bytes: &[u8]| payload.windows(bytes.len()).any(|part| part == bytes);
    // Half a surrogate pair, an integer beyond 64 bits, a float beyond its range, -0.
    assert!(has(&data(r#""\ud83d""#), "\u{FFFD}".as_bytes()));
    let float = |number: f64| [&[0xCB], &number.to_be_bytes()[..]].concat();
    assert!(has(
        &data("123456789012345678901234567890"),
        &float(123_456_789_012_345_678_901_234_567_890.0)
    ));
    assert!(has(&data("1e400"), &float(f64::INFINITY)));
    assert!(has(&data("-0"), &float(-0.0)));
    assert!(has(
        &data(r#"{"a":1,"a":2}"#),
        &[0x82, 0xA1, b'a', 1, 0xA1, b'a', 2]
    ));
}

#[test]
fn the_kind_of_frame_is_that_of_the_format() {
    let gateway = TestGateway::start();
    let mut packed = Packed::start(&gateway);
    packed.0.send(0x81, br#"{"type":"ping"}"#);
    assert_eq!(packed.0.until_close(), Some(1003));
    let mut plain = Client::events(gateway.address);
    plain.send(0x82, &rmp_serde::to_vec(&json!({"type": "ping"})).unwrap());
    assert_eq!(plain.until_close(), Some(1003));
}

#[test]
fn m01_m03_what_is_no_message_is_answered_and_the_connection_stays() {
    let gateway = TestGateway::with(|config| config.clients.max_message_size = 4 << 20);
    let mut client = Packed::start(&gateway);
    for (bytes, why) in [
        (&b""[..], "ends in the middle"),
        (&[0x81], "ends in the middle"),
        (&[0xDF, 0xFF, 0xFF, 0xFF, 0xFF], "ends in the middle"),
        (&[0xDD, 0xFF, 0xFF, 0xFF, 0xFF], "ends in the middle"),
        (&[0xDB, 0xFF, 0xFF, 0xFF, 0xFF, b'x'], "ends in the middle"),
        (&[0x80, 0x80], "more than one value"),
        (&[0x81, 1, 1], "a key is not a string"),
        (
            &[0x81, 0xA4, b't', b'y', b'p', b'e', 0xC4, 1, 0],
            "binary data and extensions",
        ),
        (
            &[0x81, 0xA4, b't', b'y', b'p', b'e', 0xD4, 1, 0],
            "binary data and extensions",
        ),
        (&[0xC1], "binary data and extensions"),
        (&[0x81, 0xA1, 0xFF, 1], "not UTF-8"),
        (
            &[0x81, 0xA1, b'x', 0xCB, 0x7F, 0xF0, 0, 0, 0, 0, 0, 0],
            "not finite",
        ),
        (&[0x90], "JSON object"),
        (&[0xC0], "JSON object"),
        (br#"{"type":"ping"}"#, "more than one value"),
    ] {
        client.check_error(bytes, why);
    }
    for depth in [65, 100_000, 1_000_000] {
        client.check_error(&vec![0x91; depth], "nested deeper");
        let maps = [0x81, 0xA1, b'a'].repeat(depth);
        client.check_error(&maps, "nested deeper");
    }
}

#[test]
fn the_deepest_legal_nesting_passes() {
    let gateway = TestGateway::start();
    let mut client = Packed::start(&gateway);
    let mut bytes = b"\x82\xA4type\xA4ping\xA1x".to_vec();
    bytes.extend([0x91; 62]);
    bytes.push(0x90);
    client.0.send(0x82, &bytes);
    assert_eq!(client.json()["type"], "pong");
}

#[test]
fn compression_is_declined_for_messagepack() {
    let gateway = TestGateway::start();
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let connect = |path: &str| Client::connect_with(gateway.address, path, offer);
    let head = connect("/api/v1/ws/demo?format=msgpack")
        .head
        .to_lowercase();
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    let head = connect("/api/v1/ws/demo?format=json").head.to_lowercase();
    assert!(head.contains("permessage-deflate"), "{head}");
}

#[test]
fn what_is_posted_over_http_reaches_messagepack_subscribers() {
    let gateway = TestGateway::start();
    let mut client = Packed::start(&gateway);
    client.ask(&json!({"type": "subscribe", "events": ["t"]}));
    let body = r#"{"event":"t","data":{"x":[1,2]}}"#;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(request(gateway.address, head.as_bytes()).status, 202);
    let event = client.json();
    assert_eq!(event["data"], json!({"x": [1, 2]}));
    assert_eq!(
        (&event["type"], &event["event_type"]),
        (&json!("event"), &json!("t"))
    );
}

/// A slow MessagePack reader is told of its gap in MessagePack.
#[test]
fn a_gap_is_told_in_the_peers_format() {
    let gateway = TestGateway::with(|config| {
        config.hub.slow_consumer = fanfare::config::SlowConsumer::DropOldest;
        config.hub.max_lag = 64 * 1024;
        config.server.send_buffer = 16 * 1024;
    });
    let mut slow = Packed::start(&gateway);
    slow.ask(&json!({"type": "subscribe", "events": ["t"]}));
    let mut publisher = Client::events(gateway.address);
    let filler = "x".repeat(30_000);
    let count = 600;
    for number in 0..count {
        publisher.say(&json!({"type": "publish", "event": "t", "data": [number, filler], "id": 1}));
        assert_eq!(publisher.json()["type"], "response");
    }
    let (mut next, mut lost) = (0, 0);
    while next < count {
        let frame = slow.json();
        match frame["type"].as_str().unwrap() {
            "gap" => {
                assert_eq!(frame["event"], "t");
                next += frame["lost"].as_u64().unwrap();
                lost += frame["lost"].as_u64().unwrap();
            }
            "event" => {
                assert_eq!(frame["data"][0], next);
                next += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(lost > 0, "18 MB do not fit into a lag of 64 KiB");
}
