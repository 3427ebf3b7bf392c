//! Why a client was dropped: the log, the counters, the listing and `fanfare explain` say so of each end and refusal,
//! and services end connections, block users and revoke tokens (docs/tokens.md, docs/troubleshooting.md).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::{Client, Process, Response, needs_plaintext, request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A token with these claims, and `exp` in ten minutes unless they say so.
fn token(claims: Value) -> String {
    let mut claims = claims;
    let until = json!(now() + 600);
    let claims_map = claims.as_object_mut().unwrap();
    claims_map.entry("exp").or_insert(until);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256"})), part(&claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

fn service() -> String {
    token(json!({"sub": "ops", "role": "service"}))
}

/// A gateway that asks for tokens.
fn gateway(variables: &[(&str, &str)]) -> Process {
    let all = [
        &[("JWT_SECRET", SECRET), ("WS_AUTH_REQUIRED", "true")],
        variables,
    ];
    Process::with(&[], &all.concat())
}

fn send(address: SocketAddr, head: &str, token: Option<&str>, body: Option<&Value>) -> Response {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
    };
    let bearer = bearer.unwrap_or_default();
    let text =
        format!("{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{bearer}{length}\r\n{body}");
    request(address, text.as_bytes())
}

fn get(address: SocketAddr, path: &str) -> Value {
    let answer = send(address, &format!("GET {path}"), Some(&service()), None);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

fn post(address: SocketAddr, path: &str, body: &Value) -> Response {
    let head = format!("POST {path}");
    send(address, &head, Some(&service()), Some(body))
}

/// A client of the events protocol, behind its greeting, and the greeting.
fn enter(address: SocketAddr, token: &str) -> Client {
    let mut client = Client::connect(address, &format!("/api/v1/ws?token={token}"));
    let greeting = client.json();
    assert_eq!(greeting["type"], "connection_established", "{greeting}");
    client
}

/// Waits until the listing has `wanted`.
#[track_caller]
fn wait_for(address: SocketAddr, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let known = get(address, path);
        if wanted(&known) {
            return known;
        }
        assert!(start.elapsed() < PATIENCE, "{known}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ends(known: &Value) -> Vec<Value> {
    known["ended"].as_array().unwrap().clone()
}

/// The ends that a gateway can be made to have, by their labels.
const CAUSES: [&str; 14] = [
    "no_token",
    "expired_token",
    "invalid_token",
    "credentials",
    "connection_limit",
    "protocol",
    "message_too_large",
    "unsupported",
    "handshake",
    "control_flood",
    "api_no_token",
    "api_expired",
    "request",
    "rate_exceeded",
];

/// Makes a gateway end a connection, or refuse a request, for `cause`. Returns the label, the code or the status, and
/// the user.
fn provoke(address: SocketAddr, cause: &str, user: &str) -> (&'static str, u16, Option<String>) {
    let good = token(json!({"sub": user}));
    let known = Some(user.to_owned());
    let closed = |path: &str| Client::connect(address, path).until_close();
    match cause {
        "no_token" => {
            assert_eq!(closed("/api/v1/ws"), Some(1008));
            ("no_token", 1008, None)
        }
        "expired_token" => {
            let expired = token(json!({"sub": user, "exp": now() - 100}));
            let code = closed(&format!("/api/v1/ws?token={expired}"));
            assert_eq!(code, Some(1008));
            ("expired_token", 1008, None)
        }
        "invalid_token" => {
            let code = closed("/api/v1/ws?token=hunter2.secret.text");
            assert_eq!(code, Some(1008));
            ("invalid_token", 1008, None)
        }
        "credentials" => {
            let head = format!("GET /api/v1/sse?topics=system:metrics,user:x:events&token={good}");
            assert_eq!(send(address, &head, None, None).status, 403);
            ("credentials", 403, known)
        }
        "connection_limit" => {
            let first = enter(address, &good);
            let code = closed(&format!("/api/v1/ws?token={good}"));
            assert_eq!(code, Some(1008));
            drop(first);
            ("connection_limit", 1008, known)
        }
        "protocol" => {
            let mut client = enter(address, &good);
            client.send_bytes(&[0xff, 0xff, 0xff]);
            assert_eq!(client.until_close(), Some(1002));
            ("protocol", 1002, known)
        }
        "message_too_large" => {
            let mut client = enter(address, &good);
            // The head of a frame of 2 MiB.
            client.send_bytes(&[0x81, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 1, 2, 3, 4]);
            assert_eq!(client.until_close(), Some(1009));
            ("protocol", 1009, known)
        }
        "unsupported" => {
            let mut client = enter(address, &good);
            client.send(0x82, b"binary");
            assert_eq!(client.until_close(), Some(1003));
            ("unsupported", 1003, known)
        }
        "control_flood" => {
            let mut client = enter(address, &good);
            for _ in 0..400 {
                client.send(0x89, b"");
            }
            assert_eq!(client.until_close(), Some(1008));
            ("control_flood", 1008, known)
        }
        "rate_exceeded" => {
            let mut client = enter(address, &good);
            for _ in 0..40 {
                client.say(&json!({"type": "ping"}));
            }
            assert_eq!(client.until_close(), Some(1008));
            ("rate_exceeded", 1008, known)
        }
        "handshake" => {
            let head = format!("GET /api/v1/ws?token={good}");
            assert_eq!(send(address, &head, None, None).status, 426);
            ("handshake", 426, None)
        }
        "request" => {
            let text = "GET /api/v1/ws/nowhere/at/all HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                        Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
            assert_eq!(request(address, text.as_bytes()).status, 404);
            ("request", 404, None)
        }
        "api_no_token" => {
            let head = "POST /api/v1/events";
            assert_eq!(send(address, head, None, Some(&json!({}))).status, 401);
            ("no_token", 401, None)
        }
        "api_expired" => {
            let expired = token(json!({"sub": user, "role": "service", "exp": now() - 100}));
            let head = "POST /api/v1/events";
            let answer = send(address, head, Some(&expired), Some(&json!({})));
            assert_eq!(answer.status, 401);
            ("expired_token", 401, None)
        }
        other => unreachable!("{other}"),
    }
}

/// The sum of a label in both counters.
fn counted(address: SocketAddr, label: &str) -> u64 {
    let metrics = send(address, "GET /metrics?format=prometheus", None, None).body;
    let lines = metrics.lines().filter(|line| {
        let name = line.split_once('{').map_or("", |(name, _)| name);
        ["fanfare_disconnects_total", "fanfare_refused_total"].contains(&name)
            && line.contains(&format!("\"{label}\""))
    });
    let values = lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap());
    values.sum()
}

#[test]
fn a_hundred_ends_are_each_in_the_log_the_counters_and_the_listing_and_no_token_is() {
    let gateway = gateway(&[
        ("FANFARE_EVENTS__MAX_CONNECTIONS_PER_USER", "1"),
        ("FANFARE_WEBSOCKET__MAX_CONTROL_FRAMES_PER_SECOND", "10"),
        ("FANFARE_EVENTS__FRAMES_PER_MINUTE", "2"),
        ("FANFARE_EVENTS__MAX_RATE_EXCESS", "10"),
    ]);
    let address = gateway.address;
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    let mut random = now();
    for number in 0..100 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let cause = CAUSES[(random >> 33) as usize % CAUSES.len()];
        let user = format!("user{number}");
        println!("{cause}");
        let (label, code, known) = provoke(address, cause, &user);
        *expected.entry(label).or_default() += 1;
        // Which of the client's own connection ended beside it has another label.
        let path = match &known {
            Some(user) => format!("/api/v1/connections?user={user}"),
            None => "/api/v1/connections?ip=127.0.0.1&limit=10000".to_owned(),
        };
        let is_it = |end: &Value| {
            end["cause"] == label && (end["close_code"] == code || end["status"] == code)
        };
        let known = wait_for(address, &path, |known| ends(known).iter().any(is_it));
        let end = ends(&known).into_iter().find(is_it).unwrap();
        assert_eq!(end["address"], "127.0.0.1", "{end}");
        assert_eq!(end["forwarded"], false, "{end}");
    }
    for (label, count) in &expected {
        assert_eq!(counted(address, label), *count, "{label}");
    }
    let listing = get(address, "/api/v1/connections?limit=10000").to_string();
    gateway.signal("TERM");
    let (_, log) = gateway.finish(PATIENCE);
    for (label, count) in &expected {
        let (said, left_out) = told(&log, label);
        assert_eq!(said + left_out, *count, "{label}: {log}");
    }
    for text in [&log, &listing] {
        // Every token begins like this, or is the one that was made up.
        assert!(!text.contains("eyJ") && !text.contains("hunter2"), "{text}");
    }
    let user = log
        .lines()
        .find(|line| line.contains("user=\"user"))
        .unwrap();
    for part in [
        "address=127.0.0.1",
        "protocol=\"events\"",
        "connection ended",
        "seconds=",
    ] {
        assert!(
            log.lines()
                .any(|line| line.contains("user=\"user") && line.contains(part)),
            "{part}: {user}"
        );
    }
}

