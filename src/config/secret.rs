//! Secrets that cannot be printed by accident.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use super::kind::Kind;
use super::raw::RawValue;

/// Bytes that only some may know: an HS256 secret of at least [`Secret::LEN_MIN`] bytes, or a key that
/// services send. Never shown: `Debug` writes `Secret(..)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    bytes: Box<[u8]>,
    is_padded: bool,
}

impl Secret {
    /// The least length of a secret that signs, in bytes: that of a SHA-256 output (RFC 7518 section 3.2).
    pub const LEN_MIN: usize = 32;

    /// Takes `bytes` if there are enough of them.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Option<Self> {
        let bytes = bytes.into();
        let is_padded = false;
        (bytes.len() >= Self::LEN_MIN).then_some(Self { bytes, is_padded })
    }

    /// Takes a key that services send in a header (RFC 9110 section 5.5): 16 to 1024 visible ASCII characters.
    pub fn api_key(text: &str) -> Option<Self> {
        let fits = API_KEY_LEN.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self {
            bytes: text.as_bytes().into(),
            is_padded: false,
        })
    }

    /// Takes what `read` finds at `path`, without white space at its end and without a byte order mark, which
    /// editors add to text; of a file that is no text only one newline is taken off. Otherwise says what is wrong
    /// with the file.
    pub fn from_file(
        path: &Path,
        read: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, String> {
        let bytes = read(path).map_err(|error| error.to_string())?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let secret = match str::from_utf8(line) {
            Ok(text) => text.trim_start_matches('\u{feff}').trim_end().as_bytes(),
            Err(_) => line,
        };
        let short = || {
            format!(
                "it holds {} bytes and a secret has at least {} (`openssl rand -hex 32`)",
                secret.len(),
                Self::LEN_MIN
            )
        };
        let mut taken = Self::new(secret).ok_or_else(short)?;
        taken.is_padded = secret.len() < line.len();
        Ok(taken)
    }

    /// Whether it was given with white space around it or a byte order mark, which are not part of it.
    /// The signer may include them in its key.
    pub fn is_padded(&self) -> bool {
        self.is_padded
    }

    /// The secret itself, for the code that signs and verifies.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
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

/// A value that is never shown, nor repeated when it is refused.
#[derive(Debug)]
pub struct Hidden<T> {
    read: fn(RawValue<'_>) -> Option<T>,
    accepts: &'static str,
}

impl<T> Kind<T> for Hidden<T> {
    fn read(&self, raw: RawValue<'_>) -> Option<T> {
        (self.read)(raw)
    }

    fn show(&self, _: &T) -> Option<String> {
        Some(HIDDEN.to_owned())
    }

    fn accepts(&self) -> String {
        self.accepts.to_owned()
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// The kind of a secret's key.
pub const SECRET: Hidden<Secret> = Hidden {
    read: |raw| {
        let text = raw.text()?;
        let mut secret = Secret::new(text.as_bytes())?;
        secret.is_padded = matches!(raw, RawValue::Word(whole) if whole.len() > text.len());
        Some(secret)
    },
    accepts: "a text of at least 32 bytes, as printed by `openssl rand -hex 32`",
};

/// The kind of a key that services send.
pub const API_KEY: Hidden<Secret> = Hidden {
    read: |raw| Secret::api_key(raw.text()?),
    accepts: "16 to 1024 visible ASCII characters, as printed by `openssl rand -hex 32`",
};

/// The kind of an API key's hash. The key may have been given in place of it.
pub(super) const KEY_HASH: Hidden<KeyHash> = Hidden {
    read: |raw| KeyHash::parse(raw.text()?),
    accepts: "the hash of a key as \"sha256:\" and 64 hexadecimal digits, printed by `printf %s KEY | sha256sum`",
};

/// The text shown in place of a secret.
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
    fn l10_white_space_behind_a_secret_and_a_byte_order_mark_are_no_part_of_it() {
        let text = "0123456789abcdef0123456789abcdef";
        let check = |content: &[u8], expected: &[u8], is_padded: bool| {
            let secret = Secret::from_file(Path::new("x"), |_| Ok(content.to_vec())).unwrap();
            assert_eq!(secret.expose(), expected, "{content:?}");
            assert_eq!(secret.is_padded(), is_padded, "{content:?}");
        };
        for usual in ["", "\n", "\r\n"] {
            check(format!("{text}{usual}").as_bytes(), text.as_bytes(), false);
        }
        for padded in [" ", "\n\n", "\t\n", "\r\n\r\n", " \n"] {
            check(format!("{text}{padded}").as_bytes(), text.as_bytes(), true);
        }
        let marked = format!("\u{feff}{text}\n");
        check(marked.as_bytes(), text.as_bytes(), true);
        // Not so bytes that are no text: any of them may be a space.
        let mut binary = [0xff; 33];
        binary[32] = b' ';
        check(&binary, &binary, false);
        // What is left has to be long enough.
        let short = Secret::from_file(Path::new("x"), |_| Ok(vec![b' '; 40]));
        assert!(short.unwrap_err().contains("it holds 0 bytes"));
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
