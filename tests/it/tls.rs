//! TLS: what is refused and how it is told, what many handshakes cost others, and certificates.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, HandshakeKind};

use self::support::{Authority, HEALTH, PATIENCE, Secure, Secured, connect};
use crate::support::{Process, RaiseOnDrop, frame};

const UPGRADE: &[u8] =
    b"GET /debug/echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Upgrades to the echo endpoint.
fn upgrade(client: &mut Secure) {
    client.write_all(UPGRADE).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
}

/// Reads to the end of a plain socket, whichever way it ends.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return all,
            Ok(read) => all.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("the connection does not end: {error}"),
        }
    }
}

#[test]
fn r06_a_plain_request_to_a_port_of_tls_is_told_so() {
    let gateway = Secured::start("plain", |_, _| {});
    for request in [HEALTH, UPGRADE, b"POST / HTTP/1.1\r\n", b"x"] {
        let mut stream = TcpStream::connect(gateway.tls).unwrap();
        stream.write_all(request).unwrap();
        let answer = String::from_utf8(rest(&mut stream)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            answer.contains("this port speaks TLS: use https:// or wss://"),
            "{answer}"
        );
    }
    assert_eq!(gateway.metric("refused_total{reason=\"plaintext\"}"), 4);
    gateway.check_alive();
}

#[test]
fn r06_garbage_is_refused_and_costs_only_its_sender() {
    let gateway = Secured::start("garbage", |_, _| {});
    let garbage: Vec<u8> = (0..64 * 1024_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let with = |begin: &[u8]| [begin, &garbage].concat();
    for (what, bytes) in [
        (
            "a record of the largest length",
            with(&[22, 3, 1, 255, 255]),
        ),
        ("a hello that is none", with(&[22, 3, 1, 64, 0])),
        (
            "a hello of 16 MiB",
            with(&[22, 3, 1, 64, 0, 1, 255, 255, 255]),
        ),
        ("data before the handshake", with(&[23, 3, 3, 64, 0])),
        ("a change of ciphers", [20, 3, 3, 0, 1, 1].repeat(1000)),
        ("empty records", [22, 3, 1, 0, 0].repeat(10_000)),
        ("empty records of data", [23, 3, 3, 0, 0].repeat(10_000)),
        ("a fatal alert", vec![21, 3, 3, 0, 2, 2, 40]),
        ("warnings", [21, 3, 1, 0, 2, 1, 90].repeat(1000)),
        ("SSL 2", with(&[128, 46, 1, 0, 2])),
        ("a PROXY header", with(b"\r\n\r\n\0\r\nQUIT\n")),
    ] {
        let mut stream = TcpStream::connect(gateway.tls).unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let answer = rest(&mut stream);
        // Nothing but alerts.
        assert!(answer.is_empty() || answer[0] == 21, "{what}: {answer:?}");
    }
    gateway.check_alive();
    assert!(gateway.metric("refused_total{reason=\"tls_handshake\"}") >= 8);
    assert_eq!(gateway.metric("tls_handshakes_open"), 0);
}

#[test]
fn r06_a_hello_in_pieces_is_read() {
    let gateway = Secured::start("pieces", |_, _| {});
    for (fragment, piece) in [(1, 6), (100, 7), (16_000, 1)] {
        let config = gateway.authority.client(None);
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(config.into(), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let records = hello[5..].chunks(fragment).flat_map(|part| {
            let len = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1, len[0], len[1]], part].concat()
        });
        let mut stream = TcpStream::connect(gateway.tls).unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in records.collect::<Vec<u8>>().chunks(piece) {
            stream.write_all(piece).unwrap();
        }
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        while client.is_handshaking() {
            client.complete_io(&mut stream).unwrap();
        }
        let mut client = Secure::new(client, stream);
        upgrade(&mut client);
    }
}

/// Sockets of which half have begun a handshake and half have not.
fn stalled(gateway: &Secured, count: usize) -> Vec<TcpStream> {
    let sockets = (0..count).map(|number| {
        let mut stream = TcpStream::connect(gateway.tls).unwrap();
        if number % 2 == 0 {
            stream
                .write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])
                .unwrap();
        }
        stream
    });
    sockets.collect()
}

