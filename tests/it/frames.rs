//! Frames that break the protocol, never end or come in floods (hostile-inputs.md F01 to F17).

#![expect(
    clippy::disallowed_types,
    reason = "tests have no need of a faster hash"
)]

use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::SockRef;

use crate::support::{Client, Process, RaiseOnDrop, TestGateway, frame, metric};

/// Sends `bytes` to the echo endpoint, which closes with `code` and ends the connection.
#[track_caller]
fn check(address: SocketAddr, bytes: &[u8], code: u16) {
    let mut client = Client::echo(address);
    client.send_bytes(bytes);
    assert_eq!(client.until_close(), Some(code), "{bytes:x?}");
    assert_eq!(client.next(), None, "{bytes:x?}: nothing follows a close");
}

/// Sends `bytes` to the echo endpoint, which does not mind.
#[track_caller]
fn check_fine(address: SocketAddr, bytes: &[u8]) {
    let mut client = Client::echo(address);
    client.send_bytes(bytes);
    client.send(0x89, b"still there");
    loop {
        let frame = client.next().expect("a pong");
        assert_ne!(frame.first, 0x88, "{bytes:x?}");
        if frame.first == 0x8a && frame.payload == b"still there" {
            break;
        }
    }
}

/// A masked header with a 64-bit length, and no payload.
fn huge(length: u64) -> Vec<u8> {
    [&b"\x82\xff"[..], &length.to_be_bytes(), b"\0\0\0\0"].concat()
}

#[test]
fn f01_impossible_lengths_are_refused_by_the_header_alone() {
    let mut gateway = Process::start(&["--shards", "1"]);
    gateway.check_alive();
    let rss = gateway.rss();
    let lengths = [
        (1 << 63, 1002),
        (u64::MAX, 1002),
        (u64::MAX - 15, 1002),
        ((1 << 63) - 1, 1009),
        (1 << 32, 1009),
        ((1 << 32) + 5, 1009),
    ];
    let clients: Vec<_> = lengths
        .iter()
        .cycle()
        .take(240)
        .map(|&(length, code)| {
            let mut client = Client::echo(gateway.address);
            client.send_bytes(&huge(length));
            (client, code)
        })
        .collect();
    for (mut client, code) in clients {
        assert_eq!(client.until_close(), Some(code));
        assert_eq!(client.next(), None);
    }
    assert!(gateway.rss() < rss + 240 * 64 * 1024);
    gateway.check_alive();
}

#[test]
fn f02_announced_bytes_are_not_reserved_and_not_waited_for_without_end() {
    let timeout = [("FANFARE_WEBSOCKET__MESSAGE_TIMEOUT", "2s")];
    let mut gateway = Process::with(&["--shards", "1"], &timeout);
    gateway.check_alive();
    let rss = gateway.rss();
    let clients: Vec<Client> = (0..300)
        .map(|_| {
            let mut client = Client::echo(gateway.address);
            client.send_bytes(&huge(16 << 20));
            client.send_bytes(b"some of it");
            client
        })
        .collect();
    let held = gateway.rss().saturating_sub(rss);
    assert!(held < 300 * 16 * 1024 + (4 << 20), "{held} bytes");
    for mut client in clients {
        assert_eq!(client.until_close(), Some(1008));
        assert_eq!(client.next(), None);
    }
    gateway.check_alive();
}

#[test]
fn f03_lengths_have_their_shortest_form() {
    let gateway = TestGateway::start();
    for bytes in [
        &b"\x82\xfe\0\x05\0\0\0\0hello"[..],
        b"\x82\xfe\0\x7d\0\0\0\0",
        b"\x82\xfe\0\0\0\0\0\0",
        b"\x82\xff\0\0\0\0\0\0\0\xc8\0\0\0\0",
        b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0",
        b"\x82\xff\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        check(gateway.address, bytes, 1002);
    }
    for len in [125, 126, 65_535, 65_536] {
        check_fine(gateway.address, &frame(0x82, &vec![7; len]));
    }
}

#[test]
fn f04_unmasked_frames_are_refused() {
    let gateway = TestGateway::start();
    for bytes in [
        &b"\x81\x05hello"[..],
        b"\x82\x00",
        b"\x89\x00",
        b"\x88\x02\x03\xe8",
        b"\x82\x7e\x01\x00",
        b"\x82\x7f\0\0\0\0\0\x01\0\0",
    ] {
        check(gateway.address, bytes, 1002);
    }
}

