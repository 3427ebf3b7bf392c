//! The masking of RFC 6455 section 5.3.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use fanfare::ws::unmask;

const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// The definition.
fn naive(payload: &mut [u8], key: [u8; 4]) {
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[index % 4];
    }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask");
    for length in [7, 20, 128, 175, 1024, 64 * 1024] {
        let mut payload = vec![b'x'; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new("ours", length), |bencher| {
            bencher.iter(|| unmask(black_box(&mut payload), black_box(KEY)));
        });
        group.bench_function(BenchmarkId::new("byte by byte", length), |bencher| {
            bencher.iter(|| naive(black_box(&mut payload), black_box(KEY)));
        });
    }
    group.finish();
}
