//! The mode sets defaults and nothing else; common variables are other names of keys.

use std::process::Command;
use std::time::{Duration, Instant};

use fanfare::auth::{Grant, issue};
use fanfare::config::{Config, Mode, Secret};
use serde_json::{Value, json};

use crate::support::{Client, Process, TestGateway, metric, request};

/// The limits of `[events]` that a mode leaves when nothing else is said.
fn limits(config: &Config) -> [u64; 6] {
    let events = &config.clients;
    [
        events.frames_per_minute.into(),
        events.frames_per_minute_per_ip.into(),
        events.max_connections as u64,
        events.max_connections_per_user as u64,
        events.max_connections_per_ip as u64,
        events.publishes_per_minute.into(),
    ]
}

#[test]
fn in_prod_a_connection_has_a_rate_and_no_other_limit_is_on_unless_it_is_set() {
    assert_eq!(limits(&Config::for_mode(Mode::Prod)), [100, 0, 0, 0, 0, 0]);
    for mode in [Mode::Demo, Mode::Dev] {
        assert_eq!(limits(&Config::for_mode(mode)), [0; 6]);
    }
    for mode in [Mode::Demo, Mode::Dev, Mode::Prod] {
        let events = Config::for_mode(mode).clients;
        // Sizes stay bounded.
        assert_eq!(
            (events.max_message_size, events.max_subscriptions),
            (65_536, 50)
        );
        assert_eq!(events.auth_required, mode != Mode::Demo);
        assert_eq!(events.demo_enabled, mode != Mode::Prod);
    }
}

/// Runs `fanfare check-config` with only these variables; what it prints.
fn check_config(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .arg("check-config")
        .args(arguments)
        .env_clear()
        .env("FANFARE_ENV_FILE", "")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_limit_can_be_set_in_each_mode_and_is_listed() {
    let keys = [
        ("frames_per_minute", "7"),
        ("frames_per_minute_per_ip", "8"),
        ("publishes_per_minute", "9"),
        ("max_connections", "10"),
        ("max_connections_per_user", "11"),
        ("max_connections_per_ip", "12"),
        ("auth_required", "false"),
        ("demo_enabled", "true"),
    ];
    for mode in ["demo", "dev", "prod"] {
        for (key, value) in keys {
            let variable = format!("FANFARE_EVENTS__{}", key.to_uppercase());
            let shown = check_config(
                &[],
                &[
                    ("FANFARE_MODE", mode),
                    (&variable, value),
                    ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
                ],
            );
            let is_default = match key {
                "auth_required" => mode == "demo",
                "demo_enabled" => mode != "prod",
                _ => false,
            };
            let line = format!("{key} = {value}");
            assert_eq!(
                shown.lines().any(|shown| shown == line),
                !is_default,
                "{mode} {line}: {shown}"
            );
        }
    }
}

#[test]
fn limits_hold_in_demo_mode_when_they_are_set_and_are_off_in_prod_when_they_are_0() {
    let gateway = TestGateway::with(|config| config.clients.frames_per_minute = 1);
    let mut client = Client::events(gateway.address);
    client.say(&json!({ "type": "ping" }));
    client.say(&json!({ "type": "ping" }));
    assert_eq!(
        (client.json()["type"].clone(), client.json()["code"].clone()),
        (json!("pong"), json!("RATE_LIMIT_EXCEEDED"))
    );

    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.clients.auth_required = false;
        config.clients.frames_per_minute = 0;
    });
    let mut client = Client::connect(gateway.address, "/api/v1/ws");
    assert_eq!(client.json()["type"], "connection_established");
    for _ in 0..150 {
        client.say(&json!({ "type": "ping" }));
    }
    (0..150).for_each(|_| assert_eq!(client.json()["type"], "pong"));
}

/// As all clients do behind a proxy that is not trusted.
#[test]
fn in_prod_hundreds_of_clients_have_one_address_and_one_user_until_a_limit_is_set() {
    let secret = [7; 32];
    let grant = Grant {
        user: "alice",
        role: None,
        issued_at: 0,
        expires_at: 4_000_000_000,
    };
    let token = issue(&grant, &Secret::new(secret).unwrap()).unwrap();
    let path = format!("/api/v1/ws?token={token}");
    let gateway = |limit: usize| {
        TestGateway::in_mode(Mode::Prod, |config| {
            config.auth.jwt_secret = Secret::new(secret);
            config.clients.max_connections_per_ip = limit;
        })
    };
    let open = gateway(0);
    let mut clients: Vec<Client> = (0..300)
        .map(|_| Client::connect(open.address, &path))
        .collect();
    for client in &mut clients {
        assert_eq!(client.json()["type"], "connection_established");
    }
    assert_eq!(metric(open.address, "events_connections"), 300);
    drop(clients);
    let narrow = gateway(1);
    let mut first = Client::connect(narrow.address, &path);
    assert_eq!(first.json()["type"], "connection_established");
    let mut second = Client::connect(narrow.address, &path);
    assert_eq!(
        second.json()["details"],
        json!({ "limit": 1, "scope": "ip" })
    );
}

