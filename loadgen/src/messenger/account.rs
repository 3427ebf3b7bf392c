//! An account: its key, and the bodies of its requests.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

/// An account with a key of its own.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    key: Ed25519KeyPair,
}

impl Account {
    /// With a new key.
    pub(crate) fn new(id: String) -> Result<Self, String> {
        let key = Ed25519KeyPair::generate().map_err(|_| "no key could be made".to_owned())?;
        Ok(Self { id, key })
    }

    /// The body of `POST /auth/register`.
    pub(crate) fn registration(&self) -> Vec<u8> {
        let key = STANDARD.encode(self.key.public_key());
        let body = json!({"user_id": self.id, "username": self.id, "public_key": key});
        body.to_string().into_bytes()
    }

    /// The body of `POST /auth/login`.
    pub(crate) fn challenge_request(&self) -> Vec<u8> {
        json!({"user_id": self.id}).to_string().into_bytes()
    }

    /// The body of `POST /auth/login?verify=true`.
    pub(crate) fn answer(&self, challenge: &[u8]) -> Vec<u8> {
        let signature = STANDARD.encode(self.sign(challenge));
        let body = json!({"user_id": self.id, "signature": signature});
        body.to_string().into_bytes()
    }

    /// Its signature of `text`.
    pub(crate) fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.key.sign(text).as_ref().to_vec()
    }

    /// Whether `signature` is its own of `text`, as a server would find out.
    pub(crate) fn is_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.key.public_key());
        key.verify(text, signature).is_ok()
    }
}

/// The challenge in an answer.
pub(crate) fn challenge_of(body: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        challenge: &'a str,
    }
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    let challenge = STANDARD.decode(answer.challenge).ok()?;
    (challenge.len() == 32).then_some(challenge)
}

/// The token in an answer.
pub(crate) fn token_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        token: String,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    Some(answer.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_signs_the_bytes_of_its_challenge() {
        let account = Account::new("a".into()).unwrap();
        let challenge =
            challenge_of(br#"{"challenge":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#);
        assert_eq!(challenge, Some(vec![0; 32]));
        let answer: serde_json::Value = serde_json::from_slice(&account.answer(&[0; 32])).unwrap();
        let signature = STANDARD.decode(answer["signature"].as_str().unwrap());
        assert!(account.is_signed(&[0; 32], &signature.unwrap()));
        assert!(!account.is_signed(&[1; 32], &account.sign(&[0; 32])));
    }

    #[test]
    fn other_answers_have_no_challenge_and_no_token() {
        assert_eq!(challenge_of(br#"{"challenge":"AAAA"}"#), None);
        assert_eq!(challenge_of(b"Invalid JSON\n"), None);
        assert_eq!(token_of(b"{}"), None);
        assert_eq!(
            token_of(br#"{"token":"t","expires_at":"x"}"#),
            Some("t".into())
        );
    }
}
