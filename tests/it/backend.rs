//! The backend link, towards the application (docs/backend.md): what it is told, once each, in order, until it has
//! acknowledged it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare::config::{BackendFull, Config, Mode};
use serde_json::{Value, json};

use crate::support::{Client, EventStream, Process, Response, TestGateway, metric, request};

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A member of a group, by its link.
struct Member {
    link: Client,
    objects: VecDeque<Value>,
    /// Answers to operations that have come meanwhile.
    answers: Vec<Value>,
    seq: u64,
}

impl Member {
    fn attach(address: SocketAddr, query: &str) -> Self {
        Self::over(Client::connect(
            address,
            &format!("/api/v1/backend?{query}"),
        ))
    }

    /// As [`Self::attach`], with a token.
    fn attach_with(address: SocketAddr, token: &str) -> Self {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        Self::over(Client::connect_with(address, "/api/v1/backend", &bearer))
    }

    fn over(link: Client) -> Self {
        Self {
            link,
            objects: VecDeque::new(),
            answers: Vec::new(),
            seq: 0,
        }
    }

    /// The next object. Its `seq` follows that of the one before.
    #[track_caller]
    fn next(&mut self) -> Value {
        while self.objects.is_empty() {
            let frame = self.link.json();
            let Some(batch) = frame.as_array() else {
                assert_eq!(frame["ok"], true, "{frame}");
                self.answers.push(frame);
                continue;
            };
            assert!(!batch.is_empty() && batch.len() <= 256, "{}", batch.len());
            self.objects.extend(batch.iter().cloned());
        }
        let object = self.objects.pop_front().unwrap();
        self.seq += 1;
        assert_eq!(object["seq"], self.seq, "{object}");
        object
    }

    fn ack(&mut self) {
        self.link.say(&json!({ "ack": self.seq }));
    }

    fn is_silent(&mut self, time: Duration) -> bool {
        self.objects.is_empty() && self.link.is_silent(time)
    }
}

fn gateway(change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::with(|config| {
        config.backend.enabled = true;
        change(config);
    })
}

fn app(number: u64) -> Value {
    json!({"type": "app", "number": number})
}

/// The number of a message.
fn number(object: &Value) -> u64 {
    object["data"]["number"]
        .as_u64()
        .unwrap_or_else(|| panic!("{object}"))
}

fn get(address: SocketAddr, path: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    request(address, head.as_bytes())
}

fn post(address: SocketAddr, path: &str, body: &Value) -> Response {
    let body = body.to_string();
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    request(address, text.as_bytes())
}

fn figure(address: SocketAddr, name: &str) -> u64 {
    metric(address, &format!("backend_{name}"))
}

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_application_is_told_of_a_clients_life_in_order() {
    let gateway = gateway(|config| config.backend.headers = vec!["user-agent".to_owned()]);
    let address = gateway.address;
    let mut member = Member::attach(address, "");
    let path = "/api/v1/ws/demo?a=1&token=secret&b=2";
    let mut client = Client::connect_with(address, path, "User-Agent: a \"test\"\r\n");
    assert_eq!(client.json()["type"], "connection_established");
    let connect = member.next();
    let conn = connect["conn"].clone();
    assert!(conn.is_string(), "{connect}");
    for (key, value) in [
        ("n", json!(1)),
        ("event", json!("connect")),
        ("dialect", json!("events")),
        ("endpoint", json!("demo")),
        ("user", json!(null)),
        ("verified", json!(false)),
        ("claims", json!(null)),
        ("ip", json!("127.0.0.1")),
        ("path", json!("/api/v1/ws/demo")),
        ("query", json!("a=1&b=2")),
        ("headers", json!({"user-agent": "a \"test\""})),
    ] {
        assert_eq!(connect[key], value, "{connect}");
    }
    assert!(connect["time"].as_u64().unwrap() > 1_700_000_000_000);
    assert!(connect.get("again").is_none());
    let text = r#"{"type":"app" , "id":"x7", "data": {"a":[1,2.50,"\u00e9"]}}"#;
    client.send(0x81, text.as_bytes());
    let message = member.next();
    for (key, value) in [
        ("event", json!("message")),
        ("conn", conn.clone()),
        ("type", json!("app")),
        ("id", json!("x7")),
        ("data", serde_json::from_str(text).unwrap()),
    ] {
        assert_eq!(message[key], value, "{message}");
    }
    client.subscribe(&["room.1", "room.*"]);
    let subscribe = member.next();
    assert_eq!(subscribe["event"], "subscribe");
    assert_eq!(subscribe["topics"], json!(["room.1", "room.*"]));
    // What it has already is no news.
    client.subscribe(&["room.1"]);
    client.say(&json!({"type": "unsubscribe", "events": ["room.1"]}));
    let unsubscribe = member.next();
    assert_eq!(unsubscribe["event"], "unsubscribe");
    assert_eq!(unsubscribe["topics"], json!(["room.1"]));
    client.send(0x88, b"\x0f\xa1so");
    let disconnect = member.next();
    for (key, value) in [
        ("n", json!(5)),
        ("event", json!("disconnect")),
        ("conn", conn),
        ("code", json!(4001)),
        ("cause", json!("client")),
    ] {
        assert_eq!(disconnect[key], value, "{disconnect}");
    }
    assert!(disconnect["seconds"].as_f64().unwrap() < 60.0);
    assert!(disconnect["in"].as_u64().unwrap() > text.len() as u64);
    assert!(disconnect["out"].as_u64().unwrap() > 100);
}

