//! What waited for a user: it comes once, in order, before what is sent meanwhile, however slowly the user reads and
//! however often it connects.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fanfare::dialect::messenger::{Duplicate, MessengerSettings};
use serde_json::{Value, json};

use super::{Account, Folder, get};
use crate::support::{Client, Process, TestGateway};

/// A gateway without a limit of rates.
fn gateway(shards: usize, change: impl FnOnce(&mut MessengerSettings)) -> TestGateway {
    TestGateway::with(|config| {
        config.server.shards = shards;
        let settings: &mut MessengerSettings = config.section_mut();
        settings.rate_limit = 0.0;
        change(settings);
    })
}

fn connect(address: SocketAddr, account: &Account, query: &str) -> Client {
    let token = account.token(address);
    Client::connect(address, &format!("/ws?token={token}{query}"))
}

/// Sends messages, and returns their ids.
fn send_all(sender: &mut Client, frames: &[Value]) -> Vec<i64> {
    let mut ids = Vec::new();
    for some in frames.chunks(64) {
        some.iter().for_each(|frame| sender.say(frame));
        ids.extend(some.iter().map(|_| ack(sender)));
    }
    ids
}

/// The id in the acknowledgement that comes next, whatever messages come before it.
fn ack(sender: &mut Client) -> i64 {
    loop {
        let said = sender.json();
        if said.get("id").is_none() {
            let content = said["body"]["content"].as_str().unwrap();
            let answer: Value = serde_json::from_str(content).unwrap();
            return answer["ack"].as_i64().unwrap_or_else(|| panic!("{answer}"));
        }
    }
}

fn direct(to: &str, content: &str) -> Value {
    json!({ "header": { "to": to }, "body": { "content": content } })
}

fn broadcast(content: &str) -> Value {
    direct("broadcast", content)
}

fn id_of(message: &Value) -> i64 {
    message["id"]
        .as_i64()
        .unwrap_or_else(|| panic!("{message}"))
}

/// Everything that comes until the connection ends; the code it ends with.
fn read_to_end(client: &mut Client) -> (Vec<Value>, Option<u16>) {
    let (mut got, mut code) = (Vec::new(), None);
    while let Some(frame) = client.next() {
        match frame.first {
            0x81 => got.push(frame.json()),
            0x88 => {
                code = frame.close_code();
                client.send(0x88, &frame.payload);
            }
            _ => {}
        }
    }
    (got, code)
}

/// Waits until the gateway knows that the user has gone.
fn wait_offline(address: SocketAddr, id: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let listed = get(address, "/active-users").json();
        let online = listed["online"].as_array().unwrap();
        if !online.contains(&id.into()) {
            return;
        }
        assert!(Instant::now() < end, "{listed}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_waited_comes_once_and_in_order_before_what_is_live() {
    for shards in [1, 2] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let [alice, bob] = ["alice", "bob"].map(|id| Account::registered(address, id));
        let mut sender = connect(address, &alice, "&ack=true");
        let frame = |number: usize| match number % 3 {
            0 => broadcast(&number.to_string()),
            _ => direct("bob", &number.to_string()),
        };
        let waiting: Vec<_> = (0..600).map(frame).collect();
        let mut ids = send_all(&mut sender, &waiting);
        // A user who registers now has no claim to what was sent to all before.
        let carol = Account::registered(address, "carol");
        let (mut late, mut receiver) = (None, None);
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let live: Vec<_> = (600..900).map(frame).collect();
                send_all(&mut sender, &live)
            });
            receiver = Some(connect(address, &bob, ""));
            late = Some(connect(address, &carol, ""));
            ids.extend(sending.join().unwrap());
        });
        let mut receiver = receiver.unwrap();
        let got: Vec<_> = (0..900).map(|_| receiver.json()).collect();
        assert_eq!(got.iter().map(id_of).collect::<Vec<_>>(), ids);
        for (number, message) in got.iter().enumerate() {
            assert_eq!(message["body"]["content"], number.to_string());
            let is_broadcast = message["header"]["is_broadcast"] == true;
            assert_eq!(is_broadcast, number % 3 == 0, "{message}");
        }
        let is_pending = |message: &Value| message["status"] == "pending";
        let live = got.iter().position(|message| !is_pending(message)).unwrap();
        assert!(live >= 600, "what waited says so: {}", got[live]);
        assert!(
            !got[live..].iter().any(is_pending),
            "what waited came first"
        );
        // Of what was sent to all since carol is there.
        let late = &mut late.unwrap();
        for id in ids[600..].iter().step_by(3) {
            assert_eq!(id_of(&late.json()), *id);
        }
        assert!(receiver.is_silent(Duration::from_millis(100)));
        // It has all been delivered.
        drop(receiver);
        wait_offline(address, "bob");
        let mut receiver = connect(address, &bob, "");
        assert!(receiver.is_silent(Duration::from_millis(200)));
        // Another one knows only the first half.
        drop(receiver);
        let mut receiver = connect(address, &bob, &format!("&after={}", ids[449]));
        for id in &ids[450..] {
            assert_eq!(id_of(&receiver.json()), *id);
        }
        assert!(receiver.is_silent(Duration::from_millis(100)));
    }
}

