//! Credentials of services that publish over HTTP.

use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::State;
use crate::auth::{ApiKeys, Identity, Permissions};
use crate::config::Config;
use crate::http::{Rejection, refuse, too_many_failures};
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
    /// Checks that a request comes from a service, where `events.auth_required` is on.
    pub(crate) fn check_service(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Service, Rejection> {
        match self.config.clients.auth_required {
            true => self.check_credential(headers, address, None, true),
            false => Ok(self.without_credential(address)),
        }
    }

    /// The service at an address, where no credentials are required.
    pub(crate) fn without_credential(&self, address: IpAddr) -> Service {
        Service::without_token(self.process.publishers.address(address))
    }

    /// Checks that a request comes with a credential: a key of `own`, or, with `any_service`, one of
    /// `auth.api_keys` or a token whose role is `service`. Keys are sent as a bearer token or in `X-API-Key`.
    pub(crate) fn check_credential(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
        own: Option<&ApiKeys>,
        any_service: bool,
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
        let any = any_service.then_some(&self.authenticator.api_keys);
        let is_known = |key: &&str| own.into_iter().chain(any).any(|keys| keys.check(key));
        if let Some(key) = [key, bearer].into_iter().flatten().find(is_known) {
            return Ok(Service::without_token(publishers.key(key)));
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let verified = bearer.filter(|_| any_service).map(|token| {
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
