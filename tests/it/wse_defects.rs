//! Defects of the server whose protocol this is, by their numbers: none of them is here. Of 10, 12 and 18 some is kept
//! because existing clients expect it; what is better is tested.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{
    Client, Process, RaiseOnDrop, WseApp, WseClient, WseForm, WseMessage, deflate, metric,
    post_json, request, wse_gateway, wse_publish,
};
use crate::wse::encryption::Secret;

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// JSON pings of the client that floods, unless `FANFARE_TEST_FLOOD` says another number.
const FLOOD: u64 = 5_000;

/// An RFC ping goes with so many JSON pings.
const JSON_PINGS_PER_PING: u64 = 3;

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// F11 too: a client floods pings of both kinds while a large fan-out holds it back. No frame is broken, and every JSON
/// ping has its answer, in order.
#[test]
fn defect_01_no_pong_is_written_into_another_frame() {
    let toml = "[server]\nsend_buffer = \"32KiB\"\n[wse]\nrate_capacity = 0\n\
        [websocket]\nmax_control_frames_per_second = 1000000\n\
        [hub]\nmax_stall = \"10m\"\nslow_consumer = \"drop-oldest\"\nmax_lag = \"1MiB\"\nhistory_size = 0\n";
    let asked = std::env::var("FANFARE_TEST_FLOOD");
    let flood: u64 = asked.map_or(FLOOD, |number| number.parse().expect("a number"));
    for shards in [1, 2] {
        let gateway = wse_gateway(shards, toml);
        let address = gateway.address;
        let mut client = WseClient::open(address);
        SockRef::from(&client.client.stream)
            .set_recv_buffer_size(64 * 1024)
            .unwrap();
        client.subscribe(&["large", "small"]);
        let mut others: Vec<WseClient> = (0..3).map(|_| WseClient::open(address)).collect();
        for other in &mut others {
            other.subscribe(&["large"]);
        }
        let mut writer = client.client.stream.try_clone().unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _over = RaiseOnDrop(&is_over);
            scope.spawn(|| {
                let mut publisher = WseClient::open(address);
                let filler = "x".repeat(30_000);
                let mut number = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    number += 1;
                    for (topic, filler) in [("large", &*filler), ("small", "")] {
                        let data = json!({ "n": number, "filler": filler });
                        publisher.send(
                            "publish",
                            &json!({ "topic": topic, "type": "n", "data": data }),
                        );
                    }
                    // Enough to fill the socket, whatever else the machine does.
                    thread::sleep(Duration::from_millis(1));
                }
            });
            scope.spawn(move || {
                for number in 0..flood {
                    let ping =
                        format!(r#"{{"c":"WSE","t":"ping","p":{{"timestamp":{number}}},"v":1}}"#);
                    let mut bytes = crate::support::frame(0x81, ping.as_bytes());
                    if number % JSON_PINGS_PER_PING == 0 {
                        bytes.extend(crate::support::frame(0x89, &number.to_be_bytes()));
                    }
                    writer.write_all(&bytes).unwrap();
                }
            });
            for other in &mut others {
                let is_over = &is_over;
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        if !other.is_silent(Duration::from_millis(20)) {
                            other.next();
                        }
                    }
                });
            }
            let (mut pongs, mut last_rfc, mut events) = (0, None, 0_u64);
            while pongs < flood || events == 0 {
                let frame = client.client.next().expect("the connection lives");
                if frame.first == 0x8a {
                    let number =
                        u64::from_be_bytes(*frame.payload.first_chunk().expect("what was sent"));
                    assert_eq!((frame.payload.len(), number % JSON_PINGS_PER_PING), (8, 0));
                    assert!(
                        last_rfc.is_none_or(|last| last < number),
                        "one answer, in order"
                    );
                    last_rfc = Some(number);
                    continue;
                }
                let message = WseMessage::read(&frame);
                match message.kind() {
                    "PONG" => {
                        assert_eq!(message.payload()["client_timestamp"], pongs);
                        pongs += 1;
                    }
                    "n" => {
                        let filler = message.payload()["filler"].as_str().unwrap();
                        assert!(filler.bytes().all(|byte| byte == b'x'));
                        events += 1;
                    }
                    "gap" | "PING" => {}
                    kind => panic!("{kind}"),
                }
            }
        });
    }
}

