//! Together with the other protocols, and the endpoints over HTTP.

use fanfare::config::{Mode, Secret};
use serde_json::json;

use super::{TOPICS, everywhere, get};
use crate::support::{
    Call, Client, EventStream, TestGateway, WSE_SECRET, WseApp, WseClient, post_json, wse_gateway,
    wse_publish, wse_token,
};

/// A client of the events protocol of a user.
fn events_of(gateway: &TestGateway, user: &str) -> Client {
    let token = wse_token(&json!({ "sub": user }));
    let mut client = Client::connect(gateway.address, &format!("/api/v1/ws?token={token}"));
    assert_eq!(client.json()["authenticated"], true);
    client
}

#[test]
fn topics_are_shared_with_events_and_streams() {
    everywhere("", |gateway| {
        let mut wse = WseClient::open(gateway.address);
        let mut events = Client::events(gateway.address);
        for topic in TOPICS {
            wse.subscribe(&[topic]);
            events.subscribe(&[topic]);
            let mut stream = EventStream::subscribe(gateway.address, &format!("topics={topic}"));
            events.say(&json!({ "type": "publish", "event": topic, "data": { "from": "events" } }));
            let message = wse.next();
            assert_eq!(
                (message.kind(), message.payload(), &message.json["o"]),
                (topic, &json!({ "from": "events" }), &json!(1))
            );
            assert_eq!(events.json()["data"]["from"], "events");
            assert_eq!(stream.event().json()["from"], "events");
            wse.send(
                "publish",
                &json!({ "topic": topic, "type": "said", "data": { "from": "wse" } }),
            );
            assert_eq!(wse.expect("said"), json!({ "from": "wse" }));
            let event = events.json();
            assert_eq!(
                (&event["event"], &event["data"]),
                (&json!("said"), &json!({ "from": "wse" }))
            );
            assert_eq!(stream.event().json()["from"], "wse");
        }
    });
}

#[test]
fn a_push_of_the_bridge_reaches_the_users_connections() {
    everywhere("", |gateway| {
        let mut wse = WseClient::of(gateway.address, "alice");
        wse.settle();
        let mut events = events_of(gateway, "alice");
        let mut other = WseClient::of(gateway.address, "bob");
        let body = json!({ "user_id": "alice", "event_type": "invoice.paid", "data": { "n": 1 } });
        let answer = post_json(gateway.address, "/sse/push", &body);
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (200, &json!("success")),
            "{answer:?}"
        );
        let p = wse.expect("invoice.paid");
        assert_eq!((&p["n"], &p["user_id"]), (&json!(1), &json!("alice")));
        assert_eq!(events.json()["data"]["n"], 1);
        other.has_nothing();
        // A user who has only this connection counts as connected.
        drop(events);
        let answer = post_json(gateway.address, "/sse/push", &body);
        assert_eq!(answer.json()["status"], "success");
        wse.expect("invoice.paid");
    });
}

#[test]
fn a_question_to_a_user_is_answered_by_its_cid() {
    everywhere("", |gateway| {
        let mut wse = WseClient::of(gateway.address, "alice");
        wse.settle();
        let mut other = WseClient::of(gateway.address, "bob");
        for id in [json!("c1"), json!(7)] {
            let body = json!({ "user_id": "alice", "event_type": "question", "data": { "text": "?", "correlation_id": id } });
            let mut call = Call::begin(gateway.address, &body);
            let question = wse.next();
            assert_eq!(
                (question.kind(), &question.json["cid"]),
                ("question", &id),
                "{question:?}"
            );
            assert_eq!(question.payload()["text"], "?");
            // Somebody else's answer does not count.
            other.say(&json!({ "t": "response", "cid": id, "p": { "n": 0 } }));
            other.has_nothing();
            wse.say(&json!({ "c": "U", "t": "response", "cid": id, "p": { "n": 1, "is_final": false }, "v": 1 }));
            let first = call.event();
            assert_eq!(
                (&first["n"], &first["correlation_id"]),
                (&json!(1), &id),
                "{first}"
            );
            wse.say(&json!({ "c": "U", "t": "response", "cid": id, "p": { "n": 2, "is_final": true }, "v": 1 }));
            let rest = call.until_end();
            assert!(
                rest.iter()
                    .any(|event| event["n"] == 2 || event["data"]["n"] == 2),
                "{rest:?}"
            );
        }
    });
}

