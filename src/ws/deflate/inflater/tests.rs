//! Valid and invalid streams.

use flate2::{Compress, Compression, FlushCompress};

use super::super::Deflater;
use super::*;

const LIMIT: usize = 1 << 20;

fn compress(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new(6).compress(15, payload, &mut out);
    out
}

/// Checks the output of `compressed` with a new inflater and with a used one, and that the used one can inflate another
/// message.
#[track_caller]
fn check(compressed: &[u8], expected: Result<&[u8], ProtocolError>) {
    let mut inflater = Inflater::new();
    for _ in 0..2 {
        let mut out = b"before".to_vec();
        let result = inflater.inflate(compressed, LIMIT, &mut out);
        assert_eq!(result.map(|()| &out[6..]), expected);
        let mut after = Vec::new();
        inflater
            .inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", LIMIT, &mut after)
            .unwrap();
        assert_eq!(after, b"Hello");
    }
}

/// A sender that flushes after every `size` bytes.
fn flushed_every(size: usize, payload: &[u8]) -> Vec<u8> {
    let mut stream = Compress::new(Compression::new(6), false);
    let mut out = Vec::with_capacity(payload.len() * 10 + 100);
    for chunk in payload.chunks(size) {
        stream
            .compress_vec(chunk, &mut out, FlushCompress::Sync)
            .unwrap();
    }
    out.truncate(out.len() - TAIL.len());
    out
}

#[test]
fn the_examples_of_rfc_7692_inflate() {
    check(b"\xf2\x48\xcd\xc9\xc9\x07\x00", Ok(b"Hello")); // 7.2.3.1, one block
    check(
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        Ok(b"Hello"),
    ); // 7.2.3.3, stored
    check(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", Ok(b"Hello")); // 7.2.3.4, BFINAL
    check(
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        Ok(b"Hello"),
    ); // 7.2.3.5, two blocks
    check(b"\x00", Ok(b"")); // 7.2.3.6, empty
    check(b"", Err(ProtocolError::CorruptDeflate)); // not even a block
}

#[test]
fn a_stream_may_go_on_after_a_final_block_and_refer_to_it() {
    // Two streams of "Hello"; then one whose second part copies from before the final block.
    check(
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        Ok(b"HelloHello"),
    );
    check(
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00",
        Ok(b"HelloHello"),
    );
}

#[test]
fn c01_output_stops_at_the_limit() {
    let zeros = vec![0; LIMIT + 1];
    let mut inflater = Inflater::new();
    let mut inflate = |payload: &[u8], limit| {
        let mut out = Vec::new();
        let result = inflater.inflate(&compress(payload), limit, &mut out);
        assert!(out.capacity() <= limit + 64 * 1024);
        result.map(|()| out.len())
    };
    let small = 64 * 1024;
    assert_eq!(inflate(&zeros[..small], LIMIT), Ok(small));
    assert_eq!(inflate(&zeros[..small], small), Ok(small));
    assert_eq!(
        inflate(&zeros[..small], small - 1),
        Err(ProtocolError::MessageTooBig(small - 1))
    );
    assert_eq!(
        inflate(&zeros[..1], 0),
        Err(ProtocolError::MessageTooBig(0))
    );
    assert_eq!(inflate(b"", 0), Ok(0));
    // A compressed bomb is refused as a message that is too big.
    let limit = LIMIT;
    let too_big = Err(ProtocolError::MessageTooBig(limit));
    assert_eq!(inflate(&zeros, limit), too_big);
}

#[test]
fn case_c2_a_message_under_the_limit_may_be_compressed_however_well() {
    for len in [100_000, LIMIT] {
        let payload = vec![b'x'; len];
        let compressed = compress(&payload);
        assert!(compressed.len() * 800 < len);
        check(&compressed, Ok(&payload));
    }
    let ticks = (0..3000u32).map(|i| {
        let price = i.wrapping_mul(2_654_435_761) >> 22;
        format!(r#"{{"event":"tick","price":{price},"volume":1200,"currency":"EUR"}}"#)
    });
    let ticks = ticks.collect::<String>();
    let compressed = compress(ticks.as_bytes());
    assert!(compressed.len() * 10 < ticks.len());
    check(&compressed, Ok(ticks.as_bytes()));
}

#[test]
fn c02_input_without_output_is_bounded() {
    for block in [&b"\x00\x00\x00\xff\xff"[..], b"\x02\x08\x20\x80\x00"] {
        check(&block.repeat(1 << 18), Err(ProtocolError::DeflateWaste));
    }
    // Streams with many final blocks.
    let ends = [b"\x03\x00".repeat(1 << 12), b"\x00".to_vec()].concat();
    check(&ends, Err(ProtocolError::DeflateWaste));
}

#[test]
fn the_most_wasteful_legal_senders_pass() {
    let payload: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for size in [1, 2, 7, 100] {
        let compressed = flushed_every(size, &payload);
        assert!(size > 1 || compressed.len() > 6 * payload.len());
        check(&compressed, Ok(&payload));
    }
}

#[test]
fn c03_corrupt_streams_are_refused() {
    check(b"\x07", Err(ProtocolError::CorruptDeflate)); // reserved block type
    check(b"\xff\xff\xff\xff", Err(ProtocolError::CorruptDeflate));
    check(b"\x00\x05\x00\xfa\xfe", Err(ProtocolError::CorruptDeflate)); // length and its complement
    check(b"\xf2\x00\x11\x00\x00", Err(ProtocolError::CorruptDeflate)); // refers to before it
    check(
        b"\x00\xff\xff\x00\x00abc",
        Err(ProtocolError::CorruptDeflate),
    ); // stored, not all there
    check(
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x06",
        Err(ProtocolError::CorruptDeflate),
    ); // after BFINAL
}

#[test]
fn c03_a_stream_cut_anywhere_is_refused_or_shorter() {
    let payload = r#"{"type":"publish","event":"news","data":[1,2,3,4,5,6,7,8,9]}"#.repeat(5);
    let compressed = compress(payload.as_bytes());
    for cut in 1..compressed.len() {
        let mut out = Vec::new();
        let result = Inflater::new().inflate(&compressed[..cut], LIMIT, &mut out);
        assert_eq!(result, Err(ProtocolError::CorruptDeflate), "cut at {cut}");
    }
}

#[test]
fn c04_an_inflater_that_was_never_used_holds_nothing() {
    assert_eq!(Inflater::new().held_bytes(), size_of::<Inflater>());
}

#[test]
fn a_context_is_kept_from_message_to_message() {
    let mut stream = Compress::new(Compression::new(6), false);
    let mut inflater = Inflater::with_context();
    for round in 0..50 {
        let payload = format!(r#"{{"type":"publish","event":"news","round":{round}}}"#);
        let mut compressed = Vec::with_capacity(1000);
        stream
            .compress_vec(payload.as_bytes(), &mut compressed, FlushCompress::Sync)
            .unwrap();
        compressed.truncate(compressed.len() - TAIL.len());
        assert!(round == 0 || compressed.len() < payload.len() / 2);
        let mut out = Vec::new();
        inflater.inflate(&compressed, LIMIT, &mut out).unwrap();
        assert_eq!(out, payload.as_bytes());
    }
}

proptest::proptest! {
    /// c07 among others: every loop terminates.
    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        for mut inflater in [Inflater::new(), Inflater::with_context()] {
            let mut out = Vec::new();
            let result = inflater.inflate(&bytes, 10_000, &mut out);
            proptest::prop_assert!(result.is_err() || out.len() <= 10_000);
        }
    }
}
