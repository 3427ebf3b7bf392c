//! Much at once: every answer reaches its caller and nobody else, in order, whatever happens beside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::{call, connections, gateway, join, leave, post, push, user, wait_until};
use crate::support::{Call, Client, frame};

const USERS: usize = 200;
const CALLS: usize = 50;
const BATCH: usize = 500;
const CHURNERS: usize = 4;

/// Answers each question with three messages and a final one, until the connection is closed. Returns
/// the numbers of the pushes that came, in their order.
fn answer_all(mut client: Client) -> JoinHandle<Vec<(String, u64)>> {
    thread::spawn(move || {
        let mut pushed = Vec::new();
        loop {
            let frame = client.next().expect("a frame before the end");
            if frame.first == 0x88 {
                return pushed;
            }
            let message = frame.json();
            if message["kind"] != "question" {
                let from = message["from"].as_str().unwrap().to_owned();
                pushed.push((from, message["number"].as_u64().unwrap()));
                continue;
            }
            let (id, nonce) = (&message["correlation_id"], &message["nonce"]);
            let mut answers = Vec::new();
            for part in 0..4 {
                let answer = json!({
                    "type": "response", "correlation_id": id, "is_final": part == 3,
                    "data": { "part": part, "nonce": nonce },
                });
                answers.extend(frame_of(&answer));
            }
            client.send_bytes(&answers);
        }
    })
}

fn frame_of(value: &Value) -> Vec<u8> {
    frame(0x81, value.to_string().as_bytes())
}

/// Asks and checks the whole answer.
fn ask(address: SocketAddr, name: &str, id: &str, nonce: u64) {
    let data = json!({ "kind": "question", "correlation_id": id, "nonce": nonce });
    let mut call = Call::begin(address, &json!({ "user_id": name, "data": data }));
    let answers = call.until_end();
    let expected: Vec<_> = (0..4)
        .map(|part| {
            json!({
                "type": "response", "correlation_id": id, "is_final": part == 3,
                "data": { "part": part, "nonce": nonce },
            })
        })
        .collect();
    assert_eq!(answers, expected, "{name} {id}");
}

/// The same users come and go, politely and not.
fn churn(address: SocketAddr, name: String, is_over: Arc<AtomicBool>) -> JoinHandle<u64> {
    thread::spawn(move || {
        let mut came = 0;
        while !is_over.load(Ordering::Relaxed) {
            let mut client = user(address, &name);
            let mut second = user(address, &name);
            second.say(&json!({ "correlation_id": "q0", "is_final": true }));
            client.say(&json!({ "correlation_id": "q0", "is_final": true, "stolen": true }));
            drop(second);
            came += 1;
            if came % 3 == 0 {
                drop(client);
            } else {
                client.send(0x88, &1000_u16.to_be_bytes());
                client.until_close();
            }
        }
        came
    })
}

fn run(shards: usize) {
    let gateway = gateway(shards, |_| {});
    let address = gateway.address;
    let names: Vec<_> = (0..USERS).map(|number| format!("u{number}")).collect();
    let mut users = Vec::new();
    for name in &names {
        users.push(answer_all(user(address, name)));
    }
    assert_eq!(connections(address), USERS as u64);
    let is_over = Arc::new(AtomicBool::new(false));
    let churners: Vec<_> = (0..CHURNERS)
        .map(|number| churn(address, format!("churner{number}"), is_over.clone()))
        .collect();

    let pusher = {
        let (names, is_over) = (names.clone(), is_over.clone());
        thread::spawn(move || {
            let mut pushed = 0;
            while !is_over.load(Ordering::Relaxed) {
                let name = &names[pushed % USERS];
                let number = pushed / USERS;
                assert!(push(
                    address,
                    name,
                    &json!({ "from": "push", "number": number })
                ));
                push(
                    address,
                    "churner0",
                    &json!({ "from": "push", "number": number }),
                );
                pushed += 1;
            }
            pushed
        })
    };
    let batches = {
        let is_over = is_over.clone();
        thread::spawn(move || {
            let mut sent = 0;
            while !is_over.load(Ordering::Relaxed) {
                send_batch(address, &names, sent);
                sent += 1;
            }
            sent
        })
    };

    let next = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..CALLS)
        .map(|caller| {
            let next = next.clone();
            thread::spawn(move || {
                for round in 0..4 {
                    let nonce = next.fetch_add(1, Ordering::Relaxed);
                    // Several callers ask one user at a time.
                    let name = format!("u{}", (caller + round * 7) % 40);
                    ask(address, &name, &format!("q{caller}"), nonce);
                }
            })
        })
        .collect();
    let callers = join(callers);
    is_over.store(true, Ordering::Relaxed);
    assert_eq!(callers.len(), CALLS);
    let pushed = pusher.join().expect("every push arrives");
    let batched = batches.join().expect("every batch arrives");
    assert!(join(churners).iter().all(|came| *came > 0));

    wait_until("who churned has left", || {
        connections(address) == USERS as u64
    });
    // The end of the gateway is the end of what comes; what came is complete and in order.
    gateway.stop();
    for (at, user) in users.into_iter().enumerate() {
        let came = user.join().expect("a user is content");
        let of = |from: &str| -> Vec<u64> {
            let theirs = came.iter().filter(|(sender, _)| sender == from);
            theirs.map(|(_, number)| *number).collect()
        };
        let pushes = (pushed + USERS - 1 - at) / USERS;
        assert_eq!(of("push"), (0..pushes as u64).collect::<Vec<_>>(), "u{at}");
        let in_batch = (BATCH + USERS - 1 - at) / USERS;
        let expected = (0..batched)
            .flat_map(|batch| (0..in_batch as u64).map(move |number| batch * 1000 + number));
        assert_eq!(of("batch"), expected.collect::<Vec<_>>(), "u{at}");
    }
}

