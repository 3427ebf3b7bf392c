//! Limits: clients that do not read, that say too much or too large things, and the end of the gateway.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;

use super::{PATIENCE, everywhere};
use crate::support::{WseApp, WseClient, metric, post_json, wse_gateway, wse_publish};

/// A client for which the kernel keeps little.
fn small(mut client: WseClient) -> WseClient {
    SockRef::from(&client.client.stream)
        .set_recv_buffer_size(64 * 1024)
        .unwrap();
    client.has_nothing();
    client
}

#[test]
fn a_full_outbox_gives_up_the_lowest_first_and_each_loss_is_told() {
    const HIGH: u64 = 900;
    let toml = "[backend]\nenabled = true\n[server]\nsend_buffer = \"16KiB\"\n\
        [hub]\nmax_stall = \"10m\"\noutbox_max_messages = 1000\noutbox_max_bytes = \"64MiB\"\n";
    everywhere(toml, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = small(WseClient::open(gateway.address));
        let filler = "x".repeat(2000);
        let conn = client.id().to_owned();
        let mut sent: BTreeMap<i64, u64> = BTreeMap::new();
        let send = |app: &mut WseApp, class: i64| {
            let data = json!({ "class": class, "filler": filler });
            app.ask(&json!({ "op": "send", "conn": conn, "type": "m", "priority": class, "data": data }))
        };
        // Low ones until no more are taken: the application is told.
        for class in [1, 3, 5].into_iter().cycle() {
            let answer = send(&mut app, class);
            if answer["ok"] != true {
                assert_eq!(answer["error"], "busy", "{answer}");
                break;
            }
            *sent.entry(class).or_default() += 1;
            assert!(sent[&1] < 20_000, "the client is not slow");
        }
        // They give way to high ones, as many as fit.
        for number in 0..HIGH {
            let class = if number % 2 == 0 { 8 } else { 10 };
            let answer = send(&mut app, class);
            assert_eq!(answer["ok"], true, "{answer}");
            *sent.entry(class).or_default() += 1;
        }
        let mut received: BTreeMap<i64, u64> = BTreeMap::new();
        let (mut lost, mut left) = (0, sent.values().sum::<u64>());
        while left > 0 {
            let message = client.next();
            let count = match message.kind() {
                "gap" => {
                    assert_eq!(message.payload()["topic"], Value::Null, "{message:?}");
                    let count = message.payload()["lost"].as_u64().unwrap();
                    lost += count;
                    count
                }
                kind => {
                    assert_eq!(kind, "m");
                    let class = message.payload()["class"].as_i64().unwrap();
                    *received.entry(class).or_default() += 1;
                    1
                }
            };
            left = left.checked_sub(count).expect("no more than was sent");
        }
        assert!(lost > 100, "{lost}: it was no test");
        for class in [8, 10] {
            assert_eq!(received[&class], sent[&class], "lower ones were left");
        }
        // What was written before the client stopped is one more of some.
        let of = |class: i64| received.get(&class).copied().unwrap_or(0);
        assert!(
            of(1) <= of(3) + 1 && of(3) <= of(5) + 1,
            "{received:?} of {sent:?}"
        );
        client.has_nothing();
    });
}

#[test]
fn who_reads_a_topic_too_slowly_is_told_of_the_gap() {
    const SENT: u64 = 600;
    let toml = "[server]\nsend_buffer = \"16KiB\"\n\
        [hub]\nmax_stall = \"10m\"\nslow_consumer = \"drop-oldest\"\nmax_lag = \"256KiB\"\nhistory_size = 10\n";
    everywhere(toml, |gateway| {
        let mut slow = small(WseClient::open(gateway.address));
        let mut reader = WseClient::open(gateway.address);
        slow.subscribe(&["t"]);
        reader.subscribe(&["t"]);
        let mut publisher = WseClient::open(gateway.address);
        let filler = "x".repeat(8000);
        for number in 1..=SENT {
            publisher.send(
                "publish",
                &json!({ "topic": "t", "type": "n", "data": { "n": number, "filler": filler } }),
            );
            assert_eq!(
                reader.next().payload()["n"],
                number,
                "one peer's trouble costs that peer only"
            );
        }
        let (mut lost, mut last) = (0, 0);
        while last < SENT {
            let message = slow.next();
            match message.kind() {
                "gap" => {
                    assert_eq!(message.payload()["topic"], "t");
                    lost += message.payload()["lost"].as_u64().unwrap();
                }
                _ => {
                    let offset = message.json["o"].as_u64().unwrap();
                    assert_eq!(offset, last + lost + 1, "what is missing was told before");
                    (last, lost) = (offset, 0);
                }
            }
        }
        assert_eq!(lost, 0, "and nothing more");
    });
}

