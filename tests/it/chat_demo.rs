//! examples/chat_demo.py: four clients of the messenger protocol, each a program of its own, talk over a gateway
//! that the example starts.

use std::path::{Path, PathBuf};
use std::process::Command;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/chat_demo.py");
const COMPOSE: &str = include_str!("../../packaging/compose.yaml");
const GATEWAY: &str = env!("CARGO_BIN_EXE_fanfare");

/// The client, built now: it is another package's, which a run of these tests alone does not build.
fn client() -> PathBuf {
    let folder = Path::new(GATEWAY).parent().expect("the profile's");
    let target = folder.parent().expect("the target folder");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", "fanfare-chat"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.expect("cargo runs").success());
    folder.join("fanfare-chat")
}

/// What a user has seen, and has said behind "> ", without the time of messages.
fn seen<'a>(output: &'a str, user: &str) -> Vec<&'a str> {
    let lines = output.lines().filter_map(|line| {
        let (name, rest) = line.trim_start().split_once(' ')?;
        (name == user).then_some(rest)
    });
    let lines = lines.map(|line| match line.strip_prefix("| [") {
        Some(message) => message.split_once("] ").expect("a time").1,
        None => line,
    });
    lines
        .filter(|line| !line.contains("Auto message"))
        .collect()
}

#[test]
fn the_users_see_what_is_said_to_them_each_once() {
    let output = Command::new("python3")
        .arg(DEMO)
        .args(["--fanfare", GATEWAY, "--fanfare-chat"])
        .arg(client())
        .output()
        .expect("python3 is there");
    let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    let charlie = seen(&text, "charlie");
    let messages: Vec<_> = charlie.iter().filter(|line| line.contains("->")).collect();
    assert_eq!(
        messages,
        [
            &"bot -> broadcast [VERIFIED]: Bot is now online",
            &"alice -> broadcast [VERIFIED]: Good morning, everyone",
            &"alice -> charlie [VERIFIED] [ENCRYPTED]: Dinner at eight?",
            &"bob -> broadcast [VERIFIED]: Charlie is away, I will cook",
        ],
        "{text}"
    );
    let bob = seen(&text, "bob");
    let messages: Vec<_> = bob.iter().filter(|line| line.contains("->")).collect();
    assert_eq!(
        messages,
        [
            &"bot -> broadcast [VERIFIED]: Bot is now online",
            &"alice -> broadcast [VERIFIED]: Good morning, everyone",
            &"alice -> bob [VERIFIED] [ENCRYPTED]: The key is under the third flowerpot",
        ],
        "{text}"
    );
    let alice = seen(&text, "alice");
    assert!(
        alice.contains(&"> @bob The key is under the third flowerpot"),
        "{text}"
    );
}

#[test]
fn the_gateway_of_the_containers_has_a_good_configuration() {
    let (_, gateway) = COMPOSE.split_once("\n  gateway:\n").expect("a service");
    let (_, environment) = gateway
        .split_once("    environment:\n")
        .expect("its settings");
    let lines = environment
        .lines()
        .take_while(|line| line.starts_with("      "));
    let variables = lines.filter_map(|line| line.trim().split_once(": "));
    let variables = variables.filter(|(name, _)| !name.starts_with('#'));
    let variables = variables.map(|(name, value)| match name {
        "JWT_SECRET" => (name, "a secret of tests that is long enough"),
        _ => (name, value.trim_matches('"')),
    });
    let output = Command::new(GATEWAY)
        .arg("check-config")
        .env_clear()
        .env("FANFARE_ENV_FILE", "")
        .envs(variables)
        .output()
        .expect("the program starts");
    let (text, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(text);
    assert!(output.status.success(), "{text}{errors}");
    for part in [
        "mode = \"prod\"",
        "rate_limit = 10.0",
        "sqlite:/var/lib/fanfare",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn it_says_what_it_is() {
    let output = Command::new("python3").args([DEMO, "--help"]).output();
    let output = output.expect("python3 is there");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("alice, bob, charlie and a bot"), "{text}");
}
