//! Topics: their names, patterns and permissions, subscriptions, the inbox, and how publications come.

use serde_json::{Value, json};

use super::{FEW_TOPICS, TOPICS, everywhere, fill_homes, publish_as};
use crate::support::{
    Client, WseClient, WseForm, post_json, wse_gateway, wse_path, wse_publish, wse_token,
};

/// Publishes to `topic`, which has to be what comes next, and comes once.
#[track_caller]
fn comes(client: &mut WseClient, address: std::net::SocketAddr, topic: &str) {
    wse_publish(address, topic, "x", &json!({ "topic": topic }));
    let message = client.next();
    assert_eq!(
        (message.kind(), &message.json["tp"]),
        ("x", &json!(topic)),
        "{message:?}"
    );
    assert_eq!(message.payload(), &json!({ "topic": topic }));
}

#[test]
fn a_name_is_any_text_of_256_bytes_without_control_characters() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let longest = "x".repeat(256);
        let names = [
            "a",
            "a b",
            "a,b",
            "ä/ö",
            "\u{1f600}",
            "\"quoted\\",
            "room#1",
            "%20",
            "a|b{}",
            &longest,
            "..",
            "用户",
        ];
        for name in names {
            client.subscribe(&[name]);
            comes(&mut client, gateway.address, name);
        }
        // A name with a comma is not two.
        let fields = json!({ "topics": ["one,two"] });
        client.subscribe_with(&fields);
        wse_publish(gateway.address, "one", "x", &json!({}));
        wse_publish(gateway.address, "two", "x", &json!({}));
        comes(&mut client, gateway.address, "one,two");
    });
}

#[test]
fn what_is_no_name_has_failed() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let long = "x".repeat(257);
        for bad in [
            "",
            "a\nb",
            "a\u{7f}",
            "\u{0}",
            "#metrics",
            "#presence",
            &long,
            "#*",
        ] {
            let (ack, error) = client.subscribe_failing(&json!({ "topics": [bad, "good"] }));
            assert_eq!(ack["failed_topics"], json!([bad]));
            assert_eq!(ack["success_topics"], json!(["good"]));
            assert_eq!(error["details"]["topics"], json!([bad]));
            client.unsubscribe(&["good"]);
        }
    });
}

#[test]
fn a_glob_matches_bytes_and_no_segments() {
    everywhere("", |gateway| {
        for (glob, covers, others) in [
            (
                "chat.*",
                &["chat.", "chat.1", "chat.1.2:3", "chat.ä b"][..],
                &["chat", "xchat.1"][..],
            ),
            ("a?c", &["abc", "a.c", "aäc", "a,c"], &["ac", "abbc"]),
            ("*end", &["end", "the end", "a.b.end"], &["ending"]),
            ("p*q*r", &["pqr", "p1q2r", "pqqr.r"], &["pq", "rqp"]),
            ("[ab]*", &["[ab]", "[ab]x"], &["a", "bx"]),
        ] {
            let mut client = WseClient::open(gateway.address);
            client.subscribe(&[glob]);
            for other in others {
                wse_publish(gateway.address, other, "x", &json!({}));
            }
            for topic in covers {
                comes(&mut client, gateway.address, topic);
            }
            client.unsubscribe(&[glob]);
            for topic in covers {
                wse_publish(gateway.address, topic, "x", &json!({}));
            }
            client.subscribe(&["after"]);
            comes(&mut client, gateway.address, "after");
        }
    });
}

#[test]
fn who_reads_a_topic_in_several_ways_gets_one_copy() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        client.subscribe(&["t.1", "t.*", "t*", "*"]);
        for _ in 0..5 {
            comes(&mut client, gateway.address, "t.1");
            comes(&mut client, gateway.address, "t.2");
        }
        client.unsubscribe(&["t.*"]);
        comes(&mut client, gateway.address, "t.1");
        client.unsubscribe(&["t*", "*"]);
        wse_publish(gateway.address, "t.2", "x", &json!({}));
        comes(&mut client, gateway.address, "t.1");
    });
}

