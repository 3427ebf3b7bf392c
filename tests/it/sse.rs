//! Streams of Server-Sent Events: what a browser's EventSource and `curl` get.

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fanfare::config::{Config, Mode, Secret, SlowConsumer};
use fanfare::dialect::sse::SseSettings;
use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{Client, EventStream, Response, TestGateway, frame, metric, request};

/// Asks and reads whatever comes until the gateway closes or is silent.
fn get(address: SocketAddr, head: &str) -> Response {
    request(
        address,
        format!("{head} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
    )
}

fn publish(client: &mut Client, topic: &str, data: &Value) {
    client.say(&json!({ "type": "publish", "event": topic, "data": data }));
}

/// Publishes and waits for the answer, which gives the offset.
fn publish_and_wait(client: &mut Client, topic: &str, data: &Value) -> u64 {
    client.say(&json!({ "type": "publish", "id": 1, "event": topic, "data": data }));
    let answer = client.json();
    answer["result"]["offset"]
        .as_u64()
        .unwrap_or_else(|| panic!("an offset: {answer}"))
}

/// Waits until a metric is as it should be.
fn await_metric(address: SocketAddr, name: &str, is_so: impl Fn(u64) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so(metric(address, name)) {
        assert!(
            Instant::now() < deadline,
            "{name}: {}",
            metric(address, name)
        );
        thread::sleep(Duration::from_millis(20));
    }
}

fn shards(count: usize) -> TestGateway {
    TestGateway::with(|config| config.server.shards = count)
}

const NO_GAPS: [Value; 0] = [];

/// The gaps at the beginning of a stream, the last of which has its first id.
fn opening_gaps(stream: &mut EventStream) -> Vec<Value> {
    if !opening_lines(stream)
        .iter()
        .any(|line| line == "event: gap")
    {
        stream.take_opening();
        return Vec::new();
    }
    let retry = stream.line();
    assert!(retry.starts_with("retry: "), "{retry}");
    let mut gaps = Vec::new();
    while stream.last_id.is_empty() {
        let event = stream.event();
        assert_eq!(event.name, "gap");
        gaps.push(event.json());
    }
    gaps
}

/// The lines that came with a stream's head, in one write with it.
fn opening_lines(stream: &EventStream) -> Vec<String> {
    let text = String::from_utf8_lossy(stream.rest());
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_stream_begins_with_its_head_the_time_to_come_back_and_where_it_stands() {
    let gateway = TestGateway::start();
    let mut stream = EventStream::connect(gateway.address, "topics=a,b");
    let (start, date) = stream.head.split_once("date: ").unwrap();
    let (_, end) = date.split_once("\r\n").unwrap();
    assert_eq!(
        format!("{start}{end}"),
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store, no-transform\r\n\
         x-accel-buffering: no\r\nconnection: close\r\nvary: Origin\r\n\r\n"
    );
    let retry = stream.line();
    let delay = retry.strip_prefix("retry: ").unwrap().trim_end();
    assert!(
        (1000..3000).contains(&delay.parse::<u64>().unwrap()),
        "{retry}"
    );
    let id = stream.line();
    let cursor = id.strip_prefix("id: ").unwrap().trim_end();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(cursor.len() >= 16 && cursor.bytes().all(is_plain), "{id}");
}

#[test]
fn an_event_has_an_id_its_topics_name_and_the_data_as_it_was_published() {
    let gateway = TestGateway::start();
    let mut stream = EventStream::subscribe(gateway.address, "topics=agent.update");
    let began = stream.last_id.clone();
    let mut publisher = Client::events(gateway.address);
    publisher.send(
        0x81,
        br#"{"type":"publish","event":"agent.update","data":{"b":1.50, "a":"\u00e9"}}"#,
    );
    let block = stream.block().unwrap();
    let expected = "\nevent: agent.update\ndata: {\"b\":1.50, \"a\":\"\\u00e9\"}\n\n";
    assert!(
        block.starts_with("id: ") && block.ends_with(expected),
        "{block}"
    );
    assert_ne!(stream.last_id, began);
}

#[test]
fn case_h16_a_head_request_is_answered_with_the_head_of_the_stream_or_of_the_refusal() {
    let gateway = TestGateway::with(|config| config.clients.max_connections = 1);
    let address = gateway.address;
    for _ in 0..3 {
        let answer = get(address, "HEAD /api/v1/sse?topics=a");
        assert_eq!((answer.status, &*answer.body), (200, ""), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        let caching = answer.header("cache-control");
        assert_eq!(caching, Some("no-store, no-transform"));
        assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        assert_eq!(answer.header("content-length"), None, "{answer:?}");
        assert!(answer.closed);
    }
    for (head, status) in [
        ("HEAD /api/v1/sse", 400),
        ("HEAD /api/v1/sse?topics=user:7:x", 403),
    ] {
        let answer = get(address, head);
        assert_eq!((answer.status, &*answer.body), (status, ""), "{answer:?}");
    }
    // It took nobody's place.
    let _stream = EventStream::subscribe(address, "topics=a");
    assert_eq!(get(address, "HEAD /api/v1/sse?topics=a").status, 503);
}

#[test]
fn case_c6_no_block_is_without_data_whatever_happens() {
    let gateway = with_history(1, "[hub]\nhistory_size = 5\n[sse]\nheartbeat = \"1s\"");
    let address = gateway.address;
    let query = "topics=a,b";
    let began = EventStream::subscribe(address, query).last_id;
    let quiet = EventStream::connect(address, query);
    let mut publisher = Client::events(address);
    for number in 0..20 {
        publish_and_wait(&mut publisher, "a", &json!(number));
    }
    publish_and_wait(&mut publisher, "b", &json!(0));
    let mut streams = vec![
        EventStream::connect(address, query),
        EventStream::resume(address, query, &began),
        EventStream::resume(address, query, "of-nobody"),
    ];
    thread::sleep(Duration::from_millis(2500));
    publish(&mut publisher, "b", &json!("last"));
    streams.push(quiet);
    for stream in &mut streams {
        let mut seen = Vec::new();
        loop {
            let block = stream.block().expect("the last event at last");
            assert!(block.contains("\ndata: "), "{block:?} behind {seen:?}");
            let is_last = block.ends_with("data: \"last\"\n\n");
            seen.push(block);
            if is_last {
                break;
            }
        }
        assert!(seen.concat().contains("\n:\n"), "no heartbeat: {seen:?}");
        assert!(seen[0].starts_with("retry: "), "{seen:?}");
        // Whoever has the last event is where it says, and nothing is told twice.
        let mut again = EventStream::resume(address, query, &stream.last_id);
        assert_eq!(opening_gaps(&mut again), NO_GAPS);
    }
}

#[test]
fn case_c6_a_reader_that_is_cut_off_before_its_first_event_comes_back_to_where_it_was() {
    let gateway = with_history(1, "[hub]\nhistory_size = 10");
    let address = gateway.address;
    let mut stream = EventStream::subscribe(address, "topics=t");
    let mut publisher = Client::events(address);
    publish_and_wait(&mut publisher, "t", &json!(1));
    let first = stream.event();
    // It comes back, and is cut off before anything has happened: it has its cursor still.
    drop(EventStream::resume(address, "topics=t", &first.id));
    publish_and_wait(&mut publisher, "t", &json!(2));
    let mut back = EventStream::resume(address, "topics=t", &first.id);
    assert_eq!(back.event().json(), 2);
    // The first id is where the stream stood when its head came, for those who read lines.
    let opened = EventStream::subscribe(address, "topics=t");
    publish_and_wait(&mut publisher, "t", &json!(3));
    let mut back = EventStream::resume(address, "topics=t", &opened.last_id);
    assert_eq!(back.event().json(), 3);
}

#[test]
fn m11_every_line_of_data_is_a_field_of_its_own() {
    let gateway = TestGateway::start();
    let mut stream = EventStream::subscribe(gateway.address, "topics=t");
    let mut publisher = Client::events(gateway.address);
    let message = "{\"type\":\"publish\",\"event\":\"t\",\"data\":[1,\n2,\r3,\r\n4,\n\r5\r]}";
    publisher.send(0x81, message.as_bytes());
    let block = stream.block().unwrap();
    let expected =
        "\nevent: t\ndata: [1,\ndata: 2,\ndata: 3,\ndata: 4,\ndata: \ndata: 5\ndata: ]\n\n";
    assert!(block.ends_with(expected), "{block:?}");
    publish(&mut publisher, "t", &json!("next"));
    assert_eq!(stream.event().json(), "next");
}

#[test]
fn a_stream_has_the_events_of_all_its_topics_and_of_no_others() {
    let gateway = shards(4);
    let address = gateway.address;
    let mut both = EventStream::subscribe(address, "topic=t.1&topics=t.0,t.1");
    let mut same = EventStream::subscribe(address, "topics=t.1%2Ct.0");
    let mut one = EventStream::subscribe(address, "topics=t.1");
    let mut socket = Client::events(address);
    socket.subscribe(&["*"]);
    let mut publisher = Client::events(address);
    for number in 0..30 {
        let topic = format!("t.{}", number % 3);
        publish_and_wait(&mut publisher, &topic, &json!(number));
    }
    // Each topic has an order; topics of different homes have none among them.
    let take = |stream: &mut EventStream, count| {
        let mut events: Vec<(String, Value)> = (0..count)
            .map(|_| stream.event())
            .map(|event| (event.name.clone(), event.json()))
            .collect();
        events.sort_by(|(name, _), (other, _)| name.cmp(other));
        events
    };
    let all: Vec<(String, Value)> = (0..30)
        .map(|n| (format!("t.{}", n / 10), json!(n % 10 * 3 + n / 10)))
        .collect();
    assert_eq!(take(&mut both, 20), all[..20]);
    assert_eq!(take(&mut same, 20), all[..20]);
    assert_eq!(take(&mut one, 10), all[10..20]);
    // Streams are no topics of their own to anybody else.
    let mut others: Vec<(String, Value)> = (0..30)
        .map(|_| socket.json())
        .map(|event| {
            (
                event["event"].as_str().unwrap().to_owned(),
                event["data"].clone(),
            )
        })
        .collect();
    others.sort_by(|(name, _), (other, _)| name.cmp(other));
    assert_eq!(others, all);
}

#[test]
fn from_the_head_on_nothing_is_missed_on_any_shard() {
    let gateway = shards(4);
    let address = gateway.address;
    let readers: Vec<_> = (0..6)
        .map(|reader| {
            thread::spawn(move || {
                let mut publisher = Client::events(address);
                for round in 0..15 {
                    let topics: Vec<String> = (0..3).map(|n| format!("r{reader}.{n}")).collect();
                    let query = format!("topics={},hot", topics.join(","));
                    let mut stream = EventStream::subscribe(address, &query);
                    for topic in &topics {
                        publish(&mut publisher, topic, &json!([round, topic]));
                        publish(&mut publisher, "hot", &json!(0));
                    }
                    let mut missing: Vec<Value> =
                        topics.iter().map(|topic| json!([round, topic])).collect();
                    while !missing.is_empty() {
                        let event = stream.event();
                        assert_ne!(event.name, "gap");
                        missing.retain(|data| *data != event.json());
                    }
                }
            })
        })
        .collect();
    for reader in readers {
        reader.join().expect("it missed nothing");
    }
}

#[test]
fn every_reader_sees_one_order_of_a_topic_with_nothing_lost_or_doubled() {
    const EACH: u64 = 150;
    let gateway = shards(4);
    let address = gateway.address;
    let streams: Vec<EventStream> = (0..8)
        .map(|index| {
            let query = ["topics=t.0", "topics=t.0,t.1"][index % 2];
            EventStream::subscribe(address, query)
        })
        .collect();
    let mut readers = Vec::new();
    for mut stream in streams {
        readers.push(thread::spawn(move || {
            let mut seen = Vec::new();
            while seen.len() < 4 * EACH as usize {
                let event = stream.event();
                if event.name == "t.0" {
                    seen.push(event.json());
                }
            }
            seen
        }));
    }
    thread::scope(|scope| {
        for publisher in 0..4 {
            scope.spawn(move || {
                let mut client = Client::events(address);
                for number in 0..EACH {
                    publish(&mut client, "t.0", &json!([publisher, number]));
                    publish(&mut client, "t.1", &json!([publisher, number]));
                }
                // The answer shows that all before it has been taken.
                publish_and_wait(&mut client, "t.2", &json!(0));
            });
        }
    });
    let mut seen: Vec<Vec<Value>> = Vec::new();
    for reader in readers {
        seen.push(reader.join().expect("it reads everything"));
    }
    for other in &seen {
        assert_eq!(*other, seen[0], "one order");
    }
    for publisher in 0..4 {
        let numbers = seen[0].iter().filter(|data| data[0] == publisher);
        assert!(numbers.map(|data| data[1].as_u64().unwrap()).eq(0..EACH));
    }
}

#[test]
fn a_stream_at_rest_is_kept_alive_by_comments() {
    let gateway = TestGateway::with(|config| {
        config.section_mut::<SseSettings>().heartbeat = Duration::from_millis(150);
    });
    let began = Instant::now();
    let mut stream = EventStream::subscribe(gateway.address, "topics=t");
    for _ in 0..3 {
        assert_eq!(stream.line(), ":\n");
    }
    assert!(
        began.elapsed() > Duration::from_millis(300),
        "not more often than asked for"
    );
    let mut publisher = Client::events(gateway.address);
    publish(&mut publisher, "t", &json!(1));
    assert_eq!(stream.event().json(), 1);
}

/// A gateway whose slow readers are soon found out.
fn impatient(policy: SlowConsumer, history: usize) -> TestGateway {
    let text = format!(
        "mode = \"demo\"\n[server]\nsend_buffer = \"32KiB\"\n[hub]\nmax_lag = \"256KiB\"\n\
         history_size = {history}\nslow_consumer = \"{}\"\n",
        match policy {
            SlowConsumer::Disconnect => "disconnect",
            _ => "drop-oldest",
        }
    );
    let parsed = Config::from_toml(&text).expect("a configuration");
    TestGateway::with(|config| {
        (config.hub, config.namespaces) = (parsed.hub, parsed.namespaces);
        config.server.send_buffer = parsed.server.send_buffer;
    })
}

/// Publishes messages of 8 KiB until `stop` says so; how many there were.
fn flood(address: SocketAddr, reader: &mut EventStream, stop: impl Fn(usize) -> bool) -> usize {
    let mut publisher = Client::events(address);
    let filler = "x".repeat(8 * 1024);
    let mut number = 0;
    while !stop(number) {
        for _ in 0..8 {
            publish(&mut publisher, "t", &json!([number, filler]));
            assert_eq!(
                reader.event().json()[0],
                number,
                "whoever reads gets everything"
            );
            number += 1;
        }
    }
    number
}

fn stalled(address: SocketAddr, query: &str) -> EventStream {
    let stream = EventStream::subscribe(address, query);
    SockRef::from(&stream.stream)
        .set_recv_buffer_size(64 * 1024)
        .unwrap();
    stream
}

/// Floods a topic until a reader that does not read is cut off. Returns how many
/// messages there were, how many it had, and its last id.
fn cut_off(address: SocketAddr) -> (u64, u64, String) {
    let mut reader = EventStream::subscribe(address, "topics=t");
    let mut slow = stalled(address, "topics=t");
    let published = flood(address, &mut reader, |number| {
        assert!(number < 4000, "nobody was found to be slow");
        metric(address, "disconnects_total{reason=\"slow\"}") == 1
    });
    let mut received = 0;
    while let Some(event) = slow.next() {
        assert_eq!(event.json()[0], received, "in order up to the end");
        received += 1;
    }
    (published as u64, received, slow.last_id)
}

#[test]
fn r01_a_slow_reader_sees_the_end_of_its_stream_and_has_everything_when_it_is_back() {
    let gateway = impatient(SlowConsumer::Disconnect, 10_000);
    let address = gateway.address;
    let (published, received, last_id) = cut_off(address);
    assert!(received < published);
    let mut back = EventStream::resume(address, "topics=t", &last_id);
    for number in received..published {
        assert_eq!(back.event().json()[0], number);
    }
}

#[test]
fn r01_a_slow_reader_is_told_once_what_is_not_kept() {
    let gateway = impatient(SlowConsumer::Disconnect, 0);
    let address = gateway.address;
    let (published, received, last_id) = cut_off(address);
    let mut back = EventStream::resume(address, "topics=t", &last_id);
    let gap = back.event();
    let lost = published - received;
    let expected = json!({ "event": "t", "lost": lost, "reason": "not_in_history" });
    assert_eq!((&*gap.name, gap.json()), ("gap", expected));
    assert_ne!(gap.id, last_id, "where it stands");
    let mut again = EventStream::resume(address, "topics=t", &back.last_id);
    let mut publisher = Client::events(address);
    publish(&mut publisher, "t", &json!("next"));
    assert_eq!(again.event().json(), "next");
}

#[test]
fn r01_a_slow_reader_that_is_kept_is_told_how_much_it_lost() {
    let gateway = impatient(SlowConsumer::DropOldest, 0);
    let address = gateway.address;
    let mut reader = EventStream::subscribe(address, "topics=t");
    let mut slow = stalled(address, "topics=t");
    let mut of_two = stalled(address, "topics=t,u");
    let published = flood(address, &mut reader, |number| number >= 600);
    let (mut received, mut lost) = (0, 0);
    while received + lost < published as u64 {
        let event = slow.event();
        if event.name == "gap" {
            let gap = event.json();
            assert_eq!(
                (&gap["event"], &gap["reason"]),
                (&json!("t"), &json!("slow_consumer"))
            );
            lost += gap["lost"].as_u64().expect("a number");
        } else {
            received += 1;
        }
    }
    assert!(lost > 0);
    // Of which of two topics it lost something is not known, so it hears of both.
    let gaps: Vec<Value> = std::iter::repeat_with(|| of_two.event())
        .filter(|event| event.name == "gap")
        .take(2)
        .map(|event| event.json())
        .collect();
    for (gap, topic) in gaps.iter().zip(["t", "u"]) {
        assert_eq!(
            *gap,
            json!({ "event": topic, "lost": null, "reason": "slow_consumer" })
        );
    }
}

#[test]
fn at_the_end_of_the_gateway_a_stream_just_ends() {
    let gateway = shards(2);
    let mut streams: Vec<EventStream> = (0..4)
        .map(|_| EventStream::subscribe(gateway.address, "topics=t"))
        .collect();
    let readers: Vec<_> = streams
        .drain(..)
        .map(|mut stream| thread::spawn(move || (stream.until_end(), stream.rest().to_vec())))
        .collect();
    let took = gateway.stop();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), (Vec::new(), Vec::new()));
    }
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a15_a_request_that_cannot_be_served_is_told_why() {
    let gateway = TestGateway::with(|config| config.section_mut::<SseSettings>().max_topics = 3);
    let address = gateway.address;
    let check = |head: &str, status: u16, why: &str| {
        let response = get(address, head);
        assert_eq!(response.status, status, "{head}");
        assert_eq!(response.json()["detail"], why, "{head}");
        assert!(response.closed, "{head}");
        response
    };
    let response = check(
        "POST /api/v1/sse?topics=a",
        405,
        "Events are asked for with GET",
    );
    assert_eq!(response.header("allow"), Some("GET, HEAD"));
    let missing = "say which topics: ?topics=a,b or ?topic=a&topic=b";
    check("GET /api/v1/sse", 400, missing);
    check(
        "GET /api/v1/sse?topic",
        400,
        "``: a topic name cannot be empty",
    );
    let pattern = "`a.*`: a stream has topics by their names, not by patterns";
    check("GET /api/v1/sse?topics=x,a.*", 400, pattern);
    check(
        "GET /api/v1/sse?topics=a,b,c,d",
        400,
        "a stream has at most 3 topics",
    );
    let reserved = "`error`: events of this name mean something else to EventSource";
    check("GET /api/v1/sse?topics=error", 400, reserved);
    check(
        "GET /api/v1/sse?topics=user:7:x",
        403,
        "`user:7:x`: not yours to read",
    );
    let body = "GET /api/v1/sse?topics=a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    let response = request(address, body.as_bytes());
    assert_eq!(response.status, 400, "{response:?}");
    assert_eq!(
        response.json()["detail"],
        "A request for events has no body"
    );
}

#[test]
fn m11_a_name_that_would_break_the_stream_is_refused() {
    let gateway = TestGateway::start();
    for name in [
        "a%0D%0Ab",
        "a%0Ab",
        "a%0D",
        "%00",
        "a%0Adata:%20x",
        "%EF%BB%BF",
        "a,%0D",
    ] {
        let response = get(gateway.address, &format!("GET /api/v1/sse?topics={name}"));
        assert_eq!(response.status, 400, "{name}");
        let detail = response.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("only letters, digits and _ . : -"),
            "{detail}"
        );
    }
}

