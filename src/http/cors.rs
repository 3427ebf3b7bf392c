//! Cross-origin requests of web pages (Fetch standard, section 3.2): which may
//! read the answers.

use axum::http::Method;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};

use super::answer::{Answer, respond};
use super::origin::{is_one_of, one};
use crate::config::OriginPattern;

/// Lets a page of one of `origins` read an answer, of which these are the headers. The origin is
/// repeated, never `*`; others get nothing, so their browsers keep the answer from them.
pub fn allow_page(origins: &[OriginPattern], request: &HeaderMap, answer: &mut HeaderMap) {
    if origins.is_empty() {
        return;
    }
    // Also for those who get nothing: a cache must not give them what others got.
    answer.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = one(request, ORIGIN).filter(|origin| is_one_of(origins, origin)) else {
        return;
    };
    let origin = HeaderValue::from_str(origin).expect("it was the value of a header");
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "Retry-After"),
    ] {
        answer.insert(name, HeaderValue::from_static(value));
    }
}

/// The answer to a browser that asks whether a page may send a request, in the words of
/// spec/bridge.md 1.1; `None` if this is no such question, or no page may.
#[must_use]
pub fn preflight(
    origins: &[OriginPattern],
    method: &Method,
    request: &HeaderMap,
) -> Option<Answer> {
    let asks = method == Method::OPTIONS
        && request.contains_key(ORIGIN)
        && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if origins.is_empty() || !asks {
        return None;
    }
    let mut answer = if one(request, ORIGIN).is_some_and(|origin| is_one_of(origins, origin)) {
        let mut granted = respond(200, TEXT, "OK".to_owned());
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (ACCESS_CONTROL_MAX_AGE, "600"),
        ] {
            granted
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        granted
    } else {
        respond(400, TEXT, "Disallowed CORS origin".to_owned())
    };
    allow_page(origins, request, answer.headers_mut());
    Some(answer)
}

const TEXT: &str = "text/plain; charset=utf-8";

/// The methods that a page may use; whether a path knows them is the path's matter.
const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

/// The headers that a page may set.
const REQUEST_HEADERS: &str =
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-API-Key";
