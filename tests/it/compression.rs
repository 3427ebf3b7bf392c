//! Compressed messages that are bombs, corrupt or empty, and what they leave
//! behind (hostile-inputs.md C01 to C07).

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::json;

use crate::support::{Client, Process, TestGateway, frame, metric};

const OFFER: &str = "permessage-deflate";
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Connects to `path` with an offer, which is accepted.
fn connect(address: SocketAddr, path: &str, offer: &str) -> Client {
    let header = format!("Sec-WebSocket-Extensions: {offer}\r\n");
    let client = Client::connect_with(address, path, &header);
    let accepted = client
        .head
        .contains("Sec-WebSocket-Extensions: permessage-deflate");
    assert!(accepted, "{offer}: {}", client.head);
    client
}

fn echo(address: SocketAddr) -> Client {
    connect(address, "/debug/echo", OFFER)
}

/// A compressor of a client with a window of this many bits.
fn compressor(window_bits: u8) -> Compress {
    Compress::new_with_window_bits(Compression::fast(), false, window_bits)
}

/// The payload of a compressed message.
fn deflate(stream: &mut Compress, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1024);
    stream
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .unwrap();
    assert!(out.ends_with(&TAIL), "it fits");
    out.truncate(out.len() - TAIL.len());
    out
}

/// What a compressed payload holds, read with a window of this many bits and no context.
fn inflate(payload: &[u8], window_bits: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    Decompress::new_with_window_bits(false, window_bits)
        .decompress_vec(&[payload, &TAIL].concat(), &mut out, FlushDecompress::Sync)
        .unwrap();
    out
}

/// Sends a compressed text, which comes back.
#[track_caller]
fn check_echo(client: &mut Client, text: &str) {
    client.send(0xc1, &deflate(&mut compressor(15), text.as_bytes()));
    check_answer(client, text.as_bytes(), 15);
}

/// A text comes, compressed or not.
#[track_caller]
fn check_answer(client: &mut Client, text: &[u8], window_bits: u8) {
    let answer = client.next().expect("an answer, not the end");
    match answer.first {
        0x81 => assert_eq!(answer.payload, text),
        0xc1 => assert_eq!(inflate(&answer.payload, window_bits), text),
        _ => panic!("{answer:?}"),
    }
}

/// Text that does not compress to nothing.
fn text(len: usize) -> String {
    (0..len)
        .map(|at| char::from(b'a' + (at * at % 251 % 26) as u8))
        .collect()
}

#[test]
fn c01_bombs_are_given_up_at_the_limit() {
    let mut gateway = Process::start(&["--shards", "1"]);
    gateway.check_alive();
    let mut best = Compress::new(Compression::best(), false);
    let bomb = deflate(&mut best, &vec![0; 18 << 20]);
    assert!(bomb.len() < 100 << 10);
    let (rss, cpu) = (gateway.rss(), gateway.cpu());
    let mut clients = Vec::new();
    for round in 0..20 {
        let (path, events) = if round % 2 == 0 {
            ("/debug/echo", false)
        } else {
            ("/api/v1/ws/demo", true)
        };
        let mut client = connect(gateway.address, path, OFFER);
        if events {
            client.next().expect("the greeting");
        }
        if round % 4 < 2 {
            client.send(0xc2, &bomb);
        } else {
            client.send(0x42, b"");
            for piece in bomb.chunks(500) {
                client.send(0x00, piece);
            }
            client.send(0x80, b"");
        }
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.until_close(), Some(1009));
        assert_eq!(client.next(), None);
    }
    // Inflated to their ends they are 360 MB. What was freed is given back within seconds.
    let deadline = Instant::now() + Duration::from_secs(10);
    while let held = gateway.rss().saturating_sub(rss)
        && held >= 48 << 20
    {
        assert!(Instant::now() < deadline, "{held} bytes");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(gateway.cpu() - cpu < Duration::from_secs(10));
    gateway.check_alive();
}

