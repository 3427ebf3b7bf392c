//! Which endpoints are at which listener, where `server.internal_listen` is set.

use std::net::SocketAddr;

use fanfare::config::Config;

use crate::support::{Client, EventStream, Response, TestGateway, request};

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A gateway with a listener for services, and its addresses for clients and for services.
fn start(change: impl FnOnce(&mut Config)) -> (TestGateway, SocketAddr, SocketAddr) {
    let gateway = TestGateway::with(|config| {
        config.server.internal_listen = vec!["127.0.0.1:0".parse().unwrap()];
        change(config);
    });
    let (clients, services) = (gateway.address, gateway.internal.unwrap());
    assert_ne!(clients, services);
    (gateway, clients, services)
}

fn send(address: SocketAddr, line: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n");
    request(address, (head + body).as_bytes())
}

fn get(address: SocketAddr, path: &str) -> Response {
    send(address, &format!("GET {path}"), "Connection: close\r\n", "")
}

#[test]
fn what_is_for_services_is_not_at_the_port_of_clients() {
    for shards in [1, 2] {
        let (_gateway, clients, services) = start(|config| config.server.shards = shards);
        for path in [
            "/metrics",
            "/docs",
            "/openapi.json",
            "/api/v1/ws/connections",
        ] {
            let absent = get(clients, path);
            // As a path that there never was.
            let never = get(clients, "/never");
            assert_eq!(
                (absent.status, &absent.body),
                (404, &never.body),
                "{path}: {absent:?}"
            );
            assert_eq!(get(services, path).status, 200, "{path}");
        }
        let mut client = Client::events(clients);
        client.subscribe(&["a"]);
        let event = r#"{"topic":"a","payload":1}"#;
        let publish = |address| {
            let headers = "Connection: close\r\n";
            send(address, "POST /api/v1/publish", headers, event).status
        };
        assert_eq!(publish(clients), 404);
        assert_eq!(publish(services), 202);
        assert_eq!(client.json()["data"], 1);
    }
}

#[test]
fn clients_connect_at_their_own_listener_and_are_told_so_elsewhere() {
    let (_gateway, clients, services) = start(|_| {});
    let _socket = Client::events(clients);
    let _stream = EventStream::connect(clients, "topics=a");
    for (path, headers) in [
        ("/api/v1/ws", UPGRADE),
        ("/api/v1/ws/demo", UPGRADE),
        ("/api/v1/ws/somebody", UPGRADE),
        ("/ws?user_id=u", UPGRADE),
        ("/debug/echo", UPGRADE),
        ("/api/v1/sse?topics=a", "Connection: close\r\n"),
    ] {
        let refused = send(services, &format!("GET {path}"), headers, "");
        assert_eq!(refused.status, 404, "{path}: {refused:?}");
        assert!(refused.body.contains("server.listen"), "{refused:?}");
    }
    for address in [clients, services] {
        for path in ["/health", "/api/v1/health", "/health/live", "/health/ready"] {
            assert_eq!(get(address, path).status, 200, "{path}");
        }
        let check = request(address, b"OPTIONS / HTTP/1.0\r\n\r\n");
        assert_eq!(check.status, 200, "{check:?}");
    }
}

/// Also of endpoints that will be there: one that says nothing is for services.
#[test]
fn every_endpoint_but_health_is_at_one_listener() {
    let (_gateway, clients, services) = start(|_| {});
    let document = get(services, "/openapi.json").json();
    let mut both = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let filled = path.replace("{topic}", "a").replace("{client_id}", "c");
            let line = format!("{} {filled}", method.to_uppercase());
            let is_at = |address| {
                let answer = send(address, &line, "Connection: close\r\n", "");
                assert_ne!(answer.status, 0, "{line}: {answer:?}");
                // That no connection has an id is for services to know, and that no user has one for clients.
                let is_found = |said| answer.body.contains(said);
                answer.status != 404 || is_found("No connection") || is_found("User not found")
            };
            match (is_at(clients), is_at(services)) {
                (true, true) => both.push(path.clone()),
                (true, false) | (false, true) => {}
                (false, false) => panic!("{line} is nowhere"),
            }
        }
    }
    both.sort_unstable();
    let health = [
        "/api/v1/health",
        "/health",
        "/health/live",
        "/health/ready",
        "/wse/compression-test",
        "/wse/health",
    ];
    assert_eq!(both, health);
}
