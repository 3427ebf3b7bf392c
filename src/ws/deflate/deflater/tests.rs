//! Every window and every size, without a context.

use super::super::Inflater;
use super::*;

mod distance;

const WINDOW_BITS: std::ops::RangeInclusive<u8> = 9..=15;

fn compress(window_bits: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new(6).compress(window_bits, payload, &mut out);
    out
}

fn inflate(compressed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Inflater::new()
        .inflate(compressed, 1 << 24, &mut out)
        .unwrap();
    out
}

/// Bytes that repeat at all distances up to 64 KiB.
fn repetitive(len: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut bytes: Vec<u8> = Vec::with_capacity(len);
    while bytes.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let back = (state >> 16) as usize + 1;
        match bytes.len().checked_sub(back) {
            Some(from) if state & 3 != 0 => {
                let end = (from + 40).min(bytes.len());
                bytes.extend_from_within(from..end);
            }
            _ => bytes.extend_from_slice(&state.to_le_bytes()),
        }
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn every_size_survives_in_every_window() {
    let bytes = repetitive(70_000);
    let mut deflater = Deflater::new(1);
    let mut inflater = Inflater::new();
    for window_bits in WINDOW_BITS {
        for len in (0..70).chain([125, 126, 255, 1000, 4096, 65_535, 70_000]) {
            let (mut compressed, mut payload) = (Vec::new(), Vec::new());
            deflater.compress(window_bits, &bytes[..len], &mut compressed);
            inflater.inflate(&compressed, len, &mut payload).unwrap();
            assert_eq!(payload, bytes[..len], "{window_bits} bits, {len} bytes");
        }
    }
}

#[test]
fn c05_no_reference_leaves_the_window() {
    let bytes = repetitive(100_000);
    for level in [1, 6, 9] {
        let mut deflater = Deflater::new(level);
        for window_bits in WINDOW_BITS {
            let mut compressed = Vec::new();
            deflater.compress(window_bits, &bytes, &mut compressed);
            compressed.extend_from_slice(&TAIL);
            let farthest = distance::farthest(&compressed);
            assert!(
                farthest <= 1 << window_bits,
                "{farthest} with {window_bits} bits"
            );
            // If the window were not used, the test would show nothing.
            assert!(
                farthest > 1 << (window_bits - 2),
                "{farthest} with {window_bits} bits"
            );
        }
    }
}

#[test]
fn c07_an_empty_message_is_one_zero_byte_also_after_another() {
    let mut deflater = Deflater::new(6);
    for payload in [&b""[..], b"Hello", b"", b"", b"Hello"] {
        let mut out = Vec::new();
        deflater.compress(15, payload, &mut out);
        // RFC 7692 sections 7.2.3.6 and 7.2.3.1.
        let expected: &[u8] = if payload.is_empty() {
            b"\x00"
        } else {
            b"\xf2\x48\xcd\xc9\xc9\x07\x00"
        };
        assert_eq!(out, expected);
    }
}

#[test]
fn nothing_is_remembered_from_message_to_message() {
    let mut deflater = Deflater::new(6);
    let payload = repetitive(5000);
    let first = compress(12, &payload);
    for _ in 0..3 {
        let mut out = Vec::new();
        deflater.compress(12, &payload, &mut out);
        assert_eq!(out, first);
    }
}

#[test]
fn output_is_appended_whatever_room_there_is() {
    let payload = repetitive(10_000);
    let expected = compress(15, &payload);
    for room in [0, 1, 63, 64, 65, 100, 5_000, 20_000] {
        let mut out = Vec::with_capacity(6 + room);
        out.extend_from_slice(b"before");
        Deflater::new(6).compress(15, &payload, &mut out);
        assert_eq!(out, [b"before", &expected[..]].concat());
    }
    assert_eq!(inflate(&expected), payload);
}
