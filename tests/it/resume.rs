//! Coming back: what was missed comes first, then what is new, without gap or
//! duplicate; what cannot be had is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, TestGateway, frame, request};

/// A place in a topic, as a client keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    epoch: u64,
    offset: u64,
}

impl Place {
    fn of(event: &Value) -> Self {
        let id = event["event_id"].as_str().expect("events have ids");
        let (epoch, offset) = id.split_once('-').expect("epoch and offset");
        Self {
            epoch: epoch.parse().unwrap(),
            offset: offset.parse().unwrap(),
        }
    }

    fn at(offset: u64, place: Self) -> Self {
        Self { offset, ..place }
    }
}

fn publish(client: &mut Client, topic: &str, data: impl Into<Value>) {
    client.say(&json!({ "type": "publish", "event": topic, "data": data.into() }));
}

/// Publishes so many numbers and an end, and waits until all of it has its place.
fn publish_all(client: &mut Client, topic: &str, count: u64) {
    for number in 1..=count {
        publish(client, topic, number);
    }
    client.say(&json!({ "type": "publish", "event": topic, "data": "end", "id": 1 }));
    assert_eq!(client.json()["type"], "response");
}

/// Subscribes from a place; returns the confirmation's word about the topic.
fn recover(client: &mut Client, selector: &str, topic: &str, place: Place) -> Value {
    client.say(&json!({
        "type": "subscribe",
        "events": [selector],
        "recover": { topic: { "epoch": place.epoch, "offset": place.offset } },
    }));
    let confirmed = client.json();
    assert_eq!(confirmed["type"], "subscription_confirmed", "{confirmed}");
    confirmed["topics"][topic].clone()
}

/// Takes the events of a topic up to this offset, each exactly once and in order.
fn expect(client: &mut Client, topic: &str, mut from: Place, until: u64) {
    while from.offset < until {
        let event = client.json();
        from.offset += 1;
        assert_eq!(
            (&event["type"], &event["event"]),
            (&json!("event"), &json!(topic))
        );
        assert_eq!(Place::of(&event), from, "{event}");
    }
}

fn with_history(shards: usize) -> TestGateway {
    TestGateway::from_toml("[hub]\nhistory_size = 100000", |config| {
        config.server.shards = shards;
    })
}

#[test]
fn what_was_missed_comes_first_and_then_what_is_new() {
    for shards in [1, 3] {
        let gateway = with_history(shards);
        let mut publisher = Client::events(gateway.address);
        let mut first = Client::events(gateway.address);
        let confirmed = first.subscribe(&["news"]);
        let start = &confirmed["topics"]["news"];
        assert_eq!(start["offset"], 0);
        assert!(start.get("recovered").is_none(), "{start}");
        for number in 1..=5 {
            publish(&mut publisher, "news", json!({ "number": number }));
        }
        let originals: Vec<Value> = (0..5).map(|_| first.json()).collect();
        assert_eq!(start["epoch"], Place::of(&originals[0]).epoch);
        drop(first);
        for after in 0..=5 {
            let mut client = Client::events(gateway.address);
            let place = Place::at(after, Place::of(&originals[0]));
            let word = recover(&mut client, "news", "news", place);
            let expected = json!({
                "recovered": true, "count": 5 - after, "offset": 5, "epoch": place.epoch
            });
            assert_eq!(word, expected);
            for original in &originals[usize::try_from(after).unwrap()..] {
                assert_eq!(client.json(), *original, "the same frame, time included");
            }
            assert!(client.is_silent(Duration::from_millis(20)));
        }
        let mut client = Client::events(gateway.address);
        recover(&mut client, "news", "news", Place::of(&originals[3]));
        assert_eq!(client.json(), originals[4]);
        publish(&mut publisher, "news", 6);
        assert_eq!(client.json()["data"], 6);
    }
}

