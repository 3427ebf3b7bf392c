//! How a connection begins: credentials, refusals, the greeting, older clients, heartbeats.

use std::time::{Duration, Instant};

use fanfare::config::Mode;
use serde_json::{Value, json};

use super::{SILENCE, everywhere, get};
use crate::support::{
    Client, TestGateway, WseClient, WseForm, WseMessage, metric, request, wse_gateway, wse_hello,
    wse_path, wse_publish, wse_token,
};

/// Credentials are required.
const STRICT: &str = "[wse]\nauth_required = true\n";

fn ann() -> String {
    wse_token(&json!({ "sub": "ann" }))
}

#[test]
fn a_token_comes_in_a_cookie_a_header_or_the_query() {
    everywhere(STRICT, |gateway| {
        let token = ann();
        for (path, headers) in [
            (
                "/wse".to_owned(),
                format!("Cookie: access_token={token}\r\n"),
            ),
            (
                "/wse".to_owned(),
                format!("Cookie: x=1; access_token={token}; y=2\r\n"),
            ),
            (
                "/wse".to_owned(),
                format!("Authorization: Bearer {token}\r\n"),
            ),
            (
                "/wse".to_owned(),
                format!("Authorization: bearer {token}\r\n"),
            ),
            (format!("/wse?token={token}"), String::new()),
            (format!("/wse?access_token={token}"), String::new()),
            // As the Python clients do: both, and parameters of theirs.
            (
                "/wse?client_version=2.0.7&protocol_version=1&compression=true&encryption=false"
                    .to_owned(),
                format!("Cookie: access_token={token}\r\nAuthorization: Bearer {token}\r\n"),
            ),
        ] {
            // Cookies are taken from pages of this host.
            let headers = format!("{headers}Origin: http://{}\r\n", gateway.address);
            let client = WseClient::greeted_with(gateway.address, &path, &headers);
            assert_eq!(client.user(), "ann", "{path} {headers}");
        }
        // A cookie that says nothing is passed over.
        for nothing in ["", "undefined", "null"] {
            let headers =
                format!("Cookie: access_token={nothing}\r\nAuthorization: Bearer {token}\r\n");
            let client = WseClient::greeted_with(gateway.address, "/wse", &headers);
            assert_eq!(client.user(), "ann", "{nothing}");
        }
    });
}

/// The error and the close code of a client that is refused after the upgrade.
#[track_caller]
fn refused(gateway: &TestGateway, path: &str, headers: &str) -> (Value, Option<u16>, String) {
    let mut client = Client::connect_with(gateway.address, path, headers);
    let error = WseMessage::read(&client.next().expect("an error"));
    assert_eq!(
        (error.kind(), error.form),
        ("error", WseForm::Text),
        "{error:?}"
    );
    let close = client.next().expect("a close frame");
    assert_eq!(close.first, 0x88, "{close:?}");
    let reason = String::from_utf8(close.payload[2..].to_vec()).unwrap();
    (error.payload().clone(), close.close_code(), reason)
}

#[test]
fn who_is_refused_is_told_after_the_upgrade_and_closed_with_4401() {
    everywhere(STRICT, |gateway| {
        let (error, code, reason) = refused(gateway, "/wse", "");
        assert_eq!(error["code"], "AUTH_REQUIRED", "{error}");
        assert_eq!(error["message"], "No JWT cookie or Authorization header");
        assert_eq!(error["recoverable"], false);
        assert!(error["timestamp"].is_string(), "{error}");
        assert_eq!(code, Some(4401), "{reason}");
        for (path, headers) in [
            ("/wse?token=x".to_owned(), String::new()),
            (format!("/wse?token={}x", ann()), String::new()),
            (
                "/wse".to_owned(),
                "Cookie: access_token=a.b.c\r\n".to_owned(),
            ),
            ("/wse".to_owned(), "Authorization: Bearer x\r\n".to_owned()),
            (
                format!("/wse?token={}", wse_token(&json!({}))),
                String::new(),
            ),
            (
                format!("/wse?token={}", wse_token(&json!({ "sub": "" }))),
                String::new(),
            ),
        ] {
            let headers = format!("{headers}Origin: http://{}\r\n", gateway.address);
            let (error, code, reason) = refused(gateway, &path, &headers);
            assert_eq!(error["code"], "AUTH_FAILED", "{path} {headers}: {error}");
            assert_eq!(code, Some(4401), "{path} {headers}: {reason}");
        }
    });
}

