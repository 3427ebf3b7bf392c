//! The wse protocol, as its published clients see it. A module for each part of what it promises; `traps` has the
//! ways in which existing clients are tripped up.

mod across;
mod application;
mod begin;
pub(crate) mod encryption;
mod formats;
mod groups;
mod load;
mod presence;
mod recovery;
mod requests;
mod signing;
mod topics;
mod traps;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Response, TestGateway, WseClient, WseMessage, request, wse_gateway};

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing comes where nothing may come.
const SILENCE: Duration = Duration::from_millis(100);

/// Topics whose homes are different shards, if there are some.
const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

/// Of the section `[hub]`: homes that are soon full.
const FEW_TOPICS: &str = "max_topics = 30\n";

/// Runs `test` on one shard and on two.
fn everywhere(toml: &str, test: impl Fn(&TestGateway)) {
    for shards in [1, 2] {
        test(&wse_gateway(shards, toml));
    }
}

/// Publishes, and takes the answer.
#[track_caller]
fn publish_as(client: &mut WseClient, topic: &str, id: &str) -> WseMessage {
    let p = json!({ "topic": topic, "type": "n", "data": {}, "ack": true });
    client.say(&json!({ "t": "publish", "id": id, "p": p }));
    client.next()
}

/// Publishes to new topics until no home of [`FEW_TOPICS`] has room for another one: as long as the client is there,
/// whose inbox is one of them. Returns a topic that there is.
#[track_caller]
fn fill_homes(client: &mut WseClient) -> String {
    let mut known = None;
    for number in 0..300 {
        let topic = format!("fill.{number}");
        if publish_as(client, &topic, &topic).kind() == "publish_ack" {
            known = Some(topic);
        }
    }
    known.expect("there was room for some")
}

fn get(address: SocketAddr, path: &str, headers: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    request(address, head.as_bytes())
}

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