#[test]
fn f05_reserved_bits_and_opcodes_are_refused() {
    let gateway = TestGateway::start();
    let mut mutants = 0;
    let mut check = |before: &[u8], first: u8| {
        check(
            gateway.address,
            &[before, &frame(first, b"x")].concat(),
            1002,
        );
        mutants += 1;
    };
    let open = frame(0x01, b"x");
    for rsv in [0x40, 0x20, 0x10, 0x60, 0x50, 0x30, 0x70] {
        for opcode in [0x1, 0x2, 0x8, 0x9, 0xa] {
            check(b"", 0x80 | rsv | opcode);
        }
        check(&open, 0x80 | rsv);
    }
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        check(b"", 0x80 | opcode);
        check(&open, 0x80 | opcode);
    }
    assert!(mutants >= 48);
    // Compression gives the first bit a meaning, at the beginning of a message only.
    let compressed = || {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        Client::connect_with(gateway.address, "/debug/echo", offer)
    };
    for bytes in [
        [frame(0x41, b"x"), frame(0xc0, b"x")].concat(),
        [frame(0x01, b"x"), frame(0xc0, b"x")].concat(),
        frame(0xc9, b"x"),
        frame(0xc8, b""),
        frame(0xa1, b"x"),
        frame(0x91, b"x"),
    ] {
        let mut client = compressed();
        client.send_bytes(&bytes);
        assert_eq!(client.until_close(), Some(1002), "{bytes:x?}");
    }
}

#[test]
fn f06_control_frames_are_short_and_whole() {
    let gateway = TestGateway::start();
    for opcode in [0x8, 0x9, 0xa] {
        check(gateway.address, &frame(opcode, b""), 1002);
        check(gateway.address, &frame(opcode, b"\x03\xe8"), 1002);
        check(gateway.address, &frame(0x80 | opcode, &[b'x'; 126]), 1002);
        check(gateway.address, &[0x80 | opcode, 0xfe, 0, 5], 1002);
        check(gateway.address, &[0x80 | opcode, 0xff, 0, 0], 1002);
    }
    check_fine(gateway.address, &frame(0x89, &[b'x'; 125]));
}

#[test]
fn f07_fragments_of_messages_follow_each_other() {
    let gateway = TestGateway::start();
    for opcodes in [
        &[0x00][..],
        &[0x80],
        &[0x81, 0x80],
        &[0x01, 0x01],
        &[0x01, 0x82],
        &[0x01, 0x00, 0x81],
        &[0x01, 0x80, 0x80],
        &[0x02, 0x89, 0x82],
    ] {
        let bytes: Vec<u8> = opcodes.iter().flat_map(|&it| frame(it, b"x")).collect();
        check(gateway.address, &bytes, 1002);
    }
    let mut client = Client::echo(gateway.address);
    for (first, payload) in [(0x01, "a"), (0x89, "p"), (0x00, ""), (0x80, "b")] {
        client.send(first, payload.as_bytes());
    }
    let pong = client.next().unwrap();
    assert_eq!((pong.first, &pong.payload[..]), (0x8a, &b"p"[..]));
    let echo = client.next().unwrap();
    assert_eq!((echo.first, &echo.payload[..]), (0x81, &b"ab"[..]));
}

#[test]
fn f08_65536_legal_fragments_make_one_message() {
    let gateway = TestGateway::start();
    let mut client = Client::echo(gateway.address);
    let piece: Vec<u8> = (0..64).collect();
    let mut bytes = frame(0x02, &piece);
    for _ in 1..65_535 {
        bytes.extend(frame(0x00, &piece));
    }
    bytes.extend(frame(0x80, &piece));
    client.send_bytes(&bytes);
    let echo = client.next().unwrap();
    assert_eq!(echo.first, 0x82);
    assert_eq!(echo.payload, piece.repeat(65_536));
}

