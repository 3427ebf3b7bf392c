//! The messenger protocol: accounts with keys, and stored messages between them. A module for each part of what it
//! promises.

mod accounts;
mod audit;
mod client;
mod commands;
mod connections;
mod cross;
mod crowd;
mod disk;
mod files;
mod hostile;
mod identity;
mod kills;
mod leaving;
mod limits;
mod messages;
mod replay;
mod settings;

pub(crate) use client::{MessengerClient, direct};

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanfare::config::Config;
use fanfare::dialect::messenger::MessengerSettings;
use serde_json::{Value, json};

use crate::support::{Response, TestGateway, request};

/// An account with a key that only its name decides.
pub(crate) struct Account {
    /// Its id.
    pub id: String,
    key: Ed25519KeyPair,
}

impl Account {
    /// The account of this id, which is not registered yet.
    pub(crate) fn new(id: &str) -> Self {
        let mut seed = [b'.'; 32];
        for (place, byte) in seed.iter_mut().zip(id.bytes()) {
            *place = byte;
        }
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let id = id.to_owned();
        Self { id, key }
    }

    /// The account, registered.
    pub(crate) fn registered(address: SocketAddr, id: &str) -> Self {
        let account = Self::new(id);
        let answer = post(address, "/auth/register", &account.registration());
        assert_eq!(answer.status, 201, "{answer:?}");
        account
    }

    /// Its public key in base64.
    pub(crate) fn public_key(&self) -> String {
        STANDARD.encode(self.key.public_key())
    }

    /// What registers it.
    pub(crate) fn registration(&self) -> Value {
        json!({ "user_id": self.id, "username": self.id.to_uppercase(), "public_key": self.public_key() })
    }

    /// Its signature of `message` in base64.
    pub(crate) fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.key.sign(message))
    }

    /// A challenge for it, as it is sent.
    pub(crate) fn challenge(&self, address: SocketAddr) -> String {
        let answer = post(address, "/auth/login", &json!({ "user_id": self.id }));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["challenge"].as_str().unwrap().to_owned()
    }

    /// The body that answers a challenge.
    pub(crate) fn answer(&self, challenge: &str) -> Value {
        let signature = self.sign(&STANDARD.decode(challenge).unwrap());
        json!({ "user_id": self.id, "signature": signature })
    }

    /// A token of it.
    pub(crate) fn token(&self, address: SocketAddr) -> String {
        let answer = verify(address, &self.answer(&self.challenge(address)));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }
}

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("fanfare-messenger-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Answers a challenge.
fn verify(address: SocketAddr, body: &Value) -> Response {
    post(address, "/auth/login?verify=true", body)
}

/// Posts JSON.
fn post(address: SocketAddr, path: &str, body: &Value) -> Response {
    post_with(address, path, "", body.to_string().as_bytes())
}

/// Posts a body with these header lines, each ended by CRLF.
fn post_with(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Response {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    request(address, &[head.as_bytes(), body].concat())
}

fn get(address: SocketAddr, path: &str) -> Response {
    method(address, "GET", path)
}

fn method(address: SocketAddr, method: &str, path: &str) -> Response {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    request(address, head.as_bytes())
}

/// Checks an answer in text, which ends with a line end.
#[track_caller]
fn check_text(answer: &Response, status: u16, text: &str) {
    assert_eq!(
        (answer.status, &*answer.body),
        (status, &*format!("{text}\n")),
        "{answer:?}"
    );
    let header = |name| answer.header(name);
    assert_eq!(header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(header("x-content-type-options"), Some("nosniff"));
}

/// A demo gateway with these settings of the messenger.
fn gateway(change: impl FnOnce(&mut MessengerSettings)) -> TestGateway {
    TestGateway::with(|config: &mut Config| change(config.section_mut()))
}

/// Runs a test on a gateway with one shard and on one with two, with further lines of configuration, where messages have
/// no rate limit unless these say one.
fn everywhere(toml: &str, test: impl Fn(SocketAddr)) {
    let toml = match toml.contains("rate_limit") {
        true => toml.to_owned(),
        false if toml.contains("[messenger]") => {
            toml.replace("[messenger]\n", "[messenger]\nrate_limit = 0\n")
        }
        false => format!("{toml}[messenger]\nrate_limit = 0\n"),
    };
    for shards in [1, 2] {
        let gateway = TestGateway::from_toml(&toml, |config| config.server.shards = shards);
        test(gateway.address);
    }
}