#[test]
fn where_tokens_are_asked_for_a_stream_needs_one() {
    let secret = "an example secret of thirty-two bytes or more";
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = Secret::new(secret.as_bytes());
    });
    let response = get(gateway.address, "GET /api/v1/sse?topics=a");
    assert_eq!(response.status, 401, "{response:?}");
    assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    assert_eq!(response.json()["detail"], "No token");
    let none = TestGateway::with(|config| config.section_mut::<SseSettings>().enabled = false);
    assert_eq!(get(none.address, "GET /api/v1/sse?topics=a").status, 404);
}

#[test]
fn a_stream_takes_a_connections_place_until_it_ends() {
    let gateway = TestGateway::with(|config| config.server.max_connections = 1);
    let address = gateway.address;
    let stream = EventStream::subscribe(address, "topics=t");
    let response = get(address, "GET /api/v1/sse?topics=t");
    assert_eq!(
        (response.status, response.header("retry-after")),
        (503, Some("1"))
    );
    await_metric(
        address,
        "transport_connections{transport=\"sse\"}",
        |open| open == 1,
    );
    await_metric(
        address,
        "transport_connections_opened_total{transport=\"sse\"}",
        |n| n == 1,
    );
    assert_eq!(
        metric(address, "transport_connections{transport=\"websocket\"}"),
        0
    );
    drop(stream);
    await_metric(
        address,
        "transport_connections{transport=\"sse\"}",
        |open| open == 0,
    );
    let _ = EventStream::subscribe(address, "topics=t");
}