#[test]
fn f08_tiny_fragments_hold_no_more_than_their_bytes() {
    let mut gateway = Process::start(&["--shards", "1"]);
    gateway.check_alive();
    let rss = gateway.rss();
    let nothing: Vec<u8> = frame(0x00, b"").repeat(10_000);
    let one: Vec<u8> = frame(0x00, b"x").repeat(10_000);
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..10 {
        let mut client = Client::echo(gateway.address);
        client.send(0x02, b"");
        for _ in 0..3 {
            client.send_bytes(&nothing);
            client.send_bytes(&one);
        }
        client.send(0x89, b"seen");
        assert_eq!(client.next().unwrap().payload, b"seen");
        clients.push(client);
    }
    // 10 x 30,000 bytes are held, in 600,000 fragments.
    let held = gateway.rss().saturating_sub(rss);
    assert!(held < 8 << 20, "{held} bytes");
    for client in &mut clients {
        client.send(0x80, b"");
        assert_eq!(client.next().unwrap().payload, b"x".repeat(30_000));
    }
    gateway.check_alive();
}

#[test]
fn f08_the_limit_is_that_of_the_message_however_it_is_cut() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    client.send(0x01, b"x");
    let pieces = frame(0x00, b"x").repeat(64 * 1024 - 1);
    client.send_bytes(&pieces);
    client.send(0x89, b"full");
    assert_eq!(client.next().unwrap().payload, b"full");
    client.send(0x00, b"x");
    assert_eq!(client.until_close(), Some(1009));
}

#[test]
fn f08_a_message_has_a_deadline_however_busy_its_fragments_are() {
    let gateway = TestGateway::with(|config| {
        config.websocket.message_timeout = Duration::from_millis(400);
    });
    let mut client = Client::echo(gateway.address);
    client.send(0x02, b"");
    let mut writer = client.stream.try_clone().unwrap();
    let drip = thread::spawn(move || {
        let bytes = [frame(0x00, b"x"), frame(0x89, b"")].concat();
        let began = Instant::now();
        while writer.write_all(&bytes).is_ok() && began.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(client.until_close(), Some(1008));
    drop(client);
    drip.join().unwrap();
}

#[test]
fn f08_a_client_that_is_always_in_the_middle_of_another_message_is_not_late() {
    let gateway = TestGateway::with(|config| {
        config.websocket.message_timeout = Duration::from_secs(3);
    });
    let mut client = Client::echo(gateway.address);
    let whole = frame(0x82, b"0123456789");
    client.send_bytes(&whole[..5]);
    // Every message is complete after 20 ms; the connection is mid-message for 4 s.
    for _ in 0..200 {
        thread::sleep(Duration::from_millis(20));
        client.send_bytes(&whole[5..]);
        client.send_bytes(&whole[..5]);
        let echo = client.next().expect("it is not closed");
        assert_eq!((echo.first, &echo.payload[..]), (0x82, &b"0123456789"[..]));
    }
}

#[test]
fn f08_unfinished_messages_of_all_connections_have_one_limit() {
    let gateway = TestGateway::with(|config| {
        config.websocket.max_unfinished_bytes = 1 << 20;
        config.websocket.close_timeout = Duration::from_millis(100);
    });
    let mut clients: Vec<Client> = (0..8).map(|_| Client::echo(gateway.address)).collect();
    for client in &mut clients[..4] {
        client.send(0x02, &[7; 150 << 10]);
        client.send(0x89, b"held");
        assert_eq!(client.next().unwrap().payload, b"held");
    }
    let closed = clients[4..]
        .iter_mut()
        .map(|client| {
            client.send(0x02, &[7; 600 << 10]);
            client.send(0x89, b"held");
            let answer = client.next().unwrap();
            assert!(answer.first == 0x8a || answer.close_code() == Some(1013));
            answer.close_code().is_some()
        })
        .filter(|&closed| closed)
        .count();
    assert!(closed >= 3, "{closed}");
    // Those within the limit go on, and once they are done there is room again.
    for client in &mut clients[..4] {
        client.send(0x80, b"!");
        assert_eq!(client.next().unwrap().payload.len(), (150 << 10) + 1);
    }
    drop(clients);
    while metric(gateway.address, "connections") > 0 {
        thread::sleep(Duration::from_millis(50));
    }
    let mut client = Client::echo(gateway.address);
    client.send(0x02, &[7; 400 << 10]);
    client.send(0x80, b"!");
    assert_eq!(client.next().unwrap().payload.len(), (400 << 10) + 1);
}

#[test]
fn every_echo_comes_back_however_many_messages_one_read_holds() {
    let gateway = TestGateway::start();
    let mut client = Client::echo(gateway.address);
    let mut bytes = Vec::new();
    for number in 0..20_000_u32 {
        bytes.extend(frame(0x82, &number.to_be_bytes()));
    }
    let mut writer = client.stream.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&bytes).unwrap());
    for number in 0..20_000_u32 {
        assert_eq!(client.next().unwrap().payload, number.to_be_bytes());
    }
    writing.join().unwrap();
}

