//! A set of public keys as an issuer publishes it (JWKS, RFC 7517 section 5).
//!
//! The configured algorithm says which keys of the set are used; nothing in the set changes that.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicKeyComponents;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key::TokenKey;
use super::name::is_name;
use crate::config::TokenAlgorithm;

/// The keys of a set that fit one algorithm. There is at least one.
#[derive(Debug)]
pub struct KeySet {
    /// Ordered by their ids, which differ. One without an id is the only key.
    pub(super) keys: Vec<TokenKey>,
    /// A sentence for each key of the set that is not used, with the reason.
    pub unused: Vec<String>,
}

/// Why a document is no set that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is another document, as the page of a login.
    #[error(
        "it is no JSON object with a list of objects called `keys` (line {line}, column {column})"
    )]
    Malformed {
        /// Where that shows.
        line: usize,
        /// Likewise.
        column: usize,
    },
    /// More keys than [`KeySet::LEN_MAX`].
    #[error("it has {0} keys; accepted: at most {max}", max = KeySet::LEN_MAX)]
    TooMany(usize),
    /// No key can be used: with such a set no token would be valid.
    #[error("it has no key of {algorithm} that can be used{}", reasons(unused))]
    NoKey {
        /// The configured algorithm.
        algorithm: &'static str,
        /// As [`KeySet::unused`].
        unused: Vec<String>,
    },
}

/// The document. Other members than `keys` are ignored (RFC 7517 section 5).
#[derive(Deserialize)]
struct Document {
    keys: Vec<Map<String, Value>>,
}

/// One key of a document (RFC 7517 section 4).
struct Jwk<'a>(&'a Map<String, Value>);

impl KeySet {
    /// Keys of one document.
    pub const LEN_MAX: usize = 100;

    /// The keys of the document `bytes` that verify tokens of `algorithm`. Of two keys with one id the first counts. A
    /// key without an id is used only if it is the only one.
    ///
    /// Cost: some microseconds for each key. The caller limits the document's length.
    ///
    /// # Errors
    /// The document is no set, or none of its keys can be used.
    pub fn parse(algorithm: TokenAlgorithm, bytes: &[u8]) -> Result<Self, KeySetError> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| KeySetError::Malformed {
                line: error.line(),
                column: error.column(),
            })?;
        let given = document.keys.len();
        if given > Self::LEN_MAX {
            return Err(KeySetError::TooMany(given));
        }
        let mut set = Self {
            keys: Vec::with_capacity(given),
            unused: Vec::new(),
        };
        for (number, key) in (1_usize..).zip(&document.keys) {
            let jwk = Jwk(key);
            match jwk.key(algorithm) {
                Ok(key) if set.has(key.id.as_deref()) => {
                    set.leave_out(&jwk, number, "an earlier key has its `kid`");
                }
                Ok(key) => set.keys.push(key),
                Err(reason) => set.leave_out(&jwk, number, &reason),
            }
        }
        if set.keys.len() > 1 {
            let nameless = set.keys.extract_if(.., |key| key.id.is_none());
            let why = "a key without a `kid` is not used, since it is not the only one";
            set.unused.extend(nameless.map(|_| why.to_owned()));
        }
        if set.keys.is_empty() {
            return Err(KeySetError::NoKey {
                algorithm: algorithm.name(),
                unused: set.unused,
            });
        }
        // Issuers may list the same keys in any order.
        set.keys.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(set)
    }

    /// How many keys are used.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The ids of the keys that are used.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.id.as_deref())
    }

    /// Whether a key with this id is there. Keys without one may be different keys.
    fn has(&self, id: Option<&str>) -> bool {
        id.is_some() && self.keys.iter().any(|key| key.id.as_deref() == id)
    }

    fn leave_out(&mut self, jwk: &Jwk<'_>, number: usize, reason: &str) {
        let id = jwk.0.get("kid").and_then(Value::as_str);
        let name = match id.filter(|id| is_name(id)) {
            Some(id) => format!("{id:?}"),
            None => format!("number {number}"),
        };
        self.unused
            .push(format!("the key {name} is not used: {reason}"));
    }
}

