//! Histories for clients: pages of them, and the newest messages at the beginning of a subscription or a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, EventStream, TestGateway, request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Topics whose homes are different shards, if there are some.
const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

fn gateway(shards: usize, history_size: usize) -> TestGateway {
    let toml = format!(
        "[hub]\nhistory_size = {history_size}\n[auth]\njwt_secret = \"{SECRET}\"\n\
        [namespace.\"closed.\"]\nsubscribe = \"service\""
    );
    TestGateway::from_toml(&toml, |config| config.server.shards = shards)
}

/// Publishes these numbers and waits until they have their offsets.
fn publish(gateway: &TestGateway, topic: &str, numbers: std::ops::RangeInclusive<u64>) {
    let mut client = Client::events(gateway.address);
    for number in numbers {
        client.say(&json!({ "type": "publish", "event": topic, "data": number, "id": number }));
        assert_eq!(client.json()["id"], number);
    }
}

fn query(client: &mut Client, params: Value) -> Value {
    let mut params = params;
    params["query"] = json!("history");
    client.say(&json!({ "type": "query", "id": "h", "params": params }));
    let answer = client.json();
    assert_eq!(answer["id"], "h", "{answer}");
    answer
}

fn page(client: &mut Client, params: Value) -> Value {
    let answer = query(client, params);
    assert_eq!(answer["type"], "response", "{answer}");
    answer["result"].clone()
}

fn get(gateway: &TestGateway, path: &str) -> (u16, Value) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let response = request(gateway.address, head.as_bytes());
    (response.status, response.json())
}

/// The offset in an `event_id`.
fn offset_of(event: &Value) -> u64 {
    let id = event["event_id"].as_str().expect("events have ids");
    id.split_once('-')
        .expect("epoch and offset")
        .1
        .parse()
        .unwrap()
}

fn offsets(events: &Value) -> Vec<u64> {
    events
        .as_array()
        .expect("events")
        .iter()
        .map(offset_of)
        .collect()
}

#[test]
fn a_client_pages_back_from_the_newest_event_to_the_oldest() {
    for shards in [1, 2] {
        let gateway = gateway(shards, 120);
        for topic in TOPICS {
            let mut reader = Client::events(gateway.address);
            reader.subscribe(&[topic]);
            publish(&gateway, topic, 1..=130);
            let live: Vec<Value> = (0..130).map(|_| reader.json()).collect();
            let newest = page(&mut reader, json!({ "event": topic }));
            assert_eq!(newest["event"], topic);
            assert_eq!(
                newest["events"],
                json!(live[80..]),
                "as they were, oldest first"
            );
            assert_eq!(newest["more"], true);
            let id = live[0]["event_id"].as_str().unwrap();
            assert!(id.starts_with(&format!("{}-", newest["epoch"])), "{newest}");
            // Offsets may be texts, as clients keep them.
            let older = page(
                &mut reader,
                json!({ "event": topic, "before": "81", "limit": 60 }),
            );
            assert_eq!(older["events"], json!(live[20..80]));
            assert_eq!(older["more"], true);
            let oldest = page(
                &mut reader,
                json!({ "event": topic, "before": 21, "limit": 100 }),
            );
            assert_eq!(oldest["events"], json!(live[10..20]), "what is kept");
            assert_eq!(oldest["more"], false);
            for (before, count, more) in [
                (1, 0, false),
                (11, 0, false),
                (12, 1, false),
                (1000, 2, true),
            ] {
                let some = page(
                    &mut reader,
                    json!({ "event": topic, "before": before, "limit": 2 }),
                );
                assert_eq!(some["events"].as_array().unwrap().len(), count, "{before}");
                assert_eq!(some["more"], more, "{before}");
            }
            // The same over HTTP.
            let path = format!("/api/v1/topics/{topic}/history?before=81&limit=60");
            let (status, http) = get(&gateway, &path);
            assert_eq!((status, &http["events"]), (200, &older["events"]));
            assert_eq!(http["more"], true);
        }
        let mut reader = Client::events(gateway.address);
        let nothing = page(&mut reader, json!({ "event": "never" }));
        assert_eq!(
            nothing,
            json!({ "event": "never", "epoch": 0, "events": [], "more": false })
        );
        let both = get(&gateway, "/api/v1/topics/a/history?before=81&since=1");
        assert_eq!(both.0, 422, "{both:?}");
    }
}