/// A token with these claims, signed with [`SECRET`].
fn token(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256"})), part(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NEVER: u64 = 4_000_000_000;

#[test]
fn a_verified_users_claims_are_told_and_the_token_is_not() {
    let gateway = Process::with(
        &["--shards", "2"],
        &[
            ("WS_AUTH_REQUIRED", "true"),
            ("JWT_SECRET", SECRET),
            ("FANFARE_BACKEND__ENABLED", "true"),
        ],
    );
    let address = gateway.address;
    let service = token(&json!({"sub": "app", "role": "service", "exp": NEVER}));
    let mut member = Member::attach_with(address, &service);
    wait_until(|| figure(address, "members") == 1);
    // Nobody is told of one that is refused.
    let mut refused = Client::connect(address, "/api/v1/ws?token=x");
    assert_eq!(refused.until_close(), Some(1008));
    let claims = json!({"sub": "ann", "exp": NEVER, "team": {"id": [7, null]}, "x": "\u{1f600}"});
    let ann = token(&claims);
    let mut client = Client::connect(address, &format!("/api/v1/ws?token={ann}&x=1"));
    assert_eq!(client.json()["type"], "connection_established");
    let connect = member.next();
    assert_eq!(connect["user"], "ann");
    assert_eq!(connect["verified"], true);
    assert_eq!(connect["claims"], claims);
    assert_eq!(connect["query"], "x=1");
    assert!(!connect.to_string().contains(&ann));
    client.say(&app(1));
    assert_eq!(member.next()["user"], "ann");
    drop(client);
    let disconnect = member.next();
    assert_eq!(disconnect["cause"], "gone");
    assert_eq!(disconnect["code"], 0);
}

#[test]
fn every_protocol_has_its_connections_told() {
    let gateway = gateway(|_| {});
    let address = gateway.address;
    let mut member = Member::attach(address, "filter=connect,disconnect,subscribe");
    let bridge = Client::connect(address, "/ws?user_id=ann");
    let connect = member.next();
    assert_eq!(connect["dialect"], "bridge");
    assert_eq!(connect["user"], "ann");
    assert_eq!(connect["verified"], false);
    let stream = EventStream::connect(address, "topics=a,b");
    let connect = member.next();
    assert_eq!(connect["dialect"], "sse");
    let subscribe = member.next();
    assert_eq!(subscribe["topics"], json!(["a", "b"]));
    drop(stream);
    let end = member.next();
    assert_eq!(
        (&end["event"], &end["dialect"]),
        (&json!("disconnect"), &json!("sse"))
    );
    drop(bridge);
    let end = member.next();
    assert_eq!(
        (&end["event"], &end["dialect"]),
        (&json!("disconnect"), &json!("bridge"))
    );
}

#[test]
fn messages_are_forwarded_only_where_that_is_configured() {
    for is_forwarded in [false, true] {
        let toml = format!(
            "[backend]\nenabled = true\n[events]\nforward_unknown = {is_forwarded}\n[bridge]\nforward = {is_forwarded}\n"
        );
        let gateway = TestGateway::from_toml(&toml, |_| {});
        let mut member = Member::attach(gateway.address, "filter=message");
        let mut client = Client::events(gateway.address);
        client.say(&json!({"type": "strange", "id": 5}));
        let mut bridge = Client::connect(gateway.address, "/ws?user_id=ann");
        bridge.say(&json!({"type": "chat", "text": "hi"}));
        client.say(&app(1));
        let mut said = BTreeSet::new();
        while said.len() < if is_forwarded { 3 } else { 1 } {
            said.insert(member.next()["type"].as_str().unwrap().to_owned());
        }
        assert_eq!(said.contains("strange"), is_forwarded, "{said:?}");
        assert_eq!(said.contains("chat"), is_forwarded, "{said:?}");
        if !is_forwarded {
            // The demo endpoint echoes.
            assert_eq!(client.json()["id"], 5);
        }
    }
}

#[test]
fn what_is_not_acknowledged_goes_to_another_member_with_the_same_numbers() {
    let gateway = gateway(|_| {});
    let address = gateway.address;
    let mut first = Member::attach(address, "filter=message");
    let mut client = Client::events(address);
    for number in 0..20 {
        client.say(&app(number));
    }
    for _ in 0..8 {
        first.next();
    }
    first.ack();
    let rest: Vec<Value> = (8..20).map(|_| first.next()).collect();
    wait_until(|| figure(address, "acked_total") >= 8);
    drop(first);
    let mut second = Member::attach(address, "filter=message");
    client.say(&app(20));
    for expected in &rest {
        let object = second.next();
        assert_eq!(object["again"], true);
        assert_eq!(object["n"], expected["n"]);
        assert_eq!(object["data"], expected["data"]);
    }
    let last = second.next();
    assert_eq!(number(&last), 20);
    assert!(last.get("again").is_none());
    assert_eq!(figure(address, "redelivered_total"), 12);
}

#[test]
fn a_client_belongs_to_one_member_until_that_member_leaves() {
    let gateway = gateway(|_| {});
    let address = gateway.address;
    let mut members = [
        Member::attach(address, "filter=message"),
        Member::attach(address, "filter=message"),
    ];
    wait_until(|| figure(address, "members") == 2);
    let mut clients: Vec<Client> = (0..10).map(|_| Client::events(address)).collect();
    for number in 0..10 {
        for client in &mut clients {
            client.say(&app(number));
        }
    }
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for (index, member) in members.iter_mut().enumerate() {
        for _ in 0..50 {
            let object = member.next();
            let conn = object["conn"].as_str().unwrap().to_owned();
            assert_eq!(*owners.entry(conn.clone()).or_insert(index), index);
            let next = next.entry(conn).or_default();
            assert_eq!(number(&object), *next);
            *next += 1;
        }
        assert!(member.is_silent(Duration::from_millis(20)));
        member.ack();
    }
    assert_eq!(owners.values().filter(|owner| **owner == 0).count(), 5);
    wait_until(|| figure(address, "acked_total") == 100);
    let [first, mut second] = members;
    drop(first);
    wait_until(|| figure(address, "members") == 1);
    for client in &mut clients {
        client.say(&app(10));
    }
    for _ in 0..10 {
        let object = second.next();
        assert_eq!(number(&object), 10);
        assert!(object.get("again").is_none());
    }
}

#[test]
fn each_group_is_told_everything_with_numbers_of_its_own() {
    let gateway = gateway(|_| {});
    let address = gateway.address;
    let mut app_group = Member::attach(address, "group=app");
    let mut client = Client::events(address);
    client.say(&app(0));
    assert_eq!(app_group.next()["n"], 1);
    assert_eq!(app_group.next()["n"], 2);
    let mut audit = Member::attach(address, "group=audit");
    wait_until(|| figure(address, "groups") == 2);
    client.say(&app(1));
    assert_eq!(app_group.next()["n"], 3);
    let object = audit.next();
    assert_eq!((&object["n"], number(&object)), (&json!(1), 1));
    drop(client);
    assert_eq!(app_group.next()["event"], "disconnect");
    assert_eq!(audit.next()["event"], "disconnect");
}

#[test]
fn credit_bounds_what_is_not_acknowledged() {
    let gateway = gateway(|_| {});
    let address = gateway.address;
    let mut member = Member::attach(address, "filter=message&credit=2");
    let mut client = Client::events(address);
    for number in 0..10 {
        client.say(&app(number));
    }
    for expected in 0..2 {
        assert_eq!(number(&member.next()), expected);
    }
    assert!(member.is_silent(Duration::from_millis(50)));
    member.link.say(&json!({"credit": 3}));
    for _ in 0..3 {
        member.next();
    }
    assert!(member.is_silent(Duration::from_millis(50)));
    member.link.say(&json!({"ack": 1}));
    member.next();
    assert!(member.is_silent(Duration::from_millis(50)));
    // A number that was not sent is a mistake, and nothing else changes.
    member.link.say(&json!({"ack": 7}));
    let error = member.link.json();
    assert_eq!(error["error"], "invalid", "{error}");
    member.ack();
    for expected in 6..10 {
        assert_eq!(number(&member.next()), expected);
    }
    assert_eq!(figure(address, "sent_total"), 10);
}

#[test]
fn without_credit_of_its_own_a_member_has_a_thousand_objects() {
    let gateway = gateway(|_| {});
    let mut member = Member::attach(gateway.address, "filter=message");
    let mut client = Client::events(gateway.address);
    for number in 0..1200 {
        client.say(&app(number));
    }
    for _ in 0..1000 {
        member.next();
    }
    assert!(member.is_silent(Duration::from_millis(50)));
    member.ack();
    for _ in 0..200 {
        member.next();
    }
}

#[test]
fn an_object_that_ends_its_members_is_a_dead_letter_and_holds_nobody_up() {
    let gateway = gateway(|config| config.backend.max_deliveries = 4);
    let address = gateway.address;
    let mut clients: Vec<Client> = (0..3).map(|_| Client::events(address)).collect();
    for number in 0..10 {
        for client in &mut clients {
            client.say(&app(number));
        }
    }
    let mut poisonous = Client::events(address);
    poisonous.say(&json!({"type": "app", "number": 0, "poison": true}));
    poisonous.say(&app(1));
    wait_until(|| figure(address, "pending") == 30 + 2 + 4);
    let mut seen = BTreeSet::new();
    let mut crashes = 0;
    loop {
        // It acknowledges each object when it is done with it, and ends at the poison.
        let mut member = Member::attach(address, "");
        while seen.len() < 35 {
            let object = member.next();
            if object["data"]["poison"] == true {
                crashes += 1;
                break;
            }
            seen.insert(object["n"].as_u64().unwrap());
            member.ack();
        }
        if seen.len() == 35 {
            break;
        }
        assert!(crashes <= 4);
        drop(member);
        wait_until(|| figure(address, "members") == 0);
    }
    assert_eq!(crashes, 4);
    let letters = get(address, "/api/v1/dead-letters").json();
    assert_eq!(letters["group"], "default");
    assert_eq!(
        (&letters["total"], &letters["dropped"]),
        (&json!(1), &json!(0))
    );
    let letter = &letters["dead_letters"][0];
    assert_eq!(
        (&letter["deliveries"], &letter["event"]),
        (&json!(4), &json!("message"))
    );
    assert_eq!(letter["data"]["poison"], true);
    assert_eq!(figure(address, "dead_letters_total"), 1);
    assert_eq!(get(address, "/api/v1/dead-letters?group=x").status, 404);
    assert_eq!(get(address, "/api/v1/dead-letters?limit=0").status, 422);
}

#[test]
fn clients_are_told_where_there_is_no_application() {
    let off = TestGateway::start();
    let mut client = Client::events(off.address);
    client.say(&json!({"type": "app", "id": 1}));
    let error = client.json();
    assert_eq!(
        (&error["code"], &error["id"]),
        (&json!("NO_APPLICATION"), &json!(1))
    );
    assert_eq!(get(off.address, "/api/v1/inbound?member=m").status, 404);
    let gateway = gateway(|config| config.backend.linger = Duration::from_millis(1500));
    let address = gateway.address;
    // While it may still come, what is said waits.
    let mut client = Client::events(address);
    client.say(&app(0));
    wait_until(|| figure(address, "dropped_total") == 2);
    client.say(&json!({"type": "app", "id": 1}));
    assert_eq!(client.json()["code"], "NO_APPLICATION");
    assert_eq!(figure(address, "unattended_total"), 1);
    // It is told that it has missed something.
    let mut member = Member::attach(address, "");
    let gap = member.next();
    assert_eq!(gap["event"], "gap");
    assert_eq!(gap["lost"], 2, "{gap}");
    client.say(&app(1));
    assert_eq!(number(&member.next()), 1);
    drop(client);
    assert_eq!(member.next()["event"], "disconnect");
}

#[test]
fn what_is_said_before_an_application_comes_waits_for_it() {
    let gateway = gateway(|_| {});
    let mut client = Client::events(gateway.address);
    client.say(&app(0));
    client.say(&app(1));
    drop(client);
    wait_until(|| figure(gateway.address, "pending") == 4);
    let mut member = Member::attach(gateway.address, "group=any");
    assert_eq!(member.next()["event"], "connect");
    assert_eq!(number(&member.next()), 0);
    assert_eq!(number(&member.next()), 1);
    assert_eq!(member.next()["event"], "disconnect");
    member.ack();
    wait_until(|| figure(gateway.address, "pending") == 0);
    assert_eq!(figure(gateway.address, "pending_bytes"), 0);
}

#[test]
fn at_the_bound_clients_are_told_and_the_count_is_exact() {
    let gateway = gateway(|config| config.backend.max_pending = 100);
    let address = gateway.address;
    let mut client = Client::events(address);
    for number in 0..200 {
        client.say(&json!({"type": "app", "id": number, "number": number}));
    }
    let mut refused = BTreeSet::new();
    // 90 places are for messages, and one of them has the `connect`.
    for _ in 0..111 {
        let error = client.json();
        assert_eq!(error["code"], "BACKEND_BUSY", "{error}");
        assert_eq!(error["details"]["retry_after"], 1);
        refused.insert(error["id"].as_u64().unwrap());
    }
    assert_eq!(figure(address, "refused_total"), 111);
    assert_eq!(refused, (89..200).collect());
    // Others come and go all the same, as long as a tenth of the room lasts.
    let others: Vec<Client> = (0..10).map(|_| Client::events(address)).collect();
    let head = "GET /api/v1/ws/demo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let busy = request(address, head.as_bytes());
    assert_eq!(busy.status, 503, "{}", busy.body);
    assert!(busy.body.contains("busy"), "{}", busy.body);
    drop(others);
    wait_until(|| figure(address, "pending") == 110);
    let mut member = Member::attach(address, "");
    let (mut numbers, mut lives) = (Vec::new(), 0);
    for _ in 0..110 {
        let object = member.next();
        match object["event"] == "message" {
            true => numbers.push(number(&object)),
            false => lives += 1,
        }
    }
    assert_eq!(numbers, (0..89).collect::<Vec<_>>());
    assert_eq!(lives, 21);
    member.ack();
    wait_until(|| figure(address, "pending") == 0);
    client.say(&app(500));
    assert_eq!(number(&member.next()), 500);
}

#[test]
fn with_drop_oldest_the_application_is_told_how_many_are_missing() {
    let gateway = gateway(|config| {
        config.backend.max_pending = 100;
        config.backend.full = BackendFull::DropOldest;
    });
    let address = gateway.address;
    let mut client = Client::events(address);
    for number in 0..300 {
        client.say(&app(number));
    }
    client.say(&json!({"type": "ping"}));
    assert_eq!(client.json()["type"], "pong", "none was refused");
    wait_until(|| figure(address, "dropped_total") == 211);
    let mut member = Member::attach(address, "");
    let gap = member.next();
    assert_eq!((&gap["event"], &gap["lost"]), (&json!("gap"), &json!(211)));
    assert_eq!(member.next()["event"], "connect");
    for expected in 211..300 {
        assert_eq!(number(&member.next()), expected);
    }
    member.ack();
    wait_until(|| figure(address, "pending") == 0);
}

#[test]
fn a_member_that_acknowledges_nothing_loses_what_it_has() {
    let gateway = gateway(|config| config.backend.ack_timeout = Duration::from_millis(1500));
    let address = gateway.address;
    let mut silent = Member::attach(address, "filter=message");
    let mut client = Client::events(address);
    client.say(&app(0));
    client.say(&app(1));
    silent.next();
    silent.next();
    let mut other = Member::attach(address, "filter=message");
    for expected in 0..2 {
        let object = other.next();
        assert_eq!(object["again"], true);
        assert_eq!(number(&object), expected);
    }
    other.ack();
    wait_until(|| figure(address, "acked_total") == 2);
    // It is not sent anything until it acknowledges, also if nobody else is there.
    drop(other);
    wait_until(|| figure(address, "members") == 1);
    client.say(&app(2));
    assert!(silent.is_silent(Duration::from_millis(100)));
    silent.ack();
    let object = silent.next();
    assert_eq!(number(&object), 2);
    assert!(object.get("again").is_none());
}

#[test]
fn a_member_that_does_not_read_costs_only_what_is_bounded() {
    let gateway = gateway(|config| {
        config.backend.ack_timeout = Duration::from_millis(3000);
        config.backend.credit = 100_000;
        config.clients.max_message_size = 1 << 20;
    });
    let address = gateway.address;
    let slow = Member::attach(address, "filter=message");
    wait_until(|| figure(address, "members") == 1);
    let mut client = Client::events(address);
    let large = "x".repeat(60_000);
    for number in 0..600_u64 {
        client.say(&json!({"type": "app", "number": number, "text": large}));
    }
    wait_until(|| figure(address, "pending") == 600);
    let held = metric(address, "held_bytes");
    assert!(held < 1_000_000, "{held}");
    // What it had goes to another one, in order.
    let mut other = Member::attach(address, "filter=message");
    for expected in 0..600 {
        let object = other.next();
        assert_eq!(number(&object), expected);
        if expected % 10 == 9 {
            other.ack();
        }
    }
    drop(slow);
}

#[test]
fn a_member_may_poll_and_acknowledge_over_http() {
    let gateway = gateway(|config| config.backend.ack_timeout = Duration::from_millis(2500));
    let address = gateway.address;
    let poll = |query: &str| get(address, &format!("/api/v1/inbound?group=g&{query}"));
    let empty = poll("member=m&filter=message").json();
    assert_eq!(empty, json!({"events": [], "next": 1}));
    let mut client = Client::events(address);
    for number in 0..5 {
        client.say(&app(number));
    }
    wait_until(|| figure(address, "pending") >= 5);
    let answer = poll("member=m&max=3&filter=message").json();
    let events = answer["events"].as_array().unwrap();
    assert_eq!(events.iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(events[2]["seq"], 3);
    assert_eq!(answer["next"], 4);
    let ack = |seq: u64, member: &str| {
        let body = json!({"group": "g", "member": member, "seq": seq});
        post(address, "/api/v1/inbound/ack", &body)
    };
    assert_eq!(ack(2, "m").json(), json!({"status": "ok", "pending": 1}));
    assert_eq!(ack(4, "m").status, 422);
    assert_eq!(ack(2, "other").status, 404);
    // What it has not acknowledged may not have reached it.
    let answer = poll("member=m&wait=50ms&filter=message").json();
    let events = answer["events"].as_array().unwrap();
    assert_eq!(events.iter().map(number).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(
        (&events[0]["again"], &events[0]["seq"]),
        (&json!(true), &json!(4))
    );
    assert_eq!(ack(6, "m").json()["pending"], 0);
    // It waits for what comes.
    let said = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        client.say(&app(5));
        client
    });
    let answer = poll("member=m&wait=10s&filter=message").json();
    assert_eq!(number(&answer["events"][0]), 5);
    let mut client = said.join().unwrap();
    // What it has acknowledged is gone; the rest goes to another one when it has not polled for too long.
    wait_until(|| figure(address, "members") == 0);
    client.say(&app(6));
    let answer = poll("member=m2&wait=5s&filter=message").json();
    let events = answer["events"].as_array().unwrap();
    let numbers: Vec<u64> = events.iter().map(number).collect();
    assert_eq!(numbers, [5, 6]);
    assert_eq!(events[0]["again"], true);
    assert!(events[1].get("again").is_none());
    assert_eq!(ack(1, "m").status, 404);
    let head =
        "HEAD /api/v1/inbound?group=g&member=m2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(request(address, head.as_bytes()).status, 405);
    // The only member may change its filter.
    assert_eq!(poll("member=m2&filter=connect").status, 200);
    assert_eq!(poll("member=m3&filter=message").status, 409);
    for bad in [
        "",
        "member=",
        "member=a&max=0",
        "member=a&wait=1h",
        "member=a&x=1",
    ] {
        assert_eq!(poll(bad).status, 422, "{bad}");
    }
}

#[test]
fn objects_are_told_in_order_whatever_shard_a_client_is_on() {
    let gateway = gateway(|config| {
        config.server.shards = 2;
        config.backend.max_pending = 1_000_000;
    });
    let address = gateway.address;
    // With two shards and four members some are on another shard than the desk.
    let members: Vec<Member> = (0..4)
        .map(|_| Member::attach(address, "credit=50"))
        .collect();
    wait_until(|| figure(address, "members") == 4);
    let (clients, each) = (24, 300);
    let told = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = Client::events(address);
                for number in 0..each {
                    client.say(&app(number));
                }
                client.send(0x88, b"\x03\xe8");
                assert_eq!(client.until_close(), Some(1000));
            });
        }
        for mut member in members {
            let told = &told;
            scope.spawn(move || {
                let mut next: BTreeMap<String, u64> = BTreeMap::new();
                while told.load(Ordering::Relaxed) < clients * (each + 2) {
                    if member.is_silent(Duration::from_millis(20)) {
                        continue;
                    }
                    let object = member.next();
                    let conn = object["conn"].as_str().unwrap().to_owned();
                    let next = next.entry(conn).or_default();
                    match object["event"].as_str().unwrap() {
                        "connect" => assert_eq!(*next, 0, "{object}"),
                        "message" => assert_eq!(number(&object) + 1, *next, "{object}"),
                        "disconnect" => assert_eq!(*next, each + 1, "{object}"),
                        other => panic!("{other}"),
                    }
                    *next += 1;
                    told.fetch_add(1, Ordering::Relaxed);
                    if member.seq.is_multiple_of(25) || member.objects.is_empty() {
                        member.ack();
                    }
                }
            });
        }
    });
    assert_eq!(figure(address, "redelivered_total"), 0);
}

