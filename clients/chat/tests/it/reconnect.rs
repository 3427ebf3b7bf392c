//! Connections that end.

use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::json;
use tempfile::tempdir;

use crate::client::{Client, PATIENCE};
use crate::server::{Order, Server};

/// The targets of upgrades until now, the parameter of each that says what was seen.
fn upgrades(server: &Server) -> Vec<Option<String>> {
    let targets = server.requests.try_iter();
    let upgrades = targets.filter(|target| target.starts_with("/ws?"));
    upgrades
        .map(|target| {
            let mut parameters = target.split(['?', '&']);
            parameters.find_map(|it| it.strip_prefix("after=").map(str::to_owned))
        })
        .collect()
}

#[test]
fn a_lost_connection_is_opened_again_behind_what_was_seen() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let mut bob = Client::connected(&server.url(), "bob", folder.path(), &["--json"]);
    let mut alice = Client::connected(&server.url(), "alice", folder.path(), &[]);
    assert_eq!(upgrades(&server), [None, None]);
    alice.say("@bob one");
    assert_eq!(bob.event("message")["id"], 1);
    server.order(Order::Cut("bob".into()));
    bob.event("disconnected");
    bob.event("connected");
    alice.say("@bob two");
    assert_eq!(bob.event("message")["id"], 2);
    assert_eq!(upgrades(&server), [Some("1".into())]);
    // What a server sends again is shown once.
    let header = json!({"from": "alice", "to": "bob"});
    for id in [2, 1, 2, 3] {
        let frame = json!({"id": id, "header": header, "body": {"content": "again"}});
        server.order(Order::Send("bob".into(), frame));
    }
    assert_eq!(bob.event("message")["id"], 3);
}

#[test]
fn what_was_seen_is_known_to_the_next_run_with_a_state_file() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let path = folder.path().join("bob.state");
    let state = ["--state", path.to_str().unwrap()];
    let mut alice = Client::connected(&server.url(), "alice", folder.path(), &[]);
    let mut bob = Client::connected(&server.url(), "bob", folder.path(), &state);
    alice.say("@bob one");
    bob.line("one");
    // It is written down once it is shown.
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(&path).is_ok_and(|it| it.contains(r#""last_id":1"#)) {
        assert!(Instant::now() < deadline, "it is not written down");
        thread::sleep(Duration::from_millis(5));
    }
    // There is no time to say goodbye.
    bob.signal("KILL");
    bob.end();
    upgrades(&server);
    let _bob = Client::connected(&server.url(), "bob", folder.path(), &state);
    assert_eq!(upgrades(&server), [Some("1".into())]);
    let other = Client::start(&server.url(), "alice", folder.path(), &state).end();
    assert_eq!(other.0, Some(3), "{other:?}");
}

#[test]
fn a_token_that_is_not_good_any_more_is_renewed() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let mut bob = Client::connected(&server.url(), "bob", folder.path(), &[]);
    let logins = |server: &Server| {
        let targets = server.requests.try_iter();
        targets.filter(|it| it == "/auth/login?verify=true").count()
    };
    assert_eq!(logins(&server), 1);
    server.order(Order::Close("bob".into(), 1001, "restart"));
    bob.line("1001");
    bob.line("connected as");
    assert_eq!(logins(&server), 0, "the token is good");
    server.order(Order::Close("bob".into(), 1008, "Token expired"));
    bob.line("1008");
    bob.line("connected as");
    assert_eq!(logins(&server), 1);
    // A restarted server with another secret.
    forget_tokens(&server);
    server.order(Order::Cut("bob".into()));
    bob.line("connected as");
    assert_eq!(logins(&server), 1);
}

fn forget_tokens(server: &Server) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    write!(
        stream,
        "GET /test/forget-tokens HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
}

#[test]
fn a_replaced_client_ends_and_does_not_come_back() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let first = Client::connected(&server.url(), "bob", folder.path(), &[]);
    let _second = Client::connected(&server.url(), "bob", folder.path(), &[]);
    let (code, lines) = first.end();
    assert_eq!(code, Some(6), "{lines:?}");
    assert!(
        lines.iter().any(|it| it.contains("taken over")),
        "{lines:?}"
    );
}

#[test]
fn a_server_that_is_down_is_asked_again_and_what_was_typed_is_sent_then() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let mut bob = Client::connected(&server.url(), "bob", folder.path(), &[]);
    server.go_down(true);
    let mut alice = Client::start(&server.url(), "alice", folder.path(), &[]);
    alice.line("the next attempt in");
    alice.say("@bob I was early");
    alice.line("the next attempt in");
    server.go_down(false);
    bob.line("I was early");
}

#[test]
fn without_reconnect_the_end_of_a_connection_is_the_end() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let bob = Client::connected(&server.url(), "bob", folder.path(), &["--no-reconnect"]);
    server.order(Order::Cut("bob".into()));
    assert_eq!(bob.end().0, Some(5));
    server.go_down(true);
    let bob = Client::start(&server.url(), "bob", folder.path(), &["--no-reconnect"]);
    assert_eq!(bob.end().0, Some(5));
}

#[test]
fn every_end_that_is_asked_for_is_in_good_order() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    for end in ["TERM", "INT", "/quit"] {
        let mut bob = Client::connected(&server.url(), "bob", folder.path(), &[]);
        match end {
            "/quit" => bob.say(end),
            signal => bob.signal(signal),
        }
        let (code, lines) = bob.end();
        assert_eq!(code, Some(0), "{end}: {lines:?}");
        let last = std::iter::from_fn(|| server.requests.recv_timeout(PATIENCE).ok())
            .find(|it| it.starts_with("close"));
        assert_eq!(last.as_deref(), Some("close 1000"), "{end}");
    }
}

#[test]
fn a_script_may_send_and_leave_before_it_is_connected() {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let mut bob = Client::connected(&server.url(), "bob", folder.path(), &[]);
    let mut script = Client::start(&server.url(), "alice", folder.path(), &[]);
    script.say("@bob from a script\n!and all\n/quit");
    script.end_input();
    assert_eq!(script.end().0, Some(0));
    bob.line("alice -> bob [VERIFIED] [ENCRYPTED]: from a script");
    bob.line("alice -> broadcast [VERIFIED]: and all");
}
