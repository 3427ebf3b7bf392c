//! Order and completeness over shards: one order per topic for everybody, and
//! everything from the confirmation on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, TestGateway};

fn four_shards() -> TestGateway {
    TestGateway::with(|config| config.server.shards = 4)
}

/// Starts `count` clients in threads of their own.
fn spawn<T: Send + 'static>(
    count: usize,
    body: impl Fn(usize) -> T + Send + Clone + 'static,
) -> Vec<JoinHandle<T>> {
    (0..count)
        .map(|index| {
            let body = body.clone();
            thread::spawn(move || body(index))
        })
        .collect()
}

fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads
        .into_iter()
        .map(|thread| thread.join().expect("a client is content"))
        .collect()
}

/// Subscribes; events may come before the confirmation. Returns those.
fn subscribe(client: &mut Client, events: &[&str]) -> Vec<Value> {
    client.say(&json!({ "type": "subscribe", "events": events }));
    until(client, "subscription_confirmed")
}

/// Takes frames up to one of this type; returns those before it.
fn until(client: &mut Client, kind: &str) -> Vec<Value> {
    let mut before = Vec::new();
    loop {
        let frame = client.json();
        if frame["type"] == kind {
            return before;
        }
        assert_eq!(frame["type"], "event", "{frame}");
        before.push(frame);
    }
}

const TOPICS: [&str; 5] = ["t.0", "t.1", "t.2", "t.3", "t.4"];

#[test]
fn all_subscribers_of_a_topic_see_one_order_with_nothing_lost_or_doubled() {
    const PUBLISHERS: u64 = 12;
    const EACH: u64 = 150;
    let gateway = four_shards();
    let address = gateway.address;
    let mut subscribers: Vec<Client> = (0..12).map(|_| Client::events(address)).collect();
    for (index, client) in subscribers.iter_mut().enumerate() {
        match index % 4 {
            0 | 1 => client.subscribe(&TOPICS),
            2 => client.subscribe(&["t.*"]),
            _ => client.subscribe(&["*", "t.1", "t.*"]),
        };
    }
    let readers: Vec<_> = subscribers
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                let mut seen: [Vec<Value>; TOPICS.len()] = Default::default();
                for _ in 0..PUBLISHERS * EACH * TOPICS.len() as u64 {
                    let event = client.json();
                    let topic = TOPICS.iter().position(|&topic| event["event"] == topic);
                    let what = json!([event["data"], event["event_id"]]);
                    seen[topic.unwrap_or_else(|| panic!("{event}"))].push(what);
                }
                assert!(client.is_silent(Duration::from_millis(100)));
                seen
            })
        })
        .collect();
    join(spawn(PUBLISHERS as usize, move |publisher| {
        let mut client = Client::events(address);
        for number in 0..EACH {
            for topic in TOPICS {
                let data = json!({ "from": publisher, "number": number });
                client.say(&json!({ "type": "publish", "event": topic, "data": data }));
            }
        }
        client.say(&json!({ "type": "ping" }));
        assert_eq!(client.json()["type"], "pong");
    }));
    let seen = join(readers);
    for (topic, first) in TOPICS.iter().zip(&seen[0]) {
        let mut next = [0; PUBLISHERS as usize];
        for what in first {
            let from = what[0]["from"].as_u64().unwrap() as usize;
            assert_eq!(what[0]["number"], next[from], "{topic}: publisher {from}");
            next[from] += 1;
        }
        assert_eq!(next, [EACH; PUBLISHERS as usize], "{topic}");
    }
    for other in &seen[1..] {
        for (topic, (one, other)) in TOPICS.iter().zip(seen[0].iter().zip(other)) {
            assert!(
                one == other,
                "{topic}: two subscribers saw different orders"
            );
        }
    }
}

/// Publishes numbers to a topic until it is told to stop.
struct Flow {
    sent: AtomicU64,
    stop: AtomicBool,
}

impl Flow {
    /// Publishes as fast as the gateway answers for every 64 messages, so that
    /// no more than those wait in the kernel.
    fn run(&self, address: SocketAddr, topic: &str) {
        let mut client = Client::events(address);
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
            let mut message = json!({ "type": "publish", "event": topic, "data": number });
            if number.is_multiple_of(64) {
                message["id"] = json!(number);
            }
            client.say(&message);
            if number.is_multiple_of(64) {
                assert_eq!(client.json()["type"], "response");
            }
        }
    }
}