#[test]
fn a_token_permits_topics_and_globs_within_what_it_lists() {
    everywhere(
        "[namespace.\"closed.\"]\nsubscribe = \"nobody\"\n",
        |gateway| {
            let claims = json!({ "fanfare": { "subscribe": ["chat.*", "news"], "deny": ["chat.secret.*"] } });
            let mut client = WseClient::open_at(gateway.address, &wse_path("ann", &claims));
            for (topic, is_allowed) in [
                ("chat.1", true),
                ("news", true),
                ("other", false),
                ("chat.secret.x", false),
                // A glob only where everything that it can cover is allowed and nothing of it denied.
                ("chat.room*", true),
                ("chat.*", false),
                ("chat.s*", false),
                ("*", false),
                ("new?", false),
                ("?hat.1", false),
            ] {
                check_permission(&mut client, topic, is_allowed);
            }
            wse_publish(gateway.address, "other", "x", &json!({}));
            wse_publish(gateway.address, "chat.secret.x", "x", &json!({}));
            comes(&mut client, gateway.address, "chat.room 7");
            // What a namespace closes is closed to globs that reach into it.
            let mut other = WseClient::of(gateway.address, "bob");
            for (topic, is_allowed) in [
                ("closed.1", false),
                ("clo*", false),
                ("*", false),
                ("open*", true),
            ] {
                check_permission(&mut other, topic, is_allowed);
            }
        },
    );
}

/// Subscribes to what the client may read, or may not.
#[track_caller]
fn check_permission(client: &mut WseClient, topic: &str, is_allowed: bool) {
    if is_allowed {
        client.subscribe(&[topic]);
    } else {
        let (ack, _) = client.subscribe_failing(&json!({ "topics": [topic] }));
        assert_eq!(ack["failed_topics"], json!([topic]), "{ack}");
    }
}

/// A token as those of WSE have it; the stricter of both claims wins.
#[test]
fn the_claim_wse_topics_permits_and_denies_as_well() {
    everywhere("", |gateway| {
        let claims =
            json!({ "wse_topics": { "allow": ["chat.*", "n?ws"], "deny": ["chat.secret*"] } });
        let mut client = WseClient::open_at(gateway.address, &wse_path("ann", &claims));
        for (topic, is_allowed) in [
            ("chat.1", true),
            ("chat.a b", true),
            ("news", true),
            ("other", false),
            ("chat.secret", false),
            ("chat.secret.x", false),
            ("chat.room*", true),
            ("chat.*", false),
            ("*", false),
        ] {
            check_permission(&mut client, topic, is_allowed);
        }
        let claims = json!({
            "wse_topics": { "allow": [], "deny": ["x*"] }, "fanfare": { "subscribe": ["a.*", "x.*"] },
        });
        let mut client = WseClient::open_at(gateway.address, &wse_path("bob", &claims));
        for (topic, is_allowed) in [("a.1", true), ("x.1", false), ("b", false)] {
            check_permission(&mut client, topic, is_allowed);
        }
    });
}

#[test]
fn a_name_of_other_grammar_does_not_reach_clients_of_events() {
    everywhere("", |gateway| {
        let mut events = Client::events(gateway.address);
        events.subscribe(&["chat.*"]);
        let mut wse = WseClient::open(gateway.address);
        wse.subscribe(&["chat.*"]);
        comes(&mut wse, gateway.address, "chat.a b");
        comes(&mut wse, gateway.address, "chat.ä");
        comes(&mut wse, gateway.address, "chat.plain");
        let event = events.json();
        assert_eq!(
            event["topic"].as_str().or_else(|| event["event"].as_str()),
            Some("chat.plain"),
            "{event}"
        );
    });
}

