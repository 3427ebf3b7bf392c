//! Who may do something where no token says more.

use super::kind::Choice;

/// Who may do something where no token says more; the stricter is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Whoever may connect.
    Everyone,
    /// Whoever has a valid token.
    Authenticated,
    /// Services: an API key, or a token whose role is `service`.
    Service,
    /// Nobody, whatever a token says.
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
