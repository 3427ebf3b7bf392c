//! JSON parsers beside each other: which one for which use.
//!
//! *Routing* looks at the fields of one object and leaves their values unparsed; *whole* makes a
//! document of everything. simd-json parses in place and so needs a copy of what it may not destroy.
//! *Messages* are what wse clients send, each in a buffer that may be destroyed, so that simd-json copies nothing;
//! `ours` reads what the gateway acts on.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use fanfare::dialect::wse::Envelope;
use fanfare::json;
use serde_json::Value;
use simd_json::prelude::ValueObjectAccess;

use crate::PUBLISH;

/// A publication whose data has `count` entries.
fn publication(count: usize) -> String {
    let entry = r#"{"symbol":"ACME","price":101.25,"volume":1200,"note":"a \"quoted\" word"}"#;
    let entries = vec![entry; count].join(",");
    format!(r#"{{"type":"publish","event":"prices.eur","data":[{entries}]}}"#)
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let texts = [PUBLISH.to_owned(), publication(50), publication(900)];
    routing(criterion, &texts);
    whole(criterion, &texts);
    messages(criterion);
}

fn routing(criterion: &mut Criterion, texts: &[String]) {
    let mut group = criterion.benchmark_group("json/routing");
    for text in texts {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("ours", text.len()), |bencher| {
            bencher.iter(|| {
                let mut bytes = 0;
                json::fields(black_box(text), |_, value| bytes += value.text().len())
                    .expect("legal");
                bytes
            });
        });
        let mut copy = Vec::new();
        let mut buffers = simd_json::Buffers::default();
        group.bench_function(BenchmarkId::new("simd-json tape", text.len()), |bencher| {
            bencher.iter(|| {
                copy.clear();
                copy.extend_from_slice(black_box(text).as_bytes());
                let tape = simd_json::to_tape_with_buffers(&mut copy, &mut buffers);
                let tape = tape.expect("legal");
                let document = tape.as_value();
                black_box(document.get("data").is_some())
            });
        });
        group.bench_function(
            BenchmarkId::new("serde_json document", text.len()),
            |bencher| {
                bencher.iter(|| {
                    let document: Value = serde_json::from_str(black_box(text)).expect("legal");
                    black_box(document.get("data").is_some())
                });
            },
        );
    }
    group.finish();
}

fn whole(criterion: &mut Criterion, texts: &[String]) {
    let mut group = criterion.benchmark_group("json/whole");
    for text in texts {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("sonic-rs", text.len()), |bencher| {
            bencher.iter(|| sonic_rs::from_str::<sonic_rs::Value>(black_box(text)).expect("legal"));
        });
        let mut copy = Vec::new();
        group.bench_function(BenchmarkId::new("simd-json", text.len()), |bencher| {
            bencher.iter(|| {
                copy.clear();
                copy.extend_from_slice(black_box(text).as_bytes());
                let document = simd_json::to_borrowed_value(&mut copy).expect("legal");
                black_box(document.get("data").is_some())
            });
        });
        group.bench_function(BenchmarkId::new("serde_json", text.len()), |bencher| {
            bencher.iter(|| serde_json::from_str::<Value>(black_box(text)).expect("legal"));
        });
    }
    group.finish();
}

const HELLO: &str = r#"{"c":"WSE","t":"client_hello","p":{"client_version":"2.0.7","protocol_version":1,"features":{"compression":true,"encryption":false,"batching":true,"priority_queue":true,"circuit_breaker":true,"offline_queue":true,"message_signing":false,"rate_limiting":true,"health_check":true,"metrics":true},"connection_id":"01a1fcfe-9590-7452-9950-2e08ea481522"},"id":"2c0adf09-fd62-4a95-9721-feba6bc7191b","ts":"2026-11-21T07:25:05.304414+00:00","v":1,"pri":10}"#;

const CONFIG_UPDATE: &str = r#"{"c":"WSE","t":"config_update","p":{"compression_enabled":true,"compression_threshold":2048,"batching_enabled":true,"batch_size":20,"batch_timeout":0.05,"max_queue_size":2000},"id":"b8ec6c12-52c1-4a95-9721-feba6bc7191b","seq":8,"ts":"2026-11-21T07:25:06.304414+00:00","v":1,"pri":5}"#;

/// Messages of an application, 100 in one.
fn batch() -> String {
    let message = |number| {
        format!(
            r#"{{"c":"U","t":"order_placed","p":{{"symbol":"ACME","price":101.25,"volume":{number},"note":"a \"quoted\" word"}},"id":"13af196c-0000-4a95-9721-{number:012}","seq":{number},"ts":"2026-11-21T07:25:05.304811+00:00","v":1,"pri":5}}"#
        )
    };
    let messages: Vec<String> = (0..100).map(message).collect();
    let messages = messages.join(",");
    format!(
        r#"{{"c":"WSE","t":"batch","p":{{"messages":[{messages}],"count":100}},"id":"b8ec6c12","seq":9,"v":1}}"#
    )
}

/// Reads a message as the protocol does: its envelope, each field of its payload, and the fields of an object in it or
/// the envelopes of the messages in it.
fn read(text: &str) -> usize {
    let message = Envelope::parse(text).expect("legal");
    let mut bytes = 0;
    let payload = message.payload_text();
    json::fields(payload, |key, value| match key {
        "features" => {
            json::fields(value.text(), |_, value| bytes += value.text().len()).expect("legal");
        }
        "messages" => json::each_item(value.text(), usize::MAX, |item| {
            let inner = Envelope::parse(item.text()).expect("legal");
            bytes += inner.payload_text().len();
        })
        .expect("legal"),
        _ => bytes += value.text().len(),
    })
    .expect("legal");
    bytes
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json/messages");
    let batch = batch();
    let texts = [
        ("client_hello", HELLO),
        ("config_update", CONFIG_UPDATE),
        ("batch of 100", &batch),
    ];
    for (name, text) in texts {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("ours", name), |bencher| {
            bencher.iter(|| read(black_box(text)));
        });
        group.bench_function(BenchmarkId::new("sonic-rs", name), |bencher| {
            bencher.iter(|| {
                let text = black_box(text).as_bytes();
                sonic_rs::from_slice::<sonic_rs::Value>(text).expect("legal")
            });
        });
        group.bench_function(BenchmarkId::new("simd-json", name), |bencher| {
            let fresh = || text.as_bytes().to_vec();
            let parse = |text: &mut Vec<u8>| {
                let document = simd_json::to_borrowed_value(black_box(text)).expect("legal");
                black_box(document.get("p").is_some())
            };
            bencher.iter_batched_ref(fresh, parse, BatchSize::SmallInput);
        });
    }
    group.finish();
}
