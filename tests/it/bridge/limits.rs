//! What is configured of the bridge, and what happens at each limit.

use std::time::Duration;

use serde_json::{Value, json};

use super::{call, closed, gateway, last, more, post, push, user, wait_until};
use crate::support::{Call, Client, frame, metric, request};
use fanfare::dialect::bridge::BridgeSettings;

const NOBODY: &str = r#"{"user_id":"nobody","data":{}}"#;

#[test]
fn requests_of_an_address_are_counted() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| {
            config.section_mut::<BridgeSettings>().requests_per_minute = 9;
        });
        let address = gateway.address;
        // All three, also those that are refused, on whichever shard.
        for _ in 0..3 {
            assert_eq!(post(address, "/sse/push", NOBODY).status, 200);
            assert_eq!(post(address, "/sse/push/batch", "{").status, 422);
            assert_eq!(post(address, "/sse/send", NOBODY).status, 200);
        }
        for path in ["/sse/push", "/sse/push/batch", "/sse/send"] {
            let response = post(address, path, NOBODY);
            assert_eq!(response.status, 429, "{path} {response:?}");
            assert_eq!(response.json(), json!({ "detail": "Rate limit exceeded" }));
            let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
        }
        assert_eq!(
            metric(
                address,
                "limited_total{reason=\"bridge_requests_per_minute\"}"
            ),
            3
        );
        // Users and others are not concerned.
        let mut alice = user(address, "alice");
        alice.say(&json!([]));
        assert_eq!(alice.json()["type"], "error");
        let event = json!({ "event": "a", "data": 1 }).to_string();
        assert_eq!(post(address, "/api/v1/events", &event).status, 202);
    }
}

#[test]
fn calls_that_wait_are_counted() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| {
            config.section_mut::<BridgeSettings>().max_calls = 3;
        });
        let address = gateway.address;
        let mut alice = user(address, "alice");
        let mut calls: Vec<_> = (0..3)
            .map(|id| call(address, "alice", &json!(id)))
            .collect();
        let body = json!({ "user_id": "alice", "data": { "correlation_id": 9 } }).to_string();
        let mut one_more = Call::post(address, "/sse/send", "", &body);
        assert_eq!(one_more.status, 503);
        assert_eq!(one_more.header("retry-after"), Some("1"));
        let why: Value = serde_json::from_str(&one_more.whole_body()).unwrap();
        assert!(why["detail"].is_string(), "{why}");
        assert_eq!(metric(address, "limited_total{reason=\"max_calls\"}"), 1);
        // Pushes need no place.
        assert!(push(address, "alice", &json!({})));
        // One that ends makes room, for one.
        alice.say(&last(&json!(1), "end"));
        assert_eq!(calls[1].until_end().len(), 1);
        let mut next = call(address, "alice", &json!(9));
        assert_eq!(Call::post(address, "/sse/send", "", &body).status, 503);
        alice.say(&last(&json!(9), "end"));
        assert_eq!(next.until_end().len(), 1);
    }
}

#[test]
fn a_call_that_is_refused_takes_no_place() {
    let gateway = gateway(3, |config| {
        config.section_mut::<BridgeSettings>().max_calls = 2;
    });
    let address = gateway.address;
    let mut alice = user(address, "alice");
    let mut first = call(address, "alice", &json!("c"));
    for _ in 0..20 {
        let body = json!({ "user_id": "alice", "data": { "correlation_id": "c" } });
        assert_eq!(
            Call::post(address, "/sse/send", "", &body.to_string()).status,
            409
        );
        assert_eq!(post(address, "/sse/send", "{}").status, 422);
    }
    let mut second = call(address, "alice", &json!("d"));
    alice.say(&last(&json!("c"), 1));
    alice.say(&last(&json!("d"), 1));
    assert_eq!((first.until_end().len(), second.until_end().len()), (1, 1));
}

#[test]
fn a_caller_who_reads_too_slowly_is_cut_off_with_a_reason() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| {
            config.section_mut::<BridgeSettings>().max_answer_bytes = 100_000;
        });
        let address = gateway.address;
        let mut alice = user(address, "alice");
        let id = json!("c");
        let mut slow = call(address, "alice", &id);
        alice.json();
        let large = more(&id, "x".repeat(50_000));
        // More than the sockets hold.
        let sent = 300;
        let answer = frame(0x81, large.to_string().as_bytes());
        for _ in 0..sent {
            alice.send_bytes(&answer);
        }
        wait_until("it is over", || {
            metric(address, "answers_unclaimed_total") > 0
        });
        let mut events = slow.until_end();
        let end = events.pop().unwrap();
        assert_eq!(end["correlation_id"], id);
        assert!(
            end["error"].as_str().unwrap().contains("slowly"),
            "{end:.200}"
        );
        assert!(!events.is_empty() && events.len() < sent);
        assert!(events.iter().all(|event| *event == large));
        // The user is not to blame, and the id is free.
        drop(super::call_when_free(address, "alice", &id));
        // One answer may always wait, however large.
        let id = json!("d");
        let mut next = call(address, "alice", &id);
        alice.say(&last(&id, "y".repeat(900_000)));
        assert_eq!(next.until_end(), [last(&id, "y".repeat(900_000))]);
    }
}

