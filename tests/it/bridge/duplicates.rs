//! A second connection of a user, in each of the modes of `bridge.duplicate`.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use fanfare::dialect::bridge::{BridgeSettings, Duplicate};
use serde_json::json;

use super::{
    SILENCE, call, closed, connections, gateway, join, last, leave, more, push, user, wait_until,
};
use crate::support::{Client, TestGateway, metric};

fn with(shards: usize, duplicate: Duplicate) -> TestGateway {
    gateway(shards, |config| {
        config.section_mut::<BridgeSettings>().duplicate = duplicate;
    })
}

/// A push arrives at this connection, as the next thing.
#[track_caller]
fn check_reached(address: SocketAddr, name: &str, client: &mut Client, number: u32) {
    assert!(push(address, name, &json!({ "number": number })));
    assert_eq!(client.json()["number"], number);
}

#[test]
fn a_second_connection_is_refused_and_the_first_is_not_disturbed() {
    for shards in [1, 3] {
        let gateway = with(shards, Duplicate::Refuse);
        let address = gateway.address;
        let mut first = user(address, "alice");
        let mut waiting = call(address, "alice", &json!("c"));
        assert_eq!(first.json()["correlation_id"], "c");
        // As many as it takes to have them on each shard.
        for number in 0..12 {
            let mut second = super::second(address, "alice", &mut first);
            assert_eq!(
                closed(&mut second),
                (1008, "User already connected".to_owned())
            );
            // What it says has no meaning.
            second.say(&last(&json!("c"), "stolen"));
            check_reached(address, "alice", &mut first, number);
            if number % 2 == 0 {
                drop(second);
                check_reached(address, "alice", &mut first, 100 + number);
            }
        }
        wait_until("the refused ones are not counted", || {
            connections(address) == 1
        });
        assert_eq!(
            metric(address, "disconnects_total{reason=\"duplicate\"}"),
            12
        );
        check_reached(address, "alice", &mut first, 999);
        first.say(&more(&json!("c"), 1));
        first.say(&last(&json!("c"), 2));
        assert_eq!(
            waiting.until_end(),
            [more(&json!("c"), 1), last(&json!("c"), 2)]
        );
        assert!(first.is_silent(SILENCE));
    }
}

#[test]
fn one_of_many_that_connect_at_once_stays() {
    for shards in [1, 3] {
        let gateway = with(shards, Duplicate::Refuse);
        let address = gateway.address;
        for round in 0..5 {
            let name = format!("u{round}");
            let threads: Vec<_> = (0..12)
                .map(|_| {
                    let path = format!("/ws?user_id={name}");
                    thread::spawn(move || {
                        let mut client = Client::connect(address, &path);
                        loop {
                            let frame = client.next().expect("a frame");
                            match frame.first {
                                // The one that stays is asked by the others.
                                0x89 => client.send(0x8a, &frame.payload),
                                _ => return frame,
                            }
                        }
                    })
                })
                .collect();
            // The others see the close frame.
            while threads
                .iter()
                .filter(|thread| !thread.is_finished())
                .count()
                > 1
            {
                thread::sleep(Duration::from_millis(5));
            }
            assert!(push(address, &name, &json!({ "number": round })));
            let mut stayed = 0;
            for frame in join(threads) {
                if frame.first == 0x81 {
                    assert_eq!(frame.json()["number"], round);
                    stayed += 1;
                } else {
                    assert_eq!(frame.close_code(), Some(1008), "{frame:?}");
                }
            }
            assert_eq!(stayed, 1, "{shards} shards");
        }
    }
}

#[test]
fn a_user_whose_network_went_away_is_in_again_when_the_first_connection_does_not_answer() {
    for shards in [1, 3] {
        let gateway = with(shards, Duplicate::Refuse);
        let address = gateway.address;
        // More than one, so that the two are on one shard, and on two.
        for number in 0..4 {
            let name = format!("u{number}");
            let mut gone = user(address, &name);
            check_reached(address, &name, &mut gone, 1);
            // It answers nothing, and so the second one is in, and nothing is meant for the first.
            let mut back = user(address, &name);
            check_reached(address, &name, &mut back, 2);
            assert_eq!(gone.next().expect("a ping").first, 0x89);
            assert!(gone.next().is_none(), "it has ended without a word");
            leave(back);
        }
        assert_eq!(metric(address, "disconnects_total{reason=\"silent\"}"), 4);
    }
}

#[test]
fn who_has_left_may_come_back_at_once() {
    for shards in [1, 3] {
        let gateway = with(shards, Duplicate::Refuse);
        let address = gateway.address;
        let mut client = user(address, "alice");
        for number in 0..60 {
            check_reached(address, "alice", &mut client, number);
            leave(client);
            client = user(address, "alice");
        }
    }
}

#[test]
fn who_is_closed_by_the_gateway_may_come_back_at_once() {
    for shards in [1, 3] {
        let gateway = with(shards, Duplicate::Refuse);
        let address = gateway.address;
        for number in 0..20 {
            let mut client = user(address, "alice");
            check_reached(address, "alice", &mut client, number);
            client.send(0x82, b"binary");
            assert_eq!(client.until_close(), Some(1003));
        }
    }
}

#[test]
fn who_is_cut_off_makes_room() {
    for shards in [1, 3] {
        let gateway = with(shards, Duplicate::Refuse);
        let address = gateway.address;
        for number in 0..10 {
            drop(user(address, "alice"));
            let mut client = user(address, "alice");
            // The end of a socket is not seen in the same moment.
            wait_until("the place is free", || {
                client.say(&json!([]));
                let is_in = client.next().unwrap().first == 0x81;
                if !is_in {
                    client = user(address, "alice");
                }
                is_in
            });
            check_reached(address, "alice", &mut client, number);
            leave(client);
        }
    }
}

