//! The requests that are answered: health, metrics, publishing.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use fanfare::auth::{Grant, issue};
use fanfare::config::{KeyHash, Mode, Secret};
use serde_json::{Value, json};

use crate::support::{Client, Response, Socket, TestGateway, needs_plaintext, request};

/// One request on a connection of its own. `headers` are ended by CRLF each.
fn send(address: SocketAddr, line: &str, headers: &str, body: &[u8]) -> Response {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    request(address, &[head.as_bytes(), body].concat())
}

fn get(address: SocketAddr, path: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    request(address, head.as_bytes())
}

fn post(address: SocketAddr, path: &str, body: &str) -> Response {
    send(address, &format!("POST {path}"), "", body.as_bytes())
}

#[test]
fn health_has_what_existing_clients_look_for() {
    let gateway = TestGateway::start();
    let _client = Client::events(gateway.address);
    for path in ["/health", "/api/v1/health"] {
        let response = get(gateway.address, path);
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), Some("application/json"));
        let health = response.json();
        assert_eq!(health["status"], "healthy");
        assert_eq!(health["service"], "websocket-server");
        assert_eq!(health["connections"], 1);
        assert_eq!(health["uptime"], "running");
        assert!(health["uptime_seconds"].is_u64());
    }
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(get(gateway.address, path).status, 200, "{path}");
    }
    let head = b"HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let response = request(gateway.address, head);
    assert_eq!((response.status, &*response.body), (200, ""));
}

#[test]
fn metrics_are_json_unless_prometheus_is_asked_for() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let mut client = Client::events(gateway.address);
    client.subscribe(&["m"]);
    client.say(&json!({ "type": "publish", "event": "m", "data": 1 }));
    client.json();
    let response = get(gateway.address, "/metrics");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    let metrics = response.json();
    assert_eq!(metrics["service"], "websocket-sse-server");
    assert_eq!(metrics["active_connections"], 1);
    assert_eq!(metrics["subscriptions"], 1);
    assert_eq!(metrics["topics"], 1);
    assert_eq!(metrics["connections_opened_total"], 1);
    assert_eq!(metrics["messages_received_total"], 2);
    assert_eq!(metrics["publications_total"], 1);
    assert_eq!(metrics["deliveries_total"], 1);
    assert_eq!(
        get(gateway.address, "/metrics?format=json").json()["topics"],
        1
    );
    for (path, accept) in [
        ("/metrics?format=prometheus", ""),
        (
            "/metrics?x=1&format=prometheus",
            "Accept: application/json\r\n",
        ),
        ("/metrics", "Accept: text/plain\r\n"),
        (
            "/metrics",
            "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n",
        ),
    ] {
        let response = send(gateway.address, &format!("GET {path}"), accept, b"");
        assert_eq!(response.status, 200);
        let kind = response.header("content-type").unwrap();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        check_prometheus(&response.body);
        assert!(response.body.contains("\nfanfare_publications_total 1\n"));
    }
    // What anything else accepts is JSON.
    let response = send(gateway.address, "GET /metrics", "Accept: */*\r\n", b"");
    assert_eq!(response.header("content-type"), Some("application/json"));
}

/// Reads every line of the text format: names, types, labels, values.
#[test]
fn case_h9_metrics_are_what_accept_asks_for() {
    let gateway = TestGateway::start();
    let (json, text) = (
        "application/json",
        "text/plain; version=0.0.4; charset=utf-8",
    );
    for (path, accept, expected) in [
        ("/metrics", None, json),
        ("/metrics", Some("*/*"), json),
        ("/metrics", Some("application/json, text/plain, */*"), json),
        ("/metrics", Some("application/json, text/plain;q=0.5"), json),
        ("/metrics", Some("text/plain;q=0, */*"), json),
        ("/metrics", Some("application/json;q=0.5, text/plain"), text),
        ("/metrics", Some("application/json;q=0, */*"), text),
        ("/metrics", Some("Text/Plain; Version=0.0.4"), text),
        ("/metrics", Some("text/*;q=0.2, */*;q=0.1"), text),
        (
            "/metrics",
            Some("application/openmetrics-text;version=1.0.0"),
            text,
        ),
        ("/metrics", Some("text/plain;version=1.0.0"), text),
        (
            "/metrics",
            Some(
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            ),
            text,
        ),
        (
            "/metrics",
            Some("text/html,application/xhtml+xml,*/*;q=0.8"),
            json,
        ),
        ("/metrics?format=json", Some("text/plain"), json),
        ("/metrics?format=prometheus", Some("application/json"), text),
    ] {
        let headers = accept.map_or(String::new(), |accept| format!("Accept: {accept}\r\n"));
        let answer = send(gateway.address, &format!("GET {path}"), &headers, b"");
        assert_eq!(answer.header("content-type"), Some(expected), "{accept:?}");
        let vary: Vec<&str> = answer
            .head
            .lines()
            .filter(|line| line.starts_with("vary"))
            .collect();
        assert_eq!(vary, ["vary: Accept", "vary: Origin"], "{answer:?}");
    }
}