#[test]
fn defect_02_a_ping_has_one_pong() {
    for shards in [1, 2] {
        let gateway = wse_gateway(shards, "");
        let mut client = WseClient::open(gateway.address);
        for payload in [&b""[..], b"x", &[7; 125]] {
            client.client.send(0x89, payload);
            let pong = client.client.next().unwrap();
            assert_eq!((pong.first, &*pong.payload), (0x8a, payload));
        }
        client.has_nothing();
    }
}

#[test]
fn defect_03_publications_that_nobody_takes_are_bounded() {
    let mut process = Process::with(
        &[],
        &[
            ("FANFARE_SERVER__SHARDS", "2"),
            ("FANFARE_HUB__MAX_MEMORY", "32MiB"),
            ("FANFARE_HUB__MAX_HISTORY_MEMORY", "8MiB"),
            ("FANFARE_HUB__MAX_STALL", "10m"),
        ],
    );
    let before = process.rss();
    let mut idle = WseClient::open(process.address);
    idle.subscribe(&["t"]);
    let mut publisher = WseClient::open(process.address);
    let filler = "x".repeat(64 * 1024);
    // 160 MB.
    for _ in 0..2500 {
        publisher.send(
            "publish",
            &json!({ "topic": "t", "type": "n", "data": { "filler": filler } }),
        );
    }
    publisher.send(
        "publish",
        &json!({ "topic": "t", "type": "n", "ack": true, "data": {}, "id": 1 }),
    );
    let publish =
        json!({ "t": "publish", "id": "end", "p": { "topic": "t", "data": {}, "ack": true } });
    publisher.say(&publish);
    while publisher.next().json["cid"] != "end" {}
    let grown = process.rss().saturating_sub(before);
    assert!(grown < 128 << 20, "{} MiB", grown >> 20);
    process.check_alive();
}

#[test]
fn defect_04_an_idle_connection_is_small() {
    const CLIENTS: u64 = 300;
    let process = Process::start(&[]);
    let warm: Vec<WseClient> = (0..20).map(|_| WseClient::open(process.address)).collect();
    let before = process.rss();
    let clients: Vec<WseClient> = (0..CLIENTS)
        .map(|_| {
            let mut client = WseClient::open(process.address);
            client.subscribe(&["t"]);
            client
        })
        .collect();
    let each = process.rss().saturating_sub(before) / CLIENTS;
    assert!(each < 24 * 1024, "{each} bytes a connection");
    drop((warm, clients));
}

#[test]
fn defect_05_what_the_application_cannot_take_is_refused_and_not_lost() {
    const SENT: u64 = 500;
    for shards in [1, 2] {
        let gateway = wse_gateway(shards, "[backend]\nenabled = true\nmax_pending = 64\n");
        // It takes nothing until the client has said all.
        let mut client = WseClient::open(gateway.address);
        for number in 0..SENT {
            client.say(&json!({ "t": "order", "id": number, "p": { "n": number } }));
        }
        let mut app = None;
        let (mut told, mut refused) = (0, 0);
        client.send("config_request", &json!({}));
        loop {
            let message = client.next();
            if message.kind() == "config_response" {
                break;
            }
            assert_eq!(
                (message.kind(), &message.payload()["code"]),
                ("error", &json!("RATE_LIMITED")),
                "{message:?}"
            );
            assert!(message.payload()["retry_after"].is_number());
            refused += 1;
        }
        assert!(refused > 0, "it was no test");
        let app = app.get_or_insert_with(|| WseApp::attach(gateway.address));
        let mut last = None;
        while told + refused < SENT {
            let n = app.next("message")["data"]["p"]["n"].as_u64().unwrap();
            assert!(last.is_none_or(|last| last < n));
            last = Some(n);
            told += 1;
        }
        assert_eq!(told + refused, SENT, "every message is taken or refused");
    }
}

