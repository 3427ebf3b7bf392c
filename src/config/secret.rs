//! Secrets that cannot be printed by accident.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use super::kind::Kind;
use super::raw::Raw;

/// Bytes that only some may know: an HS256 secret of at least [`Secret::LEN_MIN`] bytes, or a key that
/// services send. Never shown: `Debug` writes `Secret(..)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// The least length of a secret that signs, in bytes: that of a SHA-256 output (RFC 7518 section 3.2).
    pub const LEN_MIN: usize = 32;

    /// Takes `bytes` if there are enough of them.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() >= Self::LEN_MIN).then_some(Self(bytes))
    }

    /// Takes a key that services send in a header (RFC 9110 section 5.5): 16 to 1024 visible ASCII characters.
    pub fn api_key(text: &str) -> Option<Self> {
        let fits = API_KEY_LEN.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.as_bytes().into()))
    }

    /// Takes what `read` finds at `path`; one newline at its end is not part of the secret. Otherwise says
    /// what is wrong with the file.
    pub fn from_file(
        path: &Path,
        read: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, String> {
        let mut bytes = read(path).map_err(|error| error.to_string())?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        let len = bytes.len();
        Self::new(bytes).ok_or_else(|| {
            format!(
                "it holds {len} bytes and a secret has at least {} (`openssl rand -hex 32`)",
                Self::LEN_MIN
            )
        })
    }

    /// The secret itself, for the code that signs and verifies.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The SHA-256 of an API key. Not the key, yet `Debug` writes only its first bytes, enough to tell two apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Reads `sha256:` followed by 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?.as_bytes();
        let mut hash = [0; 32];
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != hash.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            let (high, low) = (
                char::from(*high).to_digit(16)?,
                char::from(*low).to_digit(16)?,
            );
            *byte = u8::try_from(high * 16 + low).expect("two hexadecimal digits are one byte");
        }
        Some(Self(hash))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:02x}{:02x}..", self.0[0], self.0[1])
    }
}

/// The kind of a secret's key.
pub(super) struct SecretText;

impl Kind<Secret> for SecretText {
    fn read(&self, raw: Raw<'_>) -> Option<Secret> {
        Secret::new(raw.text()?.as_bytes())
    }

    fn show(&self, _: &Secret) -> Option<String> {
        Some(HIDDEN.to_owned())
    }

    fn accepts(&self) -> String {
        format!(
            "a text of at least {} bytes, as printed by `openssl rand -hex 32`",
            Secret::LEN_MIN
        )
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// The kind of a key that services send.
pub(super) struct ApiKeyText;

impl Kind<Secret> for ApiKeyText {
    fn read(&self, raw: Raw<'_>) -> Option<Secret> {
        Secret::api_key(raw.text()?)
    }

    fn show(&self, _: &Secret) -> Option<String> {
        Some(HIDDEN.to_owned())
    }

    fn accepts(&self) -> String {
        format!(
            "{} to {} visible ASCII characters, as printed by `openssl rand -hex 32`",
            API_KEY_LEN.start(),
            API_KEY_LEN.end()
        )
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// The kind of an API key's hash.
pub(super) struct KeyHashText;

impl Kind<KeyHash> for KeyHashText {
    fn read(&self, raw: Raw<'_>) -> Option<KeyHash> {
        KeyHash::parse(raw.text()?)
    }

    fn show(&self, _: &KeyHash) -> Option<String> {
        Some(HIDDEN.to_owned())
    }

    fn accepts(&self) -> String {
        "the hash of a key as \"sha256:\" and 64 hexadecimal digits, printed by `printf %s KEY | sha256sum`".to_owned()
    }

    // Somebody who mistakes the hash for the key must not find the key in a log.
    fn is_secret(&self) -> bool {
        true
    }
}

/// What stands for a secret wherever the configuration is shown.
const HIDDEN: &str = "\"(hidden)\"";

/// Bytes of a key that services send.
const API_KEY_LEN: RangeInclusive<usize> = 16..=1024;

/// The only hash that is accepted, named so that another one can follow.
const PREFIX: &str = "sha256:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_below_32_bytes_is_refused() {
        assert!(Secret::new([1; 31]).is_none());
        assert!(Secret::new([1; 32]).is_some());
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = Secret::new(*b"correct horse battery staple, and").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(format!("{:?}", KeyHash([0xab; 32])), "sha256:abab..");
    }

    #[test]
    fn a_key_hash_is_64_hexadecimal_digits() {
        let check = |text: &str, expected: Option<[u8; 32]>| {
            assert_eq!(KeyHash::parse(text).map(|hash| hash.0), expected, "{text}");
        };
        check(&format!("sha256:{}", "0f".repeat(32)), Some([0x0f; 32]));
        check(&format!("sha256:{}", "0F".repeat(32)), Some([0x0f; 32]));
        check(&"0f".repeat(32), None);
        check(&format!("sha256:{}", "0f".repeat(31)), None);
        check(&format!("sha256:{}f", "0f".repeat(31)), None);
        check(&format!("sha256:{}", "0f".repeat(33)), None);
        check(&format!("sha256:{}+f", "0f".repeat(31)), None);
        check(&format!("sha256:{}é", "0f".repeat(31)), None);
    }
}
