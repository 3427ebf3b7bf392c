//! End-to-end encryption: the exchange of keys, and messages as they are encrypted.
//!
//! Both sides make an ephemeral P-256 pair and derive one AES-256-GCM key, which both directions share. A message becomes
//! a binary one: `E:`, IV, ciphertext, tag. There is no additional data and no number in it, which published clients
//! would not read: a message that an attacker repeats is opened again. TLS protects from that.

mod sealer;

use std::cell::Cell;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub use sealer::{ChangePending, FrameSealer};

/// What an encrypted message begins with.
const PREFIX: &[u8] = b"E:";

const TAG_BYTES: usize = 16;

/// Bytes that encryption adds to a message: prefix, IV, tag.
pub const ENCRYPTION_BYTES: usize = PREFIX.len() + NONCE_LEN + TAG_BYTES;

/// Messages that one key encrypts here. The IVs are random and both sides draw them for the same key, which must not be
/// used for more than 2^32 messages (NIST SP 800-38D section 8.3): half of them are ours. After 2^31 messages the
/// connection ends, and its client makes a new key with the next one; at a million messages a second that is after half
/// an hour, at a thousand after 24 days.
const SEALED_MAX: u32 = 1 << 31;

/// An uncompressed point of P-256 (SEC 1 section 2.3.3).
const POINT_BYTES: usize = 65;

/// How a key is derived from what was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyForm {
    /// Clients of 2.x.
    Current,
    /// Clients of 1.x.
    Old,
}

/// Why no key could be agreed on, for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the public key has to be the base64 of an uncompressed P-256 point, 65 bytes of which the first is 4"
)]
pub struct KeyExchangeError;

/// Why a message could not be decrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// It is none.
    #[error("an encrypted message is `E:`, an IV of 12 bytes, ciphertext, and a tag of 16 bytes")]
    Malformed,
    /// It was encrypted with another key, or altered.
    #[error("the message was not encrypted with the key of this connection")]
    Key,
}

/// Why something could not be encrypted: but for the first one, a defect of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// The key has encrypted as many messages as it may.
    #[error("the key has encrypted {SEALED_MAX} messages")]
    KeyUsedUp,
    /// A compressed frame.
    #[error("a compressed frame for a peer whose messages are encrypted")]
    Compressed,
    /// What is written is no frame of a server.
    #[error("no frame of a server")]
    NoFrame,
}

/// Our part of an exchange of keys: an ephemeral pair.
#[derive(Debug)]
pub struct KeyExchange {
    private: PrivateKey,
}

impl KeyExchange {
    /// A new pair.
    #[must_use]
    pub fn new() -> Self {
        Self {
            private: PrivateKey::generate(&ECDH_P256).expect("the system gives random bytes"),
        }
    }

    /// The public key, as clients read it: base64 of the uncompressed point.
    #[must_use]
    pub fn public_key(&self) -> String {
        let public = self.private.compute_public_key();
        STANDARD.encode(public.expect("every private key has one"))
    }

    /// The key that a client with this public key derives from ours. The pair is used once.
    ///
    /// # Errors
    /// The text is no public key.
    pub fn agree(self, client: &str, form: KeyForm) -> Result<SessionKey, KeyExchangeError> {
        let mut point = [0; POINT_BYTES + 1];
        let decoded = STANDARD.decode_slice(client, &mut point);
        let point = match decoded {
            Ok(POINT_BYTES) if point[0] == 4 => &point[..POINT_BYTES],
            _ => return Err(KeyExchangeError),
        };
        let client = UnparsedPublicKey::new(&ECDH_P256, point);
        agree(&self.private, client, KeyExchangeError, |shared| {
            Ok(SessionKey::derive(shared, form))
        })
    }
}

impl Default for KeyExchange {
    fn default() -> Self {
        Self::new()
    }
}

/// The key of one connection, for both directions.
pub struct SessionKey {
    key: LessSafeKey,
    /// Messages that may still be encrypted.
    left: Cell<u32>,
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionKey").finish_non_exhaustive()
    }
}