#[test]
fn a_refused_connection_does_not_keep_the_place_of_the_first() {
    for shards in [1, 3] {
        let gateway = with(shards, Duplicate::Refuse);
        let address = gateway.address;
        for number in 0..10 {
            let mut first = user(address, "alice");
            let mut second = super::second(address, "alice", &mut first);
            assert_eq!(closed(&mut second).0, 1008);
            leave(first);
            assert!(!push(address, "alice", &json!({})), "nobody is there");
            let mut third = user(address, "alice");
            check_reached(address, "alice", &mut third, number);
            // Only now does the refused one take leave.
            drop(second);
            check_reached(address, "alice", &mut third, number);
            let mut fourth = super::second(address, "alice", &mut third);
            assert_eq!(closed(&mut fourth).0, 1008);
            leave(third);
        }
    }
}

#[test]
fn a_newer_connection_takes_the_place_where_that_is_configured() {
    for shards in [1, 3] {
        let gateway = with(shards, Duplicate::Replace);
        let address = gateway.address;
        let mut current = user(address, "alice");
        for number in 0..12 {
            let id = json!(number);
            let mut waiting = call(address, "alice", &id);
            assert_eq!(current.json()["correlation_id"], id);
            let mut newer = user(address, "alice");
            let reason = "Replaced by new connection".to_owned();
            assert_eq!(closed(&mut current), (1008, reason));
            check_reached(address, "alice", &mut newer, number);
            newer.say(&last(&id, "newer"));
            assert_eq!(waiting.until_end(), [last(&id, "newer")]);
            current = newer;
        }
        wait_until("one is left", || connections(address) == 1);
        leave(current);
        assert!(!push(address, "alice", &json!({})));
    }
}

#[test]
fn of_many_newer_connections_exactly_one_stays_and_all_others_are_told() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| {
            config.section_mut::<BridgeSettings>().duplicate = Duplicate::Replace;
            // These clients do not answer close frames.
            config.websocket.close_timeout = Duration::from_millis(100);
        });
        let address = gateway.address;
        for _ in 0..10 {
            let threads: Vec<_> = (0..12)
                .map(|_| thread::spawn(move || super::upgrade(address, "alice")))
                .collect();
            // All are in before it is looked how many are left.
            let clients: Vec<_> = join(threads).into_iter().map(super::answered).collect();
            wait_until("one is left", || connections(address) == 1);
            assert!(push(address, "alice", &json!({ "it": 1 })));
            let mut stayed = Vec::new();
            for mut client in clients {
                match client.next().expect("a frame") {
                    frame if frame.first == 0x81 => stayed.push(client),
                    frame => assert_eq!(frame.close_code(), Some(1008), "{frame:?}"),
                }
            }
            assert_eq!(stayed.len(), 1, "{shards} shards");
            leave(stayed.remove(0));
        }
    }
}

#[test]
fn all_connections_of_a_user_receive_and_answer_where_that_is_configured() {
    for shards in [1, 3] {
        let gateway = with(shards, Duplicate::Allow);
        let address = gateway.address;
        let mut all: Vec<_> = (0..8).map(|_| user(address, "alice")).collect();
        assert_eq!(connections(address), 8);
        assert!(push(address, "alice", &json!({ "correlation_id": "p" })));
        for client in &mut all {
            assert_eq!(client.json()["correlation_id"], "p");
        }
        let id = json!("c");
        let mut call = call(address, "alice", &id);
        for (number, client) in all.iter_mut().enumerate() {
            assert_eq!(client.json()["correlation_id"], id);
            client.say(&more(&id, number));
            assert_eq!(call.event(), more(&id, number));
        }
        let rest = all.split_off(1);
        rest.into_iter().for_each(leave);
        let mut left = all.remove(0);
        check_reached(address, "alice", &mut left, 1);
        left.say(&last(&id, "end"));
        assert_eq!(call.until_end(), [last(&id, "end")]);
        leave(left);
        assert!(!push(address, "alice", &json!({})));
        assert!(connections(address) <= 1);
    }
}

#[test]
fn users_are_told_apart_byte_by_byte() {
    let gateway = with(3, Duplicate::Refuse);
    let address = gateway.address;
    let names = [
        "alice",
        "Alice",
        "alice%20",
        "%20alice",
        "al%C3%AFce",
        "ali%CC%88ce",
        "alice%00",
    ];
    let mut clients: Vec<_> = names.iter().map(|name| user(address, name)).collect();
    let written = [
        "alice",
        "Alice",
        "alice ",
        " alice",
        "al\u{ef}ce",
        "ali\u{308}ce",
        "alice\0",
    ];
    for (number, name) in (0..).zip(written) {
        check_reached(address, name, &mut clients[number as usize], number);
    }
    for client in &mut clients {
        assert!(client.is_silent(Duration::from_millis(10)));
    }
    // Other spellings of one name in a query.
    for name in ["%61lice", "alice&user_id=alice", "alice&x=1"] {
        let mut second = super::second(address, name, &mut clients[0]);
        assert_eq!(closed(&mut second).0, 1008, "{name}");
    }
    let mut second = super::second(address, "alice+", &mut clients[2]);
    assert_eq!(closed(&mut second).0, 1008, "a plus is a space");
}
