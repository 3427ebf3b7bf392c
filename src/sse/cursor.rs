//! Where a stream of several topics stands, as one opaque text: the `id` of
//! every event, and what a client that comes back shows.
//!
//! The text is base64url without padding (RFC 4648 section 5) of a version, a
//! position for each topic in the order of their names, and the first bytes of
//! an HMAC-SHA256 over these and the topics' names. So a cursor is believed only
//! for the very topics it was made for, by a gateway with the same secret.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key, Tag, sign};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::id::Position;

/// The version of the layout described above.
const VERSION: u8 = 1;

/// Bytes of the signature that are kept. A cursor grants no access, so it has to resist a lucky guess only, not a
/// determined forger.
const TAG_BYTES: usize = 8;

/// The longest number in bytes: 64 bits, seven in each.
const NUMBER_BYTES_MAX: usize = 10;

/// The context string for deriving the key from the secret, so that the key serves no other purpose.
const PURPOSE: &[u8] = b"fanfare sse cursor 1";

/// Signs and verifies cursors. One for the process.
pub struct CursorKey(Key);

/// The topics of a cursor, sorted by name: their number and a digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    digest: [u8; 16],
    topics: usize,
}

impl CursorKey {
    /// The key derived from a secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let derived = sign(&Key::new(HMAC_SHA256, secret), PURPOSE);
        Self(Key::new(HMAC_SHA256, derived.as_ref()))
    }

    /// A random key: cursors are valid within this process only.
    ///
    /// # Panics
    /// If the system provides no randomness.
    #[must_use]
    pub fn random() -> Self {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).expect("the system gives random bytes");
        Self::new(&secret)
    }

    /// The scope of these topics. The names are sorted and distinct.
    #[must_use]
    pub fn scope<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Scope {
        let mut context = Context::with_key(&self.0);
        let mut topics = 0;
        for name in names {
            // No name contains a NUL, so different lists give different input.
            context.update(name.as_bytes());
            context.update(b"\0");
            topics += 1;
        }
        let tag = context.sign();
        let digest = *tag.as_ref().first_chunk().expect("a tag has 32 bytes");
        Scope { digest, topics }
    }

    /// Appends a cursor with `positions`, one for each topic of `scope`.
    ///
    /// Cost: one HMAC; no allocation once `out` is warm.
    pub fn put(
        &self,
        out: &mut Vec<u8>,
        scope: &Scope,
        positions: impl Iterator<Item = Position> + Clone,
    ) {
        let start = out.len();
        out.push(VERSION);
        // Epochs are times, so the smallest is written once and the others relative to it.
        let base = positions.clone().map(|at| at.epoch).min().unwrap_or(0);
        put_number(out, base);
        for Position { epoch, offset } in positions {
            put_number(out, epoch - base);
            put_number(out, offset);
        }
        let tag = self.tag(scope, &out[start..]);
        out.extend_from_slice(&tag.as_ref()[..TAG_BYTES]);
        let bytes = out.len() - start;
        let text = bytes.div_ceil(3) * 4;
        out.resize(start + bytes + text, 0);
        let (binary, place) = out[start..].split_at_mut(bytes);
        let written = URL_SAFE_NO_PAD.encode_slice(binary, place);
        let written = written.expect("four characters for three bytes are enough");
        out.copy_within(start + bytes..start + bytes + written, start);
        out.truncate(start + written);
    }

    /// The positions in a cursor, one for each topic of `scope`; `None` for text that this key has not signed for this
    /// scope.
    ///
    /// Cost: linear in the text, whose length is checked first.
    #[must_use]
    pub fn read(&self, scope: &Scope, text: &[u8]) -> Option<Vec<Position>> {
        let bytes_max = 1 + NUMBER_BYTES_MAX * (1 + 2 * scope.topics) + TAG_BYTES;
        if text.len() > bytes_max.div_ceil(3) * 4 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (said, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
        let expected = self.tag(scope, said);
        verify_slices_are_equal(tag, &expected.as_ref()[..TAG_BYTES]).ok()?;
        let (&version, mut rest) = said.split_first()?;
        if version != VERSION {
            return None;
        }
        let base = take_number(&mut rest)?;
        let positions: Option<Vec<Position>> = (0..scope.topics)
            .map(|_| {
                Some(Position {
                    epoch: base.checked_add(take_number(&mut rest)?)?,
                    offset: take_number(&mut rest)?,
                })
            })
            .collect();
        positions.filter(|_| rest.is_empty())
    }

    /// A number that depends on `seed` and is unpredictable without the key. For spreading load, not for secrets.
    #[must_use]
    pub fn draw(&self, seed: u64) -> u32 {
        let tag = sign(&self.0, &seed.to_le_bytes());
        u32::from_le_bytes(*tag.as_ref().first_chunk().expect("a tag has 32 bytes"))
    }

    fn tag(&self, scope: &Scope, said: &[u8]) -> Tag {
        let mut context = Context::with_key(&self.0);
        context.update(&scope.digest);
        context.update(said);
        context.sign()
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey(..)")
    }
}

