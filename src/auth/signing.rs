//! Keys that sign tokens.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{error::Unspecified, hmac};

use super::pem;
use crate::config::{Secret, TokenAlgorithm};

/// A key that signs tokens, and its id.
#[derive(Debug)]
pub struct SigningKey {
    key: KeyMaterial,
    /// The `kid` in its tokens.
    pub id: Option<String>,
}

#[derive(Debug)]
enum KeyMaterial {
    Hmac(Box<hmac::Key>),
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// An HS256 secret.
    #[must_use]
    pub fn of_secret(secret: &Secret, id: Option<String>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        let key = KeyMaterial::Hmac(Box::new(key));
        Self { key, id }
    }

    /// The private key in the PEM text `bytes` (PKCS#8, RSA also PKCS#1).
    ///
    /// # Errors
    /// Why the key cannot be used.
    pub fn of_pem(
        algorithm: TokenAlgorithm,
        bytes: &[u8],
        id: Option<String>,
    ) -> Result<Self, String> {
        let pem = pem::read(bytes).map_err(|error| error.to_string())?;
        let unfit = |_| format!("it holds no private key of {}", algorithm.name());
        let key = match (algorithm, pem.label.as_str()) {
            (TokenAlgorithm::Hs256, _) => {
                return Err("HS256 is signed with a secret, not with a private key".to_owned());
            }
            (TokenAlgorithm::Rs256, "RSA PRIVATE KEY") => {
                KeyMaterial::Rsa(RsaKeyPair::from_der(&pem.der).map_err(unfit)?)
            }
            (_, label) if label != "PRIVATE KEY" => {
                return Err(format!(
                    "it holds a `{label}`, and a `PRIVATE KEY` is needed (`openssl pkcs8 -topk8 -nocrypt`)"
                ));
            }
            (TokenAlgorithm::Rs256, _) => {
                KeyMaterial::Rsa(RsaKeyPair::from_pkcs8(&pem.der).map_err(unfit)?)
            }
            (TokenAlgorithm::Es256, _) => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pem.der);
                KeyMaterial::Ecdsa(pair.map_err(unfit)?)
            }
            (TokenAlgorithm::EdDsa, _) => {
                KeyMaterial::Ed25519(Ed25519KeyPair::from_pkcs8(&pem.der).map_err(unfit)?)
            }
        };
        Ok(Self { key, id })
    }

    /// The `alg` in its tokens.
    #[must_use]
    pub fn algorithm(&self) -> TokenAlgorithm {
        match self.key {
            KeyMaterial::Hmac(_) => TokenAlgorithm::Hs256,
            KeyMaterial::Rsa(_) => TokenAlgorithm::Rs256,
            KeyMaterial::Ecdsa(_) => TokenAlgorithm::Es256,
            KeyMaterial::Ed25519(_) => TokenAlgorithm::EdDsa,
        }
    }

    /// The signature of `message`.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        Ok(match &self.key {
            KeyMaterial::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            KeyMaterial::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                signature
            }
            KeyMaterial::Ecdsa(pair) => pair.sign(&random, message)?.as_ref().to_vec(),
            KeyMaterial::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        })
    }
}
