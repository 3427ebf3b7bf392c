//! The commands of README.md, run by a shell as they are written there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fanfare::config::Config;
use fanfare::dialect::sections;

use serde_json::json;

use crate::support::{Client, TestGateway, free_port, needs_plaintext};

const README: &str = include_str!("../../README.md");

/// The blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("\n```{language}\n");
    let blocks = README.split(begin.as_str()).skip(1);
    blocks
        .map(|rest| rest.split("\n```").next().unwrap())
        .collect()
}

/// The only block of commands with this in it.
fn commands_with(what: &str) -> &'static str {
    let mut found = blocks("sh")
        .into_iter()
        .filter(|block| block.contains(what));
    let block = found.next().unwrap_or_else(|| panic!("no {what}"));
    assert_eq!(found.next(), None, "{what} is in two");
    block
}

/// An empty directory, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A shell that runs commands here, on the gateway at `address`.
    fn shell(&self, commands: &str, address: SocketAddr) -> Command {
        let commands = commands
            .replace("127.0.0.1:8080", &address.to_string())
            .replace("target/release/fanfare", env!("CARGO_BIN_EXE_fanfare"));
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", &commands])
            .current_dir(&self.0)
            // The program takes it for a setting that there is not.
            .env_remove("FANFARE_TEST_TLS");
        shell
    }

    /// Runs commands to their end; what they print.
    fn run(&self, commands: &str, address: SocketAddr) -> String {
        let output = self.shell(commands, address).output().expect("bash");
        assert!(output.status.success(), "{commands}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_published_is_accepted_and_seen() {
    if needs_plaintext("the commands are for plain HTTP") {
        return;
    }
    let gateway = TestGateway::start();
    let directory = Directory::new("readme-publish");
    let follow = commands_with("sse?topics").replace("curl -N", "exec curl -sN --max-time 20");
    let mut follow = directory.shell(&follow, gateway.address);
    let mut follow = Running(follow.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    let mut next = |begin: &str| {
        let line = lines.find(|line| line.as_ref().unwrap().starts_with(begin));
        line.expect("the stream goes on").unwrap()
    };
    next("id: ");
    let said = directory.run(commands_with("/publish"), gateway.address);
    assert_eq!(said.matches(r#""status":"accepted""#).count(), 5, "{said}");
    let seen: Vec<String> = (0..3).map(|_| next("data: ")).collect();
    assert_eq!(seen, ["data: {\"any\":[\"JSON\",1]}", "data: 1", "data: 1"]);
}

#[test]
fn a_user_is_told_and_asked() {
    if needs_plaintext("the commands are for plain HTTP") {
        return;
    }
    let gateway = TestGateway::start();
    let mut alice = Client::connect(gateway.address, "/ws?user_id=alice");
    let answering = std::thread::spawn(move || {
        let told = alice.json();
        assert_eq!(told["message"], "Build 7 is done");
        let asked = alice.json();
        let id = &asked["correlation_id"];
        alice.say(&json!({ "correlation_id": id, "heard": asked["message"] }));
        alice.say(&json!({ "correlation_id": id, "answer": "yes", "is_final": true }));
        alice
    });
    let directory = Directory::new("readme-ask");
    let said = directory.run(commands_with("/sse/send"), gateway.address);
    answering.join().unwrap();
    assert!(said.starts_with(r#"{"status":"success","#), "{said}");
    for what in [r#""heard":"Deploy?""#, r#""answer":"yes""#] {
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn configurations_are_accepted() {
    let directory = Directory::new("readme-configure");
    let commands = commands_with("default-config").replace(" serve ", " check-config ");
    let said = directory.run(&commands, "127.0.0.1:8080".parse().unwrap());
    assert!(said.contains("shards = 4"), "{said}");
    for toml in blocks("toml") {
        let toml = format!("mode = \"demo\"\n{toml}");
        Config::from_toml_with(&toml, &sections(&[])).expect("a good file");
    }
    for json in blocks("json") {
        serde_json::from_str::<serde_json::Value>(json).expect("JSON");
    }
}

#[test]
fn production_begins_with_a_secret_and_a_token() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let directory = Directory::new("readme-production");
    let serve = commands_with("rand").replace("\nFANFARE_AUTH", "\nexec env FANFARE_AUTH");
    let mut serve = directory.shell(&serve, address);
    let _serving = Running(serve.stderr(Stdio::null()).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = directory.run(commands_with("TOKEN="), address);
    assert!(said.starts_with(r#"{"status":"accepted""#), "{said}");
    assert_eq!(said.matches('.').count(), 2, "a token: {said}");
}
