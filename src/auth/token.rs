//! JSON Web Tokens (RFC 7519) signed with HS256.
//!
//! The algorithm belongs to the key, so a token's header cannot choose it
//! (RFC 8725 section 3.1), and it cannot bring keys or addresses of its own.
//! Claims are read by their exact types: one of a wrong type is refused, not
//! taken for absent.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;

use super::identity::{self, Identity};
use crate::config::Auth;

/// Checks tokens against the configured secret.
#[derive(Clone)]
pub struct TokenVerifier {
    key: DecodingKey,
    validation: Validation,
    leeway_secs: u64,
}

/// Why a token is refused. Says nothing of its content, so that it may be logged and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`TokenVerifier::TOKEN_LEN_MAX`]; not looked at.
    #[error("token is too long")]
    TooLong,
    /// Not three parts of base64url with a header.
    #[error("token is malformed")]
    Malformed,
    /// Another algorithm than HS256, or a header that asks for what is not supported.
    #[error("token uses an algorithm or header that is not accepted")]
    Algorithm,
    /// Signed by somebody else, or changed.
    #[error("token signature does not match")]
    Signature,
    /// A claim is missing, repeated, of a wrong type, or contradicts another.
    #[error("token claims are not accepted")]
    Claims,
    /// `exp` has passed.
    #[error("token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("token is not valid yet")]
    NotYetValid,
}

impl TokenVerifier {
    /// Bytes of a token. Beyond it a token is refused before any of it is parsed.
    pub const TOKEN_LEN_MAX: usize = 8 * 1024;

    /// A verifier with the secret of `auth`; `None` when it has none, and then no token is valid.
    pub fn new(auth: &Auth) -> Option<Self> {
        let secret = auth.jwt_secret.as_ref()?;
        let mut validation = Validation::new(Algorithm::HS256);
        // The claims are checked here, by exact type and against the caller's clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Some(Self {
            key: DecodingKey::from_secret(secret.expose()),
            validation,
            leeway_secs: auth.leeway.as_secs(),
        })
    }

    /// The identity that `token` proves at `now`, in seconds of Unix time.
    ///
    /// Valid before `exp` and from `nbf` on, each widened by the leeway. `sub` or `user_id` names the
    /// user; both may only say the same.
    ///
    /// Cost: two JSON documents of at most 6 KiB and one HMAC; some microseconds.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        if token.len() > Self::TOKEN_LEN_MAX {
            return Err(TokenError::TooLong);
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation);
        let token = decoded.map_err(|error| refusal(token, error.kind()))?;
        if brings_its_own(&token.header) {
            return Err(TokenError::Algorithm);
        }
        let claims = token.claims;
        // RFC 7519 section 4.1.4: not on or after; section 4.1.5: not before.
        if now >= claims.exp.saturating_add(self.leeway_secs) {
            return Err(TokenError::Expired);
        }
        if claims
            .nbf
            .is_some_and(|nbf| now.saturating_add(self.leeway_secs) < nbf)
        {
            return Err(TokenError::NotYetValid);
        }
        claims.identity().ok_or(TokenError::Claims)
    }
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("leeway_secs", &self.leeway_secs)
            .finish_non_exhaustive()
    }
}

/// The claims that count; others are passed over. A repeated one is an error of the derived reader.
#[derive(Debug, Deserialize)]
struct Claims {
    exp: u64,
    #[serde(default, deserialize_with = "seconds")]
    nbf: Option<u64>,
    #[serde(default, deserialize_with = "seconds", rename = "iat")]
    _iat: Option<u64>,
    #[serde(default, deserialize_with = "identity::name")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "identity::name")]
    user_id: Option<String>,
    #[serde(default, deserialize_with = "identity::name")]
    name: Option<String>,
    #[serde(default, deserialize_with = "identity::name")]
    username: Option<String>,
    #[serde(default, deserialize_with = "identity::name")]
    role: Option<String>,
    #[serde(default)]
    fanfare: Own,
}

/// The claims that are this gateway's own.
#[derive(Debug, Default, Deserialize)]
struct Own {
    frames_per_minute: Option<u32>,
}

impl Claims {
    /// `None` without a user, or with two.
    fn identity(self) -> Option<Identity> {
        let user = match (self.sub, self.user_id) {
            (Some(sub), Some(user_id)) if sub != user_id => return None,
            (sub, user_id) => sub.or(user_id)?,
        };
        Some(Identity {
            user,
            name: self.name.or(self.username),
            role: self.role,
            frames_per_minute: self.fanfare.frames_per_minute,
            expires_at: self.exp,
        })
    }
}

/// A claim that may be left out, but may not be `null` or of another type.
fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

/// Whether a header names keys, encryption, compression or extensions, none of which is
/// supported: RFC 7515 section 4.1.11 forbids to pass over `crit`, and the others are
/// ways to make a verifier fetch or trust what the token brings.
fn brings_its_own(header: &Header) -> bool {
    header.jwk.is_some()
        || header.jku.is_some()
        || header.x5u.is_some()
        || header.x5c.is_some()
        || header.crit.is_some()
        || header.enc.is_some()
        || header.zip.is_some()
}

/// The refusal for an error of the parser. A header with an unknown algorithm is one
/// that cannot be read, before the signature is looked at.
fn refusal(token: &str, error: &ErrorKind) -> TokenError {
    match error {
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::Json(_) if jsonwebtoken::decode_header(token).is_err() => TokenError::Algorithm,
        ErrorKind::Json(_) => TokenError::Claims,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests;
