//! The identity that a verified token proves.

use super::key::KeySerial;
use super::rights::Rights;
use super::topic_acl::TopicAcl;

/// The identity that a verified token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user: 1 to 128 bytes without control characters.
    pub user: String,
    /// A display name, under the same limits.
    pub name: Option<String>,
    /// The role, in the application's terms, under the same limits.
    pub role: Option<String>,
    /// The Unix second at which the identity expires, without the configured leeway.
    pub expires_at: u64,
    /// The token's `jti`, if it has one.
    pub token_id: Option<String>,
    /// The token's `iat` in seconds of Unix time, if it has one.
    pub issued_at: Option<u64>,
    /// The key that verified the token.
    pub key: KeySerial,
    /// The rights that the token states, if any.
    pub rights: Option<Box<Rights>>,
    /// The topics that the token restricts its user to, if it does.
    pub topics: Option<Box<TopicAcl>>,
}

impl Identity {
    /// The limit of frames per minute that the token states, if any; 0 is unlimited.
    #[must_use]
    pub fn frames_per_minute(&self) -> Option<u32> {
        self.rights.as_ref()?.frames_per_minute
    }

    /// As [`Self::expires_at`], in milliseconds since the Unix epoch.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.expires_at.saturating_mul(1000)
    }

    /// Whether the permissions are those of `other`, of the same user.
    #[must_use]
    pub fn has_permissions_of(&self, other: &Self) -> bool {
        (&self.role, &self.rights, &self.topics) == (&other.role, &other.rights, &other.topics)
    }

    /// Whether the token is a service's, by its role.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.role.as_deref() == Some(SERVICE_ROLE)
    }
}

/// The role in services' tokens.
pub(super) const SERVICE_ROLE: &str = "service";