#[test]
fn r06_stalled_handshakes_are_gone_at_their_deadline() {
    let gateway = Secured::start("stalled", |config, _| {
        config.tls.handshake_timeout = Duration::from_secs(3);
    });
    let mut sockets = stalled(&gateway, 500);
    // Others are not kept waiting.
    gateway.check_alive();
    for socket in &mut sockets {
        assert!(rest(socket).is_empty());
    }
    assert_eq!(gateway.metric("refused_total{reason=\"timeout\"}"), 500);
    assert_eq!(gateway.metric("tls_handshakes_open"), 0);
}

#[test]
fn r06_the_oldest_handshake_makes_room() {
    let gateway = Secured::start("evicted", |config, _| {
        config.tls.max_handshakes = 16;
        config.tls.handshake_timeout = Duration::from_secs(60);
    });
    let mut sockets = stalled(&gateway, 16);
    let deadline = Instant::now() + PATIENCE;
    while gateway.metric("tls_handshakes_open") < 16 {
        assert!(Instant::now() < deadline, "they are accepted");
        thread::sleep(Duration::from_millis(5));
    }
    gateway.check_alive();
    assert!(rest(&mut sockets[0]).is_empty());
    assert_eq!(gateway.metric("refused_total{reason=\"evicted\"}"), 1);
    assert_eq!(gateway.metric("tls_handshakes_open"), 15);
}

/// What makes room for others by the limit of all connections that have not upgraded is no handshake any more.
#[test]
fn r06_an_evicted_connection_ends_its_handshake() {
    let gateway = Secured::start("outer", |config, _| {
        config.server.max_handshakes = 16;
        config.tls.max_handshakes = 16;
        config.tls.handshake_timeout = Duration::from_secs(60);
        config.server.handshake_timeout = Duration::from_secs(60);
    });
    let mut sockets = stalled(&gateway, 64);
    for socket in &mut sockets[..40] {
        assert!(rest(socket).is_empty());
    }
    drop(sockets);
    let deadline = Instant::now() + PATIENCE;
    while gateway.metric("tls_handshakes_open") > 0 {
        assert!(Instant::now() < deadline, "none is left");
        thread::sleep(Duration::from_millis(5));
    }
    gateway.check_alive();
}

/// Whether `openssl s_client` has completed its handshake.
fn is_connected(said: &str) -> bool {
    let fails = ["Cipher is (NONE)", "no peer certificate available"];
    said.contains("Verify return code: 0 (ok)") && !fails.iter().any(|it| said.contains(it))
}

#[test]
fn r07_versions_and_ciphers_are_those_of_today() {
    let gateway = Secured::start("versions", |_, _| {});
    for (arguments, is_accepted) in [
        (&["-tls1_2"][..], true),
        (&["-tls1_3"], true),
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], false),
        (&["-tls1", "-cipher", "ALL:@SECLEVEL=0"], false),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            true,
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
            true,
        ),
        // Without forward secrecy, without authenticated encryption, export and none.
        (
            &[
                "-tls1_2",
                "-cipher",
                "AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0",
            ],
            false,
        ),
        (
            &[
                "-tls1_2",
                "-cipher",
                "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0",
            ],
            false,
        ),
        (&["-tls1_2", "-cipher", "DHE:@SECLEVEL=0"], false),
        (&["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"], false),
        (&["-tls1_2", "-cipher", "NULL:@SECLEVEL=0"], false),
        (&["-groups", "X25519"], true),
        (&["-groups", "P-256"], true),
        (&["-groups", "P-384"], true),
        (&["-alpn", "http/1.1"], true),
        (&["-alpn", "h2,http/1.1"], true),
        (&["-alpn", "h2"], false),
    ] {
        let said = gateway.openssl(arguments, "");
        assert_eq!(is_connected(&said), is_accepted, "{arguments:?}: {said}");
    }
    let said = gateway.openssl(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "");
    assert!(said.contains("alert handshake failure"), "{said}");
    let said = gateway.openssl(&["-alpn", "h2"], "");
    assert!(said.contains("no application protocol"), "{said}");
    let said = gateway.openssl(&["-alpn", "h2,http/1.1"], "");
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    gateway.check_alive();
}

#[test]
fn r07_the_lowest_version_can_be_raised() {
    let gateway = Secured::start("raised", |config, _| {
        config.tls.min_version = fanfare::config::TlsVersion::Tls13;
    });
    assert!(is_connected(&gateway.openssl(&["-tls1_3"], "")));
    let said = gateway.openssl(&["-tls1_2"], "");
    assert!(said.contains("alert protocol version"), "{said}");
}

