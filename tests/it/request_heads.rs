//! Request heads that are too much, too slow, or that two readers could read
//! in two ways (hostile-inputs.md H01 to H09, H16 to H19).

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use fanfare::config::Secret;

use crate::support::{
    Client, Process, Response, Socket, TestGateway, metric, read_response, request,
};

/// A request that must not be answered when it stands behind a refused one.
const SECOND: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// A request that can be upgraded, without the empty line at its end.
const UPGRADE: &str = "GET /debug/echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends `bytes` with another request behind them: there is one response, with this status, and
/// the connection ends.
#[track_caller]
fn check_last(address: SocketAddr, bytes: &str, status: u16) -> Response {
    let response = request(address, format!("{bytes}{SECOND}").as_bytes());
    let short: String = bytes.chars().take(300).collect();
    assert_eq!(response.status, status, "{short:?}: {response:?}");
    assert_eq!(response.count(), 1, "{short:?}: {response:?}");
    assert!(response.closed, "{short:?}: {response:?}");
    assert_eq!(response.header("connection"), Some("close"), "{short:?}");
    response
}

/// A connection with a deadline for what is read from it.
fn connect(address: SocketAddr) -> Socket {
    let stream = Socket::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

#[test]
fn h01_a_header_of_20_mb_is_refused_at_the_limit_and_costs_little() {
    let mut gateway = Process::start(&["--shards", "1"]);
    gateway.check_alive();
    let (rss, cpu) = (gateway.rss(), gateway.cpu());
    for piece in [1024, 4096] {
        for _ in 0..10 {
            let mut stream = connect(gateway.address);
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
                .unwrap();
            let piece = vec![b'x'; piece];
            let pieces = 20_000_000 / piece.len();
            let taken = (0..pieces)
                .take_while(|_| stream.write_all(&piece).is_ok())
                .count();
            assert!(taken < pieces, "it is not read to its end");
            let response = read_response(&mut stream);
            assert!(matches!(response.status, 0 | 431), "{response:?}");
            assert!(response.closed);
        }
    }
    assert!(gateway.cpu() - cpu < Duration::from_secs(3));
    assert!(gateway.rss() < rss + (8 << 20));
    gateway.check_alive();
}

#[test]
fn h02_a_legal_head_dripped_byte_by_byte_is_taken_and_costs_little() {
    let gateway = Process::start(&["--shards", "1"]);
    let mut stream = connect(gateway.address);
    stream.set_nodelay(true).unwrap();
    let filler = "x".repeat(15_900 - UPGRADE.len());
    let cpu = gateway.cpu();
    for byte in format!("{UPGRADE}X: {filler}\r\n\r\n").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    // Some microseconds a read; parsing again from the start each time costs a hundred times that.
    assert!(gateway.cpu() - cpu < Duration::from_secs(3));
}

#[test]
fn h03_too_many_headers_are_refused_however_many() {
    let gateway = TestGateway::start();
    for count in [100, 101, 2000, 100_000] {
        let head = format!("{UPGRADE}{}\r\n", "a:b\r\n".repeat(count));
        check_last(gateway.address, &head, 431);
    }
    let fits = format!(
        "GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "a:b\r\n".repeat(98)
    );
    assert_eq!(request(gateway.address, fits.as_bytes()).status, 200);
}

#[test]
fn h04_a_request_line_has_a_limit_with_an_end_and_without() {
    let gateway = TestGateway::start();
    let long = "x".repeat(64 * 1024);
    check_last(
        gateway.address,
        &format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        431,
    );
    for endless in [&long, "\r\n", "\n", "\0"] {
        let bytes = endless.repeat(64 * 1024 / endless.len());
        let response = request(gateway.address, bytes.as_bytes());
        assert!(response.count() <= 1, "{response:?}");
        assert!(matches!(response.status, 0 | 400 | 431), "{response:?}");
    }
}

#[test]
fn h05_crawling_heads_meet_an_absolute_deadline_and_good_clients_do_not_notice() {
    let gateway = TestGateway::with(|config| {
        config.server.handshake_timeout = Duration::from_millis(700);
    });
    let mut crawlers: Vec<Socket> = (0..200).map(|_| connect(gateway.address)).collect();
    for crawler in &mut crawlers {
        crawler.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    }
    // Each byte would renew a deadline that only looks at silence.
    let mut rounds = 0;
    while crawlers
        .iter_mut()
        .filter_map(|it| it.write_all(b"x").ok())
        .count()
        > 0
    {
        let mut client = Client::echo(gateway.address);
        client.send(0x81, b"hello");
        assert_eq!(client.next().unwrap().payload, b"hello");
        rounds += 1;
        assert!(rounds < 200, "somebody is still waited for");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(
        metric(gateway.address, "refused_total{reason=\"timeout\"}"),
        200
    );
}

#[test]
fn h05_beyond_the_limit_of_handshakes_the_oldest_gives_way() {
    let gateway = TestGateway::with(|config| config.server.max_handshakes = 16);
    let mut crawlers: Vec<Socket> = (0..40)
        .map(|_| {
            let mut stream = connect(gateway.address);
            stream.write_all(b"GET / HT").unwrap();
            stream
        })
        .collect();
    let mut client = Client::echo(gateway.address);
    client.send(0x81, b"hello");
    assert_eq!(client.next().unwrap().payload, b"hello");
    let mut end = [0; 1];
    for oldest in &mut crawlers[..24] {
        assert!(matches!(oldest.read(&mut end), Ok(0) | Err(_)));
    }
    // The youngest is still there.
    let youngest = crawlers.last_mut().unwrap();
    youngest.write_all(b"TP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(youngest.read(&mut end).unwrap(), 1);
}

#[test]
fn h06_who_says_nothing_or_not_enough_is_let_go() {
    let gateway = TestGateway::with(|config| {
        config.server.handshake_timeout = Duration::from_millis(200);
        config.websocket.message_timeout = Duration::from_millis(200);
        config.http.keep_alive_timeout = Duration::from_millis(300);
    });
    for (said, status) in [
        ("", 408),
        ("GET / HTTP/1.1\r\n", 408),
        // A body that never comes, plain and in chunks.
        (
            "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
            408,
        ),
        (
            "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
            408,
        ),
        // A second request that does not come.
        (SECOND, 200),
    ] {
        let mut stream = connect(gateway.address);
        stream.write_all(said.as_bytes()).unwrap();
        let response = read_response(&mut stream);
        assert!(response.closed, "{said:?}: {response:?}");
        assert_eq!(
            (response.status, response.count()),
            (status, 1),
            "{said:?}: {response:?}"
        );
    }
}

#[test]
fn h07_every_ambiguous_head_gets_one_400_and_the_end() {
    let gateway = TestGateway::start();
    let lengths = [
        "Content-Length: 0\r\nContent-Length: 0",
        "Content-Length: 0\r\nContent-Length: 37",
        "Content-Length: 0\r\nX: y\r\ncontent-length: 0",
        "Content-Length: 0, 0",
        "Content-Length: 0,37",
        "Content-Length: +0",
        "Content-Length: +10",
        "Content-Length: -0",
        "Content-Length: -1",
        "Content-Length: 0x0",
        "Content-Length: 0.0",
        "Content-Length: 1e1",
        "Content-Length: 0 0",
        "Content-Length: 0;x",
        "Content-Length: \"0\"",
        "Content-Length: ",
        "Content-Length:",
        "Content-Length: x",
        "Content-Length: \u{660}",
        "Content-Length: 18446744073709551615",
        "Content-Length: 18446744073709551616",
        "Content-Length: 99999999999999999999999999",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;x",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: ",
        "Transfer-Encoding: \u{b}chunked",
    ];
    let malformed = [
        "X: a\r\n b",
        "X: a\r\n\tb",
        "Content-Length:\r\n 0",
        "Transfer-Encoding:\r\n chunked",
        " X: a",
        "\tX: a",
        "X : a",
        "X\t: a",
        "Content-Length : 0",
        "Transfer-Encoding : chunked",
        "X",
        ": a",
        ":",
        "X: a\0",
        "X\0: a",
        "Transfer-Encoding: chunked\0",
        "X: a\rY: b",
        "X: a\nY: b",
        "X: a\nContent-Length: 5",
        "X: a\n",
        "\nX: a",
        "X: a\u{1}",
        "X: a\u{7f}",
        "X\u{e9}: a",
        "X(: a",
        "X\u{b}: a",
        "X{}: a",
        "X[0]: a",
        "X@: a",
        "X,Y: a",
        "X=: a",
        "X\"Y\": a",
        "X/Y: a",
        "X;Y: a",
        "X Y: a",
    ];
    let mut mutants = Vec::new();
    for header in lengths.into_iter().chain(malformed) {
        mutants.push(format!(
            "GET /health HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n"
        ));
        mutants.push(format!(
            "POST /api/v1/events HTTP/1.1\r\n{header}\r\nHost: x\r\nY: z\r\n\r\n"
        ));
    }
    for line in [
        "GET /health",
        "GET  /health HTTP/1.1",
        "GET /health  HTTP/1.1",
        "GET /health HTTP/1.1 ",
        " GET /health HTTP/1.1",
        "GET\t/health\tHTTP/1.1",
        "GET /health HTTP/1.2",
        "GET /health HTTP/2.0",
        "GET /health HTTP/0.9",
        "GET /health http/1.1",
        "GET /health HTTP/1.10",
        "GET /health HTTP/01.1",
        "GET /hea lth HTTP/1.1",
        "GET /hea\0lth HTTP/1.1",
        "GET /hea\u{7f}lth HTTP/1.1",
        "GET /health\rX HTTP/1.1",
        "G\u{e9}T /health HTTP/1.1",
        "GET: /health HTTP/1.1",
        "/health HTTP/1.1",
    ] {
        mutants.push(format!("{line}\r\nHost: x\r\n\r\n"));
    }
    mutants.push("GET /health HTTP/1.1\nHost: x\r\n\r\n".to_owned());
    mutants.push("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned());
    assert!(mutants.len() >= 120, "{}", mutants.len());
    for mutant in &mutants {
        check_last(gateway.address, mutant, 400);
    }
}

#[test]
fn h07_chunked_bodies_that_two_readers_could_read_in_two_ways_are_the_end() {
    let gateway = TestGateway::with(|config| {
        config.websocket.message_timeout = Duration::from_millis(500);
    });
    let event = r#"{"event":"x","data":1}"#;
    let size = format!("{:x}", event.len());
    let long = "x".repeat(1 << 20);
    for body in [
        format!("10000000000000000{size}\r\n{event}\r\n0\r\n\r\n"),
        format!("ffffffffffffffff\r\n{event}\r\n0\r\n\r\n"),
        format!("fffffffffffffffffffff\r\n{event}\r\n0\r\n\r\n"),
        format!("-{size}\r\n{event}\r\n0\r\n\r\n"),
        format!("+{size}\r\n{event}\r\n0\r\n\r\n"),
        format!("0x{size}\r\n{event}\r\n0\r\n\r\n"),
        format!("{size}\n{event}\r\n0\r\n\r\n"),
        format!("{size}\r\n{event}\n0\r\n\r\n"),
        format!("{size}\r\n{event}0\r\n\r\n"),
        format!("{size};a\nb\r\n{event}\r\n0\r\n\r\n"),
        format!("{size};{long}\r\n{event}\r\n0\r\n\r\n"),
        format!(" {size}\r\n{event}\r\n0\r\n\r\n"),
        format!("\r\n{event}\r\n0\r\n\r\n"),
        format!("{size}\r\n{event}xx\r\n0\r\n\r\n"),
    ] {
        let head = "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bytes = format!("{head}{body}{SECOND}");
        let response = request(gateway.address, bytes.as_bytes());
        let short: String = body.chars().take(60).collect();
        assert!(response.count() <= 1, "{short:?}: {response:?}");
        assert!(
            // 408: a chunk of 2^64 - 1 bytes is legal, and does not come.
            matches!(response.status, 0 | 400 | 408 | 413),
            "{short:?}: {response:?}"
        );
        assert!(response.closed, "{short:?}: {response:?}");
    }
    // A legal one is answered, and is the last one of its connection as well.
    let legal = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         {size};a=b\r\n{event}\r\n0\r\n\r\n"
    );
    check_last(gateway.address, &legal, 202);
    assert_eq!(metric(gateway.address, "publications_total"), 1);
}

#[test]
fn h08_what_follows_a_refused_upgrade_is_never_answered() {
    let gateway = TestGateway::with(|config| config.server.max_connections_per_ip = 1);
    let _only = Client::echo(gateway.address);
    let with = |from: &str, to: &str| {
        assert!(UPGRADE.contains(from));
        format!("{}\r\n", UPGRADE.replace(from, to))
    };
    for (upgrade, status) in [
        (with("13", "12"), 426),
        (with("dGhl", ""), 400),
        (with("GET", "POST"), 405),
        (with("websocket", "h2c"), 400),
        (with("Connection: Upgrade", "Connection: keep-alive"), 400),
        (with("/debug/echo", "/nowhere"), 404),
        (with("/debug/echo", "/health"), 200),
        // No room: the address has its one connection.
        (with("/debug/echo", "/debug/echo"), 503),
    ] {
        check_last(gateway.address, &upgrade, status);
    }
}

#[test]
fn h08_what_follows_an_accepted_upgrade_is_frames_only() {
    let gateway = TestGateway::start();
    let mut early = Client::connect_with(gateway.address, "/debug/echo", "");
    early.send_bytes(SECOND.as_bytes());
    assert_eq!(early.until_close(), Some(1002));
    assert_eq!(early.next(), None);
    // The same in one piece with the request.
    let response = request(gateway.address, format!("{UPGRADE}\r\n{SECOND}").as_bytes());
    assert_eq!((response.status, response.count()), (101, 1));
    // A frame right behind the request is a frame.
    let hello = b"\x81\x85\0\0\0\0hello\x88\x80\0\0\0\0";
    let response = request(
        gateway.address,
        &[UPGRADE.as_bytes(), b"\r\n", hello].concat(),
    );
    assert_eq!(response.status, 101);
    assert!(response.body.contains("hello"), "{response:?}");
}

#[test]
fn a_request_is_answered_whatever_follows_it() {
    let gateway = TestGateway::start();
    for (next, status) in [
        ("\x16\x03\x01", 400),
        ("X : y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX : y\r\n\r\n", 400),
    ] {
        let response = request(gateway.address, format!("{SECOND}{next}").as_bytes());
        assert_eq!(
            (response.status, response.count()),
            (200, 2),
            "{next:?}: {response:?}"
        );
        let second = format!("HTTP/1.1 {status}");
        assert!(
            response.body.contains(&second) && response.closed,
            "{next:?}: {response:?}"
        );
    }
}

#[test]
fn h09_a_body_of_an_upgrade_is_never_taken_for_frames() {
    let gateway = TestGateway::start();
    let frame = "\u{1}\u{1}\0\0\0\0\0\0\0\0";
    for header in [
        "Content-Length: 10",
        "Content-Length: 1",
        "Transfer-Encoding: chunked",
    ] {
        let response = check_last(
            gateway.address,
            &format!("{UPGRADE}{header}\r\n\r\n{frame}"),
            400,
        );
        assert!(!response.body.contains("websocket"), "{response:?}");
    }
    let mut empty = Client::connect_with(gateway.address, "/debug/echo", "Content-Length: 0\r\n");
    empty.send(0x81, b"first");
    assert_eq!(empty.next().unwrap().payload, b"first");
}

/// Other spellings of a path, for a gateway that decodes, folds or cuts.
fn spellings(path: &str) -> Vec<String> {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let upper = path.to_uppercase();
    vec![
        format!("/{path}"),
        format!("{parent}//{name}"),
        format!("{path}/"),
        format!("{path};x"),
        format!("{path};/"),
        format!("{path}%00"),
        format!("{path}%20"),
        format!("{path}%23"),
        format!("{path}%3F"),
        format!("{path}/."),
        format!("{path}/x/.."),
        format!("{parent}/./{name}"),
        format!("{parent}/x/../{name}"),
        format!("{parent}/%2e/{name}"),
        format!("{parent}/%2e%2e/v1/{name}"),
        format!("{parent}%2F{name}"),
        format!("{parent}%2f{name}"),
        format!("{parent}\\{name}"),
        format!("{parent}/%{:02x}{}", name.as_bytes()[0], &name[1..]),
        upper,
    ]
}

#[test]
fn h16_no_spelling_of_a_guarded_path_avoids_its_credentials() {
    let gateway = TestGateway::with(|config| {
        config.clients.auth_required = true;
        config.auth.jwt_secret = Secret::new(*b"0123456789abcdef0123456789abcdef");
    });
    let body = r#"{"event":"x","data":1}"#;
    let post = |target: &str| {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        request(gateway.address, format!("{head}{body}").as_bytes()).status
    };
    assert_eq!(post("/api/v1/events"), 401);
    for target in ["http://x/api/v1/events", "/api/v1/events?x=/../y"] {
        assert_eq!(post(target), 401, "{target}");
    }
    assert_eq!(post("/api/v1/events#x"), 400);
    for target in spellings("/api/v1/events") {
        let status = post(&target);
        assert!(matches!(status, 400 | 401 | 404), "{target}: {status}");
    }
    for target in spellings("/api/v1/ws") {
        let upgrade = UPGRADE.replace("/debug/echo", &target);
        check_last(gateway.address, &format!("{upgrade}\r\n"), 404);
    }
    let mut refused = Client::connect(gateway.address, "/api/v1/ws");
    assert_eq!(refused.json()["type"], "error");
    assert_eq!(refused.until_close(), Some(1008));
    assert_eq!(metric(gateway.address, "publications_total"), 0);
}

#[test]
fn h17_host_is_one_and_names_a_host() {
    let gateway = TestGateway::start();
    for hosts in [
        "",
        "Host: x\r\nHost: x\r\n",
        "Host: x\r\nhost: y\r\n",
        "Host: a@b\r\n",
        "Host: a/b\r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
    ] {
        let upgrade = UPGRADE.replace("Host: x\r\n", hosts);
        check_last(gateway.address, &format!("{upgrade}\r\n"), 400);
    }
}

#[test]
fn h17_a_claimed_address_never_counts() {
    let gateway = TestGateway::with(|config| config.server.max_connections_per_ip = 2);
    let _one = Client::echo(gateway.address);
    let _two = Client::connect_with(
        gateway.address,
        "/debug/echo",
        "X-Forwarded-For: 203.0.113.7\r\n",
    );
    let claims = [
        "X-Forwarded-For: 203.0.113.8",
        "X-Forwarded-For: 203.0.113.8, 127.0.0.1",
        "Forwarded: for=203.0.113.8",
        "X-Real-IP: 203.0.113.8",
        "True-Client-IP: 203.0.113.8",
        "CF-Connecting-IP: 203.0.113.8",
        "X-Client-IP: 203.0.113.8",
    ];
    for claim in claims {
        let response = check_last(gateway.address, &format!("{UPGRADE}{claim}\r\n\r\n"), 503);
        assert_eq!(response.header("retry-after"), Some("1"));
    }
    assert_eq!(
        metric(gateway.address, "refused_total{reason=\"per_ip\"}"),
        claims.len() as u64
    );
}

#[test]
fn h18_a_proxy_header_is_a_bad_request() {
    let gateway = TestGateway::with(|config| {
        config.server.handshake_timeout = Duration::from_millis(300);
    });
    for line in [
        "PROXY TCP4 203.0.113.8 127.0.0.1 56324 443\r\n",
        "PROXY TCP6 2001:db8::1 ::1 56324 443\r\n",
        "PROXY UNKNOWN\r\n",
    ] {
        check_last(gateway.address, &format!("{line}{SECOND}"), 400);
    }
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x08\x7f\0\0\x01\xdc\x04\x01\xbb";
    let whole = [&v2[..], SECOND.as_bytes()].concat();
    let response = request(gateway.address, &whole);
    assert_eq!((response.status, response.count()), (400, 1));
    assert!(response.closed);
    // Of a truncated one no more is waited for: no request begins like this.
    let mut stream = connect(gateway.address);
    stream.write_all(&v2[..14]).unwrap();
    let response = read_response(&mut stream);
    assert_eq!((response.status, response.count()), (400, 1));
    assert!(response.closed);
}

#[test]
fn h19_http_2_is_not_spoken() {
    let gateway = TestGateway::start();
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";
    check_last(gateway.address, preface, 400);
    let h2c = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n\
               Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    // The offer is passed over (case H14): what follows is HTTP/1.1.
    let response = request(gateway.address, format!("{h2c}{SECOND}").as_bytes());
    assert_eq!(
        (response.status, response.count()),
        (200, 2),
        "{response:?}"
    );
}

/// A head that comes whole is read without hyper, one that comes in pieces by hyper.
#[test]
fn an_upgrade_in_pieces_is_answered_like_a_whole_one() {
    let toml = "[server]\nshards = 1\n[http]\nallowed_origins = [\"https://ours\"]\n";
    let gateway = TestGateway::from_toml(toml, |_| {});
    let path = |path: &str| UPGRADE.replace("/debug/echo", path);
    let with = |header: &str| format!("{UPGRADE}{header}\r\n");
    let requests = [
        (UPGRADE.to_owned(), 101),
        (path("/api/v1/ws?format=msgpack&x=%41"), 101),
        (path("/ws?user_id=ann"), 101),
        (with("Content-Length: 0"), 101),
        (with("X:\t a \t\r\nx: \u{e9}"), 101),
        (UPGRADE.replace("Connection: Upgrade\r\n", ""), 400),
        (UPGRADE.replace("Version: 13", "Version: 12"), 426),
        (with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        (with("Origin: https://theirs"), 403),
        (with("Origin: https://ours"), 101),
        (path("/nowhere"), 404),
        (path("/health"), 200),
        (path("/a b"), 400),
        (with(" folded: a"), 400),
        (UPGRADE.replace("HTTP/1.1", "HTTP/1.0"), 400),
        (UPGRADE.replace("Host: x\r\n", ""), 400),
    ];
    let health = || {
        let head = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        request(gateway.address, head)
    };
    for (request, status) in requests {
        let answer = |pieces: &[&[u8]]| {
            let mut stream = connect(gateway.address);
            stream.set_nodelay(true).unwrap();
            for (number, piece) in pieces.iter().enumerate() {
                // One that is refused may have gone already.
                let _ = stream.write_all(piece);
                if number == 0 && pieces.len() > 1 {
                    // Whoever comes later is answered: the shard has read the first piece by then.
                    assert_eq!(health().status, 200);
                }
            }
            let mut text = Vec::new();
            while !text.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut byte = [0];
                assert_eq!(stream.read(&mut byte).unwrap(), 1, "{request:?}");
                text.push(byte[0]);
            }
            if status != 101 {
                stream.read_to_end(&mut text).unwrap();
            }
            let text = String::from_utf8(text).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with("date:"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let bytes = format!("{request}\r\n");
        let whole = answer(&[bytes.as_bytes()]);
        let said = whole[0].split(' ').nth(1);
        assert_eq!(said, Some(&*status.to_string()), "{request:?}: {whole:?}");
        let pieces: Vec<&[u8]> = bytes.as_bytes().chunks(1).collect();
        assert_eq!(answer(&pieces), whole, "{request:?}");
    }
}
