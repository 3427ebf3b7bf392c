//! Admission of the bridge protocol's HTTP requests: credentials, rate limit, content type.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};

use super::JSON;
use crate::dialect::bridge::{Bridge, Invalid};
use crate::http::{Rejection, Source, may_post, refuse, respond, too_many};
use crate::metrics::Limited;
use crate::service::{Service, State, body_of, source_of};

/// An admitted request.
pub(super) struct Admitted {
    pub(super) service: Service,
    body: Bytes,
    /// Its content type is JSON, or missing.
    is_json: bool,
}

/// Checks credentials and rate limit, then receives the body.
///
/// # Errors
/// The response that refuses the request.
pub(super) async fn admit(
    bridge: &Bridge,
    state: &State,
    request: Request,
) -> Result<Admitted, Rejection> {
    let source = source_of(&request);
    let headers = request.headers();
    let service = check_service(bridge, state, headers, source)?;
    count_request(bridge, state, source.address)?;
    let is_json = headers.get(CONTENT_TYPE).is_none_or(is_json);
    let body = body_of(state, request).await?;
    Ok(Admitted {
        service,
        body,
        is_json,
    })
}

/// Checks that a request comes from a service: by `bridge.api_key` if configured, or by any service's credential where
/// those are required. Where none is required, web pages of other origins are refused.
fn check_service(
    bridge: &Bridge,
    state: &State,
    headers: &HeaderMap,
    source: Source,
) -> Result<Service, Rejection> {
    if bridge.asks || !bridge.key.is_empty() {
        return state.check_credential(headers, source, Some(&bridge.key), bridge.asks);
    }
    if !may_post(&state.config.http.cors_origins, headers) {
        let why = "The page's origin is neither this host nor in http.cors_origins";
        return Err(refuse(403, why, &[]).into());
    }
    Ok(state.without_credential(source.address))
}

/// Counts a request toward the rate limit of its address.
fn count_request(bridge: &Bridge, state: &State, address: IpAddr) -> Result<(), Rejection> {
    if bridge.settings.requests_per_minute == 0 {
        return Ok(());
    }
    let shard = &state.shard;
    shard.clock.refresh();
    let (now, requests) = (shard.clock.now_ms(), &bridge.requests);
    let taken = requests.take(requests.address(address), 1, now);
    taken.map_err(|over| {
        shard.counters.limited(Limited::RequestsPerMinute);
        too_many("Rate limit exceeded", over.retry_after(now)).into()
    })
}

impl Admitted {
    /// The text of a JSON body. A body without a content type counts as JSON; `unread` makes the refusal of one with
    /// another type.
    pub(super) fn text(&self, unread: fn(&[u8]) -> Invalid) -> Result<&str, Invalid> {
        if self.body.is_empty() {
            return Err(Invalid::missing_body());
        }
        if !self.is_json {
            return Err(unread(&self.body));
        }
        simdutf8::basic::from_utf8(&self.body).map_err(|_| unread(&self.body))
    }
}

/// Whether a content type is JSON: `application/json`, or one with the suffix `+json`.
fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    let Some((family, form)) = essence.split_once('/') else {
        return false;
    };
    let form = form.to_ascii_lowercase();
    family.eq_ignore_ascii_case("application") && (form == "json" || form.ends_with("+json"))
}

impl From<Invalid> for Rejection {
    fn from(why: Invalid) -> Self {
        respond(422, JSON, why.body()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_type() {
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/ld+json",
        ] {
            assert!(is_json(&HeaderValue::from_static(kind)), "{kind}");
        }
        for kind in ["text/plain", "text/json", "json", "", "application/jsonx"] {
            assert!(!is_json(&HeaderValue::from_static(kind)), "{kind}");
        }
    }
}
