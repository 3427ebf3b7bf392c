//! Where a client is said to come from, and who is believed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::net::SendFlags;

use crate::support::{
    Client, Process, Response, Socket, TestGateway, metric, needs_plaintext, read_response,
    request, request_on,
};

const UPGRADE: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A gateway that lets one connection of each address in, and believes these
/// networks about addresses.
fn gateway(proxy_protocol_from: &[&str], forwarded_from: &[&str]) -> TestGateway {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    TestGateway::with(|config| {
        config.server.max_connections_per_ip = 1;
        config.server.proxy_protocol_from = networks(proxy_protocol_from);
        config.server.forwarded_from = networks(forwarded_from);
        config.server.handshake_timeout = Duration::from_secs(4);
    })
}

/// A connection on which `preamble` comes before anything else, and in one segment with it.
fn behind(address: SocketAddr, preamble: &[u8]) -> Socket {
    let tcp = TcpStream::connect(address).unwrap();
    rustix::net::send(&tcp, preamble, SendFlags::MORE).unwrap();
    Socket::over(tcp).unwrap()
}

/// Asks for an upgrade behind `preamble` and with `headers`; a connection or the refusal.
fn ask(address: SocketAddr, preamble: &[u8], headers: &str) -> Result<Client, Response> {
    let mut stream = behind(address, preamble);
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let head = format!("GET /api/v1/ws/demo HTTP/1.1\r\n{UPGRADE}{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = Vec::new();
    let _ = (&mut stream).take(12).read_to_end(&mut start);
    if start == b"HTTP/1.1 101" {
        Ok(Client::answered_from(stream, &start))
    } else {
        Err(read_response(&mut start.chain(stream)))
    }
}

/// Let in, as the first connection of its address.
#[track_caller]
fn enters(address: SocketAddr, preamble: &[u8], headers: &str) -> Client {
    ask(address, preamble, headers).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

/// Refused with this status.
#[track_caller]
fn refused(address: SocketAddr, preamble: &[u8], headers: &str, status: u16) {
    match ask(address, preamble, headers) {
        Ok(_) => panic!("let in"),
        Err(refusal) => assert_eq!(
            (refusal.status, refusal.closed),
            (status, true),
            "{refusal:?}"
        ),
    }
}

fn v1(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 10.0.0.1 40000 80\r\n").into_bytes()
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
        &[command, family],
        &len,
        rest,
    ]
    .concat()
}

/// Version 2 for a client at 192.0.2.`last`.
fn v2_from(last: u8) -> Vec<u8> {
    v2(0x21, 0x11, &[192, 0, 2, last, 10, 0, 0, 1, 1, 1, 0, 80])
}

#[test]
fn h17_what_strangers_say_about_their_address_counts_for_nothing() {
    let gateway = gateway(&[], &["10.0.0.0/8"]);
    let _first = enters(gateway.address, b"", "");
    for header in [
        "X-Forwarded-For",
        "Forwarded",
        "X-Real-IP",
        "X-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
    ] {
        for value in [
            "192.0.2.1",
            "for=192.0.2.1",
            "10.0.0.1",
            "::1",
            "127.0.0.2, 10.0.0.1",
            "",
        ] {
            refused(gateway.address, b"", &format!("{header}: {value}\r\n"), 503);
        }
    }
    assert_eq!(
        metric(gateway.address, "refused_total{reason=\"per_ip\"}"),
        36
    );
}

#[test]
fn h17_a_trusted_proxys_word_counts_and_what_its_client_wrote_before_it_does_not() {
    let gateway = gateway(&[], &["127.0.0.1/32", "10.0.0.0/8"]);
    let xff = |value: &str| format!("X-Forwarded-For: {value}\r\n");
    let _first = enters(gateway.address, b"", &xff("192.0.2.1"));
    for spoof in [
        "192.0.2.1",
        "198.51.100.1, 192.0.2.1",
        "198.51.100.2, 192.0.2.1, 10.1.2.3",
        "127.0.0.1, 192.0.2.1:4711, 10.1.2.3",
        "garbage\", 192.0.2.1",
        "\u{e9}, 192.0.2.1",
    ] {
        refused(gateway.address, b"", &xff(spoof), 503);
        refused(
            gateway.address,
            b"",
            &format!("{}X-Forwarded-For: 10.0.0.7\r\n", xff(spoof)),
            503,
        );
    }
    // The other header is the client's own.
    refused(
        gateway.address,
        b"",
        &format!("{}Forwarded: for=198.51.100.1\r\n", xff("192.0.2.1")),
        503,
    );
    let _second = enters(gateway.address, b"", &xff("192.0.2.1, 192.0.2.2"));
    let _ipv6 = enters(gateway.address, b"", &xff("2001:db8::1"));
    refused(gateway.address, b"", &xff("2001:db8::2"), 503);
    // Who says nothing is the proxy.
    let _proxy = enters(gateway.address, b"", "");
    refused(gateway.address, b"", &xff("unknown"), 503);
}

#[test]
fn h18_a_proxys_header_names_the_client() {
    let gateway = gateway(&["127.0.0.0/8"], &[]);
    let _first = enters(gateway.address, &v1("192.0.2.1"), "");
    refused(gateway.address, &v1("192.0.2.1"), "", 503);
    refused(gateway.address, &v2_from(1), "", 503);
    let _second = enters(gateway.address, &v2_from(2), "");
    // It is not a proxy that is believed about others.
    refused(
        gateway.address,
        &v2_from(2),
        "X-Forwarded-For: 192.0.2.3\r\n",
        503,
    );
    // A proxy that speaks for itself.
    let _proxy = enters(gateway.address, &v2(0x20, 0, b""), "");
    refused(gateway.address, b"PROXY UNKNOWN\r\n", "", 503);
    // Requests that are answered come the same way, and so do frames at once behind them.
    let health = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let stream = behind(gateway.address, &v1("192.0.2.9"));
    assert_eq!(request_on(stream, health).status, 200);
}

#[test]
fn h18_a_header_cut_anywhere_is_read() {
    let gateway = gateway(&["127.0.0.1/32"], &[]);
    for (number, header) in [v1("192.0.2.7"), v2_from(8)].into_iter().enumerate() {
        let mut tcp = TcpStream::connect(gateway.address).unwrap();
        tcp.set_nodelay(true).unwrap();
        let head = format!("GET /api/v1/ws/demo HTTP/1.1\r\n{UPGRADE}\r\n");
        for byte in &header {
            tcp.write_all(&[*byte]).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        let mut stream = Socket::over(tcp).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let _client = Client::answered(stream).expect("an upgrade");
        refused(
            gateway.address,
            &v2_from(7 + u8::try_from(number).unwrap()),
            "",
            503,
        );
    }
}

#[test]
fn h18_a_trusted_peer_without_a_whole_header_is_refused_in_time() {
    if needs_plaintext("what is refused comes before TLS") {
        return;
    }
    let gateway = gateway(&["127.0.0.1/32"], &[]);
    let too_long = v2(0x21, 0x11, &[0; 521]);
    for wrong in [
        &b""[..],
        b"PROXY TCP4 192.0.2.1 10.0.0.1 40000\r\n",
        b"PROXY TCP4 2001:db8::1 10.0.0.1 1 2\r\n",
        b"proxy",
        &[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(),
        &v2(0x21, 0x11, &[0; 11]),
        &v2(0x22, 0x11, &[0; 12]),
        &v2(0x21, 0x12, &[0; 12]),
        &too_long,
        // No more of it is read than says how long it is.
        &too_long[..16],
    ] {
        refused(gateway.address, wrong, "", 400);
    }
    let wrongs = metric_behind_proxy(&gateway, "refused_total{reason=\"handshake\"}");
    assert_eq!(wrongs, 10);
    // Truncated: there is a deadline, for nothing at all, too.
    for cut in [
        &b""[..],
        &v2_from(1)[..3],
        &v2_from(1)[..20],
        b"PROXY TCP4 192",
    ] {
        let mut stream = TcpStream::connect(gateway.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(cut).unwrap();
        let answer = read_response(&mut stream);
        assert_eq!((answer.status, answer.closed), (408, true), "{answer:?}");
    }
    assert_eq!(
        metric_behind_proxy(&gateway, "refused_total{reason=\"timeout\"}"),
        4
    );
}

/// A metric of a gateway that wants a header from this machine.
fn metric_behind_proxy(gateway: &TestGateway, name: &str) -> u64 {
    let head = b"GET /metrics?format=prometheus HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = request(gateway.address, &[&v2(0x20, 0, b"")[..], head].concat());
    let mut lines = answer.body.lines();
    let value = lines.find_map(|line| {
        line.strip_prefix("fanfare_")?
            .strip_prefix(name)?
            .strip_prefix(' ')
    });
    value
        .unwrap_or_else(|| panic!("{answer:?}"))
        .parse()
        .unwrap()
}

#[test]
fn h18_an_untrusted_peers_header_is_a_bad_request_and_its_address_is_logged_nowhere() {
    if needs_plaintext("what is refused comes before TLS") {
        return;
    }
    let process = Process::with(
        &["--shards", "1"],
        &[
            (
                "FANFARE_SERVER__PROXY_PROTOCOL_FROM",
                "10.0.0.0/8, fd00::/8",
            ),
            ("FANFARE_LOG__LEVEL", "trace"),
        ],
    );
    let header = [
        v1("203.0.113.77"),
        v2(0x21, 0x11, &[203, 0, 113, 77, 10, 0, 0, 1, 1, 1, 0, 80]),
    ];
    for header in header {
        refused(process.address, &header, "", 400);
    }
    process.signal("TERM");
    let (status, log) = process.finish(Duration::from_secs(15));
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("203.0.113"), "{log}");
}

#[test]
fn a_proxy_that_is_not_believed_is_named_once_in_the_log() {
    for (variables, expected) in [
        (&[][..], 1),
        (&[("FANFARE_SERVER__FORWARDED_FROM", "127.0.0.1/32")][..], 0),
    ] {
        let process = Process::with(&["--shards", "2"], variables);
        for _ in 0..3 {
            enters(process.address, b"", "X-Forwarded-For: 192.0.2.1\r\n");
        }
        let stream =
            "GET /api/v1/sse?topics=news HTTP/1.1\r\nHost: x\r\nForwarded: for=192.0.2.1\r\n\r\n";
        request(process.address, stream.as_bytes());
        process.signal("TERM");
        let (_, log) = process.finish(Duration::from_secs(15));
        let lines = log.matches("add it to server.forwarded_from").count();
        assert_eq!(lines, expected, "{log}");
    }
}