#[test]
fn r07_a_session_is_not_negotiated_again() {
    let gateway = Secured::start("renegotiated", |_, _| {});
    // `R`: renegotiate. The session stays as it was, or ends.
    let said = gateway.openssl(&["-tls1_2"], "R\n");
    assert!(is_connected(&said), "{said}");
    let refused = [
        "no renegotiation",
        "handshake failure",
        "unexpected message",
    ];
    assert!(
        refused.iter().any(|why| said.contains(why))
            || said.contains("Secure Renegotiation IS NOT supported"),
        "{said}"
    );
    assert_eq!(gateway.metric("tls_handshakes_total"), 1);
    gateway.check_alive();
}

#[test]
fn r07_no_early_data_is_taken() {
    let gateway = Secured::start("early", |_, _| {});
    // Tickets come behind the handshake, so that it waits for an answer.
    let request = String::from_utf8(HEALTH.to_vec()).unwrap();
    let with = |more: &[&'static str]| [&["-tls1_3", "-ign_eof"][..], more].concat();
    let said = gateway.openssl(&with(&["-sess_out", "session"]), &request);
    assert!(said.contains("HTTP/1.1 200 "), "{said}");
    assert!(said.contains("Max Early Data: 0"), "{said}");
    gateway.authority.write("early", &request);
    let said = gateway.openssl(
        &with(&["-sess_in", "session", "-early_data", "early"]),
        &request,
    );
    assert!(said.contains("Early data was not sent"), "{said}");
    assert!(said.contains("HTTP/1.1 200 "), "{said}");
}

#[test]
fn r07_a_session_is_resumed_for_its_own_name_only() {
    let gateway = Secured::start("resumed", |_, _| {});
    let request = String::from_utf8(HEALTH.to_vec()).unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let with = |name: &'static str, more: &[&'static str]| {
            let first = [version, "-ign_eof", "-servername", name];
            gateway.openssl(&[&first, more].concat(), &request)
        };
        let said = with("a.example", &["-sess_out", "session"]);
        assert!(said.contains("New, TLS"), "{said}");
        let said = with("a.example", &["-sess_in", "session"]);
        assert!(said.contains("Reused, TLS"), "{said}");
        let said = with("localhost", &["-sess_in", "session"]);
        assert!(
            said.contains("New, TLS") && said.contains("HTTP/1.1 200 "),
            "{said}"
        );
    }
    assert_eq!(gateway.metric("tls_resumptions_total"), 2);
    assert_eq!(gateway.metric("tls_handshakes_total"), 6);
}

#[test]
fn r07_certificates_of_clients_are_checked() {
    use fanfare::config::ClientCertificates::{Optional, Required};
    for (asked, name) in [(Optional, "optional"), (Required, "required")] {
        let gateway = Secured::start(name, |config, authority| {
            config.tls.client_certificates = asked;
            config.tls.client_ca_file = Some(authority.directory.join("ca.pem"));
        });
        let authority = &gateway.authority;
        let foreign = Authority::new(&format!("foreign-{name}"));
        let good = authority.issue(&["ann"], |_| {});
        let expired = authority.issue(&["ann"], |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        });
        let unknown = foreign.issue(&["ann"], |_| {});
        for (own, is_accepted) in [
            (Some(&good), true),
            (None, asked == Optional),
            (Some(&expired), false),
            (Some(&unknown), false),
        ] {
            // With TLS 1.3 a client learns only behind its handshake that it is refused.
            let answer =
                connect(gateway.tls, "localhost", authority.client(own)).and_then(|mut client| {
                    client.write_all(HEALTH)?;
                    let mut answer = String::new();
                    client.read_to_string(&mut answer).map(|_| answer)
                });
            let is_served = answer
                .as_ref()
                .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "));
            assert_eq!(is_served, is_accepted, "{asked:?}: {answer:?}");
        }
    }
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let gateway = Secured::start("names", |config, authority| {
        for (file, names) in [
            ("b", &["b.example"][..]),
            ("c", &["*.c.example", "127.0.0.1"]),
        ] {
            let issued = authority.issue(names, |_| {});
            let (certificate, key) = authority.put(file, &issued);
            config.tls.certificate_file.push(certificate);
            config.tls.key_file.push(key);
        }
    });
    let try_with = |name| connect(gateway.tls, name, gateway.authority.client(None));
    for name in ["localhost", "a.example", "b.example", "x.c.example"] {
        try_with(name).unwrap();
    }
    // The first is for all others; whoever asks for an address names none.
    for name in ["c.example", "other.example", "127.0.0.1"] {
        let error = try_with(name).unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "{error}");
    }
}

