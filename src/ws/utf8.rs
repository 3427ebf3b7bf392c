//! UTF-8 checks of text messages in pieces (RFC 6455 section 8.1).

use super::error::ProtocolError;

/// Checks a text that arrives in pieces.
#[derive(Debug)]
pub(super) struct Checker {
    /// The first bytes of a character whose rest has not arrived.
    begun: [u8; 3],
    begun_len: usize,
}

impl Checker {
    pub(super) const fn new() -> Self {
        Self {
            begun: [0; 3],
            begun_len: 0,
        }
    }

    /// Checks the next piece. Fails at the first byte that cannot occur at its place in a valid text.
    pub(super) fn check(&mut self, chunk: &[u8]) -> Result<(), ProtocolError> {
        let mut rest = chunk;
        if self.begun_len > 0 {
            // The character in progress ends within the next three bytes.
            let (len, mut start) = (self.begun_len, [0; 6]);
            let next = chunk.len().min(3);
            start[..len].copy_from_slice(&self.begun[..len]);
            start[len..len + next].copy_from_slice(&chunk[..next]);
            let start = &start[..len + next];
            match check_prefix(start)? {
                0 => {
                    self.begin(start);
                    return Ok(());
                }
                whole => rest = &chunk[whole - len..],
            }
        }
        let whole = check_prefix(rest)?;
        self.begin(&rest[whole..]);
        Ok(())
    }

    fn begin(&mut self, begun: &[u8]) {
        self.begun_len = begun.len();
        self.begun[..begun.len()].copy_from_slice(begun);
    }
}

/// Checks the beginning of a text, and returns how many of its bytes are whole characters. Up to three bytes after them
/// begin a character whose rest has not arrived.
///
/// Fails at the first byte that cannot occur at its place in a valid text.
fn check_prefix(text: &[u8]) -> Result<usize, ProtocolError> {
    match simdutf8::compat::from_utf8(text) {
        Ok(_) => Ok(text.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(_) => Err(ProtocolError::InvalidUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::{OpCode, Payload};

    /// Asserts that the prefix of `bad_at` bytes is accepted and one byte more is refused.
    fn check_bad(text: &[u8], bad_at: usize) {
        for lead in [0, 1, 63, 64, 200] {
            let mut bytes = vec![b'a'; lead];
            bytes.extend_from_slice(text);
            assert!(check_prefix(&bytes[..lead + bad_at]).is_ok(), "{text:x?}");
            let refused = Err(ProtocolError::InvalidUtf8);
            assert_eq!(check_prefix(&bytes[..=lead + bad_at]), refused, "{text:x?}");
            assert_eq!(check_prefix(&bytes), refused, "{text:x?}");
            let whole = Payload::new(OpCode::Text, &bytes);
            assert_eq!(whole, Err(ProtocolError::InvalidUtf8), "{text:x?}");
            for size in 1..=8 {
                let mut checker = Checker::new();
                let mut pieces = bytes.chunks(size);
                assert!(
                    pieces.any(|piece| checker.check(piece).is_err()),
                    "{text:x?} by {size}"
                );
                let mut checker = Checker::new();
                for piece in bytes[..lead + bad_at].chunks(size) {
                    assert_eq!(checker.check(piece), Ok(()), "{text:x?} by {size}");
                }
                assert_eq!(checker.begun_len == 0, bad_at == 0, "{text:x?} by {size}");
            }
        }
    }

    #[test]
    fn f12_invalid_sequences_are_refused_at_their_first_bad_byte() {
        check_bad(b"\x80", 0); // continuation first
        check_bad(b"\xff", 0);
        check_bad(b"\xfe", 0);
        check_bad(b"\xc0\x80", 0); // overlong
        check_bad(b"\xc1\xbf", 0);
        check_bad(b"\xe0\x9f\xbf", 1);
        check_bad(b"\xf0\x8f\xbf\xbf", 1);
        check_bad(b"\xed\xa0\x80", 1); // surrogates
        check_bad(b"\xed\xbf\xbf", 1);
        check_bad(b"\xf4\x90\x80\x80", 1); // beyond U+10FFFF
        check_bad(b"\xf5\x80\x80\x80", 0);
        check_bad(b"\xc3a", 1); // ends too early, at each position
        check_bad(b"\xe2\x82a", 2);
        check_bad(b"\xe2a", 1);
        check_bad(b"\xf0\x9f\x98a", 3);
        check_bad(b"\xf0\x9fa", 2);
        check_bad(b"\xf0a", 1);
    }

    #[test]
    fn a_text_in_pieces_is_whole_where_its_characters_are() {
        let text = "añ€😀 €€ 😀😀 ñañ".repeat(3);
        for size in 1..=9 {
            let (mut checker, mut at) = (Checker::new(), 0);
            for piece in text.as_bytes().chunks(size) {
                assert_eq!(checker.check(piece), Ok(()));
                assert_eq!(checker.check(b""), Ok(()));
                at += piece.len();
                assert_eq!(
                    checker.begun_len == 0,
                    text.is_char_boundary(at),
                    "{at} by {size}"
                );
            }
        }
    }

    #[test]
    fn every_character_is_accepted_whole_and_begun() {
        let mut buffer = [0; 4];
        for character in (0..=0x10_ffff).filter_map(char::from_u32) {
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            assert_eq!(check_prefix(bytes), Ok(bytes.len()));
            for cut in 1..bytes.len() {
                assert_eq!(
                    check_prefix(&bytes[..cut]),
                    Ok(0),
                    "{character:?} cut at {cut}"
                );
            }
        }
    }
}
