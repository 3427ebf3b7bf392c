//! `?batch=true`: events come a few at a time, and nothing else changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, TestGateway, request};

fn connect(gateway: &TestGateway) -> Client {
    let mut client = Client::connect(gateway.address, "/api/v1/ws/demo?batch=true");
    assert_eq!(client.json()["type"], "connection_established");
    client
}

fn offset(event: &Value) -> u64 {
    let id = event["event_id"].as_str().expect("events have ids");
    id.split_once('-').unwrap().1.parse().unwrap()
}

fn publish(client: &mut Client, topic: &str, count: u64) {
    for number in 1..=count {
        client.say(&json!({ "type": "publish", "event": topic, "data": number }));
    }
    client.say(&json!({ "type": "ping" }));
    assert_eq!(client.json()["type"], "pong");
}

/// The events of a frame: those of a group, or the one that it is.
fn events_in(frame: Value) -> VecDeque<Value> {
    if frame["type"] == "event" {
        return [frame].into();
    }
    assert_eq!(frame["type"], "batch", "{frame}");
    assert!(frame["timestamp"].is_string());
    let events: VecDeque<Value> = frame["messages"].as_array().unwrap().clone().into();
    assert_eq!(frame["count"], events.len());
    assert!((1..=10).contains(&events.len()), "{frame}");
    events
}

#[test]
fn events_come_in_groups_of_ten_at_most_and_in_order() {
    for shards in [1, 3] {
        let gateway = TestGateway::with(|config| config.server.shards = shards);
        let mut clients: Vec<Client> = (0..4).map(|_| connect(&gateway)).collect();
        let mut plain = Client::events(gateway.address);
        for client in clients.iter_mut().chain([&mut plain]) {
            client.subscribe(&["t"]);
        }
        let mut publisher = Client::events(gateway.address);
        publish(&mut publisher, "t", 95);
        for client in &mut clients {
            let (mut events, mut frames) = (Vec::new(), 0);
            while events.len() < 95 {
                events.extend(events_in(client.json()));
                frames += 1;
            }
            assert!(frames < 60, "{frames} frames for 95 events");
            let data = events.iter().map(|event| event["data"].as_u64().unwrap());
            assert!(data.eq(1..=95));
            // Answers are not grouped.
            client.say(&json!({ "type": "ping", "id": 1 }));
            assert_eq!(client.json()["id"], 1);
        }
        assert_eq!(plain.json()["type"], "event");
        // One alone does not wait for nine others.
        publish(&mut publisher, "t", 1);
        for client in &mut clients {
            let events = events_in(client.json());
            assert_eq!((events.len(), offset(&events[0])), (1, 96));
        }
    }
}

#[test]
fn whoever_comes_later_gets_what_is_published_later() {
    let gateway = TestGateway::start();
    let mut first = connect(&gateway);
    first.subscribe(&["t"]);
    let mut publisher = Client::events(gateway.address);
    publish(&mut publisher, "t", 3);
    let mut second = connect(&gateway);
    assert_eq!(second.subscribe(&["t"])["topics"]["t"]["offset"], 3);
    publish(&mut publisher, "t", 2);
    let mut late = Vec::new();
    while late.len() < 2 {
        late.extend(events_in(second.json()).iter().map(offset));
    }
    assert_eq!(late, [4, 5]);
}

#[test]
fn many_cuts_lose_and_repeat_nothing() {
    for shards in [1, 3] {
        let toml = "[hub]\nhistory_size = 100000";
        let gateway = TestGateway::from_toml(toml, |config| config.server.shards = shards);
        let address = gateway.address;
        let stop = Arc::new(AtomicBool::new(false));
        let publisher = {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut client = Client::events(address);
                while !stop.load(Ordering::Relaxed) {
                    publish(&mut client, "hot", 20);
                }
            })
        };
        let mut client = connect(&gateway);
        let start = client.subscribe(&["hot"])["topics"]["hot"].clone();
        let (epoch, mut last) = (start["epoch"].clone(), start["offset"].as_u64().unwrap());
        for _ in 0..15 {
            let until = last + 50;
            while last < until {
                for event in events_in(client.json()) {
                    assert_eq!(offset(&event), last + 1);
                    last += 1;
                }
            }
            client = connect(&gateway);
            let place = json!({ "hot": { "epoch": epoch, "offset": last } });
            client.say(&json!({ "type": "subscribe", "events": ["hot"], "recover": place }));
            let confirmed = client.json();
            assert_eq!(confirmed["topics"]["hot"]["recovered"], true, "{confirmed}");
        }
        stop.store(true, Ordering::Relaxed);
        publisher.join().unwrap();
    }
}

#[test]
fn a_slow_reader_is_told_how_many_events_it_lost() {
    let gateway = TestGateway::from_toml(
        "[hub]\nslow_consumer = \"drop-oldest\"\nmax_lag = \"64KiB\"\nhistory_size = 0",
        |config| config.server.send_buffer = 16 * 1024,
    );
    let mut slow = connect(&gateway);
    slow.subscribe(&["t"]);
    let mut publisher = Client::events(gateway.address);
    let text = "x".repeat(4000);
    for number in 1..=3000_u64 {
        publisher.say(&json!({ "type": "publish", "event": "t", "data": [number, text] }));
        if number % 100 == 0 {
            publisher.say(&json!({ "type": "ping" }));
            assert_eq!(publisher.json()["type"], "pong");
        }
    }
    let (mut last, mut lost) = (0, 0);
    while last < 3000 {
        let frame = slow.json();
        if frame["type"] == "gap" {
            lost += frame["lost"].as_u64().unwrap();
            continue;
        }
        for event in events_in(frame) {
            let number = event["data"][0].as_u64().unwrap();
            lost -= number - last - 1;
            last = number;
        }
    }
    assert_eq!(
        lost, 0,
        "what is missing was told, and told before what is newer"
    );
}

#[test]
fn groups_are_for_json() {
    let gateway = TestGateway::start();
    for query in ["batch=true&format=msgpack", "batch=yes"] {
        let head = format!(
            "GET /api/v1/ws/demo?{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let response = request(gateway.address, head.as_bytes());
        assert_eq!(response.status, 400, "{query}");
        assert!(response.json()["detail"].to_string().contains("`batch`"));
    }
    let mut client = connect(&gateway);
    client.subscribe(&["t"]);
    assert!(
        client.is_silent(Duration::from_millis(150)),
        "no empty groups"
    );
}
