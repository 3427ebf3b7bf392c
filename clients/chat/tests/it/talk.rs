//! What users say to each other.

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::client::{Client, PATIENCE};
use crate::server::{Order, Server, server_frame};

fn start(users: &[&str]) -> (Server, TempDir, Vec<Client>) {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let connect = |user: &&str| Client::connected(&server.url(), user, folder.path(), &[]);
    let clients = users.iter().map(connect).collect();
    (server, folder, clients)
}

/// The line behind its time.
#[track_caller]
fn text(line: &str) -> &str {
    let (time, text) = line.split_at("[00:00:00] ".len());
    let shape: String = time
        .chars()
        .map(|it| if it.is_ascii_digit() { '0' } else { it })
        .collect();
    assert_eq!(shape, "[00:00:00] ", "{line}");
    text
}

#[test]
fn a_direct_message_is_encrypted_and_verified() {
    let (server, _folder, mut clients) = start(&["alice", "bob"]);
    clients[0].say("@bob meet at <noon> & bring Grüße");
    let line = clients[1].line("->");
    assert_eq!(
        text(&line),
        "alice -> bob [VERIFIED] [ENCRYPTED]: meet at <noon> & bring Grüße"
    );
    let frame = server.frames.recv_timeout(PATIENCE).unwrap();
    assert!(!frame.to_string().contains("noon"), "{frame}");
    assert_eq!(frame["header"]["message_type"], "direct");
    assert!(frame.get("id").is_none() && frame.get("status").is_none());
    clients[1].say("direct alice I will");
    let line = clients[0].line("->");
    assert_eq!(text(&line), "bob -> alice [VERIFIED] [ENCRYPTED]: I will");
}

#[test]
fn a_broadcast_reaches_the_others() {
    let (_server, _folder, mut clients) = start(&["alice", "bob", "charlie"]);
    clients[0].say("!hello all");
    for client in &mut clients[1..] {
        let line = client.line("->");
        assert_eq!(text(&line), "alice -> broadcast [VERIFIED]: hello all");
    }
}

#[test]
fn who_is_away_gets_it_later() {
    let (server, folder, mut clients) = start(&["alice", "bob"]);
    let mut bob = clients.pop().unwrap();
    bob.say("/quit");
    assert_eq!(bob.end().0, Some(0));
    clients[0].say("@bob read this later");
    clients[0].line("bob is not connected, and gets it later");
    let mut bob = Client::start(&server.url(), "bob", folder.path(), &["--json"]);
    let message = bob.event("message");
    assert_eq!(message["text"], "read this later");
    let found = ["verified", "encrypted", "pending"].map(|it| message[it].clone());
    assert_eq!(found, [true, true, true].map(Value::from));
}

#[test]
fn a_message_to_an_unknown_user_is_not_sent_and_that_is_said() {
    let (server, _folder, mut clients) = start(&["alice"]);
    clients[0].say("@dave hi");
    clients[0].line("err: * not sent to dave: there is no such user");
    clients[0].say("hi");
    clients[0].line("err: * to whom: @user text");
    clients[0].say("@alice to myself");
    assert_eq!(
        text(&clients[0].line("->")),
        "alice -> alice [VERIFIED] [ENCRYPTED]: to myself"
    );
    assert_eq!(server.frames.try_iter().count(), 1);
}

