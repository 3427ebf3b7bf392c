//! What a client can know, a scrape shows: whatever it has been told has been counted before.

use std::net::SocketAddr;

use fanfare::dialect::bridge::{BridgeSettings, Duplicate};
use serde_json::{Value, json};

use crate::support::{Client, EventStream, TestGateway, frame, metric, request};

/// What one scrape says, of a shard that the kernel chooses.
fn scrape(address: SocketAddr) -> Value {
    let head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    request(address, head).json()
}

fn health(address: SocketAddr) -> Value {
    let head = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    request(address, head).json()["connections"].clone()
}

/// Checks that so many connections are counted, and so many of the events protocol among them.
#[track_caller]
fn check_connections(address: SocketAddr, all: u64, events: u64) {
    let counted = scrape(address);
    assert_eq!(counted["active_connections"], all, "{counted}");
    assert_eq!(counted["connections"], all);
    assert_eq!(counted["events_connections"], events);
    assert_eq!(health(address), all);
}

/// Sends a close frame and takes the answer. The socket stays.
fn close(client: &mut Client) {
    client.send(0x88, &1000_u16.to_be_bytes());
    assert_eq!(client.until_close(), Some(1000));
}

#[test]
fn case_c1_a_scrape_counts_what_has_its_101() {
    for shards in [1, 3] {
        let gateway = TestGateway::with(|config| {
            config.server.shards = shards;
            config.section_mut::<BridgeSettings>().duplicate = Duplicate::Replace;
        });
        let address = gateway.address;
        let (mut clients, mut streams) = (Vec::new(), Vec::new());
        for round in 0..4 {
            let all = 4 * round;
            clients.push(Client::connect(address, "/api/v1/ws/demo"));
            check_connections(address, all + 1, 3 * round + 1);
            clients.push(Client::events(address));
            check_connections(address, all + 2, 3 * round + 2);
            streams.push(EventStream::connect(address, "topic=a"));
            check_connections(address, all + 3, 3 * round + 3);
            clients.push(Client::connect(address, &format!("/ws?user_id=u{round}")));
            check_connections(address, all + 4, 3 * round + 3);
            assert_eq!(
                metric(address, "transport_connections{transport=\"sse\"}"),
                round + 1
            );
            assert_eq!(scrape(address)["connections_opened_total"], all + 4);
        }
        // Two in three of these are of the events protocol.
        let mut events = 12;
        for (at, client) in clients.iter_mut().enumerate() {
            close(client);
            events -= u64::from(at % 3 != 2);
            check_connections(address, 15 - at as u64, events);
        }
        // A user's second connection takes the place of the first.
        let mut first = Client::connect(address, "/ws?user_id=ann");
        let _second = Client::connect(address, "/ws?user_id=ann");
        assert_eq!(first.until_close(), Some(1008));
        check_connections(address, 5, 4);
        first.wait_for_end();
        check_connections(address, 5, 4);
    }
}

#[test]
fn case_c1_a_scrape_counts_what_was_confirmed() {
    for shards in [1, 3] {
        let gateway = TestGateway::with(|config| config.server.shards = shards);
        let address = gateway.address;
        let mut clients: Vec<Client> = (0..4).map(|_| Client::events(address)).collect();
        for round in 0..20_u64 {
            let at = round as usize % clients.len();
            let client = &mut clients[at];
            let topic = format!("t.{round}");
            client.subscribe(&[&topic]);
            let counted = scrape(address);
            assert_eq!(counted["subscriptions"], round + 1, "{counted}");
            assert_eq!(counted["messages_received_total"], 2 * round + 1);
            assert!(counted["topics"].as_u64().unwrap() > round);
            let body = json!({ "event": topic, "data": round }).to_string();
            let head = format!(
                "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            assert_eq!(request(address, head.as_bytes()).status, 202);
            let counted = scrape(address);
            assert_eq!(counted["publications_total"], round + 1, "{counted}");
            assert!(counted["history_bytes"].as_u64().unwrap() > 0);
            assert_eq!(client.json()["data"], round);
            assert_eq!(scrape(address)["deliveries_total"], round + 1);
            client.send_bytes(&frame(0x81, b"[]"));
            assert_eq!(client.json()["type"], "error");
            assert_eq!(scrape(address)["errors_sent_total"], round + 1);
        }
        for (at, client) in clients.iter_mut().enumerate() {
            close(client);
            let counted = scrape(address);
            assert_eq!(counted["subscriptions"], 15 - 5 * at, "{counted}");

            assert_eq!(counted["disconnects"]["closed"], at + 1, "{counted}");
        }
    }
}

#[test]
fn case_c1_a_scrape_counts_what_a_user_was_pushed() {
    for shards in [1, 3] {
        let gateway = TestGateway::with(|config| config.server.shards = shards);
        let address = gateway.address;
        let push = move |user: String, number: u64| {
            let body = json!({ "user_id": user, "data": { "n": number } }).to_string();
            let head = format!(
                "POST /sse/push HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            request(address, head.as_bytes())
        };
        for number in 0..20 {
            let mut user = Client::connect(address, &format!("/ws?user_id=u{number}"));
            // Its service's answer comes when it may.
            let pushing = std::thread::spawn(move || push(format!("u{number}"), number));
            assert_eq!(user.json()["n"], number);
            assert_eq!(scrape(address)["pushes_total"], 2 * number + 1);
            assert_eq!(pushing.join().unwrap().status, 200);
            push("nobody".to_owned(), 0);
            let counted = scrape(address);
            assert_eq!(counted["pushes_total"], 2 * number + 2, "{counted}");
            assert_eq!(counted["pushes_undelivered_total"], number + 1);
        }
    }
}