/// The answer has to fit an outbox, in JSON and in MessagePack.
#[test]
fn pages_of_large_events_are_bounded_and_add_up() {
    let gateway = gateway(2, 100);
    let mut client = Client::events(gateway.address);
    for number in 1..=20 {
        let data = json!({ "number": number, "fill": "x".repeat(10_000) });
        client.say(&json!({ "type": "publish", "event": "a", "data": data, "id": 1 }));
        assert_eq!(client.json()["type"], "response");
    }
    let (mut before, mut all, mut pages) = (21, Vec::new(), 0);
    loop {
        let page = page(&mut client, json!({ "event": "a", "before": before }));
        assert!(page.to_string().len() < 64 * 1024 + 11_000);
        let mut offsets = offsets(&page["events"]);
        before = offsets[0];
        offsets.extend(all);
        (all, pages) = (offsets, pages + 1);
        if page["more"] == false {
            break;
        }
    }
    assert!(all.iter().copied().eq(1..=20), "{all:?}");
    assert!((3..=4).contains(&pages), "{pages}");
    let mut packed = Client::connect(gateway.address, "/api/v1/ws/demo?format=msgpack");
    packed.next().expect("a greeting");
    let ask =
        json!({ "type": "query", "params": { "query": "history", "event": "a", "limit": 2 } });
    packed.send(0x82, &rmp_serde::to_vec(&ask).unwrap());
    let answer: Value = rmp_serde::from_slice(&packed.next().unwrap().payload).unwrap();
    assert_eq!(offsets(&answer["result"]["events"]), [19, 20]);
}