#[test]
fn every_question_is_answered_however_many_one_read_holds() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    let mut bytes = Vec::new();
    for number in 0..5_000 {
        let ping = json!({ "type": "ping", "message_id": number.to_string() });
        bytes.extend(frame(0x81, ping.to_string().as_bytes()));
    }
    let mut writer = client.stream.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&bytes).unwrap());
    for _ in 0..5_000 {
        assert_eq!(client.json()["type"], "pong");
    }
    writing.join().unwrap();
}

/// A control frame with a number in 125 bytes of payload.
fn numbered(first: u8, number: u32) -> Vec<u8> {
    let mut payload = [0; 125];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    frame(first, &payload)
}

/// The number in the payload of a control frame.
fn number_in(payload: &[u8]) -> u32 {
    u32::from_be_bytes(*payload.first_chunk().unwrap())
}

#[test]
fn f09_a_ping_flood_beyond_the_budget_is_closed() {
    let gateway = TestGateway::with(|config| {
        config.websocket.max_control_frames_per_second = 100;
    });
    for first in [0x89, 0x8a] {
        let mut client = Client::echo(gateway.address);
        let flood: Vec<u8> = (0..5_000)
            .flat_map(|number| numbered(first, number))
            .collect();
        client.send_bytes(&flood);
        assert_eq!(client.until_close(), Some(1008), "{first:x}");
        assert_eq!(client.next(), None);
    }
    let why = "disconnects_total{reason=\"control_flood\"}";
    assert_eq!(metric(gateway.address, why), 2);
    // Within the budget nobody minds.
    let mut client = Client::echo(gateway.address);
    for number in 0..90 {
        client.send_bytes(&numbered(0x89, number));
        assert_eq!(number_in(&client.next().unwrap().payload), number);
    }
}

#[test]
fn f09_pongs_that_are_not_read_do_not_pile_up() {
    let variables = [
        (
            "FANFARE_WEBSOCKET__MAX_CONTROL_FRAMES_PER_SECOND",
            "1000000",
        ),
        ("FANFARE_SERVER__SEND_BUFFER", "32KiB"),
        ("FANFARE_HUB__MAX_STALL", "60s"),
    ];
    let mut gateway = Process::with(&["--shards", "1"], &variables);
    gateway.check_alive();
    let rss = gateway.rss();
    let mut client = Client::echo(gateway.address);
    SockRef::from(&client.stream)
        .set_recv_buffer_size(128 * 1024)
        .unwrap();
    const PINGS: u32 = 200_000;
    let mut writer = client.stream.try_clone().unwrap();
    let flood = thread::spawn(move || {
        for start in (0..PINGS).step_by(1000) {
            let pings: Vec<u8> = (start..start + 1000)
                .flat_map(|number| numbered(0x89, number))
                .collect();
            writer.write_all(&pings).expect("pings are taken");
        }
    });
    // Nothing is read while pings are taken, or until the gateway takes no more of them.
    let began = Instant::now();
    while !flood.is_finished() && began.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(20));
    }
    let held = gateway.rss().saturating_sub(rss);
    // Of 25 MB of pongs.
    assert!(held < 10 << 20, "{held} bytes");
    // What comes is valid, and the newest is among it.
    let mut seen = HashSet::new();
    while !seen.contains(&(PINGS - 1)) {
        let pong = client.next().unwrap();
        assert_eq!((pong.first, pong.payload.len()), (0x8a, 125));
        let number = number_in(&pong.payload);
        assert!(number < PINGS && seen.insert(number), "{number}");
    }
    flood.join().unwrap();
    gateway.check_alive();
}