/// Has the connection end by reset when it is dropped.
fn reset(client: &Client) {
    let socket = socket2::SockRef::from(&client.stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn each_connection_begins_once_and_ends_once_however_it_ends() {
    let gateway = gateway(|config| config.server.shards = 2);
    let address = gateway.address;
    let mut member = Member::attach(address, "filter=connect,disconnect");
    wait_until(|| figure(address, "members") == 1);
    let count = 400;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                for number in 0..count / 4 {
                    let mut client = Client::connect(address, "/api/v1/ws/demo");
                    match number % 4 {
                        // By reset, before or after the greeting.
                        0 => reset(&client),
                        1 => {
                            client.json();
                            reset(&client);
                        }
                        2 => client.send(0x88, b"\x03\xe8"),
                        _ => client.send(0x81, b"\xff"),
                    }
                }
            })
        })
        .collect();
    let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..2 * count {
        let object = member.next();
        let conn = object["conn"].as_str().unwrap().to_owned();
        match object["event"] == "connect" {
            true => assert!(begun.insert(conn), "{object}"),
            false => {
                assert!(begun.contains(&conn), "{object}");
                assert!(ended.insert(conn), "{object}");
            }
        }
        if member.seq.is_multiple_of(100) {
            member.ack();
        }
    }
    assert_eq!((begun.len(), ended.len()), (count, count));
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(member.is_silent(Duration::from_millis(100)));
}

