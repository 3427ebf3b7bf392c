//! The examples of docs/wse.md, as they are written there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::docs_protocol::codes_in;
use crate::support::{Call, Client, Response, TestGateway, request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Fields whose numbers differ from run to run.
const CHANGING: &[&str] = &[
    "bytes_received",
    "bytes_sent",
    "compressed_size",
    "epoch",
    "latency",
    "latency_ms",
    "rate_limit_remaining",
    "ratio",
    "server_time",
    "server_timestamp",
    "time",
    "timestamp",
    "uptime",
    "uptime_seconds",
];

/// What the page shows of a run, and what stood there in this one: ids and epochs.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    /// `text` with the ids of this run.
    fn fill(&self, text: &str) -> String {
        let known = self.0.iter();
        known.fold(text.to_owned(), |text, (shown, real)| {
            text.replace(shown, real)
        })
    }

    /// Whether `got` is what the page shows for the field `key`, but for what differs from run to run.
    fn fit(&mut self, key: &str, got: &Value, shown: &Value) -> bool {
        match (got, shown) {
            (Value::Object(got), Value::Object(shown)) => {
                got.len() == shown.len()
                    && shown.iter().all(|(key, value)| {
                        got.get(key).is_some_and(|got| self.fit(key, got, value))
                    })
            }
            (Value::Array(got), Value::Array(shown)) => {
                got.len() == shown.len()
                    && got
                        .iter()
                        .zip(shown)
                        .all(|(got, shown)| self.fit(key, got, shown))
            }
            (Value::String(got), Value::String(shown)) if got != shown => {
                let are_times = is_time(got) && is_time(shown);
                let are_ids = is_id(key, got) && is_id(key, shown);
                let known = self.0.entry(shown.clone());
                are_times
                    || key == "server_version"
                    || key == "version"
                    || are_ids && known.or_insert_with(|| got.clone()) == got
            }
            (Value::Number(_), Value::Number(_)) if CHANGING.contains(&key) => true,
            (got, shown) => got == shown,
        }
    }

    #[track_caller]
    fn check(&mut self, got: &str, shown: &str) {
        let (got_mark, got_json) = marked(got);
        let (mark, json) = marked(shown);
        let is_same = mark == got_mark
            && match (serde_json::from_str(got_json), serde_json::from_str(json)) {
                (Ok(got), Ok(shown)) => self.fit("", &got, &shown),
                _ => got == shown,
            };
        assert!(is_same, "documented: {shown}\ngot: {got}");
        // Clients look at the first fields. MessagePack has come through a map that sorts them.
        let has_order = mark != "M:" && got.contains(r#","v":1}"#);
        assert!(!has_order || keys(got) == keys(shown), "{shown}\n{got}");
    }
}

/// A message without what is before its object.
fn marked(text: &str) -> (&str, &str) {
    text.split_at(text.find('{').unwrap_or(text.len()))
}

/// What stands before a colon, in its order: keys, as no text on the page has quotes before a colon.
fn keys(text: &str) -> Vec<&str> {
    let before = text.split("\":").map(|piece| piece.rsplit('"').next());
    before.flatten().collect()
}

fn is_time(text: &str) -> bool {
    text.len() == 24 && text.ends_with('Z') && text.as_bytes()[10] == b'T'
}

/// Whether a text is an id of the gateway's: an epoch, a UUID, that of a connection or of an event.
fn is_id(key: &str, text: &str) -> bool {
    let is_hex = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    };
    let is_named = matches!(key, "e" | "epoch" | "instance" | "event_id");
    let is_connection = text.split('-').count() == 3;
    is_hex(text) && (is_named || text.len() == 36 || is_connection)
}

