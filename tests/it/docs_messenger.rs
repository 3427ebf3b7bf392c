//! The examples of docs/messenger.md, run as they are written there.

use std::process::{Command, Output};

use fanfare::config::{Mode, Section};
use fanfare::dialect::messenger::MessengerSettings;
use serde_json::Value;

use crate::support::{TestGateway, needs_plaintext};

const DOCUMENT: &str = include_str!("../../docs/messenger.md");
const TOOLS: &str = "curl, openssl and python3 do what the page says, over plain HTTP";

/// The blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("\n```{language}\n");
    let parts = DOCUMENT.split(&*begin).skip(1);
    parts
        .map(|rest| rest.split("\n```").next().unwrap())
        .collect()
}

fn run(command: &mut Command) -> Output {
    command
        .output()
        .expect("bash, curl, openssl and python3 are there")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_commands_end_with_a_token() {
    if needs_plaintext(TOOLS) {
        return;
    }
    let gateway = TestGateway::start();
    let folder =
        std::env::temp_dir().join(format!("fanfare-docs-messenger-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let commands = blocks("sh")[0].replace("127.0.0.1:8080", &gateway.address.to_string());
    let commands = commands.replace("curl ", "curl -s ");
    let output = run(Command::new("bash")
        .args(["-euo", "pipefail", "-c", &commands])
        .current_dir(&folder));
    std::fs::remove_dir_all(&folder).unwrap();
    let printed = text(&output.stdout);
    let answer = printed.strip_prefix("User registered successfully");
    let answer = answer.unwrap_or_else(|| panic!("{output:?}"));
    let answer: Value = serde_json::from_str(answer).unwrap_or_else(|_| panic!("{output:?}"));
    assert!(
        answer["token"].is_string() && answer["expires_at"].is_string(),
        "{answer}"
    );
}

#[test]
fn the_program_prints_what_the_page_says() {
    if needs_plaintext(TOOLS) {
        return;
    }
    let has_package = run(Command::new("python3").args(["-c", "import cryptography"]));
    if !has_package.status.success() {
        eprintln!("skipped: the Python package `cryptography` is not there");
        return;
    }
    let gateway = TestGateway::start();
    let place = format!("\"127.0.0.1\", {}", gateway.address.port());
    let program = blocks("python")[0].replace("\"127.0.0.1\", 8080", &place);
    let output = run(Command::new("python3").args(["-c", &program]));
    // The drawing, what is printed, and a line of the security log.
    assert_eq!(
        text(&output.stdout).trim_end(),
        blocks("text")[1],
        "{output:?}"
    );
}

#[test]
fn what_is_shown_in_json_is_json() {
    for block in blocks("json") {
        let shown: Result<Value, _> = serde_json::from_str(block);
        assert!(shown.is_ok(), "{block}");
    }
}

#[test]
fn the_table_of_settings_has_all_of_them() {
    let (_, table) = DOCUMENT.split_once("\n## Configuration\n").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let shown: Vec<_> = rows
        .map(|row| {
            let (key, rest) = row.split_once("` | ").unwrap();
            (
                key.to_owned(),
                rest.split(" | ").next().unwrap().replace('`', ""),
            )
        })
        .collect();
    let settings = MessengerSettings::for_mode(Mode::Prod);
    let keys = settings.keys().iter().map(|key| {
        let value = settings.show(key.name);
        (
            key.name.to_owned(),
            value.unwrap_or_else(|| "none".to_owned()),
        )
    });
    assert_eq!(shown, keys.collect::<Vec<_>>());
}
