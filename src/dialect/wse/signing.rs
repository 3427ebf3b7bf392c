//! Signatures of messages, in the form of the Python router: the hash of the sorted message, when it was signed, a nonce,
//! and an HMAC of the three, separated by colons.

mod sorted;

use std::collections::BTreeSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use crate::collections::HashSet;
use crate::process::Locked;
use sorted::sorted;

/// How far from now a message may have been signed, before it or, by a clock that is ahead, after it: as long as the `id`
/// of a message is remembered. The router itself looks at no time.
pub const WINDOW_SECONDS: u64 = 300;

/// Nonces that are remembered, those of the newest signatures. Where more messages come within the window, those that
/// were signed before all of these are refused as too old: a repeat is never accepted, whatever is forgotten.
pub const NONCES_MAX: usize = 10_000;

/// The longest nonce.
const NONCE_BYTES_MAX: usize = 64;

/// The field that holds a signature, and that is not signed.
const FIELD: &str = "sig";

/// Why a signature is not accepted, for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    /// It has another form.
    #[error(
        "`sig` has to be `hash:seconds:nonce:hmac`, with a nonce of 1 to {NONCE_BYTES_MAX} bytes"
    )]
    Malformed,
    /// It was made with another key.
    #[error("`sig` was not made with the signing key of this gateway")]
    Key,
    /// It belongs to another message.
    #[error("`sig` is not of this message: its hash is that of another text")]
    Altered,
    /// It is too old, or from the future.
    #[error(
        "the message was not signed within {WINDOW_SECONDS} s of now: check the clock and sign it again"
    )]
    Time,
    /// Its nonce has been accepted before.
    #[error(
        "a message with this nonce has been accepted already: sign each message with a nonce of its own"
    )]
    Repeated,
}

/// Signs messages and checks signatures, for the whole process.
///
/// Nonces are those of the process and not of a connection: who repeats a message that was overheard does so on a
/// connection of their own, which may be another shard's. So signed messages, and they alone, take a lock, once their
/// signature is known to be good; it is held for a few look-ups.
pub struct Signer {
    key: Key,
    nonces: Locked<Nonces>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer with this key, of any length.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self {
            key: Key::new(HMAC_SHA256, key),
            nonces: Locked::default(),
        }
    }

    /// The signature of `message`, JSON text, at the time `now_ms` of Unix in milliseconds, with a nonce that is random;
    /// `None` if the message is no object. A field `sig` that it has already is not signed.
    ///
    /// Cost: sorting the message, a hash of it, an HMAC.
    #[must_use]
    pub fn sign(&self, message: &str, now_ms: u64, nonce: u64) -> Option<String> {
        let mut signature = hash(message)?;
        let (seconds, ms) = (now_ms / 1000, now_ms % 1000);
        signature += &format!(":{seconds}.{ms:03}:{nonce:016x}");
        let mac = self.mac(&signature);
        signature += ":";
        signature += &mac;
        Some(signature)
    }

    /// Checks the signature `sig` of `message`, JSON text with or without its field `sig`. A signature is accepted once.
    ///
    /// Cost: as [`Self::sign`], and the lock if it is good so far.
    ///
    /// # Errors
    /// It is not accepted.
    pub fn verify(&self, message: &str, sig: &str, now_ms: u64) -> Result<(), SignatureError> {
        let Some((signed, mac)) = sig.rsplit_once(':') else {
            return Err(SignatureError::Malformed);
        };
        let mut parts = signed.split(':');
        let (Some(of), Some(seconds), Some(nonce), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SignatureError::Malformed);
        };
        if nonce.is_empty() || nonce.len() > NONCE_BYTES_MAX {
            return Err(SignatureError::Malformed);
        }
        let signed_us = micros(seconds).ok_or(SignatureError::Malformed)?;
        verify_slices_are_equal(self.mac(signed).as_bytes(), mac.as_bytes())
            .map_err(|_| SignatureError::Key)?;
        if hash(message).as_deref() != Some(of) {
            return Err(SignatureError::Altered);
        }
        let nonce = Nonce::of(nonce);
        self.nonces.lock().accept(signed_us, nonce, now_ms * 1000)
    }

    fn mac(&self, signed: &str) -> String {
        hex(sign(&self.key, signed.as_bytes()).as_ref())
    }
}