#[test]
fn the_paths_are_those_that_are_configured() {
    let gateway = gateway(3, |config| {
        config.section_mut::<BridgeSettings>().ws_path = "/live/users".to_owned();
        config.section_mut::<BridgeSettings>().push_path = "/in".to_owned();
        config.section_mut::<BridgeSettings>().batch_path = "/in/many".to_owned();
        config.section_mut::<BridgeSettings>().send_path = "/ask".to_owned();
    });
    let address = gateway.address;
    let mut alice = Client::connect(address, "/live/users?user_id=alice");
    let body = |n: u32| json!({ "user_id": "alice", "data": { "n": n, "correlation_id": "c" } });
    assert_eq!(
        post(address, "/in", &body(1).to_string()).json()["status"],
        "success"
    );
    assert_eq!(alice.json()["n"], 1);
    let batch = post(address, "/in/many", &json!([body(2)]).to_string());
    assert_eq!(batch.json()["results"][0]["success"], true);
    assert_eq!(alice.json()["n"], 2);
    let mut call = Call::post(address, "/ask", "", &body(3).to_string());
    assert_eq!((call.status, &alice.json()["n"]), (200, &json!(3)));
    alice.say(&last(&json!("c"), 1));
    assert_eq!(call.until_end().len(), 1);
    for path in ["/sse/push", "/sse/push/batch", "/sse/send", "/in/", "/IN"] {
        assert_eq!(
            post(address, path, &body(4).to_string()).status,
            404,
            "{path}"
        );
    }
    assert_eq!(super::refused(address, "/ws?user_id=alice", "").status, 404);
    let get = b"GET /ask HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(request(address, get).header("allow"), Some("POST"));
}

#[test]
fn a_bridge_that_is_off_is_not_there() {
    let gateway = gateway(1, |config| {
        config.section_mut::<BridgeSettings>().enabled = false;
    });
    for path in ["/sse/push", "/sse/push/batch", "/sse/send"] {
        let response = post(gateway.address, path, NOBODY);
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.json(), json!({ "detail": "Not Found" }));
    }
    assert_eq!(
        super::refused(gateway.address, "/ws?user_id=alice", "").status,
        404
    );
    let mut events = Client::events(gateway.address);
    events.say(&json!({ "type": "ping" }));
    assert_eq!(events.json()["type"], "pong");
}

#[test]
fn the_limit_of_connections_counts_users_and_is_given_back() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| config.server.max_connections = 3);
        let address = gateway.address;
        let first = user(address, "a");
        let _others = [user(address, "b"), user(address, "c")];
        assert_eq!(super::refused(address, "/ws?user_id=d", "").status, 503);
        super::leave(first);
        assert_eq!(super::connections(address), 2);
        // Its place among the sockets is free when its socket has gone.
        let mut again = None;
        wait_until("there is room", || {
            let client = super::answered(super::upgrade(address, "a"));
            let is_in = client.head.starts_with("HTTP/1.1 101 ");
            again = is_in.then_some(client);
            is_in
        });
        let mut again = again.expect("it is in");
        assert!(push(address, "a", &json!({ "n": 1 })));
        assert_eq!(again.json()["n"], 1);
    }
}

#[test]
fn a_message_that_is_not_finished_in_time_is_the_end() {
    let gateway = gateway(1, |config| {
        config.websocket.message_timeout = Duration::from_millis(100);
    });
    let mut alice = user(gateway.address, "alice");
    alice.send(0x01, b"{");
    assert_eq!(closed(&mut alice).0, 1008);
    // A stream may take its time for each answer, whatever a message may take.
    let mut alice = user(gateway.address, "alice");
    let mut call = call(gateway.address, "alice", &json!("c"));
    for number in 0..3 {
        std::thread::sleep(Duration::from_millis(400));
        alice.say(&more(&json!("c"), number));
        assert_eq!(call.event()["data"], number);
    }
    alice.say(&last(&json!("c"), 1));
    assert_eq!(call.until_end().len(), 1);
}

#[test]
fn a_user_for_whom_there_is_no_topic_is_answered_before_the_connection_ends() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| config.hub.max_topics = 10);
        let address = gateway.address;
        let mut connected = Vec::new();
        let mut refused = 0;
        for number in 0..60 {
            let stream = super::upgrade(address, &format!("u{number}"));
            let mut client = super::answered(stream);
            if !client.head.starts_with("HTTP/1.1 101 ") {
                refused += 1;
                continue;
            }
            // Whoever stays is told when something is not right; a close frame is the first frame then.
            client.say(&json!([]));
            match client.next().expect("a frame") {
                frame if frame.first == 0x81 => connected.push((format!("u{number}"), client)),
                frame => {
                    assert_eq!(frame.close_code(), Some(1013), "{frame:?}");
                    refused += 1;
                }
            }
        }
        assert!(
            refused > 0 && connected.len() >= 10,
            "{refused} {}",
            connected.len()
        );
        for (name, client) in &mut connected {
            assert!(push(address, name, &json!({ "n": 1 })), "{name}");
            assert_eq!(client.json()["n"], 1);
        }
    }
}
