//! A user's keys: one of Ed25519 that signs, and one of X25519, derived from it, that messages
//! are encrypted to.

use std::fmt;

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use crate::encoding::{decode_array, encode};

const SEED_BYTES: usize = 32;
const DERIVATION: &[u8] = b"X25519-from-Ed25519:";

/// The keys of a user. Its debug form shows none of them.
pub(crate) struct Identity {
    seed: [u8; SEED_BYTES],
    signing: Ed25519KeyPair,
    agreement: PrivateKey,
}

impl Identity {
    /// New keys.
    pub(crate) fn generate() -> Self {
        let mut seed = [0; SEED_BYTES];
        rand::fill(&mut seed).expect("the system has random bytes");
        Self::from_seed(seed)
    }

    fn from_seed(seed: [u8; SEED_BYTES]) -> Self {
        let signing = Ed25519KeyPair::from_seed_unchecked(&seed);
        let agreement = agreement_key(&seed);
        Self {
            seed,
            signing: signing.expect("32 bytes are a seed"),
            agreement,
        }
    }

    /// The keys that base64 of 64 bytes stands for: the seed, and the public key behind it. Says
    /// what is wrong with any other text, and never repeats it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bytes: [u8; 64] = decode_array(text.trim())
            .ok_or("it is not base64 of 64 bytes: a seed and its public key")?;
        let (seed, public) = bytes.split_at(SEED_BYTES);
        let identity = Self::from_seed(seed.try_into().expect("half of it"));
        if identity.public_key() != public {
            return Err("its second half is not the public key of the first".into());
        }
        Ok(identity)
    }

    /// What [`Self::parse`] takes.
    pub(crate) fn to_base64(&self) -> String {
        encode(&[&self.seed[..], self.public_key()].concat())
    }

    /// Ed25519, 32 bytes.
    pub(crate) fn public_key(&self) -> &[u8] {
        self.signing.public_key().as_ref()
    }

    /// X25519, 32 bytes.
    pub(crate) fn x25519_public_key(&self) -> Vec<u8> {
        let key = self.agreement.compute_public_key();
        key.expect("a private key has one").as_ref().to_vec()
    }

    /// The Ed25519 signature of `message`, as base64.
    pub(crate) fn sign(&self, message: &[u8]) -> String {
        encode(self.signing.sign(message).as_ref())
    }

    /// The X25519 secret that is shared with the owner of `peer`; none if that key is of low order.
    pub(crate) fn agree(&self, peer: &[u8]) -> Option<[u8; 32]> {
        agree(&self.agreement, peer)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// X25519 of `private` and `peer`.
pub(crate) fn agree(private: &PrivateKey, peer: &[u8]) -> Option<[u8; 32]> {
    let peer = UnparsedPublicKey::new(&X25519, peer);
    agreement::agree(private, peer, (), |shared| shared.try_into().map_err(drop)).ok()
}

fn agreement_key(seed: &[u8; SEED_BYTES]) -> PrivateKey {
    let hash = digest(&SHA256, &[DERIVATION, seed].concat());
    // X25519 clamps it as it is used (RFC 7748, section 5).
    PrivateKey::from_private_key(&X25519, hash.as_ref()).expect("32 bytes are a key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{ALICE, BOB};

    #[test]
    fn keys_are_those_of_another_implementation() {
        for vector in [ALICE, BOB] {
            let identity = Identity::parse(vector.private_key).unwrap();
            assert_eq!(encode(identity.public_key()), vector.public_key);
            assert_eq!(
                encode(&identity.x25519_public_key()),
                vector.x25519_public_key
            );
            assert_eq!(identity.to_base64(), vector.private_key);
            assert!(!format!("{identity:?}").contains(char::is_numeric));
        }
    }

    #[test]
    fn the_secret_is_the_same_from_both_sides() {
        let (alice, bob) = (Identity::generate(), Identity::generate());
        let shared = alice.agree(&bob.x25519_public_key());
        assert!(shared.is_some());
        assert_eq!(shared, bob.agree(&alice.x25519_public_key()));
        assert_eq!(alice.agree(&[0; 32]), None);
        assert_eq!(alice.agree(&[9; 31]), None);
    }

    #[test]
    fn other_texts_are_refused_without_being_repeated() {
        let halves = encode(&[7; 64]);
        for text in ["", "secret", &encode(&[1; 32]), &halves] {
            let problem = Identity::parse(text).unwrap_err();
            assert!(text.is_empty() || !problem.contains(text), "{problem}");
        }
    }
}