#[test]
fn an_acknowledgement_lists_what_became_of_each_name() {
    everywhere("[wse]\nmax_subscriptions = 5\n", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let ack = client.subscribe(&["a", "b*"]);
        assert_eq!(ack["failed_topics"], json!([]));
        assert_eq!(ack["topics"], json!(["a", "b*"]));
        assert_eq!(ack["already_subscribed"], json!([]));
        let start = &ack["recovery"]["a"];
        assert!(start["epoch"].is_string(), "{ack}");
        assert_eq!(
            (&start["offset"], &start["recovered"], &start["count"]),
            (&json!(0), &json!(false), &json!(0))
        );
        assert!(ack["recovery"].get("b*").is_none(), "{ack}");
        // The other name of the same message; a name twice.
        let fields = json!({ "action": "subscribe", "topics": ["a", "c", "c"] });
        let ack = client.ask("subscription", &fields, "subscription_update");
        assert_eq!(ack["success_topics"], json!(["a", "c"]));
        assert_eq!(ack["already_subscribed"], json!(["a"]));
        assert_eq!(ack["topics"], json!(["a", "b*", "c"]));
        // Beyond the limit.
        let (ack, error) = client.subscribe_failing(&json!({ "topics": ["d", "e", "f", "g"] }));
        assert_eq!(ack["success_topics"], json!(["d", "e"]));
        assert_eq!(ack["failed_topics"], json!(["f", "g"]));
        assert_eq!(error["details"]["topics"], json!(["f", "g"]));
        assert!(
            error["message"].as_str().unwrap().contains("At most 5"),
            "{error}"
        );
        let ack = client.unsubscribe(&["a", "never"]);
        assert_eq!(ack["action"], "unsubscribe");
        assert_eq!(ack["success"], true);
        assert_eq!(ack["success_topics"], json!(["a", "never"]));
        assert_eq!(ack["topics"], json!(["b*", "c", "d", "e"]));
        client.subscribe(&["f"]);
        comes(&mut client, gateway.address, "f");
    });
}

#[test]
fn a_subscription_that_says_nothing_is_an_error() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        for topics in [json!([]), json!("a"), json!(null), json!({}), json!([1])] {
            client.send_subscribe(&json!({ "topics": topics }));
            assert_eq!(
                client.error("INVALID_SUBSCRIPTION")["message"],
                "No topics specified"
            );
        }
        for action in [json!("follow"), json!(7), json!(null), json!("")] {
            client.send(
                "subscription_update",
                &json!({ "action": action, "topics": ["a"] }),
            );
            client.error("INVALID_ACTION");
        }
        client.say(&json!({ "t": "subscription_update" }));
        client.error("INVALID_ACTION");
        client.subscribe(&["a"]);
        comes(&mut client, gateway.address, "a");
    });
}

#[test]
fn every_connection_has_its_users_inbox_and_no_other() {
    everywhere("", |gateway| {
        for user in ["ann", "a b", "ä:ö", "x*y", "a:events", "#1", "\"q\""] {
            let inbox = format!("user:{user}:events");
            let mut first = WseClient::of(gateway.address, user);
            let mut second = WseClient::of(gateway.address, user);
            let mut other = WseClient::of(gateway.address, "other");
            first.settle();
            second.settle();
            let body = json!({ "user_id": user, "type": "note", "payload": { "n": 1 } });
            let answer = post_json(gateway.address, "/api/v1/publish", &body);
            assert_eq!(answer.status, 202, "{user}: {answer:?}");
            for client in [&mut first, &mut second] {
                let note = client.next();
                assert_eq!(
                    (note.kind(), note.payload()),
                    ("note", &json!({ "n": 1 })),
                    "{user}"
                );
            }
            // One's own is there already.
            let ack = first.subscribe_with(&json!({ "topics": [inbox] }));
            assert_eq!(ack["already_subscribed"], json!([inbox]), "{ack}");
            let (ack, error) = other.subscribe_failing(&json!({ "topics": [inbox] }));
            assert_eq!(ack["failed_topics"], json!([inbox]), "{ack}");
            assert_eq!(error["details"]["topics"], json!([inbox]));
        }
        // Patterns do not reach inboxes.
        let mut spy = WseClient::of(gateway.address, "spy");
        spy.settle();
        spy.subscribe_failing(&json!({ "topics": ["user:*", "*"] }));
        let body = json!({ "user_id": "ann", "type": "secret", "payload": {} });
        post_json(gateway.address, "/api/v1/publish", &body);
        let body = json!({ "user_id": "spy", "type": "mine", "payload": {} });
        post_json(gateway.address, "/api/v1/publish", &body);
        spy.expect("mine");
    });
}

