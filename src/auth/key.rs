//! A key that verifies tokens. It has its algorithm, so that a token cannot choose one (RFC 8725 section 3.1,
//! hostile-inputs.md A01 and A02).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::pem;
use super::signing::SigningKey;
use crate::config::{Secret, TokenAlgorithm};

/// Identifies a key within a process. A key that is removed and added again gets a new serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct KeySerial(pub(super) u32);

/// A key that verifies tokens.
#[derive(Clone)]
pub(super) struct TokenKey {
    key: DecodingKey,
    algorithm: Algorithm,
    /// The `kid` in its tokens.
    pub(super) id: Option<Box<str>>,
    pub(super) serial: KeySerial,
    /// The SHA-256 of the key.
    fingerprint: [u8; 32],
    /// See [`Secret::is_padded`].
    pub(super) is_padded: bool,
    /// The same key for signing, if it is a secret.
    pub(super) signing: Option<Arc<SigningKey>>,
}

impl TokenKey {
    /// An HS256 secret. The error says why it cannot be used.
    pub(super) fn of_secret(secret: &Secret, id: Option<&str>) -> Result<Self, String> {
        // With a public key as the secret, anyone who has it could sign.
        if pem::is_pem(secret.expose()) {
            return Err(
                "it holds a PEM key, and HS256 takes a secret: set `auth.algorithm` and \
                        `auth.jwt_public_key_file` for a public key"
                    .to_owned(),
            );
        }
        let key = DecodingKey::from_secret(secret.expose());
        Ok(Self {
            is_padded: secret.is_padded(),
            signing: Some(Arc::new(SigningKey::of_secret(
                secret,
                id.map(str::to_owned),
            ))),
            ..Self::new(key, Algorithm::HS256, id, secret.expose())
        })
    }

    /// The public key in the PEM text `bytes`. The error says why it cannot be used.
    pub(super) fn of_pem(
        algorithm: TokenAlgorithm,
        bytes: &[u8],
        id: Option<&str>,
    ) -> Result<Self, String> {
        let pem = pem::read(bytes).map_err(|error| error.to_string())?;
        let der = &pem.der;
        let is_rsa = algorithm == TokenAlgorithm::Rs256;
        match pem.label.as_str() {
            "PUBLIC KEY" => {}
            "RSA PUBLIC KEY" if is_rsa => {}
            label if label.ends_with("PRIVATE KEY") => {
                return Err(
                    "it holds a private key, which only who signs tokens may have: take \
                            `openssl pkey -pubout`"
                        .to_owned(),
                );
            }
            label => {
                return Err(format!(
                    "it holds a `{label}`, and a `PUBLIC KEY` is needed"
                ));
            }
        }
        Self::of_der(algorithm, der, id).map_err(|reason| format!("it holds {reason}"))
    }

    /// The public key in `der` (SubjectPublicKeyInfo; RSA also PKCS#1). The error says what it is instead.
    pub(super) fn of_der(
        algorithm: TokenAlgorithm,
        der: &[u8],
        id: Option<&str>,
    ) -> Result<Self, String> {
        let unfit = |_| format!("no public key of {}", algorithm.name());
        let (key, algorithm) = match algorithm {
            TokenAlgorithm::Hs256 => return Err("a public key, and HS256 has none".to_owned()),
            TokenAlgorithm::Rs256 => {
                let bits = rsa::PublicKey::from_der(der).map_err(unfit)?.modulus_len() * 8;
                if bits < RSA_BITS_MIN {
                    return Err(format!(
                        "an RSA key of {bits} bits, and at least {RSA_BITS_MIN} are needed"
                    ));
                }
                ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).map_err(unfit)?;
                (DecodingKey::from_rsa_der(der), Algorithm::RS256)
            }
            TokenAlgorithm::Es256 => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).map_err(unfit)?;
                (DecodingKey::from_ec_der(der), Algorithm::ES256)
            }
            TokenAlgorithm::EdDsa => {
                ParsedPublicKey::new(&ED25519, der).map_err(unfit)?;
                (DecodingKey::from_ed_der(der), Algorithm::EdDSA)
            }
        };
        Ok(Self::new(key, algorithm, id, der))
    }

    fn new(key: DecodingKey, algorithm: Algorithm, id: Option<&str>, material: &[u8]) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, material).as_ref());
        Self {
            key,
            algorithm,
            id: id.map(Into::into),
            serial: KeySerial::default(),
            fingerprint,
            is_padded: false,
            signing: None,
        }
    }

    /// Whether the key is for `algorithm`.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithm == algorithm
    }

    /// Whether both are the same key with the same id.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.id == other.id
    }

    /// Whether `signature`, in base64url, is this key's signature of `message`; an error if it is not base64url.
    ///
    /// Cost: about 2 us for HS256, 20 us for RS256, 60 us for the others.
    pub(super) fn check(
        &self,
        message: &str,
        signature: &str,
    ) -> Result<bool, jsonwebtoken::errors::Error> {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, self.algorithm)
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey")
            .field("algorithm", &self.algorithm)
            .field("id", &self.id)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// The smallest RSA modulus in bits (RFC 7518 section 3.3).
const RSA_BITS_MIN: usize = 2048;