#[test]
fn topics_that_nobody_reads_any_more_are_given_up() {
    let gateway = shards(2);
    let address = gateway.address;
    let streams: Vec<EventStream> = (0..10)
        .map(|first| {
            let topics: Vec<String> = (first..first + 5).map(|n| format!("t.{n}")).collect();
            EventStream::subscribe(address, &format!("topics={}", topics.join(",")))
        })
        .collect();
    await_metric(address, "topics", |topics| topics >= 14);
    drop(streams);
    await_metric(address, "topics", |topics| topics == 0);
    // And they come back as if nothing had been.
    let mut again = EventStream::subscribe(address, "topics=t.1,t.2");
    let mut publisher = Client::events(address);
    publish(&mut publisher, "t.2", &json!(2));
    assert_eq!(again.event().json(), 2);
}

#[test]
fn at_the_limit_of_topics_a_stream_is_refused_and_leaves_nothing_behind() {
    let gateway = TestGateway::with(|config| config.hub.max_topics = 4);
    let address = gateway.address;
    let response = get(address, "GET /api/v1/sse?topics=a,b,c,d,e");
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(response.json()["detail"], "Too many topics");
    let deadline = Instant::now() + Duration::from_secs(10);
    while get(address, "GET /api/v1/sse?topics=x,y,z").status != 200 {
        assert!(Instant::now() < deadline, "what was refused is still held");
    }
}

