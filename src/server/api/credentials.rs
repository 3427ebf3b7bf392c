//! Who may publish over HTTP.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use super::State;
use crate::http::{Answer, refuse};
use crate::shard::Publisher;

/// The role of a token that may publish.
const SERVICE_ROLE: &str = "service";

impl State {
    /// Checks that a request comes from a service: an API key as a bearer token
    /// or in `X-API-Key`, or a token whose role is `service`. `None`: anybody,
    /// where no credential is asked for.
    pub(super) fn check_service(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Publisher>, Box<Answer>> {
        let publishers = &self.process.publishers;
        if !self.config.events.auth_required {
            return Ok(None);
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(key) = header("x-api-key").filter(|key| self.keys.check(key)) {
            return Ok(Some(publishers.key(key)));
        }
        let bearer = header(AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(bearer) = bearer else {
            return Err(unauthenticated());
        };
        if self.keys.check(bearer) {
            return Ok(Some(publishers.key(bearer)));
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        match self
            .verifier
            .as_ref()
            .map(|verifier| verifier.verify(bearer, now))
        {
            Some(Ok(identity)) if identity.role.as_deref() == Some(SERVICE_ROLE) => {
                Ok(Some(publishers.user(&identity.user)))
            }
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
