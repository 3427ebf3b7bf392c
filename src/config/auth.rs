//! `[auth]`: the credentials that clients and services are checked against.

use std::path::PathBuf;
use std::time::Duration;

use super::key_set::{KeySetAddress, KeySetKind};
use super::kind::{Choice, Count, FILE, FlagKind, ListOf, Maybe, OneOf, Parsed, SecretFile, Time};
use super::mode::Mode;
use super::secret::{KEY_HASH, KeyHash, SECRET, Secret};
use super::section::section;

section! {
    /// The credentials that clients and services are checked against.
    pub struct Auth("auth", mode) {
        /// How tokens (JWT) are signed: "HS256" with a secret; "RS256", "ES256" or "EdDSA" with a key
        /// whose public half is here. No other is accepted, whatever a token says of itself.
        algorithm: TokenAlgorithm = TokenAlgorithm::Hs256, OneOf;
        /// The secret of HS256, at least 32 bytes. Better kept in jwt_secret_file, or in the
        /// environment as JWT_SECRET.
        jwt_secret: Option<Secret> = None, Maybe(SECRET), AsKey "JWT_SECRET";
        /// A file that holds the secret; white space at its end and a byte order mark are not part of it.
        /// Key files are read again when they change.
        jwt_secret_file: Option<PathBuf> = None, Maybe(SecretFile);
        /// A file that holds the public key of the other algorithms (PEM; RSA: at least 2048 bits).
        jwt_public_key_file: Option<PathBuf> = None, Maybe(FILE);
        /// The `kid` of tokens signed with this key. Where key ids are set, tokens must name one of
        /// them; where none are, what tokens name is not looked at.
        jwt_key_id: Option<String> = None, Maybe(KEY_ID);
        /// A file with a second secret whose tokens are valid, too, while keys are changed. An empty
        /// file holds none.
        previous_secret_file: Option<PathBuf> = None, Maybe(SecretFile);
        /// A file with a second public key, likewise.
        previous_public_key_file: Option<PathBuf> = None, Maybe(FILE);
        /// The `kid` of the second key.
        previous_key_id: Option<String> = None, Maybe(KEY_ID);
        /// The issuer's set of public keys (JWKS), for the other algorithms: https://HOST/PATH, which is fetched
        /// and kept while it cannot be fetched; or file:/PATH, which is read again when it changes. Tokens name
        /// one of its keys by `kid`. It belongs to one issuer, which has to be set.
        jwks_url: Option<KeySetAddress> = None, Maybe(KeySetKind);
        /// How often the set is fetched without a cause. A token that names a key it lacks brings the next fetch
        /// forward, to 30 s after the last one at the earliest; SIGHUP fetches it at once.
        jwks_refresh: Duration = Duration::from_mins(5), Time(JWKS_REFRESH_MIN..=Duration::from_hours(24));
        /// The certificates that the set's server is trusted by (PEM), instead of those of this machine.
        jwks_ca_file: Option<PathBuf> = None, Maybe(FILE);
        /// What a token's `iss` must be.
        issuer: Option<String> = None, Maybe(NAME);
        /// What a token's `aud` must name one of; empty: `aud` is not looked at.
        audience: Vec<String> = Vec::new(), ListOf { item: NAME, len: 0..=100 };
        /// Keys that services may use instead of a token, each as its hash "sha256:<64 hexadecimal
        /// digits>".
        api_keys: Vec<KeyHash> = Vec::new(), ListOf { item: KEY_HASH, len: 0..=1000 };
        /// How far clocks may differ when a token's times are checked.
        leeway: Duration = Duration::from_secs(30), Time(Duration::ZERO..=Duration::from_mins(10));
        /// The cookie that may hold a token.
        cookie_name: String = "access_token".to_owned(), COOKIE_NAME;
        /// Whether a token may come in the query (?token=), which others may write into their logs;
        /// this gateway never does. If not, it is not looked at.
        token_in_query: bool = true, FlagKind;
        /// Credentials from one address that may turn out wrong in a minute; 0: no limit. Beyond it:
        /// status 429 with Retry-After for every credential, before it is checked.
        max_failures_per_minute: u32 = if mode == Mode::Prod { 60 } else { 0 }, Count(0..=1_000_000);
        /// Revoked tokens and blocked users that are kept, each until its time is over. Beyond it: status
        /// 503 for the request that revokes.
        max_revocations: usize = 100_000, Count(0..=10_000_000);
    }
}

/// How tokens are signed (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA (PKCS#1 v1.5) with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl TokenAlgorithm {
    /// The name as tokens write it.
    pub fn name(self) -> &'static str {
        Choice::name(self)
    }

    /// The algorithm of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::named(name)
    }
}

impl Choice for TokenAlgorithm {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("HS256", Self::Hs256),
        ("RS256", Self::Rs256),
        ("ES256", Self::Es256),
        ("EdDSA", Self::EdDsa),
    ];
}

/// A text that a token repeats.
const NAME: Parsed<String> = Parsed {
    read: |text| is_text(text, 1024).then(|| text.to_owned()),
    show: String::clone,
    accepts: "a text of 1 to 1024 bytes without control characters",
};

/// The id of a key.
const KEY_ID: Parsed<String> = Parsed {
    read: |text| is_text(text, KEY_ID_LEN_MAX).then(|| text.to_owned()),
    show: String::clone,
    accepts: "a text of 1 to 128 bytes without control characters",
};

/// The name of a cookie (RFC 6265 section 4.1.1).
const COOKIE_NAME: Parsed<String> = Parsed {
    read: |text| {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        (is_text(text, 128) && text.bytes().all(is_token)).then(|| text.to_owned())
    },
    show: String::clone,
    accepts: "a cookie name: letters, digits and !#$%&'*+-.^_`|~",
};

/// The least time between two fetches of a key set, unless it was asked for or none has succeeded yet.
pub const JWKS_REFRESH_MIN: Duration = Duration::from_secs(30);

/// Bytes of a key's id.
const KEY_ID_LEN_MAX: usize = 128;

fn is_text(text: &str, len_max: usize) -> bool {
    (1..=len_max).contains(&text.len()) && !text.chars().any(char::is_control)
}
