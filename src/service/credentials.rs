//! Credentials of services that publish over HTTP.

use std::borrow::Cow;
use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::State;
use crate::auth::{ApiKeys, Identity, Permissions, TokenError};
use crate::config::Config;
use crate::http::{Answer, Rejection, Source, keys_missing, may_post, refuse, too_many_failures};
use crate::metrics::Refused;
use crate::process::{Publisher, block_of};
use crate::shard::{RefusedRequest, Shard};

/// The protocol and the endpoint of refused requests, as they are logged.
const API: (&str, &str) = ("api", "");

/// An authenticated service.
#[derive(Debug)]
pub(crate) struct Service {
    /// The identity of its token; `None` with an API key, or where no credentials are required.
    pub(crate) identity: Option<Identity>,
    /// The publisher whose rate limit counts its publications.
    pub(crate) publisher: Publisher,
    source: Source,
}

/// Why a request is refused that a service may make.
#[derive(Debug)]
pub(crate) struct ServiceRefusal {
    /// As it is counted.
    pub(crate) cause: Refused,
    /// Why, for the log.
    pub(crate) detail: Cow<'static, str>,
    /// The user, if that was verified.
    pub(crate) user: Option<Box<str>>,
    /// The response.
    pub(crate) answer: Box<Answer>,
}

impl ServiceRefusal {
    fn new(cause: Refused, detail: impl Into<Cow<'static, str>>, answer: Answer) -> Self {
        Self {
            cause,
            detail: detail.into(),
            user: None,
            answer: Box::new(answer),
        }
    }

    /// Counts and logs it. Returns the response.
    fn note(self, shard: &Shard, source: Source) -> Rejection {
        let about = (self.cause, &*self.detail);
        refused(shard, (source, self.user.as_deref()), about, *self.answer)
    }
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

    /// The service at an address, where no credentials are required.
    fn without_credential(shard: &Shard, source: Source) -> Self {
        let publisher = shard.process.publishers.address(source.address);
        Self::without_token(publisher, source)
    }

    /// The service that makes a request where no credentials are required. A page of another host is none: a browser
    /// sends some requests without asking first.
    ///
    /// # Errors
    /// Why the request is refused.
    pub(crate) fn on_own_page(
        shard: &Shard,
        headers: &HeaderMap,
        source: Source,
    ) -> Result<Self, ServiceRefusal> {
        match may_post(&shard.config.http.cors_origins, headers) {
            true => Ok(Self::without_credential(shard, source)),
            false => {
                let why = "The page's origin is neither this host nor in http.cors_origins";
                let answer = refuse(403, why, &[]);
                Err(ServiceRefusal::new(Refused::Origin, why, answer))
            }
        }
    }

    /// The service whose credential a request has: a key of `own`, or, with `any_service`, one of `auth.api_keys` or a
    /// token whose role is `service`. Keys are sent as a bearer token or in `X-API-Key`.
    ///
    /// # Errors
    /// Why the request is refused.
    pub(crate) fn authenticate(
        shard: &Shard,
        headers: &HeaderMap,
        source: Source,
        own: Option<&ApiKeys>,
        any_service: bool,
    ) -> Result<Self, ServiceRefusal> {
        let unauthenticated = || refuse(401, "Not authenticated", &[]);
        let publishers = &shard.process.publishers;
        let (key, bearer) = given(headers);
        if key.or(bearer).is_none() {
            let why = "no API key and no token";
            return Err(ServiceRefusal::new(
                Refused::NoToken,
                why,
                unauthenticated(),
            ));
        }
        let authenticator = &shard.authenticator;
        let (failures, network) = (&authenticator.failures, block_of(source.address));
        if let Some(wait) = failures.wait_for(network, Instant::now()) {
            let answer = too_many_failures(wait);
            return Err(ServiceRefusal::new(Refused::Failures, "", answer));
        }
        let any = any_service.then_some(&authenticator.api_keys);
        let is_known = |key: &&str| own.into_iter().chain(any).any(|keys| keys.check(key));
        if let Some(key) = [key, bearer].into_iter().flatten().find(is_known) {
            return Ok(Self::without_token(publishers.key(key), source));
        }
        shard.clock.refresh();
        let verified = bearer
            .filter(|_| any_service)
            .map(|token| authenticator.verify(token, shard.clock.wall_seconds()));
        match verified {
            Some(Ok(identity)) if identity.is_service() => Ok(Self {
                publisher: publishers.user(&identity.user),
                identity: Some(identity),
                source,
            }),
            Some(Ok(identity)) => {
                if key.is_some() {
                    failures.note(network, Instant::now());
                }
                let why = "The token's role is not `service`";
                Err(ServiceRefusal {
                    user: Some(identity.user.as_str().into()),
                    ..ServiceRefusal::new(Refused::Credentials, why, refuse(403, why, &[]))
                })
            }
            Some(Err(TokenError::KeySet)) => {
                if key.is_some() {
                    failures.note(network, Instant::now());
                }
                let why = TokenError::KeySet.to_string();
                Err(ServiceRefusal::new(Refused::KeySet, why, keys_missing()))
            }
            Some(Err(error)) => {
                failures.note(network, Instant::now());
                let why = error.to_string();
                Err(ServiceRefusal::new(error.into(), why, unauthenticated()))
            }
            None => {
                failures.note(network, Instant::now());
                let why = "the API key is none of the configured ones";
                Err(ServiceRefusal::new(Refused::ApiKey, why, unauthenticated()))
            }
        }
    }

    /// Counts and logs that a request of the service is refused with `answer`.
    pub(crate) fn refuse(
        &self,
        shard: &Shard,
        (cause, detail): (Refused, &str),
        answer: Answer,
    ) -> Rejection {
        let user = self.identity.as_ref().map(|identity| &*identity.user);
        refused(shard, (self.source, user), (cause, detail), answer)
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
            false => Ok(Service::without_credential(&self.shard, source)),
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

    /// As [`Service::on_own_page`], with the response that refuses the request, which is counted and logged.
    pub(crate) fn check_page(
        &self,
        headers: &HeaderMap,
        source: Source,
    ) -> Result<Service, Rejection> {
        let service = Service::on_own_page(&self.shard, headers, source);
        service.map_err(|refusal| refusal.note(&self.shard, source))
    }

    /// As [`Service::authenticate`], with the response that refuses the request, which is counted and logged.
    pub(crate) fn check_credential(
        &self,
        headers: &HeaderMap,
        source: Source,
        own: Option<&ApiKeys>,
        any_service: bool,
    ) -> Result<Service, Rejection> {
        let service = Service::authenticate(&self.shard, headers, source, own, any_service);
        service.map_err(|refusal| refusal.note(&self.shard, source))
    }
}

/// Counts and logs a refused request of the API.
fn refused(
    shard: &Shard,
    (source, user): (Source, Option<&str>),
    (cause, detail): (Refused, &str),
    answer: Answer,
) -> Rejection {
    shard.note_refused(&RefusedRequest {
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
