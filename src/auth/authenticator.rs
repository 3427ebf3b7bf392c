//! The verifiers of all kinds of credentials, shared by the threads of a process.

use std::io;
use std::path::Path;

use super::{ApiKeys, Failures, KeyError, Refusals, TokenVerifier};
use crate::config::Config;

/// The verifiers of all kinds of credentials.
#[derive(Debug)]
pub struct Authenticator {
    /// Of tokens.
    pub tokens: TokenVerifier,
    /// Of services' API keys.
    pub api_keys: ApiKeys,
    /// Counts wrong credentials by address.
    pub failures: Failures,
    /// Counts refused tokens by reason.
    pub refusals: Refusals,
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
            refusals: Refusals::default(),
        })
    }
}