#[test]
fn what_ends_says_so() {
    let gateway = Secured::start("ends", |config, _| {
        config.http.keep_alive_timeout = Duration::from_millis(300);
        config.websocket.ping_interval = Duration::from_secs(1);
        config.websocket.ping_timeout = Duration::from_secs(1);
    });
    // rustls fails a read at the end of a socket without close_notify.
    let mut client = gateway.connect();
    upgrade(&mut client);
    client.write_all(&frame(0x88, &[3, 232])).unwrap();
    let mut rest = Vec::new();
    client
        .read_to_end(&mut rest)
        .expect("close_notify behind the close frame");
    assert_eq!(rest, [0x88, 2, 3, 232]);
    let mut client = gateway.connect();
    client
        .write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut rest = String::new();
    client
        .read_to_string(&mut rest)
        .expect("close_notify behind an answer");
    assert!(rest.starts_with("HTTP/1.1 404 "), "{rest}");
    let mut client = gateway.connect();
    client.write_all(b"\0\r\n\r\n").unwrap();
    let mut rest = String::new();
    client
        .read_to_string(&mut rest)
        .expect("close_notify behind a refusal");
    assert!(rest.starts_with("HTTP/1.1 400 "), "{rest}");
    let mut client = gateway.connect();
    client
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut rest = String::new();
    client
        .read_to_string(&mut rest)
        .expect("close_notify of an idle connection");
    assert!(rest.starts_with("HTTP/1.1 200 "), "{rest}");
    let mut client = gateway.connect();
    upgrade(&mut client);
    client.conn.send_close_notify();
    client.flush().unwrap();
    client
        .read_to_end(&mut Vec::new())
        .expect("close_notify after the client's");
    // It answers no ping.
    let mut client = gateway.connect();
    upgrade(&mut client);
    client
        .read_to_end(&mut Vec::new())
        .expect("close_notify to one that is silent");
}

#[test]
fn messages_of_any_size_go_both_ways() {
    let gateway = Secured::start("sizes", |_, _| {});
    let mut client = gateway.connect();
    upgrade(&mut client);
    for size in [
        0, 1, 125, 126, 16_383, 16_384, 16_385, 65_535, 65_536, 200_000, 900_000,
    ] {
        let payload: Vec<u8> = (0..size).map(|at: usize| (at * 7) as u8).collect();
        client.write_all(&frame(0x82, &payload)).unwrap();
        let header = match size {
            0..=125 => 2,
            126..=65_535 => 4,
            _ => 10,
        };
        let mut read = vec![0; header + size];
        client.read_exact(&mut read).unwrap();
        assert!(read[header..] == payload, "{size} bytes");
        if size % 2 == 1 {
            client.conn.refresh_traffic_keys().unwrap();
        }
    }
}

/// Both sides at once, each with more than sockets hold.
#[test]
fn a_client_that_reads_late_gets_all() {
    let gateway = Secured::start("late", |_, _| {});
    let mut client = gateway.connect();
    upgrade(&mut client);
    let payload = vec![7; 100_000];
    // The outbox takes them, and the rest of them is not read from the socket.
    for _ in 0..5 {
        client.write_all(&frame(0x82, &payload)).unwrap();
    }
    thread::sleep(Duration::from_millis(300));
    for _ in 0..5 {
        let mut read = vec![0; 10 + payload.len()];
        client.read_exact(&mut read).unwrap();
        assert!(read[10..] == payload);
    }
}

#[test]
fn a_proxy_header_comes_before_the_handshake() {
    let gateway = Secured::start("proxy", |config, _| {
        config.server.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
        config.server.max_connections_per_ip = 1;
    });
    let client = |from: &str| {
        let mut stream = TcpStream::connect(gateway.tls).unwrap();
        write!(stream, "PROXY TCP4 {from} 10.0.0.1 1 443\r\n").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let config = gateway.authority.client(None).into();
        let mut client = ClientConnection::new(config, name).unwrap();
        while client.is_handshaking() {
            client.complete_io(&mut stream).unwrap();
        }
        Secure::new(client, stream)
    };
    let mut clients = [client("192.0.2.1"), client("192.0.2.2")];
    clients.iter_mut().for_each(upgrade);
    let mut third = client("192.0.2.1");
    third.write_all(UPGRADE).unwrap();
    let mut answer = [0; 13];
    third.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503 ");
}

