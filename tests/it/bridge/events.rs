//! The bridge and the events protocol: one user, reached and answering by either.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare::config::Mode;
use serde_json::{Value, json};

use super::{SILENCE, call, gateway_in, last, more, post, push, push_message, token, user};
use crate::support::{Call, Client, EventStream, TestGateway, metric};

fn gateway(shards: usize) -> TestGateway {
    gateway_in(Mode::Demo, shards, |_| {})
}

/// A connection of the events protocol that is a user's.
fn events_of(address: SocketAddr, name: &str, more: &str) -> Client {
    let path = format!("/api/v1/ws/dev?token={}{more}", token(name, None));
    let mut client = Client::connect(address, &path);
    let greeting = client.json();
    assert_eq!(greeting["authenticated"], true, "{greeting}");
    // Until every shard knows of it.
    client.subscribe(&["settled.1", "settled.2", "settled.3", "settled.4"]);
    client
}

#[test]
fn a_push_is_an_event_of_the_users_other_connections() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let address = gateway.address;
        let mut bridge = user(address, "alice");
        let mut events = [
            events_of(address, "alice", ""),
            events_of(address, "alice", ""),
        ];
        let mut bob = events_of(address, "bob", "");
        for (kind, name) in [
            (json!("invoice.paid"), "invoice.paid"),
            (json!("message"), "message"),
            (json!(null), "message"),
            (json!(""), "message"),
            (json!("no name"), "message"),
            (json!("x\r\ny"), "message"),
            (json!("a*"), "message"),
            (json!("x".repeat(1000)), "message"),
        ] {
            let data = json!({ "text": "hi", "timestamp": 5, "correlation_id": "c" });
            let message = json!({ "user_id": "alice", "event_type": kind, "data": data });
            assert!(push_message(address, &message), "{kind}");
            let completed = json!({
                "text": "hi", "timestamp": 5, "correlation_id": "c", "user_id": "alice",
                "original_sender": { "user_id": "alice", "timestamp": 5 },
            });
            assert_eq!(bridge.json(), completed);
            for client in &mut events {
                let event = client.json();
                assert_eq!(event["type"], "event", "{event}");
                assert_eq!(event["event"], name, "{event}");
                assert_eq!(event["data"], completed, "{event}");
            }
        }
        assert!(bob.is_silent(SILENCE) && bridge.is_silent(Duration::from_millis(10)));
    }
}

#[test]
fn a_user_who_has_only_an_events_connection_is_reached() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let address = gateway.address;
        assert!(!push(address, "alice", &json!({})));
        let mut events = events_of(address, "alice", "");
        assert!(push(address, "alice", &json!({ "n": 1 })));
        assert_eq!(events.json()["data"]["n"], 1);
        let batch = json!([{ "user_id": "alice", "data": { "n": 2 } }]);
        let results = post(address, "/sse/push/batch", &batch.to_string()).json();
        assert_eq!(results["results"][0]["success"], true);
        assert_eq!(events.json()["data"]["n"], 2);
        super::leave(events);
        assert!(!push(address, "alice", &json!({})), "{shards} shards");
    }
}

#[test]
fn one_who_is_nobody_receives_nothing_that_is_for_somebody() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let address = gateway.address;
        let mut alice = user(address, "alice");
        let mut pattern = Client::events(address);
        pattern.subscribe(&["*", "*.*", "user*", "message", "user.*"]);
        let mut other = events_of(address, "bob", "");
        other.subscribe(&["*", "message", "question"]);
        for kind in ["message", "question"] {
            let message =
                json!({ "user_id": "alice", "event_type": kind, "data": { "secret": 1 } });
            assert!(push_message(address, &message));
            assert_eq!(alice.json()["secret"], 1);
            let mut call = Call::begin(
                address,
                &json!({
                    "user_id": "alice", "event_type": kind, "data": { "secret": 2, "correlation_id": kind },
                }),
            );
            assert_eq!(alice.json()["secret"], 2);
            alice.say(&last(&json!(kind), 3));
            assert_eq!(call.until_end().len(), 1);
        }
        assert!(pattern.is_silent(SILENCE) && other.is_silent(SILENCE));
        // Nor by asking for it.
        for client in [&mut pattern, &mut other] {
            client.say(&json!({ "type": "subscribe", "events": ["user:alice:events"] }));
            let answer = client.json();
            let subscribed = answer["subscriptions"].as_array().map_or(0, |all| {
                all.iter()
                    .filter(|topic| **topic == "user:alice:events")
                    .count()
            });
            assert_eq!(subscribed, 0, "{answer}");
        }
        assert!(push(address, "alice", &json!({ "secret": 4 })));
        assert_eq!(alice.json()["secret"], 4);
        assert!(pattern.is_silent(SILENCE) && other.is_silent(SILENCE));
    }
}

