//! End-to-end encryption of a message: AES-256-GCM under a key of its own, which a NaCl box
//! carries to the recipient.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, X25519};
use aws_lc_rs::rand;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Key, XSalsa20Poly1305};
use salsa20::cipher::consts::U10;
use salsa20::hsalsa;

use crate::encoding::{decode, decode_array, encode};
use crate::identity::{Identity, agree};

const KEY_BYTES: usize = 32;
const BOX_NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Public key of the box's sender, nonce, and the box: tag and message key.
const ENCRYPTED_KEY_BYTES: usize = KEY_BYTES + BOX_NONCE_BYTES + TAG_BYTES + KEY_BYTES;

/// The three fields of a message that is encrypted; each is base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// `body.content`: the ciphertext, and its tag behind it.
    pub(crate) content: String,
    /// `header.encrypted_key`.
    pub(crate) encrypted_key: String,
    /// `header.encryption_nonce`: 12 bytes.
    pub(crate) nonce: String,
}

/// Encrypts `text` to the owner of an X25519 key; none if that is no key to encrypt to.
pub(crate) fn seal(text: &str, recipient: &[u8]) -> Option<Sealed> {
    let message_key: [u8; KEY_BYTES] = random();
    let nonce: [u8; NONCE_LEN] = random();
    let mut content = text.as_bytes().to_vec();
    let key = message_cipher(&message_key);
    let whole = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(whole, Aad::empty(), &mut content)
        .ok()?;

    let ephemeral = PrivateKey::generate(&X25519).ok()?;
    let public = ephemeral.compute_public_key().ok()?;
    let box_nonce: [u8; BOX_NONCE_BYTES] = random();
    let cipher = box_cipher(&agree(&ephemeral, recipient)?);
    let boxed = cipher.encrypt(&box_nonce.into(), &message_key[..]).ok()?;
    Some(Sealed {
        content: encode(&content),
        encrypted_key: encode(&[public.as_ref(), &box_nonce, &boxed].concat()),
        nonce: encode(&nonce),
    })
}

/// The text of a message that was encrypted to `identity`; none if it was not, or was changed.
pub(crate) fn open(sealed: &Sealed, identity: &Identity) -> Option<String> {
    let encrypted_key: [u8; ENCRYPTED_KEY_BYTES] = decode_array(&sealed.encrypted_key)?;
    let (public, rest) = encrypted_key.split_at(KEY_BYTES);
    let (box_nonce, boxed) = rest.split_at(BOX_NONCE_BYTES);
    let cipher = box_cipher(&identity.agree(public)?);
    let message_key = cipher.decrypt(box_nonce.into(), boxed).ok()?;

    let nonce = Nonce::assume_unique_for_key(decode_array(&sealed.nonce)?);
    let mut content = decode(&sealed.content)?;
    let key = message_cipher(&message_key.try_into().ok()?);
    let text = key.open_in_place(nonce, Aad::empty(), &mut content).ok()?;
    String::from_utf8(text.to_vec()).ok()
}

fn message_cipher(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key"))
}

/// The cipher of a NaCl box: XSalsa20-Poly1305, its key HSalsa20 of the shared secret.
fn box_cipher(shared: &[u8; 32]) -> XSalsa20Poly1305 {
    let key: Key = hsalsa::<U10>(shared.into(), &[0; 16].into());
    XSalsa20Poly1305::new(&key)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{ALICE, BOB, SEALED, SEALED_TEXT};

    fn vector() -> Sealed {
        Sealed {
            content: SEALED[0].into(),
            encrypted_key: SEALED[1].into(),
            nonce: SEALED[2].into(),
        }
    }

    #[test]
    fn what_another_implementation_has_encrypted_is_read() {
        let bob = Identity::parse(BOB.private_key).unwrap();
        assert_eq!(open(&vector(), &bob).as_deref(), Some(SEALED_TEXT));
        let alice = Identity::parse(ALICE.private_key).unwrap();
        assert_eq!(open(&vector(), &alice), None, "it is for bob");
    }

    #[test]
    fn what_is_encrypted_here_is_read_by_its_recipient_alone() {
        let (bob, eve) = (Identity::generate(), Identity::generate());
        for text in ["", "hi", "Grüße \u{1f600}", &"x".repeat(100_000)] {
            let sealed = seal(text, &bob.x25519_public_key()).unwrap();
            assert_eq!(open(&sealed, &bob).as_deref(), Some(text));
            assert_eq!(open(&sealed, &eve), None);
            assert_ne!(seal(text, &bob.x25519_public_key()).unwrap(), sealed);
        }
        assert_eq!(seal("hi", &[0; 32]), None, "a key of low order");
        assert_eq!(seal("hi", &[1; 31]), None);
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let bob = Identity::parse(BOB.private_key).unwrap();
        let flip = |field: &str, at: usize| {
            let mut bytes = decode(field).unwrap();
            bytes[at] ^= 1;
            encode(&bytes)
        };
        for at in 0..ENCRYPTED_KEY_BYTES {
            // The top bit of an X25519 key alone is not looked at (RFC 7748); this is the lowest.
            let encrypted_key = flip(SEALED[1], at);
            let changed = Sealed {
                encrypted_key,
                ..vector()
            };
            assert_eq!(open(&changed, &bob), None, "{at}");
        }
        for at in 0..decode(SEALED[0]).unwrap().len() {
            let content = flip(SEALED[0], at);
            assert_eq!(
                open(
                    &Sealed {
                        content,
                        ..vector()
                    },
                    &bob
                ),
                None,
                "{at}"
            );
        }
        for nonce in [flip(SEALED[2], 0), String::new(), "?".into()] {
            assert_eq!(open(&Sealed { nonce, ..vector() }, &bob), None);
        }
    }
}
