//! Authentication and authorization: tokens of users, API keys of services, and the permissions that follow.
//!
//! Pure: a credential and the time go in, an identity or the reason for a refusal comes out. The configuration decides
//! what is accepted, never the credential.

mod api_keys;
mod authenticator;
mod claims;
mod failures;
mod identity;
mod issue;
mod key;
mod key_set;
mod keyring;
mod name;
mod pem;
mod permissions;
mod revocations;
mod rights;
mod signing;
mod texts;
mod token;
mod token_error;
mod topic_acl;

pub use api_keys::ApiKeys;
pub use authenticator::Authenticator;
pub use failures::Failures;
pub use identity::Identity;
pub use issue::{Grant, Terms, issue};
pub use key::KeySerial;
pub use key_set::{KeySet, KeySetError};
pub use keyring::{KeyError, Keyring};
pub use name::is_name;
pub use permissions::Permissions;
pub use revocations::{Revocation, Revocations, RevocationsFull};
pub use rights::{Globs, Names, Rights};
pub use signing::SigningKey;
pub use token::{TokenVerifier, claims_of};
pub use token_error::{Claim, TokenError};
pub use topic_acl::{TopicAcl, TopicGlobs};
