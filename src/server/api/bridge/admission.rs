//! Which requests of the bridge protocol are looked at: by whom, how many, of what.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue};

use super::JSON;
use crate::http::{Answer, refuse, respond};
use crate::metrics::Limited;
use crate::protocol::bridge::Invalid;
use crate::server::api::State;
use crate::server::api::order::received;
use crate::shard;

/// The body of a request, if whoever sent it may.
///
/// # Errors
/// The answer that says why not.
pub(super) fn admit<'a>(
    state: &State,
    headers: &HeaderMap,
    address: IpAddr,
    body: &'a Result<Bytes, BytesRejection>,
) -> Result<&'a Bytes, Box<Answer>> {
    state.check_bridge_service(headers, address)?;
    count(state, address)?;
    received(state, body)
}

/// Counts a request among those of its address.
fn count(state: &State, address: IpAddr) -> Result<(), Box<Answer>> {
    if state.config.bridge.requests_per_minute == 0 {
        return Ok(());
    }
    shard::local(|shard| {
        shard.clock.refresh();
        let (now, requests) = (shard.clock.now_ms(), &shard.process.bridge_requests);
        requests
            .take(requests.address(address), 1, now)
            .map_err(|over| {
                shard.counters.limited(Limited::BridgeRequestsPerMinute);
                let mut answer = refuse(429, "Rate limit exceeded", &[]);
                let retry_after = HeaderValue::from(over.retry_after(now));
                answer.headers_mut().insert(RETRY_AFTER, retry_after);
                Box::new(answer)
            })
    })
}

/// The text of a body that is to be read as JSON: where no type is said, it is.
pub(super) fn check<'a>(headers: &HeaderMap, body: &'a Bytes) -> Result<&'a str, Invalid> {
    if body.is_empty() {
        return Err(Invalid::missing_body());
    }
    if headers.get(CONTENT_TYPE).is_some_and(|kind| !is_json(kind)) {
        return Err(Invalid::unread(body));
    }
    simdutf8::basic::from_utf8(body).map_err(|_| Invalid::unread(body))
}

/// Whether a body of this type is JSON: `application/json` or anything built on it.
fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    let Some((family, form)) = essence.split_once('/') else {
        return false;
    };
    let form = form.to_ascii_lowercase();
    family.eq_ignore_ascii_case("application") && (form == "json" || form.ends_with("+json"))
}

/// The refusal of a body that is not what it should be.
pub(super) fn invalid(why: &Invalid) -> Answer {
    respond(422, JSON, why.body())
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