#[test]
fn case_c2_a_message_under_its_limit_is_taken_however_small_it_was_made() {
    let gateway = TestGateway::with(|config| config.clients.max_message_size = 1 << 20);
    let best = || Compress::new(Compression::best(), false);
    let mut client = connect(gateway.address, "/api/v1/ws/demo", OFFER);
    client.next().expect("the greeting");
    for len in [100_000, (1 << 20) - 100] {
        let message = json!({ "type": "ping", "filler": "x".repeat(len) }).to_string();
        let small = deflate(&mut best(), message.as_bytes());
        assert!(small.len() * 500 < message.len());
        client.send(0xc1, &small);
        let answer = client.next().expect("a pong");
        let answer = if answer.first == 0xc1 {
            inflate(&answer.payload, 15)
        } else {
            answer.payload
        };
        assert!(answer.starts_with(br#"{"type":"pong""#), "{len}");
    }
    // The bridge protocol's limit is a larger one.
    let mut client = connect(gateway.address, "/ws?user_id=ann", OFFER);
    client.send(0xc1, &deflate(&mut best(), "x".repeat(1 << 20).as_bytes()));
    client.send(0x89, b"here");
    assert_eq!(client.next().unwrap().payload, b"here");
    client.send(
        0xc1,
        &deflate(&mut best(), "x".repeat((1 << 20) + 1).as_bytes()),
    );
    assert_eq!(client.until_close(), Some(1009));
}

#[test]
fn c01_the_limit_holds_for_what_comes_out() {
    let gateway = TestGateway::start();
    let mut client = connect(gateway.address, "/api/v1/ws/demo", OFFER);
    client.next().expect("the greeting");
    // 64 KiB are taken and 64 KiB and one are not.
    for (len, fits) in [(64 << 10, true), ((64 << 10) + 1, false)] {
        let message = json!({ "type": "ping", "filler": "" }).to_string();
        let filler = " ".repeat(len - message.len());
        let message = format!("{message}{filler}");
        client.send(0xc1, &deflate(&mut compressor(15), message.as_bytes()));
        if fits {
            assert!(client.next().unwrap().close_code().is_none());
        } else {
            assert_eq!(client.until_close(), Some(1009));
        }
    }
}

#[test]
fn c02_empty_blocks_without_end_are_refused() {
    let mut gateway = Process::start(&["--shards", "1"]);
    gateway.check_alive();
    let cpu = gateway.cpu();
    // Stored blocks, and fixed ones, that hold nothing.
    for blocks in [[0x00, 0x00, 0x00, 0xff, 0xff].repeat(200_000), {
        // 3 bits of header and 7 of end for each block: 010 0000000, lowest bit first.
        [0x02, 0x08, 0x20, 0x80, 0x00].repeat(200_000)
    }] {
        for cut in [blocks.len(), 1000] {
            let mut client = echo(gateway.address);
            client.send(0x41, b"");
            for piece in blocks.chunks(cut) {
                client.send(0x00, piece);
            }
            client.send(0x80, b"");
            let code = client.until_close();
            assert!(matches!(code, Some(1007 | 1008)), "{code:?}");
            assert_eq!(client.next(), None);
        }
    }
    assert!(gateway.cpu() - cpu < Duration::from_secs(5));
    gateway.check_alive();
}

#[test]
fn c03_corrupt_streams_are_refused_and_leave_others_alone() {
    let gateway = TestGateway::start();
    let whole = deflate(&mut compressor(15), text(500).as_bytes());
    let takes_over = {
        let mut stream = compressor(15);
        deflate(&mut stream, text(500).as_bytes());
        deflate(&mut stream, text(500).as_bytes())
    };
    let mut bystander = echo(gateway.address);
    for (what, payload) in [
        ("a reserved type of block", &b"\x06\x00"[..]),
        ("lengths that contradict", b"\x00\x05\x00\x00\x00hello"),
        ("a distance before the beginning", b"\x4b\x04\x42\x00"),
        ("the end is missing", &whole[..whole.len() / 2]),
        ("a reference to an earlier message", &takes_over),
        ("no stream at all", b"\xff\xff\xff\xff\xff"),
        (
            "a code that is oversubscribed",
            b"\x05\xe0\xff\xff\xff\xff\xff\xff",
        ),
    ] {
        for cut in [payload.len(), 1] {
            let mut client = echo(gateway.address);
            // A sound message before it, so that there is something to refer to.
            check_echo(&mut client, &text(500));
            client.send(0x41, b"");
            for piece in payload.chunks(cut) {
                client.send(0x00, piece);
            }
            client.send(0x80, b"");
            assert_eq!(client.until_close(), Some(1007), "{what}");
            check_echo(&mut bystander, &text(3000));
        }
    }
    // A final block is legal (RFC 7692 section 7.2.3.4), and what is inflated has to be UTF-8.
    let mut client = echo(gateway.address);
    client.send(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00");
    check_answer(&mut client, b"Hello", 15);
    check_echo(&mut client, "and the next one");
    client.send(0xc1, &deflate(&mut compressor(15), b"\xff"));
    assert_eq!(client.until_close(), Some(1007));
}

#[test]
fn c03_any_bytes_end_in_an_answer_or_a_close() {
    let mut gateway = Process::start(&["--shards", "1"]);
    let whole = deflate(&mut compressor(15), text(300).as_bytes());
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..300 {
        let mut mutant = whole.clone();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = state as usize % mutant.len();
            mutant[at] ^= (state >> 32) as u8;
        }
        let mut client = echo(gateway.address);
        client.send(0xc2, &mutant);
        let answer = client.next().expect("an answer");
        assert!(
            matches!(answer.first, 0x82 | 0xc2) || matches!(answer.close_code(), Some(1007..=1009)),
            "{answer:?}"
        );
    }
    gateway.check_alive();
}

#[test]
fn c04_compressed_connections_leave_nothing_behind() {
    const COUNT: u64 = 400;
    for contexts in ["false", "true"] {
        let variables = [("FANFARE_WEBSOCKET__DEFLATE_CLIENT_CONTEXTS", contexts)];
        let mut gateway = Process::with(&["--shards", "1"], &variables);
        gateway.check_alive();
        let message = text(1000);
        let come_and_go = || {
            let mut clients: Vec<Client> = (0..COUNT).map(|_| echo(gateway.address)).collect();
            for client in &mut clients {
                check_echo(client, &message);
            }
            let rss = gateway.rss();
            drop(clients);
            let deadline = Instant::now() + Duration::from_secs(10);
            while metric(gateway.address, "connections") > 0 {
                assert!(Instant::now() < deadline, "all of them have left");
                thread::sleep(Duration::from_millis(50));
            }
            rss
        };
        let before = gateway.rss();
        let used = come_and_go().saturating_sub(before);
        // One stream for all of them, or one for each that is allowed to keep its own.
        let each = if contexts == "true" {
            80 << 10
        } else {
            16 << 10
        };
        assert!(used < COUNT * each + (4 << 20), "{used} bytes");
        for _ in 0..4 {
            come_and_go();
        }
        let limit = before + before / 10 + (16 << 20);
        let deadline = Instant::now() + Duration::from_secs(10);
        while gateway.rss() > limit {
            let now = gateway.rss();
            assert!(Instant::now() < deadline, "{before} and then {now} bytes");
            thread::sleep(Duration::from_millis(100));
        }
        gateway.check_alive();
    }
}

/// Sends messages of many sizes with a client that does what was agreed; all come back.
fn check_combination(address: SocketAddr, offer: &str, client_bits: u8, messages: usize) {
    let mut client = connect(address, "/debug/echo", offer);
    let answer = client.head.to_lowercase();
    let server_bits = answer
        .split_once("server_max_window_bits=")
        .map_or(15, |(_, rest)| {
            let digits = rest.split(|it: char| !it.is_ascii_digit()).next();
            digits.unwrap().parse().unwrap()
        });
    let resets = answer.contains("client_no_context_takeover");
    assert!(answer.contains("server_no_context_takeover"), "{answer}");
    let mut stream = compressor(client_bits.max(9));
    for number in 0..messages {
        let message = text(number * 37 % 3000);
        if resets {
            stream.reset();
        }
        let payload = if message.is_empty() {
            vec![0]
        } else {
            deflate(&mut stream, message.as_bytes())
        };
        client.send(0xc1, &payload);
        check_answer(&mut client, message.as_bytes(), server_bits);
    }
}

#[test]
fn c05_every_combination_of_windows_and_takeover_works_or_is_declined() {
    for contexts in [false, true] {
        let gateway = TestGateway::with(|config| {
            config.websocket.deflate_client_contexts = contexts;
        });
        for takeover in [
            "",
            "; server_no_context_takeover",
            "; client_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover",
        ] {
            for client in 8..=15_u8 {
                for server in 8..=15_u8 {
                    let offer = format!(
                        "{OFFER}{takeover}; client_max_window_bits={client}; server_max_window_bits={server}"
                    );
                    if server == 8 {
                        // No compressor can be held to it: declined, in favour of the next.
                        let header = format!("Sec-WebSocket-Extensions: {offer}\r\n");
                        let plain = Client::connect_with(gateway.address, "/debug/echo", &header);
                        assert!(!plain.head.contains("permessage"), "{offer}");
                        check_combination(gateway.address, &format!("{offer}, {OFFER}"), client, 3);
                    } else {
                        check_combination(gateway.address, &offer, client, 6);
                    }
                }
            }
        }
        check_combination(gateway.address, OFFER, 15, 1000);
    }
}

#[test]
fn c06_no_message_to_a_client_can_refer_to_another_one() {
    let gateway = TestGateway::start();
    // Whatever is offered, the answer rules a common context out, and frames keep to it: each can
    // be read alone, so the length of one tells nothing about another.
    for offer in [OFFER, "permessage-deflate; client_max_window_bits"] {
        let mut client = connect(gateway.address, "/debug/echo", offer);
        assert!(client.head.contains("server_no_context_takeover"));
        let secret = format!("access_token={}", text(200));
        let mut lengths = Vec::new();
        for _ in 0..3 {
            client.send(0x81, secret.as_bytes());
            let echo = client.next().unwrap();
            assert_eq!(echo.first, 0xc1);
            assert_eq!(inflate(&echo.payload, 15), secret.as_bytes());
            lengths.push(echo.payload.len());
        }
        assert_eq!(lengths, [lengths[0]; 3]);
    }
    let off = TestGateway::with(|config| config.websocket.deflate = false);
    let header = format!("Sec-WebSocket-Extensions: {OFFER}\r\n");
    let client = Client::connect_with(off.address, "/debug/echo", &header);
    assert!(!client.head.to_lowercase().contains("extensions"));
}

#[test]
fn c07_an_empty_message_after_any_other_is_echoed_and_costs_nothing() {
    let variables = [
        ("FANFARE_WEBSOCKET__DEFLATE_CLIENT_CONTEXTS", "true"),
        ("FANFARE_WEBSOCKET__DEFLATE_MIN_SIZE", "0B"),
    ];
    let mut gateway = Process::with(&["--shards", "1"], &variables);
    let mut clients = Vec::new();
    for empty in [&b"\x00"[..], b"\x02\x00", b"\x03\x00\x00", b""] {
        let mut client = echo(gateway.address);
        check_echo(&mut client, "any other");
        for _ in 0..3 {
            // 7 bytes: a header and an empty block. Uncompressed it is legal as well.
            let first = if empty.is_empty() { 0x81 } else { 0xc1 };
            client.send_bytes(&frame(first, empty));
            check_answer(&mut client, b"", 15);
        }
        check_echo(&mut client, "and another");
        clients.push(client);
    }
    let cpu = gateway.cpu();
    thread::sleep(Duration::from_millis(500));
    assert!(gateway.cpu() - cpu < Duration::from_millis(150));
    gateway.check_alive();
}
