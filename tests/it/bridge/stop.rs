//! The end of the gateway: users are told, and open streams end as streams do.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{call, closed, gateway, more, user};
use crate::support::{Call, Client, Process, Socket, frame};
use fanfare::dialect::bridge::BridgeSettings;

/// A stream that the end of the gateway ends: what was said before, an event that says why, and the
/// last chunk.
#[track_caller]
fn check_ended(call: &mut Call, id: &Value) {
    let end = json!({ "error": "Server shutdown", "correlation_id": id });
    assert_eq!(call.until_end(), [more(id, "before"), end]);
}

#[test]
fn users_are_told_and_streams_end_with_their_last_chunk() {
    const USERS: usize = 30;
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let mut users: Vec<_> = (0..USERS)
            .map(|n| user(address, &format!("u{n}")))
            .collect();
        let mut calls = Vec::new();
        for (number, client) in users.iter_mut().enumerate() {
            let id = json!(number);
            let mut call = call(address, &format!("u{number}"), &id);
            assert_eq!(client.json()["correlation_id"], id);
            client.say(&more(&id, "before"));
            // Half of them have read it.
            if number % 2 == 0 {
                let text = call.next_text().unwrap();
                assert!(text.contains("before"), "{text}");
            }
            calls.push(call);
        }
        // What has been said has to be on its way.
        for number in (1..USERS).step_by(2) {
            super::wait_until("it has been said", || {
                !calls[number].is_silent(Duration::from_millis(1))
            });
        }
        let stopping = thread::spawn(move || gateway.stop());
        for client in &mut users {
            assert_eq!(closed(client), (1001, "Server shutdown".to_owned()));
        }
        for (number, call) in calls.iter_mut().enumerate() {
            let id = json!(number);
            if number % 2 == 0 {
                let end = json!({ "error": "Server shutdown", "correlation_id": id });
                assert_eq!(call.until_end(), [end]);
            } else {
                check_ended(call, &id);
            }
        }
        drop(users);
        assert!(stopping.join().unwrap() < Duration::from_secs(5));
    }
}

#[test]
fn a_stop_does_not_wait_for_answers() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| {
            config.server.drain_timeout = Duration::from_secs(20);
        });
        let address = gateway.address;
        let alice = user(address, "alice");
        let mut calls: Vec<_> = (0..10)
            .map(|id| call(address, "alice", &json!(id)))
            .collect();
        drop(alice);
        let reader = thread::spawn(move || {
            calls
                .iter_mut()
                .map(|call| call.until_end().len())
                .collect::<Vec<_>>()
        });
        assert!(gateway.stop() < Duration::from_secs(10));
        assert_eq!(reader.join().unwrap(), [1; 10]);
    }
}

#[test]
fn a_caller_who_reads_nothing_does_not_hold_up_the_stop() {
    let gateway = gateway(3, |config| {
        config.section_mut::<BridgeSettings>().max_answer_bytes = 64 << 20;
    });
    let address = gateway.address;
    let mut alice = user(address, "alice");
    let _call = call(address, "alice", &json!("c"));
    let large = more(&json!("c"), "x".repeat(500_000)).to_string();
    let answer = frame(0x81, large.as_bytes());
    for _ in 0..20 {
        alice.send_bytes(&answer);
    }
    // `drain_timeout` is 2 s.
    assert!(gateway.stop() < Duration::from_secs(10));
}

#[test]
fn the_program_stops_with_streams_open_and_without_an_error() {
    for shards in ["1", "3"] {
        let process = Process::start(&["--shards", shards]);
        let address = process.address;
        let mut users: Vec<_> = (0..10).map(|n| user(address, &format!("u{n}"))).collect();
        let mut calls: Vec<_> = (0..10)
            .map(|number| call(address, &format!("u{number}"), &json!(number)))
            .collect();
        for client in &mut users {
            client.json();
        }
        process.signal("TERM");
        for (number, call) in calls.iter_mut().enumerate() {
            let end = json!({ "error": "Server shutdown", "correlation_id": number });
            assert_eq!(call.until_end(), [end]);
        }
        for client in &mut users {
            assert_eq!(closed(client), (1001, "Server shutdown".to_owned()));
        }
        drop((users, calls));
        let (status, log) = process.finish(Duration::from_secs(10));
        assert!(status.success(), "{status}: {log}");
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    }
}

#[test]
fn requests_that_come_while_the_gateway_stops_are_answered_or_refused_in_time() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let mut alice = user(address, "alice");
        // Connections that are there already, whose requests come late.
        let idle: Vec<_> = (0..20).map(|_| Socket::connect(address).unwrap()).collect();
        let stopping = thread::spawn(move || gateway.stop());
        assert_eq!(closed(&mut alice).0, 1001);
        let body = json!({ "user_id": "alice", "data": {} }).to_string();
        let request = format!(
            "POST /sse/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let began = Instant::now();
        for mut stream in idle {
            let mut client = {
                let _ = stream.write_all(request.as_bytes());
                Client::reading(stream)
            };
            // Whatever it is, the connection ends.
            client.wait_for_end();
        }
        assert!(began.elapsed() < Duration::from_secs(10));
        drop(alice);
        assert!(stopping.join().unwrap() < Duration::from_secs(10));
    }
}

#[test]
fn users_who_come_while_the_gateway_stops_are_answered_before_they_are_closed() {
    for shards in [1, 3] {
        for _ in 0..3 {
            let gateway = gateway(shards, |_| {});
            let address = gateway.address;
            let threads: Vec<_> = (0..4)
                .map(|thread| thread::spawn(move || come_until_refused(address, thread)))
                .collect();
            thread::sleep(Duration::from_millis(50));
            gateway.stop();
            super::join(threads);
        }
    }
}

/// Connects again and again until nobody listens. Whatever comes of it begins with an answer.
fn come_until_refused(address: std::net::SocketAddr, thread: usize) {
    for number in 0.. {
        let Ok(mut stream) = Socket::connect(address) else {
            return;
        };
        let request = format!(
            "GET /ws?user_id=u{thread}.{number} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let _ = stream.write_all(request.as_bytes());
        stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
        let mut start = [0; 9];
        // A connection that nobody has accepted any more is reset.
        let read = std::io::Read::read(&mut stream, &mut start).unwrap_or(0);
        let is_answer = b"HTTP/1.1 ".starts_with(&start[..read]);
        assert!(is_answer, "{:x?}", &start[..read]);
    }
}