#[test]
fn who_joins_in_full_flow_misses_nothing_from_the_confirmation_on() {
    const TAIL: u64 = 40;
    let gateway = four_shards();
    let address = gateway.address;
    let flows: &[Flow; 3] = Box::leak(Box::new([(); 3].map(|()| Flow {
        sent: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    })));
    let publishers = spawn(3, move |index| {
        flows[index].run(address, &format!("flow.{index}"));
    });
    let joiners = spawn(6, move |index| {
        for round in 0..6 {
            let flow = (index + round) % 3;
            let topic = format!("flow.{flow}");
            let name = match (index + round / 2) % 3 {
                0 => "flow.*",
                1 => "*",
                _ => &topic,
            };
            let mut client = Client::events(address);
            let mut events = subscribe(&mut client, &[name]);
            let sent = flows[flow].sent.load(Ordering::SeqCst);
            let is_done = |events: &[Value]| {
                let of_topic = events.iter().filter(|event| event["event"] == topic);
                of_topic.count() as u64 >= TAIL
                    && events.iter().any(|event| {
                        event["event"] == topic && event["data"].as_u64().unwrap() > sent
                    })
            };
            let deadline = Instant::now() + Duration::from_secs(20);
            while !is_done(&events) {
                assert!(Instant::now() < deadline);
                events.extend((0..16).map(|_| client.json()));
            }
            for flow in 0..3 {
                let topic = format!("flow.{flow}");
                let numbers: Vec<u64> = events
                    .iter()
                    .filter(|event| event["event"] == topic)
                    .map(|event| event["data"].as_u64().unwrap())
                    .collect();
                for pair in numbers.windows(2) {
                    assert_eq!(pair[0] + 1, pair[1], "{name}, {topic}: a hole or a double");
                }
            }
            let first = events.iter().find(|event| event["event"] == topic).unwrap();
            let first = first["data"].as_u64().unwrap();
            assert!(
                first <= sent + 1,
                "{name}: {first} came first, {sent} were sent before"
            );
        }
    });
    let outcome: Vec<_> = joiners.into_iter().map(JoinHandle::join).collect();
    for flow in flows {
        flow.stop.store(true, Ordering::SeqCst);
    }
    join(publishers);
    for outcome in outcome {
        outcome.expect("a joiner is content");
    }
}

/// Publishes `token` and waits until it has its offset.
fn publish(client: &mut Client, topic: &str, token: &str) {
    client.say(&json!({ "type": "publish", "event": topic, "data": token, "id": token }));
    let answer = client.json();
    assert_eq!(
        (&answer["type"], &answer["id"]),
        (&json!("response"), &json!(token))
    );
}

#[test]
fn topics_that_lose_their_subscribers_and_get_new_ones_lose_nothing_after_the_confirmation() {
    let gateway = four_shards();
    let address = gateway.address;
    let ends = Instant::now() + Duration::from_millis(4500);
    // Half of the topics have one subscriber at a time, half have several.
    let churners = spawn(10, move |index| {
        let topic = format!("churn.{}", if index < 5 { index } else { 5 + index % 2 });
        let mut subscriber = Client::events(address);
        let mut publisher = Client::events(address);
        let mut random = 0x9e37_79b9_u64.wrapping_mul(index as u64 + 1);
        let (mut rounds, mut came_back) = (0, false);
        while Instant::now() < ends {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let names: &[&str] = match random >> 60 {
                0..8 => &[&topic],
                8..12 => &["churn.*"],
                _ => &["*", &topic],
            };
            if (random >> 20).is_multiple_of(4) {
                // In one breath; both are confirmed, in whatever order.
                subscriber.say(&json!({ "type": "subscribe", "events": names }));
                subscriber.say(&json!({ "type": "unsubscribe" }));
                let mut missing = 2;
                while missing > 0 {
                    missing -= usize::from(subscriber.json()["type"] != "event");
                }
            }
            subscribe(&mut subscriber, names);
            for number in 0..3 {
                let token = format!("{index}.{rounds}.{number}");
                publish(&mut publisher, &topic, &token);
                loop {
                    let event = subscriber.json();
                    assert_eq!(event["type"], "event");
                    if event["event"] == *topic && event["data"] == *token {
                        break;
                    }
                    let own = event["data"]
                        .as_str()
                        .unwrap()
                        .starts_with(&format!("{index}."));
                    // Another shard may hear of a message later than the one it was seen on.
                    let is_seen = came_back
                        && !event["data"]
                            .as_str()
                            .unwrap()
                            .starts_with(&format!("{index}.{rounds}."));
                    assert!(!own || is_seen, "{token} is missing or late: {event}");
                }
            }
            came_back = false;
            subscriber.say(&json!({ "type": "unsubscribe" }));
            until(&mut subscriber, "unsubscription_confirmed");
            if (random >> 40).is_multiple_of(8) {
                thread::sleep(Duration::from_millis((random >> 50) % 300));
                assert!(
                    subscriber.is_silent(Duration::from_millis(5)),
                    "unsubscribed"
                );
            }
            if (random >> 30).is_multiple_of(64) {
                // One that leaves without a word.
                subscriber = Client::events(address);
                came_back = true;
            }
            rounds += 1;
        }
        rounds
    });
    let rounds = join(churners);
    assert!(rounds.iter().all(|&rounds| rounds > 3), "{rounds:?}");
}

