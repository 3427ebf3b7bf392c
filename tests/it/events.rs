//! The events protocol, first part (docs/protocol.md).

use std::net::SocketAddr;
use std::time::Duration;

use fanfare::auth::{Grant, issue};
use fanfare::config::{Config, Mode, Secret};
use serde_json::{Value, json};

use crate::support::{Client, TestGateway, request};

const QUIET: Duration = Duration::from_millis(150);

/// Says `text` and returns the answer.
fn ask(client: &mut Client, text: &str) -> Value {
    client.send(0x81, text.as_bytes());
    client.json()
}

/// Checks the error that `text` is answered with, and that the connection stays.
fn check_error(client: &mut Client, text: &str, code: &str) -> Value {
    let answer = ask(client, text);
    assert_eq!(answer["type"], "error", "{text}: {answer}");
    assert_eq!(answer["code"], code, "{text}: {answer}");
    assert!(answer["message"].is_string() && is_timestamp(&answer["timestamp"]));
    assert_eq!(ask(client, r#"{"type":"ping"}"#)["type"], "pong");
    answer
}

/// RFC 3339, UTC, milliseconds.
fn is_timestamp(value: &Value) -> bool {
    let shape = value.as_str().unwrap_or("").bytes().map(|byte| match byte {
        b'0'..=b'9' => b'0',
        other => other,
    });
    shape.eq(*b"0000-00-00T00:00:00.000Z")
}

/// What the next event's payload has as `data`, byte for byte.
fn raw_data(client: &mut Client) -> String {
    let text = String::from_utf8(client.next().unwrap().payload).unwrap();
    let begin = text.find(r#""data":"#).expect("data") + 7;
    let end = text.rfind(r#","event_id":"#).expect("an event id");
    text[begin..end].to_owned()
}

#[test]
fn the_greeting_is_the_first_and_only_unsolicited_frame() {
    let gateway = TestGateway::start();
    for endpoint in ["demo", "dev"] {
        let mut client = Client::connect(gateway.address, &format!("/api/v1/ws/{endpoint}"));
        let greeting = client.json();
        assert_eq!(greeting["type"], "connection_established");
        assert!(is_timestamp(&greeting["timestamp"]), "{greeting}");
        assert_eq!(greeting["authenticated"], false);
        assert_eq!(greeting["user"], Value::Null);
        assert_eq!(greeting["role"], Value::Null);
        assert_eq!(greeting["data"]["endpoint"], endpoint);
        assert_eq!(greeting["data"]["client_id"], greeting["client_id"]);
        assert!(greeting["data"]["session_id"].is_string());
        assert!(greeting["data"]["server_version"].is_string());
        assert!(client.is_silent(QUIET));
    }
    let mut one = Client::connect(gateway.address, "/api/v1/ws/demo");
    let mut two = Client::connect(gateway.address, "/api/v1/ws/demo");
    assert_ne!(one.json()["client_id"], two.json()["client_id"]);
}

#[test]
fn the_demo_endpoint_never_looks_at_a_token() {
    let gateway = TestGateway::in_mode(Mode::Dev, with_secret);
    let mut client = Client::connect(gateway.address, "/api/v1/ws/demo?token=nonsense");
    assert_eq!(client.json()["type"], "connection_established");
}

#[test]
fn a_ping_is_answered_with_the_id_and_the_clients_timestamp() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    let pong = ask(&mut client, r#"{"type":"ping"}"#);
    assert_eq!(pong["type"], "pong");
    assert!(is_timestamp(&pong["timestamp"]));
    assert!(pong.get("id").is_none() && pong.get("client_timestamp").is_none());
    for (id, time) in [
        ("7", "1700000000123"),
        (r#""a\"b""#, r#""2026-11-21T07:34:31.5""#),
    ] {
        let text = format!(r#"{{"type":"ping","id":{id},"timestamp":{time},"unknown":[1]}}"#);
        let pong = ask(&mut client, &text);
        assert_eq!(pong["id"], serde_json::from_str::<Value>(id).unwrap());
        let time: Value = serde_json::from_str(time).unwrap();
        assert_eq!(pong["client_timestamp"], time);
        assert!(is_timestamp(&pong["timestamp"]));
    }
    let ack = ask(&mut client, r#"{"type":"heartbeat","id":"h"}"#);
    assert_eq!(
        (&ack["type"], &ack["id"]),
        (&json!("heartbeat_ack"), &json!("h"))
    );
}

#[test]
fn every_spelling_of_subscribe_and_unsubscribe_works() {
    let gateway = TestGateway::start();
    for (number, list) in [
        r#""events":["a.b","c:*"]"#,
        r#""event_types":["a.b","c:*"]"#,
        r#""data":{"events":["a.b","c:*"]}"#,
        r#""data":{"event_types":["a.b","c:*"]}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::events(gateway.address);
        let text = format!(r#"{{"type":"subscribe",{list},"id":{number}}}"#);
        let answer = ask(&mut client, &text);
        assert_eq!(answer["type"], "subscription_confirmed", "{list}");
        assert_eq!(answer["id"], number);
        assert_eq!(answer["events"], json!(["a.b", "c:*"]));
        assert_eq!(answer["event_types"], json!(["a.b", "c:*"]));
        assert_eq!(
            answer["data"],
            json!({ "events": ["a.b", "c:*"], "status": "active" })
        );
        assert!(answer.get("rejected").is_none());
        let text = format!(r#"{{"type":"unsubscribe",{list}}}"#);
        let answer = ask(&mut client, &text);
        assert_eq!(answer["type"], "unsubscription_confirmed", "{list}");
        assert_eq!(answer["events"], json!(["a.b", "c:*"]));
        assert_eq!(answer["event_types"], json!(["a.b", "c:*"]));
        client.say(&json!({ "type": "publish", "event": "a.b", "data": 1 }));
        client.say(&json!({ "type": "publish", "event": "c:d", "data": 1 }));
        assert_eq!(ask(&mut client, r#"{"type":"ping"}"#)["type"], "pong");
        assert!(client.is_silent(QUIET));
    }
}

#[test]
fn m05_names_outside_the_grammar_are_rejected_by_name() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    let longest = "x".repeat(128);
    let good = [
        "a",
        "A-z_0.9:b",
        "*",
        "a.*",
        "*.b",
        "a.*.c",
        "a.b*",
        "a:*:c",
        &longest,
    ];
    let too_long = "x".repeat(129);
    let bad = [
        "",
        " ",
        "a b",
        "a/b",
        "a*b",
        "*a",
        "a**",
        "**",
        "a.*b.c",
        "#",
        "a+",
        "é",
        "a\n",
        "a\0",
        "%00",
        "user:1",
        "user:1:events",
        &too_long,
    ];
    let all: Vec<&str> = good.iter().chain(&bad).copied().collect();
    let answer = client.subscribe(&all);
    assert_eq!(answer["events"], json!(good));
    assert_eq!(answer["rejected"], json!(bad));
    assert_eq!(
        ask(&mut client, r#"{"type":"unsubscribe"}"#)["events"],
        json!(good)
    );
    for name in bad
        .iter()
        .filter(|name| !name.starts_with("user:"))
        .chain(&["a.*", "*"])
    {
        let text = json!({ "type": "publish", "event": name, "data": 1, "id": 1 }).to_string();
        let answer = check_error(&mut client, &text, "INVALID_MESSAGE");
        assert_eq!(answer["id"], 1);
    }
}

#[test]
fn inboxes_belong_to_their_users() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    assert_eq!(
        client.subscribe(&["user:1:events"])["rejected"],
        json!(["user:1:events"])
    );
    assert_eq!(client.subscribe(&["*"])["events"], json!(["*"]));
    let text = r#"{"type":"publish","event":"user:1:events","data":1,"id":"x"}"#;
    assert_eq!(check_error(&mut client, text, "FORBIDDEN")["id"], "x");
    let body = r#"{"event":"user:1:events","data":1}"#;
    post(gateway.address, body);
    assert!(client.is_silent(QUIET), "a pattern never covers an inbox");
}

/// Publishes over HTTP.
fn post(address: SocketAddr, body: &str) {
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(request(address, head.as_bytes()).status, 202);
}

#[test]
fn a_pattern_covers_whole_segments_or_whatever_follows() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let mut publisher = Client::events(gateway.address);
    let names = ["a", "a.b", "a.b.c", "a.x.c", "a.bc", "ab", "a:b"];
    for (pattern, covered) in [
        ("*", &names[..]),
        ("a.*", &["a.b", "a.b.c", "a.x.c", "a.bc"]),
        ("a.*.c", &["a.b.c", "a.x.c"]),
        ("a.b*", &["a.b", "a.b.c", "a.bc"]),
        ("a*", &names[..]),
        ("*.b", &["a.b"]),
        ("a:*", &["a:b"]),
        ("b.*", &[]),
    ] {
        let mut client = Client::events(gateway.address);
        client.subscribe(&[pattern, "end"]);
        for name in names.iter().chain(&["end"]) {
            publisher.say(&json!({ "type": "publish", "event": name, "data": 1 }));
        }
        // Topics of different homes come in any order.
        let mut expected: Vec<_> = covered
            .iter()
            .chain(&["end"])
            .map(|&name| name.to_owned())
            .collect();
        let mut got: Vec<_> = expected
            .iter()
            .map(|_| client.json()["event"].as_str().unwrap().to_owned())
            .collect();
        got.sort();
        expected.sort();
        assert_eq!(got, expected, "{pattern}");
        assert!(client.is_silent(Duration::from_millis(30)), "{pattern}");
    }
}

#[test]
fn m08_an_event_comes_once_however_many_subscriptions_cover_it() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let mut client = Client::events(gateway.address);
    let names = ["a.b", "a.*", "*", "a.b*", "*.b"];
    for _ in 0..2 {
        assert_eq!(client.subscribe(&names)["events"], json!(names));
    }
    assert_eq!(
        client.subscribe(&["a.b", "a.b"])["events"],
        json!(["a.b", "a.b"])
    );
    let publish = json!({ "type": "publish", "event": "a.b", "data": 1 });
    client.say(&publish);
    assert_eq!(client.json()["event"], "a.b");
    assert!(client.is_silent(QUIET));
    // One subscription less covers it as long as there is another one.
    for name in names {
        client.say(&json!({ "type": "unsubscribe", "events": [name] }));
        assert_eq!(
            client.json()["events"],
            json!([name]),
            "subscribed once is enough"
        );
        client.say(&publish);
        if name != "*.b" {
            assert_eq!(client.json()["event"], "a.b", "after giving up {name}");
        }
        assert!(client.is_silent(Duration::from_millis(50)));
    }
}

#[test]
fn unsubscribe_without_names_means_all_and_unknown_names_are_nothing() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    for text in [
        r#"{"type":"unsubscribe"}"#,
        r#"{"type":"unsubscribe","events":[]}"#,
    ] {
        client.subscribe(&["a", "b.*"]);
        assert_eq!(ask(&mut client, text)["events"], json!(["a", "b.*"]));
        assert_eq!(ask(&mut client, text)["events"], json!([]));
    }
    client.subscribe(&["a"]);
    let answer = ask(
        &mut client,
        r#"{"type":"unsubscribe","events":["b","a","c"]}"#,
    );
    assert_eq!(answer["events"], json!(["a"]));
    let text = r#"{"type":"unsubscribe","events":"a"}"#;
    check_error(&mut client, text, "INVALID_MESSAGE");
}

#[test]
fn m10_subscriptions_by_name_take_half_of_the_memory_and_patterns_next_to_nothing() {
    let gateway = TestGateway::with(|config| {
        config.server.shards = 1;
        config.hub.max_memory = 256 * 1024;
        config.clients.max_subscriptions = 100_000;
    });
    let mut client = Client::events(gateway.address);
    let names: Vec<String> = (0..2000).map(|n| format!("t.{n}")).collect();
    client.say(&json!({ "type": "subscribe", "events": names, "id": 1 }));
    let answer = client.json();
    let taken = answer["events"].as_array().unwrap().len();
    assert!((500..2000).contains(&taken), "{taken}");
    assert_eq!(answer["rejected"], json!(names[taken..]));
    let error = client.json();
    assert_eq!(
        (&error["code"], &error["id"]),
        (&json!("SUBSCRIPTION_LIMIT"), &json!(1))
    );
    // A pattern reads what was rejected, too, and gives the memory of the names back.
    let answer = ask(&mut client, r#"{"type":"subscribe","events":["t.*"]}"#);
    assert_eq!(answer["events"], json!(["t.*"]));
    let mut other = Client::events(gateway.address);
    other.say(&json!({ "type": "subscribe", "events": names[..500] }));
    assert_eq!(other.json()["events"].as_array().unwrap().len(), 500);
    for name in [&names[0], &names[1999]] {
        other.say(&json!({ "type": "publish", "event": name, "data": 1 }));
        assert_eq!(client.json()["event"], json!(name));
    }
}

#[test]
fn a_connection_has_fifty_subscriptions() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    let names: Vec<String> = (0..52).map(|n| format!("t.{n}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    client.say(&json!({ "type": "subscribe", "events": refs, "id": "s" }));
    let answer = client.json();
    assert_eq!(answer["events"], json!(refs[..50]));
    assert_eq!(answer["rejected"], json!(refs[50..]));
    let error = client.json();
    assert_eq!(
        (&error["code"], &error["id"]),
        (&json!("SUBSCRIPTION_LIMIT"), &json!("s"))
    );
    // Those that are there stay, those given up make room.
    assert_eq!(client.subscribe(&["t.0"])["events"], json!(["t.0"]));
    ask(&mut client, r#"{"type":"unsubscribe","events":["t.0"]}"#);
    assert_eq!(client.subscribe(&["u.*"])["events"], json!(["u.*"]));
    client.say(&json!({ "type": "publish", "event": "t.49", "data": 1 }));
    assert_eq!(client.json()["event"], "t.49");
}

#[test]
fn r11_many_subscriptions_are_given_up_in_turns_and_confirmed_once() {
    let gateway = TestGateway::with(|config| {
        config.server.shards = 2;
        config.clients.max_subscriptions = 100_000;
        config.clients.max_message_size = 1024 * 1024;
    });
    let mut client = Client::events(gateway.address);
    let mut names: Vec<String> = (0..10_000).map(|n| format!("t.{n}")).collect();
    names.push("room.*".into());
    for messages in [
        json!({ "type": "unsubscribe", "id": 1 }),
        json!({ "type": "unsubscribe", "events": names, "id": 1 }),
        json!({ "type": "batch", "messages": [
            { "type": "ping", "id": 0 }, { "type": "unsubscribe", "id": 1 }, { "type": "ping", "id": 2 },
        ] }),
    ] {
        client.say(&json!({ "type": "subscribe", "events": names }));
        assert_eq!(client.json()["events"], json!(names));
        client.say(&messages);
        // What comes behind it is dealt with behind it.
        client.say(&json!({ "type": "query", "params": { "query": "subscriptions" }, "id": 3 }));
        let mut answers = vec![client.json()];
        while answers.last().unwrap()["id"] != 3 {
            answers.push(client.json());
        }
        let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
        match messages["type"] == "batch" {
            true => assert_eq!(json!(ids), json!([0, 1, 2, 3])),
            false => assert_eq!(json!(ids), json!([1, 3])),
        }
        let confirmed = answers.iter().find(|answer| answer["id"] == 1).unwrap();
        assert_eq!(confirmed["type"], "unsubscription_confirmed");
        assert_eq!(confirmed["events"], json!(names));
        let last = answers.last().unwrap();
        assert_eq!(last["result"]["count"], 0, "{last}");
    }
    let mut publisher = Client::events(gateway.address);
    publisher.say(&json!({ "type": "publish", "event": "t.9999", "data": 1 }));
    assert!(client.is_silent(QUIET));
}

#[test]
fn a_connection_has_a_thousand_patterns_at_most() {
    let gateway = TestGateway::with(|config| config.clients.max_subscriptions = 2_000);
    let mut client = Client::events(gateway.address);
    let patterns: Vec<String> = (0..1_001).map(|n| format!("t.{n}.*")).collect();
    client.say(&json!({ "type": "subscribe", "events": patterns, "id": "s" }));
    let answer = client.json();
    assert_eq!(answer["events"], json!(patterns[..1_000]));
    assert_eq!(answer["rejected"], json!(patterns[1_000..]));
    let error = client.json();
    assert_eq!(error["code"], "SUBSCRIPTION_LIMIT");
    assert_eq!(error["message"], "At most 1000 patterns");
    assert_eq!(error["details"]["limit"], 1_000);
    // Names are another matter, and one pattern less makes room.
    assert_eq!(client.subscribe(&["u"])["events"], json!(["u"]));
    client.say(&json!({ "type": "unsubscribe", "events": ["t.0.*"] }));
    assert_eq!(client.json()["events"], json!(["t.0.*"]));
    assert_eq!(
        client.subscribe(&["t.1000.*"])["events"],
        json!(["t.1000.*"])
    );
}

#[test]
fn publish_is_answered_only_when_it_has_an_id() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let mut publisher = Client::events(gateway.address);
    let mut subscriber = Client::events(gateway.address);
    subscriber.subscribe(&["one", "two"]);
    for topic in ["one", "two", "nobody"] {
        publisher.say(&json!({ "type": "publish", "event": topic, "data": {} }));
        assert!(publisher.is_silent(QUIET));
        for (offset, id) in [(2, json!("a\"\\é")), (3, json!(12))] {
            publisher.say(&json!({ "type": "publish", "event": topic, "data": {}, "id": id }));
            let answer = publisher.json();
            assert_eq!(answer["type"], "response");
            assert_eq!(answer["id"], id);
            assert_eq!(answer["result"], json!({ "offset": offset }));
            assert!(is_timestamp(&answer["timestamp"]));
        }
    }
    let mut ids = Vec::new();
    for _ in 0..6 {
        let event = subscriber.json();
        assert_eq!(event["type"], "event");
        assert_eq!(event["event"], event["event_type"]);
        assert!(event.get("id").is_none(), "an event never carries `id`");
        assert!(is_timestamp(&event["timestamp"]));
        ids.push(event["event_id"].as_str().unwrap().to_owned() + event["event"].as_str().unwrap());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "event ids are distinct");
    // Publishers who subscribe hear themselves.
    publisher.subscribe(&["three"]);
    publisher.say(&json!({ "type": "publish", "event": "three", "data": 3 }));
    assert_eq!(publisher.json()["data"], 3);
}

#[test]
fn data_is_passed_on_byte_for_byte() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let mut publisher = Client::events(gateway.address);
    let mut subscriber = Client::events(gateway.address);
    subscriber.subscribe(&["raw"]);
    for data in [
        r#"{ "b" :1,   "a":[ 1.0,1e0,-0,0.10,1E+400,123456789012345678901234567890 ] }"#,
        r#""\u0041\/\ud83d\ude00 é😀""#,
        r#"{"a":1,"a":2,"type":"x","id":5,"event":"other"}"#,
        "\"},\\\"data\\\":{\"",
        "[\n\t1 ,\r\n2 ]",
        "null",
        "false",
        "0",
        r#""""#,
        "{}",
    ] {
        let text = format!(r#"{{"data":{data},"type":"publish", "event":"raw"}}"#);
        publisher.send(0x81, text.as_bytes());
        assert_eq!(raw_data(&mut subscriber), data);
    }
    // Without any data it is null.
    publisher.send(0x81, br#"{"type":"publish","event":"raw"}"#);
    assert_eq!(raw_data(&mut subscriber), "null");
    // A name may be written with escapes.
    publisher.send(0x81, br#"{"type":"publish","event":"\u0072aw","data":1}"#);
    assert_eq!(subscriber.json()["event"], "raw");
}

#[test]
fn m01_what_is_no_json_is_answered_and_the_connection_stays() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    let deep = format!(
        r#"{{"type":"ping","x":{}{}}}"#,
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    for text in [
        "",
        " ",
        "{",
        "}",
        "nul",
        "{]",
        r#"{"type":"ping"}{}"#,
        r#"{"type":"ping",}"#,
        r#"{'type':'ping'}"#,
        r#"{"type":"ping" "id":1}"#,
        r#"{"type":"ping","id":01}"#,
        r#"{"type":"publish","event":"a","data":}"#,
        r#"{"type":"publish","event":"a","data":1 2}"#,
        r#"{"type":"publish","event":"a","data":"\x"}"#,
        r#"{"type":"publish","event":"a","data":"\u12g4"}"#,
        r#"{"type":"publish","event":"a","data":"\u12"}"#,
        "{\"type\":\"ping\",\"x\":\"\n\"}",
        r#"{"type":"ping","x":NaN}"#,
        &deep,
    ] {
        check_error(&mut client, text, "INVALID_JSON");
    }
}

#[test]
fn m01_the_deepest_legal_nesting_passes() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    client.subscribe(&["deep"]);
    let data = "[".repeat(63) + &"]".repeat(63);
    let text = format!(r#"{{"type":"publish","event":"deep","data":{data}}}"#);
    client.send(0x81, text.as_bytes());
    assert_eq!(raw_data(&mut client), data);
}

#[test]
fn what_is_no_message_is_answered_and_the_connection_stays() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    for text in [
        "[]",
        "1",
        "null",
        r#""ping""#,
        "{}",
        r#"{"type":null}"#,
        r#"{"type":1}"#,
        r#"{"type":["ping"]}"#,
        r#"{"type":""}"#,
        r#"{"type":"a b"}"#,
        r#"{"type":"1a"}"#,
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","events":"a"}"#,
        r#"{"type":"subscribe","events":[1]}"#,
        r#"{"type":"subscribe","events":{}}"#,
        r#"{"type":"subscribe","data":[]}"#,
        r#"{"type":"publish"}"#,
        r#"{"type":"publish","event":1,"data":1}"#,
        r#"{"type":"publish","event":"","data":1}"#,
        r#"{"type":"ping","id":{}}"#,
        r#"{"type":"ping","id":[1]}"#,
        r#"{"type":"ping","id":true}"#,
    ] {
        check_error(&mut client, text, "INVALID_MESSAGE");
    }
    let text = r#"{"type":"subscribe","events":[1],"id":"mine"}"#;
    assert_eq!(
        check_error(&mut client, text, "INVALID_MESSAGE")["id"],
        "mine"
    );
    assert_eq!(client.subscribe(&[])["events"], json!([]));
}

#[test]
fn an_unknown_type_is_echoed_on_demo_and_dev_and_refused_on_prod() {
    let gateway = TestGateway::start();
    let text = r#"{"type":"agent_create","data":{ "name":"x", "n": 1.0 },"id":"e"}"#;
    for path in ["/api/v1/ws/demo", "/api/v1/ws/dev"] {
        let mut client = Client::connect(gateway.address, path);
        client.json();
        let answer = ask(&mut client, text);
        assert_eq!(answer["type"], "echo");
        assert_eq!(
            answer["original"],
            serde_json::from_str::<Value>(text).unwrap()
        );
        assert_eq!(answer["id"], "e");
    }
    let mut client = Client::connect(gateway.address, "/api/v1/ws");
    assert_eq!(client.json()["data"]["endpoint"], "prod");
    let answer = check_error(&mut client, text, "UNKNOWN_MESSAGE_TYPE");
    assert_eq!(answer["message"], "Unknown message type: agent_create");
    assert_eq!(answer["id"], "e");
}

#[test]
fn a_binary_frame_closes_with_1003() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    client.send(0x82, br#"{"type":"ping"}"#);
    assert_eq!(client.next().unwrap().close_code(), Some(1003));
}

#[test]
fn m04_a_message_of_65536_bytes_passes_and_one_more_closes_with_1009() {
    let gateway = TestGateway::start();
    let message = |len: usize| {
        let shell = r#"{"type":"publish","event":"big","data":""}"#;
        let filler = "x".repeat(len - shell.len());
        format!(r#"{{"type":"publish","event":"big","data":"{filler}"}}"#)
    };
    let mut subscriber = Client::events(gateway.address);
    subscriber.subscribe(&["big"]);
    let mut client = Client::events(gateway.address);
    client.send(0x81, message(65_536).as_bytes());
    let got = subscriber.json();
    assert_eq!(got["data"].as_str().unwrap().len(), 65_536 - 42);
    // In two fragments it is the same message.
    let text = message(65_536).into_bytes();
    client.send(0x01, &text[..40_000]);
    client.send(0x80, &text[40_000..]);
    subscriber.json();
    client.send(0x81, message(65_537).as_bytes());
    assert_eq!(client.until_close(), Some(1009));
    let mut client = Client::events(gateway.address);
    client.send(0x01, &text[..40_000]);
    client.send(0x80, &[b'x'; 25_537]);
    assert_eq!(client.until_close(), Some(1009));
    assert!(subscriber.is_silent(QUIET));
}

const SECRET: [u8; 32] = [7; 32];

fn with_secret(config: &mut Config) {
    config.auth.jwt_secret = Secret::new(SECRET);
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn token(user: &str, role: Option<&str>) -> String {
    let (issued_at, expires_at) = (now(), now() + 600);
    let grant = Grant {
        user,
        role,
        issued_at,
        expires_at,
    };
    issue(&grant, &Secret::new(SECRET).unwrap()).unwrap()
}

/// Connects with whatever credentials; the greeting, or the refusal and its close code.
fn enter(address: SocketAddr, path: &str, headers: &str) -> (Value, Option<u16>) {
    let mut client = Client::connect_with(address, path, headers);
    let first = client.json();
    if first["type"] == "connection_established" {
        return (first, None);
    }
    assert_eq!(first["type"], "error", "{first}");
    assert_eq!(first["code"], "AUTHENTICATION_FAILED");
    let message = first["message"].as_str().unwrap();
    assert!(
        ["No token", "Invalid or expired token"].contains(&message),
        "{message}"
    );
    let close = client.next().expect("a close frame");
    assert_eq!(&close.payload[2..], b"Authentication failed");
    (first, close.close_code())
}

#[test]
fn a_token_is_taken_from_query_header_and_cookie() {
    for mode in [Mode::Dev, Mode::Prod] {
        let gateway = TestGateway::in_mode(mode, with_secret);
        let alice = token("alice", Some("admin"));
        let paths: &[&str] = match mode {
            Mode::Prod => &["/api/v1/ws"],
            _ => &["/api/v1/ws", "/api/v1/ws/dev"],
        };
        for path in paths {
            let query = format!("{path}?x=1&token={alice}");
            let bearer = format!("Authorization: Bearer {alice}\r\n");
            let cookie = format!("Cookie: a=b; access_token={alice}; c=d\r\n");
            for (path, headers) in [
                (&*query, String::new()),
                (path, bearer.clone()),
                (
                    path,
                    format!("{cookie}Origin: http://{}\r\n", gateway.address),
                ),
                (&*query, format!("{bearer}{cookie}")),
            ] {
                let (greeting, _) = enter(gateway.address, path, &headers);
                assert_eq!(
                    greeting["authenticated"], true,
                    "{path} {headers}: {greeting}"
                );
                assert_eq!(greeting["user"], "alice");
                assert_eq!(greeting["role"], "admin");
            }
        }
    }
}

#[test]
fn a_bad_token_is_told_and_closed_with_1008() {
    let gateway = TestGateway::in_mode(Mode::Dev, with_secret);
    let (alice, bob) = (token("alice", None), token("bob", None));
    let secret = Secret::new([8; 32]).unwrap();
    let (issued_at, expires_at) = (now(), now() + 600);
    let foreign = Grant {
        user: "alice",
        role: None,
        issued_at,
        expires_at,
    };
    let foreign = issue(&foreign, &secret).unwrap();
    let expired = Grant {
        user: "alice",
        role: None,
        issued_at: now() - 900,
        expires_at: now() - 300,
    };
    let expired = issue(&expired, &Secret::new(SECRET).unwrap()).unwrap();
    let unsigned = format!("{}.", alice.rsplit_once('.').unwrap().0);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for path in ["/api/v1/ws", "/api/v1/ws/dev"] {
        for (query, headers) in [
            (String::new(), String::new()),
            ("?token=".to_owned(), String::new()),
            ("?token=dev".to_owned(), String::new()),
            (format!("?token={foreign}"), String::new()),
            (format!("?token={expired}"), String::new()),
            (format!("?token={unsigned}"), String::new()),
            (String::new(), bearer(&foreign)),
            (String::new(), format!("Authorization: Basic {alice}\r\n")),
            (format!("?token={alice}"), bearer(&bob)),
            (
                format!("?token={alice}"),
                format!("Cookie: access_token={bob}\r\n"),
            ),
            (
                String::new(),
                format!("{}Cookie: access_token={bob}\r\n", bearer(&alice)),
            ),
            (format!("?token={alice}"), bearer("nonsense")),
        ] {
            let (first, code) = enter(gateway.address, &format!("{path}{query}"), &headers);
            assert_eq!(code, Some(1008), "{query} {headers}: {first}");
            let is_given =
                query.contains("token=") && query != "?token=" || headers.contains("earer");
            let is_missing = first["message"] == "No token";
            assert_eq!(is_missing, !is_given, "{query} {headers}: {first}");
        }
    }
}

#[test]
fn where_no_token_is_asked_for_the_word_dev_and_none_are_welcome() {
    let gateway = TestGateway::with(with_secret);
    for path in [
        "/api/v1/ws",
        "/api/v1/ws?token=dev",
        "/api/v1/ws/dev?token=dev",
    ] {
        let (greeting, _) = enter(gateway.address, path, "");
        assert_eq!(greeting["authenticated"], false);
    }
    let path = format!("/api/v1/ws?token={}", token("alice", None));
    assert_eq!(enter(gateway.address, &path, "").0["user"], "alice");
    assert_eq!(
        enter(gateway.address, "/api/v1/ws?token=bad", "").1,
        Some(1008)
    );
}

#[test]
fn the_open_endpoints_do_not_exist_in_prod() {
    let gateway = TestGateway::in_mode(Mode::Prod, with_secret);
    for path in ["/api/v1/ws/demo", "/api/v1/ws/dev", "/debug/echo"] {
        let response = request(gateway.address, upgrade(path).as_bytes());
        assert_eq!(response.status, 404, "{path}: {response:?}");
        assert_eq!(response.json(), json!({ "detail": "Not Found" }));
    }
    let gateway = TestGateway::with(|config| config.clients.demo_enabled = false);
    let response = request(gateway.address, upgrade("/api/v1/ws/demo").as_bytes());
    assert_eq!(response.status, 404);
}

fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}