fn check_prometheus(text: &str) {
    let is_name = |name: &str| {
        (name.starts_with("fanfare_") || name.starts_with("process_"))
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    assert!(text.ends_with('\n'));
    let (mut kinds, mut series) = (Vec::<(&str, &str)>::new(), BTreeSet::new());
    let mut helped = BTreeSet::new();
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help text");
            assert!(
                is_name(name) && help.ends_with('.') && helped.insert(name),
                "{line}"
            );
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(helped.contains(name), "{line}: help comes first");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            kinds.push((name, kind));
            continue;
        }
        let (key, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(series.insert(key), "{line}: twice");
        let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
        let (family, kind) = kinds.last().expect("a type comes first");
        let suffix = name
            .strip_prefix(family)
            .unwrap_or_else(|| panic!("{line}"));
        assert!(is_name(name), "{line}");
        let labels = labels.strip_suffix('}').expect("closed");
        match (*kind, suffix) {
            ("histogram", "_bucket") => {
                let bound = labels
                    .strip_prefix("le=\"")
                    .unwrap()
                    .strip_suffix('"')
                    .unwrap();
                let bound = if bound == "+Inf" {
                    f64::INFINITY
                } else {
                    bound.parse().unwrap()
                };
                if let Some(&(last, count)) = buckets.last() {
                    assert!(bound > last && value >= count, "{line}: cumulative");
                }
                buckets.push((bound, value));
            }
            ("histogram", "_sum") => {}
            ("histogram", "_count") => {
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, value)), "{line}");
                buckets.clear();
            }
            (_, "") if labels.is_empty() => assert!(value >= 0.0, "{line}"),
            (_, "") => {
                let (label, value) = labels.split_once('=').expect("a label");
                assert!(
                    ["code", "dialect", "reason", "transport", "version"].contains(&label)
                        && value.len() > 2,
                    "{line}: no other labels"
                );
            }
            _ => panic!("{line}"),
        }
    }
    assert!(kinds.iter().any(|(_, kind)| *kind == "histogram") && series.len() > 30);
}

#[test]
fn what_is_not_there_is_404_and_a_wrong_method_405_with_allow() {
    let gateway = TestGateway::start();
    for path in [
        "/nothing",
        "/health/",
        "/healthx",
        "/API/V1/health",
        "//health",
        "/%68ealth",
    ] {
        let response = get(gateway.address, path);
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.json(), json!({ "detail": "Not Found" }));
        assert_eq!(response.header("content-type"), Some("application/json"));
    }
    for (method, path, allow) in [
        ("POST", "/health", "GET"),
        ("DELETE", "/metrics", "GET"),
        ("PUT", "/api/v1/events", "POST"),
        ("GET", "/api/v1/events", "POST"),
        ("GET", "/api/v1/events/batch", "POST"),
    ] {
        let response = send(gateway.address, &format!("{method} {path}"), "", b"");
        assert_eq!(response.status, 405, "{method} {path}");
        assert_eq!(response.json(), json!({ "detail": "Method Not Allowed" }));
        let allowed = response.header("allow").unwrap_or("");
        assert!(
            allowed.split(',').any(|one| one.trim() == allow),
            "{method} {path}: {allowed:?}"
        );
    }
}

