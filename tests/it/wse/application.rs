//! What goes to applications and comes from them, and what a client is told when none is there.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PATIENCE, everywhere};
use crate::support::{Client, WseApp, WseClient, wse_gateway, wse_publish};

const LINK: &str = "[backend]\nenabled = true\n";

#[test]
fn what_the_gateway_does_not_know_goes_to_the_application_as_it_came() {
    everywhere(LINK, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::of(gateway.address, "ann");
        let connect = app.next("connect");
        assert_eq!(
            (&connect["conn"], &connect["dialect"], &connect["user"]),
            (&json!(client.id()), &json!("wse"), &json!("ann"))
        );
        for message in [
            json!({ "c": "U", "t": "order", "p": { "n": 1 }, "id": "i-1", "seq": 1, "ts": "2026", "v": 1, "pri": 5 }),
            json!({ "type": "order", "payload": 7, "id": 12 }),
            json!({ "t": "order" }),
            json!({ "x": 1 }),
        ] {
            client.say(&message);
            let told = app.next("message");
            assert_eq!(told["data"], message);
            assert_eq!(
                (&told["conn"], &told["user"], &told["dialect"]),
                (&json!(client.id()), &json!("ann"), &json!("wse"))
            );
            let kind = if message.get("x").is_some() {
                None
            } else {
                Some("order")
            };
            assert_eq!(told.get("type").and_then(Value::as_str), kind, "{told}");
            assert_eq!(told.get("id"), message.get("id"), "{told}");
        }
        // Text that is no message, and bytes that are none.
        for (text, data) in [
            ("hello", json!("hello")),
            ("[1,2]", json!("[1,2]")),
            ("{broken", json!("{broken")),
        ] {
            client.client.send(0x81, text.as_bytes());
            let told = app.next("message");
            assert_eq!(
                (&told["data"], &told["raw"]),
                (&data, &json!(true)),
                "{told}"
            );
            assert!(told.get("type").is_none(), "{told}");
        }
        client.client.send(0x82, &[0xff, 0, 1]);
        let told = app.next("message");
        assert_eq!(
            (&told["data"], &told["binary"]),
            (&json!("/wAB"), &json!(true)),
            "{told}"
        );
        client.has_nothing();
    });
}

#[test]
fn without_an_application_every_such_message_is_answered_by_an_error() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        for text in [
            r#"{"t":"order","p":{}}"#,
            r#"{"t":"order","p":{},"id":"same"}"#,
            r#"{"t":"order","p":{},"id":"same"}"#,
            "{}",
        ] {
            client.client.send(0x81, text.as_bytes());
            assert_eq!(
                client.error("INVALID_MESSAGE")["message"],
                "No application is attached",
                "{text}"
            );
        }
        for text in ["hello", "[1]", "{", "WSE{"] {
            client.client.send(0x81, text.as_bytes());
            let error = client.error("INVALID_MESSAGE");
            assert!(
                error["message"].as_str().unwrap().contains("JSON"),
                "{text}: {error}"
            );
        }
        client.client.send(0x82, &[0xff, 0, 1]);
        client.error("INVALID_MESSAGE");
        client.send("priority_message", &json!({ "content": 1 }));
        client.error("INVALID_MESSAGE");
    });
}

#[test]
fn an_application_sends_replies_and_rules_subscriptions() {
    everywhere(LINK, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::of(gateway.address, "ann");
        client.settle();
        let conn = client.id().to_owned();
        app.run(&json!({ "op": "send", "conn": conn, "type": "greeting", "data": { "n": 1 } }));
        let message = client.next();
        assert!(
            message
                .text
                .starts_with(r#"{"c":"U","t":"greeting","p":{"n":1},"id":""#),
            "{message:?}"
        );
        let id = uuid::Uuid::parse_str(message.json["id"].as_str().unwrap()).unwrap();
        assert_eq!(id.get_version_num(), 7);
        assert!(message.json.get("tp").is_none());
        app.run(&json!({ "op": "send", "conn": conn, "type": "x_snapshot", "data": [1] }));
        let message = client.next();
        assert_eq!(
            (&message.json["c"], message.payload()),
            (&json!("S"), &json!({ "data": [1] }))
        );
        app.run(&json!({ "op": "send", "user": "ann", "type": "note", "data": { "n": 2 } }));
        assert_eq!(client.expect("note"), json!({ "n": 2 }));
        // An answer has the id of the question.
        client.say(&json!({ "t": "ask", "id": "q-7", "p": {} }));
        let asked = app.next("message");
        app.run(&json!({ "op": "reply", "to": asked["n"], "data": { "yes": true } }));
        let answer = client.next();
        assert_eq!(
            (answer.kind(), answer.payload(), &answer.json["cid"]),
            ("response", &json!({ "yes": true }), &json!("q-7"))
        );
        // What the client may not do itself.
        let done =
            app.run(&json!({ "op": "subscribe", "conn": conn, "topics": ["t", "a b", "u*"] }));
        assert_eq!(done["accepted"], json!(["t", "a b", "u*"]));
        let ack = client.expect("subscription_update");
        assert_eq!(
            (&ack["action"], &ack["success_topics"]),
            (&json!("subscribe"), &json!(["t", "a b", "u*"]))
        );
        for topic in ["t", "a b", "u.1"] {
            app.run(&json!({ "op": "publish", "topic": topic, "type": "x", "data": {} }));
            assert_eq!(client.next().json["tp"], topic);
        }
        app.run(&json!({ "op": "unsubscribe", "conn": conn, "topics": ["t"] }));
        assert_eq!(
            client.expect("subscription_update")["action"],
            "unsubscribe"
        );
        app.run(&json!({ "op": "broadcast", "dialect": "wse", "type": "all", "data": { "n": 3 } }));
        assert_eq!(client.expect("all"), json!({ "n": 3 }));
        app.run(&json!({ "op": "disconnect", "conn": conn, "code": 4001, "reason": "elsewhere" }));
        assert_eq!(client.until_close().1, Some(4001));
        let end = app.next("disconnect");
        assert_eq!(
            (&end["conn"], &end["code"]),
            (&json!(conn), &json!(4001)),
            "{end}"
        );
    });
}

