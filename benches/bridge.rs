//! The bridge protocol's codec in memory: what a pushed message costs before it is published, and
//! an answer before it is sent.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use fanfare::call::Correlation;
use fanfare::dialect::bridge::{Inbound, Push};
use serde_json::{Value, json};

pub(crate) fn bench(c: &mut Criterion) {
    pushes(c);
    batches(c);
    answers(c);
}

/// A message as services send it, about 200 bytes.
const MESSAGE: &str = r#"{"user_id":"user_417","data":{"type":"notification","message":"Build 7 of @fanfare is done","timestamp":1763712871,"correlation_id":"req_0815","link":"https://ci.example.com/builds/7"},"event_type":"build"}"#;

/// An answer as users send it.
const ANSWER: &str = r#"{"type":"response","data":{"message":"Yes, go on","choices":[1,2,3]},"correlation_id":"req_0815","is_final":true}"#;

/// The same by way of a document.
fn push_naive(body: &str, out: &mut Vec<u8>) {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let mut data = body["data"].clone();
    let timestamp = data["timestamp"].clone();
    data["original_sender"] = json!({ "user_id": body["user_id"], "timestamp": timestamp });
    data["user_id"] = body["user_id"].clone();
    serde_json::to_writer(out, &data).expect("memory");
}

fn push(body: &str, out: &mut Vec<u8>) {
    let push = Push::parse(body).expect("a good message");
    black_box(push.mention(|name| name == "ci_bot"));
    let correlation = push.correlation().unwrap_or_else(Correlation::generate);
    push.put_frame(out, &correlation);
}

fn pushes(c: &mut Criterion) {
    let mut group = c.benchmark_group("bridge/push");
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::new();
    for (name, read) in [
        ("ours", push as fn(&str, &mut Vec<u8>)),
        ("naive", push_naive),
    ] {
        group.bench_function(BenchmarkId::new(name, MESSAGE.len()), |b| {
            b.iter(|| {
                out.clear();
                read(black_box(MESSAGE), &mut out);
            });
        });
    }
    group.finish();
}

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("bridge/batch");
    for count in [100, 1000] {
        let body = format!("[{}]", vec![MESSAGE; count].join(","));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            let mut out = Vec::new();
            b.iter(|| {
                for push in Push::parse_batch(black_box(&body)).expect("good messages") {
                    out.clear();
                    let correlation = push.correlation().unwrap_or_else(Correlation::generate);
                    push.put_frame(&mut out, &correlation);
                }
            });
        });
    }
    group.finish();
}

fn answers(c: &mut Criterion) {
    let mut group = c.benchmark_group("bridge/answer");
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::new();
    group.bench_function(BenchmarkId::from_parameter(ANSWER.len()), |b| {
        b.iter(|| {
            out.clear();
            let Inbound::Answer(answer) = Inbound::parse(black_box(ANSWER)) else {
                panic!("it is an answer");
            };
            black_box(answer.correlation().key());
            answer.put_events(&mut out);
        });
    });
    group.bench_function("generate", |b| b.iter(Correlation::generate));
    group.finish();
}