#[test]
fn the_first_publication_to_a_topic_reaches_those_whose_pattern_covers_it() {
    let gateway = four_shards();
    let address = gateway.address;
    let mut subscribers: Vec<Client> = (0..8).map(|_| Client::events(address)).collect();
    for (index, client) in subscribers.iter_mut().enumerate() {
        client.subscribe(&[["new.*", "*", "new.*.x", "*.*.x"][index % 4]]);
    }
    // More publishers than shards, so that each shard has some.
    let expected = 16 * 6;
    join(spawn(16, move |index| {
        let mut client = Client::events(address);
        for number in 0..6 {
            let topic = format!("new.{index}-{number}.x");
            client.say(&json!({ "type": "publish", "event": topic, "data": 1 }));
            client.say(&json!({ "type": "publish", "event": topic, "data": 2 }));
        }
        client.say(&json!({ "type": "ping" }));
        client.json();
    }));
    for mut client in subscribers {
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..expected * 2 {
            let event = client.json();
            let before = seen.insert(event["event"].to_string(), event["data"].clone());
            let is_next = event["data"] == 1 && before.is_none() || before == Some(json!(1));
            assert!(is_next, "{event} after {before:?}");
        }
        assert_eq!(seen.len(), expected);
        assert!(client.is_silent(Duration::from_millis(20)));
    }
}

/// The offset in an event's id.
fn offset_of(event: &Value) -> u64 {
    let id = event["event_id"].as_str().expect("an event has an id");
    let (_, offset) = id.rsplit_once('-').expect("epoch and offset");
    offset.parse().expect("a number")
}

/// Takes frames up to the confirmation, and the next event of each topic, several in a frame or one.
/// Checks that nothing of a topic comes before it is named, and that what comes first is behind the
/// offset that is named.
fn check_confirmation(client: &mut Client, topics: &[&str], flowing: bool) {
    client.say(&json!({ "type": "subscribe", "events": topics }));
    let mut confirmed: Option<Value> = None;
    let mut newest = vec![0; topics.len()];
    let mut begun = vec![false; topics.len()];
    while !begun.iter().all(|&begun| begun) {
        let frame = client.json();
        let events: Vec<Value> = match frame["type"].as_str() {
            Some("subscription_confirmed") => {
                confirmed = Some(frame["topics"].clone());
                continue;
            }
            Some("batch") => frame["messages"].as_array().unwrap().clone(),
            _ => vec![frame],
        };
        for event in &events {
            assert_eq!(event["type"], "event", "{event}");
            let at = topics.iter().position(|&topic| event["event"] == topic);
            let at = at.expect("a topic that was asked for");
            let offset = offset_of(event);
            let Some(confirmed) = &confirmed else {
                assert!(flowing, "before the confirmation: {event}");
                newest[at] = offset;
                continue;
            };
            if begun[at] {
                continue;
            }
            let named = confirmed[topics[at]]["offset"].as_u64().unwrap();
            assert_eq!(offset, named + 1, "{event}, named {confirmed}");
            assert!(newest[at] <= named);
            begun[at] = true;
        }
    }
}

#[test]
fn a_confirmation_is_exact_for_every_topic_in_it() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let address = gateway.address;
    let topics = &TOPICS[..4];
    let stop = Arc::new(AtomicBool::new(false));
    let publishers = {
        let stop = stop.clone();
        spawn(4, move |index| {
            let mut client = Client::events(address);
            let event = json!({ "type": "publish", "event": TOPICS[index], "data": 1 });
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    client.say(&event);
                }
                // Answered when all before it has been taken.
                client.say(&json!({ "type": "ping" }));
                assert_eq!(client.json()["type"], "pong");
            }
        })
    };
    let readers = spawn(2, move |index| {
        let query = ["", "?batch=true"][index];
        for _ in 0..20 {
            let mut client = Client::connect(address, &format!("/api/v1/ws/demo{query}"));
            assert_eq!(client.json()["type"], "connection_established");
            check_confirmation(&mut client, topics, false);
            // What flows already, because of a pattern, is named where it is.
            let mut client = Client::connect(address, &format!("/api/v1/ws/demo{query}"));
            assert_eq!(client.json()["type"], "connection_established");
            client.say(&json!({ "type": "subscribe", "events": ["t.*"] }));
            while client.json()["type"] != "subscription_confirmed" {}
            check_confirmation(&mut client, topics, true);
        }
    });
    join(readers);
    stop.store(true, Ordering::Relaxed);
    join(publishers);
}