#[test]
fn defect_06_a_slow_client_is_told_what_it_lost_at_once() {
    const SENT: u64 = 300;
    let toml = "[server]\nsend_buffer = \"16KiB\"\n\
        [hub]\nmax_stall = \"10m\"\nslow_consumer = \"drop-oldest\"\nmax_lag = \"128KiB\"\nhistory_size = 0\n";
    for shards in [1, 2] {
        let gateway = wse_gateway(shards, toml);
        let mut slow = WseClient::open(gateway.address);
        SockRef::from(&slow.client.stream)
            .set_recv_buffer_size(64 * 1024)
            .unwrap();
        slow.subscribe(&["t"]);
        let mut publisher = WseClient::open(gateway.address);
        let filler = "x".repeat(10_000);
        for number in 1..=SENT {
            let data = json!({ "n": number, "filler": filler });
            publisher.say(&json!({ "t": "publish", "id": number, "p": { "topic": "t", "type": "n", "data": data, "ack": true } }));
            publisher.expect("publish_ack");
        }
        let (mut received, mut lost, mut last) = (0, 0, 0);
        while last < SENT {
            let message = slow.next();
            match message.kind() {
                "gap" => lost += message.payload()["lost"].as_u64().unwrap(),
                _ => {
                    last = message.payload()["n"].as_u64().unwrap();
                    received += 1;
                }
            }
        }
        assert!(lost > 0, "it was no test");
        assert_eq!(received + lost, SENT);
    }
}