/// How many ends with a label the log tells of: those that have a line, and the sum of those that it says were left
/// out.
fn told(log: &str, label: &str) -> (u64, u64) {
    let lines = log
        .lines()
        .filter(|line| line.contains(&format!("cause=\"{label}\"")));
    let (counts, said): (Vec<&str>, Vec<&str>) =
        lines.partition(|line| line.contains("more connections"));
    let left_out = said.iter().chain(&counts).filter_map(|line| {
        let (_, count) = line.split_once("left_out=")?;
        count.split(' ').next()?.parse::<u64>().ok()
    });
    (said.len() as u64, left_out.sum())
}

#[test]
fn lines_left_out_in_the_last_second_are_told_at_the_end() {
    let gateway = gateway(&[("FANFARE_LOG__ENDS_PER_SECOND", "2")]);
    for _ in 0..30 {
        let refused = send(gateway.address, "GET /api/v1/sse?topics=a", None, None);
        assert_eq!(refused.status, 401);
    }
    gateway.signal("TERM");
    let (_, log) = gateway.finish(PATIENCE);
    let (said, left_out) = told(&log, "no_token");
    assert!(left_out > 0 && said + left_out == 30, "{log}");
}

#[test]
fn a_flood_of_refusals_writes_a_bounded_number_of_lines_and_good_clients_stay() {
    let gateway = gateway(&[("FANFARE_LOG__ENDS_PER_SECOND", "5")]);
    let address = gateway.address;
    let mut good = enter(address, &token(json!({"sub": "ann"})));
    let began = Instant::now();
    for _ in 0..1000 {
        let refused = send(address, "GET /api/v1/sse?topics=a&token=x", None, None);
        assert_eq!(refused.status, 401);
    }
    let seconds = began.elapsed().as_secs() + 2;
    good.say(&json!({"type": "ping", "id": 1}));
    assert_eq!(good.json()["type"], "pong");
    assert_eq!(counted(address, "invalid_token"), 1000);
    // What was left out is told when its second is over.
    std::thread::sleep(Duration::from_millis(2500));
    gateway.signal("TERM");
    let (_, log) = gateway.finish(PATIENCE);
    let (said, left_out) = told(&log, "invalid_token");
    assert!(said <= 5 * seconds, "{said} lines");
    assert_eq!(said + left_out, 1000, "{log}");
}

