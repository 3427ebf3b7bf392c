//! What a script is told of what it has sent.

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::client::Client;
use crate::server::{Order, Server, server_frame, too_fast};

fn start() -> (Server, TempDir, Client) {
    let server = Server::start();
    let folder = tempdir().unwrap();
    let bob = Client::connected(&server.url(), "bob", folder.path(), &[]);
    (server, folder, bob)
}

/// A script that sends these lines: its exit code, and the objects that it has printed.
fn run(server: &Server, folder: &TempDir, lines: &[&str], options: &[&str]) -> (i32, Vec<Value>) {
    let mut arguments = vec!["--json", "--no-reconnect"];
    arguments.extend(options);
    let mut script = Client::start(&server.url(), "ci", folder.path(), &arguments);
    for line in lines {
        script.say(line);
    }
    script.say("/quit");
    script.end_input();
    let (code, lines) = script.end();
    let objects = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    (code.unwrap(), objects.collect())
}

fn of<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects.iter().filter(|it| it["event"] == event).collect()
}

#[test]
fn what_was_too_fast_is_sent_again_in_its_order() {
    let (server, folder, mut bob) = start();
    let busy = json!({"success": false, "code": "STORE_BUSY", "error": "Busy"});
    let busy = server_frame("ci", &busy, "error");
    let answers = [Some(too_fast("ci")), Some(busy), Some(too_fast("ci"))];
    server.order(Order::Answer(answers.into()));
    let lines = ["@bob one.", "!two.", "/cmd echo 3", "@bob four."];
    let (code, objects) = run(&server, &folder, &lines, &[]);
    assert_eq!(code, 0, "{objects:#?}");
    for part in ["one.", "two.", "four."] {
        let line = bob.line("->");
        assert!(line.ends_with(part), "{line}");
    }
    assert_eq!(of(&objects, "confirmed").len(), 3);
    let again = "the message to bob is sent again, the server says:";
    let notices = of(&objects, "notice");
    let notices = notices.iter().filter_map(|it| it["text"].as_str());
    assert_eq!(notices.filter(|it| it.starts_with(again)).count(), 3);
    assert_eq!(of(&objects, "message").len(), 1, "the command's answer");
}

#[test]
fn a_command_that_was_too_fast_is_sent_again() {
    let (server, folder, _bob) = start();
    server.order(Order::Answer(vec![Some(too_fast("ci"))]));
    let (code, objects) = run(&server, &folder, &["/cmd echo 3"], &[]);
    assert_eq!(code, 0, "{objects:#?}");
    let text = of(&objects, "message")[0]["text"].as_str().unwrap();
    assert!(text.contains(r#""echo":3"#), "{text}");
}

#[test]
fn what_the_server_does_not_store_is_told_with_its_recipient_and_text() {
    let (server, folder, mut bob) = start();
    let full = json!({"success": false, "code": "STORE_FULL", "error": "There is no room to store messages"});
    let full = server_frame("ci", &full, "error");
    server.order(Order::Answer(vec![Some(full)]));
    let lines = ["@bob lost", "@bob kept"];
    let (code, objects) = run(&server, &folder, &lines, &[]);
    assert_eq!(code, 7, "{objects:#?}");
    let told = of(&objects, "not_sent");
    assert_eq!(told.len(), 1, "{objects:#?}");
    let fields = ["to", "message", "code"].map(|it| told[0][it].clone());
    assert_eq!(fields, ["bob", "lost", "STORE_FULL"].map(Value::from));
    assert_eq!(
        told[0]["text"],
        "not sent to bob: There is no room to store messages (STORE_FULL): \"lost\""
    );
    assert_eq!(of(&objects, "failure")[0]["exit_code"], 7);
    assert!(of(&objects, "message").is_empty(), "{objects:#?}");
    bob.line("kept");
}

#[test]
fn a_script_ends_with_7_where_something_was_not_sent() {
    let (server, folder, mut bob) = start();
    for (line, options) in [
        ("@ghost the build is done", &[][..]),
        ("hello", &[]),
        ("@plain secret", &["--encryption", "required"]),
    ] {
        server.order(Order::Rekey("plain".into(), without_agreement()));
        let (code, objects) = run(&server, &folder, &[line, "@bob next"], options);
        assert_eq!(code, 7, "{line}: {objects:#?}");
        bob.line("next");
    }
    let (code, objects) = run(&server, &folder, &["@bob all is well"], &[]);
    assert_eq!(code, 0, "{objects:#?}");
}

#[test]
fn what_is_not_confirmed_is_told() {
    let (server, folder, _bob) = start();
    server.order(Order::Answer(vec![None]));
    let (code, objects) = run(&server, &folder, &["@bob into the void"], &[]);
    assert_eq!(code, 7, "{objects:#?}");
    let told = of(&objects, "unconfirmed");
    let fields = ["to", "message"].map(|it| told[0][it].clone());
    assert_eq!(fields, ["bob", "into the void"].map(Value::from));
}

#[test]
fn plaintext_is_said_once_of_each_user() {
    let (server, folder, _bob) = start();
    server.order(Order::Rekey("plain".into(), without_agreement()));
    let lines = ["@plain one", "@bob two", "@plain three", "!four"];
    let (code, objects) = run(&server, &folder, &lines, &[]);
    assert_eq!(code, 0, "{objects:#?}");
    let warnings = of(&objects, "warning");
    assert_eq!(warnings.len(), 1, "{objects:#?}");
    assert_eq!(warnings[0]["user"], "plain");
    let text = warnings[0]["text"].as_str().unwrap();
    assert!(text.contains("is sent in plaintext"), "{text}");
    let encrypted = of(&objects, "confirmed");
    let encrypted: Vec<_> = encrypted.iter().map(|it| &it["encrypted"]).collect();
    assert_eq!(encrypted, [false, true, false, false]);
    let (_, objects) = run(&server, &folder, &lines, &["--encryption", "off"]);
    assert!(
        of(&objects, "warning").is_empty(),
        "it is what was asked for"
    );
}

/// The keys of a user who has none for encryption.
fn without_agreement() -> Value {
    json!({"user_id": "plain", "public_key": "7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw="})
}