#[test]
fn a_bridge_connection_receives_nothing_that_is_for_everybody() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let address = gateway.address;
        let mut alice = user(address, "alice");
        let broadcast = json!({ "event": "notice", "data": {}, "broadcast": true }).to_string();
        assert_eq!(post(address, "/api/v1/events", &broadcast).status, 202);
        for topic in ["alice", "message", "user.alice"] {
            let publication = json!({ "topic": topic, "payload": {} }).to_string();
            assert_eq!(post(address, "/api/v1/publish", &publication).status, 202);
        }
        assert!(alice.is_silent(SILENCE));
    }
}

#[test]
fn an_answer_by_the_events_protocol_reaches_the_caller() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let address = gateway.address;
        let mut events = events_of(address, "alice", "");
        for id in [json!("c"), json!(7), json!(1.5), json!("\u{e9}\n")] {
            let mut call = call(address, "alice", &id);
            let asked = events.json();
            assert_eq!(asked["data"]["correlation_id"], id);
            let part =
                json!({ "type": "response", "id": id, "data": { "n": 1 }, "is_final": false });
            events.say(&part);
            let event = call.event();
            assert_eq!(
                (&event["correlation_id"], &event["data"]["n"]),
                (&id, &json!(1))
            );
            assert_eq!(event["is_final"], false);
            // One response is the whole answer unless it says otherwise.
            events.say(&json!({ "type": "response", "id": id, "data": { "n": 2 } }));
            let event = call.event();
            assert_eq!(
                (&event["correlation_id"], &event["data"]["n"]),
                (&id, &json!(2))
            );
            assert_eq!(call.next(), None);
        }
        assert!(events.is_silent(SILENCE), "an answer is not answered");
    }
}

#[test]
fn only_the_user_answers_by_the_events_protocol() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let address = gateway.address;
        let mut alice = user(address, "alice");
        let mut bob = events_of(address, "bob", "");
        let mut nobody = Client::events(address);
        let id = json!("c");
        let mut call = call(address, "alice", &id);
        assert_eq!(alice.json()["correlation_id"], id);
        let answer = json!({ "type": "response", "id": id, "data": "stolen" });
        bob.say(&answer);
        nobody.say(&answer);
        // Somebody unknown cannot have been asked; to them it is a message like any other.
        nobody.next();
        super::wait_until("nobody waits for it", || {
            metric(address, "answers_unclaimed_total") == 1
        });
        assert!(call.is_silent(SILENCE));
        let mut hers = events_of(address, "alice", "");
        hers.say(&json!({ "type": "response", "id": "c", "data": 1, "is_final": false }));
        assert_eq!(call.event()["data"], 1);
        alice.say(&more(&id, 2));
        assert_eq!(call.event(), more(&id, 2));
        hers.say(&json!({ "type": "response", "id": "c", "data": 3 }));
        assert_eq!(call.event()["data"], 3);
        assert_eq!(call.next(), None);
    }
}

#[test]
fn responses_that_answer_nothing_are_not_the_end() {
    let gateway = gateway(3);
    let mut events = events_of(gateway.address, "alice", "");
    for response in [
        json!({ "type": "response" }),
        json!({ "type": "response", "id": null }),
        json!({ "type": "response", "id": "unknown", "data": 1 }),
        json!({ "type": "response", "id": "", "data": 1 }),
    ] {
        events.say(&response);
    }
    events.say(&json!({ "type": "ping" }));
    while events.json()["type"] != "pong" {}
}