/// "Also after a lost connection" holds without a key being set.
#[test]
fn in_prod_a_client_that_comes_back_finds_what_it_missed() {
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.clients.auth_required = false;
    });
    assert_eq!(
        Config::for_mode(Mode::Prod).hub.history_ttl,
        Duration::from_secs(120)
    );
    // No client may publish, so a service does, as whoever may connect is one here.
    let publish = |number: usize| {
        let body = format!(r#"{{"event":"news","data":{number}}}"#);
        let head = format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(request(gateway.address, head.as_bytes()).status, 202);
    };
    (1..=130).for_each(publish);
    let mut history = request(
        gateway.address,
        b"GET /api/v1/topics/news/history HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .json();
    assert_eq!(
        (&history["oldest"], &history["offset"]),
        (&json!(31), &json!(130))
    );
    let kept = history["events"].take();
    assert_eq!(kept.as_array().unwrap().len(), 100);
}

/// The status of an upgrade at `path`.
fn status(process: &Process, path: &str) -> u16 {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    request(process.address, head.as_bytes()).status
}

fn first_frame(process: &Process, path: &str) -> Value {
    Client::connect(process.address, path).json()
}

#[test]
fn ws_auth_required_is_an_alias() {
    let secret = ("JWT_SECRET", "0123456789abcdef0123456789abcdef");
    let process = Process::with(&[], &[("WS_AUTH_REQUIRED", "true"), secret]);
    assert_eq!(
        first_frame(&process, "/api/v1/ws")["code"],
        "AUTHENTICATION_FAILED"
    );
    let process = Process::with(&[], &[("WS_AUTH_REQUIRED", "false"), secret]);
    assert_eq!(
        first_frame(&process, "/api/v1/ws")["type"],
        "connection_established"
    );
}

#[test]
fn ws_demo_enabled_is_an_alias() {
    let process = Process::with(&[], &[("WS_DEMO_ENABLED", "false")]);
    assert_eq!(status(&process, "/api/v1/ws/demo"), 404);
    assert_eq!(
        first_frame(&process, "/api/v1/ws")["type"],
        "connection_established"
    );
}

#[test]
fn ws_max_connections_is_an_alias() {
    let process = Process::with(&[], &[("WS_MAX_CONNECTIONS", "1")]);
    let _one = Client::events(process.address);
    assert_eq!(status(&process, "/api/v1/ws/demo"), 503);
}

#[test]
fn ws_ping_interval_and_timeout_are_aliases_in_seconds() {
    let process = Process::with(&[], &[("WS_PING_INTERVAL", "1"), ("WS_PING_TIMEOUT", "1")]);
    let began = Instant::now();
    let mut client = Client::events(process.address);
    assert_eq!(client.next().unwrap().first, 0x89);
    client.wait_for_end();
    assert!(began.elapsed() >= Duration::from_millis(1800));
}

#[test]
fn ws_endpoint_is_an_alias_for_what_clients_are_told() {
    let shown = check_config(&["--mode", "demo"], &[("WS_ENDPOINT", "/api/v1/ws/dev")]);
    assert!(shown.contains("endpoint = \"/api/v1/ws/dev\""), "{shown}");
    let config = |process: &Process| {
        request(
            process.address,
            b"GET /api/v1/dev-config HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .json()
    };
    let process = Process::with(
        &[],
        &[
            ("WS_ENDPOINT", "/api/v1/ws/dev"),
            ("WS_MAX_CONNECTIONS", "7"),
        ],
    );
    let told = config(&process);
    assert_eq!(told["mode"], "demo");
    assert_eq!(told["endpoint"], "/api/v1/ws/dev");
    assert_eq!(told["limits"]["connections"], 7);
    assert_eq!(config(&Process::start(&[]))["endpoint"], "/api/v1/ws/demo");
    // Production tells strangers nothing about itself.
    let gateway = TestGateway::in_mode(Mode::Prod, |_| {});
    let head = b"GET /api/v1/dev-config HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(request(gateway.address, head).status, 404);
}

#[test]
fn server_addr_comes_over_host_and_port() {
    let shown = |variables: &[(&str, &str)]| check_config(&["--mode", "demo"], variables);
    let host = [("HOST", "127.0.0.2"), ("PORT", "81")];
    assert!(shown(&host).contains("listen = [\"127.0.0.2:81\"]"));
    let both = [host[0], host[1], ("SERVER_ADDR", "127.0.0.3:82")];
    assert!(shown(&both).contains("listen = [\"127.0.0.3:82\"]"));
}