#[test]
fn who_was_too_slow_gets_what_is_kept_when_it_asks() {
    const SENT: u64 = 400;
    let toml = "[server]\nsend_buffer = \"16KiB\"\n\
        [hub]\nmax_stall = \"10m\"\nslow_consumer = \"drop-oldest\"\nmax_lag = \"256KiB\"\nhistory_size = 1000\n";
    everywhere(toml, |gateway| {
        let mut slow = small(WseClient::open(gateway.address));
        slow.subscribe(&["t"]);
        let mut publisher = WseClient::open(gateway.address);
        let filler = "x".repeat(8000);
        for number in 1..=SENT {
            let data = json!({ "n": number, "filler": filler });
            publisher.say(&json!({ "t": "publish", "id": number, "p": { "topic": "t", "type": "n", "data": data, "ack": true } }));
            publisher.expect("publish_ack");
        }
        // As 2.5.1 does: at each message that does not follow on it asks for what is between.
        let (mut last, mut asked) = (0, 0);
        while last < SENT {
            let message = slow.next();
            let Some(offset) = message.json["o"].as_u64() else {
                continue;
            };
            if offset == last + 1 {
                last = offset;
            } else if offset > last && asked < 20 {
                asked += 1;
                let position = json!({ "epoch": message.json["e"], "offset": last });
                slow.send_subscribe(
                    &json!({ "topics": ["t"], "recover": true, "recovery": { "t": position } }),
                );
            }
        }
        assert!(asked > 0, "it was no test");
    });
}

#[test]
fn who_is_too_slow_is_closed_with_1013() {
    let toml = "[server]\nsend_buffer = \"16KiB\"\n[hub]\nslow_consumer = \"disconnect\"\nmax_lag = \"64KiB\"\n\
        [websocket]\nclose_timeout = \"10s\"\n";
    everywhere(toml, |gateway| {
        let mut slow = small(WseClient::open(gateway.address));
        slow.subscribe(&["t"]);
        let filler = "x".repeat(60_000);
        super::wait_until(|| {
            wse_publish(gateway.address, "t", "n", &json!({ "filler": filler }));
            metric(gateway.address, "disconnects_total{reason=\"slow\"}") == 1
        });
        assert_eq!(slow.until_close().1, Some(1013));
    });
}

#[test]
fn who_says_too_much_is_warned_and_then_not_heard() {
    let toml = "[backend]\nenabled = true\n[wse]\nrate_capacity = 20\nrate_refill = 1\n";
    everywhere(toml, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::open(gateway.address);
        for number in 0..100 {
            client.say(&json!({ "t": "order", "p": { "n": number } }));
        }
        // 19 and what a second or so gives; in their order.
        let warning = client.expect("rate_limit_warning");
        assert_eq!(warning["limit"], 20);
        assert!(warning["remaining"].as_u64().unwrap() < 4, "{warning}");
        assert_eq!(
            warning["current_rate"].as_u64().unwrap() + warning["remaining"].as_u64().unwrap(),
            20
        );
        assert!(warning["retry_after"].is_number());
        let error = loop {
            let message = client.next();
            match message.kind() {
                "rate_limit_warning" => {}
                "error" => break message.payload().clone(),
                kind => panic!("{kind}"),
            }
        };
        assert_eq!(error["code"], "RATE_LIMITED");
        assert_eq!(error["message"], "Rate limit exceeded");
        assert!(error["retry_after"].as_f64().unwrap() > 0.0, "{error}");
        assert_eq!(error["recoverable"], true);
        for number in 0..19 {
            assert_eq!(app.next("message")["data"]["p"]["n"], number);
        }
        let dropped = || metric(gateway.address, "limited_total{reason=\"rate_capacity\"}");
        super::wait_until(|| (60..=81).contains(&dropped()));
        // Later it is heard again.
        thread::sleep(Duration::from_millis(1100));
        client.say(&json!({ "t": "later", "p": {} }));
        loop {
            let told = app.next("message");
            if told["type"] == "later" {
                break;
            }
        }
    });
}

