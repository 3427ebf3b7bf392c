//! Credentials of services that publish over HTTP.

use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::State;
use crate::auth::{Identity, Permissions};
use crate::config::Config;
use crate::http::{Answer, may_post, refuse, too_many_failures};
use crate::process::{Publisher, block_of};
use crate::shard::log_refused_token;

/// An authenticated service.
pub(crate) struct Service {
    /// The identity of its token; `None` with an API key, or where no credentials are required.
    identity: Option<Identity>,
    /// The publisher whose rate limit counts its publications.
    pub(crate) publisher: Publisher,
}

impl Service {
    /// A service without a token.
    fn without_token(publisher: Publisher) -> Self {
        Self {
            identity: None,
            publisher,
        }
    }

    /// Its permissions.
    pub(crate) fn permissions<'a>(&'a self, config: &'a Config) -> Permissions<'a> {
        match &self.identity {
            Some(identity) => Permissions::new(config, Some(identity)),
            None => Permissions::of_service(config),
        }
    }
}

impl State {
    /// Checks that a request comes from a service: an API key as a bearer token
    /// or in `X-API-Key`, or a token whose role is `service`.
    pub(crate) fn check_service(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Service, Box<Answer>> {
        let publishers = &self.process.publishers;
        if !self.config.events.auth_required {
            return Ok(Service::without_token(publishers.address(address)));
        }
        self.check_credential(headers, address)
    }

    /// Checks that a request comes with a service's credential.
    fn check_credential(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Service, Box<Answer>> {
        let publishers = &self.process.publishers;
        let (key, bearer) = given(headers);
        if key.or(bearer).is_none() {
            return Err(unauthenticated());
        }
        let (failures, network) = (&self.authenticator.failures, block_of(address));
        if let Some(wait) = failures.wait_for(network, Instant::now()) {
            return Err(Box::new(too_many_failures(wait)));
        }
        let keys = &self.authenticator.api_keys;
        if let Some(key) = [key, bearer]
            .into_iter()
            .flatten()
            .find(|key| keys.check(key))
        {
            return Ok(Service::without_token(publishers.key(key)));
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let tokens = &self.authenticator.tokens;
        let verified = bearer.map(|token| {
            let verified = tokens.verify(token, now);
            verified.inspect_err(|reason| log_refused_token(&self.authenticator, *reason))
        });
        match verified.and_then(Result::ok) {
            Some(identity) if identity.is_service() => Ok(Service {
                publisher: publishers.user(&identity.user),
                identity: Some(identity),
            }),
            Some(_) => Err(Box::new(refuse(
                403,
                "The token's role is not `service`",
                &[],
            ))),
            None => {
                failures.note(network, Instant::now());
                Err(unauthenticated())
            }
        }
    }

    /// Checks that a request of the bridge protocol comes from a service: by `bridge.api_key` if configured, else by
    /// any service's credential where those are required. Where none is required, web pages of other origins are
    /// refused.
    pub(crate) fn check_bridge_service(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Service, Box<Answer>> {
        let publishers = &self.process.publishers;
        let own = &self.authenticator.bridge_key;
        let asks = self.config.bridge_asks();
        if own.is_empty() && !asks {
            if !may_post(&self.config.http.cors_origins, headers) {
                let why = "The page's origin is neither this host nor in http.cors_origins";
                return Err(Box::new(refuse(403, why, &[])));
            }
            return Ok(Service::without_token(publishers.address(address)));
        }
        let (key, bearer) = given(headers);
        let mut keys = [key, bearer].into_iter().flatten();
        if key.or(bearer).is_none() {
            return Err(unauthenticated());
        }
        let (failures, network) = (&self.authenticator.failures, block_of(address));
        if let Some(wait) = failures.wait_for(network, Instant::now()) {
            return Err(Box::new(too_many_failures(wait)));
        }
        if let Some(key) = keys.find(|key| own.check(key)) {
            return Ok(Service::without_token(publishers.key(key)));
        }
        if asks {
            return self.check_credential(headers, address);
        }
        failures.note(network, Instant::now());
        Err(unauthenticated())
    }
}

/// The API key and the bearer token of a request. Empty ones are ignored.
fn given(headers: &HeaderMap) -> (Option<&str>, Option<&str>) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header(AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let given = |text: &&str| !text.is_empty();
    (header("x-api-key").filter(given), bearer.filter(given))
}

fn unauthenticated() -> Box<Answer> {
    Box::new(refuse(401, "Not authenticated", &[]))
}
