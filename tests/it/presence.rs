//! Who is in a topic: told as it changes, and on request.

use std::time::{Duration, Instant, SystemTime};

use fanfare::auth::{Grant, issue};
use fanfare::config::Secret;
use serde_json::{Value, json};

use crate::support::{Client, EventStream, TestGateway, frame};

fn gateway(shards: usize, grace: &str) -> TestGateway {
    let toml = format!("[namespace.\"room.\"]\npresence = true\npresence_grace = \"{grace}\"");
    TestGateway::from_toml(&toml, |config| config.server.shards = shards)
}

/// Connects as `name`, which needs no token here.
fn client(gateway: &TestGateway, name: &str) -> Client {
    let mut client = Client::connect(gateway.address, &format!("/api/v1/ws/{name}"));
    assert_eq!(client.json()["client_id"], name);
    client
}

/// Subscribes; presence frames may come before the confirmation. Returns those.
fn subscribe(client: &mut Client, topic: &str) -> Vec<Value> {
    client.say(&json!({ "type": "subscribe", "events": [topic] }));
    let mut before = Vec::new();
    loop {
        let frame = client.json();
        if frame["type"] == "subscription_confirmed" {
            return before;
        }
        before.push(frame);
    }
}

/// The next change: what, who, how many are there.
fn change(client: &mut Client) -> (String, String, u64) {
    let frame = client.json();
    assert_eq!(frame["type"], "presence", "{frame}");
    change_in(&frame)
}

fn change_in(frame: &Value) -> (String, String, u64) {
    let data = &frame["data"];
    let text = |key: &str| data[key].as_str().expect("a text").to_owned();
    (
        text("action"),
        text("user"),
        data["users"].as_u64().unwrap(),
    )
}

fn roster(client: &mut Client, params: Value) -> Value {
    let mut params = params;
    params["query"] = json!("presence");
    client.say(&json!({ "type": "query", "id": 9, "params": params }));
    loop {
        let frame = client.json();
        if frame["id"] == 9 {
            return frame;
        }
    }
}

/// The roster once it has so many connections: a shard that asks may be faster
/// than the one where somebody has just come.
fn roster_of(client: &mut Client, topic: &str, connections: u64) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = roster(client, json!({ "event": topic }));
        if answer["result"]["connections"] == connections {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer}");
    }
}

/// Waits until so many users are in `room.1`.
fn wait_for_users(client: &mut Client, users: u64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let count = roster(client, json!({ "event": "room.1" }))["result"]["count"].clone();
        if count == users {
            return;
        }
        assert!(Instant::now() < deadline, "{count} are there");
    }
}

fn told(action: &str, user: &str, users: u64) -> (String, String, u64) {
    (action.to_owned(), user.to_owned(), users)
}

#[test]
fn coming_and_going_is_told_once_for_a_user_with_several_connections() {
    for shards in [1, 3] {
        let gateway = gateway(shards, "0s");
        let mut watcher = client(&gateway, "watcher");
        let mut own = subscribe(&mut watcher, "room.1");
        if own.is_empty() {
            own.push(watcher.json());
        }
        assert_eq!(change_in(&own[0]), told("join", "watcher", 1));
        let mut first = client(&gateway, "ann");
        subscribe(&mut first, "room.1");
        assert_eq!(change(&mut watcher), told("join", "ann", 2));
        let mut second = client(&gateway, "ann");
        subscribe(&mut second, "room.1");
        let answer = roster_of(&mut watcher, "room.1", 3);
        let result = &answer["result"];
        assert_eq!(
            (&result["count"], &result["connections"]),
            (&json!(2), &json!(3))
        );
        assert_eq!(result["users"][0]["user"], "ann");
        assert_eq!(result["users"][0]["connections"], 2);
        assert_eq!(result["more"], false);
        drop(first);
        second.say(&json!({ "type": "unsubscribe", "events": ["room.1"] }));
        assert_eq!(change(&mut watcher), told("leave", "ann", 1));
        assert!(watcher.is_silent(Duration::from_millis(50)));
        let page = roster(&mut watcher, json!({ "event": "room.1", "limit": 0 }));
        assert_eq!(
            (&page["result"]["users"], &page["result"]["more"]),
            (&json!([]), &json!(true))
        );
        let page = roster(
            &mut watcher,
            json!({ "event": "room.1", "after": "watcher" }),
        );
        assert_eq!(
            (&page["result"]["users"], &page["result"]["more"]),
            (&json!([]), &json!(false))
        );
    }
}

