//! All that a credential is checked against, shared by the threads of a process.

use std::io;
use std::path::Path;

use super::{ApiKeys, Failures, KeyError, Refusals, TokenVerifier};
use crate::config::Config;

/// All that a credential is checked against.
#[derive(Debug)]
pub struct Authenticator {
    /// For tokens.
    pub tokens: TokenVerifier,
    /// For keys of services.
    pub api_keys: ApiKeys,
    /// For the bridge protocol's own key.
    pub bridge_key: ApiKeys,
    /// Who has failed too often.
    pub failures: Failures,
    /// Why tokens were refused.
    pub refusals: Refusals,
}

impl Authenticator {
    /// What `config` describes. `read` fetches key files.
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
            bridge_key: ApiKeys::only(config.bridge.api_key.as_ref()),
            failures: Failures::new(auth.max_failures_per_minute),
            refusals: Refusals::default(),
        })
    }
}
