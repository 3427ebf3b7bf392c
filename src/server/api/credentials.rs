//! Who may publish over HTTP.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use super::State;
use crate::http::{Answer, refuse};

/// The role of a token that may publish.
const SERVICE_ROLE: &str = "service";

impl State {
    /// Checks that a request comes from a service: an API key as a bearer token
    /// or in `X-API-Key`, or a token whose role is `service`.
    pub(super) fn check_service(&self, headers: &HeaderMap) -> Result<(), Box<Answer>> {
        if !self.config.events.auth_required {
            return Ok(());
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if header("x-api-key").is_some_and(|key| self.keys.check(key)) {
            return Ok(());
        }
        let bearer = header(AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(bearer) = bearer else {
            return Err(unauthenticated());
        };
        if self.keys.check(bearer) {
            return Ok(());
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        match self
            .verifier
            .as_ref()
            .map(|verifier| verifier.verify(bearer, now))
        {
            Some(Ok(identity)) if identity.role.as_deref() == Some(SERVICE_ROLE) => Ok(()),
            Some(Ok(_)) => Err(Box::new(refuse(
                403,
                "The token's role is not `service`",
                &[],
            ))),
            Some(Err(_)) | None => Err(unauthenticated()),
        }
    }
}

fn unauthenticated() -> Box<Answer> {
    Box::new(refuse(
        401,
        "Not authenticated",
        &[(WWW_AUTHENTICATE, "Bearer")],
    ))
}