#[test]
fn a_quick_reconnect_is_no_news() {
    let gateway = gateway(2, "10m");
    let mut watcher = client(&gateway, "watcher");
    subscribe(&mut watcher, "room.1");
    let mut seen = 0;
    for _ in 0..5 {
        let mut ann = client(&gateway, "ann");
        subscribe(&mut ann, "room.1");
        let count = roster(&mut ann, json!({ "event": "room.1" }))["result"]["count"].clone();
        assert_eq!(count, 2);
    }
    watcher.say(&json!({ "type": "ping", "id": 1 }));
    loop {
        let frame = watcher.json();
        match frame["type"].as_str().unwrap() {
            "presence" if change_in(&frame).1 == "ann" => seen += 1,
            "presence" => {}
            _ => break,
        }
    }
    assert_eq!(seen, 1, "ann came once and has not left");
}

#[test]
fn r03_who_vanishes_leaves_and_counts_are_right_again() {
    let gateway = gateway(2, "0s");
    let mut watcher = client(&gateway, "watcher");
    subscribe(&mut watcher, "room.1");
    let crowd: Vec<Client> = (0..20)
        .map(|number| {
            let mut member = client(&gateway, &format!("member-{number}"));
            subscribe(&mut member, "room.1");
            member
        })
        .collect();
    let full = roster_of(&mut watcher, "room.1", 21);
    assert_eq!(full["result"]["count"], 21);
    // Half of them say goodbye, half are gone in the middle of a frame.
    for (number, mut member) in crowd.into_iter().enumerate() {
        if number % 2 == 0 {
            member.send(0x88, &[3, 232]);
        } else {
            member.send_bytes(&frame(0x81, b"{}")[..3]);
        }
    }
    wait_for_users(&mut watcher, 1);
}

const SECRET: [u8; 32] = [7; 32];

/// A query that proves to be `user` for so many seconds.
fn token(user: &str, seconds: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let grant = Grant {
        user,
        role: None,
        issued_at: now,
        expires_at: now + seconds,
    };
    let token = issue(&grant, &Secret::new(SECRET).unwrap()).unwrap();
    format!("token={token}")
}

/// As [`gateway`], with tokens.
fn gateway_with_tokens(shards: usize) -> TestGateway {
    let toml = "[namespace.\"room.\"]\npresence = true\npresence_grace = \"0s\"";
    TestGateway::from_toml(toml, |config| {
        config.server.shards = shards;
        config.auth.jwt_secret = Secret::new(SECRET);
        config.auth.leeway = Duration::ZERO;
    })
}

/// A stream of `room.1` and `hall`, which keeps no presence.
fn stream(gateway: &TestGateway, token: &str) -> EventStream {
    EventStream::subscribe(gateway.address, &format!("topics=room.1,hall&{token}"))
}

