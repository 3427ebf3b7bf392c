//! Signatures of messages.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use crate::encoding::{decode, go_json_string, json_string};
use crate::identity::Identity;

/// Signs the content of a message as it is sent, of an encrypted one the ciphertext: Ed25519 over the
/// content as a JSON string, quotes included.
pub(crate) fn sign_content(identity: &Identity, content: &str) -> String {
    identity.sign(go_json_string(content).as_bytes())
}

/// Whether `signature`, as base64, is the owner's of an Ed25519 key over `content`: as a JSON
/// string of either way of writing it, or as it is.
pub(crate) fn is_signed(public_key: &[u8], content: &str, signature: &str) -> bool {
    let Some(signature) = decode(signature) else {
        return false;
    };
    let key = UnparsedPublicKey::new(&ED25519, public_key);
    let is_over = |message: &str| key.verify(message.as_bytes(), &signature).is_ok();
    is_over(&go_json_string(content)) || is_over(&json_string(content)) || is_over(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::decode;
    use crate::vectors::{ALICE, SIGNED, SIGNED_TEXT};

    #[test]
    fn signatures_of_another_implementation_are_verified() {
        let alice = decode(ALICE.public_key).unwrap();
        for signature in SIGNED {
            assert!(is_signed(&alice, SIGNED_TEXT, signature), "{signature}");
            assert!(!is_signed(&alice, "other", signature));
            assert!(!is_signed(&[1; 32], SIGNED_TEXT, signature));
            assert!(!is_signed(&alice[1..], SIGNED_TEXT, signature));
        }
        assert!(!is_signed(&alice, SIGNED_TEXT, ""));
        assert!(!is_signed(&alice, SIGNED_TEXT, "not base64"));
    }

    #[test]
    fn a_content_is_signed_as_other_clients_sign_it() {
        let alice = Identity::parse(ALICE.private_key).unwrap();
        assert_eq!(sign_content(&alice, SIGNED_TEXT), SIGNED[0]);
    }
}
