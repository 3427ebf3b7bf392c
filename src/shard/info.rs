//! What is known of a connection for operators.

use std::borrow::Cow;

use crate::auth::Identity;
use crate::http::Source;

/// What is known of a connection, for listings, the log, and those who ask why it ended.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Where the client connected from.
    pub source: Source,
    /// The protocol, and the endpoint within it.
    pub endpoint: &'static (&'static str, &'static str),
    /// It is in the listings of `/api/v1/ws`.
    pub is_listed: bool,
    /// Applications were told that it has begun.
    pub(super) is_announced: bool,
    /// The client id of its URL, if it gave one.
    pub client_id: Option<Box<str>>,
    /// Its user, if it has one.
    pub user: Option<Box<ConnectionUser>>,
    /// When it was opened, in milliseconds since the epoch; set when it begins.
    pub(super) connected_ms: u64,
    /// Why it ends, beyond the reason, once that is known.
    pub(super) detail: Option<Box<str>>,
    /// Bytes that its client had not been sent when it was found to be too slow.
    pub(super) unsent_bytes: u64,
}

/// The user of a connection.
#[derive(Debug)]
pub struct ConnectionUser {
    /// Its id.
    pub id: Box<str>,
    /// A token proves it; if not, it is who the client says it is.
    pub is_verified: bool,
    /// Its display name.
    pub name: Box<str>,
    /// Its role, if it has one.
    pub role: Option<Box<str>>,
    /// The token's `jti`, if it has one.
    pub token_id: Option<Box<str>>,
    /// The token's `iat` in seconds of Unix time; 0 if it has none.
    pub issued_at: u64,
}

impl ConnectionUser {
    /// The user that a token proves.
    #[must_use]
    pub fn of(identity: &Identity) -> Box<Self> {
        Box::new(Self {
            id: identity.user.as_str().into(),
            is_verified: true,
            name: identity
                .name
                .as_ref()
                .unwrap_or(&identity.user)
                .as_str()
                .into(),
            role: identity.role.as_deref().map(Into::into),
            token_id: identity.token_id.as_deref().map(Into::into),
            issued_at: identity.issued_at.unwrap_or(0),
        })
    }

    /// A user without a token.
    #[must_use]
    pub fn named(id: &str) -> Box<Self> {
        Box::new(Self {
            id: id.into(),
            is_verified: false,
            name: id.into(),
            role: None,
            token_id: None,
            issued_at: 0,
        })
    }
}

impl ConnectionInfo {
    /// A connection of `protocol` at one of its endpoints.
    #[must_use]
    pub fn new(
        source: Source,
        endpoint: &'static (&'static str, &'static str),
        identity: Option<&Identity>,
    ) -> Box<Self> {
        Box::new(Self {
            source,
            endpoint,
            is_listed: false,
            is_announced: false,
            client_id: None,
            user: identity.map(ConnectionUser::of),
            connected_ms: 0,
            detail: None,
            unsent_bytes: 0,
        })
    }

    /// The same, with why it is about to be closed.
    #[must_use]
    pub fn with_detail(mut self: Box<Self>, detail: Option<Cow<'static, str>>) -> Box<Self> {
        self.detail = detail.map(|detail| detail.into_owned().into());
        self
    }
}
