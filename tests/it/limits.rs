//! Limits on connections, deadlines of peers, and the end of the process.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Type};

use crate::support::{Client, Process, Socket, TestGateway, frame, request};

/// Far more than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(15);

const UPGRADE: &str = "GET /api/v1/ws/demo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Asks for an upgrade from one of the machine's loopback addresses; the
/// connection and the head of the answer.
fn upgrade(from: Ipv4Addr, address: SocketAddr) -> (Socket, String) {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddrV4::new(from, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = Socket::over(socket.into()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("an answer") > 0 {
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

fn is_welcome(head: &str) -> bool {
    if head.starts_with("HTTP/1.1 101 ") {
        return true;
    }
    let lower = head.to_ascii_lowercase();
    assert!(
        head.starts_with("HTTP/1.1 503 ") && lower.contains("\r\nretry-after: "),
        "{head}"
    );
    false
}

/// Tries until it is let in.
fn enter_at_last(from: Ipv4Addr, address: SocketAddr) -> Socket {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (stream, head) = upgrade(from, address);
        if is_welcome(&head) {
            return stream;
        }
        assert!(Instant::now() < deadline, "the place does not become free");
        thread::sleep(Duration::from_millis(10));
    }
}

fn get(address: SocketAddr, path: &str) -> Value {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    request(address, head.as_bytes()).json()
}

#[test]
fn h06_a_connection_that_says_nothing_has_no_buffers() {
    let process = Process::with(
        &["--shards", "1"],
        &[
            ("FANFARE_SERVER__PIN_THREADS", "false"),
            ("FANFARE_SERVER__HANDSHAKE_TIMEOUT", "60s"),
        ],
    );
    let connect = |_| Socket::connect(process.address).unwrap();
    // What the first ones leave in the allocator is not theirs.
    drop((0..100).map(connect).collect::<Vec<_>>());
    // The one that asks counts, too.
    await_metric(process.address, "/handshakes", 1);
    let before = process.rss();
    const COUNT: u64 = 2000;
    let _silent: Vec<Socket> = (0..COUNT).map(connect).collect();
    await_metric(process.address, "/handshakes", COUNT + 1);
    let each = process.rss().saturating_sub(before) / COUNT;
    // 15 KiB with buffers.
    assert!(each < 6 * 1024, "{each} bytes");
}

/// Waits until `path` of the metrics is `value`.
fn await_metric(address: SocketAddr, path: &str, value: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = get(address, "/metrics");
        if *metrics.pointer(path).unwrap() == value {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{path} is not {value}: {metrics}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Whether the gateway has closed a connection that it said nothing on.
fn is_closed(stream: &mut Socket, wait: Duration) -> bool {
    stream.set_read_timeout(Some(wait)).unwrap();
    match stream.read(&mut [0; 512]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn r08_connections_beyond_the_limit_are_refused_until_one_leaves() {
    let gateway = TestGateway::with(|config| {
        config.server.max_connections = 3;
        config.server.shards = 2;
    });
    let from = Ipv4Addr::LOCALHOST;
    let mut clients: Vec<_> = (0..3).map(|_| upgrade(from, gateway.address)).collect();
    assert!(clients.iter().all(|(_, head)| is_welcome(head)));
    for round in 0..6 {
        let (mut refused, head) = upgrade(from, gateway.address);
        assert!(!is_welcome(&head), "one too many: {head}");
        let _ = refused.write_all(b"x");
        assert_eq!(get(gateway.address, "/health")["connections"], 3);
        let (mut leaving, _) = clients.remove(0);
        match round % 3 {
            // With a word, without one, and with half a message.
            0 => leaving
                .write_all(&frame(0x88, &1000_u16.to_be_bytes()))
                .unwrap(),
            1 => {}
            _ => leaving.write_all(&frame(0x81, b"{ .. }")[..7]).unwrap(),
        }
        drop(leaving);
        clients.push((enter_at_last(from, gateway.address), String::new()));
    }
    assert!(get(gateway.address, "/metrics")["refused"]["connections"].as_u64() >= Some(6));
}

#[test]
fn r08_one_address_does_not_take_the_places_of_others() {
    let gateway = TestGateway::with(|config| {
        config.server.max_connections_per_ip = 2;
        config.server.shards = 2;
    });
    let (one, other) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let first = upgrade(one, gateway.address);
    let second = upgrade(one, gateway.address);
    assert!(is_welcome(&first.1) && is_welcome(&second.1));
    assert!(!is_welcome(&upgrade(one, gateway.address).1));
    assert!(is_welcome(&upgrade(other, gateway.address).1));
    drop(first);
    let _third = enter_at_last(one, gateway.address);
    assert!(!is_welcome(&upgrade(one, gateway.address).1));
    assert!(get(gateway.address, "/metrics")["refused"]["per_ip"].as_u64() >= Some(2));
}

#[test]
fn h06_two_thousand_silent_connections_delay_nobody_and_are_closed_in_time() {
    let gateway = TestGateway::with(|config| {
        config.server.handshake_timeout = Duration::from_secs(4);
        config.server.shards = 2;
    });
    let began = Instant::now();
    let mut silent: Vec<Socket> = (0..2000)
        .map(|number| {
            let mut stream = Socket::connect(gateway.address).unwrap();
            if number % 2 == 0 {
                // Half of them stop in the middle of a head.
                stream
                    .write_all(&UPGRADE.as_bytes()[..number % 100])
                    .unwrap();
            }
            stream
        })
        .collect();
    let mut client = Client::events(gateway.address);
    client.subscribe(&["x"]);
    client.say(&json!({ "type": "publish", "event": "x", "data": 1 }));
    assert_eq!(client.json()["data"], 1);
    if began.elapsed() < Duration::from_secs(3) {
        assert!(
            !is_closed(&mut silent[0], Duration::from_millis(10)),
            "too early"
        );
    }
    for stream in &mut silent {
        // Those that sent a part of a head may be told 408 first.
        let mut stream = stream;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let _ = (&mut stream).take(4096).read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
            "{answer}"
        );
        assert!(began.elapsed() < Duration::from_secs(4) + PATIENCE);
    }
    assert!(
        began.elapsed() >= Duration::from_millis(3900),
        "before the deadline"
    );
    await_metric(gateway.address, "/refused/timeout", 2000);
    client.say(&json!({ "type": "ping" }));
    assert_eq!(client.json()["type"], "pong");
}

#[test]
fn h05_the_oldest_of_too_many_handshakes_makes_room() {
    let gateway = TestGateway::with(|config| {
        config.server.max_handshakes = 16;
        config.server.handshake_timeout = Duration::from_secs(60);
    });
    let mut silent: Vec<Socket> = (0..16)
        .map(|_| Socket::connect(gateway.address).unwrap())
        .collect();
    await_handshakes(gateway.address);
    assert!(is_closed(&mut silent[0], PATIENCE));
    silent.extend((0..2).map(|_| Socket::connect(gateway.address).unwrap()));
    assert!(is_closed(&mut silent[1], PATIENCE));
    let mut clients: Vec<Client> = (0..5).map(|_| Client::events(gateway.address)).collect();
    assert!(is_closed(&mut silent[2], PATIENCE));
    let newest = silent.last_mut().unwrap();
    assert!(!is_closed(newest, Duration::from_millis(100)));
    // It is not too late for it.
    newest.write_all(UPGRADE.as_bytes()).unwrap();
    let mut head = [0; 12];
    newest.set_read_timeout(Some(PATIENCE)).unwrap();
    newest.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    for client in &mut clients {
        client.say(&json!({ "type": "ping" }));
        assert_eq!(client.json()["type"], "pong");
    }
    assert!(get(gateway.address, "/metrics")["refused"]["evicted"].as_u64() >= Some(2));
}

/// Waits until the sixteen silent connections have been accepted: the seventeenth,
/// which asks, makes the first one go.
fn await_handshakes(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while get(address, "/metrics")["refused"]["evicted"].as_u64() < Some(1) {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn r03_r04_a_silent_peer_is_pinged_and_dropped_and_any_frame_is_life() {
    let gateway = TestGateway::with(|config| {
        config.websocket.ping_interval = Duration::from_millis(500);
        config.websocket.ping_timeout = Duration::from_secs(4);
        config.websocket.close_timeout = Duration::from_millis(300);
        config.server.shards = 2;
    });
    let address = gateway.address;
    let until = Instant::now() + Duration::from_secs(8);
    let answering = thread::spawn(move || {
        let mut client = Client::events(address);
        let mut pings = 0;
        while Instant::now() < until {
            let ping = client.next().expect("who answers stays");
            assert_eq!(ping.first, 0x89);
            client.send(0x8a, &ping.payload);
            pings += 1;
        }
        assert!(pings >= 3, "{pings}");
    });
    // These never answer a ping; what they send is life all the same.
    let talking = [
        frame(0x81, br#"{"type":"heartbeat"}"#),
        frame(0x8a, b"not asked for"),
        frame(0x89, b"me too"),
        frame(0x01, b""),
    ]
    .map(|bytes| {
        thread::spawn(move || {
            let mut client = Client::events(address);
            let is_fragment = bytes[0] == 0x01;
            let mut bytes = bytes;
            while Instant::now() < until {
                client.send_bytes(&bytes);
                if is_fragment {
                    bytes = frame(0x00, b" ");
                }
                thread::sleep(Duration::from_millis(100));
            }
            client.send(0x88, &1000_u16.to_be_bytes());
            assert_eq!(client.until_close(), Some(1000));
        })
    });
    // From before it connects: whoever looks late must not see less.
    let began = Instant::now();
    let mut silent = Client::events(address);
    let ping = silent.next().unwrap();
    assert_eq!(ping.first, 0x89);
    silent.wait_for_end();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(4300), "{took:?}");
    await_metric(address, "/disconnects/silent", 1);
    answering.join().expect("who answers stays");
    for thread in talking {
        thread.join().expect("who talks stays");
    }
    await_metric(address, "/disconnects/silent", 1);
}

fn with_message_timeout() -> TestGateway {
    TestGateway::with(|config| {
        config.websocket.message_timeout = Duration::from_millis(800);
        config.websocket.close_timeout = Duration::from_millis(500);
    })
}

#[test]
fn r10_a_message_has_to_be_finished_in_time() {
    let gateway = with_message_timeout();
    let text = frame(0x81, &[b' '; 1000]);
    for cut in [1, 3, 500] {
        let mut client = Client::events(gateway.address);
        client.send_bytes(&text[..cut]);
        assert_eq!(client.until_close(), Some(1008), "cut at {cut}");
    }
    // Neither dripping bytes, nor fragments, nor pings between them gain time.
    let mut client = Client::events(gateway.address);
    let began = Instant::now();
    client.send(0x01, b"[");
    let mut writer = client.stream.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        while writer.write_all(&frame(0x00, b" ")).is_ok()
            && writer.write_all(&frame(0x89, b"")).is_ok()
            && began.elapsed() < PATIENCE
        {
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(client.until_close(), Some(1008));
    drop(client);
    dripping.join().unwrap();
}

#[test]
fn r10_a_busy_client_whose_reads_end_inside_messages_is_in_time() {
    let gateway = TestGateway::with(|config| {
        config.websocket.message_timeout = Duration::from_secs(3);
    });
    let mut client = Client::events(gateway.address);
    // Each write ends one message and begins the next one.
    let ping = frame(0x81, br#"{"type":"ping"}"#);
    let (head, tail) = ping.split_at(9);
    client.send_bytes(head);
    for _ in 0..75 {
        thread::sleep(Duration::from_millis(60));
        client.send_bytes(&[tail, head].concat());
        assert_eq!(client.json()["type"], "pong");
    }
}

#[test]
fn a_client_that_has_closed_is_answered_and_not_waited_for() {
    let gateway = TestGateway::with(|config| {
        config.server.max_connections = 1;
        config.websocket.close_timeout = Duration::from_secs(600);
    });
    let from = Ipv4Addr::LOCALHOST;
    let (mut closing, head) = upgrade(from, gateway.address);
    assert!(is_welcome(&head));
    let close = frame(0x88, &1000_u16.to_be_bytes());
    closing.write_all(&close).unwrap();
    // Its own side stays open.
    let mut read = Vec::new();
    closing.read_to_end(&mut read).unwrap();
    assert!(read.ends_with(&[0x88, 2, 0x03, 0xe8]), "{read:?}");
    let _next = enter_at_last(from, gateway.address);
}

#[test]
fn a_peer_that_does_not_answer_a_close_is_dropped_after_close_timeout() {
    let gateway = with_message_timeout();
    let mut client = Client::events(gateway.address);
    client.send(0x82, b"binary");
    assert_eq!(client.next().unwrap().close_code(), Some(1003));
    // It goes on sending; nobody listens.
    let deadline = Instant::now() + PATIENCE;
    while client.stream.write_all(&frame(0x81, b"{}")).is_ok() {
        assert!(Instant::now() < deadline, "still taken");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(get(gateway.address, "/health")["connections"], 0);
}

/// Starts clients that publish and receive as fast as they can, in threads that
/// return the close code each one saw.
fn load(address: SocketAddr, stop: &Arc<AtomicBool>) -> Vec<thread::JoinHandle<Option<u16>>> {
    let received = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for index in 0..24 {
        let (stop, received) = (stop.clone(), received.clone());
        // There before the signal comes, however long a handshake takes.
        let mut client = Client::events(address);
        threads.push(thread::spawn(move || {
            client.say(&json!({ "type": "subscribe", "events": ["load.*", "load.1"] }));
            if index % 4 == 0 {
                let mut writer = client.stream.try_clone().unwrap();
                thread::spawn(move || {
                    let event =
                        format!(r#"{{"type":"publish","event":"load.{index}","data":[1,2]}}"#);
                    let bytes = frame(0x81, event.as_bytes()).repeat(16);
                    while !stop.load(Ordering::SeqCst) && writer.write_all(&bytes).is_ok() {
                        thread::sleep(Duration::from_millis(2));
                    }
                });
            }
            loop {
                let next = client.next()?;
                if next.first == 0x88 {
                    client.send(0x88, &next.payload);
                    client.shut();
                    client.wait_for_end();
                    return next.close_code();
                }
                received.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    let deadline = Instant::now() + PATIENCE;
    while received.load(Ordering::SeqCst) < 20_000 {
        assert!(Instant::now() < deadline, "there is no load");
        thread::sleep(Duration::from_millis(5));
    }
    threads
}

#[test]
fn sigterm_under_load_closes_every_client_and_exits_with_0_in_time() {
    for signal in ["TERM", "INT"] {
        let process = Process::with(
            &["--shards", "2"],
            &[
                ("FANFARE_SERVER__DRAIN_TIMEOUT", "10s"),
                ("FANFARE_SERVER__PIN_THREADS", "false"),
            ],
        );
        let stop = Arc::new(AtomicBool::new(false));
        let threads = load(process.address, &stop);
        // Also there: one in the middle of a head, one that kept a connection for requests.
        let mut half = Socket::connect(process.address).unwrap();
        half.write_all(&UPGRADE.as_bytes()[..50]).unwrap();
        process.signal(signal);
        let (status, log) = process.finish(Duration::from_secs(10) + PATIENCE);
        stop.store(true, Ordering::SeqCst);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Some(1001), "each client is told");
        }
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn r16_a_second_sigterm_stops_at_once() {
    let process = Process::with(
        &["--shards", "2"],
        &[
            ("FANFARE_SERVER__DRAIN_TIMEOUT", "120s"),
            ("FANFARE_WEBSOCKET__CLOSE_TIMEOUT", "120s"),
        ],
    );
    // Their closes are spread over more than a minute, and none of them will answer.
    let _clients: Vec<Client> = (0..4).map(|_| Client::events(process.address)).collect();
    process.signal("TERM");
    // Soon nobody is let in any more.
    let late = || {
        let ask = b"GET /api/v1/sse?topics=a HTTP/1.1\r\nHost: x\r\n\r\n";
        request(process.address, ask).status
    };
    let deadline = Instant::now() + PATIENCE;
    while late() != 503 {
        assert!(Instant::now() < deadline, "clients are let in");
    }
    thread::sleep(Duration::from_millis(100));
    process.signal("TERM");
    let (status, log) = process.finish(PATIENCE);
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn who_upgrades_during_the_drain_is_closed_too() {
    let process = Process::with(
        &["--shards", "1"],
        &[
            ("FANFARE_SERVER__DRAIN_TIMEOUT", "30s"),
            ("FANFARE_WEBSOCKET__CLOSE_TIMEOUT", "3s"),
        ],
    );
    let mut holds_it_up = Client::events(process.address);
    let mut late = Socket::connect(process.address).unwrap();
    late.write_all(&UPGRADE.as_bytes()[..50]).unwrap();
    // It has been accepted before the signal comes.
    get(process.address, "/health");
    process.signal("TERM");
    assert_eq!(holds_it_up.until_close(), Some(1001));
    late.write_all(&UPGRADE.as_bytes()[50..]).unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = late.read(&mut piece) {
        all.extend(&piece[..read]);
    }
    let text = String::from_utf8_lossy(&all);
    let is_told = text.starts_with("HTTP/1.1 503") || text.contains("Server shutdown");
    assert!(is_told, "{text}");
    drop(late);
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
}

/// Runs `fanfare serve` on an address that it should not get.
fn refused_to_serve(address: &str) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["serve", "--mode", "demo", "--listen", address])
        .env_clear()
        .env("FANFARE_ENV_FILE", "")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it serves on {address}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_port_in_use_is_said_and_the_exit_code_is_1() {
    let check = |address: String| {
        let (code, log) = refused_to_serve(&address);
        assert_eq!(code, Some(1), "{log}");
        assert!(
            log.contains(&format!("cannot listen on {address}")),
            "{log}"
        );
        assert!(!log.contains("panicked"), "{log}");
    };
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    check(other.local_addr().unwrap().to_string());
    // Another gateway: its listeners can be shared, and must not be by accident.
    let gateway = TestGateway::start();
    check(gateway.address.to_string());
}

#[test]
fn a_port_is_free_again_at_once() {
    let gateway =
        TestGateway::with(|config| config.server.drain_timeout = Duration::from_millis(200));
    let address = gateway.address;
    let _left_behind = Client::events(address);
    drop(gateway);
    let gateway = TestGateway::with(|config| config.server.listen = vec![address.into()]);
    Client::events(gateway.address);
}