#[test]
fn an_event_posted_reaches_subscribers_byte_for_byte() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let mut client = Client::events(gateway.address);
    client.subscribe(&["h.*"]);
    for (offset, data) in [r#"{ "b" : 1.0, "a":"\u0041" }"#, "[1,\n2]", "null"]
        .iter()
        .enumerate()
    {
        let body = format!("\n {{ \"data\":{data} ,\"event\": \"h.x\", \"other\": [] }} ");
        let response = post(gateway.address, "/api/v1/events", &body);
        assert_eq!(response.status, 202, "{response:?}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        let answer = json!({ "status": "accepted", "offset": offset + 1, "delivered": 1 });
        assert_eq!(response.json(), answer);
        let event = String::from_utf8(client.next().unwrap().payload).unwrap();
        assert!(event.contains(&format!("\"data\":{data},")), "{event}");
    }
    // Chunked bodies are bodies, and a type need not be said.
    let chunked = "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n10\r\n{\"event\":\"h.y\",\"\r\n9\r\ndata\": 7}\r\n0\r\n\r\n";
    assert_eq!(request(gateway.address, chunked.as_bytes()).status, 202);
    assert_eq!(client.json()["data"], 7);
}

#[test]
fn a_batch_is_an_array_or_lines_and_keeps_its_order() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let mut client = Client::events(gateway.address);
    client.subscribe(&["a", "b"]);
    let item = |topic: &str, n: usize| format!(r#"{{"event":"{topic}","data":{n}}}"#);
    let items: Vec<String> = (0..100).map(|n| item(["a", "b"][n % 2], n)).collect();
    let array = format!(" [ {} ]\n", items.join(" ,\n"));
    let lines = items.join("\r\n") + "\n\n  \n";
    for (kind, body) in [
        ("", &array),
        ("Content-Type: application/json\r\n", &array),
        (
            "Content-Type: application/x-ndjson; charset=utf-8\r\n",
            &lines,
        ),
    ] {
        let response = send(
            gateway.address,
            "POST /api/v1/events/batch",
            kind,
            body.as_bytes(),
        );
        assert_eq!(response.status, 202, "{response:?}");
        let answer = response.json();
        assert_eq!(
            (&answer["status"], &answer["count"]),
            (&json!("accepted"), &json!(100))
        );
        let offsets = answer["offsets"].as_array().unwrap();
        assert_eq!(offsets.len(), 100);
        assert!(
            offsets
                .windows(3)
                .all(|three| three[0].as_u64() < three[2].as_u64())
        );
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            let event = client.json();
            let list = if event["event"] == "a" {
                &mut a
            } else {
                &mut b
            };
            list.push(event["data"].as_u64().unwrap());
        }
        assert!(a.iter().copied().eq((0..100).step_by(2)));
        assert!(b.iter().copied().eq((1..100).step_by(2)));
    }
    for (kind, body) in [("", "[]"), ("Content-Type: application/x-ndjson\r\n", "\n")] {
        let response = send(
            gateway.address,
            "POST /api/v1/events/batch",
            kind,
            body.as_bytes(),
        );
        assert_eq!(
            (response.status, &response.json()["count"]),
            (202, &json!(0))
        );
    }
}

