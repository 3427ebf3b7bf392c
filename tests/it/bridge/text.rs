//! Line breaks, control characters and worse in every field: they break no stream, no header, no
//! frame and no line of the log.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::{call, last, post, push};
use crate::support::{Call, Client, Process, Socket, request};

/// Texts that mean something to whoever reads lines.
const EVIL: [&str; 9] = [
    "x\r\nINJECTED: yes\r\n\r\nbody",
    "x\nINJECTED",
    "x\rINJECTED",
    "\n\ndata: INJECTED\n\n",
    "x\u{0}INJECTED",
    "x\u{1b}[31mINJECTED\u{7}",
    "x\u{85}\u{2028}\u{2029}INJECTED",
    "\u{202e}INJECTED\u{feff}",
    "\"},INJECTED{\"",
];

/// A name as it is written in a query.
fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Pushes, asks and answers with `evil` wherever a text may be.
fn check(address: SocketAddr, evil: &str) {
    let path = format!("/ws?user_id={}", encoded(evil));
    let mut client = Client::connect(address, &path);
    assert!(!client.head.contains("INJECTED"), "{}", client.head);
    let data = json!({
        "message": evil, evil: evil, "type": evil, "timestamp": evil, "correlation_id": evil,
    });
    let message = json!({
        "user_id": evil, "event_type": evil, "event_id": evil, "data": data, evil: evil,
    });
    let response = post(address, "/sse/push", &message.to_string());
    assert_eq!(response.json()["status"], "success", "{response:?}");
    check_frame(&mut client, evil);

    let batch = post(
        address,
        "/sse/push/batch",
        &json!([message, message]).to_string(),
    );
    assert!(!batch.head.contains("INJECTED"), "{}", batch.head);
    for (index, result) in batch.json()["results"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        assert_eq!(
            result,
            &json!({ "index": index, "user_id": evil, "success": true })
        );
        check_frame(&mut client, evil);
    }

    let mut call = Call::begin(address, &message);
    assert!(!call.head.contains("INJECTED"), "{}", call.head);
    check_frame(&mut client, evil);
    let answer = json!({ "correlation_id": evil, "type": evil, evil: evil, "data": evil });
    client.say(&answer);
    assert_eq!(call.event(), answer);
    // Line breaks between the tokens, too.
    let spread = format!(
        "\r\n{{\n\"correlation_id\"\r:{id},\n\n\"is_final\":\r\n\r\ntrue\n}}\n\n",
        id = json!(evil)
    );
    client.send(0x81, spread.as_bytes());
    assert_eq!(
        call.until_end(),
        [json!({ "correlation_id": evil, "is_final": true })]
    );

    // Somebody who is not there, and what is wrong with a request.
    let nobody = json!({ "user_id": format!("not {evil}"), "data": data });
    let mut call = Call::begin(address, &nobody);
    let offline = json!({ "error": "User not connected", "correlation_id": evil });
    assert_eq!(call.until_end(), [offline]);
    for wrong in [
        json!(evil),
        json!({ "user_id": { evil: evil }, "data": evil }),
        json!([evil]),
    ] {
        for path in ["/sse/push", "/sse/push/batch", "/sse/send"] {
            let response = post(address, path, &wrong.to_string());
            assert_eq!(response.status, 422, "{path} {wrong}");
            assert!(!response.head.contains("INJECTED"), "{}", response.head);
            assert!(response.json()["detail"].is_array());
            let plain = super::post_with(address, path, "Content-Type: text/plain\r\n", evil);
            assert_eq!(plain.status, 422, "{path}");
            assert_eq!(plain.json()["detail"][0]["input"], evil);
        }
    }
    super::leave(client);
}

#[track_caller]
fn check_frame(client: &mut Client, evil: &str) {
    let frame: Value = client.json();
    assert_eq!(frame["message"], evil);
    assert_eq!(frame["correlation_id"], evil);
    assert_eq!(frame["user_id"], evil);
    let sender = json!({ "user_id": evil, "timestamp": evil });
    assert_eq!(frame["original_sender"], sender);
}