#[test]
fn warnings_and_errors_come_once_a_second_at_most() {
    let gateway = wse_gateway(1, "[wse]\nrate_capacity = 5\nrate_refill = 1\n");
    let mut client = WseClient::open(gateway.address);
    for _ in 0..1000 {
        client.client.send(0x81, br#"{"t":"pong"}"#);
    }
    let dropped = || metric(gateway.address, "limited_total{reason=\"rate_capacity\"}");
    super::wait_until(|| dropped() > 900);
    let mut count = 0;
    while !client.is_silent(super::SILENCE) {
        let message = client.next();
        assert!(
            matches!(message.kind(), "rate_limit_warning" | "error"),
            "{message:?}"
        );
        count += 1;
    }
    assert!((1..=20).contains(&count), "{count}");
}

#[test]
fn rate_capacity_0_is_no_limit() {
    let gateway = wse_gateway(1, "[wse]\nrate_capacity = 0\n");
    let mut client = WseClient::open(gateway.address);
    for _ in 0..2000 {
        client.client.send(0x81, br#"{"t":"pong"}"#);
    }
    client.has_nothing();
}

#[test]
fn a_message_may_have_a_mebibyte_and_no_more() {
    everywhere("[backend]\nenabled = true\n", |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::open(gateway.address);
        let frame = r#"{"t":"big","p":{"d":""}}"#;
        let big = |len: usize| json!({ "t": "big", "p": { "d": "x".repeat(len - frame.len()) } });
        let most = big(1 << 20);
        client.say(&most);
        assert_eq!(app.next("message")["data"], most);
        client.say(&big((1 << 20) + 1));
        assert_eq!(client.until_close().1, Some(1009));
    });
}

#[test]
fn what_is_too_large_for_clients_is_a_gap_at_its_place() {
    everywhere(
        "[http]\nmax_body_size = \"8MiB\"\n[events]\nmax_message_size = \"4MiB\"\n[hub]\nhistory_size = 10\n",
        |gateway| {
            let mut client = WseClient::open(gateway.address);
            client.subscribe(&["t"]);
            let most = json!({ "d": "x".repeat((1 << 20) - 200) });
            assert_eq!(wse_publish(gateway.address, "t", "x", &most), 1);
            assert_eq!(client.expect("x"), most);
            let beyond = json!({ "d": "x".repeat(1 << 20) });
            assert_eq!(wse_publish(gateway.address, "t", "x", &beyond), 2);
            let gap = client.next();
            assert_eq!(
                (gap.kind(), &gap.payload()["topic"], &gap.payload()["lost"]),
                ("gap", &json!("t"), &json!(1))
            );
            assert_eq!(
                gap.json["o"], 2,
                "so that clients do not ask for it again and again"
            );
            assert_eq!(wse_publish(gateway.address, "t", "x", &json!({})), 3);
            assert_eq!(client.next().json["o"], 3);
        },
    );
}

#[test]
fn a_publisher_is_told_what_is_too_large() {
    everywhere(
        "[namespace.\"small.\"]\nmax_message_size = \"1KiB\"\n",
        |gateway| {
            let mut client = WseClient::open(gateway.address);
            client.subscribe(&["small.t"]);
            let data = json!({ "d": "x".repeat(2000) });
            client.say(
                &json!({ "t": "publish", "cid": "c", "p": { "topic": "small.t", "data": data } }),
            );
            assert_eq!(client.error("MESSAGE_TOO_LARGE")["cid"], "c");
            let body = json!({ "topic": "small.t", "payload": data });
            let refused = post_json(gateway.address, "/api/v1/publish", &body);
            assert!((400..500).contains(&refused.status), "{refused:?}");
            client.has_nothing();
        },
    );
}

#[test]
fn at_the_end_of_the_gateway_clients_are_closed_with_1012() {
    for shards in [1, 2] {
        let gateway = wse_gateway(shards, "");
        let mut clients: Vec<WseClient> =
            (0..8).map(|_| WseClient::open(gateway.address)).collect();
        let mut fresh = WseClient::greeted(gateway.address, "/wse");
        let readers = thread::spawn(move || {
            for client in clients.iter_mut().chain([&mut fresh]) {
                let (_, code) = client.until_close();
                // After 1000 and 1001 existing clients do not come back.
                assert_eq!(code, Some(1012));
                client.client.send(0x88, &1012_u16.to_be_bytes());
            }
        });
        assert!(gateway.stop() < PATIENCE);
        readers.join().unwrap();
    }
}

#[test]
fn protocol_violations_have_their_own_codes() {
    let gateway = wse_gateway(1, "");
    let mut unmasked = WseClient::open(gateway.address);
    unmasked.client.send_bytes(&[0x81, 0x02, b'{', b'}']);
    assert_eq!(unmasked.until_close().1, Some(1002));
    let mut no_text = WseClient::open(gateway.address);
    no_text.client.send(0x81, &[0xff, 0xfe]);
    assert_eq!(no_text.until_close().1, Some(1007));
}
