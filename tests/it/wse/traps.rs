//! The ways in which existing clients are tripped up (1 to 11). Two of them are the clients' own and nothing that a
//! gateway could do: 7 (the TypeScript client drops types that have no handler) and 10 (the iterator of the Python
//! clients keeps a thousand messages and drops the oldest).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::SockRef;

use super::{PATIENCE, TOPICS, everywhere};
use crate::support::{RaiseOnDrop, WseApp, WseClient, WseForm, wse_gateway, wse_path, wse_publish};

#[test]
fn trap_01_and_06_no_message_has_a_number_or_a_time() {
    everywhere(
        "[backend]\nenabled = true\n[hub]\npresence = true\npresence_grace = \"0s\"\n",
        |gateway| {
            let mut app = WseApp::attach(gateway.address);
            // Each message is checked where it is read, the greeting and the answer to the hello first.
            let mut client = WseClient::of(gateway.address, "ann");
            client.subscribe_with(&json!({ "topics": ["t"], "presence": {} }));
            wse_publish(gateway.address, "t", "x", &json!({ "seq": 1, "ts": 2 }));
            app.run(&json!({ "op": "send", "conn": client.id(), "type": "direct", "data": {} }));
            app.run(&json!({ "op": "broadcast", "type": "all", "data": {} }));
            client.send("subscription_update", &json!({ "action": "none" }));
            for kind in [
                "health_check",
                "config_request",
                "debug_request",
                "sync_request",
            ] {
                client.send(kind, &json!({}));
            }
            let mut left = BTreeSet::from([
                "x",
                "direct",
                "all",
                "error",
                "presence_state",
                "presence_join",
                "health_check_response",
                "config_response",
                "debug_response",
                "snapshot_complete",
            ]);
            while !left.is_empty() {
                let message = client.next();
                assert!(left.remove(message.kind()), "{message:?}");
            }
        },
    );
}

#[test]
fn trap_02_control_is_text_that_begins_with_category_and_type() {
    everywhere("", |gateway| {
        for path in ["/wse", "/wse?format=msgpack"] {
            let mut client = WseClient::greeted(gateway.address, path);
            client.hello(&json!({ "compression": true }));
            for (message, start) in [
                (
                    json!({ "t": "ping", "p": { "timestamp": 1 } }),
                    r#"{"c":"WSE","t":"PONG""#,
                ),
                (
                    json!({ "t": "subscription_update", "p": { "action": "subscribe", "topics": ["t"] } }),
                    r#"{"c":"WSE","t":"subscription_update""#,
                ),
                (
                    json!({ "t": "subscription_update", "p": {} }),
                    r#"{"c":"WSE","t":"error""#,
                ),
                (
                    json!({ "t": "config_request" }),
                    r#"{"c":"WSE","t":"config_response""#,
                ),
            ] {
                client.say(&message);
                let answer = client.next();
                assert_eq!(answer.form, WseForm::Text, "{answer:?}");
                assert!(answer.text.starts_with(start), "{answer:?}");
            }
        }
    });
}

#[test]
fn trap_03_the_gateway_pings_in_capitals_with_both_times() {
    let gateway = wse_gateway(1, "[wse]\nping_interval = \"1s\"\n");
    let mut client = WseClient::open(gateway.address);
    let ping = client.next_of_all();
    assert!(
        ping.text.starts_with(r#"{"c":"WSE","t":"PING","#),
        "within the first 25 characters: {ping:?}"
    );
    assert!(ping.payload()["timestamp"].is_u64() && ping.payload()["server_time"].is_string());
}

#[test]
fn trap_04_the_greeting_is_first_whatever_the_client_does() {
    everywhere("", |gateway| {
        let began = Instant::now();
        for _ in 0..20 {
            // Its inbox has messages all the time, and it subscribes before it is greeted.
            let body = json!({ "user_id": "ann", "type": "note", "payload": {} });
            let mut client =
                crate::support::Client::connect(gateway.address, &wse_path("ann", &json!({})));
            client.say(&json!({ "t": "subscription_update", "p": { "action": "subscribe", "topics": ["t"] } }));
            crate::support::post_json(gateway.address, "/api/v1/publish", &body);
            let first = crate::support::WseMessage::read(&client.next().unwrap());
            assert_eq!(first.kind(), "server_ready");
            assert!(first.payload()["details"]["connection_id"].is_string());
        }
        assert!(began.elapsed() < Duration::from_secs(10));
    });
}

#[test]
fn trap_05_the_gateway_answers_subscriptions_itself_under_both_names() {
    everywhere("[backend]\nenabled = true\n", |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::open(gateway.address);
        for (kind, topic) in [("subscription_update", "a"), ("subscription", "b")] {
            let fields = json!({ "action": "subscribe", "topics": [topic] });
            let ack = client.ask(kind, &fields, "subscription_update");
            assert_eq!(
                (&ack["success"], &ack["success_topics"]),
                (&json!(true), &json!([topic]))
            );
            // TypeScript needs an array of texts.
            assert_eq!(ack["failed_topics"], json!([]));
            wse_publish(gateway.address, topic, "x", &json!({}));
            client.expect("x");
            assert_eq!(app.next("subscribe")["topics"], json!([topic]));
        }
        client.say(&json!({ "t": "mine", "p": {} }));
        assert_eq!(
            app.next("message")["type"],
            "mine",
            "the application is not asked"
        );
    });
}

