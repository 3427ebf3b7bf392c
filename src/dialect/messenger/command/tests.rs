use std::task::Waker;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::*;

fn commands() -> Commands {
    let commands = Commands::default();
    add_all(&commands).unwrap();
    commands
        .add("panic", async |_| panic!("as it was told"))
        .unwrap();
    commands.add("never", |_| std::future::pending()).unwrap();
    commands
}

fn call(params: Option<Box<str>>) -> CommandCall {
    CommandCall {
        sender: "al\"ice".into(),
        params,
        connected: 3,
        wall_ms: 1_735_787_045_678,
    }
}

/// What is told of this content, signed.
fn run(content: &str) -> (bool, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let key = pair.public_key().as_ref().try_into().unwrap();
    let signature = STANDARD.encode(pair.sign(content.as_bytes()));
    let told = match Running::begin(&commands(), &key, (content, &signature), call) {
        Ok(mut running) => match running.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(told) => told,
            Poll::Pending => Told::error("", "pending"),
        },
        Err(told) => told,
    };
    (
        told.status == Status::Delivered,
        serde_json::from_str(&told.content).unwrap(),
    )
}

#[track_caller]
fn check(content: &str, expected: Value) {
    let (is_done, told) = run(content);
    assert_eq!(told, expected, "{content}");
    assert_eq!(is_done, told["success"] == true);
}

#[test]
fn each_command_has_its_result() {
    let done = |result: Value| json!({ "success": true, "request_id": "r1", "result": result });
    let at = 1_735_787_045;
    for (command, params, result) in [
        (
            "ping",
            "null",
            json!({ "message": "pong", "timestamp": at }),
        ),
        (
            "echo",
            "[1, 2.50]",
            json!({ "echo": [1, 2.5], "sender": "al\"ice" }),
        ),
        ("echo", "null", json!({ "echo": null, "sender": "al\"ice" })),
        (
            "server_info",
            "{}",
            json!({ "version": "1.0.0", "connected_users": 3, "timestamp": at }),
        ),
        ("user_count", "1", json!({ "count": 3, "timestamp": at })),
        (
            "hello",
            r#"{"name":"Zed"}"#,
            json!({ "greeting": "Hello, Zed", "sender": "al\"ice", "timestamp": at,
                "connected_users": 3, "server_time": "2025-01-02T03:04:05.678Z" }),
        ),
        (
            "get_time",
            r#"{"format":"15:04","zone":"UTC"}"#,
            json!({ "current_time": "03:04", "unix": at, "timezone": "UTC", "requester": "al\"ice" }),
        ),
    ] {
        let content = format!(r#"{{"command":"{command}","params":{params},"request_id":"r1"}}"#);
        check(&content, done(result));
    }
    let (_, told) = run(r#"{"command":"list_commands"}"#);
    let names = told["result"]["commands"].as_array().unwrap();
    for name in [
        "ping",
        "echo",
        "server_info",
        "user_count",
        "list_commands",
        "hello",
        "get_time",
    ] {
        assert!(names.contains(&name.into()), "{name}");
    }
    assert_eq!(told["result"]["count"], names.len());
    assert_eq!(told.get("request_id"), None);
}

#[test]
fn what_is_wrong_is_said_in_the_order_of_the_checks() {
    let key = [0; 32];
    let refused = |content: &str, signature: &str| {
        let begun = Running::begin(&commands(), &key, (content, signature), call);
        begun.expect_err("it is refused").content
    };
    let error = |why: &str| json!({ "success": false, "error": why }).to_string();
    let is = |told: String, expected: String| {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(&told), read(&expected));
    };
    is(
        refused("no JSON", ""),
        error("Server messages must be signed"),
    );
    is(
        refused("no JSON", "x"),
        error("Invalid server command format"),
    );
    is(refused("[]", "x"), error("Invalid server command format"));
    is(
        refused(r#"{"command":5}"#, "x"),
        error("Invalid server command format"),
    );
    is(
        refused(r#"{"command":"no"}"#, "x"),
        error("Invalid signature"),
    );
    let told = refused(
        r#"{"command":"ping","request_id":"r"}"#,
        &STANDARD.encode([0; 64]),
    );
    is(
        told,
        json!({ "success": false, "request_id": "r", "error": "Invalid signature" }).to_string(),
    );
    check(
        r#"{"command":"dance","request_id":"r1"}"#,
        json!({ "success": false, "request_id": "r1", "error": "Unknown command: dance" }),
    );
    check(
        "{}",
        json!({ "success": false, "error": "Unknown command: " }),
    );
    check(
        r#"{"command":"hello","params":{"name":5}}"#,
        json!({ "success": false, "error": "invalid params: `name` is not a string" }),
    );
    check(
        r#"{"command":"panic","request_id":"r1"}"#,
        json!({ "success": false, "request_id": "r1", "error": "Internal server error" }),
    );
    check(
        r#"{"command":"never"}"#,
        json!({ "success": false, "error": "pending" }),
    );
}
