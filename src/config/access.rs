//! Default permissions, for clients whose token has no rights of its own.

use super::kind::Choice;

/// A default permission, for clients whose token has no rights of its own. Stricter ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// All clients that may connect.
    Everyone,
    /// Clients with a valid token.
    Authenticated,
    /// Services: an API key, or a token whose role is `service`.
    Service,
    /// No client, whatever rights its token has.
    Nobody,
}

impl Choice for Access {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("everyone", Self::Everyone),
        ("authenticated", Self::Authenticated),
        ("service", Self::Service),
        ("nobody", Self::Nobody),
    ];
}
