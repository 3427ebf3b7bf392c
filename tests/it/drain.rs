//! The end of the gateway, as load balancers and clients that do not leave see it (cases H11 and C5).

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, EventStream, Process, Response, TestGateway, request};

fn get(address: SocketAddr, path: &str, headers: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    request(address, head.as_bytes())
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const READY: &str = "/health/ready";

/// Waits until the gateway says that it is not ready.
fn until_not_ready(address: SocketAddr) {
    let began = Instant::now();
    loop {
        match get(address, READY, "Connection: close\r\n").status {
            503 => return,
            status => assert_eq!(status, 200),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it is ready");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn case_h11_while_clients_are_closed_requests_are_answered_and_new_clients_are_refused() {
    for shards in [1, 3] {
        let gateway = TestGateway::with(|config| {
            config.server.shards = shards;
            config.server.drain_timeout = Duration::from_secs(30);
            config.websocket.close_timeout = Duration::from_secs(30);
        });
        let address = gateway.address;
        // It does not answer the close frame, and so is waited for.
        let stubborn = Client::events(address);
        let stopping = thread::spawn(move || gateway.stop());
        until_not_ready(address);
        // It is not ready from the moment it is told to stop, and closes connections a moment later, when its drain begins.
        while !get(address, READY, "").closed {}
        let began = Instant::now();
        let mut probes = 0;
        while began.elapsed() < Duration::from_millis(2500) {
            let ready = get(address, READY, "");
            assert_eq!((ready.status, ready.closed), (503, true), "{ready:?}");
            assert_eq!(get(address, "/health/live", "").status, 200);
            let options = request(address, b"OPTIONS / HTTP/1.0\r\n\r\n");
            assert_eq!(options.status, 503, "{options:?}");
            for (path, headers) in [
                ("/api/v1/ws", UPGRADE),
                ("/ws?user_id=u", UPGRADE),
                ("/debug/echo", UPGRADE),
                ("/api/v1/sse?topics=a", ""),
            ] {
                let refused = get(address, path, headers);
                assert_eq!(refused.status, 503, "{path}: {refused:?}");
                assert!(
                    refused.body.contains("The gateway is stopping"),
                    "{refused:?}"
                );
                assert_eq!(refused.header("retry-after"), Some("1"), "{refused:?}");
            }
            probes += 1;
        }
        assert!(probes > 0);
        drop(stubborn);
        assert!(stopping.join().unwrap() < Duration::from_secs(20));
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn case_h11_before_clients_are_closed_a_load_balancer_may_see_that_it_is_not_ready() {
    let gateway = TestGateway::with(|config| config.server.ready_delay = Duration::from_secs(4));
    let address = gateway.address;
    let mut client = Client::events(address);
    let began = Instant::now();
    let stopping = thread::spawn(move || gateway.stop());
    until_not_ready(address);
    // Whoever still comes is served until then.
    let mut late = Client::events(address);
    late.subscribe(&["a"]);
    assert_eq!(client.until_close(), Some(1001));
    assert!(began.elapsed() > Duration::from_millis(3900));
    assert_eq!(late.until_close(), Some(1001));
    drop((client, late));
    assert!(stopping.join().unwrap() < Duration::from_secs(15));
}

#[test]
fn case_c5_by_default_it_has_stopped_in_8_s_whatever_clients_do() {
    let process = Process::start(&["--shards", "2"]);
    let clients: Vec<Client> = (0..300).map(|_| Client::events(process.address)).collect();
    let began = Instant::now();
    process.signal("TERM");
    let (status, log) = process.finish(Duration::from_secs(14));
    assert!(status.success(), "{log}");
    assert!(
        began.elapsed() > Duration::from_secs(3),
        "they are waited for"
    );
    drop(clients);
}

/// Both kinds of connections, fewer than anybody would call a crowd.
#[test]
fn clients_are_closed_evenly_over_the_time_of_the_drain() {
    const CLIENTS: usize = 40;
    let limit = Duration::from_secs(6);
    let gateway = TestGateway::with(|config| {
        config.server.shards = 2;
        config.server.drain_timeout = limit;
    });
    let address = gateway.address;
    let ended = |wait: Box<dyn FnOnce() + Send>| {
        thread::spawn(move || {
            wait();
            Instant::now()
        })
    };
    let mut ends = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS / 2 {
        let mut socket = Client::events(address);
        ends.push(ended(Box::new(move || {
            assert_eq!(socket.until_close(), Some(1001));
        })));
        let mut stream = EventStream::subscribe(address, "topic=a");
        ends.push(ended(Box::new(move || while stream.block().is_some() {})));
    }
    let began = Instant::now();
    let stopping = thread::spawn(move || gateway.stop());
    let ends: Vec<Duration> = ends
        .into_iter()
        .map(|end| end.join().unwrap().duration_since(began))
        .collect();
    let mut quarters = [0; 4];
    for end in &ends {
        let quarter = end.as_millis() * 4 / limit.as_millis();
        quarters[usize::try_from(quarter).unwrap().min(3)] += 1;
    }
    assert!(
        quarters.iter().all(|&closes| closes <= CLIENTS * 3 / 4),
        "{quarters:?}"
    );
    // The last one leaves before the rest would be cut off.
    assert!(quarters[3] < CLIENTS / 2, "{quarters:?}");
    assert!(stopping.join().unwrap() < limit + Duration::from_secs(6));
}
