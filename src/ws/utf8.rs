//! UTF-8 checks of text messages, whole or in pieces (RFC 6455 section 8.1).

use super::error::ProtocolError;

/// Up to this length in bytes, an ASCII check comes before the general one.
const SHORT: usize = 1024;

/// Checks a whole text. Most texts are short and ASCII, which takes half the time.
#[inline]
pub(super) fn check(text: &[u8]) -> Result<(), ProtocolError> {
    if text.len() <= SHORT && is_ascii(text) {
        return Ok(());
    }
    match simdutf8::basic::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(ProtocolError::InvalidUtf8),
    }
}

/// Like `text.is_ascii()`, without a branch for every block and without a loop over the last bytes.
#[inline]
fn is_ascii(text: &[u8]) -> bool {
    const BLOCK: usize = 32;
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    // The last block overlaps the one before it.
    let Some(last) = text.last_chunk::<BLOCK>() else {
        return text.is_ascii();
    };
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let mut seen = [0u64; BLOCK / 8];
    for block in blocks.iter().chain([last]) {
        for (seen, word) in seen.iter_mut().zip(block.as_chunks::<8>().0) {
            *seen |= u64::from_ne_bytes(*word);
        }
    }
    seen.iter().fold(0, |all, word| all | word) & HIGH_BITS == 0
}

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

    /// Whether the text so far does not end inside a character.
    pub(super) const fn is_whole(&self) -> bool {
        self.begun_len == 0
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
pub(super) fn check_prefix(text: &[u8]) -> Result<usize, ProtocolError> {
    match simdutf8::compat::from_utf8(text) {
        Ok(_) => Ok(text.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(_) => Err(ProtocolError::InvalidUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that the prefix of `bad_at` bytes is accepted and one byte more is refused.
    fn check_bad(text: &[u8], bad_at: usize) {
        for lead in [0, 1, 63, 64, 200] {
            let mut bytes = vec![b'a'; lead];
            bytes.extend_from_slice(text);
            assert!(check_prefix(&bytes[..lead + bad_at]).is_ok(), "{text:x?}");
            let refused = Err(ProtocolError::InvalidUtf8);
            assert_eq!(check_prefix(&bytes[..=lead + bad_at]), refused, "{text:x?}");
            assert_eq!(check_prefix(&bytes), refused, "{text:x?}");
            assert_eq!(check(&bytes), Err(ProtocolError::InvalidUtf8), "{text:x?}");
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
                assert_eq!(checker.is_whole(), bad_at == 0, "{text:x?} by {size}");
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
                    checker.is_whole(),
                    text.is_char_boundary(at),
                    "{at} by {size}"
                );
            }
        }
    }

    #[test]
    fn one_byte_that_is_not_ascii_is_seen_anywhere() {
        for len in (0..200).chain([1023, 1024, 1025]) {
            let mut text = vec![b'a'; len];
            assert!(is_ascii(&text) && check(&text).is_ok());
            for at in 0..len {
                text[at] = 0x80;
                assert!(!is_ascii(&text) && check(&text).is_err(), "{at} of {len}");
                text[at] = 0x7f;
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