#[test]
fn h08_what_a_client_sends_behind_its_request_is_never_answered() {
    let gateway = TestGateway::start();
    let address = gateway.address;
    let mut stream = EventStream::connect(address, "topics=t");
    let pipelined = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.stream.write_all(pipelined.as_bytes()).unwrap();
    stream.take_opening();
    let mut publisher = Client::events(address);
    publish(&mut publisher, "t", &json!(1));
    assert_eq!(stream.event().json(), 1);
    // So much of it that nobody can mean it ends the connection.
    let noise = frame(0x82, &[0; 16 * 1024]);
    for _ in 0..8 {
        let _ = stream.stream.write_all(&noise);
    }
    assert!(stream.until_end().is_empty());
    await_metric(
        address,
        "disconnects_total{reason=\"unsupported\"}",
        |ends| ends == 1,
    );
}

fn with_secret(config: &mut Config) {
    config.section_mut::<SseSettings>().cursor_secret =
        Secret::new(*b"an example secret of thirty-two bytes or more");
}

#[test]
fn a_reader_that_missed_nothing_goes_on_without_a_gap() {
    let gateway = shards(2);
    let address = gateway.address;
    let mut stream = EventStream::subscribe(address, "topics=t,u");
    let mut publisher = Client::events(address);
    let first = stream.last_id.clone();
    let mut back = EventStream::resume(address, "topics=u,t", &first);
    assert_eq!(opening_gaps(&mut back), NO_GAPS);
    assert_eq!(back.last_id, first);
    publish(&mut publisher, "t", &json!(1));
    publish(&mut publisher, "u", &json!(2));
    stream.event();
    stream.event();
    let query = format!("topics=t,u&lastEventId={}", stream.last_id);
    let mut back = EventStream::connect(address, &query);
    assert_eq!(opening_gaps(&mut back), NO_GAPS);
    // What a browser adds when it comes back is newer than what its page wrote.
    let query = format!("topics=t,u&last_event_id={first}");
    let mut back = EventStream::resume(address, &query, &stream.last_id);
    assert_eq!(opening_gaps(&mut back), NO_GAPS);
    publish(&mut publisher, "u", &json!(3));
    assert_eq!(back.event().json(), 3);
}

