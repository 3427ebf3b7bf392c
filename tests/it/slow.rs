//! Subscribers that do not read: they cost themselves only, and lose nothing
//! without being told.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fanfare::config::SlowConsumer;
use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{Client, Process, TestGateway, request};

/// Bytes of one message's filler.
const FILLER: usize = 8 * 1024;

/// Messages that those who read take in one go: far below every lag that is allowed here.
const WINDOW: usize = 8;

/// A subscriber that does not read and whose kernel keeps little for it: just
/// enough to announce room for a segment of loopback when it reads again.
fn stalled(address: SocketAddr, topics: &[&str]) -> Client {
    let mut client = Client::events(address);
    SockRef::from(&client.stream)
        .set_recv_buffer_size(128 * 1024)
        .unwrap();
    client.subscribe(topics);
    client
}

fn metrics(address: SocketAddr) -> Value {
    let head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    request(address, head).json()
}

/// Waits until the metrics are as they should be; they follow within a second.
fn await_metrics(address: SocketAddr, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let metrics = metrics(address);
        if is_so(&metrics) {
            return metrics;
        }
        assert!(Instant::now() < deadline, "{what}: {metrics}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Publishes `range` to `topic`, and sees every reader receive all of it in time and in order.
fn pump(
    publisher: &mut Client,
    readers: &mut [Client],
    topic: &str,
    range: std::ops::Range<usize>,
) {
    let filler = "x".repeat(FILLER);
    let numbers: Vec<usize> = range.collect();
    for window in numbers.chunks(WINDOW) {
        for number in window {
            let data = json!([number, filler]);
            publisher.say(&json!({ "type": "publish", "event": topic, "data": data }));
        }
        for reader in &mut *readers {
            for number in window {
                let event = reader.json();
                assert_eq!(event["event"], topic);
                assert_eq!(event["data"][0], *number, "a reader lost something");
            }
        }
    }
}

/// What a subscriber made of a topic once it read again.
#[derive(Default, Debug)]
struct Account {
    received: Vec<u64>,
    lost: u64,
}

impl Account {
    /// Takes one frame.
    fn take(&mut self, topic: &str, frame: &Value) {
        assert_eq!(frame["event"], topic, "{}", frame["type"]);
        if frame["type"] == "gap" {
            let lost = frame["lost"].as_u64().unwrap();
            assert!(lost > 0 && frame["timestamp"].is_string());
            self.lost += lost;
        } else {
            let number = frame["data"][0].as_u64().unwrap();
            assert!(
                self.received.last().is_none_or(|&last| last < number),
                "out of order"
            );
            self.received.push(number);
        }
    }
}

/// Of many messages that are lost at once it is not counted which topic each was of.
#[test]
fn m10_who_reads_a_pattern_too_slowly_is_told_of_the_pattern_or_of_each_topic() {
    const MANY: u64 = 30_000;
    let gateway = TestGateway::with(|config| {
        config.server.shards = 2;
        config.server.send_buffer = 16 * 1024;
        config.hub.slow_consumer = SlowConsumer::DropOldest;
        config.hub.max_lag = 512 * 1024;
        config.hub.history_size = 0;
    });
    let mut slow = stalled(gateway.address, &["t.*"]);
    let mut publisher = Client::events(gateway.address);
    for number in 0..MANY {
        let event = format!("t.{}", number % 3);
        publisher.say(&json!({ "type": "publish", "event": event, "data": number }));
    }
    let (mut received, mut lost, mut of_pattern) = ([0; 3], 0, false);
    let mut is_over = [false; 3];
    while is_over != [true; 3] {
        let frame = slow.json();
        let event = frame["event"].as_str().unwrap();
        if frame["type"] == "gap" {
            lost += frame["lost"].as_u64().unwrap();
            of_pattern |= event == "t.*";
            continue;
        }
        let number = frame["data"].as_u64().unwrap();
        let topic = usize::try_from(number % 3).unwrap();
        assert_eq!(event, format!("t.{topic}"));
        received[topic] += 1;
        is_over[topic] = number + 3 >= MANY;
    }
    assert!(of_pattern && lost > 1024, "{lost}");
    assert_eq!(received.iter().sum::<u64>() + lost, MANY);
}

const MESSAGES: usize = 400;

/// A subscriber stalls on `topic` while three others read everything; then it
/// reads again and is told how much it lost. Returns its account.
fn stall_and_resume(address: SocketAddr, topic: &str) -> Account {
    let mut readers: Vec<Client> = (0..3).map(|_| Client::events(address)).collect();
    for reader in &mut readers {
        reader.subscribe(&[topic]);
    }
    let mut slow = stalled(address, &[topic]);
    let mut publisher = Client::events(address);
    pump(&mut publisher, &mut readers, topic, 0..MESSAGES);
    let mut account = Account::default();
    while account.lost == 0 {
        account.take(topic, &slow.json());
    }
    pump(&mut publisher, &mut readers, topic, MESSAGES..MESSAGES + 1);
    while account.received.last() != Some(&(MESSAGES as u64)) {
        account.take(topic, &slow.json());
    }
    assert_eq!(account.received[0], 0);
    assert_eq!(
        account.received.len() as u64 + account.lost,
        MESSAGES as u64 + 1
    );
    assert!(slow.is_silent(Duration::from_millis(100)));
    account
}

/// A gateway with one namespace for each policy.
fn with_policies(name: &str) -> Process {
    let path = format!("{}/{name}.toml", env!("CARGO_TARGET_TMPDIR"));
    let text = r#"
        [server]
        shards = 2
        pin_threads = false
        send_buffer = "32KiB"
        [hub]
        max_lag = "256KiB"
        max_stall = "10m"
        [websocket]
        close_timeout = "3s"
        [namespace."close."]
        slow_consumer = "disconnect"
        [namespace."oldest."]
        slow_consumer = "drop-oldest"
        [namespace."counted."]
        slow_consumer = "drop-oldest"
        max_lag = "16MiB"
        max_lag_messages = 20
        [namespace."lowest."]
        slow_consumer = "drop-lowest"
        [namespace."lowest.important."]
        slow_consumer = "drop-lowest"
        priority = 8
        [namespace."newest."]
        slow_consumer = "conflate"
    "#;
    fs::write(&path, text).unwrap();
    Process::start(&["--config", &path])
}

#[test]
fn r01_each_policy_costs_the_slow_subscriber_only_and_is_told_exactly() {
    let process = with_policies("policies");
    let address = process.address;
    let before = process.rss();
    let accounts: Vec<(&str, Account)> = ["oldest.x", "counted.x", "lowest.x", "newest.x"]
        .map(|topic| thread::spawn(move || (topic, stall_and_resume(address, topic))))
        .map(|thread| thread.join().expect("it went as promised"))
        .into();
    for (topic, account) in &accounts {
        // What it could have at most: what the kernel took, and what it may lag.
        assert!(
            account.lost >= MESSAGES as u64 / 4,
            "{topic}: only {} lost",
            account.lost
        );
    }
    // A subscriber of a policy that drops the oldest still has the newest.
    assert!(accounts[0].1.received.contains(&(MESSAGES as u64 - 1)));
    assert!(accounts[3].1.received.contains(&(MESSAGES as u64 - 1)));
    let lost: u64 = accounts.iter().map(|(_, account)| account.lost).sum();
    let metrics = await_metrics(address, "lost messages are counted", |metrics| {
        metrics["messages_dropped_total"] == lost
    });
    assert_eq!(metrics["disconnects"]["slow"], 0);
    let grown = process.rss().saturating_sub(before);
    assert!(grown < 48 << 20, "grown by {grown} bytes");
}

#[test]
fn r01_a_slow_subscriber_is_disconnected_and_told_why() {
    let process = with_policies("disconnect");
    let address = process.address;
    let mut readers: Vec<Client> = (0..3).map(|_| Client::events(address)).collect();
    for reader in &mut readers {
        reader.subscribe(&["close.x"]);
    }
    let mut reads_again = stalled(address, &["close.x"]);
    let never_reads = stalled(address, &["close.x"]);
    let mut publisher = Client::events(address);
    pump(&mut publisher, &mut readers, "close.x", 0..300);
    await_metrics(address, "both are counted", |metrics| {
        metrics["disconnects"]["slow"] == 2
    });
    let mut next = 0;
    let close = loop {
        let frame = reads_again.next().expect("a close frame before the end");
        if frame.first == 0x88 {
            break frame;
        }
        // What comes before it is a stream without holes.
        assert_eq!(frame.json()["data"][0], next);
        next += 1;
    };
    assert_eq!(close.close_code(), Some(1013));
    assert_eq!(&close.payload[2..], b"Slow consumer");
    assert!(next < 300);
    reads_again.send(0x88, &1013_u16.to_be_bytes());
    // The one that never reads is cut off after close_timeout, and all is given back.
    await_metrics(address, "both are gone", |metrics| {
        metrics["active_connections"] == 4
    });
    drop(never_reads);
    pump(&mut publisher, &mut readers, "close.x", 300..320);
}

#[test]
fn the_lowest_priority_is_lost_first() {
    let process = with_policies("priorities");
    let address = process.address;
    let (low, high) = ("lowest.x", "lowest.important.x");
    let mut readers = [low, high].map(|topic| {
        let mut reader = Client::events(address);
        reader.subscribe(&[topic]);
        [reader]
    });
    let mut slow = stalled(address, &[low, high]);
    let mut publisher = Client::events(address);
    // The kernel's buffers are full before the important ones come; those fit into max_lag.
    pump(&mut publisher, &mut readers[0], low, 0..200);
    pump(&mut publisher, &mut readers[1], high, 0..16);
    pump(&mut publisher, &mut readers[0], low, 200..400);
    let (mut low_account, mut high_account) = (Account::default(), Account::default());
    let mut take = |frame: &Value| {
        if frame["event"] == low {
            low_account.take(low, frame);
        } else {
            high_account.take(high, frame);
        }
        (
            low_account.lost,
            high_account.received.len(),
            high_account.lost,
        )
    };
    loop {
        let (lost, high_received, high_lost) = take(&slow.json());
        assert_eq!(high_lost, 0, "lower ones were there to lose");
        if lost > 0 && high_received == 16 {
            break;
        }
    }
    assert!(low_account.lost >= 200, "{}", low_account.lost);
}

#[test]
fn a_subscriber_that_takes_nothing_for_too_long_is_closed_however_little_waits() {
    let gateway = TestGateway::with(|config| {
        config.hub.max_stall = Duration::from_millis(500);
        config.server.send_buffer = 16 * 1024;
    });
    let mut slow = stalled(gateway.address, &["s"]);
    let mut readers = [Client::events(gateway.address)];
    readers[0].subscribe(&["s"]);
    let mut publisher = Client::events(gateway.address);
    pump(&mut publisher, &mut readers, "s", 0..60);
    await_metrics(gateway.address, "it is counted", |metrics| {
        metrics["disconnects"]["slow"] == 1
    });
    assert_eq!(slow.until_close(), Some(1013));
    // Who has nothing to receive may be silent for as long as it likes.
    thread::sleep(Duration::from_millis(700));
    pump(&mut publisher, &mut readers, "s", 60..70);
}

#[test]
fn a_topics_log_and_the_process_have_bounds() {
    // The log's own bound is the lowest here: a lagging subscriber meets its policy at it.
    let gateway = TestGateway::with(|config| {
        config.hub.slow_consumer = SlowConsumer::DropOldest;
        config.hub.max_log_size = 512 * 1024;
        config.hub.max_lag = 512 * 1024;
        config.server.send_buffer = 16 * 1024;
    });
    let mut slow = stalled(gateway.address, &["b"]);
    let mut readers = [Client::events(gateway.address)];
    readers[0].subscribe(&["b"]);
    let mut publisher = Client::events(gateway.address);
    for round in 0..10 {
        pump(
            &mut publisher,
            &mut readers,
            "b",
            round * 40..(round + 1) * 40,
        );
        let held = metrics(gateway.address)["held_bytes"].as_u64().unwrap();
        assert!(
            held < 2 * 512 * 1024,
            "{held} bytes for one topic of 512 KiB"
        );
    }
    let mut account = Account::default();
    while account.received.last() != Some(&399) {
        account.take("b", &slow.json());
    }
    assert_eq!(account.received.len() as u64 + account.lost, 400);
}

#[test]
fn the_memory_of_the_process_is_bounded_over_all_topics() {
    let mib = 1 << 20;
    let process = Process::with(
        &["--shards", "1"],
        &[
            ("FANFARE_HUB__MAX_MEMORY", "16MiB"),
            ("FANFARE_HUB__MAX_HISTORY_MEMORY", "1MiB"),
            ("FANFARE_HUB__MAX_LAG", "16MiB"),
            ("FANFARE_HUB__MAX_STALL", "10m"),
            ("FANFARE_HUB__SLOW_CONSUMER", "drop-oldest"),
            ("FANFARE_SERVER__SEND_BUFFER", "16KiB"),
            ("FANFARE_SERVER__PIN_THREADS", "false"),
        ],
    );
    let address = process.address;
    let before = process.rss();
    let topics: Vec<String> = (0..20).map(|number| format!("m.{number}")).collect();
    let mut slow: Vec<_> = topics
        .iter()
        .map(|topic| stalled(address, &[topic]))
        .collect();
    let mut readers = [Client::events(address)];
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    readers[0].subscribe(&names);
    let mut publisher = Client::events(address);
    // 30 MiB for those who do not read.
    for topic in &topics {
        pump(&mut publisher, &mut readers, topic, 0..192);
        let grown = process.rss().saturating_sub(before);
        assert!(
            grown < 16 * mib + 32 * mib,
            "grown by {grown} bytes at {topic}"
        );
        assert!(metrics(address)["held_bytes"].as_u64().unwrap() <= 18 * mib);
    }
    for (slow, topic) in slow.iter_mut().zip(&topics) {
        pump(&mut publisher, &mut readers, topic, 192..193);
        let mut account = Account::default();
        while account.received.last() != Some(&192) {
            account.take(topic, &slow.json());
        }
        let all = account.received.len() as u64 + account.lost;
        assert_eq!(all, 193, "{topic}: {account:?}");
    }
}