#[test]
fn defect_07_silent_sockets_do_not_keep_others_out() {
    let gateway = wse_gateway(1, "");
    let silent: Vec<TcpStream> = (0..300)
        .map(|_| TcpStream::connect(gateway.address).unwrap())
        .collect();
    let mut half: Vec<TcpStream> = (0..300)
        .map(|_| TcpStream::connect(gateway.address).unwrap())
        .collect();
    for stream in &mut half {
        stream
            .write_all(b"GET /wse HTTP/1.1\r\nHost: x\r\n")
            .unwrap();
    }
    let began = Instant::now();
    for _ in 0..5 {
        WseClient::open(gateway.address);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    drop((silent, half));
}

#[test]
fn defect_08_many_connect_at_once() {
    if crate::support::needs_plaintext("the gateway is stopped while clients connect") {
        return;
    }
    let process = Process::start(&[]);
    // While it does nothing the kernel keeps who connects: a backlog of 128 would not.
    process.signal("STOP");
    let connected: Vec<_> = (0..300)
        .map(|_| TcpStream::connect_timeout(&process.address, Duration::from_millis(900)))
        .collect();
    process.signal("CONT");
    let failed = connected.iter().filter(|it| it.is_err()).count();
    assert_eq!(failed, 0);
    WseClient::open(process.address);
}

#[test]
fn defect_09_pings_are_signs_of_life() {
    let toml = "[websocket]\nping_interval = \"1s\"\nping_timeout = \"1s\"\n";
    let gateway = wse_gateway(1, toml);
    let mut client = WseClient::open(gateway.address);
    let mut mute = WseClient::open(gateway.address);
    let gone = thread::spawn(move || mute.client.wait_for_end());
    let began = Instant::now();
    while !gone.is_finished() || began.elapsed() < Duration::from_secs(4) {
        assert!(began.elapsed() < 4 * PATIENCE);
        client.client.send(0x89, b"alive");
        thread::sleep(Duration::from_millis(100));
    }
    gone.join().unwrap();
    client.client.send(0x89, b"last");
    while client.client.next().expect("it is still there").payload != b"last" {}
}

#[test]
fn defect_10_refusals_have_codes_or_statuses() {
    const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade = |gateway: &crate::support::TestGateway| {
        let head = format!("GET /wse HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n");
        request(gateway.address, head.as_bytes()).status
    };
    // As clients expect it, after the upgrade, but with a code.
    let gateway = wse_gateway(1, "[wse]\nauth_required = true\n");
    let mut refused = Client::connect(gateway.address, "/wse");
    assert_eq!(refused.json()["t"], "error");
    assert_eq!(refused.until_close(), Some(4401));
    // Or before it.
    let gateway = wse_gateway(1, "[wse]\nauth_required = true\nrefuse_with = \"http\"\n");
    assert_eq!(upgrade(&gateway), 401);
    let gateway = wse_gateway(1, "[server]\nmax_connections = 1\n");
    let mut client = WseClient::open(gateway.address);
    assert_eq!(upgrade(&gateway), 503);
    client.client.send(0x81, &vec![b'x'; (1 << 20) + 1]);
    assert_eq!(client.until_close().1, Some(1009));
}

#[test]
fn defect_11_messages_of_clients_have_a_rate() {
    let gateway = wse_gateway(1, "[wse]\nrate_capacity = 100\nrate_refill = 1\n");
    let mut client = WseClient::open(gateway.address);
    for _ in 0..1000 {
        client.client.send(0x81, br#"{"t":"pong"}"#);
    }
    let limited = || metric(gateway.address, "limited_total{reason=\"rate_capacity\"}");
    wait_until(|| limited() >= 880);
    let (mut warned, mut refused) = (false, false);
    while !(warned && refused) {
        let message = client.next();
        warned |= message.kind() == "rate_limit_warning";
        refused |= message.payload()["code"] == "RATE_LIMITED";
    }
}

/// More of it is in `wse/encryption.rs`.
#[test]
fn defect_12_answers_of_an_encrypted_connection_are_encrypted_and_its_pings_answered() {
    for shards in [1, 2] {
        let gateway = wse_gateway(shards, "");
        for path in ["/wse", "/wse?format=msgpack"] {
            let mut secret = Secret::open(gateway.address, path);
            // The acknowledgement was in clear, and MessagePack could not be read.
            assert_eq!(secret.subscribe(&["t"])["success"], true);
            wse_publish(gateway.address, "t", "x", &json!({ "n": 1 }));
            assert_eq!(secret.expect("x"), json!({ "n": 1 }));
            secret.say(&json!({ "t": "ping", "p": { "timestamp": 9 } }));
            assert_eq!(secret.wse.expect("PONG")["client_timestamp"], 9);
        }
    }
}

#[test]
fn defect_13_every_codec_is_read_and_binary_control_is_control() {
    for shards in [1, 2] {
        let gateway = wse_gateway(shards, "[backend]\nenabled = true\n");
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::open(gateway.address);
        let message = json!({ "t": "order", "p": { "n": 1 }, "v": 1 });
        let packed = rmp_serde::to_vec_named(&message).unwrap();
        for bytes in [
            [b"M:", &packed[..]].concat(),
            packed,
            [b"C:", &deflate(message.to_string().as_bytes())[..]].concat(),
            message.to_string().into_bytes(),
        ] {
            client.client.send(0x82, &bytes);
            let told = app.next("message");
            assert_eq!((&told["type"], &told["data"]), (&json!("order"), &message));
        }
        client
            .client
            .send(0x82, br#"{"t":"ping","p":{"timestamp":3}}"#);
        assert_eq!(client.expect("PONG")["client_timestamp"], 3);
    }
}

#[test]
fn defect_14_the_greeting_has_no_number_that_clients_wait_behind() {
    let gateway = wse_gateway(1, "");
    let mut client = Client::connect(gateway.address, "/wse");
    let ready: Value = client.json();
    assert_eq!(ready["t"], "server_ready");
    assert!(
        ready.get("seq").is_none() && ready.get("ts").is_none(),
        "{ready}"
    );
}

#[test]
fn defect_15_the_end_is_1012_after_which_clients_come_back() {
    let gateway = wse_gateway(2, "");
    let mut clients: Vec<WseClient> = (0..4).map(|_| WseClient::open(gateway.address)).collect();
    let stopping = thread::spawn(move || gateway.stop());
    for client in &mut clients {
        assert_eq!(client.until_close().1, Some(1012));
    }
    drop(clients);
    stopping.join().unwrap();
}

#[test]
fn defect_16_all_shards_deliver_and_a_subscription_waits_for_none() {
    let gateway = wse_gateway(2, "");
    let address = gateway.address;
    let mut readers: Vec<WseClient> = (0..16).map(|_| WseClient::open(address)).collect();
    for reader in &mut readers {
        reader.subscribe(&["t"]);
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = RaiseOnDrop(&is_over);
        scope.spawn(|| {
            let mut publisher = WseClient::open(address);
            while !is_over.load(Ordering::Relaxed) {
                publisher.send("publish", &json!({ "topic": "t", "type": "n", "data": {} }));
            }
        });
        for reader in &mut readers {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    if !reader.is_silent(Duration::from_millis(20)) {
                        reader.next();
                    }
                }
            });
        }
        let mut client = WseClient::open(address);
        for number in 0..20 {
            client.subscribe(&[&format!("other.{number}")]);
        }
    });
}