#[test]
fn what_cannot_be_had_is_told_and_the_stream_goes_on() {
    for shards in [1, 3] {
        let gateway = TestGateway::from_toml("[hub]\nhistory_size = 3", |config| {
            config.server.shards = shards;
        });
        let mut publisher = Client::events(gateway.address);
        let mut watcher = Client::events(gateway.address);
        watcher.subscribe(&["news"]);
        publish_all(&mut publisher, "news", 9);
        let epoch = Place::of(&watcher.json()).epoch;
        for (epoch, offset, lost) in [
            (epoch, 6, json!(4)),
            (epoch, 0, json!(10)),
            (epoch + 1, 8, json!(null)),
            (0, 0, json!(null)),
            (epoch, 11, json!(null)),
            (epoch, u64::MAX, json!(null)),
        ] {
            let mut client = Client::events(gateway.address);
            let word = recover(&mut client, "news", "news", Place { epoch, offset });
            assert_eq!(
                (&word["recovered"], &word["count"]),
                (&json!(false), &json!(0))
            );
            assert_eq!(word["offset"], 10);
            let gap = client.json();
            assert_eq!(
                (&gap["type"], &gap["event"]),
                (&json!("gap"), &json!("news"))
            );
            assert_eq!(gap["lost"], lost);
            client.say(&json!({ "type": "ping" }));
            assert_eq!(client.json()["type"], "pong", "nothing is sent again");
        }
        let mut client = Client::events(gateway.address);
        recover(&mut client, "news", "news", Place { epoch, offset: 7 });
        expect(&mut client, "news", Place { epoch, offset: 7 }, 10);
    }
}

#[test]
fn nothing_missed_is_recovered_without_any_history() {
    let gateway = TestGateway::from_toml("[hub]\nhistory_size = 0", |_| {});
    let mut publisher = Client::events(gateway.address);
    let mut watcher = Client::events(gateway.address);
    watcher.subscribe(&["news"]);
    publish_all(&mut publisher, "news", 1);
    let place = Place::of(&watcher.json());
    let mut client = Client::events(gateway.address);
    let word = recover(&mut client, "news", "news", Place::at(2, place));
    assert_eq!(
        (&word["recovered"], &word["count"]),
        (&json!(true), &json!(0))
    );
    let mut client = Client::events(gateway.address);
    let word = recover(&mut client, "news", "news", Place::at(1, place));
    assert_eq!(word["recovered"], false);
    assert_eq!(client.json()["lost"], 1);
}

#[test]
fn a_topic_below_a_pattern_is_recovered_too() {
    for shards in [1, 3] {
        let gateway = with_history(shards);
        let mut publisher = Client::events(gateway.address);
        let mut watcher = Client::events(gateway.address);
        watcher.subscribe(&["room.*"]);
        publish_all(&mut publisher, "room.1", 9);
        let place = Place::of(&watcher.json());
        let mut client = Client::events(gateway.address);
        let word = recover(&mut client, "room.*", "room.1", place);
        assert_eq!(
            (&word["recovered"], &word["count"]),
            (&json!(true), &json!(9))
        );
        expect(&mut client, "room.1", place, 10);
        publish(&mut publisher, "room.2", "other");
        assert_eq!(client.json()["event"], "room.2");
        publish(&mut publisher, "room.1", "more");
        assert_eq!(Place::of(&client.json()), Place::at(11, place));
        client.say(&json!({ "type": "unsubscribe" }));
        assert_eq!(client.json()["type"], "unsubscription_confirmed");
        publish_all(&mut publisher, "room.1", 1);
        assert!(client.is_silent(Duration::from_millis(50)));
    }
}

#[test]
fn a_long_absence_is_made_up_for_at_the_readers_own_speed() {
    for shards in [1, 2] {
        let gateway = with_history(shards);
        let mut publisher = Client::events(gateway.address);
        let mut watcher = Client::events(gateway.address);
        watcher.subscribe(&["bulk"]);
        let text = "x".repeat(1000);
        for _ in 0..3000 {
            publish(&mut publisher, "bulk", text.as_str());
        }
        publish_all(&mut publisher, "bulk", 0);
        let place = Place::at(0, Place::of(&watcher.json()));
        let mut client = Client::events(gateway.address);
        let word = recover(&mut client, "bulk", "bulk", place);
        assert_eq!(
            (&word["recovered"], &word["count"]),
            (&json!(true), &json!(3001))
        );
        // What is published meanwhile waits behind what was missed.
        publish_all(&mut publisher, "bulk", 9);
        thread::sleep(Duration::from_millis(100));
        expect(&mut client, "bulk", place, 3011);
    }
}

