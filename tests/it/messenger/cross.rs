//! What connections of other protocols and of the messenger have of each other.

use serde_json::{Value, json};

use super::{Account, MessengerClient, everywhere, post};
use crate::support::{Client, WseClient};

#[test]
fn a_push_reaches_a_user_of_the_messenger() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let push = json!({ "user_id": "alice", "event_type": "note", "data": { "n": 1 } });
        let answer = post(address, "/sse/push", &push);
        assert_eq!(answer.json()["status"], "success", "{answer:?}");
        let frame = alice.next();
        let header = &frame["header"];
        assert_eq!(
            [&header["from"], &header["to"], &header["message_type"]],
            ["system", "alice", "direct"]
        );
        assert!(
            frame.get("id").is_none() && frame.get("status").is_none(),
            "{frame}"
        );
        let content: Value =
            serde_json::from_str(frame["body"]["content"].as_str().unwrap()).unwrap();
        assert_eq!(content["n"], 1);
        let publish = json!({ "user_id": "alice", "payload": [1, "two"] });
        let answer = post(address, "/api/v1/publish", &publish);
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(alice.content(), r#"[1,"two"]"#);
        alice.has_nothing();
    });
}

#[test]
fn a_user_answers_a_service() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let asking = std::thread::spawn(move || {
            let ask = json!({ "user_id": "alice", "data": { "question": "how many?" } });
            post(address, "/sse/send", &ask)
        });
        let content: Value = serde_json::from_str(&alice.content()).unwrap();
        let answer = json!({ "request_id": content["correlation_id"], "count": 3 });
        alice.tell("sse", &answer.to_string());
        let answered = asking.join().unwrap();
        assert!(answered.body.contains("\"count\":3"), "{answered:?}");
        assert!(answered.body.contains("\"is_final\":true"), "{answered:?}");
    });
}

#[test]
fn a_direct_message_reaches_the_user_elsewhere_if_not_here() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let bob = Account::registered(address, "bob");
        let mut elsewhere = Client::connect(
            address,
            &format!("/ws?user_id=bob&token={}", bob.token(address)),
        );
        let mut wse = WseClient::open_at(address, &format!("/wse?token={}", bob.token(address)));
        let mut message = super::direct("bob", "hi");
        message["header"]["ack"] = true.into();
        alice.say(&message);
        assert_eq!(
            alice.answer(),
            json!({ "success": true, "ack": 1, "status": "delivered" })
        );
        let frame = elsewhere.json();
        assert_eq!(
            [&frame["from"], &frame["content"]],
            ["alice", "hi"],
            "{frame}"
        );
        let event = wse.next();
        assert_eq!(event.kind(), "message", "{event:?}");
        assert_eq!(event.payload()["content"], "hi");
        drop((elsewhere, wse));
        // Whether it was read there is not known: it waits for the messenger, too.
        let mut here = MessengerClient::again(address, "bob", "");
        let frame = here.next();
        assert_eq!(
            [&frame["id"], &frame["status"]],
            [&json!(1), &json!("pending")]
        );
        // From now on they come here, and nowhere else.
        let mut wse = WseClient::open_at(address, &format!("/wse?token={}", bob.token(address)));
        alice.tell("bob", "again");
        assert_eq!(here.content(), "again");
        wse.has_nothing();
    });
}

#[test]
fn nobody_without_an_account_gets_a_message_elsewhere() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let mut guest = Client::connect(address, "/ws?user_id=guest");
        let mut message = super::direct("guest", "hi");
        message["header"]["ack"] = true.into();
        alice.say(&message);
        assert_eq!(
            alice.answer(),
            json!({ "success": true, "ack": 1, "status": "pending" })
        );
        assert!(guest.is_silent(std::time::Duration::from_millis(50)));
    });
}

#[test]
fn broadcasts_stay_inside_unless_they_are_shared() {
    for (toml, is_shared) in [
        ("", false),
        ("[messenger]\nshare_broadcasts = true\n", true),
    ] {
        everywhere(toml, |address| {
            let mut events = Client::events(address);
            let mut alice = MessengerClient::new(address, "alice");
            let mut bob = MessengerClient::new(address, "bob");
            alice.tell("broadcast", "to all");
            assert_eq!(bob.content(), "to all");
            alice.has_nothing();
            bob.has_nothing();
            if is_shared {
                let frame = events.json();
                assert_eq!(frame["data"]["content"], "to all", "{frame}");
            } else {
                assert!(events.is_silent(std::time::Duration::from_millis(50)));
            }
        });
    }
}