#[test]
fn explain_tells_an_operator_why_a_user_was_dropped() {
    if needs_plaintext("explain is asked for with http://") {
        return;
    }
    let gateway = gateway(&[]);
    let mut ann = enter(gateway.address, &token(json!({"sub": "ann & co"})));
    ann.send(0x82, b"binary");
    assert_eq!(ann.until_close(), Some(1003));
    let mut again = enter(gateway.address, &token(json!({"sub": "ann & co"})));
    again.subscribe(&["room.1"]);
    let path = "/api/v1/connections?user=ann+%26+co";
    wait_for(gateway.address, path, |known| ends(known).len() == 1);
    let explain = |user: &str, token: &str| {
        let url = format!("http://{}", gateway.address);
        let ran = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["explain", "--user", user, "--url", &url])
            .env("FANFARE_TOKEN", token)
            .output()
            .unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        (ran.status.code().unwrap(), text)
    };
    let (code, text) = explain("ann & co", &service());
    assert_eq!(code, 0, "{text}");
    for part in [
        "1 connection:",
        "events/prod over websocket",
        "room.1",
        "unsupported",
        "closed with 1003",
        "from 127.0.0.1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = explain("nobody", &service());
    assert_eq!(code, 0);
    assert!(
        text.contains("Not connected.") && text.contains("No end"),
        "{text}"
    );
    let (code, _) = explain("ann", &token(json!({"sub": "ann"})));
    assert_eq!(code, 77);
    let url = format!("http://{}/elsewhere", gateway.address);
    let ran = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["explain", "--user", "ann", "--url", &url])
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("server.internal_listen"), "{said}");
}