#[test]
fn what_is_opaque_is_kept_as_it_was_sent() {
    let gateway = gateway(1, |_| {});
    let address = gateway.address;
    let [alice, bob] = ["alice", "bob"].map(|id| Account::registered(address, id));
    let mut sender = connect(address, &alice, "&ack=true");
    let texts = [
        "",
        "\0",
        "\"\\\u{7f}\u{85}\u{2028}\u{10ffff}",
        "é\r\n\t",
        "null",
    ];
    let frames: Vec<_> = texts
        .iter()
        .map(|text| {
            json!({
                "header": {
                    "from": "alice", "to": "bob", "message_type": "direct",
                    "timestamp": "2026-11-29T23:59:60.000000001+14:00".replace(":60", ":59"),
                    "signature": format!("s{text}"), "encrypted_key": format!("k{text}"),
                    "encryption_nonce": format!("n{text}"),
                },
                "body": { "content": text },
            })
        })
        .collect();
    send_all(&mut sender, &frames);
    let mut receiver = connect(address, &bob, "");
    for frame in &frames {
        let mut got = receiver.json();
        assert_eq!(got["status"], "pending");
        let got = got.as_object_mut().unwrap();
        got.remove("id");
        got.remove("status");
        assert_eq!(json!(got), *frame);
    }
    // Live they look the same.
    for frame in &frames {
        send_all(&mut sender, std::slice::from_ref(frame));
        let mut got = receiver.json();
        let live = got.as_object_mut().unwrap();
        live.remove("id");
        assert_eq!(got, *frame);
    }
}

#[test]
fn messages_of_all_sizes_come_whole_and_in_order() {
    let gateway = gateway(1, |_| {});
    let address = gateway.address;
    let [alice, bob] = ["alice", "bob"].map(|id| Account::registered(address, id));
    let mut sender = connect(address, &alice, "&ack=true");
    let sizes = [
        400_000, 700_000, 10, 1_040_000, 300_000, 1_040_000, 1, 600_000, 500_000,
    ];
    let frames: Vec<_> = sizes
        .iter()
        .cycle()
        .take(36)
        .map(|size| direct("bob", &"x".repeat(*size)))
        .collect();
    for is_live in [false, true] {
        let (mut ids, mut receiver) = (Vec::new(), None);
        if is_live {
            receiver = Some(connect(address, &bob, ""));
        }
        for frame in &frames {
            ids.extend(send_all(&mut sender, std::slice::from_ref(frame)));
        }
        let mut receiver = receiver.unwrap_or_else(|| connect(address, &bob, ""));
        thread::sleep(Duration::from_millis(300));
        for (number, id) in ids.iter().enumerate() {
            let got = receiver.json();
            assert_eq!(id_of(&got), *id, "{number}");
            assert!(got["body"] == frames[number]["body"]);
        }
        drop(receiver);
        wait_offline(address, "bob");
    }
}

