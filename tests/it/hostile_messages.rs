//! Messages and names made to hurt (hostile-inputs.md M01, M02, M05, M06, M14).

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Process, TestGateway, request};

/// What an echo of the message says, or the error's code.
fn outcome(client: &mut Client, text: &str) -> String {
    client.send(0x81, text.as_bytes());
    let answer = client.next().expect("an answer, not the end");
    let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    let kind = if answer["type"] == "error" {
        "code"
    } else {
        "type"
    };
    answer[kind].as_str().unwrap().to_owned()
}

#[test]
fn m01_messages_made_to_exhaust_a_parser_are_answered() {
    let gateway = TestGateway::with(|config| config.clients.max_message_size = 4 << 20);
    let mut client = Client::events(gateway.address);
    let many_keys = (0..100_000).fold(String::new(), |mut text, n| {
        let _ = write!(text, r#","k{n}":{n}"#);
        text
    });
    let deep = |depth: usize| {
        format!(
            r#"{{"type":"x","a":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    let objects = format!(
        r#"{{"type":"x","a":{}1{}}}"#,
        r#"{"a":"#.repeat(100_000),
        "}".repeat(100_000)
    );
    for (text, expected) in [
        ("[".repeat(1 << 20), "INVALID_JSON"),
        ("{".repeat(1 << 20), "INVALID_JSON"),
        ("]".repeat(1 << 20), "INVALID_JSON"),
        ("[{\"a\":".repeat(100_000), "INVALID_JSON"),
        (deep(100_000), "INVALID_JSON"),
        (objects, "INVALID_JSON"),
        (deep(64), "INVALID_JSON"),
        (" ".repeat(1 << 20), "INVALID_JSON"),
        (format!("\"{}", "\\\"".repeat(1 << 19)), "INVALID_JSON"),
        (deep(63), "echo"),
        (
            format!(r#"{{"type":"ping","x":{}}}"#, "9".repeat(1 << 20)),
            "pong",
        ),
        (
            format!(r#"{{"type":"ping","x":1e{}}}"#, "9".repeat(1000)),
            "pong",
        ),
        (
            format!(r#"{{"type":"ping","id":{}}}"#, "9".repeat(300)),
            "pong",
        ),
        (format!(r#"{{"type":"ping"{many_keys}}}"#), "pong"),
        (r#"{"type":"a","type":"ping"}"#.into(), "pong"),
        (r#"{"type":"ping","type":5}"#.into(), "INVALID_MESSAGE"),
        (r#"{"type":"ping","x":"\ud800"}"#.into(), "pong"),
        (r#"{"type":"\ud800"}"#.into(), "INVALID_MESSAGE"),
        (
            r#"{"type":"subscribe","events":["\udc00"]}"#.into(),
            "INVALID_MESSAGE",
        ),
        (
            r#"{"type":"publish","event":"\ud800","data":1}"#.into(),
            "INVALID_MESSAGE",
        ),
        (
            format!(
                r#"{{"type":"subscribe","events":[{}"a"]}}"#,
                "\"\",".repeat(100_000)
            ),
            "subscription_confirmed",
        ),
        (
            format!(
                r#"{{"type":"batch","messages":[{}1]}}"#,
                "1,".repeat(500_000)
            ),
            "INVALID_MESSAGE",
        ),
    ] {
        let got = outcome(&mut client, &text);
        assert_eq!(got, expected, "{:.60} ({} bytes)", text, text.len());
        client.say(&json!({"type": "ping", "id": "alive"}));
        while client.json()["id"] != "alive" {}
    }
}

#[test]
fn m02_a_batch_of_separators_costs_no_more_than_its_bytes() {
    let gateway = Process::start(&[]);
    let post = |kind: &str, body: &[u8]| {
        let head = format!(
            "POST /api/v1/events/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/{kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        request(gateway.address, &[head.as_bytes(), body].concat())
    };
    // What the first request warms up is not counted.
    post("x-ndjson", &[b'\n'; 1 << 20]);
    let before = gateway.rss();
    for separator in ["\n", "\r\n", " \n", "\t"] {
        let body = separator.repeat((1 << 20) / separator.len());
        let response = post("x-ndjson", body.as_bytes());
        assert_eq!(response.status, 202, "{response:?}");
        assert_eq!(response.json()["count"], 0);
    }
    for separator in [",", "[],", "\n"] {
        let body = format!("[{}]", separator.repeat((1 << 20) / separator.len() - 2));
        let response = post("json", body.as_bytes());
        let expected = if separator == "\n" { 202 } else { 422 };
        assert!(
            [expected, 413].contains(&response.status),
            "{separator:?}: {response:?}"
        );
    }
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown <= 8 << 20, "grew by {grown} bytes");
}

#[test]
fn m06_thousands_of_the_worst_patterns_do_not_stop_publishing() {
    let gateway = TestGateway::start();
    // The worst that the grammar allows: every second byte is a wildcard.
    let stars = "*.".repeat(58);
    let mut subscribers: Vec<Client> = (0..50).map(|_| Client::events(gateway.address)).collect();
    for (number, client) in subscribers.iter_mut().enumerate() {
        let names: Vec<String> = (0..50).map(|n| format!("{stars}{number}-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(client.subscribe(&names)["events"], json!(names));
    }
    let mut publisher = Client::events(gateway.address);
    let topic = "a.".repeat(58);
    for number in 0..50 {
        // New topics are what patterns are looked at for.
        let event = format!("{topic}x{number}");
        publisher.say(&json!({"type": "publish", "event": event, "data": 1, "id": number}));
    }
    publisher.say(&json!({"type": "publish", "event": format!("{topic}7-7"), "data": 1}));
    for number in 0..50 {
        assert_eq!(publisher.json()["id"], number);
    }
    assert_eq!(subscribers[7].json()["event"], format!("{topic}7-7"));
    assert!(subscribers[8].is_silent(Duration::from_millis(50)));
}

#[test]
fn m05_wildcards_and_strange_names_are_no_topics() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    let pluses = "+/".repeat(40);
    let slashes = "/".repeat(60_000);
    let long = "a".repeat(64 * 1000);
    // NFC and NFD of one letter, neither in the grammar.
    let names = [
        "",
        "*",
        "a.*",
        "#",
        "+",
        &pluses,
        &slashes,
        &long,
        "..\0",
        "a\r\nb",
        "%00",
        "a b",
        "é",
        "e\u{301}",
        "\u{202e}",
        "../../etc/passwd",
        "\u{feff}a",
    ];
    for name in names {
        let text = json!({"type": "publish", "event": name, "data": 1}).to_string();
        assert_eq!(outcome(&mut client, &text), "INVALID_MESSAGE", "{name:.20}");
    }
    // Dots alone are names: they are segments without any text.
    for name in ["..", ".", "a..b", ":"] {
        assert_eq!(client.subscribe(&[name])["events"], json!([name]));
    }
}

#[test]
fn m14_nothing_that_peers_say_gets_into_the_log_as_it_is() {
    let mut gateway = Process::with(&[], &[("FANFARE_LOG__LEVEL", "trace")]);
    let forged = "x\r\n2026-01-01 INFO forged\u{1b}[2J\u{2028}";
    let agent = format!("User-Agent: {}\r\n", "A%s%n\u{1b}[31m".repeat(5000));
    for head in [
        format!("GET /forged HTTP/1.1\r\nHost: x\r\n{agent}\r\n"),
        "GET /api/v1/ws/forged%0d%0aforged HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"
            .to_owned(),
        "GET /\u{1b}[2Jforged HTTP/1.1\r\nHost: forged\u{1b}\r\n\r\n".to_owned(),
        "forged\r\nforged\r\n\r\n".to_owned(),
    ] {
        request(gateway.address, head.as_bytes());
    }
    let mut client = Client::events(gateway.address);
    for message in [
        json!({"type": forged}),
        json!({"type": "forged"}),
        json!({"type": "subscribe", "events": [forged]}),
        json!({"type": "publish", "event": forged, "data": forged}),
        json!({"type": "command", "command": forged}),
        json!({"type": "agent_command", "data": {"command": forged, "agent_id": forged}}),
    ] {
        client.say(&message);
        client.json();
    }
    client.send(0x81, forged.as_bytes());
    client.json();
    client.send(0x82, b"forged");
    assert_eq!(client.until_close(), Some(1003));
    gateway.check_alive();
    gateway.signal("TERM");
    let (_, log) = gateway.finish(Duration::from_secs(10));
    for line in log.lines() {
        assert!(
            !line.chars().any(|c| c.is_control() || c == '\u{2028}'),
            "{line:?}"
        );
        assert!(line.len() < 1024, "{line:.200}");
        assert!(!line.starts_with("2026-01-01 INFO forged"), "{line:?}");
    }
}