#[test]
fn trap_08_no_message_is_larger_than_a_mebibyte() {
    let toml = "[backend]\nenabled = true\nmax_message_size = \"8MiB\"\n[http]\nmax_body_size = \"8MiB\"\n[events]\nmax_message_size = \"4MiB\"\n";
    everywhere(toml, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::open(gateway.address);
        client.subscribe(&["t"]);
        for len in [(1 << 20) - 150, 1 << 20, 3 << 20] {
            let data = json!({ "d": "x".repeat(len) });
            wse_publish(gateway.address, "t", "x", &data);
            let is_sent =
                app.ask(&json!({ "op": "send", "conn": client.id(), "type": "x", "data": data }));
            let wanted = 1 + usize::from(is_sent["ok"] == true);
            for _ in 0..wanted {
                let frame = client.client.next().unwrap();
                assert!(frame.payload.len() <= 1 << 20, "{}", frame.payload.len());
                let message = crate::support::WseMessage::read(&frame);
                assert!(matches!(message.kind(), "x" | "gap"), "{}", message.kind());
            }
        }
    });
}

#[test]
fn trap_09_stamps_are_contiguous_whoever_publishes() {
    const EACH: u64 = 200;
    everywhere(
        "[hub]\npresence = true\npresence_grace = \"0s\"\n",
        |gateway| {
            let address = gateway.address;
            let mut readers: Vec<WseClient> = (0..4).map(|_| WseClient::open(address)).collect();
            for (index, reader) in readers.iter_mut().enumerate() {
                match index % 2 {
                    0 => reader.send_subscribe(&json!({ "topics": TOPICS })),
                    _ => reader.send_subscribe(&json!({ "topics": ["?", "a", "*"] })),
                }
                while reader.next().kind() != "subscription_update" {}
            }
            let publishers: Vec<_> = (0..3)
            .map(|_| {
                thread::spawn(move || {
                    let mut client = WseClient::open(address);
                    for number in 0..EACH {
                        for topic in TOPICS {
                            client.send("publish", &json!({ "topic": topic, "type": "n", "data": { "n": number } }));
                        }
                    }
                    client.send("publish", &json!({ "topic": "a", "type": "last", "ack": true, "data": {} }));
                    client
                })
            })
            .collect();
            for reader in &mut readers {
                let mut last: BTreeMap<String, u64> = BTreeMap::new();
                let mut epochs: BTreeMap<String, String> = BTreeMap::new();
                let mut count = 0;
                while count < 3 * (EACH * 4 + 1) {
                    let message = reader.next();
                    let Some(topic) = message.json["tp"].as_str() else {
                        continue;
                    };
                    let offset = message.json["o"].as_u64().expect("a whole number");
                    let epoch = message.json["e"].as_str().expect("a text").to_owned();
                    assert_eq!(
                        *epochs
                            .entry(topic.to_owned())
                            .or_insert_with(|| epoch.clone()),
                        epoch
                    );
                    let before = last.insert(topic.to_owned(), offset).unwrap_or(0);
                    assert_eq!(offset, before + 1, "{topic}");
                    count += 1;
                }
            }
            for publisher in publishers {
                publisher.join().unwrap();
            }
        },
    );
}

#[test]
fn trap_11_pings_are_answered_in_time_while_much_is_on_its_way() {
    let toml = "[server]\nsend_buffer = \"32KiB\"\n[hub]\nmax_stall = \"10m\"\nslow_consumer = \"drop-oldest\"\nmax_lag = \"1MiB\"\n";
    everywhere(toml, |gateway| {
        let address = gateway.address;
        let mut client = WseClient::open(address);
        SockRef::from(&client.client.stream)
            .set_recv_buffer_size(64 * 1024)
            .unwrap();
        client.subscribe(&["t"]);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = RaiseOnDrop(&stop);
            scope.spawn(|| {
                let mut publisher = WseClient::open(address);
                let filler = "x".repeat(20_000);
                while !stop.load(Ordering::Relaxed) {
                    publisher.send(
                        "publish",
                        &json!({ "topic": "t", "type": "n", "data": { "filler": filler } }),
                    );
                }
            });
            for number in 0..20_u64 {
                let began = Instant::now();
                client.client.send(0x89, &number.to_be_bytes());
                client.send("ping", &json!({ "timestamp": number }));
                let (mut rfc, mut json) = (false, false);
                while !(rfc && json) {
                    let frame = client.client.next().unwrap();
                    if frame.first == 0x8a {
                        assert_eq!(frame.payload, number.to_be_bytes());
                        assert!(!rfc, "one pong");
                        rfc = true;
                        continue;
                    }
                    let message = crate::support::WseMessage::read(&frame);
                    json |=
                        message.kind() == "PONG" && message.payload()["client_timestamp"] == number;
                    assert!(began.elapsed() < PATIENCE, "as long as clients wait: 20 s");
                }
            }
        });
    });
}