#[test]
fn members_and_groups_have_limits() {
    let gateway = gateway(|config| {
        config.backend.max_members = 2;
        config.backend.max_groups = 1;
    });
    let address = gateway.address;
    let first = Member::attach(address, "group=a");
    wait_until(|| figure(address, "members") == 1);
    let mut other = Member::attach(address, "group=b");
    assert_eq!(other.link.until_close(), Some(1013));
    assert_eq!(get(address, "/api/v1/inbound?group=b&member=m").status, 429);
    drop(other);
    wait_until(|| get(address, "/api/v1/inbound?group=a&member=m").status == 200);
    assert_eq!(get(address, "/api/v1/inbound?group=a&member=n").status, 429);
    drop(first);
}

/// Such a group would take what clients say although nobody is there.
#[test]
fn a_member_that_is_refused_begins_no_group() {
    let gateway = gateway(|config| config.backend.max_members = 1);
    let address = gateway.address;
    let mut first = Member::attach(address, "group=a&filter=message");
    wait_until(|| figure(address, "members") == 1);
    assert_eq!(get(address, "/api/v1/inbound?group=b&member=m").status, 429);
    assert_eq!(get(address, "/api/v1/dead-letters?group=b").status, 404);
    let mut client = Client::events(address);
    client.say(&app(0));
    first.next();
    first.ack();
    wait_until(|| figure(address, "pending") == 0 && figure(address, "groups") == 1);
}

