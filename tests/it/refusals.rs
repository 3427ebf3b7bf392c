//! What a client sees of a refusal, whatever it was sending (cases H1, H2, H8, H12 to H15).

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fanfare::config::{Mode, Secret};
use serde_json::json;

use crate::support::{
    Client, EventStream, Process, Response, Socket, TestGateway, metric, needs_plaintext,
    read_response, request,
};

/// How long something that happens at once may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A gateway that asks for credentials.
fn strict() -> TestGateway {
    TestGateway::with(|config| {
        config.clients.auth_required = true;
        config.auth.jwt_secret = Secret::new(*b"a secret that is long enough, is it");
    })
}

fn connect(address: SocketAddr) -> Socket {
    let stream = Socket::connect(address).unwrap();
    stream.set_read_timeout(Some(AT_ONCE)).unwrap();
    stream
}

/// Sends `head` and then `body` in pieces, all of it, before it looks for an answer, as many clients do.
#[track_caller]
fn post_before_reading(address: SocketAddr, head: &str, body: &[u8]) -> Response {
    let mut stream = connect(address);
    stream.write_all(head.as_bytes()).unwrap();
    for (number, piece) in body.chunks(64 * 1024).enumerate() {
        if let Err(error) = stream.write_all(piece) {
            panic!("piece {number}: {error}");
        }
        // It is refused long before the end.
        if number < 10 {
            thread::sleep(Duration::from_millis(10));
        }
    }
    read_response(&mut stream)
}

#[test]
fn case_h1_a_client_that_sends_all_of_a_refused_body_sees_the_status() {
    let (strict, open) = (strict(), TestGateway::start());
    let body = vec![b' '; 5_000_000];
    let chunk = format!("{:x}\r\n", body.len());
    let chunked = [chunk.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let length = format!("Content-Length: {}", body.len());
    let chunks = "Transfer-Encoding: chunked";
    let post = "POST /api/v1/events";
    let upgrade = "GET /api/v1/ws";
    for (gateway, line, status) in [
        (&strict, post, 401),
        (&open, post, 413),
        (&open, "POST /nowhere", 404),
        (&open, "POST /health", 405),
        (&open, upgrade, 400),
        (&open, "GET /api/v1/sse?topics=a", 400),
    ] {
        for (header, body) in [(&*length, &body), (chunks, &chunked)] {
            let more = match line == upgrade {
                true => "Upgrade: websocket\r\nConnection: Upgrade\r\n",
                false => "",
            };
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{more}{header}\r\n\r\n");
            let response = post_before_reading(gateway.address, &head, body);
            assert_eq!(response.status, status, "{head}: {response:?}");
            assert_eq!(response.header("connection"), Some("close"), "{head}");
            assert_eq!(response.count(), 1, "{head}");
        }
    }
}

#[test]
fn case_h1_a_body_that_is_thrown_away_has_a_limit() {
    let gateway = strict();
    let mut stream = connect(gateway.address);
    let head = "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![b' '; 1 << 20];
    let taken = (0..1000).take_while(|_| stream.write_all(&piece).is_ok());
    assert!(taken.count() < 100, "it is not read to its end");
    // Who sends nothing more is not waited for.
    let mut stream = connect(gateway.address);
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).status, 401);
    let began = Instant::now();
    while stream.write_all(b"x").is_ok() {
        assert!(began.elapsed() < Duration::from_secs(60));
        // Longer than the gateway bears silence.
        thread::sleep(Duration::from_millis(5500));
    }
}

