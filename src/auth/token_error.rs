//! Why a token is refused.

use std::fmt;

use crate::metrics::Refused;

/// Why a token is refused. Contains nothing from the token, so that it may be logged and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than `TokenVerifier::TOKEN_LEN_MAX`; not parsed.
    #[error("token is too long")]
    TooLong,
    /// Not three parts of base64url with a header.
    #[error("token is malformed")]
    Malformed,
    /// Not the configured algorithm, or a header with unsupported fields.
    #[error("token uses an algorithm or header that is not accepted")]
    Algorithm,
    /// Keys have ids, and the token's `kid` is none of them.
    #[error("token names no known key (`kid`)")]
    Key,
    /// The key set has not been fetched yet.
    #[error("token cannot be checked: the keys of auth.jwks_url are not there yet")]
    KeySet,
    /// Signed with another key, or altered.
    #[error("token signature matches no configured key")]
    Signature,
    /// What is signed is no JSON object.
    #[error("token payload is not a JSON object")]
    Payload,
    /// A claim is missing, repeated, or of a wrong type or form.
    #[error("token claim `{0}` is missing, repeated, or of a wrong type or form")]
    Claim(Claim),
    /// It names no user, or two.
    #[error("token claims `sub` and `user_id` are both missing, or differ")]
    User,
    /// `iss` is not the configured one.
    #[error("token claim `iss` is not auth.issuer")]
    Issuer,
    /// `aud` names none of the configured audiences.
    #[error("token claim `aud` names none of auth.audience")]
    Audience,
    /// `exp` has passed.
    #[error("token has expired (`exp`)")]
    Expired,
    /// `nbf` has not come.
    #[error("token is not valid yet (`nbf`)")]
    NotYetValid,
    /// A service has revoked it.
    #[error("token has been revoked")]
    Revoked,
    /// A service has blocked its user.
    #[error("user is blocked")]
    Blocked,
    /// It is not the only one: a request has others, which differ.
    #[error("request has several tokens that differ")]
    Several,
}

/// As it is counted.
impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::ExpiredToken,
            TokenError::Revoked => Self::RevokedToken,
            TokenError::Blocked => Self::Blocked,
            TokenError::KeySet => Self::KeySet,
            _ => Self::InvalidToken,
        }
    }
}

/// A claim that is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// When the token expires.
    Exp = 0,
    /// When it becomes valid.
    Nbf = 1,
    /// Its issuer.
    Iss = 2,
    /// Its recipients.
    Aud = 3,
    /// The user.
    Sub = 4,
    /// The user, as some issuers name the claim.
    UserId = 5,
    /// A display name.
    Name = 6,
    /// A display name, as some issuers name the claim.
    Username = 7,
    /// The user's role.
    Role = 8,
    /// The user's rights at this gateway.
    Fanfare = 9,
    /// When the token was issued.
    Iat = 10,
    /// The token's id.
    Jti = 11,
    /// The topics that the user may use, by globs of bytes.
    Topics = 12,
}

impl Claim {
    /// The names in tokens, in the order of the values.
    pub(super) const NAMES: [(&'static str, Self); 13] = [
        ("exp", Self::Exp),
        ("nbf", Self::Nbf),
        ("iss", Self::Iss),
        ("aud", Self::Aud),
        ("sub", Self::Sub),
        ("user_id", Self::UserId),
        ("name", Self::Name),
        ("username", Self::Username),
        ("role", Self::Role),
        ("fanfare", Self::Fanfare),
        ("iat", Self::Iat),
        ("jti", Self::Jti),
        ("wse_topics", Self::Topics),
    ];
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize].0)
    }
}
