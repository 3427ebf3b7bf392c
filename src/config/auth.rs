//! `[auth]`: the credentials that clients and services are checked against.

use std::path::PathBuf;
use std::time::Duration;

use super::kind::{ListOf, Maybe, Parsed, Time};
use super::secret::{KeyHash, KeyHashText, Secret, SecretText};
use super::section::section;

section! {
    /// The credentials that clients and services are checked against.
    pub struct Auth(mode) {
        /// The secret that signs tokens (JWT, HS256), at least 32 bytes. Better kept in
        /// jwt_secret_file, or in the environment as JWT_SECRET.
        jwt_secret: Option<Secret> = None, Maybe(SecretText);
        /// A file that holds the secret; one newline at its end is not part of it.
        jwt_secret_file: Option<PathBuf> = None, Maybe(FILE);
        /// Keys that services may use instead of a token, each as its hash "sha256:<64 hexadecimal
        /// digits>".
        api_keys: Vec<KeyHash> = Vec::new(), ListOf { item: KeyHashText, len: 0..=1000 };
        /// How far clocks may differ when a token's times are checked.
        leeway: Duration = Duration::from_secs(30), Time(Duration::ZERO..=Duration::from_mins(10));
    }
}

/// The path of a file.
const FILE: Parsed<PathBuf> = Parsed {
    read: |text| (!text.is_empty()).then(|| PathBuf::from(text)),
    show: |path| path.display().to_string(),
    accepts: "the path of a file",
};