#[test]
fn many_cuts_under_full_rate_lose_and_repeat_nothing() {
    for shards in [1, 3] {
        let gateway = with_history(shards);
        let address = gateway.address;
        let stop = Arc::new(AtomicBool::new(false));
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let stop = stop.clone();
                thread::spawn(move || {
                    let mut client = Client::events(address);
                    let mut sent = 0;
                    while !stop.load(Ordering::Relaxed) {
                        publish_all(&mut client, "hot", 63);
                        sent += 64;
                    }
                    sent
                })
            })
            .collect();
        let readers: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(move || {
                    let mut client = Client::events(address);
                    client.subscribe(&["hot"]);
                    let mut place = Place::of(&client.json());
                    for _ in 0..12 {
                        drop(client);
                        client = Client::events(address);
                        let word = recover(&mut client, "hot", "hot", place);
                        assert_eq!(word["recovered"], true, "{word}");
                        let until = word["offset"].as_u64().unwrap() + 100;
                        while place.offset < until {
                            let event = client.json();
                            let next = Place::at(place.offset + 1, place);
                            assert_eq!(Place::of(&event), next, "{event}");
                            place = next;
                        }
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.join().expect("nothing is lost or repeated");
        }
        stop.store(true, Ordering::Relaxed);
        for publisher in publishers {
            assert!(publisher.join().unwrap() > 0);
        }
    }
}

#[test]
fn a_topic_given_up_while_it_is_made_up_for_ends() {
    let gateway = with_history(2);
    let mut publisher = Client::events(gateway.address);
    let mut watcher = Client::events(gateway.address);
    watcher.subscribe(&["bulk"]);
    let text = "x".repeat(1000);
    for _ in 0..2000 {
        publish(&mut publisher, "bulk", text.as_str());
    }
    publish_all(&mut publisher, "bulk", 0);
    let place = Place::at(0, Place::of(&watcher.json()));
    let mut client = Client::events(gateway.address);
    let from = |offset: u64| {
        json!({
            "type": "subscribe", "events": ["bulk"],
            "recover": { "bulk": { "epoch": place.epoch, "offset": offset } },
        })
    };
    let unsubscribe = json!({ "type": "unsubscribe", "events": ["bulk"] });
    let frames = [from(0), unsubscribe, from(1990)];
    let frames: Vec<u8> = frames
        .iter()
        .flat_map(|value| frame(0x81, value.to_string().as_bytes()))
        .collect();
    client.send_bytes(&frames);
    let mut seen = VecDeque::new();
    loop {
        let frame = client.json();
        if frame["type"] == "event" {
            seen.push_back(Place::of(&frame).offset);
            if seen.back() == Some(&2001) && seen.iter().filter(|&&n| n == 1991).count() == 1 {
                break;
            }
        }
    }
    // The first subscription's part, if any of it was on its way, and the second's.
    let second = seen.iter().position(|&offset| offset == 1991).unwrap();
    assert!(second < 200, "the first one ended early: {second}");
    assert!(
        seen.iter().skip(second).copied().eq(1991..=2001),
        "{seen:?}"
    );
}

fn history(gateway: &TestGateway, path: &str) -> (u16, Value) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let response = request(gateway.address, head.as_bytes());
    (response.status, response.json())
}

#[test]
fn history_can_be_read_over_http() {
    for shards in [1, 3] {
        let gateway = TestGateway::from_toml("[hub]\nhistory_size = 5", |config| {
            config.server.shards = shards;
        });
        let mut publisher = Client::events(gateway.address);
        publish_all(&mut publisher, "news", 9);
        let (status, page) = history(&gateway, "/api/v1/topics/news/history");
        assert_eq!(status, 200, "{page}");
        assert_eq!(
            (&page["topic"], &page["offset"]),
            (&json!("news"), &json!(10))
        );
        assert_eq!((&page["oldest"], &page["more"]), (&json!(6), &json!(false)));
        let events = page["events"].as_array().unwrap();
        let data: Vec<&Value> = events.iter().map(|event| &event["data"]).collect();
        assert_eq!(
            data,
            [&json!(6), &json!(7), &json!(8), &json!(9), &json!("end")]
        );
        assert_eq!(events[0]["type"], "event");
        assert_eq!(Place::of(&events[0]).offset, 6);
        assert_eq!(page["epoch"], Place::of(&events[0]).epoch);
        let (_, page) = history(&gateway, "/api/v1/topics/news/history?since=7&limit=2");
        let events = page["events"].as_array().unwrap();
        assert_eq!((events[0]["data"].clone(), events.len()), (json!(8), 2));
        assert_eq!(page["more"], true);
        let (status, page) = history(&gateway, "/api/v1/topics/other/history");
        assert_eq!((status, &page["events"]), (200, &json!([])));
        for bad in [
            "/api/v1/topics/a%0Ab/history",
            "/api/v1/topics/news/history?since=-1",
            "/api/v1/topics/news/history?limit=0",
            "/api/v1/topics/news/history?limit=x",
        ] {
            let (status, answer) = history(&gateway, bad);
            assert_eq!(status, 422, "{bad}: {answer}");
            assert!(answer["detail"].is_string());
        }
    }
}