impl SessionKey {
    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("it has the cipher's length");
        Self {
            key: LessSafeKey::new(key),
            left: Cell::new(SEALED_MAX),
        }
    }

    /// The key that follows from the x-coordinate that was agreed on (RFC 5869).
    fn derive(shared: &[u8], form: KeyForm) -> Self {
        let (salt, info): (_, &[u8]) = match form {
            KeyForm::Current => (Salt::none(HKDF_SHA256), b"wse-encryption/aes-gcm-key"),
            KeyForm::Old => (Salt::new(HKDF_SHA256, b"wse-encryption"), b"aes-gcm-key"),
        };
        let mut bytes = [0; 32];
        salt.extract(shared)
            .expand(&[info], HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut bytes))
            .expect("one block of the hash");
        Self::new(&bytes)
    }

    /// Appends `plain` to `out`, encrypted: [`ENCRYPTION_BYTES`] longer.
    ///
    /// Cost: one copy, one pass of AES-GCM, 12 random bytes.
    ///
    /// # Errors
    /// The key is used up.
    pub fn seal(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let left = self.left.get().checked_sub(1).ok_or(SealError::KeyUsedUp)?;
        self.left.set(left);
        let mut iv = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut iv).expect("the system gives random bytes");
        self.seal_with(iv, plain, out);
        Ok(())
    }

    fn seal_with(&self, iv: [u8; NONCE_LEN], plain: &[u8], out: &mut Vec<u8>) {
        out.reserve(ENCRYPTION_BYTES + plain.len());
        out.extend_from_slice(PREFIX);
        out.extend_from_slice(&iv);
        let begin = out.len();
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(iv);
        let sealed = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut out[begin..]);
        let tag = sealed.expect("a message is shorter than the cipher's limit");
        out.extend_from_slice(tag.as_ref());
    }

    /// Appends what `message`, `E:` and all, was encrypted from to `out`. After an error there is nothing more in it.
    ///
    /// # Errors
    /// It is not encrypted, or not with this key.
    pub fn open(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let sealed = message.strip_prefix(PREFIX);
        let Some((iv, sealed)) = sealed.and_then(|it| it.split_first_chunk::<NONCE_LEN>()) else {
            return Err(OpenError::Malformed);
        };
        let Some(plain_bytes) = sealed.len().checked_sub(TAG_BYTES) else {
            return Err(OpenError::Malformed);
        };
        let begin = out.len();
        out.extend_from_slice(sealed);
        let nonce = Nonce::assume_unique_for_key(*iv);
        let opened = self
            .key
            .open_in_place(nonce, Aad::empty(), &mut out[begin..]);
        let opened = opened.map(drop).map_err(|Unspecified| OpenError::Key);
        out.truncate(match opened {
            Ok(()) => begin + plain_bytes,
            Err(_) => begin,
        });
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with the code of the published Python clients, `SecurityManager`: a client whose private key is the bytes 1
    /// to 32, a server's of 65 to 96, and for [`TEXT`] an IV of a0 to ab.
    const CLIENT: &str =
        "BFFcPW6545a5BNP+yn9U/c0MwemXvzddylFa0KbDtANfRTa+OlDzGPv5pUdZAqIhUCvvDVfgjFOyzApW8X2fk1Q=";
    const SERVER: &str =
        "BCYe+9NVDPBo7wE+1zZroy9db+VXtLKrzoreWMuhaKVeF4igsppWpqvsQITAyWvT3LymtQfzXb6p6YVwhHnYvck=";
    const TEXT: &str = r#"{"c":"U","t":"said","p":{"text":"grüße 😀"},"v":1}"#;
    const IV: [u8; 12] = [
        0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab,
    ];
    /// Of wse-client 2.5.1.
    const CURRENT: &str = "453aa0a1a2a3a4a5a6a7a8a9aaabc12a47b842cbab5aa49c9457b815c33fdcf0f50cf36f081fdf5c36a5c927082bbfd955a055630f7f7c8b95e4c7e49c675b8169384af61d151a14cbcbd065a38c2992a1d30409";
    /// Of wse-client 1.4.3.
    const OLD: &str = "453aa0a1a2a3a4a5a6a7a8a9aaab6467561035c0f0c314096786e21eab76ad63e3e2672b2bca09e2e1cdd03eae898f3d61e58e614f3d68f39af4bc1483f1aa8710998ec0f827cf0c3c60886bbfa2c96789a1b992";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex
            .bytes()
            .map(|digit| (digit as char).to_digit(16).unwrap() as u8)
            .collect();
        digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect()
    }

    fn server() -> KeyExchange {
        let bytes: [u8; 32] = std::array::from_fn(|at| at as u8 + 65);
        let private = PrivateKey::from_private_key(&ECDH_P256, &bytes).unwrap();
        KeyExchange { private }
    }

    fn check_client(form: KeyForm, sealed: &str) {
        let key = server().agree(CLIENT, form).unwrap();
        let sealed = bytes(sealed);
        let mut out = b"before".to_vec();
        key.open(&sealed, &mut out).unwrap();
        assert_eq!(out, [b"before", TEXT.as_bytes()].concat());
        // What it makes of this text is what we make of it, so it opens ours.
        out.clear();
        key.seal_with(IV, TEXT.as_bytes(), &mut out);
        assert_eq!(out, sealed);
    }

    #[test]
    fn published_clients_and_the_gateway_derive_one_key_and_open_each_other() {
        assert_eq!(server().public_key(), SERVER);
        check_client(KeyForm::Current, CURRENT);
        check_client(KeyForm::Old, OLD);
    }

    #[test]
    fn two_sides_agree_on_a_key_that_is_new_each_time() {
        let mut sealed = Vec::new();
        for _ in 0..2 {
            let (ours, theirs) = (KeyExchange::new(), KeyExchange::default());
            let (our_public, their_public) = (ours.public_key(), theirs.public_key());
            assert_eq!(our_public.len(), 88);
            let ours = ours.agree(&their_public, KeyForm::Current).unwrap();
            let theirs = theirs.agree(&our_public, KeyForm::Current).unwrap();
            let mut opened = Vec::new();
            // Of the key of the last round.
            if !sealed.is_empty() {
                assert_eq!(theirs.open(&sealed, &mut opened), Err(OpenError::Key));
            }
            sealed.clear();
            ours.seal(b"text", &mut sealed).unwrap();
            theirs.open(&sealed, &mut opened).unwrap();
            assert_eq!(opened, b"text");
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let point = STANDARD.decode(CLIENT).unwrap();
        let changed = |at: usize, byte: u8| {
            let mut point = point.clone();
            point[at] = byte;
            STANDARD.encode(point)
        };
        let compressed = [&[2], &point[1..33]].concat();
        for key in [
            String::new(),
            "?".repeat(88),
            CLIENT[..87].to_owned(),
            CLIENT.replace('=', "A"),
            format!("{CLIENT}AAAA"),
            "A".repeat(1_000_000),
            STANDARD.encode([4; 65]),
            STANDARD.encode([0; 65]),
            STANDARD.encode(compressed),
            changed(0, 6),
            // Not on the curve.
            changed(64, 0x55),
        ] {
            let refused = server().agree(&key, KeyForm::Current);
            assert_eq!(refused.err(), Some(KeyExchangeError), "{key:.100}");
        }
    }

    #[test]
    fn altered_and_cut_messages_are_not_opened() {
        let key = SessionKey::new(&[7; 32]);
        let (mut sealed, mut out) = (Vec::new(), Vec::new());
        key.seal(b"abc", &mut sealed).unwrap();
        assert_eq!(sealed.len(), ENCRYPTION_BYTES + 3);
        key.open(&sealed, &mut out).unwrap();
        assert_eq!(out, b"abc");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let expected = match at {
                0 | 1 => OpenError::Malformed,
                _ => OpenError::Key,
            };
            assert_eq!(key.open(&changed, &mut out), Err(expected), "{at}");
            let expected = match at {
                ..ENCRYPTION_BYTES => OpenError::Malformed,
                _ => OpenError::Key,
            };
            assert_eq!(key.open(&sealed[..at], &mut out), Err(expected), "{at}");
            assert_eq!(out, b"abc");
        }
        // An empty message is one.
        sealed.clear();
        key.seal(b"", &mut sealed).unwrap();
        key.open(&sealed, &mut out).unwrap();
    }

    #[test]
    fn no_message_is_like_another_and_a_key_is_used_up_at_last() {
        let key = SessionKey::new(&[7; 32]);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        key.left.set(2);
        key.seal(b"abc", &mut one).unwrap();
        key.seal(b"abc", &mut other).unwrap();
        assert_ne!(one, other);
        assert_eq!(key.seal(b"abc", &mut one), Err(SealError::KeyUsedUp));
        assert_eq!(one.len(), other.len());
        assert!(!format!("{key:?}").contains('7'));
    }
}
