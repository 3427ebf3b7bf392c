//! `GET /ws?user_id=`: what a user's connection says and takes.

use std::time::Duration;

use flate2::{Decompress, FlushDecompress};
use serde_json::{Value, json};

use super::{SILENCE, call, closed, gateway, last, push, push_message, refused, user};
use crate::support::{Client, metric, request};
use fanfare::dialect::bridge::BridgeSettings;

#[test]
fn nothing_is_said_before_something_is_pushed() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        assert!(alice.is_silent(Duration::from_millis(200)));
        let head = alice.head.to_ascii_lowercase();
        assert!(!head.contains("sec-websocket-protocol"), "{head}");
        assert!(!head.contains("sec-websocket-extensions"), "{head}");
        let accept = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";
        assert!(head.contains(accept), "{head}");
    }
}

#[test]
fn no_subprotocol_is_agreed_to() {
    let gateway = gateway(1, |_| {});
    for (number, offer) in ["chat", "chat, superchat", "json", "websocket"]
        .iter()
        .enumerate()
    {
        let header = format!("Sec-WebSocket-Protocol: {offer}\r\n");
        let path = format!("/ws?user_id=u{number}");
        let client = Client::connect_with(gateway.address, &path, &header);
        let head = client.head.to_ascii_lowercase();
        assert!(!head.contains("sec-websocket-protocol"), "{head}");
    }
}

#[test]
fn compression_is_agreed_to_when_it_is_offered() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        for (name, offer) in [
            ("a", "permessage-deflate"),
            ("b", "permessage-deflate; client_max_window_bits"),
            ("c", "permessage-deflate; server_max_window_bits=10"),
            (
                "d",
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            ),
        ] {
            let header = format!("Sec-WebSocket-Extensions: {offer}\r\n");
            let path = format!("/ws?user_id={name}");
            let mut client = Client::connect_with(gateway.address, &path, &header);
            let agreed = "Sec-WebSocket-Extensions: permessage-deflate";
            assert!(client.head.contains(agreed), "{}", client.head);
            for text in ["short".to_owned(), "again and ".repeat(2000)] {
                let id = json!(format!("{name}{}", text.len()));
                let data = json!({ "message": text, "correlation_id": id });
                assert!(push(gateway.address, name, &data));
                assert_eq!(readable(&mut client)["message"], text.as_str(), "{offer}");
                let mut call = call(gateway.address, name, &id);
                assert_eq!(readable(&mut client)["correlation_id"], id);
                client.say(&last(&id, 1));
                assert_eq!(call.until_end(), [last(&id, 1)]);
            }
            client.say(&json!([1]));
            assert_eq!(readable(&mut client)["type"], "error");
        }
        // Off is off.
        let off = super::gateway(1, |config| config.websocket.deflate = false);
        let header = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let client = Client::connect_with(off.address, "/ws?user_id=a", header);
        assert!(!client.head.contains("Extensions"), "{}", client.head);
    }
}

