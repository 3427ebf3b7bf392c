//! Admission of the bridge protocol's HTTP requests: credentials, rate limit, content type.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};

use super::JSON;
use crate::dialect::bridge::{Bridge, Invalid};
use crate::http::{Rejection, Source, respond, too_many};
use crate::metrics::{Limited, Refused};
use crate::service::{Service, State, body_of, source_of};

/// An admitted request.
pub(super) struct Admitted {
    pub(super) service: Service,
    body: Bytes,
    /// Its content type is JSON or missing, or what `curl -d` says of any body, which is an object or an array.
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
    count_request(bridge, state, (&service, source.address))?;
    let kind = headers.get(CONTENT_TYPE).cloned();
    let body = body_of(state, request).await?;
    let is_json = kind.is_none_or(|kind| is_json(&kind) || is_form(&kind) && begins_json(&body));
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
    state.check_page(headers, source)
}

/// Counts a request toward the rate limit of its address.
fn count_request(
    bridge: &Bridge,
    state: &State,
    (service, address): (&Service, IpAddr),
) -> Result<(), Rejection> {
    if bridge.settings.requests_per_minute == 0 {
        return Ok(());
    }
    let shard = &state.shard;
    shard.clock.refresh();
    let (now, requests) = (shard.clock.now_ms(), &bridge.requests);
    let taken = requests.take(requests.address(address), 1, now);
    taken.map_err(|over| {
        shard.counters.limited(Limited::RequestsPerMinute);
        let answer = too_many("Rate limit exceeded", over.retry_after(now));
        service.refuse(shard, (Refused::Rate, "requests_per_minute"), answer)
    })
}

impl Admitted {
    /// The text of a JSON body; `unread` makes the refusal of another one.
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
    let Some((family, form)) = essence(kind).split_once('/') else {
        return false;
    };
    let form = form.to_ascii_lowercase();
    family.eq_ignore_ascii_case("application") && (form == "json" || form.ends_with("+json"))
}

/// Whether a content type is that of HTML forms, which `curl -d` sends unless it is told another one.
fn is_form(kind: &HeaderValue) -> bool {
    essence(kind).eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Whether a body begins as a JSON object or array, which no form does.
fn begins_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start(), [b'{' | b'[', ..])
}

/// A content type without its parameters.
fn essence(kind: &HeaderValue) -> &str {
    let kind = kind.to_str().unwrap_or("");
    kind.split(';').next().unwrap_or("").trim()
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

    #[test]
    fn forms_are_known_by_their_type_and_json_by_its_beginning() {
        let kind = "Application/X-WWW-Form-Urlencoded; charset=utf-8";
        assert!(is_form(&HeaderValue::from_static(kind)));
        assert!(!is_form(&HeaderValue::from_static(
            "application/x-www-form"
        )));
        for body in [" {", "\r\n\t[1]", "{"] {
            assert!(begins_json(body.as_bytes()), "{body}");
        }
        for body in ["", "  ", "a=1&b={", "7", "\"{\""] {
            assert!(!begins_json(body.as_bytes()), "{body}");
        }
    }
}