#[test]
fn m12_a_cursor_that_proves_nothing_is_answered_by_a_gap_for_each_topic() {
    let gateway = TestGateway::with(with_secret);
    let address = gateway.address;
    let of_others = EventStream::subscribe(address, "topics=x").last_id;
    let stranger = TestGateway::start();
    let of_a_stranger = EventStream::subscribe(stranger.address, "topics=t,u").last_id;
    let long = "A".repeat(12_000);
    for cursor in [
        "-1",
        "0",
        "18446744073709551616",
        "7-1",
        "\u{feff}",
        "%0D%0Aid:%201",
        &of_others,
        &of_a_stranger,
        &long,
    ] {
        let mut stream = EventStream::resume(address, "topics=u,t", cursor);
        let gap = |topic: &str| json!({ "event": topic, "lost": null, "reason": "invalid_cursor" });
        assert_eq!(
            opening_gaps(&mut stream),
            [gap("t"), gap("u")],
            "{cursor:.40}"
        );
        let mut again = EventStream::resume(address, "topics=u,t", &stream.last_id);
        assert_eq!(opening_gaps(&mut again), NO_GAPS, "a gap is told once");
    }
    let huge = format!(
        "GET /api/v1/sse?topics=t HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {}\r\n\r\n",
        "A".repeat(1 << 20)
    );
    assert_eq!(request(address, huge.as_bytes()).status, 431);
}