/// The next text, compressed or not.
fn readable(client: &mut Client) -> Value {
    let frame = client.next().expect("a frame, not the end");
    if frame.first == 0x81 {
        return frame.json();
    }
    assert_eq!(frame.first, 0xc1, "{frame:?}");
    let mut out = Vec::with_capacity(1 << 20);
    Decompress::new_with_window_bits(false, 15)
        .decompress_vec(
            &[&*frame.payload, &[0, 0, 0xff, 0xff]].concat(),
            &mut out,
            FlushDecompress::Sync,
        )
        .unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_connection_names_its_user() {
    let gateway = gateway(3, |_| {});
    let address = gateway.address;
    for path in ["/ws", "/ws?", "/ws?user=a", "/ws?USER_ID=a", "/ws?userid=a"] {
        let response = refused(address, path, "");
        assert_eq!(response.status, 401, "{path} {response:?}");
        assert_eq!(
            response.body.trim_end(),
            "Missing authentication token",
            "{path}"
        );
        assert!(response.closed, "{path}");
    }
    let long = format!("/ws?user_id={}", "x".repeat(129));
    for path in [
        "/ws?user_id=",
        "/ws?user_id",
        "/ws?user_id=a&user_id=b",
        "/ws?user_id=%FF",
        &long,
    ] {
        let response = refused(address, path, "");
        assert_eq!(response.status, 400, "{path} {response:?}");
        assert!(response.body.contains("user_id"), "{response:?}");
    }
    for path in [
        "/ws/?user_id=a",
        "/ws/a?user_id=a",
        "/WS?user_id=a",
        "//ws?user_id=a",
    ] {
        assert_eq!(refused(address, path, "").status, 404, "{path}");
    }
    let longest = "x".repeat(128);
    let mut client = user(address, &longest);
    assert!(push(address, &longest, &json!({})));
    assert_eq!(client.json()["user_id"], longest);
    let mut client = user(address, "%F0%9F%98%80+%22%0d%0a");
    assert!(push(address, "\u{1f600} \"\r\n", &json!({})));
    assert_eq!(client.json()["user_id"], "\u{1f600} \"\r\n");
}

#[test]
fn what_is_no_upgrade_is_refused() {
    let gateway = gateway(1, |_| {});
    let plain = b"GET /ws?user_id=a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let response = request(gateway.address, plain);
    assert!(matches!(response.status, 400 | 426), "{response:?}");
    let wrong = refused(
        gateway.address,
        "/ws?user_id=a",
        "Sec-WebSocket-Version: 8\r\n",
    );
    assert!(matches!(wrong.status, 400 | 426), "{wrong:?}");
    let posted = b"POST /ws?user_id=a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n\r\n";
    let response = request(gateway.address, posted);
    assert_eq!(response.status, 405, "{response:?}");
    assert_eq!(response.header("allow"), Some("GET"), "{response:?}");
}

#[test]
fn a_frame_is_the_data_and_three_fields() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        let mut check = |data: &str, expected: Value| {
            let body = format!(r#"{{"user_id":"alice","data":{data},"timestamp":99}}"#);
            let body: Box<serde_json::value::RawValue> = serde_json::from_str(&body).unwrap();
            let response = super::post(gateway.address, "/sse/push", body.get());
            assert_eq!(response.status, 200, "{response:?}");
            let frame = alice.next().unwrap();
            let text = String::from_utf8(frame.payload.clone()).unwrap();
            for field in ["\"original_sender\"", "\"correlation_id\""] {
                assert_eq!(text.matches(field).count(), 1, "{text}");
            }
            let mut value = frame.json();
            if expected["correlation_id"].is_null() {
                assert_eq!(
                    value["correlation_id"].take().as_str().unwrap().len(),
                    36,
                    "{text}"
                );
            }
            assert_eq!(value, expected, "{text}");
        };
        let sender = |timestamp: Value| json!({ "user_id": "alice", "timestamp": timestamp });
        check(
            r#"{"message":"hi","type":"notification","timestamp":123}"#,
            json!({
                "message": "hi", "type": "notification", "timestamp": 123,
                "original_sender": sender(json!(123)), "user_id": "alice", "correlation_id": null,
            }),
        );
        check(
            "{}",
            json!({ "original_sender": sender(json!(null)), "user_id": "alice", "correlation_id": null }),
        );
        // What a service says about these is not believed.
        check(
            r#"{"user_id":"eve","original_sender":{"user_id":"eve","admin":true},"correlation_id":5}"#,
            json!({ "original_sender": sender(json!(null)), "user_id": "alice", "correlation_id": 5 }),
        );
        check(
            r#"{"user\u005fid":"eve","original\u005fsender":1,"user_id":"eve","correlation\u005fid":"c"}"#,
            json!({ "original_sender": sender(json!(null)), "user_id": "alice", "correlation_id": "c" }),
        );
        check(
            r#"{"correlation_id":"a","n":1,"correlation_id":"b"}"#,
            json!({ "n": 1, "original_sender": sender(json!(null)), "user_id": "alice", "correlation_id": "b" }),
        );
        for id in [
            "-7",
            "1.5",
            "\"x\"",
            "\"\u{e9}\\n\"",
            "12345678901234567890",
        ] {
            let id_value: Value = serde_json::from_str(id).unwrap();
            check(
                &format!(r#"{{"correlation_id":{id}}}"#),
                json!({ "original_sender": sender(json!(null)), "user_id": "alice", "correlation_id": id_value }),
            );
        }
        for absent in ["null", "\"\""] {
            check(
                &format!(r#"{{"correlation_id":{absent}}}"#),
                json!({ "original_sender": sender(json!(null)), "user_id": "alice", "correlation_id": null }),
            );
        }
        // Any value of `data.timestamp` is repeated.
        for timestamp in [json!("t"), json!([1]), json!({ "a": null }), json!(1.25)] {
            check(
                &json!({ "timestamp": timestamp }).to_string(),
                json!({
                    "timestamp": timestamp, "original_sender": sender(timestamp.clone()),
                    "user_id": "alice", "correlation_id": null,
                }),
            );
        }
    }
}

#[test]
fn the_three_fields_come_last_and_in_their_order() {
    let gateway = gateway(1, |_| {});
    let mut alice = user(gateway.address, "alice");
    push_message(
        gateway.address,
        &json!({ "user_id": "alice", "data": { "z": 1, "correlation_id": "c" } }),
    );
    let text = String::from_utf8(alice.next().unwrap().payload).unwrap();
    let at = |field: &str| text.find(field).unwrap();
    let places = [
        at("\"z\""),
        at("\"original_sender\""),
        at("\"user_id\":\"alice\",\"c"),
        at("\"correlation_id\""),
    ];
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn large_messages_reach_users_whole() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| config.http.max_body_size = 8 << 20);
        let mut alice = user(gateway.address, "alice");
        for len in [65_000, 200_000, 2_000_000] {
            let text = "x".repeat(len);
            assert!(
                push(gateway.address, "alice", &json!({ "message": text })),
                "{len}"
            );
            assert_eq!(
                alice.json()["message"].as_str().unwrap().len(),
                len,
                "{shards} shards"
            );
        }
    }
}