#[test]
fn a15_reading_a_history_takes_what_subscribing_takes() {
    let gateway = gateway(2, 100);
    let token = |user: &str| {
        let claims = json!({ "sub": user, "exp": 4_000_000_000_u64 });
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let body = json!({ "event": "hello", "data": 7, "user_id": "ann" }).to_string();
    let post = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(request(gateway.address, post.as_bytes()).status, 202);
    let path = format!("/api/v1/ws?token={}", token("ann"));
    let mut ann = Client::connect(gateway.address, &path);
    ann.json();
    let own = page(&mut ann, json!({ "event": "user:ann:events" }));
    assert_eq!(
        (&own["events"][0]["data"], &own["events"][0]["topic"]),
        (&json!(7), &json!("user:ann:events"))
    );
    for (params, code) in [
        (json!({ "event": "closed.a" }), "FORBIDDEN"),
        (json!({ "event": "user:bob:events" }), "FORBIDDEN"),
        (json!({ "event": "a.*" }), "INVALID_MESSAGE"),
        (json!({ "event": "" }), "INVALID_MESSAGE"),
        (json!({ "event": 5 }), "INVALID_MESSAGE"),
        (json!({}), "INVALID_MESSAGE"),
        (json!({ "event": "a", "limit": 0 }), "INVALID_MESSAGE"),
        (json!({ "event": "a", "limit": 101 }), "INVALID_MESSAGE"),
        (json!({ "event": "a", "limit": "many" }), "INVALID_MESSAGE"),
        (json!({ "event": "a", "before": -1 }), "INVALID_MESSAGE"),
    ] {
        let answer = query(&mut ann, params.clone());
        assert_eq!(answer["code"], code, "{params}: {answer}");
    }
}

/// Subscribes with `recover`; returns the confirmation's word about each topic.
fn recover(client: &mut Client, events: &[&str], recover: Value) -> Value {
    client.say(&json!({ "type": "subscribe", "events": events, "recover": recover }));
    let confirmed = client.json();
    assert_eq!(confirmed["type"], "subscription_confirmed", "{confirmed}");
    confirmed["topics"].clone()
}

#[test]
fn a_subscription_begins_with_the_newest_messages_that_are_kept() {
    for shards in [1, 2] {
        let gateway = gateway(shards, 10);
        for topic in TOPICS {
            publish(&gateway, topic, 1..=25);
        }
        for (last, count) in [(5, 5), (10, 10), (100, 10), (u64::MAX, 10), (0, 0)] {
            for topic in TOPICS {
                let mut client = Client::events(gateway.address);
                let word = recover(&mut client, &[topic], json!({ topic: { "last": last } }));
                let word = &word[topic];
                assert_eq!(word["recovered"], true, "{word}");
                assert_eq!(
                    (&word["count"], &word["offset"]),
                    (&json!(count), &json!(25))
                );
                for offset in 26 - count..=25 {
                    let event = client.json();
                    assert_eq!(
                        (offset_of(&event), &event["data"]),
                        (offset, &json!(offset))
                    );
                }
                assert!(client.is_silent(Duration::from_millis(5)));
            }
        }
        // Several at once, one without a history, and one that a pattern covers; then what is new.
        let mut client = Client::events(gateway.address);
        let wanted = json!({ "a": { "last": 2 }, "b": { "last": "3" }, "new": { "last": 9 } });
        let words = recover(&mut client, &["a", "b", "new"], wanted);
        assert_eq!(
            (&words["a"]["count"], &words["b"]["count"]),
            (&json!(2), &json!(3))
        );
        assert_eq!(
            (&words["new"]["count"], &words["new"]["recovered"]),
            (&json!(0), &json!(true))
        );
        let mut seen: Vec<(String, u64)> = (0..5)
            .map(|_| client.json())
            .map(|event| {
                (
                    event["event"].as_str().unwrap().to_owned(),
                    offset_of(&event),
                )
            })
            .collect();
        seen.sort();
        let expected = [("a", 24), ("a", 25), ("b", 23), ("b", 24), ("b", 25)];
        assert!(
            seen.iter()
                .map(|(topic, offset)| (&**topic, *offset))
                .eq(expected),
            "{seen:?}"
        );
        publish(&gateway, "new", 1..=1);
        assert_eq!(offset_of(&client.json()), 1);
        let mut client = Client::events(gateway.address);
        publish(&gateway, "room.1", 1..=4);
        let words = recover(&mut client, &["room.*"], json!({ "room.1": { "last": 3 } }));
        assert_eq!(words["room.1"]["count"], 3, "{words}");
        for offset in 2..=4 {
            assert_eq!(offset_of(&client.json()), offset);
        }
        publish(&gateway, "room.1", 5..=5);
        assert_eq!(offset_of(&client.json()), 5);
        // A position is better than a number.
        let mut client = Client::events(gateway.address);
        let epoch = words["room.1"]["epoch"].clone();
        let both = json!({ "room.1": { "epoch": epoch, "offset": 4, "last": 5 } });
        let words = recover(&mut client, &["room.1"], both);
        assert_eq!(words["room.1"]["count"], 1);
        // A pattern has no newest messages.
        client.say(
            &json!({ "type": "subscribe", "events": ["x.*"], "recover": { "x.*": { "last": 1 } } }),
        );
        let mut answer = client.json();
        if answer["type"] == "event" {
            answer = client.json();
        }
        assert_eq!(answer["code"], "INVALID_MESSAGE", "{answer}");
    }
}

/// Publishes to all topics without a pause until it is dropped: numbers from 31 on, which are offsets.
struct Flood(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Flood {
    fn start(gateway: &TestGateway) -> Self {
        let (address, is_over) = (gateway.address, Arc::new(AtomicBool::new(false)));
        let end = is_over.clone();
        let publisher = thread::spawn(move || {
            let mut client = Client::events(address);
            let mut numbers = 31_u64..;
            while !end.load(Ordering::Relaxed) {
                let data = numbers.next();
                for topic in TOPICS {
                    client
                        .say(&json!({ "type": "publish", "event": topic, "data": data, "id": 1 }));
                }
                for _ in TOPICS {
                    client.json();
                }
            }
        });
        Self(is_over, Some(publisher))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let publisher = self.1.take().expect("it is dropped once");
        assert!(publisher.join().is_ok() || thread::panicking());
    }
}

#[test]
fn the_newest_messages_and_the_live_ones_meet_without_gap_or_double_while_others_publish() {
    for shards in [1, 2, 3] {
        let gateway = gateway(shards, 10_000);
        for topic in TOPICS {
            publish(&gateway, topic, 1..=30);
        }
        let flood = Flood::start(&gateway);
        for round in 0..40 {
            let topic = TOPICS[round % TOPICS.len()];
            let mut client = Client::events(gateway.address);
            let words = recover(&mut client, &[topic], json!({ topic: { "last": 20 } }));
            let word = &words[topic];
            assert_eq!(word["count"], 20, "{word}");
            let first = word["offset"].as_u64().unwrap() - 19;
            for offset in first..first + 40 {
                let event = client.json();
                assert_eq!(event["type"], "event", "{event}");
                assert_eq!(offset_of(&event), offset);
            }
        }
        drop(flood);
    }
}

#[test]
fn a_stream_begins_with_the_newest_messages_and_goes_on_by_its_cursor() {
    for shards in [1, 2] {
        let gateway = gateway(shards, 5);
        let topics = "topics=a,b,c,d,empty";
        for topic in TOPICS {
            publish(&gateway, topic, 1..=9);
        }
        for (last, count) in [(3, 3), (5, 5), (50, 5)] {
            let query = format!("{topics}&last={last}");
            let mut stream = EventStream::connect(gateway.address, &query);
            let events: Vec<_> = (0..count * 4)
                .map(|_| stream.next().expect("an event"))
                .collect();
            for topic in TOPICS {
                let of_topic = events.iter().filter(|event| event.name == topic);
                let data: Vec<Value> = of_topic.map(|event| event.json()).collect();
                let expected: Vec<Value> = (10 - count..=9).map(Value::from).collect();
                assert_eq!(data, expected, "{topic}");
            }
            // A browser that comes back repeats its query, and says where it was.
            let cut = &events[count as usize];
            let back = format!("Last-Event-ID: {}\r\n", cut.id);
            let mut again = EventStream::connect_with(gateway.address, &query, &back);
            let mut again_by_query = EventStream::connect(
                gateway.address,
                &format!("{query}&last_event_id={}", cut.id),
            );
            for event in &events[count as usize + 1..] {
                assert_eq!(again.next().as_ref(), Some(event));
                assert_eq!(again_by_query.next().as_ref(), Some(event));
            }
        }
        let mut stream = EventStream::connect(gateway.address, &format!("{topics}&last=2"));
        let mut live = EventStream::connect(gateway.address, &format!("{topics}&last=0"));
        (0..8).for_each(|_| assert_ne!(stream.next().expect("an event").name, "gap"));
        publish(&gateway, "empty", 77..=77);
        for stream in [&mut stream, &mut live] {
            assert_eq!(stream.next().expect("what is new").data, "77");
        }
        let head = "GET /api/v1/sse?topics=a&last=some HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(request(gateway.address, head.as_bytes()).status, 400);
    }
}

#[test]
fn a_stream_with_the_newest_messages_has_no_hole_while_others_publish() {
    for shards in [1, 2, 3] {
        let gateway = gateway(shards, 10_000);
        for topic in TOPICS {
            publish(&gateway, topic, 1..=30);
        }
        let flood = Flood::start(&gateway);
        for _ in 0..20 {
            let query = "topics=a,b,c,d&last=20";
            let mut stream = EventStream::connect(gateway.address, query);
            let mut seen: [Vec<Value>; TOPICS.len()] = Default::default();
            while seen.iter().any(|numbers| numbers.len() < 40) {
                let event = stream.next().expect("an event");
                let topic = TOPICS.iter().position(|topic| *topic == event.name);
                seen[topic.unwrap_or_else(|| panic!("{event:?}"))].push(event.json());
            }
            for numbers in seen {
                let first = numbers[0].as_u64().unwrap();
                assert!(
                    numbers
                        .iter()
                        .cloned()
                        .eq((first..).take(numbers.len()).map(Value::from)),
                    "{numbers:?}"
                );
            }
        }
        drop(flood);
    }
}