#[test]
fn m12_a_cursor_from_another_life_of_the_gateway_is_answered_by_a_gap() {
    let before = TestGateway::with(with_secret);
    let cursor = EventStream::subscribe(before.address, "topics=t").last_id;
    before.stop();
    let after = TestGateway::with(with_secret);
    let mut stream = EventStream::resume(after.address, "topics=t", &cursor);
    assert_eq!(
        opening_gaps(&mut stream),
        [json!({ "event": "t", "lost": null, "reason": "new_epoch" })]
    );
}

/// A gateway that keeps this many messages of each topic.
fn with_history(count: usize, history: &str) -> TestGateway {
    TestGateway::from_toml(history, |config| config.server.shards = count)
}

#[test]
fn every_id_is_a_place_to_go_on_from() {
    let gateway = with_history(4, "[hub]\nhistory_size = 1000");
    let address = gateway.address;
    let mut stream = EventStream::subscribe(address, "topics=t.0,t.1,t.2");
    let mut ids = vec![stream.last_id.clone()];
    let mut publisher = Client::events(address);
    for number in 0..12 {
        let topic = format!("t.{}", number % 3);
        publish_and_wait(&mut publisher, &topic, &json!(number));
        ids.push(stream.event().id);
    }
    for (seen, id) in ids.iter().enumerate() {
        let mut back = EventStream::resume(address, "topics=t.0,t.1,t.2", id);
        let mut numbers: Vec<usize> = Vec::new();
        let mut last = String::new();
        for _ in seen..12 {
            let event = back.event();
            let number = event.json().as_u64().unwrap() as usize;
            assert_eq!(event.name, format!("t.{}", number % 3));
            // What was sent again is a place to go on from, too.
            let mut twice = EventStream::resume(address, "topics=t.0,t.1,t.2", &event.id);
            for _ in seen + numbers.len() + 1..12 {
                let other = twice.event().json();
                assert!(!numbers.contains(&(other.as_u64().unwrap() as usize)));
                assert_ne!(other, number);
            }
            numbers.push(number);
            last = event.id;
        }
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(seen..12), "from {seen}");
        assert!(
            last.is_empty() || last == ids[12],
            "all have come to one place"
        );
    }
    let mut back = EventStream::resume(address, "topics=t.0,t.1,t.2", &ids[9]);
    publish(&mut publisher, "t.1", &json!("new"));
    let rest: Vec<Value> = (9..13).map(|_| back.event().json()).collect();
    assert_eq!(rest[3], "new", "after all that was missed");
}

