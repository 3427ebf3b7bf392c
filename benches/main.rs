//! What each layer costs in memory, before any socket, beside the model one would write first.
//!
//! One file a layer, one program for all, since every program is optimised as a whole for minutes.
//!
//! ```text
//! cargo bench                    # all of them
//! cargo bench -- hub             # one layer
//! perf/benches                   # the table in perf/README.md from the last results
//! ```
//!
//! In every group `ours` is what the gateway does; the other lines are the models.

mod bridge;
mod command;
mod deflate;
mod encode;
mod handshake;
mod hub;
mod json;
mod mesh;
mod split;
mod token;
mod unmask;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

/// A publish frame as a service sends it: 175 bytes.
const PUBLISH: &str = r#"{"type":"publish","event":"prices.eur","data":{"symbol":"ACME","price":101.25,"volume":1200,"currency":"EUR","venue":"XETR","time":"2026-11-21T10:49:15.339Z","flags":["abc"]}}"#;

criterion_group! {
    name = layers;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = split::bench, unmask::bench, encode::bench, deflate::bench, hub::bench, mesh::bench,
        command::bench, bridge::bench, json::bench, token::bench, handshake::bench
}
criterion_main!(layers);