#[test]
fn an_invalid_element_publishes_nothing() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    client.subscribe(&["*"]);
    let good = r#"{"event":"a","data":1}"#;
    for bad in [
        "1",
        "{}",
        r#"{"event":"a"}"#,
        r#"{"data":1}"#,
        r#"{"event":"a\u0001b","data":1}"#,
        r##"{"event":"#a","data":1}"##,
        r#"{"event":1,"data":1}"#,
        r#"{"event":"a","data":1,"broadcast":1}"#,
        r#"{"event":"a","data":1,"broadcast":true,"user_id":"ann"}"#,
    ] {
        let lines = [good, bad, good].join("\n");
        let array = format!("[{}]", [good, good, bad].join(","));
        for (kind, body) in [("application/x-ndjson", lines), ("application/json", array)] {
            let kind = format!("Content-Type: {kind}\r\n");
            let response = send(
                gateway.address,
                "POST /api/v1/events/batch",
                &kind,
                body.as_bytes(),
            );
            assert_eq!(response.status, 422, "{body}: {response:?}");
            let detail = response.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.starts_with("event ") && detail.ends_with("nothing was published"));
        }
        let response = post(gateway.address, "/api/v1/events", bad);
        assert_eq!(response.status, 422, "{bad}");
        assert!(response.json()["detail"].is_string());
    }
    for body in [
        "",
        "[",
        "{]",
        r#"[{"event":"a","data":1},]"#,
        r#"[{"event":"a","data":1}] x"#,
    ] {
        for path in ["/api/v1/events", "/api/v1/events/batch"] {
            assert_eq!(
                post(gateway.address, path, body).status,
                422,
                "{path} {body}"
            );
        }
    }
    assert_eq!(
        post(gateway.address, "/api/v1/events/batch", good).status,
        422
    );
    assert_eq!(
        post(gateway.address, "/api/v1/events", &format!("[{good}]")).status,
        422
    );
    assert!(client.is_silent(Duration::from_millis(150)));
}