#[test]
fn case_h1_a_small_body_that_is_refused_costs_no_connection() {
    let gateway = strict();
    let mut stream = connect(gateway.address);
    for _ in 0..3 {
        let post = "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(post.as_bytes()).unwrap();
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

#[test]
fn case_h2_what_is_announced_as_too_large_is_refused_before_any_of_it() {
    let gateway = TestGateway::start();
    for path in [
        "/api/v1/events",
        "/api/v1/events/batch",
        "/api/v1/publish",
        "/sse/push",
    ] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let began = Instant::now();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n{expect}\r\n"
            );
            let response = request(gateway.address, head.as_bytes());
            assert_eq!(response.status, 413, "{head}: {response:?}");
            assert_eq!(response.count(), 1, "{head}: {response:?}");
            assert!(response.closed, "{head}");
            assert!(began.elapsed() < AT_ONCE);
        }
    }
    // What is taken is asked for.
    let head = "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\
        Expect: 100-continue\r\n\r\n";
    assert_eq!(request(gateway.address, head.as_bytes()).status, 100);
}

#[test]
fn case_h8_every_answer_has_a_date() {
    let gateway = TestGateway::with(|config| {
        config.server.handshake_timeout = Duration::from_secs(3);
        config.websocket.message_timeout = Duration::from_secs(3);
    });
    let large = "x".repeat(20_000);
    for (bytes, status) in [
        ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 200),
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 404),
        ("GET /api/v1/ws HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 426),
        ("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 401),
        (
            "GET /ws?user_id=a HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            426,
        ),
        (
            "GET /api/v1/sse HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET /api/v1/sse?topics=a HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            200,
        ),
        ("GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n".to_owned(), 400),
        (
            "GET / HTTP/1.1\r\nHost: x\r\n%: \u{1}\r\n\r\n".to_owned(),
            400,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: x\r\nX: {large}\r\n\r\n"),
            431,
        ),
        ("GET / HTTP/1.1\r\n".to_owned(), 408),
        (
            "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{".to_owned(),
            408,
        ),
        ("\x16\x03\x01".to_owned(), 400),
    ] {
        let response = request(gateway.address, bytes.as_bytes());
        assert_eq!(response.status, status, "{bytes}: {response:?}");
        let date = response
            .header("date")
            .unwrap_or_else(|| panic!("{bytes}: {response:?}"));
        // RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
        assert_eq!(response.head.to_lowercase().matches("\r\ndate:").count(), 1);
    }
}