/// All objects of a client go to one member, so that it may not leave out what another one gets.
#[test]
fn the_members_of_a_group_have_one_filter() {
    let gateway = gateway(|_| {});
    let address = gateway.address;
    let first = Member::attach(address, "filter=message,connect");
    wait_until(|| figure(address, "members") == 1);
    let mut other = Member::attach(address, "filter=message");
    assert_eq!(other.link.until_close(), Some(1008));
    let polled = get(address, "/api/v1/inbound?member=m&filter=disconnect");
    assert_eq!(polled.status, 409, "{}", polled.body);
    let same = get(address, "/api/v1/inbound?member=m&filter=connect,message");
    assert_eq!(same.status, 200, "{}", same.body);
    drop(first);
}

#[test]
fn messages_that_a_new_filter_leaves_out_are_told_as_missing() {
    let gateway = gateway(|_| {});
    let address = gateway.address;
    let first = Member::attach(address, "filter=message");
    wait_until(|| figure(address, "members") == 1);
    let mut client = Client::events(address);
    drop(first);
    wait_until(|| figure(address, "members") == 0);
    client.say(&app(0));
    wait_until(|| figure(address, "pending") == 1);
    let mut second = Member::attach(address, "filter=connect");
    let gap = second.next();
    assert_eq!((&gap["event"], &gap["lost"]), (&json!("gap"), &json!(1)));
    assert_eq!(figure(address, "dropped_total"), 1);
}