#[test]
fn an_application_is_told_of_subscriptions() {
    everywhere(LINK, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::of(gateway.address, "ann");
        client.subscribe(&["a", "b*"]);
        let told = app.next("subscribe");
        assert_eq!(
            (&told["conn"], &told["topics"]),
            (&json!(client.id()), &json!(["a", "b*"]))
        );
        client.unsubscribe(&["a"]);
        assert_eq!(app.next("unsubscribe")["topics"], json!(["a"]));
    });
}

#[test]
fn a_duplicate_is_answered_like_the_first_and_not_passed_on_twice() {
    everywhere(LINK, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::open(gateway.address);
        for id in [json!("one"), json!(1), json!("1")] {
            for _ in 0..3 {
                client.say(&json!({ "t": "order", "id": id, "p": { "id": id } }));
            }
        }
        client.say(&json!({ "t": "last", "p": {} }));
        let told: Vec<Value> = (0..4).map(|_| app.next("message")).collect();
        let ids: Vec<&Value> = told.iter().map(|object| &object["data"]["id"]).collect();
        assert_eq!(ids[..3], [&json!("one"), &json!(1), &json!("1")]);
        assert_eq!(told[3]["type"], "last");
        // Another connection's ids are its own; without one nothing is the same.
        let mut other = WseClient::open(gateway.address);
        other.say(&json!({ "t": "order", "id": "one", "p": {} }));
        assert_eq!(app.next("message")["id"], "one");
        other.say(&json!({ "t": "same", "p": {} }));
        other.say(&json!({ "t": "same", "p": {} }));
        assert_eq!(
            (
                app.next("message")["type"].clone(),
                app.next("message")["type"].clone()
            ),
            (json!("same"), json!("same"))
        );
    });
}

#[test]
fn a_priority_message_is_published_and_told() {
    everywhere(LINK, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut reader = WseClient::open(gateway.address);
        reader.subscribe(&["priority:ann:messages"]);
        let mut client = WseClient::of(gateway.address, "ann");
        let message = json!({ "c": "U", "t": "priority_message", "p": { "content": { "x": 1 }, "ttl": 60 }, "id": "i", "pri": 9, "cid": "c", "v": 1 });
        client.say(&message);
        let got = reader.next();
        assert_eq!(got.json["tp"], "priority:ann:messages");
        let p = got.payload();
        assert_eq!(
            (&p["content"], &p["user_id"], &p["ttl"]),
            (&json!({ "x": 1 }), &json!("ann"), &json!(60)),
            "{p}"
        );
        assert!(
            [8, 10].map(|class| json!(class)).contains(&p["priority"]),
            "{p}"
        );
        assert_ne!(
            got.kind(),
            "priority_message",
            "clients would unwrap it without a look at its stamp"
        );
        let told = app.next("message");
        assert_eq!(
            (&told["type"], &told["data"]),
            (&json!("priority_message"), &message)
        );
    });
    // Published, too, if no application is there to be told.
    let gateway = wse_gateway(1, "");
    let mut client = WseClient::of(gateway.address, "ann");
    client.subscribe(&["priority:ann:messages"]);
    client.send("priority_message", &json!({ "content": "x" }));
    let mut kinds = [
        client.next().kind().to_owned(),
        client.next().kind().to_owned(),
    ];
    kinds.sort();
    assert_eq!(kinds, ["error", "priority:ann:messages"]);
}

