//! Who a verified credential speaks for.

use super::key::KeySerial;
use super::rights::Rights;

/// Who a verified token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user: 1 to 128 bytes without control characters.
    pub user: String,
    /// A name to show, under the same limits.
    pub name: Option<String>,
    /// What the user may do, in the application's words, under the same limits.
    pub role: Option<String>,
    /// From this second of Unix time on the identity is void; the configured leeway not included.
    pub expires_at: u64,
    /// The key that the token was checked with.
    pub key: KeySerial,
    /// What the token says about what the user may do, if it says anything.
    pub rights: Option<Box<Rights>>,
}

impl Identity {
    /// The frames per minute that the token allows, if it says so; 0: no limit.
    #[must_use]
    pub fn frames_per_minute(&self) -> Option<u32> {
        self.rights.as_ref()?.frames_per_minute
    }

    /// Whether the token is a service's: its role is `service`.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.role.as_deref() == Some(SERVICE_ROLE)
    }
}

/// The role of services' tokens.
pub(super) const SERVICE_ROLE: &str = "service";
