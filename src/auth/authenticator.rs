//! The verifiers of all kinds of credentials, shared by the threads of a process.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::{ApiKeys, Failures, Identity, KeyError, Revocations, TokenError, TokenVerifier};
use crate::config::{Config, KeySetAddress};
use crate::metrics::KeySetCounters;

/// The verifiers of all kinds of credentials.
#[derive(Debug)]
pub struct Authenticator {
    /// Of tokens.
    pub tokens: TokenVerifier,
    /// Of services' API keys.
    pub api_keys: ApiKeys,
    /// Counts wrong credentials by address.
    pub failures: Failures,
    /// Tokens that are revoked, and users that are blocked.
    pub revocations: Revocations,
    /// Counts fetches of the key set, if one is fetched.
    pub key_set: Option<KeySetCounters>,
}

impl Authenticator {
    /// The verifiers that `config` describes. `read` fetches key files.
    ///
    /// # Errors
    /// A key cannot be used.
    pub fn new(
        config: &Config,
        read: impl Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, KeyError> {
        let auth = &config.auth;
        Ok(Self {
            tokens: TokenVerifier::new(auth, read)?,
            api_keys: ApiKeys::new(auth),
            failures: Failures::new(auth.max_failures_per_minute),
            revocations: Revocations::new(auth.max_revocations),
            key_set: matches!(auth.jwks_url, Some(KeySetAddress::Url(_)))
                .then(|| KeySetCounters::new(Instant::now())),
        })
    }

    /// The identity that `token` proves at `now`, in seconds of Unix time.
    ///
    /// Cost: as [`TokenVerifier::verify`] and [`Revocations::check`].
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        let identity = self.tokens.verify(token, now)?;
        self.revocations.check(&identity, now)?;
        Ok(identity)
    }
}