#[test]
fn a_sync_request_ends_with_snapshot_complete() {
    // Without an application at once.
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        for kind in ["sync_request", "request_snapshot", "snapshot_request"] {
            client.send(
                kind,
                &json!({ "topics": ["t"], "include_snapshots": true, "include_history": false }),
            );
            let end = client.next();
            assert_eq!(
                (end.kind(), &end.json["c"]),
                ("snapshot_complete", &json!("S"))
            );
        }
        client.has_nothing();
    });
    // With one, behind what it sends.
    everywhere(LINK, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::of(gateway.address, "ann");
        let request = json!({ "c": "S", "t": "sync_request", "id": "s-1", "p": { "topics": ["t"], "include_snapshots": true }, "v": 1 });
        client.say(&request);
        let told = app.next("message");
        assert_eq!(
            (&told["type"], &told["data"]),
            (&json!("sync_request"), &request)
        );
        app.run(&json!({ "op": "send", "conn": client.id(), "type": "t_snapshot", "data": { "all": 1 } }));
        app.run(&json!({ "op": "reply", "to": told["n"], "data": { "done": true } }));
        let mut kinds: Vec<String> = (0..3).map(|_| client.next().kind().to_owned()).collect();
        assert_eq!(kinds.remove(0), "t_snapshot");
        assert_eq!(kinds, ["response", "snapshot_complete"]);
        // Or it says so itself: once.
        client.say(&json!({ "t": "sync_request", "id": "s-2", "p": { "topics": ["t"] } }));
        app.next("message");
        app.run(
            &json!({ "op": "send", "conn": client.id(), "type": "snapshot_complete", "data": {} }),
        );
        client.expect("snapshot_complete");
        client.has_nothing();
    });
}

#[test]
fn a_sync_request_that_the_application_does_not_answer_ends_in_time() {
    let toml = format!("{LINK}[wse]\nsnapshot_timeout = \"200ms\"\n");
    everywhere(&toml, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::open(gateway.address);
        let began = Instant::now();
        client.send("sync_request", &json!({ "topics": ["t"] }));
        app.next("message");
        client.expect("snapshot_complete");
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(190) && took < PATIENCE,
            "{took:?}"
        );
    });
}

#[test]
fn a_sync_request_with_history_replays_from_the_last_sequence() {
    everywhere("", |gateway| {
        for number in 1..=5 {
            wse_publish(gateway.address, "t", "n", &json!({ "n": number }));
            wse_publish(gateway.address, "other", "n", &json!({ "n": 100 }));
        }
        let mut client = WseClient::open(gateway.address);
        client.subscribe(&["t"]);
        // Only of what it has subscribed to.
        let fields =
            json!({ "topics": ["t", "other"], "include_history": true, "last_sequence": 2 });
        client.send("sync_request", &fields);
        for number in 3..=5 {
            let message = client.next();
            assert_eq!(
                (message.kind(), &message.payload()["n"]),
                ("n", &json!(number))
            );
            // With a stamp clients would drop it as one that they have.
            assert!(
                message.json.get("tp").is_none() && message.json.get("o").is_none(),
                "{message:?}"
            );
        }
        client.expect("snapshot_complete");
        wse_publish(gateway.address, "t", "n", &json!({ "n": 6 }));
        assert_eq!(client.next().json["o"], 6);
    });
}

#[test]
fn an_application_that_welcomes_a_client_which_only_listens_is_heard() {
    everywhere(LINK, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient {
            client: Client::connect(gateway.address, "/wse"),
            ready: Value::Null,
        };
        let conn = app.next("connect")["conn"].clone();
        app.run(&json!({ "op": "send", "conn": conn, "type": "welcome", "data": {} }));
        app.run(&json!({ "op": "subscribe", "conn": conn, "topics": ["news"] }));
        client.expect("server_ready");
        let mut kinds = [
            client.next().kind().to_owned(),
            client.next().kind().to_owned(),
        ];
        kinds.sort();
        assert_eq!(kinds, ["subscription_update", "welcome"]);
        wse_publish(gateway.address, "news", "x", &json!({}));
        client.expect("x");
    });
}

#[test]
fn an_application_uses_names_and_types_as_wide_as_clients_do() {
    everywhere(LINK, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::open(gateway.address);
        client.subscribe(&["a topic/ü", "x,y"]);
        for topic in ["a topic/ü", "x,y"] {
            for kind in ["user joined", "ünï/1"] {
                app.run(&json!({ "op": "publish", "topic": topic, "type": kind, "data": {} }));
                let message = client.next();
                assert_eq!((message.kind(), &message.json["tp"]), (kind, &json!(topic)));
            }
        }
        app.run(&json!({ "op": "send", "conn": client.id(), "type": "user joined", "data": {} }));
        client.expect("user joined");
        app.run(&json!({ "op": "broadcast", "dialect": "wse", "type": "user joined", "data": {} }));
        client.expect("user joined");
    });
}
