//! All that a credential is checked against, shared by the threads of a process.

use std::io;
use std::path::Path;

use super::{ApiKeys, Failures, KeyError, TokenVerifier};
use crate::config::Auth;

/// All that a credential is checked against.
#[derive(Debug)]
pub struct Authenticator {
    /// For tokens.
    pub tokens: TokenVerifier,
    /// For keys of services.
    pub api_keys: ApiKeys,
    /// Who has failed too often.
    pub failures: Failures,
}

impl Authenticator {
    /// What `auth` describes. `read` fetches key files.
    ///
    /// # Errors
    /// A key cannot be used.
    pub fn new(auth: &Auth, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Self, KeyError> {
        Ok(Self {
            tokens: TokenVerifier::new(auth, read)?,
            api_keys: ApiKeys::new(auth),
            failures: Failures::new(auth.max_failures_per_minute),
        })
    }
}
