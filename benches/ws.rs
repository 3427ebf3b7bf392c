//! The WebSocket engine in memory: what a byte, a frame and a message cost before any socket.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::ws::deflate::{Deflater, Inflater};
use fanfare::ws::{Decoder, Event, Input, Limits, OpCode, encode, unmask};

const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const READ_BYTES: usize = 64 * 1024;

/// The definition of RFC 6455 section 5.3, to compare with.
fn unmask_naive(payload: &mut [u8], key: [u8; 4]) {
    for (i, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[i % 4];
    }
}

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws/unmask");
    for len in [7, 20, 128, 175, 1024, READ_BYTES] {
        let mut payload = vec![b'x'; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("ours", len), |b| {
            b.iter(|| unmask(black_box(&mut payload), black_box(KEY)));
        });
        group.bench_function(BenchmarkId::new("naive", len), |b| {
            b.iter(|| unmask_naive(black_box(&mut payload), black_box(KEY)));
        });
    }
    group.finish();
}

/// One read full of equal messages, and how many they are.
fn read_of(opcode: OpCode, payload: &[u8]) -> (Vec<u8>, u64) {
    let mut frame = Vec::new();
    encode::put_header(&mut frame, opcode, false, payload.len());
    frame[1] |= 0x80;
    frame.extend_from_slice(&KEY);
    let start = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[start..], KEY);
    let count = READ_BYTES / frame.len();
    (frame.repeat(count), count as u64)
}

fn decode(decoder: &mut Decoder, inflater: &mut Inflater, read: &mut [u8]) -> usize {
    let mut input = Input::new(read);
    let mut bytes = 0;
    while let Some(event) = decoder.next(&mut input, inflater).expect("legal") {
        if let Event::Message { payload, .. } = event {
            bytes += payload.len();
        }
    }
    bytes
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws/decode");
    let json = br#"{"type":"publish","event":"news","id":1,"data":{"n":1}}"#.repeat(4);
    for (name, opcode) in [("text", OpCode::Text), ("binary", OpCode::Binary)] {
        for len in [20, 128, 175] {
            let (read, count) = read_of(opcode, &json[..len]);
            let limits = Limits {
                message_bytes_max: 1 << 20,
            };
            let mut decoder = Decoder::new(limits, None);
            let mut inflater = Inflater::new();
            group.throughput(Throughput::Elements(count));
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter_batched_ref(
                    || read.clone(),
                    |read| decode(&mut decoder, &mut inflater, read),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws/encode");
    let mut out = Vec::with_capacity(READ_BYTES);
    for len in [20, 128, 1024] {
        let payload = vec![b'x'; len];
        group.throughput(Throughput::Elements(32));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                out.clear();
                for _ in 0..32 {
                    encode::put_frame(&mut out, OpCode::Text, black_box(&payload));
                }
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn compressing(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws/deflate");
    let ticks = (0..200u32).map(|i| {
        let price = i.wrapping_mul(2_654_435_761) >> 22;
        format!(r#"{{"event":"tick","price":{price},"volume":1200,"currency":"EUR"}}"#)
    });
    let ticks = ticks.collect::<String>();
    for len in [175, 10_000] {
        let payload = &ticks.as_bytes()[..len];
        group.throughput(Throughput::Bytes(len as u64));
        let (mut compressed, mut out) = (Vec::new(), Vec::new());
        for level in [1, 3, 6] {
            let mut deflater = Deflater::new(level);
            group.bench_function(BenchmarkId::new(format!("deflate/{level}"), len), |b| {
                b.iter(|| {
                    compressed.clear();
                    deflater.compress(15, black_box(payload), &mut compressed);
                });
            });
        }
        let mut inflater = Inflater::new();
        group.bench_function(BenchmarkId::new("inflate", len), |b| {
            b.iter(|| {
                out.clear();
                inflater
                    .inflate(black_box(&compressed), len, &mut out)
                    .expect("compressed above");
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(500));
    targets = masking, decoding, encoding, compressing
}
criterion_main!(benches);
