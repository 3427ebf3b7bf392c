//! From a publication to the bytes that all its subscribers get.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use fanfare::dialect::events::Writer;
use fanfare::engine::{Publication, PublicationKind};
use fanfare::id::Form;
use fanfare::ws::{OpCode, encode};
use serde_json::{Value, json};

const FRAMES: usize = 32;
const TIMESTAMP: &[u8] = b"2026-11-21T10:49:15.339Z";

pub(crate) fn bench(criterion: &mut Criterion) {
    frames(criterion);
    events(criterion);
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode/frame");
    group.throughput(Throughput::Elements(FRAMES as u64));
    for length in [20, 128, 1024] {
        let payload = vec![b'x'; length];
        let mut out = Vec::with_capacity(64 * 1024);
        group.bench_function(BenchmarkId::new("ours", length), |bencher| {
            bencher.iter(|| {
                out.clear();
                for _ in 0..FRAMES {
                    encode::put_frame(&mut out, OpCode::Text, black_box(&payload));
                }
                black_box(&out);
            });
        });
        group.bench_function(BenchmarkId::new("a buffer a frame", length), |bencher| {
            bencher.iter(|| {
                let frames: Vec<Vec<u8>> = (0..FRAMES)
                    .map(|_| {
                        let mut frame = Vec::new();
                        encode::put_frame(&mut frame, OpCode::Text, black_box(&payload));
                        frame
                    })
                    .collect();
                black_box(frames)
            });
        });
    }
    group.finish();
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode/event");
    for length in [20, 128, 1024] {
        let data = format!("\"{}\"", "x".repeat(length - 2));
        let parsed: Value = serde_json::from_str(&data).expect("it is a string");
        let mut out = Vec::with_capacity(4096);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("ours", length), |bencher| {
            bencher.iter(|| {
                out.clear();
                Writer::new(&mut out, TIMESTAMP).event(&Publication {
                    kind: PublicationKind::Event,
                    form: Form::NEUTRAL,
                    topic: black_box("prices.eur"),
                    name: "prices.eur",
                    data: data.as_bytes(),
                    publisher: "",
                    epoch: 1_795_258_153_988,
                    offset: black_box(7_654_321),
                });
                black_box(&out);
            });
        });
        group.bench_function(BenchmarkId::new("a document", length), |bencher| {
            bencher.iter(|| {
                let event = json!({
                    "type": "event",
                    "event": black_box("prices.eur"),
                    "event_type": "prices.eur",
                    "data": parsed.clone(),
                    "event_id": format!("{}-{}", 1_795_258_153_988_u64, black_box(7_654_321)),
                    "timestamp": "2026-11-21T10:49:15.339Z",
                });
                event.to_string()
            });
        });
    }
    group.finish();
}
