//! What the guard passes on does not depend on how the bytes were cut, and a head that it passes
//! is one that every parser reads alike.

use fanfare::http::{Guard, GuardLimits, HeadError};

const LIMITS: GuardLimits = GuardLimits {
    head_bytes_max: 1024,
    headers_max: 16,
};

fn passed(bytes: &[u8], piece: usize) -> (Vec<u8>, Result<(), HeadError>) {
    let mut guard = Guard::new(LIMITS);
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        guard.take(piece);
        loop {
            match guard.pass() {
                Ok(Some(passed)) => out.extend_from_slice(guard.give(passed.bytes)),
                Ok(None) => break,
                Err(error) => return (out, Err(error)),
            }
        }
    }
    (out, Ok(()))
}

pub fn run(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else {
        return;
    };
    let (whole, outcome) = passed(bytes, usize::MAX);
    let (cut, cut_outcome) = passed(bytes, usize::from(piece).max(1));
    assert_eq!(outcome, cut_outcome);
    assert_eq!(whole, cut);
    assert!(is_left_of(&whole, bytes));
}

/// Whether `passed` is what `bytes` begin with but for line ends that were left out: those between requests.
fn is_left_of(passed: &[u8], bytes: &[u8]) -> bool {
    let mut passed = passed.iter().peekable();
    for byte in bytes {
        match passed.peek() {
            None => return true,
            Some(next) if *next == byte => drop(passed.next()),
            Some(_) if matches!(byte, b'\r' | b'\n') => {}
            Some(_) => return false,
        }
    }
    passed.peek().is_none()
}
