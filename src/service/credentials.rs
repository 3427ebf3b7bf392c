//! Credentials of services that publish over HTTP.

use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::State;
use crate::auth::{ApiKeys, Identity, Permissions};
use crate::config::Config;
use crate::http::{Rejection, may_post, refuse, too_many_failures};
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
    ) -> Result<Service, Rejection> {
        if !self.config.events.auth_required {
            let publisher = self.process.publishers.address(address);
            return Ok(Service::without_token(publisher));
        }
        self.check_credential(headers, address, &[&self.authenticator.api_keys], true)
    }

    /// Checks that a request of the bridge protocol comes from a service: by `bridge.api_key` if configured, else by
    /// any service's credential where those are required. Where none is required, web pages of other origins are
    /// refused.
    pub(crate) fn check_bridge_service(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Service, Rejection> {
        let (own, asks) = (&self.authenticator.bridge_key, self.config.bridge_asks());
        if own.is_empty() && !asks {
            if !may_post(&self.config.http.cors_origins, headers) {
                let why = "The page's origin is neither this host nor in http.cors_origins";
                return Err(refuse(403, why, &[]).into());
            }
            let publisher = self.process.publishers.address(address);
            return Ok(Service::without_token(publisher));
        }
        let keys = [own, &self.authenticator.api_keys];
        let keys = if asks { &keys[..] } else { &keys[..1] };
        self.check_credential(headers, address, keys, asks)
    }

    /// Checks that a request comes with one of these keys, or with a service's token if it `may_have_token`.
    fn check_credential(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
        keys: &[&ApiKeys],
        may_have_token: bool,
    ) -> Result<Service, Rejection> {
        let unauthenticated = || refuse(401, "Not authenticated", &[]);
        let publishers = &self.process.publishers;
        let (key, bearer) = given(headers);
        if key.or(bearer).is_none() {
            return Err(unauthenticated().into());
        }
        let (failures, network) = (&self.authenticator.failures, block_of(address));
        if let Some(wait) = failures.wait_for(network, Instant::now()) {
            return Err(too_many_failures(wait).into());
        }
        let mut given = [key, bearer].into_iter().flatten();
        if let Some(key) = given.find(|key| keys.iter().any(|keys| keys.check(key))) {
            return Ok(Service::without_token(publishers.key(key)));
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let verified = bearer.filter(|_| may_have_token).map(|token| {
            let verified = self.authenticator.tokens.verify(token, now);
            verified.inspect_err(|reason| log_refused_token(&self.authenticator, *reason))
        });
        match verified.and_then(Result::ok) {
            Some(identity) if identity.is_service() => Ok(Service {
                publisher: publishers.user(&identity.user),
                identity: Some(identity),
            }),
            Some(_) => Err(refuse(403, "The token's role is not `service`", &[]).into()),
            None => {
                failures.note(network, Instant::now());
                Err(unauthenticated().into())
            }
        }
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
