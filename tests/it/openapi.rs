//! What the gateway says about its HTTP API: `/openapi.json` for programs, `/docs`
//! for people (what that one shows: `tests/browser/api.rs`). It is tried out on a running gateway.

mod document;
mod schema;

use std::net::SocketAddr;

use fanfare::config::{Mode, Secret};
use fanfare::dialect::bridge::BridgeSettings;
use fanfare::dialect::sse::SseSettings;
use serde_json::Value;

use crate::support::{Response, TestGateway, request};
use document::{Operation, operations};

fn get(address: SocketAddr, path: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    request(address, head.as_bytes())
}

fn post(address: SocketAddr, path: &str, media: &str, body: &str) -> Response {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    request(address, format!("{head}{body}").as_bytes())
}

fn document_of(gateway: &TestGateway) -> Value {
    let response = get(gateway.address, "/openapi.json");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    response.json()
}

#[test]
fn the_document_keeps_the_rules_of_openapi_in_every_mode() {
    for mode in [Mode::Demo, Mode::Dev, Mode::Prod] {
        let gateway = TestGateway::in_mode(mode, |config| {
            config.section_mut::<BridgeSettings>().enabled = mode != Mode::Dev;
            config.section_mut::<SseSettings>().enabled = mode != Mode::Dev;
            config.backend.enabled = mode != Mode::Dev;
        });
        document::check(&document_of(&gateway));
    }
}

#[test]
fn what_is_configured_is_what_is_documented() {
    let gateway = TestGateway::with(|config| {
        config.section_mut::<BridgeSettings>().push_path = "/notify".to_owned();
        config.section_mut::<BridgeSettings>().ws_path = "/users".to_owned();
        config.debug.echo = false;
    });
    let document = document_of(&gateway);
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/notify",
        "/users",
        "/sse/send",
        "/api/v1/ws/demo",
        "/docs",
        "/",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    for path in ["/sse/push", "/ws", "/debug/echo"] {
        assert!(!paths.contains_key(path), "{path}");
    }
}

#[test]
fn a_bridge_is_documented_to_ask_for_what_it_asks_for() {
    for (key, asked, status) in [(None, 0, 200), (Some("0123456789abcdef"), 2, 401)] {
        let gateway = TestGateway::in_mode(Mode::Dev, |config| {
            config.section_mut::<BridgeSettings>().api_key = key.and_then(Secret::api_key);
        });
        let document = document_of(&gateway);
        let security = &document["paths"]["/sse/push"]["post"]["security"];
        assert_eq!(security.as_array().unwrap().len(), asked, "{security}");
        let push = r#"{"user_id":"alice","data":{"message":"hello"}}"#;
        let answer = post(gateway.address, "/sse/push", "application/json", push);
        assert_eq!(answer.status, status);
    }
}

/// Checks that a response is one of the documented ones.
fn check_response(operation: &Operation<'_>, response: &Response) {
    let name = format!("{} {}", operation.method, operation.path);
    let status = response.status.to_string();
    let documented = &operation.about["responses"][&status];
    assert!(
        documented.is_object(),
        "{name}: {status} is not documented: {response:?}"
    );
    let Some(contents) = documented["content"].as_object() else {
        return;
    };
    let media = response.header("content-type").expect("a type");
    let media = media.split(';').next().unwrap();
    let content = contents
        .iter()
        .find(|(name, _)| name.split(';').next() == Some(media));
    let (_, content) = content.unwrap_or_else(|| panic!("{name}: {media} is not documented"));
    if media == "application/json" {
        schema::check(
            operation.document,
            &content["schema"],
            &response.json(),
            &name,
        );
    }
}

#[test]
fn every_operation_is_served_and_answers_as_documented() {
    let gateway = TestGateway::start();
    let document = document_of(&gateway);
    for operation in operations(&document) {
        let target = operation.target();
        let response = match operation.method {
            "get" => get(gateway.address, &target),
            _ => post(gateway.address, &target, "application/json", "{}"),
        };
        // Of the ids of connections and of accounts none is any.
        let is_of_any = target.contains("/connections/") || target.contains("/auth/users/");
        let is_known = response.status != 404 || is_of_any;
        assert!(is_known && response.status != 405, "{target}");
        check_response(&operation, &response);
    }
}

#[test]
fn every_example_of_a_body_is_accepted() {
    let gateway = TestGateway::start();
    let document = document_of(&gateway);
    let mut count = 0;
    for operation in operations(&document) {
        for (media, example) in operation.bodies() {
            let response = post(gateway.address, &operation.target(), media, &example);
            let is_known = !operation.target().contains("/connections/");
            assert!(
                (200..300).contains(&response.status) || !is_known && response.status == 404,
                "{example}: {response:?}"
            );
            check_response(&operation, &response);
            count += 1;
        }
    }
    assert!(count >= 9, "there are examples");
}

#[test]
fn every_required_field_is_asked_for() {
    let gateway = TestGateway::start();
    let document = document_of(&gateway);
    let mut count = 0;
    for operation in operations(&document) {
        for lacking in operation.bodies_that_lack_something() {
            let body = lacking.to_string();
            let response = post(
                gateway.address,
                &operation.target(),
                "application/json",
                &body,
            );
            // In the words of the clients that there are.
            let expected = match operation.path.starts_with("/auth/") {
                true => 400,
                false => 422,
            };
            assert_eq!(response.status, expected, "{body}: {response:?}");
            check_response(&operation, &response);
            count += 1;
        }
    }
    assert!(count >= 9, "there are required fields");
}

#[test]
fn a_credential_is_documented_where_it_is_asked_for() {
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = Secret::new([7; 32]);
    });
    let document = document_of(&gateway);
    for operation in operations(&document) {
        let is_asked_for = operation.asks_for_credential();
        let target = operation.target();
        let response = match operation.method {
            "get" => get(gateway.address, &target),
            _ => post(gateway.address, &target, "application/json", "{}"),
        };
        // A WebSocket's handshake is looked at first.
        if response.status != 426 {
            assert_eq!(
                response.status == 401,
                is_asked_for,
                "{target}: {response:?}"
            );
        }
        check_response(&operation, &response);
    }
}

#[test]
fn the_page_reads_the_document_and_loads_nothing_else() {
    let gateway = TestGateway::start();
    let response = get(gateway.address, "/docs");
    assert_eq!(response.status, 200);
    assert_eq!(
        response.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = response.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(policy.contains("; connect-src 'self'; "), "{policy}");
    for outside in ["src=\"", "@import", "url(", "href=\"http", "{{"] {
        assert!(!response.body.contains(outside), "{outside}");
    }
    assert_eq!(response.body.matches("fetch(").count(), 1);
    assert!(response.body.contains("fetch(\"openapi.json\")"));
}