/// The hash of the sorted message.
fn hash(message: &str) -> Option<String> {
    Some(hex(
        digest(&SHA256, sorted(message, FIELD)?.as_bytes()).as_ref()
    ))
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

/// Microseconds of a decimal number of seconds, as Python writes `time.time()`.
fn micros(seconds: &str) -> Option<u64> {
    let is_number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let seconds: f64 = seconds
        .bytes()
        .all(is_number)
        .then(|| seconds.parse().ok())??;
    Some((seconds * 1e6) as u64)
}

/// A nonce, hashed: it may be any text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Nonce([u8; 16]);

impl Nonce {
    fn of(text: &str) -> Self {
        let hash = digest(&SHA256, text.as_bytes());
        let first = hash.as_ref().first_chunk();
        Self(*first.expect("it has 32 bytes"))
    }
}

/// The nonces that have been accepted.
#[derive(Default)]
struct Nonces {
    known: HashSet<Nonce>,
    /// With the times of their signatures, in microseconds.
    by_time: BTreeSet<(u64, Nonce)>,
    /// When the newest signature was made whose nonce was forgotten for want of room.
    forgotten_us: Option<u64>,
}

impl Nonces {
    fn accept(&mut self, signed_us: u64, nonce: Nonce, now_us: u64) -> Result<(), SignatureError> {
        let window_us = WINDOW_SECONDS * 1_000_000;
        while let Some(&(at, old)) = self.by_time.first()
            && at < now_us.saturating_sub(window_us)
        {
            self.forget(at, old);
        }
        if self.known.contains(&nonce) {
            return Err(SignatureError::Repeated);
        }
        if signed_us.abs_diff(now_us) > window_us || Some(signed_us) <= self.forgotten_us {
            return Err(SignatureError::Time);
        }
        self.known.insert(nonce);
        self.by_time.insert((signed_us, nonce));
        if self.by_time.len() > NONCES_MAX
            && let Some(&(at, old)) = self.by_time.first()
        {
            self.forget(at, old);
            self.forgotten_us = Some(at);
        }
        Ok(())
    }

    fn forget(&mut self, at: u64, nonce: Nonce) {
        self.by_time.remove(&(at, nonce));
        self.known.remove(&nonce);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"a key of thirty-two bytes or more";
    const NOW: u64 = 1_764_437_149_123;
    const MESSAGE: &str = r#"{"c":"U","t":"order","p":{"sig":"inner stays","price":99.90,"qty":3},"id":"0199","v":1}"#;
    /// Made by Python as wse-server 1.4.4 does, for [`MESSAGE`] at [`NOW`] with the nonce deadbeef.
    const SIGNATURE: &str = "95bd3e252c61e15c4794e98eda6e355e7284e3e8a235ff3a397a23f3ba9e79d5:1764437149.123:00000000deadbeef:f66ec34cd1d8a2c699652d5c570b923320ebe1e83169bcbd6fd6f324678d9bdc";

    fn check(signer: &Signer, message: &str, sig: &str, expected: Result<(), SignatureError>) {
        assert_eq!(signer.verify(message, sig, NOW), expected, "{sig}");
    }

    #[test]
    fn signatures_are_those_of_the_router() {
        let signer = Signer::new(KEY);
        let signature = signer.sign(MESSAGE, NOW, 0xdead_beef);
        assert_eq!(signature.as_deref(), Some(SIGNATURE));
        assert_eq!(signer.sign("[]", NOW, 1), None);
        check(&signer, MESSAGE, SIGNATURE, Ok(()));
        // With the signature in it, in another order and with other white space it is the same message.
        let same = format!(
            r#"{{ "sig":"{SIGNATURE}", "v":1,"id":"0199","p":{{"price":99.9,"qty":3,"sig":"inner stays"}},"t":"order","c":"U"}}"#
        );
        check(&Signer::new(KEY), &same, SIGNATURE, Ok(()));
        assert!(!format!("{signer:?}").contains("key"));
    }

    #[test]
    fn what_was_not_signed_like_this_is_refused() {
        let signer = Signer::new(KEY);
        let with = |from: &str, to: &str| SIGNATURE.replace(from, to);
        use SignatureError::{Altered, Key, Malformed};
        check(
            &signer,
            &MESSAGE.replace("99.9", "9.9"),
            SIGNATURE,
            Err(Altered),
        );
        check(&signer, "[]", SIGNATURE, Err(Altered));
        check(&Signer::new(b"another"), MESSAGE, SIGNATURE, Err(Key));
        for sig in [
            with("f66e", "F66E"),
            with("f66e", "f66"),
            with("95bd", "95bc"),
            with("9.123", "9.124"),
            with("beef", "beee"),
            format!("{SIGNATURE}0"),
        ] {
            check(&signer, MESSAGE, &sig, Err(Key));
        }
        for sig in [
            "",
            ":::",
            "a:b",
            &with(":00000000deadbeef", ""),
            &with(":00000000deadbeef", ":"),
            &with("deadbeef", &"x".repeat(65)),
            &with("1764437149.123", "now"),
            &with("1764437149.123", "-1"),
            &with("1764437149.123", "1e9"),
            &with("1764437149.123", "1.2.3"),
            &with("1764437149.123", ""),
            &format!("x:{SIGNATURE}"),
        ] {
            check(&signer, MESSAGE, sig, Err(Malformed));
        }
        // None of these has used the nonce up.
        check(&signer, MESSAGE, SIGNATURE, Ok(()));
    }

    #[test]
    fn a_message_is_accepted_once_and_within_its_time() {
        let signer = Signer::new(KEY);
        let window = WINDOW_SECONDS * 1000;
        let verify = |signed_ms: u64, nonce: u64, now_ms: u64| {
            let sig = signer.sign(MESSAGE, signed_ms, nonce).unwrap();
            signer.verify(MESSAGE, &sig, now_ms)
        };
        assert_eq!(verify(NOW, 1, NOW), Ok(()));
        assert_eq!(verify(NOW, 1, NOW + 1), Err(SignatureError::Repeated));
        // A nonce is used once, whatever it is used for.
        assert_eq!(verify(NOW + 5, 1, NOW + 5), Err(SignatureError::Repeated));
        assert_eq!(verify(NOW, 2, NOW + window), Ok(()));
        assert_eq!(verify(NOW, 3, NOW + window + 1), Err(SignatureError::Time));
        assert_eq!(verify(NOW + window + 1, 4, NOW), Err(SignatureError::Time));
        assert_eq!(verify(NOW + window, 4, NOW), Ok(()));
        // When its time is over, its nonce is forgotten, and the message is refused all the same.
        assert_eq!(verify(NOW, 1, NOW + window + 1), Err(SignatureError::Time));
        assert_eq!(signer.nonces.lock().known.len(), 1);
    }

    #[test]
    fn no_repeat_is_accepted_when_nonces_are_forgotten() {
        let mut nonces = Nonces::default();
        let nonce = |n: usize| Nonce::of(&n.to_string());
        let now = NOW * 1000;
        for n in 0..2 * NONCES_MAX {
            assert_eq!(nonces.accept(now + n as u64, nonce(n), now), Ok(()));
        }
        assert_eq!(
            (nonces.known.len(), nonces.by_time.len()),
            (NONCES_MAX, NONCES_MAX)
        );
        for n in 0..2 * NONCES_MAX {
            let again = nonces.accept(now + n as u64, nonce(n), now);
            let expected = match n < NONCES_MAX {
                true => SignatureError::Time,
                false => SignatureError::Repeated,
            };
            assert_eq!(again, Err(expected), "{n}");
        }
        // One that is older than all that are known, too.
        let oldest = nonce(2 * NONCES_MAX);
        assert_eq!(nonces.accept(now, oldest, now), Err(SignatureError::Time));
        // What comes later is accepted.
        let newest = 2 * NONCES_MAX as u64;
        assert_eq!(nonces.accept(now + newest, oldest, now), Ok(()));
    }
}