#[test]
fn sources_that_disagree_are_refused() {
    let gateway = wse_gateway(1, STRICT);
    let (ann, bob) = (ann(), wse_token(&json!({ "sub": "bob" })));
    for (path, headers) in [
        (
            format!("/wse?token={ann}"),
            format!("Authorization: Bearer {bob}\r\n"),
        ),
        (
            format!("/wse?access_token={ann}"),
            format!("Cookie: access_token={bob}\r\n"),
        ),
        (
            format!("/wse?token={ann}&access_token={bob}"),
            String::new(),
        ),
        (
            "/wse".to_owned(),
            format!("Cookie: access_token={ann}\r\nAuthorization: Bearer {bob}\r\n"),
        ),
    ] {
        let (error, code, _) = refused(&gateway, &path, &headers);
        assert_eq!(error["code"], "AUTH_FAILED", "{path} {headers}: {error}");
        assert_eq!(code, Some(4401), "{path} {headers}");
    }
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn upgrade(gateway: &TestGateway, path: &str) -> crate::support::Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n");
    request(gateway.address, head.as_bytes())
}

#[test]
fn with_refuse_with_http_the_status_is_401() {
    let gateway = wse_gateway(1, "[wse]\nauth_required = true\nrefuse_with = \"http\"\n");
    assert_eq!(upgrade(&gateway, "/wse").status, 401);
    assert_eq!(upgrade(&gateway, "/wse?token=x").status, 401);
    assert_eq!(WseClient::of(gateway.address, "ann").user(), "ann");
}

#[test]
fn over_max_connections_it_is_503_with_retry_after() {
    let gateway = TestGateway::with(|config| config.server.max_connections = 1);
    let _first = WseClient::open(gateway.address);
    let refused = upgrade(&gateway, "/wse");
    assert_eq!(refused.status, 503, "{refused:?}");
    let after: u64 = refused
        .header("retry-after")
        .expect("it is told")
        .parse()
        .unwrap();
    assert!(after >= 1);
}

#[test]
fn without_a_token_a_client_is_anonymous_in_demo_mode_only() {
    everywhere("", |gateway| {
        let client = WseClient::open(gateway.address);
        assert_eq!(client.user(), format!("anonymous-{}", client.id()));
        let other = WseClient::open(gateway.address);
        assert_ne!(client.user(), other.user());
    });
    for mode in [Mode::Dev, Mode::Prod] {
        let gateway = TestGateway::in_mode(mode, |config| {
            config.auth.jwt_secret = fanfare::config::Secret::new([7; 32]);
        });
        let (error, code, _) = refused(&gateway, "/wse", "");
        assert_eq!(
            (&error["code"], code),
            (&json!("AUTH_REQUIRED"), Some(4401)),
            "{mode:?}"
        );
    }
}

