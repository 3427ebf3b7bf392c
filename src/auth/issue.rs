//! Tokens of our own making, for operators and tests.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::identity::is_name;
use crate::config::Secret;

/// What a token grants.
#[derive(Debug, Clone, Serialize)]
pub struct Grant<'a> {
    /// The user.
    #[serde(rename = "sub")]
    pub user: &'a str,
    /// What the user may do, in the application's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    /// When it was made, in seconds of Unix time.
    #[serde(rename = "iat")]
    pub issued_at: u64,
    /// When it ends, likewise.
    #[serde(rename = "exp")]
    pub expires_at: u64,
}

/// Signs `grant` with HS256; `None` when the user or the role is one that a verifier refuses.
pub fn issue(grant: &Grant<'_>, secret: &Secret) -> Option<String> {
    if !is_name(grant.user) || !grant.role.is_none_or(is_name) {
        return None;
    }
    let key = EncodingKey::from_secret(secret.expose());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), grant, &key);
    Some(token.expect("texts and numbers are JSON, and the key is one of HS256"))
}

#[cfg(test)]
mod tests {
    use super::super::TokenVerifier;
    use super::*;
    use crate::config::{Auth, Config, Mode};

    #[test]
    fn what_is_issued_is_accepted() {
        let secret = Secret::new([7; 32]).unwrap();
        let auth = Auth {
            jwt_secret: Some(secret.clone()),
            ..Config::for_mode(Mode::Prod).auth
        };
        let grant = Grant {
            user: "alice",
            role: Some("admin"),
            issued_at: 1_000,
            expires_at: 2_000,
        };
        let token = issue(&grant, &secret).unwrap();
        let identity = TokenVerifier::new(&auth)
            .unwrap()
            .verify(&token, 1_500)
            .unwrap();
        assert_eq!(
            (
                identity.user.as_str(),
                identity.role.as_deref(),
                identity.expires_at
            ),
            ("alice", Some("admin"), 2_000)
        );
    }

    #[test]
    fn what_would_be_refused_is_not_issued() {
        let secret = Secret::new([7; 32]).unwrap();
        for user in ["", "a\nb", &"x".repeat(129)] {
            assert_eq!(
                issue(
                    &Grant {
                        user,
                        role: None,
                        issued_at: 0,
                        expires_at: 1
                    },
                    &secret
                ),
                None
            );
        }
        assert_eq!(
            issue(
                &Grant {
                    user: "a",
                    role: Some(""),
                    issued_at: 0,
                    expires_at: 1
                },
                &secret
            ),
            None
        );
    }
}