#[test]
fn what_is_no_answer_is_dropped_or_told_but_never_the_end() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        for ignored in [
            "",
            " ",
            "hello",
            "{",
            "{'a':1}",
            "{\"a\":1}x",
            "{}",
            r#"{"type":"response","data":{}}"#,
            r#"{"correlation_id":"unknown"}"#,
            r#"{"correlation_id":null}"#,
            r#"{"correlation_id":""}"#,
            r#"{"type":"final_response","correlation_id":17}"#,
            r#"{"type":"ping"}"#,
            "\u{0}",
        ] {
            alice.send(0x81, ignored.as_bytes());
            assert!(alice.is_silent(Duration::from_millis(15)), "{ignored}");
        }
        for broken in [
            "[1]",
            "null",
            "5",
            "\"s\"",
            "true",
            "[]",
            r#"{"correlation_id":[1]}"#,
        ] {
            let before = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_secs_f64();
            alice.send(0x81, broken.as_bytes());
            let mut error = alice.json();
            let timestamp = error["timestamp"].take().as_f64().unwrap();
            assert!(
                (before - 5.0..before + 20.0).contains(&timestamp),
                "{timestamp} {before}"
            );
            let expected = json!({
                "type": "error", "message": "Error processing your message", "timestamp": null,
            });
            assert_eq!(error, expected, "{broken}");
        }
        assert!(push(gateway.address, "alice", &json!({ "still": "here" })));
        assert_eq!(alice.json()["still"], "here");
    }
}