impl Jwk<'_> {
    /// The key, if it is one of `algorithm`. The error says why it is not used.
    fn key(&self, algorithm: TokenAlgorithm) -> Result<TokenKey, String> {
        let id = self.text("kid")?;
        if id.is_some_and(|id| !is_name(id)) {
            return Err("its `kid` is empty, too long, or has control characters".to_owned());
        }
        let (kty, crv) = match algorithm {
            TokenAlgorithm::Hs256 => {
                return Err("HS256 has no public keys".to_owned());
            }
            TokenAlgorithm::Rs256 => ("RSA", None),
            TokenAlgorithm::Es256 => ("EC", Some("P-256")),
            TokenAlgorithm::EdDsa => ("OKP", Some("Ed25519")),
        };
        if self.text("kty")? == Some("oct") {
            return Err("it is a secret, which no public set may have".to_owned());
        }
        self.expect("kty", Some(kty), true)?;
        self.expect("crv", crv, crv.is_some())?;
        self.expect("use", Some("sig"), false)?;
        self.expect("alg", Some(algorithm.name()), false)?;
        let operations = self.0.get("key_ops").map(|it| it.as_array());
        let verifies = |list: &Vec<Value>| list.iter().any(|it| it == "verify");
        if operations.is_some_and(|list| !list.is_some_and(verifies)) {
            return Err("its `key_ops` do not name \"verify\"".to_owned());
        }
        // Who publishes it has lost it.
        if self.0.contains_key("d") {
            return Err("its private half (`d`) is published with it".to_owned());
        }
        let der = match algorithm {
            TokenAlgorithm::Hs256 => unreachable!("refused above"),
            TokenAlgorithm::Rs256 => {
                let components = PublicKeyComponents {
                    n: self.number("n")?,
                    e: self.number("e")?,
                };
                let der: PublicKeyX509Der<'_> = components
                    .as_der()
                    .map_err(|_| "its numbers are no RSA key".to_owned())?;
                der.as_ref().to_vec()
            }
            TokenAlgorithm::Es256 => {
                [P256_PREFIX, &self.coordinate("x")?, &self.coordinate("y")?].concat()
            }
            TokenAlgorithm::EdDsa => [ED25519_PREFIX, &self.coordinate("x")?].concat(),
        };
        TokenKey::of_der(algorithm, &der, id).map_err(|what| format!("it is {what}"))
    }

    /// A member that is a text, if it is there.
    fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("its `{name}` is no text")),
        }
    }

    /// Checks that a member is `expected`. It may be absent unless it is `required`.
    fn expect(&self, name: &str, expected: Option<&str>, required: bool) -> Result<(), String> {
        let Some(expected) = expected else {
            return Ok(());
        };
        match self.text(name)? {
            None if !required => Ok(()),
            Some(given) if given == expected => Ok(()),
            given => {
                let given: String = given.unwrap_or_default().chars().take(SHOWN_MAX).collect();
                Err(format!("its `{name}` is {given:?}, not {expected:?}"))
            }
        }
    }

    /// The bytes of a member in base64url (RFC 7515 section 2).
    fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let text = self.text(name)?.unwrap_or_default();
        if text.len() > NUMBER_LEN_MAX {
            return Err(format!("its `{name}` is too long"));
        }
        let bytes = URL_SAFE_NO_PAD.decode(text);
        bytes.map_err(|_| format!("its `{name}` is not base64url"))
    }

    /// A number of RSA (RFC 7518 section 6.3.1). Some libraries write a zero before it, which the same section tells
    /// of.
    fn number(&self, name: &str) -> Result<Vec<u8>, String> {
        let bytes = self.bytes(name)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok(bytes[zeros..].to_vec())
    }

    /// A coordinate of P-256, or a key of Ed25519: always whole (RFC 7518 section 6.2.1.2, RFC 8037 section 2).
    fn coordinate(&self, name: &str) -> Result<[u8; COORDINATE_LEN], String> {
        let bytes = self.bytes(name)?;
        let len = bytes.len();
        let whole = |_| format!("its `{name}` has {len} bytes, not {COORDINATE_LEN}");
        <[u8; COORDINATE_LEN]>::try_from(bytes).map_err(whole)
    }
}

fn reasons(unused: &[String]) -> String {
    let shown = unused.iter().take(REASONS_MAX);
    let mut text: String = shown.map(|reason| format!("; {reason}")).collect();
    if unused.len() > REASONS_MAX {
        text.push_str("; ..");
    }
    text
}

/// Reasons that an error repeats.
const REASONS_MAX: usize = 5;

/// Characters of a member that an error repeats.
const SHOWN_MAX: usize = 20;

/// Characters of a number: an RSA modulus of 8192 bits has 1366.
const NUMBER_LEN_MAX: usize = 2048;

const COORDINATE_LEN: usize = 32;

/// A SubjectPublicKeyInfo of P-256 up to the coordinates of an uncompressed point (RFC 5480 section 2).
const P256_PREFIX: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\
\x01\x07\x03\x42\x00\x04";

/// A SubjectPublicKeyInfo of Ed25519 up to the key (RFC 8410 section 4).
const ED25519_PREFIX: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

#[cfg(test)]
mod tests;