/// Appends a number in seven-bit groups, lowest first; the high bit marks that another byte follows.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front; `None` if it is incomplete or exceeds 64 bits.
fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> CursorKey {
        CursorKey::new(b"a secret of no less than thirty-two bytes")
    }

    fn at(epoch: u64, offset: u64) -> Position {
        Position { epoch, offset }
    }

    fn text(key: &CursorKey, scope: &Scope, positions: &[Position]) -> Vec<u8> {
        let mut out = b"id: ".to_vec();
        key.put(&mut out, scope, positions.iter().copied());
        out.split_off(4)
    }

    /// Signs arbitrary bytes, as only a holder of the key can.
    fn signed(said: &[u8], scope: &Scope) -> Vec<u8> {
        let tag = key().tag(scope, said);
        let whole = [said, &tag.as_ref()[..TAG_BYTES]].concat();
        URL_SAFE_NO_PAD.encode(whole).into_bytes()
    }

    #[test]
    fn a_cursor_over_one_topic_is_short() {
        let key = key();
        let cursor = text(&key, &key.scope(["a"]), &[at(1_795_000_000_000, 1_000_000)]);
        assert!(cursor.len() <= 27, "{}", String::from_utf8_lossy(&cursor));
    }

    #[test]
    fn a_cursor_over_fifty_topics_of_one_process_stays_below_400_characters() {
        let names: Vec<String> = (0..50).map(|topic| format!("t.{topic:02}")).collect();
        let key = key();
        let scope = key.scope(names.iter().map(|name| &**name));
        let positions: Vec<Position> = (0..50)
            .map(|topic| at(1_795_000_000_000 + topic * 100, 100_000 + topic))
            .collect();
        assert!(text(&key, &scope, &positions).len() < 400);
    }

    #[test]
    fn m12_a_cursor_is_good_for_its_own_topics_and_secret_only() {
        let key = key();
        let scope = key.scope(["a", "b"]);
        let positions = [at(7, 1), at(7, 2)];
        let cursor = text(&key, &scope, &positions);
        assert_eq!(key.read(&scope, &cursor).unwrap(), positions);
        for names in [
            &["a", "c"][..],
            &["a"],
            &["b", "a"],
            &["a", "b", "c"],
            &["ab"],
            &[],
        ] {
            let other = key.scope(names.iter().copied());
            assert_eq!(key.read(&other, &cursor), None, "{names:?}");
        }
        let stranger = CursorKey::random();
        let same = stranger.scope(["a", "b"]);
        assert_eq!(stranger.read(&same, &cursor), None);
    }

    #[test]
    fn m12_what_is_no_cursor_is_refused() {
        let key = key();
        let scope = key.scope(["a"]);
        let cursor = text(&key, &scope, &[at(7, 1)]);
        let padded = [&cursor[..], b"="].concat();
        let twice = [&cursor[..], &cursor].concat();
        let long = vec![b'A'; 1 << 20];
        let cases: [&[u8]; 11] = [
            b"",
            b"-1",
            b"0",
            b"18446744073709551616",
            b"7-1",
            b"\r\n",
            b"\0",
            b"\xff\xff",
            &padded,
            &twice,
            &long,
        ];
        for bad in cases {
            assert_eq!(
                key.read(&scope, bad),
                None,
                "{:?}",
                &bad[..bad.len().min(40)]
            );
        }
        for cut in 0..cursor.len() {
            assert_eq!(key.read(&scope, &cursor[..cut]), None, "cut at {cut}");
        }
        for index in 0..cursor.len() {
            for byte in 0..=255 {
                let mut changed = cursor.clone();
                changed[index] = byte;
                assert_eq!(key.read(&scope, &changed).is_some(), changed == cursor);
            }
        }
    }

    #[test]
    fn m12_signed_bytes_that_say_nothing_sensible_are_refused_too() {
        let scope = key().scope(["a"]);
        let largest = [&[0xff; 9][..], &[0x01]].concat();
        let over = [&[0xff; 9][..], &[0x02]].concat();
        let check = |said: &[&[u8]], expected: Option<Position>| {
            let read = key().read(&scope, &signed(&said.concat(), &scope));
            assert_eq!(read, expected.map(|at| vec![at]), "{said:?}");
        };
        check(&[&[1, 5, 0, 9]], Some(at(5, 9)));
        check(&[&[1], &largest, &[0, 0]], Some(at(u64::MAX, 0)));
        check(&[&[1], &over, &[0, 0]], None);
        check(&[&[1], &largest, &[1, 0]], None); // an epoch beyond 2^64
        check(&[&[2, 5, 0, 9]], None); // a later version
        check(&[&[1, 5, 0]], None); // a position too few
        check(&[&[1, 5, 0, 9, 0, 9]], None); // one too many
        check(&[&[1, 5, 0, 0x89]], None); // a number that is cut
        check(&[&[1; 0]], None);
    }

    #[test]
    fn no_secret_is_shown() {
        assert_eq!(format!("{:?}", key()), "CursorKey(..)");
    }

    proptest! {
        #[test]
        fn what_is_put_is_read(positions in prop::collection::vec((any::<u64>(), any::<u64>()), 0..60)) {
            let key = key();
            let names: Vec<String> = (0..positions.len()).map(|name| format!("{name:03}")).collect();
            let scope = key.scope(names.iter().map(|name| &**name));
            let positions: Vec<Position> = positions.into_iter().map(|(e, o)| at(e, o)).collect();
            prop_assert_eq!(key.read(&scope, &text(&key, &scope, &positions)), Some(positions));
        }

        #[test]
        fn no_text_panics(bytes: Vec<u8>, topics in 0usize..5) {
            let key = key();
            let scope = key.scope(["a", "b", "c", "d", "e"].into_iter().take(topics));
            prop_assert_eq!(key.read(&scope, &bytes), None);
            prop_assert!(key.read(&scope, &signed(&bytes, &scope)).is_none_or(|at| at.len() == topics));
        }
    }
}
