//! Which services may push and ask.

use std::net::SocketAddr;

use fanfare::config::{KeyHash, Mode, Secret};
use fanfare::dialect::bridge::BridgeSettings;
use serde_json::{Value, json};

use super::{bearer, gateway_in, post_with, token};
use crate::support::{Call, Client, Process, Response, TestGateway};

/// The bridge's own key.
pub(super) const KEY: &str = "0123456789abcdef-key";

const PATHS: [&str; 3] = ["/sse/push", "/sse/push/batch", "/sse/send"];

/// As `push`, with the key.
pub(super) fn push_with_key(address: SocketAddr, user: &str, data: &Value) -> bool {
    let headers = format!("Content-Type: application/json\r\nX-API-Key: {KEY}\r\n");
    let body = json!({ "user_id": user, "data": data }).to_string();
    let response = post_with(address, "/sse/push", &headers, &body);
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["status"] == "success"
}

fn ask(gateway: &TestGateway, path: &str, headers: &str) -> Response {
    let message = json!({ "user_id": "nobody", "data": {} });
    let body = if path.ends_with("batch") {
        json!([message])
    } else {
        message
    };
    post_with(gateway.address, path, headers, &body.to_string())
}

/// All requests with these headers get this status; a 401 in the words of docs/bridge.md.
#[track_caller]
fn check(gateway: &TestGateway, headers: &str, status: u16) {
    for path in PATHS {
        let response = ask(gateway, path, headers);
        assert_eq!(response.status, status, "{path} {headers}: {response:?}");
        assert_eq!(response.header("www-authenticate").is_some(), status == 401);
        if status == 401 {
            assert_eq!(response.json(), json!({ "detail": "Not authenticated" }));
            assert_eq!(response.header("content-type"), Some("application/json"));
        }
    }
}

#[test]
fn the_bridges_key_is_asked_for_in_each_mode() {
    for mode in [Mode::Demo, Mode::Dev, Mode::Prod] {
        let gateway = gateway_in(mode, 3, |config| {
            config.section_mut::<BridgeSettings>().api_key = Secret::api_key(KEY);
            config.auth.max_failures_per_minute = 0;
        });
        check(&gateway, "", 401);
        check(&gateway, &format!("X-API-Key: {KEY}\r\n"), 200);
        check(&gateway, &format!("x-api-key: {KEY}\r\n"), 200);
        check(&gateway, &bearer(KEY), 200);
        check(&gateway, &format!("Authorization: bearer {KEY}\r\n"), 200);
        for wrong in [
            format!("X-API-Key: {KEY}x\r\n"),
            format!("X-API-Key: {}\r\n", &KEY[1..]),
            "X-API-Key: \r\n".to_owned(),
            format!("Authorization: Basic {KEY}\r\n"),
            format!("Authorization: {KEY}\r\n"),
            format!("Cookie: access_token={KEY}\r\n"),
            bearer("nonsense"),
            bearer("dev"),
        ] {
            check(&gateway, &wrong, 401);
        }
        // Not in the query.
        let response = ask(
            &gateway,
            &format!("/sse/push?api_key={KEY}&token={KEY}"),
            "",
        );
        assert_eq!(response.status, 401);
        // What is wrong with the body is told to those who may know.
        assert_eq!(post_with(gateway.address, "/sse/push", "", "{").status, 401);
        // Others read what is public.
        let health = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert_eq!(crate::support::request(gateway.address, health).status, 200);
    }
}

