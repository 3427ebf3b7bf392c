//! A client's message, from text to what is to be done.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use fanfare::dialect::events::{Action, Command};
use serde_json::Value;

use crate::PUBLISH;

const MESSAGES: [(&str, &str); 3] = [
    ("publish", PUBLISH),
    (
        "subscribe",
        r#"{"type":"subscribe","events":["news","agent.*","prices.eur"]}"#,
    ),
    ("ping", r#"{"type":"ping","timestamp":1795258153988}"#),
];

/// The document, then its fields.
fn naive(text: &str) -> usize {
    let document: Value = serde_json::from_str(text).expect("legal");
    match document["type"].as_str().expect("legal") {
        "publish" => {
            let event = document["event"].as_str().expect("legal").to_owned();
            let data = document["data"].to_string();
            event.len() + data.len()
        }
        "subscribe" => {
            let names = document["events"].as_array().expect("legal").iter();
            names.map(|name| name.as_str().map_or(0, str::len)).sum()
        }
        _ => 0,
    }
}

fn ours(text: &str) -> usize {
    match Command::parse(text).expect("legal").action {
        Action::Publish { event, data, .. } => event.len() + data.len(),
        Action::Subscribe(names, _) => names.iter().map(|name| name.len()).sum(),
        _ => 0,
    }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("command");
    group.throughput(Throughput::Elements(1));
    for (name, text) in MESSAGES {
        group.bench_function(BenchmarkId::new("ours", name), |bencher| {
            bencher.iter(|| ours(black_box(text)));
        });
        group.bench_function(BenchmarkId::new("a document", name), |bencher| {
            bencher.iter(|| naive(black_box(text)));
        });
    }
    group.finish();
}