#[test]
fn what_a_client_is_told_besides_displaces_no_message() {
    let gateway = TestGateway::start();
    let address = gateway.address;
    let [alice, bob] = ["alice", "bob"].map(|id| Account::registered(address, id));
    let mut sender = connect(address, &alice, "&ack=true");
    let text = "x".repeat(20_000);
    let mut ids = Vec::new();
    let end = Instant::now() + Duration::from_secs(60);
    while ids.len() < 120 && Instant::now() < end {
        // Each connection may send so many at once.
        let frames: Vec<_> = (0..10).map(|_| direct("bob", &text)).collect();
        ids.extend(send_all(&mut sender, &frames));
        sender.send(0x88, &1000_u16.to_be_bytes());
        assert_eq!(sender.until_close(), Some(1000));
        sender = connect(address, &alice, "&ack=true");
    }
    let mut receiver = connect(address, &bob, "");
    thread::sleep(Duration::from_millis(300));
    // Each of these is answered with an error, which goes before messages.
    let junk = crate::support::frame(0x81, b"{}").repeat(20_000);
    let mut stream = receiver.stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut stream, &junk));
        thread::sleep(Duration::from_millis(500));
        for id in &ids {
            let got = loop {
                let got = receiver.json();
                if got.get("id").is_some() {
                    break got;
                }
            };
            assert_eq!(id_of(&got), *id);
        }
        receiver.shut();
        drop(receiver);
    });
}

#[test]
fn m27_a_slow_reader_costs_little_and_has_everything_once() {
    const WAITING: usize = 6000;
    const LIVE: usize = 1000;
    let folder = Folder::new("slow");
    let url = format!("sqlite:{}", folder.path("store.db"));
    let variables = [
        ("FANFARE_STORE__URL", &*url),
        ("FANFARE_MESSENGER__RATE_LIMIT", "0"),
    ];
    let process = Process::with(&[], &variables);
    let address = process.address;
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|id| Account::registered(address, id));
    let mut sender = connect(address, &alice, "&ack=true");
    let text = "x".repeat(8000);
    let frame = |number: usize| direct("bob", &format!("{number} {text}"));
    let waiting: Vec<_> = (0..WAITING).map(frame).collect();
    let mut ids = send_all(&mut sender, &waiting);
    let before = process.rss();
    let mut receiver = connect(address, &bob, "");
    let live: Vec<_> = (WAITING..WAITING + LIVE).map(frame).collect();
    ids.extend(send_all(&mut sender, &live));
    // Others are not delayed.
    let mut other = connect(address, &carol, "");
    let began = Instant::now();
    sender.say(&direct("carol", "at once"));
    assert_eq!(other.json()["body"]["content"], "at once");
    assert!(began.elapsed() < Duration::from_secs(1));
    let grown = process.rss().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes for one slow reader");
    for (number, id) in ids.iter().enumerate() {
        let got = receiver.json();
        assert_eq!(id_of(&got), *id, "{number}");
        let content = got["body"]["content"].as_str().unwrap();
        assert_eq!(content.split(' ').next(), Some(&*number.to_string()));
        if number % 1000 == 0 {
            thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(receiver.is_silent(Duration::from_millis(200)));
}

#[test]
fn a_connection_that_is_replaced_leaves_nothing_behind_and_repeats_nothing() {
    for (shards, stalls) in [(1, false), (2, false), (2, true)] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let [alice, bob] = ["alice", "bob"].map(|id| Account::registered(address, id));
        let mut sender = connect(address, &alice, "&ack=true");
        let text = "x".repeat(if stalls { 20_000 } else { 500 });
        let frames: Vec<_> = (0..1500)
            .map(|it| direct("bob", &format!("{it} {text}")))
            .collect();
        let (ids, connections) = thread::scope(|scope| {
            let sending = scope.spawn(|| send_all(&mut sender, &frames));
            let mut reading = Vec::new();
            let mut has_ended = false;
            while !has_ended {
                has_ended = sending.is_finished();
                let mut client = connect(address, &bob, "");
                let is_last = has_ended;
                reading.push(scope.spawn(move || {
                    if stalls && !is_last {
                        thread::sleep(Duration::from_millis(300));
                    }
                    if !is_last {
                        return read_to_end(&mut client);
                    }
                    let mut got = Vec::new();
                    while !client.is_silent(Duration::from_secs(7)) {
                        got.push(client.json());
                    }
                    (got, None)
                }));
                thread::sleep(Duration::from_millis(100));
            }
            let ids = sending.join().unwrap();
            let read = reading.into_iter().map(|it| it.join().unwrap());
            (ids, read.collect::<Vec<_>>())
        });
        let last = connections.len() - 1;
        for (number, (_, code)) in connections.iter().enumerate() {
            assert_eq!(
                *code,
                (number < last).then_some(1008),
                "connection {number}"
            );
        }
        let mut got: Vec<_> = connections
            .iter()
            .flat_map(|(got, _)| got)
            .map(id_of)
            .collect();
        let lens: Vec<_> = connections.iter().map(|(got, _)| got.len()).collect();
        if stalls {
            // What was on its way to a client that did not read, the next one has got, too.
            let is_rising =
                |got: &[Value]| got.windows(2).all(|two| id_of(&two[0]) < id_of(&two[1]));
            assert!(
                connections.iter().all(|(got, _)| is_rising(got)),
                "{lens:?}"
            );
            got.sort_unstable();
            got.dedup();
        }
        assert_eq!(got.len(), ids.len(), "{shards} {stalls}: {lens:?}");
        assert_eq!(got, ids, "{shards} {stalls}: {lens:?}");
    }
}