#[test]
fn in_prod_mode_services_show_a_key_or_a_service_token() {
    // The SHA-256 of "key".
    let hash = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
    for with_own_key in [false, true] {
        let gateway = gateway_in(Mode::Prod, 3, |config| {
            config.auth.api_keys = vec![KeyHash::parse(hash).unwrap()];
            config.auth.max_failures_per_minute = 0;
            if with_own_key {
                config.section_mut::<BridgeSettings>().api_key = Secret::api_key(KEY);
            }
        });
        check(&gateway, "", 401);
        check(&gateway, "X-API-Key: key\r\n", 200);
        check(&gateway, &bearer("key"), 200);
        check(&gateway, &bearer(&token("billing", Some("service"))), 200);
        check(&gateway, &bearer(&token("alice", None)), 403);
        check(&gateway, &bearer(&token("alice", Some("admin"))), 403);
        check(&gateway, &bearer("nonsense"), 401);
        check(&gateway, "X-API-Key: nonsense\r\n", 401);
        let own = if with_own_key { 200 } else { 401 };
        check(&gateway, &format!("X-API-Key: {KEY}\r\n"), own);
        // The bridge's key opens the bridge only.
        let body = json!({ "topic": "a", "payload": 1 }).to_string();
        let headers = format!("Content-Type: application/json\r\nX-API-Key: {KEY}\r\n");
        let response = post_with(gateway.address, "/api/v1/publish", &headers, &body);
        assert_eq!(response.status, 401, "{response:?}");
    }
}

#[test]
fn the_whole_way_works_in_prod_mode() {
    for shards in [1, 3] {
        let gateway = gateway_in(Mode::Prod, shards, |config| {
            config.section_mut::<BridgeSettings>().api_key = Secret::api_key(KEY);
        });
        let path = format!("/ws?user_id=alice&token={}", token("alice", None));
        let mut alice = Client::connect(gateway.address, &path);
        let body = json!({ "user_id": "alice", "data": { "correlation_id": "c" } }).to_string();
        let mut call = Call::post(gateway.address, "/sse/send", &bearer(KEY), &body);
        assert_eq!(call.status, 200, "{}", call.head);
        assert_eq!(alice.json()["correlation_id"], "c");
        alice.say(&super::last(&json!("c"), 1));
        assert_eq!(call.until_end(), [super::last(&json!("c"), 1)]);
    }
}

#[test]
fn guessing_is_slowed_down() {
    let gateway = gateway_in(Mode::Demo, 1, |config| {
        config.section_mut::<BridgeSettings>().api_key = Secret::api_key(KEY);
        config.auth.max_failures_per_minute = 5;
    });
    let guess = "X-API-Key: guess\r\n";
    for _ in 0..5 {
        assert_eq!(ask(&gateway, "/sse/push", guess).status, 401);
    }
    let response = ask(&gateway, "/sse/push", guess);
    assert_eq!(response.status, 429, "{response:?}");
    assert!(response.header("retry-after").is_some());
}

#[test]
fn the_key_may_come_from_the_environment_under_its_common_name() {
    let process = Process::with(&["--shards", "1"], &[("SSE_API_KEY", KEY)]);
    let body = json!({ "user_id": "nobody", "data": {} }).to_string();
    assert_eq!(
        post_with(process.address, "/sse/push", "", &body).status,
        401
    );
    assert!(!push_with_key(process.address, "nobody", &json!({})));
}

#[test]
fn the_other_settings_have_their_common_names_in_the_environment() {
    let process = Process::with(
        &["--shards", "1"],
        &[
            ("WS_PATH", "/live"),
            ("SSE_PATH", "/in"),
            ("SSE_BATCH_PATH", "/in/many"),
            ("PUBLIC_ACCOUNTS", "helpdesk, ,other"),
            ("SSE_RESPONSE_TIMEOUT", "1"),
        ],
    );
    let address = process.address;
    let mut desk = Client::connect(address, "/live?user_id=helpdesk");
    let body = json!({ "user_id": "nobody", "data": { "message": "@helpdesk" } });
    assert_eq!(super::post(address, "/in", &body.to_string()).status, 200);
    assert_eq!(desk.json()["user_id"], "nobody");
    assert_eq!(
        super::post(address, "/in/many", &json!([body]).to_string()).status,
        200
    );
    assert_eq!(desk.json()["user_id"], "nobody");
    let mut call = Call::begin(address, &body);
    assert_eq!(call.event()["error"], "Timeout waiting for response");
}
