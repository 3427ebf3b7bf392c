//! `@name` of a public account: the message goes there instead of to its user.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::{SILENCE, call, gateway, last, post, push, user};
use crate::support::{Call, Client, metric};
use fanfare::dialect::bridge::BridgeSettings;

/// A gateway with some accounts besides those that are always public.
fn with_accounts(shards: usize) -> crate::support::TestGateway {
    gateway(shards, |config| {
        let accounts = ["helpdesk", "ci_bot2", "help", "A_1"];
        config.section_mut::<BridgeSettings>().public_accounts = accounts.map(str::to_owned).into();
    })
}

/// Those who are connected, by name.
struct Users(Vec<(&'static str, Client)>);

impl Users {
    fn connect(address: SocketAddr, names: &[&'static str]) -> Self {
        Self(
            names
                .iter()
                .map(|name| (*name, user(address, name)))
                .collect(),
        )
    }

    /// What is pushed to alice with this data goes to `expected`.
    #[track_caller]
    fn check(&mut self, address: SocketAddr, data: &Value, expected: &str) {
        assert!(push(address, "alice", data), "{data}");
        let frame = self.of(expected).json();
        assert_eq!(frame["user_id"], "alice", "{data}");
        assert_eq!(frame["original_sender"]["user_id"], "alice", "{data}");
        // As a message for somebody else would be the next thing there, `data` is looked at.
        for (key, value) in data.as_object().unwrap() {
            assert!(key == "user_id" || frame[key] == *value, "{data}: {frame}");
        }
    }

    /// Nobody has been sent anything else.
    #[track_caller]
    fn check_silent(&mut self) {
        for (name, client) in &mut self.0 {
            assert!(client.is_silent(Duration::from_millis(20)), "{name}");
        }
    }

    #[track_caller]
    fn of(&mut self, name: &str) -> &mut Client {
        &mut self.0.iter_mut().find(|(it, _)| *it == name).expect(name).1
    }
}

const EVERYBODY: [&str; 10] = [
    "alice",
    "ci_bot",
    "email_bot",
    "notification_bot",
    "system_bot",
    "helpdesk",
    "ci_bot2",
    "help",
    "A_1",
    "bob",
];

#[test]
fn the_first_public_account_in_the_text_takes_the_message() {
    for shards in [1, 3] {
        let gateway = with_accounts(shards);
        let address = gateway.address;
        let mut users = Users::connect(address, &EVERYBODY);
        for (text, expected) in [
            ("@ci_bot", "ci_bot"),
            ("@email_bot please", "email_bot"),
            ("@notification_bot", "notification_bot"),
            ("@system_bot", "system_bot"),
            ("hello @helpdesk!", "helpdesk"),
            ("@nope @email_bot @ci_bot", "email_bot"),
            ("@bob @alice @ci_bot", "ci_bot"),
            ("x@ci_bot.com", "ci_bot"),
            ("@ci_bot2", "ci_bot2"),
            ("@ci_bot-2", "ci_bot"),
            ("@@ci_bot", "ci_bot"),
            ("@help@ci_bot", "help"),
            ("@\u{e9}@ci_bot\u{e9}", "ci_bot"),
            ("\u{1f600}@A_1", "A_1"),
            ("line\n@ci_bot\r\n", "ci_bot"),
            // Nobody public.
            ("ci_bot", "alice"),
            ("@CI_BOT", "alice"),
            ("@Ci_bot", "alice"),
            ("@ci_bot3", "alice"),
            ("@ci_bo", "alice"),
            ("@ ci_bot", "alice"),
            ("@bob", "alice"),
            ("\u{ff20}ci_bot", "alice"),
            ("@", "alice"),
            ("", "alice"),
        ] {
            users.check(address, &json!({ "message": text }), expected);
        }
        // However it is written.
        let body = r#"{"user_id":"alice","data":{"message":"\u0040ci\u005fbot"}}"#;
        assert_eq!(post(address, "/sse/push", body).json()["status"], "success");
        assert_eq!(users.of("ci_bot").json()["user_id"], "alice");
        users.check_silent();
    }
}

#[test]
fn one_text_is_looked_at() {
    let gateway = with_accounts(3);
    let address = gateway.address;
    let mut users = Users::connect(address, &EVERYBODY);
    let (ci, no) = (json!("@ci_bot"), json!("none"));
    for (data, expected) in [
        (json!({ "message": ci }), "ci_bot"),
        (json!({ "text": ci }), "ci_bot"),
        (json!({ "data": ci }), "ci_bot"),
        (json!({ "content": ci }), "ci_bot"),
        (json!({ "body": ci }), "ci_bot"),
        (json!({ "title": ci }), "alice"),
        (json!({ "Message": ci }), "alice"),
        (json!({ "message": no, "text": ci }), "alice"),
        (json!({ "message": "", "text": ci }), "alice"),
        (json!({ "text": no, "data": ci }), "alice"),
        (json!({ "data": no, "content": ci, "body": ci }), "alice"),
        (json!({ "content": no, "body": ci }), "alice"),
        (json!({ "message": 5, "text": ci }), "ci_bot"),
        (json!({ "message": null, "text": [], "data": ci }), "ci_bot"),
        (
            json!({ "message": { "text": "@help" }, "body": ci }),
            "ci_bot",
        ),
        (json!({ "data": { "message": ci } }), "alice"),
        (json!({ "message": ["@ci_bot"] }), "alice"),
        (
            json!({ "text": ci, "body": "@help", "data": "@email_bot" }),
            "ci_bot",
        ),
        (
            json!({ "user_id": ci, "correlation_id": "@ci_bot" }),
            "alice",
        ),
    ] {
        users.check(address, &data, expected);
    }
    users.check_silent();
}

#[test]
fn an_account_that_is_not_connected_is_not_stood_in_for() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let mut alice = user(address, "alice");
        let mention = json!({ "message": "@ci_bot", "correlation_id": "c" });
        assert!(!push(address, "alice", &mention));
        let batch = json!([{ "user_id": "alice", "data": mention }]);
        let results = post(address, "/sse/push/batch", &batch.to_string()).json();
        let expected = json!({ "index": 0, "user_id": "alice", "success": false });
        assert_eq!(results["results"][0], expected);
        let mut call = Call::begin(address, &json!({ "user_id": "alice", "data": mention }));
        let offline = json!({ "error": "User not connected", "correlation_id": "c" });
        assert_eq!(call.until_end(), [offline]);
        assert!(alice.is_silent(SILENCE));
    }
}

#[test]
fn the_account_answers_and_not_the_user() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let (mut alice, mut bot) = (user(address, "alice"), user(address, "ci_bot"));
        for round in 0..5 {
            let id = json!(format!("c{round}"));
            let data = json!({ "text": "run it, @ci_bot", "correlation_id": id, "timestamp": 7 });
            let mut call = Call::begin(address, &json!({ "user_id": "alice", "data": data }));
            let expected = json!({
                "text": "run it, @ci_bot", "correlation_id": id, "timestamp": 7, "user_id": "alice",
                "original_sender": { "user_id": "alice", "timestamp": 7 },
            });
            assert_eq!(bot.json(), expected);
            alice.say(&last(&id, "not mine"));
            super::wait_until("nobody waits for hers", || {
                metric(address, "answers_unclaimed_total") == round + 1
            });
            bot.say(&last(&id, "done"));
            assert_eq!(call.until_end(), [last(&id, "done")]);
        }
        // A message for the account itself needs no mention.
        let mut direct = call(address, "ci_bot", &json!("d"));
        assert_eq!(bot.json()["user_id"], "ci_bot");
        bot.say(&last(&json!("d"), 1));
        assert_eq!(direct.until_end().len(), 1);
        assert!(alice.is_silent(SILENCE));
    }
}

#[test]
fn whom_a_message_names_does_not_matter_when_it_mentions_somebody() {
    let gateway = gateway(3, |_| {});
    let mut bot = user(gateway.address, "ci_bot");
    for name in ["nobody", "", "ci_bot", &"x".repeat(1000)] {
        assert!(push(
            gateway.address,
            name,
            &json!({ "message": "@ci_bot" })
        ));
        assert_eq!(bot.json()["user_id"], name);
    }
}
