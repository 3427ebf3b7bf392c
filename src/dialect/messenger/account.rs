//! What an account may be: its id, its name and its keys.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use curve25519_dalek::edwards::CompressedEdwardsY;
use serde::Deserialize;

use crate::auth::is_name;
use crate::store::NewUser;

/// Words that the gateway itself sends as, or that denote more than one user: no account has them.
pub(super) const RESERVED: [&str; 4] = ["server", "system", "broadcast", "sse"];

/// Bytes of a name that others see.
const USERNAME_BYTES_MAX: usize = 256;

/// A registration as it is sent. A field that is missing is empty.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub struct Registration {
    pub(super) user_id: Option<String>,
    username: Option<String>,
    public_key: Option<String>,
    x25519_public_key: Option<String>,
}

/// What is wrong with a registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistrationError {
    /// There is no id.
    #[error("User ID is required")]
    NoId,
    /// No account has such an id.
    #[error("Invalid user ID: it has 1 to 128 bytes and no control characters")]
    Id,
    /// The id is a word of the gateway's own.
    #[error("Reserved user ID")]
    Reserved,
    #[error("Invalid user ID: it begins or ends with a space, or has characters that nobody sees")]
    Invisible,
    /// The name is too long, or has control characters.
    #[error(
        "Invalid username: it has at most {USERNAME_BYTES_MAX} bytes and no control characters"
    )]
    Username,
    /// The key is none that only its owner signs for.
    #[error("Invalid public key")]
    PublicKey,
    /// The key for encryption has another length.
    #[error("Invalid x25519 public key")]
    EncryptionKey,
}

impl Registration {
    /// The account that it asks for.
    ///
    /// # Errors
    /// There can be no such account.
    pub fn check(&self) -> Result<NewUser, RegistrationError> {
        let given = |field: &Option<String>| field.clone().unwrap_or_default();
        let (id, username) = (given(&self.user_id), given(&self.username));
        if id.is_empty() {
            return Err(RegistrationError::NoId);
        }
        if !is_name(&id) {
            return Err(RegistrationError::Id);
        }
        if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(&id)) {
            return Err(RegistrationError::Reserved);
        }
        if id.trim() != id || id.contains(is_invisible) {
            return Err(RegistrationError::Invisible);
        }
        if username.len() > USERNAME_BYTES_MAX || username.contains(char::is_control) {
            return Err(RegistrationError::Username);
        }
        let public_key = key_of(&given(&self.public_key)).filter(is_point);
        let encryption = given(&self.x25519_public_key);
        if !encryption.is_empty() && key_of(&encryption).is_none() {
            return Err(RegistrationError::EncryptionKey);
        }
        Ok(NewUser {
            id: id.into(),
            username: username.into(),
            public_key: public_key.ok_or(RegistrationError::PublicKey)?,
            x25519_public_key: encryption.into(),
        })
    }
}

/// Whether a character shows nothing, or turns the direction of others: an id with it looks like another one.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether `signature` is that of the key's owner for `message` (RFC 8032).
///
/// Cost: about 60 us.
pub(super) fn is_signed(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&ED25519, public_key);
    key.verify(message, signature).is_ok()
}

/// The 32 bytes of a key in base64 (RFC 4648 section 4, with padding).
fn key_of(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Whether a key is a point of the curve, in its one encoding, and one of those whose signatures only their owner can
/// make: for a point of small order anybody can.
fn is_point(key: &[u8; 32]) -> bool {
    let point = CompressedEdwardsY(*key).decompress();
    point.is_some_and(|point| !point.is_small_order() && point.compress().as_bytes() == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That of RFC 8032, section 7.1, test 1.
    const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn registration(id: &str, username: &str, key: &str, encryption: &str) -> Registration {
        let given = |text: &str| Some(text.to_owned());
        Registration {
            user_id: given(id),
            username: given(username),
            public_key: given(key),
            x25519_public_key: given(encryption),
        }
    }

    #[track_caller]
    fn check(registration: &Registration, error: RegistrationError) {
        assert_eq!(registration.check().unwrap_err(), error);
    }

    #[test]
    fn what_is_registered_is_what_was_sent() {
        let user = registration("ålice/ü", "", KEY, KEY).check().unwrap();
        assert_eq!((&*user.id, &*user.username), ("ålice/ü", ""));
        assert_eq!(STANDARD.encode(user.public_key), KEY);
        assert_eq!(&*user.x25519_public_key, KEY);
        let user = registration(&"x".repeat(128), &"é".repeat(128), KEY, "");
        assert_eq!(user.check().unwrap().x25519_public_key.len(), 0);
    }

    #[test]
    fn ids_and_names_have_limits() {
        check(&Registration::default(), RegistrationError::NoId);
        check(&registration("", "", KEY, ""), RegistrationError::NoId);
        for id in ["a\nb", "\0", "\u{85}", &"x".repeat(129)] {
            check(&registration(id, "", KEY, ""), RegistrationError::Id);
        }
        for id in RESERVED {
            check(&registration(id, "", KEY, ""), RegistrationError::Reserved);
        }
        for id in ["System", "SERVER"] {
            check(&registration(id, "", KEY, ""), RegistrationError::Reserved);
        }
        for id in [
            "alice ",
            " alice",
            "al\u{200b}ice",
            "\u{202e}alice",
            "a\u{ad}b",
        ] {
            check(&registration(id, "", KEY, ""), RegistrationError::Invisible);
        }
        for name in ["a\u{1b}[2J", &"x".repeat(257)] {
            check(
                &registration("a", name, KEY, ""),
                RegistrationError::Username,
            );
        }
    }

    #[test]
    fn a24_a_key_is_a_point_that_only_its_owner_signs_for() {
        let bytes = |first: u8, last: u8| {
            let mut key = [0; 32];
            (key[0], key[31]) = (first, last);
            STANDARD.encode(key)
        };
        for key in [
            "",
            "AAAA",
            &KEY[..43],
            &KEY.replace('/', "_"),
            &format!("{KEY}AAAA"),
            // No point has this y.
            &bytes(2, 0),
            // The orders 1, 2 and 4.
            &bytes(1, 0),
            &STANDARD.encode([&[0xec][..], &[0xff; 30], &[0x7f]].concat()),
            &bytes(0, 0),
            // A y beyond the field.
            &STANDARD.encode([&[0xf1][..], &[0xff; 30], &[0x7f]].concat()),
        ] {
            check(
                &registration("a", "", key, ""),
                RegistrationError::PublicKey,
            );
        }
        for key in ["AAAA", "x", &KEY[..43]] {
            check(
                &registration("a", "", KEY, key),
                RegistrationError::EncryptionKey,
            );
        }
    }
}