#[test]
fn what_is_coming_already_cannot_begin_again_and_that_is_told() {
    for shards in [1, 3] {
        let gateway = with_history(shards);
        let mut client = Client::events(gateway.address);
        client.subscribe(&["room.*"]);
        let mut publisher = Client::events(gateway.address);
        publish_all(&mut publisher, "room.1", 1);
        let place = Place::at(0, Place::of(&client.json()));
        assert_eq!(client.json()["data"], "end");
        let word = recover(&mut client, "room.1", "room.1", place);
        assert_eq!(
            (&word["recovered"], &word["offset"]),
            (&json!(false), &json!(2))
        );
        let gap = client.json();
        assert_eq!((&gap["type"], &gap["lost"]), (&json!("gap"), &json!(null)));
        publish(&mut publisher, "room.1", 3);
        assert_eq!(client.json()["data"], 3, "once");
        assert!(client.is_silent(Duration::from_millis(30)));
    }
}

#[test]
fn topics_given_up_while_others_are_made_up_for_repeat_nothing() {
    for shards in [1, 3] {
        let gateway = with_history(shards);
        let mut publisher = Client::events(gateway.address);
        let mut watcher = Client::events(gateway.address);
        let topics = ["a", "b", "c", "d"];
        watcher.subscribe(&topics);
        let text = "x".repeat(1000);
        for topic in topics {
            for _ in 0..400 {
                publish(&mut publisher, topic, text.as_str());
            }
            publish_all(&mut publisher, topic, 1);
        }
        let mut places = serde_json::Map::new();
        while places.len() < topics.len() {
            let event = watcher.json();
            let topic = event["event"].as_str().unwrap().to_owned();
            let place = json!({ "epoch": Place::of(&event).epoch, "offset": 0 });
            places.entry(topic).or_insert(place);
        }
        let mut client = Client::events(gateway.address);
        let subscribe = json!({ "type": "subscribe", "events": topics, "recover": places });
        let give_up = json!({ "type": "unsubscribe", "events": ["a", "c"] });
        let frames = [subscribe, give_up].map(|value| frame(0x81, value.to_string().as_bytes()));
        client.send_bytes(&frames.concat());
        let (mut b, mut d) = (0, 0);
        let mut is_given_up = false;
        while b < 402 || d < 402 || !is_given_up {
            let message = client.json();
            is_given_up |= message["type"] == "unsubscription_confirmed";
            let next = match message["event"].as_str() {
                Some("b") => &mut b,
                Some("d") => &mut d,
                _ => continue,
            };
            *next += 1;
            assert_eq!(Place::of(&message).offset, *next, "{shards} shards");
        }
        assert!(client.is_silent(Duration::from_millis(30)));
    }
}

/// Subscribes to patterns from places; returns what the confirmation says of topics.
fn subscribe_from(client: &mut Client, patterns: &[&str], recover: &Value) -> Value {
    client.say(&json!({ "type": "subscribe", "events": patterns, "recover": recover }));
    let confirmed = client.json();
    assert_eq!(confirmed["type"], "subscription_confirmed", "{confirmed}");
    confirmed["topics"].clone()
}