#[test]
fn case_c7_a_stream_with_a_token_is_its_users_presence() {
    for shards in [1, 3] {
        let gateway = gateway_with_tokens(shards);
        let mut watcher = client(&gateway, "watcher");
        subscribe(&mut watcher, "room.1");
        roster_of(&mut watcher, "room.1", 1);
        let nobody = stream(&gateway, "");
        let mut first = stream(&gateway, &token("ann", 600));
        assert_eq!(change(&mut watcher), told("join", "ann", 2));
        // The user is one, whatever its connections are.
        let second = stream(&gateway, &token("ann", 600));
        let mut socket = Client::connect(
            gateway.address,
            &format!("/api/v1/ws?{}", token("ann", 600)),
        );
        assert_eq!(socket.json()["user"], "ann");
        subscribe(&mut socket, "room.1");
        let answer = roster_of(&mut watcher, "room.1", 4);
        assert_eq!(answer["result"]["count"], 2);
        assert_eq!(answer["result"]["users"][0]["user"], "ann");
        assert_eq!(answer["result"]["users"][0]["connections"], 3);
        drop((nobody, second));
        roster_of(&mut watcher, "room.1", 3);
        drop(socket);
        roster_of(&mut watcher, "room.1", 2);
        assert!(watcher.is_silent(Duration::from_millis(50)));
        // It sees others come and go, and is told to have gone itself.
        let bob = stream(&gateway, &token("bob", 600));
        assert_eq!(change(&mut watcher), told("join", "bob", 3));
        loop {
            let seen = first.event();
            assert_eq!(seen.name, "presence");
            if change_in(&seen.json()).1 == "bob" {
                break;
            }
        }
        drop(first);
        assert_eq!(change(&mut watcher), told("leave", "ann", 2));
        drop(bob);
        assert_eq!(change(&mut watcher), told("leave", "bob", 1));
    }
}

#[test]
fn case_c7_a_stream_that_the_gateway_ends_has_left() {
    for shards in [1, 3] {
        let gateway = gateway_with_tokens(shards);
        let mut watcher = client(&gateway, "watcher");
        subscribe(&mut watcher, "room.1");
        roster_of(&mut watcher, "room.1", 1);
        // Its token ends. The client keeps the socket, as one whose network is gone.
        let mut expires = stream(&gateway, &token("ann", 2));
        assert_eq!(change(&mut watcher), told("join", "ann", 2));
        assert_eq!(change(&mut watcher), told("leave", "ann", 1));
        expires.until_end();
        // Many come and vanish at once; with unread events, the kernel resets them.
        let crowd: Vec<EventStream> = (0..40)
            .map(|number| stream(&gateway, &token(&format!("member-{number}"), 600)))
            .collect();
        assert_eq!(roster_of(&mut watcher, "room.1", 41)["result"]["count"], 41);
        drop(crowd);
        wait_for_users(&mut watcher, 1);
    }
}

#[test]
fn topics_without_presence_say_nothing_and_refuse_the_question() {
    let gateway = gateway(1, "0s");
    let mut client = client(&gateway, "ann");
    assert!(subscribe(&mut client, "hall").is_empty());
    assert!(client.is_silent(Duration::from_millis(50)));
    assert_eq!(
        roster(&mut client, json!({ "event": "hall" }))["code"],
        "NO_PRESENCE"
    );
    assert_eq!(roster(&mut client, json!({}))["code"], "INVALID_MESSAGE");
    assert_eq!(
        roster(&mut client, json!({ "event": "a b" }))["code"],
        "INVALID_MESSAGE"
    );
    let answer = roster(&mut client, json!({ "event": "room.empty" }));
    assert_eq!(
        (&answer["result"]["count"], &answer["result"]["users"]),
        (&json!(0), &json!([]))
    );
}

#[test]
fn m10_a_roster_comes_page_by_page_and_each_user_is_on_one() {
    let gateway = gateway(3, "0s");
    let crowd: Vec<Client> = (0..40)
        .map(|number| {
            let mut member = client(&gateway, &format!("member-{number:02}"));
            subscribe(&mut member, "room.1");
            member
        })
        .collect();
    let mut asker = client(&gateway, "asker");
    roster_of(&mut asker, "room.1", 40);
    let (mut users, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let params = json!({ "event": "room.1", "limit": 15, "after": after });
        let result = roster(&mut asker, params)["result"].take();
        assert_eq!(result["count"], 40);
        let page = result["users"].as_array().unwrap();
        assert!(page.len() <= 15);
        pages += 1;
        users.extend(page.iter().map(|user| user["user"].to_string()));
        if result["more"] == false {
            break;
        }
        after = page.last().unwrap()["user"].as_str().unwrap().to_owned();
    }
    users.dedup();
    assert_eq!((users.len(), pages), (40, 3));
    assert!(users.is_sorted());
    drop(crowd);
}

