//! Credentials: tokens of users and keys of services, checked in memory.
//!
//! Pure: a credential and the time go in, an identity or the reason for a
//! refusal comes out. What is accepted is fixed by the configuration, never by
//! the credential.

mod identity;
mod issue;
mod keys;
mod token;

pub use identity::Identity;
pub use issue::{Grant, issue};
pub use keys::ApiKeys;
pub use token::{TokenError, TokenVerifier};