#[test]
fn commands_are_signed_and_users_are_listed() {
    let (_server, _folder, mut clients) = start(&["alice"]);
    clients[0].say(r#"/cmd echo {"a":[1,2]}"#);
    let line = clients[0].line("->");
    let (head, content) = text(&line).split_once(": ").unwrap();
    assert_eq!(head, "server -> alice");
    let content: Value = serde_json::from_str(content).unwrap();
    let expected = json!({"success": true, "request_id": "r1", "result": {"echo": {"a": [1, 2]}}});
    assert_eq!(content, expected);
    clients[0].say("/users");
    clients[0].line("err: * online: alice");
    clients[0].say("/help");
    clients[0].line("/cmd name [json]");
}

#[test]
fn a_signature_that_does_not_fit_is_shown() {
    let (server, _folder, mut clients) = start(&["alice", "bob"]);
    let send = |signature: Value| {
        let header = json!({"from": "bob", "to": "alice", "message_type": "direct",
            "timestamp": "2025-01-02T03:04:05Z", "signature": signature});
        let frame = json!({"id": 100, "header": header, "body": {"content": "x"}});
        server.order(Order::Send("alice".into(), frame));
    };
    send("AAAA".into());
    assert_eq!(
        clients[0].line("->"),
        "[03:04:05] bob -> alice [SIGNATURE INVALID]: x"
    );
    let unsigned =
        json!({"header": {"from": "bob", "to": "alice"}, "body": {"content": "y\u{1b}[2J"}});
    server.order(Order::Send("alice".into(), unsigned));
    assert_eq!(text(&clients[0].line("->")), "bob -> alice: y\\u{1b}[2J");
    let mut refusal = server_frame("alice", &json!("Rate limit exceeded."), "error");
    refusal["header"]["from"] = "system".into();
    server.order(Order::Send("alice".into(), refusal));
    assert_eq!(
        clients[0].line("->"),
        "[03:04:05] system -> alice [ERROR]: \"Rate limit exceeded.\""
    );
    for text in ["", "[]", "\u{0}"] {
        server.order(Order::Send("alice".into(), json!(text)));
        clients[0].line("no message");
    }
}

#[test]
fn changed_keys_are_said_loudly_and_nothing_is_sent_to_them() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let state = folder.path().join("alice.state");
    let state = ["--state", state.to_str().unwrap()];
    let mut alice = Client::connected(&server.url(), "alice", folder.path(), &state);
    let mut bob = Client::connected(&server.url(), "bob", folder.path(), &[]);
    alice.say("@bob one");
    bob.line("one");
    bob.say("/key");
    let key = bob.line("the keys of bob: ");
    alice.say("/key bob");
    assert_eq!(alice.line("the keys of bob: "), key);
    let before = key.rsplit_once(": ").unwrap().1.to_owned();
    assert_eq!(before.len(), "0000 ".len() * 8 - 1);
    alice.say("/key zoe");
    alice.line("there is no user zoe");
    alice.say("/trust zoe");
    alice.line("nothing is known of zoe");
    alice.say("/quit");
    assert_eq!(alice.end().0, Some(0));
    // The keys of another, under bob's name.
    let keys = json!({"user_id": "bob", "public_key": "7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw=",
        "x25519_public_key": "Srtk5nWEtDpSLGfD1mrEe4qA6VuAiC/RsT1jCdLswn4="});
    server.order(Order::Rekey("bob".into(), keys));
    let mut alice = Client::connected(&server.url(), "alice", folder.path(), &state);
    alice.say("@bob two");
    alice.line("err: !!! THE KEYS OF bob HAVE CHANGED.");
    let now = alice.line("err: !!! now: ");
    assert!(!now.contains(&before), "{now}");
    alice.line(&format!("err: !!! before: {before}"));
    alice.line("err: * not sent to bob: the user's keys have changed");
    alice.say("/trust bob");
    alice.line("trusted");
    alice.say("@bob three");
    bob.line("it cannot be read");
}

#[test]
fn many_messages_arrive_in_order_and_at_the_rate_that_is_allowed() {
    let (server, folder, mut clients) = start(&["bob"]);
    let rate = ["--rate", "100", "--burst", "6"];
    let mut alice = Client::connected(&server.url(), "alice", folder.path(), &rate);
    let began = std::time::Instant::now();
    for number in 0..45 {
        alice.say(&format!("@bob number {number}."));
    }
    alice.say("/quit");
    assert_eq!(alice.end().0, Some(0));
    let took = began.elapsed();
    assert!(took.as_millis() >= 390, "{took:?}");
    for number in 0..45 {
        let line = clients[0].line("->");
        assert!(line.ends_with(&format!("number {number}.")), "{line}");
    }
}

#[test]
fn a_bot_announces_itself_and_talks() {
    let (server, folder, mut clients) = start(&["alice"]);
    let arguments = [
        "--auto-announce",
        "--auto-mode",
        "--auto-interval",
        "0.2",
        "--username",
        "Robot",
    ];
    let mut bot = Client::start(&server.url(), "bot", folder.path(), &arguments);
    // A bot in a container has no input.
    bot.end_input();
    let line = clients[0].line("->");
    assert_eq!(
        text(&line),
        "bot -> broadcast [VERIFIED]: Robot is now online"
    );
    for _ in 0..2 {
        let line = clients[0].line("->");
        let (head, time) = text(&line).split_once(" at ").unwrap();
        assert_eq!(head, "bot -> broadcast [VERIFIED]: Auto message from Robot");
        assert_eq!(time.len(), "00:00:00".len());
    }
    bot.signal("TERM");
    assert_eq!(bot.end().0, Some(0));
}