#[test]
fn two_connections_of_a_user_both_get_what_is_sent_from_then_on() {
    for shards in [1, 2] {
        let gateway = gateway(shards, |it| it.duplicate = Duplicate::Allow);
        let address = gateway.address;
        let [alice, bob] = ["alice", "bob"].map(|id| Account::registered(address, id));
        let mut sender = connect(address, &alice, "&ack=true");
        let waiting = send_all(
            &mut sender,
            &[direct("bob", "waited"), broadcast("waited, too")],
        );
        let mut first = connect(address, &bob, "");
        for id in &waiting {
            assert_eq!(id_of(&first.json()), *id);
        }
        // Nothing is repeated that the first one has said to have got.
        thread::sleep(Duration::from_millis(200));
        let mut second = connect(address, &bob, "");
        let frames: Vec<_> = (0..500)
            .flat_map(|number| [direct("bob", &number.to_string()), broadcast("all")])
            .collect();
        let ids = send_all(&mut sender, &frames);
        for client in [&mut first, &mut second] {
            let got: Vec<_> = ids.iter().map(|_| client.json()).collect();
            assert_eq!(got.iter().map(id_of).collect::<Vec<_>>(), ids);
            assert!(got.iter().all(|message| message["status"] == Value::Null));
            assert!(client.is_silent(Duration::from_millis(50)));
        }
        // One of them goes: the user is still there.
        drop(first);
        let ids = send_all(&mut sender, &[direct("bob", "one is left")]);
        assert_eq!(id_of(&second.json()), ids[0]);
        drop(second);
        wait_offline(address, "bob");
        let mut third = connect(address, &bob, "");
        assert!(
            third.is_silent(Duration::from_millis(200)),
            "all has been delivered"
        );
    }
}

#[test]
fn of_two_connections_the_slow_one_lacks_nothing_of_what_is_sent_from_then_on() {
    let gateway = gateway(2, |it| it.duplicate = Duplicate::Allow);
    let address = gateway.address;
    let [alice, bob] = ["alice", "bob"].map(|id| Account::registered(address, id));
    let mut sender = connect(address, &alice, "&ack=true");
    let text = "x".repeat(20_000);
    let frames: Vec<_> = (0..400)
        .map(|it| direct("bob", &format!("{it} {text}")))
        .collect();
    let mut ids = send_all(&mut sender, &frames);
    // It does not read, so that most of it waits in the database.
    let mut slow = connect(address, &bob, "");
    let mut quick = connect(address, &bob, "");
    let frames: Vec<_> = (0..100)
        .flat_map(|it| [direct("bob", &it.to_string()), broadcast(&it.to_string())])
        .collect();
    let live = send_all(&mut sender, &frames);
    let until_last = |client: &mut Client| {
        let mut got = vec![id_of(&client.json())];
        while got.last() != live.last() {
            got.push(id_of(&client.json()));
        }
        assert!(got.is_sorted() && got.ends_with(&live), "{got:?}");
        got
    };
    // What waited comes on each of them until one has got it.
    let mut got = until_last(&mut quick);
    thread::sleep(Duration::from_millis(200));
    got.extend(until_last(&mut slow));
    assert!(slow.is_silent(Duration::from_millis(100)));
    ids.extend(live);
    got.sort_unstable();
    got.dedup();
    assert_eq!(got, ids);
}
