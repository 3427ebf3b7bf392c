//! JSON parsers beside each other: which one for which use.
//!
//! *Routing* looks at the fields of one object and leaves their values unparsed; *whole* makes a
//! document of everything. simd-json parses in place and so needs a copy of what it may not destroy.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
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