#[test]
fn plain_requests_are_redirected() {
    let gateway = Secured::start("redirected", |config, _| {
        config.server.redirect_http = Some("127.0.0.1:0".parse().unwrap());
    });
    let redirect = gateway.redirect.unwrap();
    for (request, location) in [
        (
            format!("GET /a?b=c HTTP/1.1\r\nHost: {redirect}\r\n\r\n"),
            format!("https://{}/a?b=c", gateway.tls),
        ),
        (
            "POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
            "https://a.example/a".to_owned(),
        ),
        (
            String::from_utf8_lossy(UPGRADE).into_owned(),
            "https://localhost/debug/echo".to_owned(),
        ),
    ] {
        let mut stream = TcpStream::connect(redirect).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let answer = String::from_utf8(rest(&mut stream)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
        assert!(
            answer.contains(&format!("\r\nlocation: {location}\r\n")),
            "{answer}"
        );
    }
}

#[test]
fn a_ticket_is_good_for_one_more_handshake_and_a_changed_certificate() {
    let gateway = Secured::start("tickets", |_, _| {});
    let mut config = gateway.authority.client(None);
    config.resumption = Resumption::in_memory_sessions(8);
    let visit = || {
        let mut client = connect(gateway.tls, "localhost", config.clone()).unwrap();
        client.write_all(HEALTH).unwrap();
        client.read_to_string(&mut String::new()).unwrap();
        client.conn.handshake_kind().unwrap()
    };
    assert_eq!(visit(), HandshakeKind::Full);
    assert_eq!(visit(), HandshakeKind::Resumed);
    let issued = gateway.authority.issue(&["localhost"], |_| {});
    gateway.authority.put("server", &issued);
    let before = gateway.connect();
    let shown = |client: &Secure| client.conn.peer_certificates().unwrap()[0].clone();
    // Without a signal, within the second.
    let deadline = Instant::now() + PATIENCE;
    while shown(&gateway.connect()) == shown(&before) {
        assert!(Instant::now() < deadline, "the new certificate is not used");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(visit(), HandshakeKind::Resumed);
}

/// 100 changes of the certificate while clients connect: no handshake fails, and a file that is no certificate changes
/// nothing.
#[test]
fn r07_certificates_change_under_load() {
    let authority = Authority::new("reload");
    let put = || {
        let issued = authority.issue(&["localhost"], |_| {});
        authority.put("server", &issued)
    };
    let (certificate, key) = put();
    let process = Process::with(
        &["--listen", "https://127.0.0.1:0"],
        &[
            (
                "FANFARE_TLS__CERTIFICATE_FILE",
                certificate.to_str().unwrap(),
            ),
            ("FANFARE_TLS__KEY_FILE", key.to_str().unwrap()),
        ],
    );
    let address = process.addresses[1];
    let connect = || connect(address, "localhost", authority.client(None));
    let shown = |client: &Secure| client.conn.peer_certificates().unwrap()[0].clone();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = RaiseOnDrop(&is_over);
        let clients = [(); 2].map(|()| {
            scope.spawn(|| {
                let (mut count, mut seen) = (0, Vec::new());
                while !is_over.load(Ordering::Relaxed) {
                    let mut client = connect().expect("a handshake");
                    client.write_all(HEALTH).unwrap();
                    client
                        .read_to_string(&mut String::new())
                        .expect("an answer");
                    seen.push(shown(&client));
                    seen.dedup();
                    count += 1;
                }
                (count, seen.len())
            })
        });
        for _ in 0..100 {
            put();
            process.signal("HUP");
            thread::sleep(Duration::from_millis(20));
        }
        drop(over);
        for client in clients {
            let (count, certificates) = client.join().unwrap();
            assert!(count > 0 && certificates > 1, "{count} {certificates}");
        }
    });
    let before = shown(&connect().unwrap());
    authority.write(
        "server.crt",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    process.signal("HUP");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(shown(&connect().unwrap()), before);
    process.signal("TERM");
    let (_, log) = process.finish(PATIENCE);
    assert!(log.contains("the certificates have changed"), "{log}");
    let told = log
        .lines()
        .find(|line| line.contains("the certificates stay as they were"));
    assert!(
        told.is_some_and(|line| line.contains("server.crt")),
        "{log}"
    );
}
