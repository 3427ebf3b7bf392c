//! The opening handshake, from a parsed head to the bytes of the answer.

use std::hint::black_box;

use criterion::Criterion;
use fanfare::ws::handshake::Upgrade;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use tokio_tungstenite::tungstenite::handshake::server::{create_response, write_response};

/// As a browser sends it.
const HEADERS: [(&str, &str); 12] = [
    ("host", "127.0.0.1:8080"),
    ("connection", "Upgrade"),
    ("pragma", "no-cache"),
    ("cache-control", "no-cache"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
    ),
    ("upgrade", "websocket"),
    ("origin", "http://127.0.0.1:8080"),
    ("sec-websocket-version", "13"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-US,en;q=0.9"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    (
        "sec-websocket-extensions",
        "permessage-deflate; client_max_window_bits",
    ),
];

pub(crate) fn bench(criterion: &mut Criterion) {
    let headers: HeaderMap = HEADERS
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
    let mut request = Request::new(());
    *request.headers_mut() = headers.clone();
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            let upgrade = Upgrade::check(&Method::GET, Version::HTTP_11, black_box(&headers));
            upgrade.expect("legal").response(None, None)
        });
    });
    group.bench_function("tungstenite", |bencher| {
        bencher.iter(|| {
            let response = create_response(black_box(&request)).expect("legal");
            let mut head = Vec::new();
            write_response(&mut head, &response).expect("memory takes everything");
            head
        });
    });
    group.finish();
}