#[test]
fn who_leaves_while_many_subscriptions_are_given_up_is_in_no_roster() {
    let toml = "[namespace.\"room.\"]\npresence = true\npresence_grace = \"0s\"";
    let gateway = TestGateway::from_toml(toml, |config| {
        config.server.shards = 2;
        config.clients.max_subscriptions = 100_000;
        config.clients.max_message_size = 1024 * 1024;
    });
    let names: Vec<String> = (0..20_000).map(|n| format!("room.{n}")).collect();
    let mut leaver = client(&gateway, "ann");
    leaver.say(&json!({ "type": "subscribe", "events": names }));
    while leaver.json()["type"] != "subscription_confirmed" {}
    leaver.say(&json!({ "type": "unsubscribe" }));
    drop(leaver);
    let mut other = client(&gateway, "bob");
    for name in [&names[0], &names[9_999], &names[19_999]] {
        // Who has left is listed until rosters are swept.
        let deadline = Instant::now() + Duration::from_secs(10);
        while roster_of(&mut other, name, 0)["result"]["count"] != 0 {
            assert!(Instant::now() < deadline, "{name}");
        }
    }
}

#[test]
fn presence_takes_no_place_in_a_topic() {
    let toml = "[namespace.\"room.\"]\npresence = true\nhistory_size = 3";
    for shards in [1, 2] {
        let gateway = TestGateway::from_toml(toml, |config| config.server.shards = shards);
        let mut ann = client(&gateway, "ann");
        ann.say(&json!({ "type": "subscribe", "events": ["room.1"] }));
        let confirmed = ann.json();
        assert_eq!(confirmed["type"], "subscription_confirmed", "{confirmed}");
        let offset = |value: &Value| value["topics"]["room.1"]["offset"].as_u64().unwrap();
        let mut stream = EventStream::subscribe(gateway.address, "topics=room.1");
        let before = stream.last_id.clone();
        let mut others: Vec<Client> = Vec::new();
        for number in 1..=5 {
            let mut other = client(&gateway, &format!("user{number}"));
            let mut seen = subscribe(&mut other, "room.1");
            assert!(seen.is_empty(), "{seen:?}");
            others.push(other);
            seen.clear();
        }
        let mut sequence = 0;
        while sequence < 6 {
            let frame = ann.json();
            assert_eq!(frame["type"], "presence", "{frame}");
            assert!(frame.get("event_id").is_none(), "{frame}");
            sequence += 1;
            assert_eq!(frame["presence_seq"], sequence, "{frame}");
        }
        let answer = roster(&mut ann, json!({ "event": "room.1" }));
        assert_eq!(answer["result"]["presence_seq"], 6);
        ann.say(&json!({ "type": "publish", "event": "room.1", "data": "first" }));
        let event = ann.json();
        let id = event["event_id"].as_str().unwrap();
        let (epoch, first) = id.split_once('-').unwrap();
        assert_eq!(
            first,
            (offset(&confirmed) + 1).to_string(),
            "the first event"
        );
        // A stream's place moves with events alone.
        loop {
            let event = stream.event();
            if event.name != "presence" {
                assert_eq!(event.json(), "first");
                assert_ne!(event.id, before);
                break;
            }
            assert_eq!(event.id, before);
            assert!(event.json()["presence_seq"].is_number(), "{}", event.data);
        }
        // Joins push no event out of a history of three, and are not sent again.
        drop(others);
        let mut back = client(&gateway, "ben");
        back.say(&json!({
            "type": "subscribe",
            "events": ["room.1"],
            "recover": { "room.1": { "epoch": epoch, "offset": offset(&confirmed) } },
        }));
        let mut confirmed = back.json();
        while confirmed["type"] != "subscription_confirmed" {
            confirmed = back.json();
        }
        let topic = &confirmed["topics"]["room.1"];
        assert_eq!(
            (&topic["recovered"], &topic["count"]),
            (&json!(true), &json!(1))
        );
        assert_eq!(back.json()["data"], "first");
    }
}
