//! Server commands.

use serde_json::json;

use super::{MessengerClient, everywhere};

#[test]
fn a_signed_command_has_its_answer() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let bob = MessengerClient::new(address, "bob");
        alice.command(r#"{"command":"ping","params":{},"request_id":"r1"}"#);
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
        let answer: serde_json::Value =
            serde_json::from_str(frame["body"]["content"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&answer["success"], &answer["request_id"]),
            (&json!(true), &json!("r1"))
        );
        assert_eq!(answer["result"]["message"], "pong");
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(
            answer["result"]["timestamp"]
                .as_u64()
                .unwrap()
                .abs_diff(now)
                < 60
        );
        alice.command(r#"{"command":"user_count"}"#);
        assert_eq!(alice.answer()["result"]["count"], 2);
        bob.leave();
        // The count follows within a moment.
        let info = loop {
            alice.command(r#"{"command":"server_info"}"#);
            let info = alice.answer()["result"].take();
            if info["connected_users"] != 2 {
                break info;
            }
        };
        assert_eq!(
            (&info["version"], &info["connected_users"]),
            (&json!("1.0.0"), &json!(1))
        );
        alice.command(r#"{"command":"list_commands"}"#);
        let list = alice.answer()["result"].take();
        let expected = json!({ "commands": ["echo", "get_time", "hello", "list_commands", "ping", "server_info",
            "user_count"], "count": 7 });
        assert_eq!(list, expected);
        alice.command(r#"{"command":"get_time","params":{"zone":"Europe/Berlin"}}"#);
        let answer = alice.answer();
        // Where the machine has no time zones, it says so.
        assert!(answer["result"]["timezone"] == "Europe/Berlin" || answer["error"].is_string());
    });
}

#[test]
fn a_command_that_is_wrong_is_told_why() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let mut say = |content: &str, signature: &str| {
            let header = json!({ "to": "server", "signature": signature });
            alice.say(&json!({ "header": header, "body": { "content": content } }));
            let frame = alice.next();
            assert_eq!(frame["status"], "error");
            let content = frame["body"]["content"].as_str().unwrap();
            serde_json::from_str::<serde_json::Value>(content).unwrap()
        };
        let ping = r#"{"command":"ping","request_id":"r1"}"#;
        let error = |why: &str| json!({ "success": false, "error": why });
        assert_eq!(say(ping, ""), error("Server messages must be signed"));
        assert_eq!(say("ping", "x"), error("Invalid server command format"));
        let invalid = json!({ "success": false, "request_id": "r1", "error": "Invalid signature" });
        assert_eq!(say(ping, "x"), invalid);
        let other = super::Account::new("bob").sign(ping.as_bytes());
        assert_eq!(say(ping, &other), invalid);
        alice.command(r#"{"command":"dance","request_id":"r2"}"#);
        let unknown =
            json!({ "success": false, "request_id": "r2", "error": "Unknown command: dance" });
        assert_eq!(alice.answer(), unknown);
    });
}

#[test]
fn commands_and_their_outcomes_are_stored_and_not_delivered() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        alice.command(r#"{"command":"ping"}"#);
        alice.answer();
        alice.command(r#"{"command":"dance"}"#);
        alice.answer();
        alice.has_nothing();
        alice.leave();
        let mut alice = MessengerClient::again(address, "alice", "");
        alice.has_nothing();
        let mut alice = MessengerClient::again(address, "alice", "&after=0");
        alice.has_nothing();
        let counted = || {
            let answer = super::get(address, "/api/v1/messenger/stats").json();
            answer["messages"].to_string()
        };
        assert!(counted().contains("server"), "{}", counted());
    });
}