#[test]
fn a_pattern_brings_back_topics_that_were_new_meanwhile() {
    for shards in [1, 3] {
        let gateway = with_history(shards);
        let mut publisher = Client::events(gateway.address);
        publish_all(&mut publisher, "room.old", 2);
        // What comes in the same millisecond may come again.
        thread::sleep(Duration::from_millis(20));
        let mut first = Client::events(gateway.address);
        let start = first.subscribe(&["room.*"])["topics"]["room.*"].clone();
        assert!(start.get("recovered").is_none(), "{start}");
        publish_all(&mut publisher, "room.known", 1);
        let known: Vec<Value> = (0..2).map(|_| first.json()).collect();
        drop(first);
        let topics: Vec<String> = (0..9).map(|number| format!("room.{number}")).collect();
        for topic in &topics {
            publish_all(&mut publisher, topic, 3);
        }
        publish_all(&mut publisher, "other", 1);
        publish_all(&mut publisher, "room.known", 1);
        for (query, more) in [("", 0), ("?batch=true", 2)] {
            let path = format!("/api/v1/ws/demo{query}");
            let mut client = Client::connect(gateway.address, &path);
            assert_eq!(client.json()["type"], "connection_established");
            let at = Place::of(&known[1]);
            let recover = json!({
                "room.*": start, "room.known": { "epoch": at.epoch, "offset": at.offset },
            });
            let words = subscribe_from(&mut client, &["room.*"], &recover);
            assert_eq!(words.as_object().unwrap().len(), 11, "{words}");
            assert_eq!(
                (&words["room.*"]["recovered"], &words["room.*"]["count"]),
                (&json!(true), &json!(0))
            );
            assert!(words["room.*"]["offset"].as_u64() > start["offset"].as_u64());
            assert_eq!(words["room.known"]["count"], 2);
            for topic in &topics {
                let count = if topic == "room.3" { 4 + more } else { 4 };
                assert_eq!(words[topic]["count"], count, "{words}");
            }
            publish_all(&mut publisher, "room.3", 1);
            let mut places = BTreeMap::from([("room.known".to_owned(), at.offset)]);
            let mut left = 9 * 4 + more + 2 + 2;
            while left > 0 {
                let frame = client.json();
                let events = match frame["type"] == "batch" {
                    true => frame["messages"].as_array().unwrap().clone(),
                    false => vec![frame],
                };
                left -= events.len();
                for event in events {
                    let topic = event["event"].as_str().unwrap().to_owned();
                    let offset = Place::of(&event).offset;
                    let before = places.insert(topic, offset).unwrap_or_default();
                    assert_eq!(offset, before + 1, "{event}");
                }
            }
            assert_eq!(
                places.len(),
                10,
                "not those before and of others: {places:?}"
            );
            assert!(client.is_silent(Duration::from_millis(20)));
        }
    }
}

#[test]
fn a_pattern_brings_back_no_topic_that_comes_already() {
    for shards in [1, 3] {
        let gateway = with_history(shards);
        let mut publisher = Client::events(gateway.address);
        let mut client = Client::events(gateway.address);
        let topics = client.subscribe(&["room.*", "room.1", "hall.*"])["topics"].clone();
        assert!(topics["room.1"]["epoch"].is_u64() && topics["hall.*"]["epoch"].is_u64());
        for topic in ["room.1", "room.2", "room.3"] {
            publish_all(&mut publisher, topic, 1);
            assert_eq!(
                (client.json()["data"].as_u64(), &client.json()["data"]),
                (Some(1), &json!("end"))
            );
        }
        let recover = json!({ "*": topics["room.*"] });
        let words = subscribe_from(&mut client, &["*"], &recover);
        assert_eq!(words.as_object().unwrap().len(), 1, "{words}");
        assert_eq!(words["*"]["recovered"], true);
        let mut other = Client::events(gateway.address);
        let words = subscribe_from(&mut other, &["*", "room.2"], &recover);
        let mut names: Vec<&String> = words.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["*", "room.1", "room.2", "room.3"]);
        assert!(
            words["room.2"].get("recovered").is_none(),
            "begins now: {words}"
        );
        let mut events: Vec<String> = Vec::new();
        for _ in 0..4 {
            events.push(other.json()["event"].as_str().unwrap().to_owned());
        }
        events.sort();
        assert_eq!(events, ["room.1", "room.1", "room.3", "room.3"]);
        publish(&mut publisher, "room.2", 2);
        assert_eq!(
            (&client.json()["data"], &other.json()["data"]),
            (&json!(2), &json!(2))
        );
        assert!(client.is_silent(Duration::from_millis(20)));
    }
}

