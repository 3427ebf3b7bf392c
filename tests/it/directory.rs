//! What services see of connections, and the gateway's own figures.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, TestGateway, request};

fn get(gateway: &TestGateway, path: &str) -> (u16, Value) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let response = request(gateway.address, head.as_bytes());
    (response.status, response.json())
}

#[test]
fn connections_and_subscriptions_are_listed_over_all_shards() {
    for shards in [1, 3] {
        let gateway = TestGateway::with(|config| config.server.shards = shards);
        let mut clients: Vec<Client> = ["ann-1", "bob-1", "eve-1"]
            .into_iter()
            .map(|name| {
                let mut client = Client::connect(gateway.address, &format!("/api/v1/ws/{name}"));
                client.json();
                client
            })
            .collect();
        clients[0].subscribe(&["news", "room.*"]);
        clients[1].subscribe(&["news"]);
        let (status, listing) = get(&gateway, "/api/v1/ws/connections");
        assert_eq!(status, 200);
        assert_eq!(listing["total_connections"], 3);
        assert_eq!(listing["authenticated_connections"], 0);
        let connections = listing["connections"].as_array().unwrap();
        let ann = connections
            .iter()
            .find(|connection| connection["client_id"] == "ann-1")
            .expect("ann is connected");
        assert_eq!(ann["subscriptions"], json!(["news", "room.*"]));
        assert_eq!(ann["metadata"]["endpoint"], "prod");
        for key in ["user_id", "username", "role"] {
            assert_eq!(ann[key], Value::Null);
        }
        for key in ["connected_at", "last_heartbeat"] {
            assert_eq!(ann[key].as_str().unwrap().len(), 24);
        }
        let (_, listing) = get(&gateway, "/api/v1/ws/subscriptions");
        let mut news: Vec<&str> = listing["subscriptions"]["news"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        news.sort_unstable();
        assert_eq!(news, ["ann-1", "bob-1"]);
        assert_eq!(listing["subscriptions"]["room.*"], json!(["ann-1"]));
        let (_, listing) = get(&gateway, "/api/v1/ws/connections?limit=1");
        assert_eq!(listing["connections"].as_array().unwrap().len(), 1);
        assert_eq!(listing["total_connections"], 3);
        assert_eq!(get(&gateway, "/api/v1/ws/connections?limit=0").0, 422);
    }
}

#[test]
fn a_listing_of_many_pages_has_everybody_once() {
    for shards in [1, 2] {
        let gateway = TestGateway::with(|config| config.server.shards = shards);
        let mut clients: Vec<Client> = (0..500)
            .map(|number| {
                let path = format!("/api/v1/ws/client-{number}");
                let mut client = Client::connect(gateway.address, &path);
                client.json();
                client.subscribe(&["all", &format!("own.{number}")]);
                client
            })
            .collect();
        // A part of them leaves, so that pages have gaps.
        let mut expected: BTreeSet<String> = (0..500).map(|n| format!("client-{n}")).collect();
        for number in (0..500)
            .rev()
            .filter(|number: &usize| number.is_multiple_of(7))
        {
            clients.swap_remove(number).say(&json!({ "type": "ping" }));
        }
        let mut names = BTreeSet::new();
        for client in &mut clients {
            client.say(&json!({ "type": "ping" }));
            assert_eq!(client.json()["type"], "pong");
        }
        expected.retain(|name| {
            let number: u32 = name["client-".len()..].parse().unwrap();
            !number.is_multiple_of(7)
        });
        // Those that have left may take a moment.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            names.clear();
            let (_, listing) = get(&gateway, "/api/v1/ws/connections?limit=10000");
            let connections = listing["connections"].as_array().unwrap();
            for connection in connections {
                let name = connection["client_id"].as_str().unwrap().to_owned();
                assert!(names.insert(name), "twice in {listing}");
            }
            assert_eq!(listing["total_connections"], connections.len());
            if names == expected {
                break;
            }
            assert!(Instant::now() < deadline, "{names:?}");
        }
        let (_, listing) = get(&gateway, "/api/v1/ws/connections?limit=300");
        assert_eq!(listing["connections"].as_array().unwrap().len(), 300);
        assert_eq!(listing["total_connections"], expected.len());
        let (_, listing) = get(&gateway, "/api/v1/ws/subscriptions?limit=10000");
        let pairs = &listing["subscriptions"];
        assert_eq!(pairs["all"].as_array().unwrap().len(), expected.len());
        assert_eq!(pairs.as_object().unwrap().len(), 1 + expected.len());
    }
}

#[test]
fn a20_listings_are_for_services() {
    let gateway = TestGateway::with(|config| config.clients.auth_required = true);
    for path in [
        "/api/v1/ws/connections",
        "/api/v1/ws/subscriptions",
        "/api/v1/topics/a/history",
    ] {
        let (status, answer) = get(&gateway, path);
        assert_eq!(status, 401, "{path}: {answer}");
    }
}

#[test]
fn the_gateway_publishes_its_own_figures() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let mut client = Client::events(gateway.address);
    client.subscribe(&["system.metrics"]);
    client.say(&json!({ "type": "publish", "event": "system.metrics", "data": 1, "id": 1 }));
    let refused = client.json();
    assert_eq!(refused["code"], "FORBIDDEN", "{refused}");
    let event = client.json();
    assert_eq!(event["event"], "system.metrics");
    let data = &event["data"];
    assert_eq!(data["connections"], 1);
    for key in [
        "messages_in",
        "messages_out",
        "subscriptions",
        "uptime_seconds",
    ] {
        assert!(data[key].is_u64(), "{key} in {event}");
    }
}
