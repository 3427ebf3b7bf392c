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

use crate::support::{Response, TestGateway, request, wse_gateway};

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing comes where nothing may come.
const SILENCE: Duration = Duration::from_millis(100);

/// Topics whose homes are different shards, if there are some.
const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

/// Runs `test` on one shard and on two.
fn everywhere(toml: &str, test: impl Fn(&TestGateway)) {
    for shards in [1, 2] {
        test(&wse_gateway(shards, toml));
    }
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
