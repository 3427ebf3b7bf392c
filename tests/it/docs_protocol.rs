//! The examples of docs/protocol.md, as they are written there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{Client, Response, TestGateway, request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What names in examples stand for: `$epoch` is whatever stood there first.
#[derive(Default)]
struct Names(BTreeMap<String, Value>);

impl Names {
    /// `text` with known names replaced: `"$name"` by a value, `$name` by its text.
    fn fill(&self, text: &str) -> String {
        // Longer names first, so that none is taken for the beginning of another.
        self.0.iter().rev().fold(text.to_owned(), |text, known| {
            let (name, value) = known;
            let bare = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            text.replace(&format!("\"${name}\""), &value.to_string())
                .replace(&format!("${name}"), &bare)
        })
    }

    /// Whether `got` is what `expected` says. `"*"` is anything, and so is a name
    /// that is not known yet.
    fn fit(&mut self, got: &Value, expected: &Value) -> bool {
        match (got, expected) {
            (_, Value::String(any)) if any == "*" => true,
            (_, Value::String(name)) if name.starts_with('$') => {
                self.0.insert(name[1..].to_owned(), got.clone());
                true
            }
            (Value::Object(got), Value::Object(expected)) => {
                got.len() == expected.len()
                    && expected
                        .iter()
                        .all(|(key, value)| got.get(key).is_some_and(|got| self.fit(got, value)))
            }
            (Value::Array(got), Value::Array(expected)) => {
                got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| self.fit(a, b))
            }
            (got, expected) => got == expected,
        }
    }

    fn check(&mut self, got: &Value, expected: &str) {
        let expected = serde_json::from_str(&self.fill(expected)).unwrap();
        assert!(
            self.fit(got, &expected),
            "documented: {expected}\ngot: {got}"
        );
    }
}

/// Sends a request as `POST /path {..}` or `GET /path`.
fn ask(gateway: &TestGateway, line: &str) -> Response {
    let mut words = line.splitn(3, ' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let body = words.next().unwrap_or("");
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    request(gateway.address, text.as_bytes())
}

/// A token of a user called ann.
fn token() -> String {
    let claims = json!({ "sub": "ann", "exp": 4_000_000_000_u64 });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

#[test]
fn every_example_is_true() {
    let text = include_str!("../../docs/protocol.md");
    let (_, toml) = text.split_once("\n```toml\n").expect("the configuration");
    let (toml, _) = toml.split_once("\n```").expect("the block ends");
    let toml = toml.replace("..", SECRET);
    let mut examples = 0;
    for block in text.split("\n```frames").skip(1) {
        let (path, rest) = block.split_once('\n').unwrap();
        let (lines, _) = rest.split_once("\n```").expect("the block ends");
        let gateway = TestGateway::from_toml(&toml, |_| {});
        let mut names = Names::default();
        names.0.insert("token".to_owned(), token().into());
        let mut client = match path.trim() {
            "" => Client::events(gateway.address),
            path => Client::connect(gateway.address, &names.fill(path)),
        };
        let mut response = None;
        for line in lines.lines() {
            let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
            examples += 1;
            match sign {
                ">" => client.send(0x81, names.fill(rest).as_bytes()),
                "<" => names.check(&client.json(), rest),
                // Another connection takes the first one's place; its greeting is left out.
                "-" => {
                    let path = Some(rest).filter(|path| !path.is_empty());
                    let path = names.fill(path.unwrap_or("/api/v1/ws/demo"));
                    client = Client::connect(gateway.address, &path);
                    assert_eq!(client.json()["type"], "connection_established");
                }
                "GET" | "POST" => response = Some(ask(&gateway, &names.fill(line))),
                status => {
                    let response: Response = response.take().expect("a request before its answer");
                    assert_eq!(response.status.to_string(), status, "{response:?}");
                    names.check(&response.json(), rest);
                }
            }
        }
    }
    assert!(examples >= 100, "{examples}");
}

/// The one example in MessagePack.
#[test]
fn the_packed_example_is_a_ping() {
    let text = include_str!("../../docs/protocol.md");
    let (_, hex) = text.split_once(r#"`{"type":"ping","id":1}` is `"#).unwrap();
    let (hex, _) = hex.split_once('`').unwrap();
    let digits: String = hex.split_whitespace().collect();
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect();
    let gateway = TestGateway::start();
    let mut client = Client::connect(gateway.address, "/api/v1/ws/demo?format=msgpack");
    client.next().unwrap();
    client.send(0x82, &bytes);
    let pong: Value = rmp_serde::from_slice(&client.next().unwrap().payload).unwrap();
    assert_eq!(
        (pong["type"].as_str(), pong["id"].as_u64()),
        (Some("pong"), Some(1))
    );
}

/// Texts in capitals and underscores, as codes of errors are written.
pub(crate) fn codes_in(directory: &Path, codes: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes_in(&path, codes);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let texts = text.split('"').skip(1);
        codes.extend(
            texts
                .filter(|text| text.len() > 3 && text.contains('_') && !text.starts_with("CARGO"))
                .filter(|text| text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
                .map(str::to_owned),
        );
    }
}

#[test]
fn every_error_code_is_in_the_tables() {
    let mut codes = BTreeSet::from(["BUSY".to_owned(), "FORBIDDEN".to_owned()]);
    codes_in(Path::new("src/dialect/events"), &mut codes);
    assert!(codes.len() > 15, "{codes:?}");
    for page in [
        include_str!("../../docs/protocol.md"),
        include_str!("../../docs/clients.md"),
    ] {
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let cells: String = rows.filter_map(|row| row.split('|').nth(1)).collect();
        for code in &codes {
            assert!(cells.contains(&format!("`{code}`")), "{code}");
        }
    }
}
