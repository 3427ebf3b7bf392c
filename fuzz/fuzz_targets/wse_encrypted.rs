//! What a client sends is opened or refused, and only what was sealed is opened. What is written to a client comes out
//! alike however it is cut, and what is no frame is refused alike.

use std::io::IoSlice;
use std::rc::Rc;

use fanfare::dialect::wse::{FrameSealer, SessionKey};
use fanfare::net::Seal;

/// After a message that begins so, messages are encrypted.
const HELLO: &str = "h";

pub fn run(input: (&[u8], u8, u16, u8)) {
    let (bytes, piece, at, byte) = input;
    let key = SessionKey::new(&[7; 32]);
    let mut out = Vec::new();
    // The fuzzer may bring back what a run before has sealed.
    if key.open(bytes, &mut out).is_err() {
        assert!(out.is_empty());
    }
    out.clear();
    let mut sealed = Vec::new();
    key.seal(bytes, &mut sealed).unwrap();
    key.open(&sealed, &mut out).unwrap();
    assert_eq!(out, bytes);
    // One byte of it changed, or one more.
    let before = sealed.clone();
    match sealed.get_mut(usize::from(at) % (before.len() + 1)) {
        Some(place) => *place = byte,
        None => sealed.push(byte),
    }
    assert_eq!(key.open(&sealed, &mut out).is_ok(), sealed == before);

    let whole = written(bytes, usize::MAX, None);
    assert_eq!(whole, written(bytes, usize::from(piece) + 1, None));
    // Without a key frames pass as they are, up to one that is not whole.
    if let Some((out, _)) = &whole {
        assert!(bytes.starts_with(out));
    }
    let encrypted = |piece| {
        let key = Rc::new(SessionKey::new(&[7; 32]));
        written(bytes, piece, Some(key))
    };
    let (whole, cut) = (encrypted(usize::MAX), encrypted(usize::from(piece) + 1));
    // The IVs differ.
    let lengths = |written: Option<(Vec<u8>, bool)>| written.map(|(out, key)| (out.len(), key));
    assert_eq!(lengths(whole), lengths(cut));
}

/// What a client is sent of `bytes`, given in pieces, and whether it is encrypted at last; `None` if it is refused.
fn written(bytes: &[u8], piece: usize, key: Option<Rc<SessionKey>>) -> Option<(Vec<u8>, bool)> {
    let sealer = FrameSealer::default();
    if let Some(key) = key {
        sealer.begin(HELLO, Some(key)).unwrap();
    }
    let (mut writer, mut out) = (sealer.clone(), Vec::new());
    for part in bytes.chunks(piece.min(bytes.len().max(1))) {
        let mut rest = part;
        while !rest.is_empty() {
            let (one, other) = rest.split_at(rest.len() / 2);
            let slices = [IoSlice::new(one), IoSlice::new(other)];
            let taken = writer.seal(&slices, 100, &mut out).ok()?;
            assert!(taken > 0);
            rest = &rest[taken..];
        }
    }
    Some((out, sealer.is_encrypting()))
}