#[test]
fn defect_17_topics_are_compressed_and_msgpack_for_who_wants_it() {
    for shards in [1, 2] {
        let gateway = wse_gateway(shards, "");
        let mut zlib = WseClient::greeted(gateway.address, "/wse");
        zlib.hello(&json!({ "compression": true }));
        let mut packed = WseClient::open_at(gateway.address, "/wse?format=msgpack");
        let mut plain = WseClient::open(gateway.address);
        let data = json!({ "text": "hello ".repeat(1000) });
        for client in [&mut zlib, &mut packed, &mut plain] {
            client.subscribe(&["t"]);
        }
        wse_publish(gateway.address, "t", "x", &data);
        for (client, form) in [
            (&mut zlib, WseForm::Zlib),
            (&mut packed, WseForm::Msgpack),
            (&mut plain, WseForm::Text),
        ] {
            let message = client.next();
            assert_eq!((message.form, message.payload()), (form, &data));
        }
    }
}

#[test]
fn defect_18_every_topic_has_its_position_and_a_loss_is_told() {
    for shards in [1, 2] {
        let gateway = wse_gateway(
            shards,
            "[hub]\nhistory_size = 1000\n[namespace.\"few.\"]\nhistory_size = 3\n",
        );
        let mut client = WseClient::open(gateway.address);
        let ack = client.subscribe(&["a", "b", "few.c"]);
        client.unsubscribe(&["a", "b", "few.c"]);
        // More than the 500 that were the most before.
        for (topic, count) in [("a", 700), ("b", 2), ("few.c", 20)] {
            for number in 1..=count {
                let p = json!({ "topic": topic, "type": "n", "data": { "n": number }, "ack": number == count });
                client.say(&json!({ "t": "publish", "id": format!("{topic}{number}"), "p": p }));
            }
            client.expect("publish_ack");
        }
        let mut positions = ack["recovery"].clone();
        positions["b"]["offset"] = json!(1);
        let mut back = WseClient::open(gateway.address);
        back.send_subscribe(
            &json!({ "topics": ["a", "b", "few.c"], "recover": true, "recovery": positions }),
        );
        let (mut of_a, mut of_b, mut of_c, mut gap) = (0, 0, 0, None);
        let ack = loop {
            let message = back.next();
            match (message.kind(), message.json["tp"].as_str()) {
                ("n", Some("a")) => of_a += 1,
                ("n", Some("b")) => of_b += 1,
                ("n", Some("few.c")) => of_c += 1,
                ("gap", _) => gap = message.payload()["lost"].as_u64(),
                ("subscription_update", _) if message.payload()["action"] == "subscribe" => {
                    break message.payload().clone();
                }
                _ => {}
            }
        };
        assert_eq!((of_a, of_b), (700, 1));
        assert!(of_c >= 3, "the newest ones");
        assert_eq!(gap, Some(20 - of_c), "and what is lost");
        for (topic, recovered) in [("a", true), ("b", true), ("few.c", false)] {
            assert_eq!(ack["recovery"][topic]["recovered"], recovered, "{ack}");
        }
    }
}

#[test]
fn defect_19_presence_names_its_topic_and_who_comes_gets_the_members() {
    for shards in [1, 2] {
        let gateway = wse_gateway(shards, "[hub]\npresence = true\n");
        let mut ann = WseClient::of(gateway.address, "ann");
        ann.subscribe_with(&json!({ "topics": ["one"], "presence": { "on": 1 } }));
        ann.expect("presence_state");
        assert_eq!(ann.expect("presence_join")["topic"], "one");
        let mut bob = WseClient::of(gateway.address, "bob");
        bob.subscribe(&["one"]);
        let state = bob.expect("presence_state");
        assert_eq!(state["topic"], "one");
        assert_eq!(
            state["members"],
            json!([{ "user_id": "ann", "data": { "on": 1 } }])
        );
    }
}