#[test]
fn a_publication_has_its_fields_in_this_order() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        for topic in TOPICS {
            client.subscribe(&[topic]);
            for (offset, (kind, data, category, sent)) in [
                (
                    "tick",
                    json!({ "i": 2 }),
                    "U",
                    r#""t":"tick","p":{"i":2},"v":1}"#,
                ),
                (
                    "",
                    json!({ "i": 3 }),
                    "U",
                    &format!(r#""t":"{topic}","p":{{"i":3}},"v":1}}"#),
                ),
                (
                    "list",
                    json!([1, 2]),
                    "U",
                    r#""t":"list","p":{"data":[1,2]},"v":1}"#,
                ),
                (
                    "text",
                    json!("x"),
                    "U",
                    r#""t":"text","p":{"data":"x"},"v":1}"#,
                ),
                (
                    "null",
                    json!(null),
                    "U",
                    r#""t":"null","p":{"data":null},"v":1}"#,
                ),
                (
                    "price_snapshot",
                    json!({}),
                    "S",
                    r#""t":"price_snapshot","p":{},"v":1}"#,
                ),
                (
                    "snapshot_x",
                    json!({}),
                    "S",
                    r#""t":"snapshot_x","p":{},"v":1}"#,
                ),
            ]
            .into_iter()
            .enumerate()
            {
                let offset = offset + 1;
                assert_eq!(
                    wse_publish(gateway.address, topic, kind, &data),
                    offset as u64
                );
                let message = client.next();
                let epoch = message.json["e"].as_str().expect("an epoch is a text");
                assert!(epoch.len() >= 8 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let expected = format!(
                    r#"{{"tp":"{topic}","e":"{epoch}","o":{offset},"c":"{category}",{sent}"#
                );
                assert_eq!(message.text, expected);
                assert_eq!(message.form, WseForm::Text);
            }
        }
    });
}

#[test]
fn a_publication_that_its_home_has_refused_is_no_duplicate_when_it_is_sent_again() {
    everywhere(&format!("[hub]\n{FEW_TOPICS}"), |gateway| {
        let mut client = WseClient::open(gateway.address);
        let known = fill_homes(&mut client);
        for id in TOPICS {
            for _ in 0..2 {
                let refused = publish_as(&mut client, id, id);
                assert_eq!(refused.kind(), "error", "{refused:?}");
                assert_eq!(refused.payload()["code"], "SERVER_ERROR", "{refused:?}");
                assert_eq!(refused.payload()["cid"], id, "{refused:?}");
            }
            // Nor is it one where there is room for it. There it is one from then on.
            let published = publish_as(&mut client, &known, id);
            assert_eq!(published.kind(), "publish_ack", "{published:?}");
            assert!(published.payload()["offset"].is_u64(), "{published:?}");
            let again = publish_as(&mut client, &known, id);
            assert_eq!(again.payload()["duplicate"], true, "{again:?}");
        }
    });
}

#[test]
fn topics_without_history_have_no_stamp() {
    everywhere("[hub]\nhistory_size = 0\n", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let ack = client.subscribe(&["t"]);
        assert!(ack.get("recovery").is_none(), "{ack}");
        wse_publish(gateway.address, "t", "x", &json!({ "i": 1 }));
        assert_eq!(client.next().text, r#"{"c":"U","t":"x","p":{"i":1},"v":1}"#);
    });
}

#[test]
fn types_are_renamed_by_the_event_map() {
    let toml = "[backend]\nenabled = true\n[wse.event_map]\n\"OrderCreated\" = \"order_created\"\n\"T\" = \"t_snapshot\"\n";
    everywhere(toml, |gateway| {
        let mut client = WseClient::of(gateway.address, "ann");
        client.subscribe(&["t", "T"]);
        wse_publish(gateway.address, "t", "OrderCreated", &json!({}));
        assert_eq!(client.next().kind(), "order_created");
        wse_publish(gateway.address, "T", "", &json!({}));
        let renamed = client.next();
        assert_eq!(
            (renamed.kind(), &renamed.json["c"]),
            ("t_snapshot", &json!("S"))
        );
        wse_publish(gateway.address, "t", "Other", &json!({}));
        assert_eq!(client.next().kind(), "Other");
        let mut app = crate::support::WseApp::attach(gateway.address);
        let send = json!({ "op": "send", "conn": client.id(), "type": "OrderCreated", "data": { "n": 1 } });
        app.run(&send);
        assert_eq!(client.next().kind(), "order_created");
        // Others get it as it is.
        let mut events = Client::events(gateway.address);
        events.subscribe(&["t"]);
        wse_publish(gateway.address, "t", "OrderCreated", &json!({}));
        assert_eq!(events.json()["event"], "OrderCreated");
    });
}

