//! Presence: who is in a topic, who comes and goes, and what they say of themselves.

use serde_json::{Value, json};

use super::{FEW_TOPICS, TOPICS, everywhere, fill_homes, wait_until};
use crate::support::{WseClient, wse_path, wse_publish};

const ROOMS: &str = "[hub]\npresence = true\npresence_grace = \"0s\"\n";

/// Subscribes with presence, and takes the acknowledgement and the state.
#[track_caller]
fn enter(client: &mut WseClient, topic: &str, data: &Value) -> Value {
    let ack = client.subscribe_with(&json!({ "topics": [topic], "presence": data }));
    assert_eq!(ack["success"], true, "{ack}");
    let state = client.expect("presence_state");
    assert_eq!(state["topic"], topic);
    state
}

fn member(user: &str, data: &Value) -> Value {
    json!({ "user_id": user, "data": data })
}

fn change(user: &str, data: &Value, topic: &str) -> Value {
    json!({ "user_id": user, "data": data, "topic": topic })
}

#[test]
fn who_comes_gets_the_members_first_and_the_others_are_told() {
    everywhere(ROOMS, |gateway| {
        for topic in TOPICS {
            let mut ann = WseClient::of(gateway.address, "ann");
            let state = enter(&mut ann, topic, &json!({ "status": "online" }));
            assert_eq!(
                state,
                json!({ "topic": topic, "members": [], "count": 0, "more": false })
            );
            let on = json!({ "status": "online" });
            assert_eq!(ann.expect("presence_join"), change("ann", &on, topic));
            let mut bob = WseClient::of(gateway.address, "b\"ob");
            let state = enter(&mut bob, topic, &json!({}));
            assert_eq!(
                state,
                json!({ "topic": topic, "members": [member("ann", &on)], "count": 1, "more": false })
            );
            for client in [&mut ann, &mut bob] {
                let join = client.next();
                assert_eq!(
                    (join.kind(), &join.json["c"]),
                    ("presence_join", &json!("WSE"))
                );
                assert_eq!(join.payload(), &change("b\"ob", &json!({}), topic));
                assert!(
                    join.json.get("tp").is_none() && join.json.get("o").is_none(),
                    "{join:?}"
                );
            }
            // A second connection of a user is no second member, and its going is none.
            let mut again = WseClient::of(gateway.address, "ann");
            let state = enter(&mut again, topic, &json!({ "status": "online" }));
            assert_eq!(state["count"], 2, "{state}");
            again.unsubscribe(&[topic]);
            bob.unsubscribe(&[topic]);
            assert_eq!(
                ann.expect("presence_leave"),
                change("b\"ob", &json!({}), topic)
            );
            wse_publish(gateway.address, topic, "x", &json!({}));
            ann.expect("x");
        }
    });
}

#[test]
fn who_is_cut_has_left() {
    everywhere(ROOMS, |gateway| {
        let mut ann = WseClient::of(gateway.address, "ann");
        enter(&mut ann, "room", &json!({}));
        ann.expect("presence_join");
        let mut bob = WseClient::of(gateway.address, "bob");
        enter(&mut bob, "room", &json!({ "x": 1 }));
        ann.expect("presence_join");
        drop(bob);
        let left = ann.expect("presence_leave");
        assert_eq!(
            (&left["user_id"], &left["topic"]),
            (&json!("bob"), &json!("room"))
        );
    });
}

#[test]
fn data_is_changed_by_its_user_and_told_to_all() {
    everywhere(ROOMS, |gateway| {
        let mut ann = WseClient::of(gateway.address, "ann");
        enter(&mut ann, "room", &json!({ "status": "online" }));
        ann.expect("presence_join");
        let mut bob = WseClient::of(gateway.address, "bob");
        enter(&mut bob, "room", &json!({}));
        ann.expect("presence_join");
        bob.expect("presence_join");
        let away = json!({ "status": "away", "since": 5 });
        ann.send("presence_update", &json!({ "topic": "room", "data": away }));
        for client in [&mut ann, &mut bob] {
            let update = client.next();
            assert_eq!(
                (update.kind(), update.payload()),
                ("presence_update", &change("ann", &away, "room"))
            );
            assert!(update.json.get("tp").is_none(), "{update:?}");
        }
        let mut cat = WseClient::of(gateway.address, "cat");
        let state = enter(&mut cat, "room", &json!({}));
        let members = state["members"].as_array().unwrap();
        assert!(members.contains(&member("ann", &away)), "{state}");
        assert_eq!(state["count"], 2);
        for client in [&mut ann, &mut bob, &mut cat] {
            client.expect("presence_join");
        }
        // What is no update.
        for payload in [
            json!({}),
            json!({ "topic": "room" }),
            json!({ "topic": "room", "data": 7 }),
            json!({ "topic": "elsewhere", "data": {} }),
            json!({ "topic": "room", "data": { "x": "y".repeat(4097) } }),
        ] {
            ann.send("presence_update", &payload);
            ann.error("INVALID_MESSAGE");
        }
    });
}