#[test]
fn what_is_still_kept_follows_the_gap() {
    let gateway = with_history(
        2,
        "[hub]\nhistory_size = 10\n[topic.\"none\"]\nhistory_size = 0",
    );
    let address = gateway.address;
    let mut publisher = Client::events(address);
    let query = "topics=kept.0,kept.1,none";
    let began = EventStream::subscribe(address, query).last_id;
    for number in 0..30 {
        for topic in ["kept.0", "kept.1", "none"] {
            publish_and_wait(&mut publisher, topic, &json!(number));
        }
    }
    let mut back = EventStream::resume(address, query, &began);
    // The stream may begin before its shard has heard of the last messages; they
    // come as new ones then.
    let topics = ["kept.0", "kept.1", "none"];
    let mut next = [0; 3];
    while next != [30; 3] {
        let event = back.event();
        let data = event.json();
        let name = data["event"].as_str().unwrap_or(&event.name);
        let topic = topics.iter().position(|&topic| topic == name).unwrap();
        if event.name == "gap" {
            assert_eq!(
                (next[topic], &data["reason"]),
                (0, &json!("not_in_history"))
            );
            next[topic] = data["lost"].as_u64().unwrap();
            assert!(name == "none" || next[topic] == 20, "{data}");
        } else {
            assert_eq!(data, next[topic], "{name}");
            next[topic] += 1;
        }
    }
}