#[test]
fn a_publication_for_a_user_reaches_the_bridge_completed() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let address = gateway.address;
        let mut alice = user(address, "alice");
        let mut events = events_of(address, "alice", "");
        for payload in [
            json!({ "n": 1 }),
            json!({ "n": 1, "timestamp": 5, "correlation_id": 9 }),
            json!({ "user_id": "eve", "original_sender": "eve" }),
            json!([1, 2]),
            json!("text"),
            json!(null),
            json!(1.5),
        ] {
            let body =
                json!({ "user_id": "alice", "payload": payload, "type": "news" }).to_string();
            let response = post(address, "/api/v1/publish", &body);
            assert_eq!(response.status, 202, "{response:?}");
            let event = events.json();
            assert_eq!(
                (&event["event"], &event["data"]),
                (&json!("news"), &payload)
            );
            let frame = alice.json();
            let mut expected = match payload.as_object() {
                Some(_) => payload.clone(),
                None => json!({ "data": payload }),
            };
            let timestamp = payload["timestamp"].clone();
            expected["original_sender"] = json!({ "user_id": "alice", "timestamp": timestamp });
            expected["user_id"] = json!("alice");
            if expected["correlation_id"].is_null() {
                assert_eq!(
                    frame["correlation_id"].as_str().unwrap().len(),
                    36,
                    "{frame}"
                );
                expected["correlation_id"] = frame["correlation_id"].clone();
            }
            assert_eq!(frame, expected);
        }
        // The same by the events protocol's own request.
        let body = json!({ "event": "x", "data": { "n": 2 }, "user_id": "alice" }).to_string();
        assert_eq!(
            post(address, "/api/v1/events", &body).json()["delivered"],
            2
        );
        assert_eq!(alice.json()["n"], 2);
    }
}

#[test]
fn a_publication_says_that_a_bridge_connection_was_reached() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let address = gateway.address;
        let body = |name: &str| json!({ "event": "x", "data": 1, "user_id": name }).to_string();
        let _alice = user(address, "alice");
        assert_eq!(
            post(address, "/api/v1/events", &body("alice")).json()["delivered"],
            1
        );
        assert_eq!(
            post(address, "/api/v1/events", &body("bob")).json()["delivered"],
            0
        );
    }
}

#[test]
fn a_push_reaches_connections_that_read_messagepack() {
    for shards in [1, 3] {
        let gateway = gateway(shards);
        let address = gateway.address;
        let path = format!(
            "/api/v1/ws/dev?format=msgpack&token={}",
            token("alice", None)
        );
        let mut packed = Client::connect(address, &path);
        let greeting: Value = rmp_serde::from_slice(&packed.next().unwrap().payload).unwrap();
        assert_eq!(greeting["authenticated"], true, "{greeting}");
        super::wait_until("she is there", || {
            push(address, "alice", &json!({ "wait": 1 }))
        });
        loop {
            let event: Value = rmp_serde::from_slice(&packed.next().unwrap().payload).unwrap();
            if event["data"]["wait"] == 1 {
                break;
            }
        }
        for data in [
            r#"{"n":1,"correlation_id":"c"}"#.to_owned(),
            r#"{"text":"\ud83d\ude00 \u0000 \u00e9","big":18446744073709551615,"f":1e300}"#
                .to_owned(),
            format!(r#"{{"deep":{}1{}}}"#, "[".repeat(58), "]".repeat(58)),
            r#"{"n":1,"n":2,"":{"":[]}}"#.to_owned(),
            r#"{"huge":1e999,"long":123456789012345678901234567890}"#.to_owned(),
            r#"{"half":"\ud800"}"#.to_owned(),
        ] {
            let body = format!(r#"{{"user_id":"alice","data":{data}}}"#);
            let response = post(address, "/sse/push", &body);
            if response.status == 422 {
                continue;
            }
            assert_eq!(response.status, 200, "{data} {response:?}");
            let frame = packed.next().expect("an event, not the end");
            assert_eq!(frame.first, 0x82, "{data}");
        }
        assert!(push(address, "alice", &json!({ "still": "here" })));
        let event: Value = rmp_serde::from_slice(&packed.next().unwrap().payload).unwrap();
        assert_eq!(event["data"]["still"], "here");
    }
}

#[test]
fn a_push_is_an_event_of_the_users_stream_and_breaks_no_line_of_it() {
    let gateway = gateway(3);
    let address = gateway.address;
    let query = format!("topics=news&token={}", token("alice", None));
    let mut stream = EventStream::subscribe(address, &query);
    let publication = json!({ "topic": "news", "payload": 0 }).to_string();
    assert_eq!(post(address, "/api/v1/publish", &publication).status, 202);
    assert_eq!(stream.event().name, "news");
    // Whether inboxes are read by streams or not: nothing that is pushed may look like an event.
    let evil = "x\r\n\r\nevent: evil\r\ndata: {}\n\nid: 7\r";
    let body = format!(
        "{{\"user_id\":\"alice\",\r\n\"event_type\":{kind},\n\"data\":{{\r\"message\":{text},\n\n\"event\":1}}}}",
        kind = json!(evil),
        text = json!(evil)
    );
    let response = post(address, "/sse/push", &body);
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(post(address, "/api/v1/publish", &publication).status, 202);
    loop {
        let event = stream.event();
        assert_ne!(event.name, "evil");
        if event.name == "news" {
            break;
        }
        assert_eq!(event.json()["message"], evil);
    }
}
