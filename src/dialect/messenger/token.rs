//! The tokens that logins give.

use serde::Serialize;

use crate::auth::Keyring;
use crate::config::Auth;
use crate::timestamp::timestamp_of;

/// How tokens are made.
#[derive(Debug)]
pub(super) struct TokenIssuer {
    lifetime_seconds: u64,
    /// `auth.issuer` and `auth.audience`, which verifiers ask for.
    issuer: Option<String>,
    audience: Vec<String>,
}

/// A token and its end.
#[derive(Debug)]
pub(super) struct IssuedToken {
    pub(super) token: String,
    /// In RFC 3339.
    pub(super) expires_at: String,
}

/// The claims of a token.
#[derive(Serialize)]
struct TokenClaims<'a> {
    user_id: &'a str,
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    aud: &'a [String],
}

impl TokenIssuer {
    /// An issuer of tokens that are valid so long.
    pub(super) fn new(auth: &Auth, lifetime_seconds: u64) -> Self {
        Self {
            lifetime_seconds,
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
        }
    }

    /// A token of `user` from `now` on, in seconds of Unix time; `None` where there is no key that signs.
    pub(super) fn issue(&self, keys: &Keyring, user: &str, now: u64) -> Option<IssuedToken> {
        let exp = now.saturating_add(self.lifetime_seconds);
        let claims = TokenClaims {
            user_id: user,
            sub: user,
            iat: now,
            exp,
            iss: self.issuer.as_deref(),
            aud: &self.audience,
        };
        let expires_at = timestamp_of(exp.saturating_mul(1000)).to_vec();
        Some(IssuedToken {
            token: keys.issue(&claims)?,
            expires_at: String::from_utf8(expires_at).expect("it is ASCII"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::TokenVerifier;
    use crate::config::{Config, Mode, Secret};

    #[track_caller]
    fn check(auth: &Auth) {
        let verifier = TokenVerifier::new(auth, |_| unreachable!("there is no file")).unwrap();
        verifier.keys.begin_issuing();
        let issuer = TokenIssuer::new(auth, 60);
        let issued = issuer
            .issue(&verifier.keys, "alice", 1_735_732_800)
            .unwrap();
        assert_eq!(issued.expires_at, "2025-01-01T12:01:00.000Z");
        let identity = verifier.verify(&issued.token, 1_735_732_859).unwrap();
        assert_eq!(identity.user, "alice");
        assert!(
            verifier
                .verify(&issued.token, 1_735_732_860 + verifier.leeway())
                .is_err()
        );
    }

    #[test]
    fn a_token_is_good_for_this_gateway_whatever_it_asks_for() {
        let plain = Config::for_mode(Mode::Demo).auth;
        check(&plain);
        check(&Auth {
            jwt_secret: Secret::new([7; 32]),
            jwt_key_id: Some("k1".to_owned()),
            issuer: Some("https://example.org".to_owned()),
            audience: vec!["a".to_owned(), "b".to_owned()],
            ..plain
        });
    }
}
