//! Tokens that are refused, in the log.

use std::time::Instant;

use crate::auth::{Authenticator, TokenError};

/// Logs that a token was refused: why, and never what it says (hostile-inputs.md A13). There is a line a minute and
/// reason; the others are counted, and told by the control thread.
pub fn log_refused_token(authenticator: &Authenticator, reason: TokenError) {
    match authenticator.refusals.note(reason, Instant::now()) {
        Some(0) => tracing::info!(%reason, "a token is refused"),
        Some(left_out) => tracing::info!(%reason, left_out, "a token is refused"),
        None => tracing::debug!(%reason, "a token is refused"),
    }
}