#[test]
fn a_listing_says_what_a_connection_is_and_how_it_ended() {
    let gateway = gateway(&[("FANFARE_SERVER__FORWARDED_FROM", "127.0.0.0/8")]);
    let address = gateway.address;
    let ann = token(json!({"sub": "ann", "name": "Ann", "role": "user"}));
    let path = format!("/api/v1/ws?token={ann}");
    let mut client = Client::connect_with(address, &path, "X-Forwarded-For: 192.0.2.7\r\n");
    client.json();
    client.subscribe(&["room.1", "room.2"]);
    let known = get(address, "/api/v1/connections?user=ann");
    assert_eq!(known["total"], 1);
    let connection = &known["connections"][0];
    for (key, value) in [
        ("user", json!("ann")),
        ("verified", json!(true)),
        ("name", json!("Ann")),
        ("role", json!("user")),
        ("address", json!("192.0.2.7")),
        ("forwarded", json!(true)),
        ("protocol", json!("events")),
        ("transport", json!("websocket")),
        (
            "subscription_count",
            json!(connection["subscriptions"].as_array().unwrap().len()),
        ),
        ("unsent_bytes", json!(0)),
        ("socket_full", json!(false)),
    ] {
        assert_eq!(connection[key], value, "{key}: {connection}");
    }
    assert!(
        connection["sent_bytes"].as_u64().unwrap() > 100,
        "{connection}"
    );
    assert!(
        connection["received_bytes"].as_u64().unwrap() > 10,
        "{connection}"
    );
    let id = connection["id"].as_str().unwrap();
    let one = get(address, &format!("/api/v1/connections/{id}"));
    assert_eq!(one["connection"]["user"], "ann");
    for (query, total) in [
        ("ip=192.0.2.7", 1),
        ("ip=192.0.2.8", 0),
        ("user=bob", 0),
        ("user=ann&ip=192.0.2.8", 0),
    ] {
        let known = get(address, &format!("/api/v1/connections?{query}"));
        assert_eq!(known["total"], total, "{query}");
    }
    for bad in ["ip=x", "limit=0", "limit=10001", "limit=x"] {
        let head = format!("GET /api/v1/connections?{bad}");
        assert_eq!(
            send(address, &head, Some(&service()), None).status,
            422,
            "{bad}"
        );
    }
    for path in ["/api/v1/connections", "/api/v1/connections/0-0-0"] {
        assert_eq!(
            send(address, &format!("GET {path}"), None, None).status,
            401
        );
        assert_eq!(
            send(address, &format!("GET {path}"), Some(&ann), None).status,
            403
        );
    }
    client.send(0x88, &1000_u16.to_be_bytes());
    client.until_close();
    let path = format!("/api/v1/connections/{id}");
    let one = wait_for(address, &path, |known| known["connection"].is_null());
    let end = &one["ended"][0];
    assert_eq!(
        (&end["cause"], &end["user"]),
        (&json!("closed"), &json!("ann")),
        "{end}"
    );
    for id in ["9-9-9", "x", "0-ffff-1"] {
        let head = format!("GET /api/v1/connections/{id}");
        assert_eq!(
            send(address, &head, Some(&service()), None).status,
            404,
            "{id}"
        );
    }
}