#[test]
fn defect_20_there_is_one_version_and_messages_out_count_what_is_delivered() {
    let gateway = wse_gateway(1, "");
    let mut clients: Vec<WseClient> = (0..5)
        .map(|_| WseClient::greeted(gateway.address, "/wse"))
        .collect();
    for client in &mut clients {
        let mut hello = crate::support::wse_hello(&json!({}));
        hello["p"]["protocol_version"] = json!(9);
        client.say(&hello);
        assert_eq!(client.expect("server_hello")["protocol_version"], 1);
        client.subscribe(&["t"]);
    }
    let out = || {
        let head = b"GET /wse/debug HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        request(gateway.address, head).json()["bus"]["messages_out"]
            .as_u64()
            .unwrap()
    };
    let before = out();
    for _ in 0..10 {
        wse_publish(gateway.address, "t", "x", &json!({}));
    }
    for client in &mut clients {
        for _ in 0..10 {
            client.expect("x");
        }
    }
    wait_until(|| out() >= before + 50);
}

#[test]
fn defect_21_the_application_sees_the_request_and_clients_have_answers() {
    for shards in [1, 2] {
        let gateway = wse_gateway(
            shards,
            "[backend]\nenabled = true\nheaders = [\"user-agent\"]\n",
        );
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::greeted_with(
            gateway.address,
            "/wse?client_version=2.0.7&room=5",
            "User-Agent: test/1\r\n",
        );
        let connect = app.next("connect");
        assert_eq!(connect["path"], "/wse", "{connect}");
        let query = connect["query"].to_string();
        assert!(
            query.contains("client_version") && query.contains("room"),
            "{connect}"
        );
        assert_eq!(connect["headers"]["user-agent"], "test/1", "{connect}");
        assert_eq!(connect["ip"], "127.0.0.1", "{connect}");
        client.hello(&json!({}));
        client.say(&json!({ "t": "publish", "cid": 5, "p": { "topic": "t", "data": {} } }));
        let ack = client.next();
        assert_eq!(
            (ack.kind(), &ack.json["cid"], &ack.payload()["offset"]),
            ("publish_ack", &json!(5), &json!(1))
        );
        client.say(&json!({ "t": "ask", "id": "q", "p": {} }));
        let asked = app.next("message");
        app.run(&json!({ "op": "reply", "to": asked["n"], "data": { "n": 1 } }));
        let answer = client.next();
        assert_eq!(
            (answer.kind(), &answer.json["cid"]),
            ("response", &json!("q"))
        );
        let body = json!({ "topic": "t", "payload": {}, "id": "once" });
        let first = post_json(gateway.address, "/api/v1/publish", &body).json();
        assert_eq!(
            first["offset"],
            post_json(gateway.address, "/api/v1/publish", &body).json()["offset"]
        );
    }
}

#[test]
fn defect_22_the_port_takes_http_and_nothing_else() {
    if crate::support::needs_plaintext("what is not TLS is refused before") {
        return;
    }
    let gateway = wse_gateway(1, "");
    let mut client = WseClient::open(gateway.address);
    // Not all of them: `system.metrics` comes by itself.
    client.subscribe(&["t"]);
    // Frames of other servers' clusters: a length, a version, a type, a message.
    for bytes in [
        &b"WSE\x02\x00\x01\x00\x00\x00\x10{\"topic\":\"t\"}\n\n"[..],
        b"\x00\x00\x00\x20\x02\x00\x00\x01t\x00{\"t\":\"x\",\"p\":{}}\r\n\r\n",
        b"{\"t\":\"publish\",\"p\":{\"topic\":\"t\"}}\r\n\r\n",
    ] {
        let answer = request(gateway.address, bytes);
        assert!(matches!(answer.status, 0 | 400), "{answer:?}");
    }
    client.has_nothing();
}
