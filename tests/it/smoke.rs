//! The main job: subscribe, publish, receive.

use serde_json::json;

use crate::support::{Client, TestGateway, request};

#[test]
fn what_is_published_reaches_every_subscriber_once_and_in_order() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let mut clients: Vec<Client> = (0..6).map(|_| Client::events(gateway.address)).collect();
    for client in &mut clients {
        client.subscribe(&["news"]);
    }
    let mut publisher = Client::events(gateway.address);
    for number in 0..100 {
        publisher.say(&json!({ "type": "publish", "event": "news", "data": { "number": number } }));
    }
    let over_http = br#"{"event":"news","data":{"number":100}}"#;
    publisher.say(&json!({ "type": "ping" }));
    assert_eq!(publisher.json()["type"], "pong");
    for client in &mut clients {
        for number in 0..100 {
            assert_eq!(client.json()["data"]["number"], number);
        }
    }
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        over_http.len()
    );
    let response = request(gateway.address, &[head.as_bytes(), over_http].concat());
    assert_eq!(response.status, 202);
    assert_eq!(
        response.json(),
        json!({ "status": "accepted", "offset": 101, "delivered": 6 })
    );
    for client in &mut clients {
        assert_eq!(client.json()["data"]["number"], 100);
    }
}

#[test]
fn a_stop_closes_every_client_and_ends_in_time() {
    let gateway = TestGateway::start();
    let mut clients: Vec<Client> = (0..10).map(|_| Client::events(gateway.address)).collect();
    let readers: Vec<_> = clients
        .drain(..)
        .map(|mut client| {
            std::thread::spawn(move || {
                let code = client.until_close();
                client.send(0x88, &1001_u16.to_be_bytes());
                code
            })
        })
        .collect();
    let took = gateway.stop();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), Some(1001));
    }
    assert!(took.as_secs() < 2);
}

#[test]
fn every_question_of_a_burst_is_answered_in_order() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    let questions = 5000;
    let burst: Vec<u8> = (0..questions)
        .flat_map(|id| {
            let ping = format!(r#"{{"type":"ping","id":{id}}}"#);
            crate::support::frame(0x81, ping.as_bytes())
        })
        .collect();
    client.send_bytes(&burst);
    for id in 0..questions {
        assert_eq!(client.json()["id"], id);
    }
}