#[test]
fn a_message_in_fragments_with_a_ping_between_is_an_answer() {
    let gateway = gateway(3, |_| {});
    let mut alice = user(gateway.address, "alice");
    let mut call = call(gateway.address, "alice", &json!("c"));
    alice.json();
    alice.send(0x01, br#"{"correlation_id""#);
    alice.send(0x89, b"ping");
    alice.send(0x00, br#":"c","#);
    alice.send(0x80, br#""is_final":true}"#);
    let pong = alice.next().unwrap();
    assert_eq!((pong.first, pong.payload.as_slice()), (0x8a, &b"ping"[..]));
    assert_eq!(
        call.until_end(),
        [json!({ "correlation_id": "c", "is_final": true })]
    );
}

#[test]
fn binary_is_not_taken() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        for payload in [&b""[..], b"{}", b"\x00\xff"] {
            let mut alice = user(gateway.address, "alice");
            alice.send(0x82, payload);
            assert_eq!(closed(&mut alice).0, 1003);
        }
    }
}

#[test]
fn text_that_is_not_utf_8_is_the_end() {
    let gateway = gateway(1, |_| {});
    let mut alice = user(gateway.address, "alice");
    alice.send(0x81, b"{\"correlation_id\":\"\xff\"}");
    assert_eq!(closed(&mut alice).0, 1007);
}

#[test]
fn a_message_over_the_limit_is_the_end() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| {
            config.section_mut::<BridgeSettings>().max_message_size = 2000;
        });
        let address = gateway.address;
        let mut alice = user(address, "alice");
        let mut call = call(address, "alice", &json!("c"));
        let message = |len: usize| {
            let empty = r#"{"correlation_id":"c","x":""}"#.len();
            format!(
                r#"{{"correlation_id":"c","x":"{}"}}"#,
                "y".repeat(len - empty)
            )
        };
        alice.json();
        alice.send(0x81, message(2000).as_bytes());
        assert_eq!(call.event()["x"].as_str().unwrap().len(), 1971);
        alice.send(0x81, message(2001).as_bytes());
        assert_eq!(closed(&mut alice).0, 1009);
        // In pieces, too.
        let mut alice = user(address, "alice");
        let (start, end) = (
            message(2001)[..1500].to_owned(),
            message(2001)[1500..].to_owned(),
        );
        alice.send(0x01, start.as_bytes());
        alice.send(0x80, end.as_bytes());
        assert_eq!(closed(&mut alice).0, 1009);
        let mut alice = user(address, "alice");
        alice.say(&last(&json!("c"), 1));
        assert_eq!(call.until_end(), [last(&json!("c"), 1)]);
    }
}

#[test]
fn the_limit_is_a_mebibyte_unless_told_otherwise() {
    let gateway = gateway(1, |_| {});
    let mut alice = user(gateway.address, "alice");
    alice.send(0x81, &vec![b' '; 1 << 20]);
    alice.send(0x89, b"still here");
    assert_eq!(alice.next().unwrap().first, 0x8a);
    alice.send(0x81, &vec![b' '; (1 << 20) + 1]);
    assert_eq!(closed(&mut alice).0, 1009);
}

#[test]
fn a_close_frame_is_answered_in_kind() {
    let gateway = gateway(1, |_| {});
    for (sent, answered) in [
        (&b"\x03\xe8"[..], 1000),
        (b"\x03\xe9bye", 1001),
        (b"", 1000),
        (b"\x0f\xa0", 4000),
    ] {
        let mut alice = user(gateway.address, "alice");
        alice.send(0x88, sent);
        assert_eq!(closed(&mut alice).0, answered, "{sent:?}");
        assert_eq!(alice.next(), None);
    }
}

#[test]
fn nothing_comes_before_the_answer_to_the_upgrade() {
    use std::io::{Read, Write};
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        for number in 0..30 {
            // All of it in one segment, as some clients do.
            let (first, payload) =
                [(0x81, &b"[1]"[..]), (0x89, b"x"), (0x82, b"x"), (0x88, b"")][number % 4];
            let mut bytes = format!(
                "GET /ws?user_id=u{number} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .into_bytes();
            bytes.extend(crate::support::frame(first, payload));
            let mut stream = crate::support::Socket::connect(gateway.address).unwrap();
            stream.write_all(&bytes).unwrap();
            let mut start = [0; 13];
            stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
            stream.read_exact(&mut start).expect("an answer");
            assert_eq!(
                String::from_utf8_lossy(&start),
                "HTTP/1.1 101 ",
                "{shards} shards, {first:x}"
            );
        }
    }
}

#[test]
fn users_are_pinged_and_go_when_they_do_not_answer() {
    let gateway = gateway(3, |config| {
        config.websocket.ping_interval = Duration::from_secs(1);
        config.websocket.ping_timeout = Duration::from_millis(500);
    });
    let address = gateway.address;
    let mut alice = user(address, "alice");
    let ping = alice.next().expect("a ping");
    assert_eq!(ping.first, 0x89);
    super::wait_until("she is taken for gone", || {
        !push(address, "alice", &json!({}))
    });
    assert!(metric(address, "disconnects_total{reason=\"silent\"}") == 1);
    let mut alice = user(address, "alice");
    assert!(push(address, "alice", &json!({ "again": 1 })));
    assert_eq!(alice.json()["again"], 1);
    assert!(alice.is_silent(SILENCE));
}