#[test]
fn clients_that_have_left_are_forgotten_whatever_the_filter() {
    let gateway = gateway(|_| {});
    let address = gateway.address;
    let mut first = Member::attach(address, "filter=message");
    wait_until(|| figure(address, "members") == 1);
    let say = |count: usize| {
        let mut clients: Vec<Client> = (0..count).map(|_| Client::events(address)).collect();
        for client in &mut clients {
            client.say(&app(0));
        }
        clients
    };
    let gone = say(20);
    for _ in 0..20 {
        first.next();
    }
    first.ack();
    drop(gone);
    let mut second = Member::attach(address, "filter=message");
    wait_until(|| figure(address, "members") == 2 && figure(address, "pending") == 0);
    let _here = say(10);
    for member in [&mut first, &mut second] {
        for _ in 0..5 {
            member.next();
        }
    }
}

#[test]
fn an_old_acknowledgement_is_no_progress() {
    let gateway = gateway(|config| config.backend.ack_timeout = Duration::from_millis(500));
    let address = gateway.address;
    let mut member = Member::attach(address, "filter=message");
    let mut client = Client::events(address);
    client.say(&app(0));
    member.next();
    let began = Instant::now();
    let other = std::thread::spawn(move || Member::attach(address, "filter=message").next());
    while !other.is_finished() {
        assert!(began.elapsed() < PATIENCE);
        member.link.say(&json!({"ack": 0}));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(other.join().unwrap()["again"], true);
}

#[test]
fn a_reply_comes_before_what_is_done_after_it() {
    let gateway = gateway(|config| config.server.shards = 2);
    let address = gateway.address;
    for _ in 0..12 {
        let mut member = Member::attach(address, "filter=message");
        let mut client = Client::events(address);
        client.say(&json!({"type": "app", "id": "x"}));
        let message = member.next();
        member.ack();
        member.link.say(&json!([
            {"op": "reply", "to": message["n"], "data": 1},
            {"op": "send", "conn": message["conn"], "data": 2, "priority": 8},
            {"op": "reply", "to": message["n"], "data": 3},
            {"op": "disconnect", "conn": message["conn"], "code": 4000},
        ]));
        assert_eq!(client.json()["result"], 1);
        assert_eq!(client.json()["data"], 2);
        assert_eq!(client.json()["result"], 3);
        assert_eq!(client.until_close(), Some(4000));
        let before = figure(address, "members");
        drop(member);
        wait_until(|| figure(address, "members") < before.max(1));
    }
    // An `id` that nobody should keep is not answered.
    let mut member = Member::attach(address, "filter=message");
    let mut client = Client::events(address);
    client.say(&json!({"type": "app", "id": "x".repeat(300)}));
    let message = member.next();
    member
        .link
        .say(&json!({"id": 1, "op": "reply", "to": message["n"], "data": 1}));
    assert_eq!(member.link.json()["error"], "not_found");
}

#[test]
fn answers_push_no_objects_out_of_a_members_outbox() {
    for shards in [1, 2] {
        let gateway = gateway(|config| {
            config.server.shards = shards;
            config.hub.outbox_max_bytes = 64 * 1024;
            config.hub.outbox_max_messages = 64;
        });
        let address = gateway.address;
        let mut members: Vec<Member> = (0..2)
            .map(|_| Member::attach(address, "filter=message"))
            .collect();
        wait_until(|| figure(address, "members") == 2);
        let _others: Vec<Client> = (0..30).map(|_| Client::events(address)).collect();
        let mut clients: Vec<Client> = (0..4).map(|_| Client::events(address)).collect();
        let text = "x".repeat(2000);
        for number in 0..120_u64 {
            for client in &mut clients {
                client.say(&json!({"type": "app", "number": number, "text": text}));
            }
            for member in &mut members {
                let list = json!({"op": "connections", "limit": 40, "id": number});
                member.link.say(&list);
            }
        }
        std::thread::scope(|scope| {
            for mut member in members {
                scope.spawn(move || {
                    // Two clients each, whose objects `next` finds without a gap.
                    for _ in 0..240 {
                        member.next();
                        if member.objects.is_empty() {
                            member.ack();
                        }
                    }
                    while member.answers.len() < 120 {
                        let answer = member.link.json();
                        member.answers.push(answer);
                    }
                    let ids = member.answers.iter().map(|answer| answer["id"].as_u64());
                    let ids: Vec<u64> = ids.map(Option::unwrap).collect();
                    assert_eq!(ids, (0..120).collect::<Vec<_>>());
                });
            }
        });
        assert_eq!(figure(address, "redelivered_total"), 0);
    }
}

#[test]
fn in_prod_mode_an_application_shows_a_credential() {
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.backend.enabled = true;
        config.auth.jwt_secret = fanfare::config::Secret::new(SECRET.as_bytes());
    });
    let address = gateway.address;
    let user = token(&json!({"sub": "ann", "exp": NEVER}));
    for (token, status) in [("", 401), ("x", 401), (&*user, 403)] {
        let bearer = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        for path in [
            "inbound?member=m",
            "dead-letters?limit=5",
            "backend?credit=5",
        ] {
            let upgrade = match path.contains("backend?") {
                true => {
                    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                }
                false => "Connection: close\r\n",
            };
            let head = format!("GET /api/v1/{path} HTTP/1.1\r\nHost: x\r\n{bearer}{upgrade}\r\n");
            let answer = request(address, head.as_bytes());
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
        }
    }
}

#[test]
fn at_a_stop_the_application_is_told_of_every_end_before_its_link_is_closed() {
    let gateway = gateway(|config| config.server.shards = 2);
    let address = gateway.address;
    let mut member = Member::attach(address, "filter=disconnect");
    wait_until(|| figure(address, "members") == 1);
    let clients: Vec<Client> = (0..20).map(|_| Client::events(address)).collect();
    let stopping = std::thread::spawn(move || gateway.stop());
    for _ in 0..20 {
        let end = member.next();
        assert_eq!(
            (&end["cause"], &end["code"]),
            (&json!("drain"), &json!(1001))
        );
    }
    member.ack();
    assert_eq!(member.link.until_close(), Some(1001));
    drop(clients);
    stopping.join().unwrap();
}