#[test]
fn a_service_ends_a_connection_with_a_code_and_a_reason() {
    let gateway = gateway(&[]);
    let address = gateway.address;
    let mut clients: Vec<Client> = (0..2)
        .map(|_| enter(address, &token(json!({"sub": "ann"}))))
        .collect();
    let known = get(address, "/api/v1/connections?user=ann");
    let id = known["connections"][0]["id"].as_str().unwrap();
    let path = format!("/api/v1/connections/{id}/disconnect");
    let body = json!({"code": 4000, "reason": "used elsewhere"});
    assert_eq!(
        post(address, &path, &body).json(),
        json!({"disconnected": 1})
    );
    let known = wait_for(address, "/api/v1/connections?user=ann", |it| {
        it["total"] == 1
    });
    let end = &ends(&known)[0];
    assert_eq!(
        (&end["cause"], &end["close_code"], &end["detail"]),
        (&json!("ordered"), &json!(4000), &json!("used elsewhere"))
    );
    assert_eq!(post(address, &path, &body).status, 404);
    // The other connection of the user, and what it is told.
    let answer = post(address, "/api/v1/users/ann/disconnect", &json!({}));
    assert_eq!(
        answer.json(),
        json!({"disconnected": 1, "blocked_until": null})
    );
    let mut codes: Vec<_> = clients.iter_mut().map(Client::until_close).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(1008), Some(4000)]);
    let answer = post(address, "/api/v1/users/nobody/disconnect", &json!({}));
    assert_eq!(answer.json()["disconnected"], 0);
    for bad in [
        json!({"code": 1005}),
        json!({"code": 999}),
        json!({"code": 5000}),
        json!({"reason": "x".repeat(124)}),
        json!({"block_for": "0s"}),
        json!({"block_for": 5}),
        json!({"block_for": "10000h"}),
        json!({"other": 1}),
    ] {
        let answer = post(address, "/api/v1/users/ann/disconnect", &bad);
        assert_eq!(answer.status, 422, "{bad}");
    }
    let ann = token(json!({"sub": "ann"}));
    let head = "POST /api/v1/users/ann/disconnect";
    assert_eq!(
        send(address, head, Some(&ann), Some(&json!({}))).status,
        403
    );
    assert_eq!(send(address, head, None, Some(&json!({}))).status, 401);
}

#[test]
fn a_blocked_user_is_kept_away_until_unblocked() {
    let gateway = gateway(&[]);
    let address = gateway.address;
    let mut ann = enter(address, &token(json!({"sub": "ann"})));
    let body = json!({"reason": "spam", "block_for": "10m"});
    let answer = post(address, "/api/v1/users/ann/disconnect", &body).json();
    assert_eq!(answer["disconnected"], 1);
    assert!(
        answer["blocked_until"].as_u64().unwrap() >= now() + 590,
        "{answer}"
    );
    assert_eq!(ann.until_close(), Some(1008));
    let fresh = token(json!({"sub": "ann"}));
    let mut refused = Client::connect(address, &format!("/api/v1/ws?token={fresh}"));
    assert_eq!(refused.json()["message"], "The user is blocked");
    assert_eq!(refused.until_close(), Some(1008));
    let head = format!("GET /api/v1/sse?topics=a&token={fresh}");
    assert_eq!(send(address, &head, None, None).status, 403);
    enter(address, &token(json!({"sub": "bob"})));
    assert_eq!(counted(address, "blocked"), 2);
    for was_blocked in [true, false] {
        let answer = post(address, "/api/v1/users/ann/unblock", &json!({}));
        assert_eq!(answer.json(), json!({"was_blocked": was_blocked}));
    }
    enter(address, &fresh);
}

#[test]
fn a12_a_revoked_token_ends_its_connections_and_opens_no_more() {
    let gateway = gateway(&[]);
    let address = gateway.address;
    let (first, second) = (
        token(json!({"sub": "ann", "jti": "t1", "iat": now() - 50})),
        token(json!({"sub": "ann", "jti": "t2", "iat": now() - 50})),
    );
    let (mut one, mut two) = (enter(address, &first), enter(address, &second));
    let revoke = |body: Value| post(address, "/api/v1/tokens/revoke", &body);
    let until = now() + 600;
    let answer = revoke(json!({"jti": "t1", "expires_at": until}));
    // The leeway is as long as the token is taken beyond its `exp`.
    assert_eq!(answer.json(), json!({"revoked_until": until + 30}));
    assert_eq!(one.until_close(), Some(4002));
    two.say(&json!({"type": "ping"}));
    assert_eq!(two.json()["type"], "pong");
    let closed =
        |token: &str| Client::connect(address, &format!("/api/v1/ws?token={token}")).until_close();
    assert_eq!(closed(&first), Some(4002));
    // All that the user has, whatever their ids.
    assert_eq!(
        revoke(json!({"user": "ann", "issued_before": now() - 10})).status,
        200
    );
    assert_eq!(two.until_close(), Some(4002));
    assert_eq!(closed(&second), Some(4002));
    assert_eq!(
        closed(&token(json!({"sub": "ann"}))),
        Some(4002),
        "without `iat` it counts as old"
    );
    enter(address, &token(json!({"sub": "ann", "iat": now()})));
    for bad in [
        json!({}),
        json!({"jti": "a", "user": "b"}),
        json!({"jti": "a", "issued_before": 5}),
        json!({"jti": "a", "expires_at": 5}),
        json!({"jti": "a", "expires_at": u64::MAX}),
        json!({"jti": "x".repeat(257)}),
        json!({"user": "x".repeat(129)}),
        json!({"user": "ann", "issued_before": now() * 1000}),
        json!({"jti": 5}),
    ] {
        assert_eq!(revoke(bad.clone()).status, 422, "{bad}");
    }
}