#[test]
fn data_has_4096_bytes_at_most() {
    everywhere(ROOMS, |gateway| {
        let mut ann = WseClient::of(gateway.address, "ann");
        let most = json!({ "x": "y".repeat(4096 - 8) });
        assert_eq!(most.to_string().len(), 4096);
        enter(&mut ann, "a", &most);
        assert_eq!(ann.expect("presence_join")["data"], most);
        let beyond = json!({ "x": "y".repeat(4096 - 7) });
        ann.send_subscribe(&json!({ "topics": ["b"], "presence": beyond }));
        // It joins without them, and is told.
        let kinds: Vec<_> = (0..4).map(|_| ann.next()).collect();
        let of = |kind: &str| {
            let found = kinds.iter().find(|message| message.kind() == kind);
            found
                .unwrap_or_else(|| panic!("{kind}: {kinds:?}"))
                .payload()
                .clone()
        };
        assert_eq!(of("subscription_update")["success"], true);
        assert_eq!(of("error")["code"], "INVALID_MESSAGE");
        assert_eq!(of("presence_state")["topic"], "b");
        assert_eq!(of("presence_join")["data"], json!({}));
    });
}

#[test]
fn a_large_roster_is_cut_and_says_so() {
    let gateway = crate::support::wse_gateway(2, ROOMS);
    let mut members: Vec<WseClient> = Vec::new();
    for number in 0..101 {
        let mut client = WseClient::of(gateway.address, &format!("u{number}"));
        client.send_subscribe(&json!({ "topics": ["room"] }));
        members.push(client);
    }
    // Each has entered when it has the state.
    for client in &mut members {
        while client.next().kind() != "presence_state" {}
    }
    let mut last = WseClient::of(gateway.address, "last");
    let state = enter(&mut last, "room", &json!({}));
    assert_eq!(state["count"], 101);
    assert_eq!(state["members"].as_array().unwrap().len(), 100);
    assert_eq!(state["more"], true);
}

#[test]
fn there_is_none_where_it_is_not_kept_nor_by_pattern() {
    everywhere(
        "[namespace.\"room.\"]\npresence = true\npresence_grace = \"0s\"\n",
        |gateway| {
            let mut ann = WseClient::of(gateway.address, "ann");
            ann.subscribe_with(&json!({ "topics": ["plain"], "presence": { "a": 1 } }));
            wse_publish(gateway.address, "plain", "x", &json!({}));
            ann.expect("x");
            let mut watcher = WseClient::open_at(gateway.address, &wse_path("watcher", &json!({})));
            watcher.subscribe(&["room.*"]);
            let mut bob = WseClient::of(gateway.address, "bob");
            let state = enter(&mut bob, "room.1", &json!({}));
            assert_eq!(state["count"], 0, "who reads by a pattern is no member");
            let join = watcher.expect("presence_join");
            assert_eq!(
                (&join["user_id"], &join["topic"]),
                (&json!("bob"), &json!("room.1"))
            );
        },
    );
}

#[test]
fn who_is_refused_a_queue_group_is_in_no_roster() {
    everywhere(&format!("{ROOMS}{FEW_TOPICS}"), |gateway| {
        let mut filling = WseClient::open(gateway.address);
        fill_homes(&mut filling);
        let mut ann = WseClient::of(gateway.address, "ann");
        for topic in TOPICS {
            ann.send_subscribe(
                &json!({ "topics": [topic], "queue_group": "g", "presence": { "on": 1 } }),
            );
            // With it come an error and perhaps the roster, which it was about to join.
            let mut ack = ann.next();
            while ack.kind() != "subscription_update" {
                ack = ann.next();
            }
            assert_eq!(ack.payload()["failed_topics"], json!([topic]), "{ack:?}");
        }
        // It stays connected. Who reads a topic alone needs no room at its home.
        for topic in TOPICS {
            wait_until(|| {
                let mut cat = WseClient::of(gateway.address, "cat");
                cat.send_subscribe(&json!({ "topics": [topic] }));
                let mut state = cat.next();
                while state.kind() != "presence_state" {
                    state = cat.next();
                }
                let members = state.payload()["members"].as_array().expect("a list");
                members.iter().all(|member| member["user_id"] != "ann")
            });
        }
    });
}

#[test]
fn presence_leaves_no_gap_in_the_stamps() {
    everywhere(ROOMS, |gateway| {
        let mut ann = WseClient::of(gateway.address, "ann");
        let ack = ann.subscribe_with(&json!({ "topics": ["room"] }));
        let mut last = ack["recovery"]["room"]["offset"].as_u64().unwrap();
        ann.expect("presence_state");
        ann.expect("presence_join");
        for number in 0..5 {
            wse_publish(gateway.address, "room", "x", &json!({}));
            let message = ann.next();
            let offset = message.json["o"].as_u64().unwrap();
            assert_eq!(
                (message.kind(), offset),
                ("x", last + 1),
                "contiguous, or clients drop it"
            );
            last = offset;
            let mut other = WseClient::of(gateway.address, &format!("u{number}"));
            other.subscribe_with(&json!({ "topics": ["room"] }));
            ann.expect("presence_join");
            drop(other);
            ann.expect("presence_leave");
        }
    });
}
