//! Credentials of services that publish over HTTP.

use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::State;
use crate::auth::{ApiKeys, Identity, Permissions, TokenError};
use crate::config::Config;
use crate::http::{Answer, Rejection, Source, keys_missing, may_post, refuse, too_many_failures};
use crate::metrics::Refused;
use crate::process::{Publisher, block_of};
use crate::shard::RefusedRequest;

/// The protocol and the endpoint of refused requests, as they are logged.
const API: (&str, &str) = ("api", "");

/// An authenticated service.
pub(crate) struct Service {
    /// The identity of its token; `None` with an API key, or where no credentials are required.
    identity: Option<Identity>,
    /// The publisher whose rate limit counts its publications.
    pub(crate) publisher: Publisher,
    source: Source,
}

impl Service {
    /// A service without a token.
    fn without_token(publisher: Publisher, source: Source) -> Self {
        Self {
            identity: None,
            publisher,
            source,
        }
    }

    /// Counts and logs that a request of the service is refused with `answer`.
    pub(crate) fn refuse(
        &self,
        state: &State,
        (cause, detail): (Refused, &str),
        answer: Answer,
    ) -> Rejection {
        let user = self.identity.as_ref().map(|identity| &*identity.user);
        refused(state, (self.source, user), (cause, detail), answer)
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
        source: Source,
    ) -> Result<Service, Rejection> {
        match self.config.clients.auth_required {
            true => self.check_credential(headers, source, None, true),
            false => Ok(self.without_credential(source)),
        }
    }

    /// Checks that a request may look at clients and end what they have: it comes from a service wherever credentials
    /// are configured, also where clients need none. Where there are none it does not come from a page of another host.
    pub(crate) fn check_operator(
        &self,
        headers: &HeaderMap,
        source: Source,
    ) -> Result<Service, Rejection> {
        if self.config.asks_operators() {
            return self.check_credential(headers, source, None, true);
        }
        self.check_page(headers, source)
    }

    /// Checks, where no credentials are required, that a request does not come from a page of another host: a browser
    /// sends some without asking first.
    pub(crate) fn check_page(
        &self,
        headers: &HeaderMap,
        source: Source,
    ) -> Result<Service, Rejection> {
        let service = self.without_credential(source);
        match may_post(&self.config.http.cors_origins, headers) {
            true => Ok(service),
            false => {
                let why = "The page's origin is neither this host nor in http.cors_origins";
                Err(service.refuse(self, (Refused::Origin, why), refuse(403, why, &[])))
            }
        }
    }

    /// The service at an address, where no credentials are required.
    fn without_credential(&self, source: Source) -> Service {
        Service::without_token(self.process.publishers.address(source.address), source)
    }

    /// Checks that a request comes with a credential: a key of `own`, or, with `any_service`, one of
    /// `auth.api_keys` or a token whose role is `service`. Keys are sent as a bearer token or in `X-API-Key`.
    pub(crate) fn check_credential(
        &self,
        headers: &HeaderMap,
        source: Source,
        own: Option<&ApiKeys>,
        any_service: bool,
    ) -> Result<Service, Rejection> {
        let refused = |cause: Refused, detail: &str, user: Option<&str>, answer: Answer| {
            refused(self, (source, user), (cause, detail), answer)
        };
        let unauthenticated = || refuse(401, "Not authenticated", &[]);
        let publishers = &self.process.publishers;
        let (key, bearer) = given(headers);
        if key.or(bearer).is_none() {
            let why = "no API key and no token";
            return Err(refused(Refused::NoToken, why, None, unauthenticated()));
        }
        let (failures, network) = (&self.authenticator.failures, block_of(source.address));
        if let Some(wait) = failures.wait_for(network, Instant::now()) {
            let answer = too_many_failures(wait);
            return Err(refused(Refused::Failures, "", None, answer));
        }
        let any = any_service.then_some(&self.authenticator.api_keys);
        let is_known = |key: &&str| own.into_iter().chain(any).any(|keys| keys.check(key));
        if let Some(key) = [key, bearer].into_iter().flatten().find(is_known) {
            return Ok(Service::without_token(publishers.key(key), source));
        }
        let verified = bearer
            .filter(|_| any_service)
            .map(|token| self.authenticator.verify(token, self.unix_seconds()));
        match verified {
            Some(Ok(identity)) if identity.is_service() => Ok(Service {
                publisher: publishers.user(&identity.user),
                identity: Some(identity),
                source,
            }),
            Some(Ok(identity)) => {
                if key.is_some() {
                    failures.note(network, Instant::now());
                }
                let why = "The token's role is not `service`";
                let (user, answer) = (Some(identity.user.as_str()), refuse(403, why, &[]));
                Err(refused(Refused::Credentials, why, user, answer))
            }
            Some(Err(TokenError::KeySet)) => {
                if key.is_some() {
                    failures.note(network, Instant::now());
                }
                let why = TokenError::KeySet.to_string();
                Err(refused(Refused::KeySet, &why, None, keys_missing()))
            }
            Some(Err(error)) => {
                failures.note(network, Instant::now());
                let why = error.to_string();
                Err(refused(error.into(), &why, None, unauthenticated()))
            }
            None => {
                failures.note(network, Instant::now());
                let why = "the API key is none of the configured ones";
                Err(refused(Refused::ApiKey, why, None, unauthenticated()))
            }
        }
    }
}

/// Counts and logs a refused request of the API.
fn refused(
    state: &State,
    (source, user): (Source, Option<&str>),
    (cause, detail): (Refused, &str),
    answer: Answer,
) -> Rejection {
    state.shard.note_refused(&RefusedRequest {
        source,
        endpoint: API,
        user,
        status: answer.status().as_u16(),
        cause,
        detail,
    });
    answer.into()
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