#[test]
fn f10_pongs_nobody_asked_for_are_ignored() {
    let budget = [(
        "FANFARE_WEBSOCKET__MAX_CONTROL_FRAMES_PER_SECOND",
        "1000000",
    )];
    let mut gateway = Process::with(&["--shards", "1"], &budget);
    gateway.check_alive();
    let rss = gateway.rss();
    let mut client = Client::echo(gateway.address);
    let pongs: Vec<u8> = (0..1000)
        .flat_map(|number| numbered(0x8a, number))
        .collect();
    for _ in 0..200 {
        client.send_bytes(&pongs);
    }
    client.send(0x81, b"after them");
    assert_eq!(client.next().unwrap().payload, b"after them");
    let held = gateway.rss().saturating_sub(rss);
    // Of 26 MB of pongs.
    assert!(held < 10 << 20, "{held} bytes");
    gateway.check_alive();
}

#[test]
fn f11_pongs_go_between_the_frames_of_a_back_pressured_fan_out() {
    let gateway = TestGateway::with(|config| {
        config.server.send_buffer = 32 * 1024;
        config.websocket.max_control_frames_per_second = 1_000_000;
        config.hub.max_stall = Duration::from_secs(60);
    });
    let mut client = Client::events(gateway.address);
    SockRef::from(&client.stream)
        .set_recv_buffer_size(128 * 1024)
        .unwrap();
    client.subscribe(&["news"]);
    const EVENTS: u32 = 2_000;
    const PINGS: u32 = 60_000;
    let address = gateway.address;
    let publishing = thread::spawn(move || {
        let mut publisher = Client::events(address);
        let filler = "x".repeat(4000);
        for number in 0..EVENTS {
            let data = json!({ "number": number, "filler": filler });
            publisher.say(&json!({ "type": "publish", "event": "news", "data": data }));
        }
        publisher.say(&json!({ "type": "ping" }));
        assert_eq!(publisher.json()["type"], "pong");
    });
    let mut writer = client.stream.try_clone().unwrap();
    let pinging = thread::spawn(move || {
        for start in (0..PINGS).step_by(50) {
            let pings: Vec<u8> = (start..start + 50)
                .flat_map(|number| numbered(0x89, number))
                .collect();
            writer.write_all(&pings).unwrap();
        }
    });
    // The pipe fills up before anything is read.
    publishing.join().unwrap();
    let (mut events, mut pongs) = (0, HashSet::new());
    while events < EVENTS || !pongs.contains(&(PINGS - 1)) {
        let frame = client.next().expect("the stream goes on");
        if frame.first == 0x8a {
            let number = number_in(&frame.payload);
            assert_eq!(frame.payload[4..], [0; 121]);
            assert!(number < PINGS && pongs.insert(number), "{number}");
        } else {
            assert_eq!(frame.json()["data"]["number"], events);
            events += 1;
        }
    }
    assert!(pongs.len() > 1);
    pinging.join().unwrap();
}

#[test]
fn f12_text_that_is_not_utf_8_is_refused_at_its_first_bad_byte() {
    let gateway = TestGateway::start();
    let bad: [&[u8]; 22] = [
        b"\x80",
        b"\xbf",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xc3\x28",
        b"\xc3\xc3",
        b"\xe0\x80",
        b"\xe0\x9f\xbf",
        b"\xe2\x28\xa1",
        b"\xe2\x82\x28",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x90\x28\xbc",
        b"\xf0\x90\x8c\x28",
        b"\xf0\x28",
        b"\xf4\x90",
        b"\xf5",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
        b"\xff",
    ];
    for bad in bad {
        let text = [b"\xce\xba ok ".as_slice(), bad].concat();
        check(
            gateway.address,
            &frame(0x81, &[&text[..], b" and more"].concat()),
            1007,
        );
        // The message has not ended, nor has the frame.
        check(gateway.address, &frame(0x01, &text), 1007);
        let mut cut = frame(0x81, &[&text[..], &[b'x'; 80]].concat());
        cut.truncate(6 + text.len());
        check(gateway.address, &cut, 1007);
        let split: Vec<u8> = text.iter().flat_map(|&it| frame(0x00, &[it])).collect();
        check(gateway.address, &[frame(0x01, b""), split].concat(), 1007);
    }
    // A character that is cut by the end of its message.
    for cut in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x98"] {
        check(gateway.address, &frame(0x81, cut), 1007);
        let bytes = [frame(0x01, cut), frame(0x80, b"")].concat();
        check(gateway.address, &bytes, 1007);
        // Not so bytes that are no text.
        check_fine(gateway.address, &frame(0x82, cut));
    }
    // Cut by fragments and reads it is whole again.
    let text = "κόσμε 😀 \u{10ffff} \u{d7ff}\u{e000}";
    let mut client = Client::echo(gateway.address);
    client.send(0x01, b"");
    for byte in text.bytes() {
        client.send(0x00, &[byte]);
    }
    client.send(0x80, b"");
    assert_eq!(client.next().unwrap().payload, text.as_bytes());
    for byte in frame(0x81, text.as_bytes()) {
        client.send_bytes(&[byte]);
    }
    assert_eq!(client.next().unwrap().payload, text.as_bytes());
}