#[test]
fn m11_no_text_breaks_a_stream_a_header_a_frame_or_a_line_of_the_log() {
    for format in ["text", "json"] {
        let process = Process::with(
            &["--shards", "3"],
            &[
                ("FANFARE_LOG__LEVEL", "debug"),
                ("FANFARE_LOG__FORMAT", format),
            ],
        );
        let address = process.address;
        for evil in EVIL {
            check(address, evil);
            // Names and tokens that are refused.
            for query in [
                format!("user_id={}&user_id=b", encoded(evil)),
                format!("user_id=a&token={}", encoded(evil)),
                format!("user_id={}&token=a.b.c", encoded(evil)),
            ] {
                let response = super::refused(address, &format!("/ws?{query}"), "");
                assert!(matches!(response.status, 400 | 401), "{query} {response:?}");
                assert!(!response.head.contains("INJECTED"), "{}", response.head);
            }
        }
        process.signal("TERM");
        let (status, log) = process.finish(Duration::from_secs(20));
        assert!(status.success(), "{log}");
        for line in log.lines() {
            assert!(
                !line.starts_with("INJECTED") && !line.starts_with("data:"),
                "{log}"
            );
            assert!(
                !line.contains(['\u{1b}', '\u{7}', '\u{0}', '\u{202e}', '\r']),
                "{log}"
            );
            if format == "json" {
                let line: Value =
                    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
                assert!(line.is_object(), "{line}");
            }
        }
    }
}

#[test]
fn m01_json_that_is_nested_too_deep_or_wide_is_refused_or_passed_on() {
    for shards in [1, 3] {
        let gateway = super::gateway(shards, |_| {});
        let address = gateway.address;
        let mut alice = super::user(address, "alice");
        for depth in [10, 50, 60, 61, 62, 63, 64, 65, 100, 100_000] {
            let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let body = format!(r#"{{"user_id":"alice","data":{{"d":{nested}}}}}"#);
            let response = post(address, "/sse/push", &body);
            match response.status {
                200 => assert!(alice.json()["d"].is_array(), "{depth}"),
                422 => assert!(depth > 60, "{depth}"),
                other => panic!("{other} {depth}"),
            }
            let batch = post(address, "/sse/push/batch", &format!("[{body}]"));
            match batch.status {
                200 => assert!(alice.json()["d"].is_array(), "{depth}"),
                422 => assert!(depth > 60, "{depth}"),
                other => panic!("{other} {depth}"),
            }
            // The user's side.
            let mut call = call(address, "alice", &json!(depth));
            alice.json();
            let answer = format!(r#"{{"correlation_id":{depth},"d":{nested},"is_final":true}}"#);
            alice.send(0x81, answer.as_bytes());
            alice.say(&last(&json!(depth), "in any case"));
            assert_eq!(call.until_end().len(), 1, "{depth}");
        }
        let wide = json!({ "user_id": "alice", "data": { "w": vec![0; 100_000] } });
        assert!(super::push_message(address, &wide));
        assert_eq!(alice.json()["w"].as_array().unwrap().len(), 100_000);
    }
}

#[test]
fn half_a_surrogate_pair_harms_nobody() {
    for shards in [1, 3] {
        let gateway = super::gateway(shards, |_| {});
        let address = gateway.address;
        let mut alice = super::user(address, "alice");
        for (user, data) in [
            (r#""alice""#, r#"{"message":"\ud800"}"#),
            (r#""alice""#, r#"{"message":"\udc00@ci_bot"}"#),
            (r#""alice""#, r#"{"\ud800":1}"#),
            (r#""alice""#, r#"{"correlation_id":"\ud800"}"#),
            (r#""alice""#, r#"{"timestamp":"\ud800"}"#),
            (r#""\ud800""#, "{}"),
        ] {
            let body = format!(r#"{{"user_id":{user},"data":{data}}}"#);
            for path in ["/sse/push", "/sse/send"] {
                let response = Call::post(address, path, "", &body);
                assert!(
                    matches!(response.status, 200 | 422),
                    "{body} {}",
                    response.head
                );
            }
        }
        for answer in [
            r#"{"correlation_id":"\ud800"}"#,
            r#"{"\ud800":"\udfff","correlation_id":"c","is_final":true}"#,
            r#"{"type":"\ud800","is_final":"\ud800","correlation_id":1}"#,
        ] {
            alice.send(0x81, answer.as_bytes());
        }
        assert!(push(address, "alice", &json!({ "still": "here" })));
        while alice
            .next()
            .unwrap()
            .payload
            .windows(5)
            .all(|five| five != b"still")
        {}
    }
}

#[test]
fn requests_that_come_byte_by_byte_or_all_at_once_are_the_same() {
    let gateway = super::gateway(3, |_| {});
    let address = gateway.address;
    let mut alice = super::user(address, "alice");
    let body = r#"{"user_id":"alice","data":{"n":1}}"#;
    let one = format!(
        "POST /sse/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    let mut stream = Socket::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in format!("{one}Connection: close\r\n\r\n{body}").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(
        text.ends_with(r#""message":"Message delivered"}"#),
        "{text}"
    );
    assert_eq!(alice.json()["n"], 1);
    let three = format!("{one}\r\n{body}{one}\r\n{body}{one}Connection: close\r\n\r\n{body}");
    let response = request(address, three.as_bytes());
    assert_eq!(response.count(), 3, "{response:?}");
    for _ in 0..3 {
        assert_eq!(alice.json()["n"], 1);
    }
}
