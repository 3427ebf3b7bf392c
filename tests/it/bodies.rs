//! What the bodies of requests and answers may hold in the whole process (hostile-inputs.md H05, R02).

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::SockRef;

use crate::support::{Response, Socket, TestGateway, metric, read_response, request};

/// Far more than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is sent to publish `bytes` of data.
fn publication(bytes: usize) -> Vec<u8> {
    let body = json!({ "topic": "t", "payload": "x".repeat(bytes) }).to_string();
    let head = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head, body].concat().into_bytes()
}

fn get(address: SocketAddr, path: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    request(address, head.as_bytes())
}

/// Asks until the status is this one.
#[track_caller]
fn until_status(status: u16, ask: impl Fn() -> Response) -> Response {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.status == status {
            return answer;
        }
        assert!(Instant::now() < deadline, "never {status}: {answer:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn check_refusal(address: SocketAddr, answer: &Response) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
    assert!(
        answer.body.contains("`http.max_buffered_bytes`"),
        "{answer:?}"
    );
    let limited = metric(address, "limited_total{reason=\"max_buffered_bytes\"}");
    assert!(limited > 0);
}

#[test]
fn unfinished_bodies_have_a_total_and_the_next_one_is_refused_until_they_end() {
    let gateway = TestGateway::with(|config| {
        config.http.max_body_size = 64 * 1024;
        config.http.max_buffered_bytes = 100_000;
    });
    let ask = || request(gateway.address, &publication(60_000));
    let held = || metric(gateway.address, "http_body_bytes");
    for finishes in [true, false] {
        let bytes = publication(60_000);
        let mut stream = Socket::connect(gateway.address).unwrap();
        stream.write_all(&bytes[..bytes.len() - 1]).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while held() < 60_000 {
            assert!(Instant::now() < deadline, "{} bytes are held", held());
        }
        check_refusal(gateway.address, &until_status(503, ask));
        // Small ones and others go on.
        assert_eq!(request(gateway.address, &publication(10)).status, 202);
        assert_eq!(get(gateway.address, "/health").status, 200);
        if finishes {
            stream.write_all(b"}").unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(read_response(&mut stream).status, 202);
        }
        drop(stream);
        until_status(202, ask);
    }
    let deadline = Instant::now() + PATIENCE;
    while held() > 0 {
        assert!(Instant::now() < deadline, "{} bytes stay held", held());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_body_in_many_pieces_is_whole_and_one_of_the_largest_size_always_fits() {
    let gateway = TestGateway::with(|config| {
        // No whole number of segments.
        config.http.max_body_size = 65_001;
        config.http.max_buffered_bytes = 1024;
    });
    let mut body = json!({ "topic": "t", "payload": "é".repeat(30_000) }).to_string();
    body.push_str(&" ".repeat(65_001 - body.len()));
    let post = |body: &str| {
        let head = format!(
            "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = Socket::connect(gateway.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        for piece in body.as_bytes().chunks(9_999) {
            stream.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
        read_response(&mut stream).status
    };
    assert_eq!(post(&body), 202);
    body.push(' ');
    assert_eq!(post(&body), 413);
}

#[test]
fn answers_that_clients_do_not_take_have_a_total() {
    let gateway = TestGateway::from_toml("[hub]\nhistory_size = 100", |config| {
        config.http.max_body_size = 300_000;
        config.http.max_buffered_bytes = 300_000;
        config.server.send_buffer = 32 * 1024;
    });
    for _ in 0..10 {
        assert_eq!(request(gateway.address, &publication(20_000)).status, 202);
    }
    let path = "/api/v1/topics/t/history?limit=100";
    let ask = || get(gateway.address, path);
    assert_eq!(ask().status, 200);
    let mut slow = Socket::connect(gateway.address).unwrap();
    SockRef::from(&slow)
        .set_recv_buffer_size(16 * 1024)
        .unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    slow.write_all(head.as_bytes()).unwrap();
    check_refusal(gateway.address, &until_status(503, ask));
    assert_eq!(get(gateway.address, "/health").status, 200);
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    let taken = read_response(&mut slow);
    assert!(taken.status == 200 && taken.body.len() > 200_000);
    assert_eq!(ask().status, 200);
}