#[test]
fn f13_close_frames_are_checked_and_answered_in_kind() {
    let gateway = TestGateway::start();
    let check = |payload: &[u8], code: u16| check(gateway.address, &frame(0x88, payload), code);
    for code in [
        0_u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        check(&code.to_be_bytes(), 1002);
    }
    for code in [
        1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
        4000, 4999,
    ] {
        check(&code.to_be_bytes(), code);
        check(
            &[&code.to_be_bytes(), "why, κόσμε".as_bytes()].concat(),
            code,
        );
    }
    check(b"\x03", 1002);
    check(b"\x03\xe8\xff", 1007);
    check(b"\x03\xe8\xce", 1007);
    check(b"\x03\xe8\xed\xa0\x80", 1007);
    check(b"", 1000);
}

#[test]
fn f14_the_end_is_answered_and_nothing_behind_it_is_looked_at() {
    let gateway = TestGateway::with(|config| {
        config.websocket.close_timeout = Duration::from_millis(300);
    });
    // Data behind a close frame, legal or not.
    let close = frame(0x88, b"\x03\xe8");
    for behind in [frame(0x81, b"late"), frame(0x89, b"late"), huge(u64::MAX)] {
        check(gateway.address, &[&close[..], &behind].concat(), 1000);
    }
    // The end of the stream in the same moment as what ends the connection.
    for (bytes, code) in [(close, 1000), (b"\x81\x00".to_vec(), 1002)] {
        let mut client = Client::echo(gateway.address);
        client.send_bytes(&bytes);
        client.shut();
        assert_eq!(client.until_close(), Some(code));
        client.wait_for_end();
    }
    // A close that is not answered, with a client that goes on as if nothing was.
    for chatty in [false, true] {
        let mut client = Client::echo(gateway.address);
        client.send_bytes(b"\x81\x00");
        assert_eq!(client.until_close(), Some(1002));
        let began = Instant::now();
        while client
            .stream
            .write_all(if chatty { b"xxxx" } else { b"" })
            .is_ok()
        {
            if !chatty && metric(gateway.address, "connections") == 0 {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "it is let go");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Connects, subscribes, listens for a while, and leaves in the way that `round` says.
fn come_and_go(address: SocketAddr, round: u32) {
    let mut client = Client::events(address);
    let pattern = round.is_multiple_of(2);
    let names: &[&str] = if pattern { &["ne*", "news"] } else { &["news"] };
    client.say(&json!({ "type": "subscribe", "events": names }));
    client.say(&json!({ "type": "subscribe", "events": names }));
    let mut confirmations = 0;
    let mut events = 0;
    let mut last: Option<u64> = None;
    while confirmations < 2 || events < round % 7 {
        let message = client.json();
        if message["type"] == "subscription_confirmed" {
            confirmations += 1;
            continue;
        }
        let number = message["data"]["number"].as_u64().expect("an event");
        assert!(
            last.is_none_or(|last| number == last + 1),
            "{last:?} {number}"
        );
        last = Some(number);
        events += 1;
    }
    match round % 4 {
        0 => {
            // Gone while being written to.
            SockRef::from(&client.stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
        1 => {
            client.send(0x88, b"\x03\xe8");
            assert_eq!(client.until_close(), Some(1000));
            assert_eq!(client.next(), None);
        }
        _ => {
            client.say(&json!({ "type": "unsubscribe", "events": names }));
            while client.json()["type"] != "unsubscription_confirmed" {}
            // Events are still being published; none of them is for this client.
            for _ in 0..3 {
                assert!(client.is_silent(Duration::from_millis(2)));
                client.say(&json!({ "type": "ping" }));
                assert_eq!(client.json()["type"], "pong");
            }
        }
    }
}

#[test]
fn f15_clients_come_and_go_in_the_middle_of_a_full_fan_out() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let address = gateway.address;
    let over = AtomicBool::new(false);
    let published = thread::scope(|scope| {
        let is_over = RaiseOnDrop(&over);
        let publishing = scope.spawn(|| {
            let mut publisher = Client::events(address);
            let mut published = 0;
            while !over.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    let data = json!({ "number": published });
                    publisher.say(&json!({ "type": "publish", "event": "news", "data": data }));
                    published += 1;
                }
                publisher.say(&json!({ "type": "ping" }));
                assert_eq!(publisher.json()["type"], "pong");
                thread::sleep(Duration::from_millis(1));
            }
            published
        });
        let churners: Vec<_> = (0..4)
            .map(|start| {
                scope.spawn(move || (start..start + 60).for_each(|it| come_and_go(address, it)))
            })
            .collect();
        let mut failed = 0;
        for churner in churners {
            failed += u32::from(churner.join().is_err());
        }
        drop(is_over);
        assert_eq!(failed, 0, "clients that were told something wrong");
        publishing.join().unwrap()
    });
    assert_eq!(metric(address, "publications_total"), published);
    let internal = "disconnects_total{reason=\"internal\"}";
    assert_eq!(metric(address, internal), 0);
    let mut client = Client::events(address);
    client.subscribe(&["news"]);
    client.say(&json!({ "type": "publish", "event": "news", "data": { "number": "last" } }));
    assert_eq!(client.json()["data"]["number"], "last");
    let deadline = Instant::now() + Duration::from_secs(10);
    while metric(address, "connections") > 1 {
        assert!(Instant::now() < deadline, "everybody else has left");
        thread::sleep(Duration::from_millis(50));
    }
    gateway.stop();
}

#[test]
fn f16_the_kind_of_message_is_the_endpoints() {
    let gateway = TestGateway::start();
    for payload in [&b"{\"type\":\"ping\"}"[..], b"", b"\xff"] {
        let mut client = Client::events(gateway.address);
        client.send(0x82, payload);
        assert_eq!(client.until_close(), Some(1003));
        assert_eq!(client.next(), None);
    }
    // Text that is no command is answered, and nothing worse.
    let mut client = Client::events(gateway.address);
    for text in ["", "{", "[]", "null", "{\"type\":1}", "\0"] {
        client.send(0x81, text.as_bytes());
        assert_eq!(client.json()["type"], "error", "{text:?}");
    }
    let mut client = Client::echo(gateway.address);
    for (first, payload) in [(0x81, "text"), (0x82, "binary"), (0x81, "")] {
        client.send(first, payload.as_bytes());
        let echo = client.next().unwrap();
        assert_eq!((echo.first, &echo.payload[..]), (first, payload.as_bytes()));
    }
}

#[test]
fn f17_connections_that_break_off_are_forgotten_and_cost_nothing() {
    let mut gateway = Process::start(&["--shards", "1"]);
    gateway.check_alive();
    let middles = [
        &b"\x82"[..],
        b"\x82\xfe\x01",
        b"\x82\x85\0\0\0\0hel",
        b"\x02\x81\0\0\0\0x",
        b"",
    ];
    let mut half_closed = Vec::new();
    for round in 0..200 {
        let mut client = if round % 2 == 0 {
            Client::echo(gateway.address)
        } else {
            Client::events(gateway.address)
        };
        client.send_bytes(middles[round % middles.len()]);
        if round % 3 == 0 {
            SockRef::from(&client.stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        } else {
            client.shut();
            half_closed.push(client);
        }
    }
    for client in &mut half_closed {
        assert_eq!(client.next(), None);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while metric(gateway.address, "connections") > 0 {
        assert!(Instant::now() < deadline, "all of them are forgotten");
        thread::sleep(Duration::from_millis(50));
    }
    let cpu = gateway.cpu();
    thread::sleep(Duration::from_millis(1000));
    let used = gateway.cpu() - cpu;
    assert!(used < Duration::from_millis(200), "{used:?}");
    gateway.check_alive();
    gateway.signal("TERM");
    assert!(gateway.wait(Duration::from_secs(20)).success());
}