/// A token of a user.
fn token(user: &str, role: Option<&str>) -> String {
    let mut claims = json!({ "sub": user, "exp": 4_000_000_000_u64 });
    if let Some(role) = role {
        claims["role"] = role.into();
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

/// One of the connections of an example.
struct Peer {
    client: Client,
    /// Objects of a batch that the application has got.
    objects: VecDeque<Value>,
}

impl Peer {
    /// Connects as the page says of this name.
    fn connect(gateway: &TestGateway, name: &str, path: &str) -> Self {
        let (path, token) = match name {
            "events" => ("/api/v1/ws/demo", None),
            "app" => ("/api/v1/backend", Some(token("app", Some("service")))),
            _ if path.contains("token=") => (path, None),
            "" => (path, Some(token("ann", None))),
            user => (path, Some(token(user, None))),
        };
        let header = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let header = header.unwrap_or_default();
        Self {
            client: Client::connect_with(gateway.address, path, &header),
            objects: VecDeque::new(),
        }
    }

    fn send(&mut self, message: &str) {
        match message.split_at_checked(2) {
            Some(("C:", json)) => {
                let mut packed = ZlibEncoder::new(b"C:".to_vec(), Compression::default());
                packed.write_all(json.as_bytes()).unwrap();
                self.client.send(0x82, &packed.finish().unwrap());
            }
            Some(("M:", json)) => {
                let value: Value = serde_json::from_str(json).unwrap();
                let packed = rmp_serde::to_vec(&value).unwrap();
                self.client.send(0x82, &[b"M:", &packed[..]].concat());
            }
            _ => self.client.send(0x81, message.as_bytes()),
        }
    }

    /// What comes next, but for what the page leaves out.
    fn next(&mut self, shown: &str) -> String {
        if let Some(object) = self.objects.pop_front() {
            return object.to_string();
        }
        let left_out = ["\"server_ready\"", "\"PING\"", "\"connection_established\""];
        loop {
            let frame = self.client.next().expect("a frame, not the end");
            let payload = &frame.payload;
            let text = match (frame.first, payload.get(..2)) {
                (0x88, _) => {
                    let reason = String::from_utf8_lossy(&payload[2..]);
                    return format!("close {} {reason}", frame.close_code().unwrap());
                }
                // The answer to a ping of the gateway.
                (0x89, _) => {
                    self.client.send(0x8a, payload);
                    continue;
                }
                (0x82, Some(b"C:")) => {
                    let mut text = "C:".to_owned();
                    let mut unpacked = ZlibDecoder::new(&payload[2..]);
                    unpacked.read_to_string(&mut text).unwrap();
                    text
                }
                (0x82, Some(b"M:")) => {
                    let value: Value = rmp_serde::from_slice(&payload[2..]).unwrap();
                    format!("M:{value}")
                }
                (first, _) => {
                    assert_eq!(first, 0x81, "{frame:?}");
                    String::from_utf8(payload.clone()).unwrap()
                }
            };
            if left_out
                .iter()
                .any(|mark| text.contains(mark) && !shown.contains(mark))
            {
                continue;
            }
            if text.starts_with('[') {
                self.objects = serde_json::from_str(&text).unwrap();
                return self.next(shown);
            }
            return text;
        }
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

/// Runs one block; returns how many lines it has.
fn run(toml: &str, path: &str, lines: &str) -> usize {
    let mut toml = toml.to_owned();
    if lines.contains("\napp") || lines.starts_with("app") {
        toml += "\n[backend]\nenabled = true\n";
    }
    let added = lines.lines().filter_map(|line| line.strip_prefix("! "));
    let added: Vec<&str> = added.collect();
    let gateway = TestGateway::from_toml(&format!("{toml}\n{}\n", added.join("\n")), |_| {});
    let mut names = Names::default();
    let mut peers: BTreeMap<&str, Peer> = BTreeMap::new();
    let (mut response, mut call) = (None, None);
    for line in lines.lines() {
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        match sign {
            "!" => {}
            "-" => {
                peers.insert("", Peer::connect(&gateway, "", path));
            }
            "POST" if rest.starts_with("/sse/send ") => {
                let body = rest.split_once(' ').unwrap().1;
                call = Some(Call::begin(
                    gateway.address,
                    &serde_json::from_str(body).unwrap(),
                ));
            }
            "data:" => {
                let call = call.as_mut().expect("a question before its answer");
                names.check(&call.event().to_string(), rest);
            }
            "GET" | "POST" => response = Some(ask(&gateway, &names.fill(line))),
            status if status.parse::<u16>().is_ok() => {
                let response: Response = response.take().expect("a request before its answer");
                assert_eq!(response.status.to_string(), status, "{response:?}");
                names.check(&response.body, rest);
            }
            peer => {
                let name = peer.trim_end_matches(['<', '>']);
                let entry = peers.entry(name);
                let known = entry.or_insert_with(|| Peer::connect(&gateway, name, path));
                match peer.ends_with('>') {
                    true => known.send(&names.fill(rest)),
                    false => names.check(&known.next(rest), rest),
                }
            }
        }
    }
    lines.lines().count()
}

#[test]
fn every_example_of_wse_is_true() {
    let text = include_str!("../../docs/wse.md");
    let (_, toml) = text.split_once("\n```toml\n").expect("the configuration");
    let (toml, _) = toml.split_once("\n```").expect("the block ends");
    let toml = toml.replace("..\"\n", &format!("{SECRET}\"\n"));
    let mut examples = 0;
    for block in text.split("\n```frames").skip(1) {
        let (path, rest) = block.split_once('\n').unwrap();
        let (lines, _) = rest.split_once("\n```").expect("the block ends");
        let path = match path.trim() {
            "" => "/wse",
            path => path,
        };
        examples += run(&toml, path, lines);
    }
    assert!(examples >= 100, "{examples}");
}

/// What a client may send, and what it may get, is named in the tables.
#[test]
fn every_type_and_error_of_wse_is_in_the_tables() {
    let text = include_str!("../../docs/wse.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells: String = rows.filter_map(|row| row.split('|').nth(1)).collect();
    let gateway = TestGateway::start();
    let mut client = Client::connect(gateway.address, "/wse");
    client.send(0x81, br#"{"t":"debug_handlers"}"#);
    let handlers = loop {
        let got = client.json();
        if got["t"] == "debug_response" {
            break got["p"]["registered_handlers"].clone();
        }
    };
    let handlers = handlers.as_object().unwrap();
    assert!(handlers.len() > 30, "{handlers:?}");
    let mut codes = BTreeSet::from(["FORBIDDEN".to_owned()]);
    codes_in(Path::new("src/dialect/wse"), &mut codes);
    assert!(codes.len() > 8, "{codes:?}");
    for name in handlers.keys().chain(&codes) {
        assert!(cells.contains(&format!("`{name}`")), "{name}");
    }
}
