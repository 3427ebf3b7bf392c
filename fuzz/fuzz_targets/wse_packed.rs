//! What a wse client packs is refused or becomes text of bounded size, by zlib and by MessagePack, and what is read of
//! that is JSON.

use fanfare::dialect::wse::{DecompressError, Envelope, decompress};
use fanfare::msgpack;
use serde_json::value::RawValue;

/// The largest message: small, so that it is reached.
const BYTES_MAX: usize = 4096;

/// What a buffer may grow to beyond that, before the message is found to be too large.
const SLACK_MAX: usize = BYTES_MAX + 1024;

pub fn run(bytes: &[u8]) {
    check_zlib(bytes.strip_prefix(b"C:").unwrap_or(bytes));
    let packed = bytes.strip_prefix(b"M:").unwrap_or(bytes);
    let mut text = Vec::new();
    let read = msgpack::to_json(packed, &mut text);
    assert!(text.len() <= packed.len() * 6 + 8);
    if read.is_ok() {
        serde_json::from_slice::<&RawValue>(&text).expect("JSON");
        check_message(&text);
    }
}

fn check_zlib(packed: &[u8]) {
    let mut out = Vec::new();
    let read = decompress(packed, BYTES_MAX, &mut out);
    assert!(out.capacity() <= BYTES_MAX + SLACK_MAX, "{}", out.capacity());
    if read.is_err() {
        return;
    }
    assert!(out.len() <= BYTES_MAX);
    // It fits into its own size and into no smaller one, and is appended.
    let mut again = b"before".to_vec();
    assert_eq!(decompress(packed, out.len(), &mut again), Ok(()));
    assert_eq!(&again[6..], &out[..]);
    if let Some(less) = out.len().checked_sub(1) {
        let refused = decompress(packed, less, &mut Vec::new());
        assert_eq!(refused, Err(DecompressError::TooLarge));
    }
    check_message(&out);
}

fn check_message(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    if let Ok(message) = Envelope::parse(text) {
        serde_json::from_str::<&RawValue>(message.text).expect("JSON");
        serde_json::from_str::<&RawValue>(message.payload_text()).expect("JSON");
    }
}