#[test]
fn of_two_patterns_the_earlier_position_counts() {
    for shards in [1, 3] {
        let gateway = with_history(shards);
        let mut publisher = Client::events(gateway.address);
        let subscribe = |pattern: &str| {
            let confirmed = Client::events(gateway.address).subscribe(&[pattern]);
            confirmed["topics"][pattern].clone()
        };
        let early = subscribe("*");
        publish_all(&mut publisher, "room.ab", 1);
        thread::sleep(Duration::from_millis(20));
        let late = subscribe("room.a*");
        assert!(late["offset"].as_u64() > early["offset"].as_u64());
        for patterns in [["*", "room.a*"], ["room.a*", "*"]] {
            let mut client = Client::events(gateway.address);
            let recover = json!({ "*": early, "room.a*": late });
            let words = subscribe_from(&mut client, &patterns, &recover);
            assert_eq!(words["room.ab"]["count"], 2, "{words}");
            assert_eq!(client.json()["data"], 1);
        }
    }
}

#[test]
fn what_a_pattern_cannot_bring_back_is_told() {
    let toml = "[hub]\nhistory_size = 100\n[topic.\"room.bare\"]\nhistory_size = 0";
    for shards in [1, 3] {
        let gateway = TestGateway::from_toml(toml, |config| config.server.shards = shards);
        let mut publisher = Client::events(gateway.address);
        let mut first = Client::events(gateway.address);
        let start = first.subscribe(&["room.*"])["topics"]["room.*"].clone();
        let place = Place {
            epoch: start["epoch"].as_u64().unwrap(),
            offset: start["offset"].as_u64().unwrap(),
        };
        drop(first);
        publish_all(&mut publisher, "room.bare", 1);
        publish_all(&mut publisher, "room.long", 150);
        publish_all(&mut publisher, "room.kept", 0);
        let mut client = Client::events(gateway.address);
        let words = subscribe_from(&mut client, &["room.*"], &json!({ "room.*": start }));
        assert_eq!(words["room.*"]["recovered"], true, "{words}");
        assert_eq!(words["room.kept"]["count"], 1, "{words}");
        let mut gaps = Vec::new();
        for topic in ["room.bare", "room.long"] {
            assert_eq!(words[topic]["recovered"], false, "{words}");
            let gap = client.json();
            assert_eq!((&gap["type"], &gap["lost"]), (&json!("gap"), &json!(null)));
            gaps.push(gap["event"].as_str().unwrap().to_owned());
        }
        gaps.sort();
        assert_eq!(gaps, ["room.bare", "room.long"]);
        assert_eq!(client.json()["event"], "room.kept");
        for (epoch, offset) in [
            (place.epoch - 1, place.offset),
            (place.epoch, place.offset + 3_600_000),
            (place.epoch, u64::MAX),
            (0, 0),
        ] {
            let mut client = Client::events(gateway.address);
            let word = recover(&mut client, "room.*", "room.*", Place { epoch, offset });
            assert_eq!(
                (&word["recovered"], &word["count"], &word["epoch"]),
                (&json!(false), &json!(0), &json!(place.epoch))
            );
            let gap = client.json();
            assert_eq!(
                (&gap["type"], &gap["event"], &gap["lost"]),
                (&json!("gap"), &json!("room.*"), &json!(null))
            );
            publish(&mut publisher, "room.kept", 1);
            assert_eq!(client.json()["event"], "room.kept");
        }
    }
}

#[test]
fn a_pattern_of_an_earlier_process_is_a_gap() {
    let recover = {
        let gateway = with_history(1);
        let topics = Client::events(gateway.address).subscribe(&["*"])["topics"].clone();
        assert!(topics["*"]["epoch"].is_u64(), "{topics}");
        topics
    };
    let gateway = with_history(1);
    let mut client = Client::events(gateway.address);
    let words = subscribe_from(&mut client, &["*"], &recover);
    assert_eq!(words["*"]["recovered"], false);
    assert_eq!(client.json()["event"], "*");
}