#[test]
fn a_client_publishes_where_it_may() {
    everywhere(
        "[namespace.\"closed.\"]\npublish = \"nobody\"\n",
        |gateway| {
            let claims = json!({ "fanfare": { "publish": ["chat.*"] } });
            let mut writer = WseClient::open_at(gateway.address, &wse_path("ann", &claims));
            let mut reader = WseClient::open(gateway.address);
            reader.subscribe(&["chat.1", "other", "closed.x"]);
            let said = json!({ "topic": "chat.1", "type": "said", "data": { "text": "hi" } });
            writer.send("publish", &said);
            let message = reader.next();
            assert_eq!(
                (message.kind(), message.payload()),
                ("said", &json!({ "text": "hi" }))
            );
            assert_eq!(message.json["tp"], "chat.1");
            // Every message of the Python clients has an id: it asks for no answer.
            writer.say(&json!({ "t": "publish", "id": "i1", "p": said }));
            reader.expect("said");
            writer.has_nothing();
            writer.say(&json!({ "t": "publish", "id": "i2", "cid": "c2", "p": said }));
            let ack = writer.next();
            assert_eq!(
                (ack.kind(), &ack.json["cid"], &ack.json["c"]),
                ("publish_ack", &json!("c2"), &json!("WSE"))
            );
            assert_eq!(ack.payload()["offset"], 3);
            let mut asks = said.clone();
            asks["ack"] = true.into();
            writer.say(&json!({ "t": "publish", "id": "i3", "p": asks }));
            let ack = writer.next();
            assert_eq!(
                (ack.kind(), &ack.json["cid"], &ack.payload()["offset"]),
                ("publish_ack", &json!("i3"), &json!(4))
            );
            for topic in ["other", "closed.x", "user:ann:events", "user:bob:events"] {
                writer.say(
                    &json!({ "t": "publish", "cid": topic, "p": { "topic": topic, "data": {} } }),
                );
                assert_eq!(writer.error("FORBIDDEN")["cid"], topic);
            }
            for topic in ["", "#metrics", "a\nb"] {
                writer.say(&json!({ "t": "publish", "p": { "topic": topic, "data": {} } }));
                writer.error("INVALID_MESSAGE");
            }
            // Without a type it is called like its topic; without data it has none.
            reader.expect("said");
            reader.expect("said");
            writer.send("publish", &json!({ "topic": "chat.1" }));
            let message = reader.next();
            assert_eq!((message.kind(), message.payload()), ("chat.1", &json!({})));
        },
    );
    let gateway = wse_gateway(1, "[wse]\npublish = false\n");
    let mut client = WseClient::open(gateway.address);
    client.subscribe(&["t"]);
    client.send("publish", &json!({ "topic": "t", "data": {} }));
    assert_eq!(
        client.error("INVALID_MESSAGE")["message"],
        "No application is attached"
    );
}

#[test]
fn a_publication_once_only_for_its_id() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        client.subscribe(&["t"]);
        let publish = json!({ "t": "publish", "id": "one", "p": { "topic": "t", "type": "x", "data": {}, "ack": true } });
        for _ in 0..3 {
            client.say(&publish);
        }
        let mut kinds = Vec::new();
        for _ in 0..4 {
            let message = client.next();
            if message.kind() == "publish_ack" {
                assert_eq!(message.json["cid"], "one");
            }
            kinds.push(message.kind().to_owned());
        }
        kinds.sort();
        assert_eq!(kinds, ["publish_ack", "publish_ack", "publish_ack", "x"]);
        comes(&mut client, gateway.address, "t");
    });
}

#[test]
fn an_api_key_or_a_service_reads_what_it_publishes_as_others_do() {
    let gateway = wse_gateway(2, "");
    let token = wse_token(&json!({ "sub": "svc", "role": "service" }));
    let mut client = WseClient::open_at(gateway.address, &format!("/wse?token={token}"));
    client.subscribe(&["t"]);
    client.send(
        "publish",
        &json!({ "topic": "t", "type": "x", "data": { "n": 1 } }),
    );
    let message = client.expect("x");
    assert_eq!(message, json!({ "n": 1 }));
    assert_eq!(Value::Null, message["publisher"]);
}
