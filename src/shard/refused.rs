//! Logging of refused tokens.

use std::time::Instant;

use crate::auth::{Authenticator, TokenError};

/// Logs why a token was refused, never its content (docs/hostile-inputs.md, A13). At most one line per minute and
/// reason; the others are counted, and the control thread logs the count.
pub fn log_refused_token(authenticator: &Authenticator, reason: TokenError) {
    match authenticator.refusals.note(reason, Instant::now()) {
        Some(0) => tracing::info!(%reason, "a token is refused"),
        Some(left_out) => tracing::info!(%reason, left_out, "a token is refused"),
        None => tracing::debug!(%reason, "a token is refused"),
    }
}