/// A few numbers to cut by.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

#[test]
fn r01_streams_that_are_cut_at_random_under_load_lose_and_repeat_nothing() {
    const EACH: u64 = 1500;
    const TOPICS: [&str; 4] = ["t.0", "t.1", "t.2", "t.3"];
    let gateway = with_history(4, "[hub]\nhistory_size = 10000");
    let address = gateway.address;
    let query = "topics=t.0,t.1,t.2,t.3";
    let mut readers = Vec::new();
    for reader in 0..6 {
        let mut stream = EventStream::subscribe(address, query);
        readers.push(thread::spawn(move || {
            let mut dice = Dice(reader);
            let (mut next, mut cuts) = ([0; TOPICS.len()], 0);
            let mut until_cut = dice.below(200);
            while next != [EACH; TOPICS.len()] {
                if until_cut == 0 {
                    // Bytes of half an event may be lost with it.
                    let last_id = stream.last_id.clone();
                    drop(stream);
                    stream = EventStream::resume(address, query, &last_id);
                    (until_cut, cuts) = (1 + dice.below(400), cuts + 1);
                }
                until_cut -= 1;
                let event = stream.event();
                let topic = TOPICS.iter().position(|&topic| topic == event.name);
                let topic = topic.unwrap_or_else(|| panic!("a gap: {event:?}"));
                assert_eq!(event.json(), next[topic], "{}", event.name);
                next[topic] += 1;
            }
            cuts
        }));
    }
    thread::scope(|scope| {
        for topic in TOPICS {
            scope.spawn(move || {
                let mut client = Client::events(address);
                for number in 0..EACH {
                    publish(&mut client, topic, &json!(number));
                    if number % 50 == 49 {
                        publish_and_wait(&mut client, "pace", &json!(0));
                    }
                }
                publish_and_wait(&mut client, "pace", &json!(0));
            });
        }
    });
    for reader in readers {
        let cuts: u32 = reader.join().expect("it lost nothing");
        assert!(cuts > 10, "only {cuts} cuts");
    }
}

#[test]
fn m11_an_event_cannot_pass_for_what_the_gateway_says() {
    let gateway = TestGateway::start();
    let mut stream = EventStream::subscribe(gateway.address, "topics=t");
    for (kind, expected) in [
        ("created", "created"),
        ("gap", "message"),
        ("error", "message"),
    ] {
        let body = json!({ "topic": "t", "type": kind, "payload": kind }).to_string();
        let len = body.len();
        let head = format!(
            "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
        );
        assert_eq!(request(gateway.address, head.as_bytes()).status, 202);
        let event = stream.event();
        assert_eq!((&*event.name, event.json()), (expected, json!(kind)));
    }
}