#[test]
fn bodies_are_limited_and_utf8() {
    let gateway = TestGateway::with(|config| config.http.max_body_size = 256 * 1024);
    let mut client = Client::events(gateway.address);
    client.subscribe(&["a"]);
    for path in ["/api/v1/events", "/api/v1/events/batch"] {
        let response = send(
            gateway.address,
            &format!("POST {path}"),
            "",
            &vec![b' '; 256 * 1024 + 1],
        );
        assert_eq!(response.status, 413, "{path}");
        assert!(
            response.json()["detail"]
                .as_str()
                .unwrap()
                .contains("262144")
        );
        let body = b"[{\"event\":\"a\",\"data\":\"\xff\"}]";
        let response = send(gateway.address, &format!("POST {path}"), "", body);
        assert_eq!(response.status, 422, "{path}");
        assert_eq!(
            response.json(),
            json!({ "detail": "The body is not UTF-8" })
        );
    }
    // More than announced, by chunks.
    let mut chunked = b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    for _ in 0..5 {
        chunked.extend(b"10000\r\n");
        chunked.extend([b' '; 0x10000]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    assert_eq!(request(gateway.address, &chunked).status, 413);
    let many = format!("[{}1]", "1,".repeat(10_000));
    assert_eq!(
        post(gateway.address, "/api/v1/events/batch", &many).status,
        413
    );
    // A message may be as large as a topic takes.
    let event = |len: usize| format!(r#"{{"event":"a","data":"{}"}}"#, "x".repeat(len - 2));
    assert_eq!(
        post(gateway.address, "/api/v1/events", &event(65_537)).status,
        422
    );
    assert!(client.is_silent(Duration::from_millis(100)));
    assert_eq!(
        post(gateway.address, "/api/v1/events", &event(65_536)).status,
        202
    );
    assert_eq!(client.json()["data"].as_str().unwrap().len(), 65_534);
}

#[test]
fn a20_publishing_takes_an_api_key_or_a_service_token() {
    // The SHA-256 of "key".
    let hash = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
    let secret = || Secret::new([7; 32]).unwrap();
    let gateway = TestGateway::in_mode(Mode::Dev, |config| {
        config.auth.jwt_secret = Some(secret());
        config.auth.api_keys = vec![KeyHash::parse(hash).unwrap()];
    });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let token = |role: Option<&str>, from: u64| {
        let grant = Grant {
            user: "billing",
            role,
            issued_at: from,
            expires_at: from + 600,
        };
        issue(&grant, &secret()).unwrap()
    };
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for path in ["/api/v1/events", "/api/v1/events/batch"] {
        let event = r#"{"event":"a","data":1}"#;
        let body = if path.ends_with("batch") {
            format!("[{event}]")
        } else {
            event.to_owned()
        };
        for (headers, status) in [
            (String::new(), 401),
            (bearer("nonsense"), 401),
            (bearer("dev"), 401),
            ("X-API-Key: nonsense\r\n".to_owned(), 401),
            ("X-API-Key: \r\n".to_owned(), 401),
            ("Authorization: Basic key\r\n".to_owned(), 401),
            (bearer(&token(Some("service"), now - 3600)), 401),
            (bearer(&token(Some("admin"), now)), 403),
            (bearer(&token(None, now)), 403),
            (bearer(&token(Some("service"), now)), 202),
            (bearer("key"), 202),
            ("Authorization: bearer key\r\n".to_owned(), 202),
            ("x-api-key: key\r\n".to_owned(), 202),
        ] {
            let response = send(
                gateway.address,
                &format!("POST {path}"),
                &headers,
                body.as_bytes(),
            );
            assert_eq!(response.status, status, "{path} {headers}: {response:?}");
            let challenge = response.header("www-authenticate");
            assert_eq!(challenge.is_some(), status == 401, "{headers}");
            assert_eq!(response.json().get("detail").is_some(), status != 202);
        }
        let query = format!("POST {path}?token={}", token(Some("service"), now));
        assert_eq!(
            send(gateway.address, &query, "", body.as_bytes()).status,
            401,
            "not in the query"
        );
    }
    // Health and metrics say nothing about users and stay open.
    assert_eq!(get(gateway.address, "/health").status, 200);
}

#[test]
fn a_connection_serves_several_requests() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    client.subscribe(&["k"]);
    let mut stream = Socket::connect(gateway.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut exchange = |request: String| -> (String, Value) {
        stream.write_all(request.as_bytes()).unwrap();
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let read = stream.read(&mut piece).expect("an answer in time");
            assert_ne!(read, 0, "the connection stays");
            bytes.extend(&piece[..read]);
            let text = String::from_utf8(bytes.clone()).unwrap();
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && let Ok(body) = serde_json::from_str(body)
            {
                return (head.to_owned(), body);
            }
        }
    };
    for number in 0..20 {
        let body = format!(r#"{{"event":"k","data":{number}}}"#);
        let len = body.len();
        let (head, answer) = exchange(format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n{body}"
        ));
        assert!(head.starts_with("HTTP/1.1 202"), "{head}");
        assert_eq!(answer["offset"], number + 1);
        assert_eq!(client.json()["data"], number);
        let (head, _) = exchange("GET /health HTTP/1.1\r\nHost: x\r\n\r\n".to_owned());
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let (head, _) = exchange("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_owned());
        assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    }
    // Requests that come at once are answered one after the other.
    let one = "GET /health/live HTTP/1.1\r\nHost: x\r\n";
    let three = format!("{one}\r\n{one}\r\n{one}Connection: close\r\n\r\n");
    let response = request(gateway.address, three.as_bytes());
    assert_eq!((response.status, response.count()), (200, 3));
}

#[test]
fn the_publish_command_speaks_to_a_running_gateway() {
    if needs_plaintext("the command does not trust the certificate of tests") {
        return;
    }
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    client.subscribe(&["cli"]);
    let run = |url: &str, arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["publish", "--url", url, "--timeout", "10s"])
            .args(arguments)
            .env_remove("FANFARE_TOKEN")
            .output()
            .expect("the program runs");
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!errors.contains("panicked"), "{errors}");
        (output.status.code(), text + &errors)
    };
    let url = format!("http://{}", gateway.address);
    let (code, text) = run(&url, &["--event", "cli", "--data", "{\"n\": 1.0}"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("accepted"), "{text}");
    let event = String::from_utf8(client.next().unwrap().payload).unwrap();
    assert!(event.contains("\"data\":{\"n\": 1.0},"), "{event}");
    assert_eq!(run(&url, &["--event", "#name", "--data", "1"]).0, Some(65));
    assert_eq!(run(&url, &["--event", "cli", "--data", "{"]).0, Some(65));
    let closed = TestGateway::in_mode(Mode::Dev, |config| {
        config.auth.jwt_secret = Secret::new([7; 32]);
    });
    let url = format!("http://{}", closed.address);
    assert_eq!(run(&url, &["--event", "cli", "--data", "1"]).0, Some(77));
    drop(closed);
    assert_eq!(run(&url, &["--event", "cli", "--data", "1"]).0, Some(69));
}