#[test]
fn case_h8_the_answer_to_who_is_no_proxy_has_a_date() {
    if needs_plaintext("what is refused comes before TLS") {
        return;
    }
    let gateway = TestGateway::with(|config| {
        config.server.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let response = request(gateway.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(response.status, 400);
    assert!(response.header("date").is_some(), "{response:?}");
}

#[test]
fn case_h12_a_load_balancer_may_ask_with_options() {
    for mode in [Mode::Demo, Mode::Prod] {
        let gateway = TestGateway::in_mode(mode, |config| {
            config.auth.jwt_secret = Secret::new(*b"a secret that is long enough, is it");
        });
        for line in [
            "OPTIONS / HTTP/1.0\r\n",
            "OPTIONS / HTTP/1.1\r\nHost: x\r\n",
            "OPTIONS * HTTP/1.0\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n",
            "OPTIONS /health HTTP/1.0\r\n",
            "OPTIONS /health/live HTTP/1.0\r\n",
            "OPTIONS /health/ready HTTP/1.0\r\n",
        ] {
            let response = request(gateway.address, format!("{line}\r\n").as_bytes());
            assert_eq!(response.status, 200, "{mode} {line}: {response:?}");
        }
        let other = request(gateway.address, b"OPTIONS /nowhere HTTP/1.0\r\n\r\n");
        assert_eq!(other.status, 404, "{mode}");
    }
}

#[test]
fn case_h13_tls_on_the_plain_port_is_refused_at_once_and_said_once() {
    if needs_plaintext("it speaks TLS to a plain port") {
        return;
    }
    let process = Process::start(&["--shards", "1"]);
    for _ in 0..3 {
        let began = Instant::now();
        let mut stream = connect(process.address);
        // A ClientHello, of which more is to come.
        stream
            .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            .unwrap();
        let response = read_response(&mut stream);
        assert!(response.closed, "{response:?}");
        assert!(response.body.contains("not TLS"), "{response:?}");
        assert!(began.elapsed() < AT_ONCE);
    }
    // What is no request either is not waited for.
    for bytes in [
        &b"\x80\x2e\x01\x03"[..],
        b"\0\0\0\x10",
        b"\x10\x0c\0\x04MQTT",
        b"{\"type\"",
    ] {
        let mut stream = connect(process.address);
        stream.write_all(bytes).unwrap();
        let response = read_response(&mut stream);
        assert_eq!((response.status, response.closed), (400, true), "{bytes:?}");
    }
    assert_eq!(metric(process.address, "refused_total{reason=\"tls\"}"), 3);
    assert_eq!(
        metric(process.address, "refused_total{reason=\"handshake\"}"),
        4
    );
    process.signal("TERM");
    let (status, log) = process.finish(Duration::from_secs(10));
    assert!(status.success());
    assert_eq!(log.matches("TLS to this port").count(), 1, "{log}");
}

#[test]
fn case_h14_an_offer_of_another_protocol_is_passed_over() {
    let gateway = TestGateway::start();
    let mut stream = connect(gateway.address);
    let body = r#"{"event":"a","data":1}"#;
    let offers = [
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        "Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
        "Upgrade: h2c, foo/1\r\n",
    ];
    for offer in offers {
        for request in [
            format!(
                "POST /api/v1/events HTTP/1.1\r\nHost: x\r\n{offer}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            format!("GET /health HTTP/1.1\r\nHost: x\r\n{offer}\r\n"),
            format!("GET /api/v1/ws/connections HTTP/1.1\r\nHost: x\r\n{offer}\r\n"),
        ] {
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = [0; 4096];
            let read = stream.read(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]);
            assert!(answer.starts_with("HTTP/1.1 20"), "{request}: {answer}");
            assert!(!answer.contains("connection: close"), "{request}: {answer}");
        }
    }
    // A stream of events is none of HTTP/2 either.
    let mut stream = EventStream::connect_with(gateway.address, "topics=a", offers[0]);
    stream.take_opening();
}

#[test]
fn case_h15_a_byte_order_mark_is_passed_over_and_codings_are_refused() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    client.subscribe(&["a"]);
    let bodies = [
        ("/api/v1/events", r#"{"event":"a","data":1}"#),
        ("/api/v1/events/batch", r#"[{"event":"a","data":1}]"#),
        ("/api/v1/publish", r#"{"topic":"a","event":"a","data":1}"#),
        ("/sse/push", r#"{"user_id":"u","data":{}}"#),
        ("/sse/push/batch", r#"[{"user_id":"u","data":{}}]"#),
    ];
    for (path, body) in bodies {
        let post = |headers: &str, body: &str| {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
                 Content-Type: application/json\r\n{headers}\r\n{body}",
                body.len()
            );
            request(gateway.address, head.as_bytes())
        };
        let plain = post("", body);
        let marked = post("", &format!("\u{feff}{body}"));
        assert_eq!(marked.status, plain.status, "{path}: {marked:?} {plain:?}");
        assert_eq!(
            post("Content-Encoding: identity\r\n", body).status,
            plain.status
        );
        for coding in [
            "gzip",
            "GZIP",
            "br",
            "deflate",
            "identity, gzip",
            "identity\r\nContent-Encoding: zstd",
        ] {
            let refused = post(&format!("Content-Encoding: {coding}\r\n"), body);
            assert_eq!(refused.status, 415, "{path} {coding}: {refused:?}");
            assert_eq!(refused.header("accept-encoding"), Some("identity"));
            let detail = refused.json()["detail"].to_string();
            assert!(detail.contains("identity"), "{detail}");
        }
        // One mark is passed over, and no more.
        let twice = post("", &format!("\u{feff}\u{feff}{body}"));
        assert_eq!(twice.status, 422, "{path}: {twice:?}");
    }
    assert_eq!(client.json()["data"], json!(1));
}
