//! Reads full of frames: split, unmasked, checked, handed on.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use fanfare::ws::{Decoder, DecoderLimits, Event, Input, OpCode, encode, unmask};

use crate::PUBLISH;

const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const READ_BYTES: usize = 64 * 1024;

/// One read full of equal messages, and how many they are.
fn read_of(payload: &[u8]) -> (Vec<u8>, u64) {
    let mut frame = Vec::new();
    encode::put_header(&mut frame, OpCode::Text, false, payload.len());
    frame[1] |= 0x80;
    frame.extend_from_slice(&KEY);
    let start = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[start..], KEY);
    let count = READ_BYTES / frame.len();
    (frame.repeat(count), count as u64)
}

fn ours(decoder: &mut Decoder, read: &mut [u8]) -> usize {
    let mut input = Input::new(read);
    let mut bytes = 0;
    while let Some(event) = decoder.next(&mut input).expect("legal") {
        if let Event::Message(payload) = event {
            bytes += payload.bytes().len();
        }
    }
    bytes
}

/// A string for each frame, unmasked byte by byte.
fn naive(mut read: &[u8]) -> usize {
    let mut bytes = 0;
    while let [_, second, rest @ ..] = read {
        let (length, rest) = match second & 0x7F {
            126 => {
                let (length, rest) = rest.split_at(2);
                let length = u16::from_be_bytes(length.try_into().expect("two bytes"));
                (usize::from(length), rest)
            }
            short => (usize::from(short), rest),
        };
        let (key, rest) = rest.split_at(4);
        let (payload, rest) = rest.split_at(length);
        let payload: Vec<u8> = payload
            .iter()
            .enumerate()
            .map(|(index, byte)| byte ^ key[index % 4])
            .collect();
        let message = String::from_utf8(payload).expect("legal");
        bytes += black_box(message).len();
        read = rest;
    }
    bytes
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split");
    for length in [20, 128, 175] {
        let (read, count) = read_of(&PUBLISH.as_bytes()[..length]);
        let limits = DecoderLimits {
            message_bytes_max: 1 << 20,
        };
        let mut decoder = Decoder::new(limits, None);
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("ours", length), |bencher| {
            bencher.iter_batched_ref(
                || read.clone(),
                |read| ours(&mut decoder, read),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("a string a frame", length), |bencher| {
            bencher.iter(|| naive(black_box(&read)));
        });
    }
    group.finish();
}