#[test]
fn revocations_have_a_limit_which_is_told() {
    let gateway = gateway(&[("FANFARE_AUTH__MAX_REVOCATIONS", "2")]);
    let revoke = |id: &str| {
        post(
            gateway.address,
            "/api/v1/tokens/revoke",
            &json!({"jti": id}),
        )
    };
    assert_eq!(revoke("a").status, 200);
    assert_eq!(revoke("b").status, 200);
    assert_eq!(revoke("a").status, 200, "it is known");
    let full = revoke("c");
    assert_eq!(full.status, 503);
    assert!(full.body.contains("auth.max_revocations"), "{}", full.body);
}

#[test]
fn a_slow_consumer_is_named_with_what_it_had_not_read() {
    let gateway = gateway(&[
        ("FANFARE_HUB__MAX_LAG", "64KiB"),
        ("FANFARE_SERVER__SEND_BUFFER", "16KiB"),
    ]);
    let address = gateway.address;
    let mut ann = enter(address, &token(json!({"sub": "ann"})));
    ann.subscribe(&["news"]);
    let event = json!({"event": "news", "data": "x".repeat(60_000)});
    let slow = |known: &Value| ends(known).iter().any(|end| end["cause"] == "slow");
    let start = Instant::now();
    let path = "/api/v1/connections?user=ann";
    while !slow(&get(address, path)) {
        assert!(start.elapsed() < Duration::from_secs(30));
        post(address, "/api/v1/events", &event);
    }
    let known = get(address, path);
    let end = ends(&known)
        .into_iter()
        .find(|end| end["cause"] == "slow")
        .unwrap();
    assert!(end["unsent_bytes"].as_u64().unwrap() >= 64 * 1024, "{end}");
    assert_eq!(end["close_code"], 1013);
    drop(ann);
}

#[test]
fn a12_a_revoked_token_stays_so_as_long_as_it_would_be_taken() {
    let gateway = gateway(&[]);
    // It ended a moment ago, and is taken for 30 s more.
    let old = token(json!({"sub": "ann", "jti": "t1", "exp": now() - 2}));
    let mut ann = enter(gateway.address, &old);
    let body = json!({"jti": "t1", "expires_at": now() - 2});
    assert_eq!(
        post(gateway.address, "/api/v1/tokens/revoke", &body).status,
        200
    );
    assert_eq!(ann.until_close(), Some(4002));
    let path = format!("/api/v1/ws?token={old}");
    assert_eq!(
        Client::connect(gateway.address, &path).until_close(),
        Some(4002)
    );
}

#[test]
fn a20_who_looks_at_clients_and_ends_them_shows_a_credential_wherever_there_is_one() {
    let open = Process::with(&[], &[("JWT_SECRET", SECRET)]);
    let asks = |head: &str, origin: &str| {
        let text = format!("{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{origin}\r\n");
        request(open.address, text.as_bytes()).status
    };
    for head in [
        "GET /api/v1/connections",
        "GET /api/v1/connections/0-0-0",
        "POST /api/v1/connections/0-0-0/disconnect",
        "POST /api/v1/users/ann/disconnect",
        "POST /api/v1/users/ann/unblock",
        "POST /api/v1/tokens/revoke",
    ] {
        assert_eq!(asks(head, ""), 401, "{head}");
    }
    assert_eq!(get(open.address, "/api/v1/connections")["total"], 0);
    // Without any, it is open to whoever is no page of another host.
    let demo = Process::start(&[]);
    let disconnect = |origin: &str| {
        let head = "POST /api/v1/users/ann/disconnect HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        request(demo.address, format!("{head}{origin}\r\n").as_bytes()).status
    };
    assert_eq!(disconnect(""), 200);
    assert_eq!(disconnect("Origin: https://evil.example\r\n"), 403);
    let metrics = request(
        demo.address,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(metrics.json()["refused"]["origin"], 1);
}