#[test]
fn a_broadcast_to_all_reaches_clients_of_all_protocols() {
    everywhere("[backend]\nenabled = true\n", |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut wse: Vec<WseClient> = (0..3).map(|_| WseClient::open(gateway.address)).collect();
        let mut events = Client::events(gateway.address);
        for client in &mut wse {
            client.subscribe(&["settled.1", "settled.2", "settled.3", "settled.4"]);
        }
        events.subscribe(&["settled.1", "settled.2", "settled.3", "settled.4"]);
        app.run(&json!({ "op": "broadcast", "type": "notice", "data": { "n": 1 } }));
        let done = app.run(
            &json!({ "op": "broadcast", "dialect": "wse", "type": "notice", "data": { "n": 2 } }),
        );
        assert_eq!(done["count"], 3, "{done}");
        for client in &mut wse {
            for n in [1, 2] {
                let notice = client.next();
                assert_eq!(
                    (notice.kind(), notice.payload()),
                    ("notice", &json!({ "n": n }))
                );
                assert!(notice.json.get("tp").is_none(), "{notice:?}");
            }
        }
        assert_eq!(events.json()["data"]["n"], 1);
    });
}

#[test]
fn presence_is_shared_with_events() {
    everywhere(
        "[hub]\npresence = true\npresence_grace = \"0s\"\n",
        |gateway| {
            let mut events = events_of(gateway, "eve");
            events.say(&json!({ "type": "subscribe", "events": ["room"] }));
            while events.json()["type"] != "subscription_confirmed" {}
            let mut wse = WseClient::of(gateway.address, "ann");
            wse.subscribe(&["room"]);
            let state = wse.expect("presence_state");
            assert_eq!(
                state["members"],
                json!([{ "user_id": "eve", "data": {} }]),
                "{state}"
            );
            wse.expect("presence_join");
            drop(events);
            assert_eq!(wse.expect("presence_leave")["user_id"], "eve");
        },
    );
}

#[test]
fn health_is_for_everybody() {
    everywhere("", |gateway| {
        let _clients = [
            WseClient::open(gateway.address),
            WseClient::open(gateway.address),
        ];
        let answer = get(gateway.address, "/wse/health", "");
        assert_eq!(answer.status, 200);
        let body = answer.json();
        assert_eq!(
            (&body["status"], &body["connections"]),
            (&json!("healthy"), &json!(2)),
            "{body}"
        );
        assert!(body["uptime_seconds"].is_u64());
    });
}

#[test]
fn compression_test_says_what_compression_is_worth() {
    let gateway = wse_gateway(1, "");
    let body = get(gateway.address, "/wse/compression-test", "").json();
    let (raw, packed) = (
        body["original_size"].as_f64().unwrap(),
        body["compressed_size"].as_f64().unwrap(),
    );
    assert!(raw > packed && packed > 0.0, "{body}");
    assert!(
        (body["ratio"].as_f64().unwrap() - raw / packed).abs() < 0.01,
        "{body}"
    );
}

#[test]
fn debug_counts_and_asks_for_a_service_credential_in_prod() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        client.subscribe(&["a", "b"]);
        let count = |key: &str| {
            get(gateway.address, "/wse/debug", "").json()[key]
                .as_u64()
                .unwrap()
        };
        super::wait_until(|| {
            count("connections") == 1 && count("subscriptions") >= 2 && count("topics") >= 2
        });
        wse_publish(gateway.address, "a", "x", &json!({}));
        client.expect("x");
        let bus = || get(gateway.address, "/wse/debug", "").json()["bus"].clone();
        super::wait_until(|| {
            bus()["messages_in"].as_u64() >= Some(1) && bus()["messages_out"].as_u64() >= Some(1)
        });
    });
    let gateway = wse_gateway(1, "");
    assert_eq!(get(gateway.address, "/wse/debug", "").status, 200);
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = Secret::new(WSE_SECRET.as_bytes());
    });
    assert_eq!(get(gateway.address, "/wse/debug", "").status, 401);
    let user = wse_token(&json!({ "sub": "ann" }));
    let refused = get(
        gateway.address,
        "/wse/debug",
        &format!("Authorization: Bearer {user}\r\n"),
    );
    assert!(matches!(refused.status, 401 | 403), "{refused:?}");
    let service = wse_token(&json!({ "sub": "svc", "role": "service" }));
    let allowed = get(
        gateway.address,
        "/wse/debug",
        &format!("Authorization: Bearer {service}\r\n"),
    );
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert_eq!(get(gateway.address, "/wse/health", "").status, 200);
}

#[test]
fn a_request_without_an_upgrade_is_told_so() {
    let gateway = wse_gateway(1, "");
    let answer = get(gateway.address, "/wse", "");
    assert_eq!(answer.status, 426, "{answer:?}");
}
