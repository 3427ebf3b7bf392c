//! permessage-deflate (RFC 7692): a broadcast is compressed once for all who asked for it.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use fanfare::ws::deflate::{Deflater, Inflater};
use flate2::{Compress, Compression, FlushCompress};

/// The default of `websocket.deflate_level`.
const LEVEL: u32 = 1;
const SUBSCRIBERS: usize = 100;

/// The usual library way: a compressor for each connection, and so each message once for each.
fn for_each(compressors: &mut [Compress], payload: &[u8], out: &mut Vec<u8>) {
    for compressor in compressors {
        out.clear();
        compressor.reset();
        compressor
            .compress_vec(payload, out, FlushCompress::Sync)
            .expect("there is room");
        black_box(&out);
    }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let ticks: String = (0..200_u32)
        .map(|number| {
            let price = number.wrapping_mul(2_654_435_761) >> 22;
            format!(r#"{{"event":"tick","price":{price},"volume":1200,"currency":"EUR"}}"#)
        })
        .collect();
    for length in [175, 10_000] {
        let payload = &ticks.as_bytes()[..length];
        let mut compressed = Vec::with_capacity(2 * length);
        let mut deflater = Deflater::new(LEVEL);
        let mut group = criterion.benchmark_group("deflate/100 subscribers");
        group.throughput(Throughput::Elements(SUBSCRIBERS as u64));
        group.bench_function(BenchmarkId::new("ours", length), |bencher| {
            bencher.iter(|| {
                compressed.clear();
                deflater.compress(15, black_box(payload), &mut compressed);
            });
        });
        let mut compressors: Vec<Compress> = (0..SUBSCRIBERS)
            .map(|_| Compress::new(Compression::new(LEVEL), false))
            .collect();
        let mut scratch = Vec::with_capacity(2 * length);
        group.bench_function(BenchmarkId::new("a stream each", length), |bencher| {
            bencher.iter(|| for_each(&mut compressors, black_box(payload), &mut scratch));
        });
        group.finish();
        let mut group = criterion.benchmark_group("inflate");
        group.throughput(Throughput::Bytes(length as u64));
        let (mut inflater, mut out) = (Inflater::new(), Vec::new());
        group.bench_function(BenchmarkId::new("ours", length), |bencher| {
            bencher.iter(|| {
                out.clear();
                inflater
                    .inflate(black_box(&compressed), length, &mut out)
                    .expect("compressed above");
            });
        });
        group.finish();
    }
}
