//! Direct messages and broadcasts, as they come live.

use serde_json::{Value, json};

use super::{MessengerClient, direct, everywhere};
use crate::support::metric;

#[test]
fn a_direct_message_comes_as_it_was_sent_with_an_integer_id() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let mut bob = MessengerClient::new(address, "bob");
        for (at, timestamp) in [
            "2025-01-02T03:04:05.678Z",
            "2025-01-02T03:04:05Z",
            "2025-01-02T05:04:05.120300+02:00",
        ]
        .into_iter()
        .enumerate()
        {
            let header = json!({ "from": "alice", "to": "bob", "timestamp": timestamp, "signature": "s\"",
                "encrypted_key": "k", "encryption_nonce": "n" });
            alice.say(&json!({ "header": header, "body": { "content": "hi ☺ \"bob\"\n" } }));
            let frame = bob.next();
            let id = frame["id"].as_i64().expect("an integer");
            let expected = json!({ "id": id, "header": { "from": "alice", "to": "bob", "message_type": "direct",
                "timestamp": timestamp, "signature": "s\"", "encrypted_key": "k", "encryption_nonce": "n" },
                "body": { "content": "hi ☺ \"bob\"\n" } });
            assert_eq!((frame, id), (expected, at as i64 + 1));
        }
        alice.has_nothing();
        bob.has_nothing();
    });
}

#[test]
fn what_is_missing_is_filled_in() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        alice.say(&json!({ "header": { "to": "alice" }, "body": { "content": "to myself" } }));
        let expected = json!({ "id": 1, "header": { "from": "alice", "to": "alice", "message_type": "direct",
            "timestamp": "0001-01-01T00:00:00Z" }, "body": { "content": "to myself" } });
        assert_eq!(alice.next(), expected);
        // A binary frame with the same JSON is the same message.
        alice
            .client
            .send(0x82, direct("alice", "binary").to_string().as_bytes());
        assert_eq!(alice.content(), "binary");
    });
}

#[test]
fn a_broadcast_comes_to_all_but_its_sender() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let mut others = ["bob", "carol", "dave"].map(|id| MessengerClient::new(address, id));
        let timestamp = "2025-01-02T03:04:05.5Z";
        for header in [
            json!({ "to": "broadcast", "timestamp": timestamp }),
            json!({ "to": "broadcast", "message_type": "broadcast", "timestamp": timestamp }),
        ] {
            alice.say(&json!({ "header": header, "body": { "content": "to all" } }));
            for other in &mut others {
                let frame = other.next();
                let expected = json!({ "id": frame["id"].as_i64().unwrap(), "header": { "from": "alice",
                    "to": "broadcast", "message_type": "broadcast", "is_broadcast": true, "timestamp": timestamp },
                    "body": { "content": "to all" } });
                assert_eq!(frame, expected);
            }
        }
        alice.has_nothing();
        others.iter_mut().for_each(MessengerClient::has_nothing);
    });
}

#[test]
fn nobody_sends_as_somebody_else() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let mut bob = MessengerClient::new(address, "bob");
        for to in ["bob", "broadcast", "server"] {
            let header = json!({ "from": "bob", "to": to });
            alice.say(&json!({ "header": header, "body": { "content": "{}" } }));
            let frame = alice.next();
            let timestamp = frame["header"]["timestamp"].as_str().unwrap().to_owned();
            let expected = json!({ "header": { "from": "system", "to": "alice", "message_type": "",
                "timestamp": timestamp }, "body": { "content": "Sender mismatch" }, "status": "error" });
            assert_eq!(frame, expected);
        }
        alice.tell("bob", "as myself");
        let frame = bob.next();
        assert_eq!(frame["id"], 1, "what was refused was not stored");
        bob.has_nothing();
    });
}

#[test]
fn what_is_no_message_is_ignored_and_counted() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let ignored = |name: &str| metric(address, &format!("messenger_{name}_total"));
        for text in [
            "",
            "x",
            "[]",
            "{\"header\":{\"to\":7}}",
            "{\"header\":{\"to\":\"a\",\"timestamp\":\"now\"}}",
        ] {
            alice.client.send(0x81, text.as_bytes());
        }
        alice.client.send(0x82, b"\xff\xfe");
        alice.say(&json!({ "header": { "to": "bob", "message_type": "shout" } }));
        alice.say(&json!({ "header": { "to": "" }, "body": { "content": "x" } }));
        alice.has_nothing();
        assert_eq!(
            [
                ignored("invalid"),
                ignored("unknown_type"),
                ignored("no_recipient")
            ],
            [6, 1, 1]
        );
    });
}

#[test]
fn beyond_its_rate_a_user_is_told_and_stays() {
    everywhere(
        "[messenger]\nrate_limit = 0.001\nrate_burst = 10\n",
        |address| {
            let mut alice = MessengerClient::new(address, "alice");
            let mut bob = MessengerClient::new(address, "bob");
            for number in 0..14 {
                alice.tell("bob", &number.to_string());
            }
            for number in 0..10 {
                assert_eq!(bob.content(), number.to_string());
            }
            for _ in 0..4 {
                let frame = alice.next();
                let timestamp = frame["header"]["timestamp"].as_str().unwrap().to_owned();
                let expected = json!({ "header": { "from": "system", "to": "alice", "message_type": "",
                "timestamp": timestamp }, "body": { "content": "Rate limit exceeded. Please slow down." },
                "status": "error" });
                assert_eq!(frame, expected);
            }
            // A new connection has a full bucket.
            alice.leave();
            let mut alice = MessengerClient::again(address, "alice", "");
            alice.tell("bob", "again");
            assert_eq!(bob.content(), "again");
        },
    );
}

#[test]
fn who_asks_is_told_what_is_stored_and_whether_it_has_come() {
    everywhere("", |address| {
        let account = super::Account::registered(address, "carol");
        let mut bob = MessengerClient::new(address, "bob");
        drop(MessengerClient::new(address, "alice"));
        let mut alice = MessengerClient::again(address, "alice", "&ack=true");
        let ack = |id: i64, status: &str| json!({ "success": true, "ack": id, "status": status });
        alice.tell("bob", "one");
        let frame = alice.next();
        let header = &frame["header"];
        assert_eq!(
            [
                &header["from"],
                &header["to"],
                &header["message_type"],
                &frame["status"]
            ],
            ["server", "alice", "direct", "delivered"]
        );
        assert!(frame.get("id").is_none());
        let content: Value =
            serde_json::from_str(frame["body"]["content"].as_str().unwrap()).unwrap();
        assert_eq!(content, ack(1, "delivered"));
        assert_eq!(bob.content(), "one");
        alice.tell(&account.id, "two");
        assert_eq!(alice.answer(), ack(2, "pending"));
        alice.tell("nobody", "three");
        assert_eq!(alice.answer(), ack(3, "pending"));
        alice.tell("broadcast", "four");
        assert_eq!(alice.answer(), ack(4, "delivered"));
        // Or message by message.
        let mut asking = direct("alice", "five");
        asking["header"]["ack"] = true.into();
        bob.say(&asking);
        assert_eq!(bob.content(), "four");
        assert_eq!(bob.answer(), ack(5, "delivered"));
        assert_eq!(alice.content(), "five");
        bob.tell("alice", "six");
        assert_eq!(alice.content(), "six");
        bob.has_nothing();
    });
}
