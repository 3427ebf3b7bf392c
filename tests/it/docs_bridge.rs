//! The examples of docs/bridge.md, run as they are written there, and
//! examples/bridge_backend.py against a gateway.

use std::process::{Command, Output};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use crate::support::{Client, TestGateway, free_port, needs_plaintext};

const DOCUMENT: &str = include_str!("../../docs/bridge.md");
const BACKEND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/bridge_backend.py");
const KEY: &str = "0123456789abcdef";
const TOOLS: &str = "curl and python3 do what the page says, over plain HTTP";

/// The first block of a language.
fn block(language: &str) -> &'static str {
    let begin = format!("\n```{language}\n");
    let (_, rest) = DOCUMENT.split_once(&begin).expect("the page has one");
    rest.split("\n```").next().unwrap()
}

/// Connects alice, who answers one question with these, the ids filled in.
fn alice(gateway: &TestGateway, answers: Vec<Value>) -> JoinHandle<Value> {
    let mut client = Client::connect(gateway.address, "/ws?user_id=alice");
    thread::spawn(move || {
        let question = client.json();
        for mut answer in answers {
            answer["correlation_id"] = question["correlation_id"].clone();
            client.say(&answer);
        }
        question
    })
}

/// The events that the page shows, without the ids.
fn shown() -> Vec<Value> {
    let text = DOCUMENT
        .split("\n```text\n")
        .nth(2)
        .expect("the second one");
    events(text.split("\n```").next().unwrap())
}

/// The JSON behind each `data:`, without its correlation id.
fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .map(|data| {
            let mut event: Value = serde_json::from_str(data).unwrap();
            let id = event["correlation_id"].take();
            assert_eq!(id.as_str().map(str::len), Some(36), "{data}");
            event
        })
        .collect()
}

fn run(command: &mut Command) -> Output {
    command.output().expect("bash, curl and python3 are there")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_command_prints_what_the_page_says() {
    if needs_plaintext(TOOLS) {
        return;
    }
    let gateway = TestGateway::start();
    let asked = alice(&gateway, shown());
    let command = block("sh").replace("127.0.0.1:8080", &gateway.address.to_string());
    let output = run(Command::new("bash").args(["-c", &command.replace("curl ", "curl -s ")]));
    assert_eq!(events(&text(&output.stdout)), shown(), "{output:?}");
    assert_eq!(asked.join().unwrap()["message"], "Deploy to production?");
}

#[test]
fn the_program_prints_every_answer() {
    if needs_plaintext(TOOLS) {
        return;
    }
    let gateway = TestGateway::start();
    let asked = alice(&gateway, shown());
    let program = block("python").replace("127.0.0.1:8080", &gateway.address.to_string());
    let output = run(Command::new("python3").args(["-c", &program]));
    let printed = text(&output.stdout);
    assert_eq!(printed.lines().count(), shown().len(), "{output:?}");
    assert!(printed.contains("'is_final': True"), "{printed}");
    asked.join().unwrap();
}

#[test]
fn a_pushed_message_has_what_the_page_shows() {
    if needs_plaintext(TOOLS) {
        return;
    }
    let gateway = TestGateway::start();
    let mut client = Client::connect(gateway.address, "/ws?user_id=alice");
    let expected: Value = serde_json::from_str(block("json")).unwrap();
    let mut data = expected.clone();
    for added in ["original_sender", "user_id", "correlation_id"] {
        data.as_object_mut().unwrap().remove(added);
    }
    let body = json!({ "user_id": "alice", "data": data }).to_string();
    let url = format!("http://{}/sse/push", gateway.address);
    let output = run(Command::new("curl").args(["-s", &url, "--json", &body]));
    assert_eq!(
        text(&output.stdout),
        r#"{"status":"success","message":"Message delivered"}"#
    );
    let mut got = client.json();
    got["correlation_id"] = expected["correlation_id"].clone();
    assert_eq!(got, expected);
}

/// Runs the example against `url`, and says how it ended and what it printed.
fn backend(url: &str, arguments: &[&str], key: Option<&str>) -> (Option<i32>, String, String) {
    let mut command = Command::new("python3");
    command.args([BACKEND, "--url", url]).args(arguments);
    command.env_remove("SSE_API_KEY");
    command.envs(key.map(|key| ("SSE_API_KEY", key)));
    let output = run(&mut command);
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    (output.status.code(), out, errors)
}

/// A gateway that asks services for a key, and whose users have so long to answer.
fn with_key(timeout: &str) -> TestGateway {
    let toml = format!("[bridge]\napi_key = \"{KEY}\"\nresponse_timeout = \"{timeout}\"");
    TestGateway::from_toml(&toml, |_| {})
}

fn url(gateway: &TestGateway) -> String {
    format!("http://{}", gateway.address)
}

#[test]
fn the_example_prints_answers_and_ends_with_the_final_one() {
    if needs_plaintext(TOOLS) {
        return;
    }
    let gateway = with_key("30s");
    let answers = vec![
        json!({ "type": "response", "message": "Let me see." }),
        json!({ "type": "final_response", "message": "Blue, Käthe" }),
    ];
    let asked = alice(&gateway, answers);
    let arguments = ["alice", "Which one?", "--option", "Red", "--option", "Blue"];
    let (code, out, errors) = backend(&url(&gateway), &arguments, Some(KEY));
    // A final response comes twice, the second time marked as such.
    let expected = "part   Let me see.\npart   Blue, Käthe\nfinal  Blue, Käthe\n";
    assert_eq!((code, &*out), (Some(0), expected), "{errors}");
    let question = asked.join().unwrap();
    assert_eq!(question["options"], json!(["Red", "Blue"]));
}

/// Runs the example; it must fail and say `what`.
#[track_caller]
fn check_failure(url: &str, key: Option<&str>, what: &str) {
    let (code, out, errors) = backend(url, &["alice", "Ready?"], key);
    assert_eq!((code, &*out), (Some(1), ""), "{errors}");
    assert!(errors.contains(what), "{errors}");
    assert!(!errors.contains("Traceback"), "{errors}");
}

#[test]
fn the_example_says_what_to_do_when_there_is_no_answer() {
    if needs_plaintext(TOOLS) {
        return;
    }
    let gateway = with_key("100ms");
    check_failure(&url(&gateway), None, "SSE_API_KEY");
    check_failure(&url(&gateway), Some(KEY), "alice is not connected");
    let _silent = Client::connect(gateway.address, "/ws?user_id=alice");
    check_failure(&url(&gateway), Some(KEY), "did not answer in time");

    let nobody = format!("http://127.0.0.1:{}", free_port());
    check_failure(&nobody, None, "fanfare serve --mode demo");
    check_failure("nonsense", None, "unknown url type");
}