/// Sends a batch to all users and checks what is said of each message.
fn send_batch(address: SocketAddr, names: &[String], batch: u64) {
    let messages: Vec<_> = (0..BATCH)
        .map(|index| {
            let number = batch * 1000 + (index / USERS) as u64;
            let data = json!({ "from": "batch", "number": number });
            json!({ "user_id": names[index % USERS], "data": data })
        })
        .collect();
    let answer = post(address, "/sse/push/batch", &json!(messages).to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    let results = answer.json()["results"].take();
    for index in 0..BATCH {
        let expected = json!({ "index": index, "user_id": names[index % USERS], "success": true });
        assert_eq!(results[index], expected);
    }
}

#[test]
fn every_answer_reaches_exactly_its_caller_in_order_on_one_shard() {
    run(1);
}

#[test]
fn every_answer_reaches_exactly_its_caller_in_order_on_two_shards() {
    run(2);
}

#[test]
fn a_push_right_after_the_upgrade_always_arrives() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                thread::spawn(move || {
                    for number in 0..75 {
                        let name = format!("t{thread}.{number}");
                        let mut client = user(address, &name);
                        assert!(push(address, &name, &json!({ "number": number })), "{name}");
                        assert_eq!(client.json()["number"], number, "{name}");
                        // A question, too, and once more for who comes again.
                        let id = json!(name);
                        let mut call = call(address, &name, &id);
                        assert_eq!(client.json()["correlation_id"], id);
                        leave(client);
                        let mut client = user(address, &name);
                        assert!(push(address, &name, &json!({ "number": -1 })), "{name}");
                        assert_eq!(client.json()["number"], -1, "{name}");
                        client.say(&super::last(&id, 1));
                        assert_eq!(call.until_end(), [super::last(&id, 1)]);
                    }
                })
            })
            .collect();
        join(threads);
    }
}

/// Pushes numbers to alice without a pause while she comes and goes. Returns the numbers of which the
/// service was told that they arrived, and those that came.
fn push_while_moving(shards: usize) -> (Vec<u64>, Vec<u64>) {
    let gateway = gateway(shards, |_| {});
    let address = gateway.address;
    let is_over = Arc::new(AtomicBool::new(false));
    let pusher = {
        let is_over = is_over.clone();
        thread::spawn(move || {
            let numbers = (0_u64..).take_while(|_| !is_over.load(Ordering::Relaxed));
            let reached =
                numbers.filter(|number| push(address, "alice", &json!({ "number": number })));
            reached.collect()
        })
    };
    let mut seen = Vec::new();
    for _ in 0..MOVES {
        let mut client = user(address, "alice");
        for _ in 0..3 {
            seen.push(client.json()["number"].as_u64().unwrap());
        }
        client.send(0x88, &1000_u16.to_be_bytes());
        while let Some(frame) = client.next().filter(|frame| frame.first == 0x81) {
            seen.push(frame.json()["number"].as_u64().unwrap());
        }
    }
    is_over.store(true, Ordering::Relaxed);
    (pusher.join().unwrap(), seen)
}

const MOVES: usize = 40;

#[test]
fn what_a_user_sees_was_said_to_arrive_while_the_user_comes_and_goes() {
    for shards in [1, 3] {
        let (reached, seen) = push_while_moving(shards);
        assert!(seen.is_sorted(), "{shards} shards: {seen:?}");
        let untold: Vec<_> = seen
            .iter()
            .filter(|number| !reached.contains(number))
            .collect();
        assert!(
            untold.is_empty(),
            "{shards} shards: said to be offline, yet seen: {untold:?}"
        );
        // A push that is under way while the connection closes is lost with it.
        let lost = reached
            .iter()
            .filter(|number| !seen.contains(number))
            .count();
        assert!(
            lost <= MOVES,
            "{shards} shards: at most one for each leave: {lost}"
        );
    }
}

#[test]
fn a_user_who_reads_nothing_does_not_delay_others() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let _stuck = user(address, "stuck");
        let mut alice = user(address, "alice");
        let large = json!({ "user_id": "stuck", "data": { "message": "x".repeat(200_000) } });
        let large = large.to_string();
        for number in 0..50 {
            let stuck = post(address, "/sse/push", &large);
            assert!(matches!(stuck.status, 200 | 429 | 503), "{stuck:?}");
            assert!(push(address, "alice", &json!({ "number": number })));
            assert_eq!(alice.json()["number"], number);
        }
        assert!(alice.is_silent(Duration::from_millis(10)));
    }
}