#[test]
fn the_greeting_is_first_and_tells_what_is_so() {
    everywhere("", |gateway| {
        let began = Instant::now();
        let mut client = Client::connect(gateway.address, &wse_path("ann", &json!({})));
        let ready = WseMessage::read(&client.next().unwrap());
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(
            ready
                .text
                .starts_with(r#"{"c":"WSE","t":"server_ready","p":{"#),
            "{ready:?}"
        );
        let id = ready.json["id"].as_str().unwrap();
        assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
        let p = ready.payload();
        assert!(p["message"].is_string());
        let details = &p["details"];
        assert_eq!(details["connection_id"], p["connection_id"]);
        assert_eq!(details["user_id"], "ann");
        assert_eq!(details["version"], 1);
        let time = details["server_time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        let features = details["features"].as_object().unwrap();
        assert!(features.values().all(Value::is_boolean), "{features:?}");
        for feature in [
            "batching",
            "compression",
            "msgpack",
            "priority_queue",
            "recovery",
        ] {
            assert_eq!(features[feature], true, "{feature}");
        }
        for feature in ["circuit_breaker", "cluster"] {
            assert_eq!(features[feature], false, "{feature}");
        }
    });
    // Clients ask for what they missed only where something is kept.
    let gateway = wse_gateway(1, "[hub]\nhistory_size = 0\n");
    let mut client = WseClient::greeted(gateway.address, "/wse");
    assert_eq!(client.ready["details"]["features"]["recovery"], false);
    assert_eq!(client.hello(&json!({}))["features"]["recovery"], false);
}

#[test]
fn a_hello_is_answered_with_version_1_and_the_limits() {
    everywhere("", |gateway| {
        let mut client = WseClient::greeted(gateway.address, "/wse");
        for claimed in [0, 1, 2, 9] {
            let mut hello = wse_hello(&json!({ "compression": true }));
            hello["p"]["protocol_version"] = claimed.into();
            client.say(&hello);
            let answer = client.next();
            assert!(
                answer.text.starts_with(r#"{"c":"WSE","t":"server_hello","#),
                "{answer:?}"
            );
            let p = answer.payload();
            assert_eq!(p["protocol_version"], 1);
            assert_eq!(p["connection_id"], client.id());
            assert_eq!(p["ping_interval"], 25_000);
            assert_eq!(p["limits"]["max_message_size"], 1 << 20);
            assert_eq!(p["limits"]["rate_limit_capacity"], 100_000);
            assert_eq!(p["limits"]["rate_limit_refill"], 10_000);
            assert!(p["features"].is_object() && p["server_version"].is_string());
            assert!(p["server_time"].as_str().unwrap().ends_with('Z'));
        }
    });
}

#[test]
fn topics_come_when_the_form_is_known_or_after_a_second() {
    everywhere("", |gateway| {
        // A client that says nothing gets its inbox a second after the greeting.
        let path = wse_path("ann", &json!({}));
        let mut silent = WseClient::greeted(gateway.address, &path);
        let mut number = 0;
        let deadline = Instant::now() + super::PATIENCE;
        while silent.client.is_silent(Duration::from_millis(20)) {
            assert!(Instant::now() < deadline, "it never gets its inbox");
            number += 1;
            let body = json!({ "user_id": "ann", "type": "note", "payload": { "n": number } });
            crate::support::post_json(gateway.address, "/api/v1/publish", &body);
        }
        let first = silent.next();
        assert_eq!((first.kind(), first.form), ("note", WseForm::Text));
        // One that speaks has them at once, before its first message is answered.
        let mut quick = WseClient::open_at(gateway.address, &path);
        quick.subscribe(&["t"]);
        wse_publish(gateway.address, "t", "x", &json!({}));
        quick.expect("x");
    });
}

#[test]
fn a_first_text_with_a_category_before_it_marks_an_older_client() {
    everywhere("", |gateway| {
        for prefix in ["WSE", "S", "U"] {
            let mut client = WseClient::greeted(gateway.address, "/wse");
            let say = |client: &mut WseClient, value: &Value| {
                let text = format!("{prefix}{value}");
                client.client.send(0x81, text.as_bytes());
            };
            let hello = wse_hello(&json!({ "compression": true }));
            let bare = json!({ "t": "client_hello", "p": hello["p"], "v": 1 });
            say(&mut client, &bare);
            // It sees at once that the gateway lives: it does not forget what it knew before it reconnected.
            let ping = client.next_of_all();
            assert!(ping.text.starts_with(r#"WSE{"t":"PING","#), "{ping:?}");
            let answer = client.next();
            assert!(
                answer.text.starts_with(r#"WSE{"t":"server_hello","#),
                "{answer:?}"
            );
            let p = json!({ "action": "subscribe", "topics": ["rt"] });
            say(
                &mut client,
                &json!({ "t": "subscription_update", "p": p, "v": 1 }),
            );
            let ack = client.next();
            assert!(
                ack.text.starts_with(r#"WSE{"t":"subscription_update","#),
                "{ack:?}"
            );
            wse_publish(gateway.address, "rt", "tick", &json!({ "i": 1 }));
            let tick = client.next();
            assert!(tick.text.starts_with(r#"U{"tp":"rt","e":""#), "{tick:?}");
            assert_eq!(tick.form, WseForm::Prefixed);
            wse_publish(gateway.address, "rt", "rt_snapshot", &json!({ "i": 1 }));
            assert!(client.next().text.starts_with(r#"S{"tp":"rt","#));
            // Large ones are compressed, with the category inside.
            wse_publish(
                gateway.address,
                "rt",
                "big",
                &json!({ "x": "y".repeat(5000) }),
            );
            let big = client.next();
            assert_eq!(big.form, WseForm::Zlib);
            assert!(
                big.text.starts_with(r#"U{"tp":"rt","#),
                "{}",
                &big.text[..40]
            );
            say(
                &mut client,
                &json!({ "t": "ping", "p": { "timestamp": 5 }, "v": 1 }),
            );
            assert!(
                client
                    .next()
                    .text
                    .starts_with(r#"WSE{"t":"PONG","p":{"client_timestamp":5,"#)
            );
        }
    });
}

#[test]
fn pings_of_every_form_are_answered_in_text() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        for ping in [
            r#"{"c":"WSE","t":"ping","p":{"timestamp":1795245920308},"v":1}"#,
            r#"{"c":"WSE","t":"PING","p":{"timestamp":1795245920308},"v":1}"#,
            r#"{"type":"ping","p":{"timestamp":1795245920308}}"#,
            r#"{"t":"ping","payload":{"timestamp":1795245920308}}"#,
        ] {
            for first in [0x81, 0x82] {
                client.client.send(first, ping.as_bytes());
                let pong = client.next();
                let start = r#"{"c":"WSE","t":"PONG","p":{"client_timestamp":1795245920308,"server_timestamp":"#;
                assert!(pong.text.starts_with(start), "{ping}: {pong:?}");
                assert_eq!(pong.form, WseForm::Text);
                assert!(pong.payload()["latency"].is_u64(), "{pong:?}");
            }
        }
        client.client.send(0x81, br#"{"t":"ping"}"#);
        let pong = client.expect("PONG");
        assert_eq!(
            (&pong["client_timestamp"], &pong["latency"]),
            (&json!(0), &json!(0))
        );
        for (ping, pong) in [("PING:123", "PONG:123"), ("WSE:PING:9", "PONG:9")] {
            client.client.send(0x81, ping.as_bytes());
            assert_eq!(client.client.next().unwrap().payload, pong.as_bytes());
        }
        // What answers ours is not answered.
        for pong in [
            "PONG:1",
            "WSE:PONG:1",
            r#"{"t":"PONG","p":{"server_timestamp":"x"}}"#,
            r#"{"t":"pong"}"#,
        ] {
            client.client.send(0x81, pong.as_bytes());
        }
        client.has_nothing();
    });
}

#[test]
fn a_ping_of_the_gateway_is_text_that_all_clients_answer() {
    let gateway = wse_gateway(2, "[wse]\nping_interval = \"1s\"\n");
    let mut client = WseClient::open(gateway.address);
    for _ in 0..2 {
        let ping = client.next_of_all();
        assert!(
            ping.text
                .starts_with(r#"{"c":"WSE","t":"PING","p":{"timestamp":"#),
            "{ping:?}"
        );
        assert_eq!(ping.form, WseForm::Text);
        let p = ping.payload();
        assert!(p["timestamp"].as_u64().unwrap() > 1_700_000_000_000);
        assert!(p["server_time"].as_str().unwrap().ends_with('Z'));
        client.send(
            "PONG",
            &json!({ "server_timestamp": p["server_time"], "client_timestamp": 1 }),
        );
    }
    let health = client.ask("health_check", &json!({}), "health_check_response");
    assert!(health["diagnostics"]["latency_ms"].is_u64(), "{health}");
}

#[test]
fn any_frame_is_a_sign_of_life() {
    let toml = "[websocket]\nping_interval = \"1s\"\nping_timeout = \"1s\"\n";
    let gateway = wse_gateway(1, toml);
    let mut speaks = WseClient::open(gateway.address);
    let mut pings = WseClient::open(gateway.address);
    let mut mute = WseClient::open(gateway.address);
    let gone = std::thread::spawn(move || {
        mute.client.wait_for_end();
    });
    // Neither answers the gateway's own pings.
    let began = Instant::now();
    while !gone.is_finished() || began.elapsed() < Duration::from_secs(4) {
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "who says nothing is not dropped"
        );
        speaks.client.send(0x81, br#"{"t":"pong"}"#);
        pings.client.send(0x89, b"alive");
        std::thread::sleep(Duration::from_millis(100));
    }
    gone.join().unwrap();
    for client in [&mut speaks, &mut pings] {
        client.send("ping", &json!({ "timestamp": 77 }));
        loop {
            let frame = client.client.next().expect("it is still there");
            if frame.first == 0x81
                && String::from_utf8_lossy(&frame.payload).contains("\"client_timestamp\":77")
            {
                break;
            }
        }
    }
}

#[test]
fn another_path_and_no_path_at_all() {
    let gateway = wse_gateway(1, "[wse]\npath = \"/live/socket\"\n");
    assert_eq!(
        WseClient::greeted(gateway.address, "/live/socket?x=1").ready["details"]["version"],
        1
    );
    assert_eq!(upgrade(&gateway, "/wse").status, 404);
    assert_eq!(get(gateway.address, "/live/socket/health", "").status, 200);
    let gateway = wse_gateway(1, "[wse]\nenabled = false\n");
    assert_ne!(upgrade(&gateway, "/wse").status, 101);
}

#[test]
fn a_subprotocol_that_is_offered_is_not_taken() {
    let gateway = wse_gateway(1, "");
    let client =
        WseClient::greeted_with(gateway.address, "/wse", "Sec-WebSocket-Protocol: a, b\r\n");
    assert!(
        !client
            .client
            .head
            .to_lowercase()
            .contains("sec-websocket-protocol")
    );
}

#[test]
fn connections_and_refusals_are_counted() {
    let gateway = wse_gateway(1, STRICT);
    let client = WseClient::of(gateway.address, "ann");
    let open = || get(gateway.address, "/wse/health", "").json()["connections"].clone();
    assert_eq!(open(), 1);
    drop(client);
    super::wait_until(|| open() == 0);
    refused(&gateway, "/wse", "");
    super::wait_until(|| metric(gateway.address, "disconnects_total{reason=\"no_token\"}") == 1);
}

#[test]
fn a_client_that_reads_only_is_not_written_to_more_than_needed() {
    let gateway = wse_gateway(1, "");
    let mut client = WseClient::greeted(gateway.address, "/wse");
    assert!(client.is_silent(SILENCE));
}

#[test]
fn a_page_of_another_origin_is_refused_with_4403() {
    let gateway = wse_gateway(1, "[http]\nallowed_origins = [\"https://example.com\"]\n");
    let (error, code, _) = refused(&gateway, "/wse", "Origin: https://evil.example\r\n");
    assert_eq!(
        (&error["code"], code),
        (&json!("ORIGIN_NOT_ALLOWED"), Some(4403))
    );
    assert_eq!(
        error["recoverable"], false,
        "it does not get better by trying again"
    );
    WseClient::greeted_with(gateway.address, "/wse", "Origin: https://example.com\r\n");
}
