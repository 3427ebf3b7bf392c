//! Cross-origin requests of web pages (Fetch standard, section 3.2): which may
//! read the answers.

use axum::http::Method;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};

use super::answer::{Answer, respond};
use super::origin::{is_own, one};
use crate::config::CorsOrigin;

/// Adds the headers that let pages of `origins` read a response. A listed origin is echoed, with credentials allowed;
/// if all are allowed, others get `*`, which excludes credentials (Fetch standard, section 3.2.5). Other origins get
/// none.
pub fn allow_page(origins: &[CorsOrigin], request: &HeaderMap, answer: &mut HeaderMap) {
    if origins.is_empty() {
        return;
    }
    // Also without these headers: a cache must not serve a response for one origin to another.
    answer.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = one(request, ORIGIN) else {
        return;
    };
    match permit(origins, origin) {
        None => return,
        Some(Permit::WithCookies) => {
            let origin = HeaderValue::from_str(origin).expect("it was the value of a header");
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let yes = HeaderValue::from_static("true");
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        Some(Permit::WithoutCookies) => {
            let all = HeaderValue::from_static("*");
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, all);
        }
    }
    let exposed = HeaderValue::from_static("Retry-After");
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}

/// Whether a request that nothing vouches for may come from where it says it comes from: from no
/// page, from one of the host it is for, or from one of `origins`. A browser sends some requests
/// without asking first, and only keeps the answers from the page.
#[must_use]
pub fn may_post(origins: &[CorsOrigin], headers: &HeaderMap) -> bool {
    let is_known = |origin| is_own(origin, headers) || permit(origins, origin).is_some();
    !headers.contains_key(ORIGIN) || one(headers, ORIGIN).is_some_and(is_known)
}

/// What a page is allowed to read.
enum Permit {
    /// Read answers to requests that carry its visitor's cookies.
    WithCookies,
    /// Read answers to others.
    WithoutCookies,
}

/// What a page of `origin` is allowed to read; `None`: nothing.
fn permit(origins: &[CorsOrigin], origin: &str) -> Option<Permit> {
    let is_listed = |listed: &CorsOrigin| matches!(listed, CorsOrigin::Only(pattern) if pattern.matches(origin));
    if origins.iter().any(is_listed) {
        return Some(Permit::WithCookies);
    }
    origins
        .contains(&CorsOrigin::Any)
        .then_some(Permit::WithoutCookies)
}

/// The answer to a browser that asks whether a page may send a request (docs/tokens.md, "Web pages"), but
/// for what [`allow_page`] says; `None` if this is no such question, or no page may.
#[must_use]
pub fn preflight(origins: &[CorsOrigin], method: &Method, request: &HeaderMap) -> Option<Answer> {
    let asks = method == Method::OPTIONS
        && request.contains_key(ORIGIN)
        && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if origins.is_empty() || !asks {
        return None;
    }
    let origin = one(request, ORIGIN);
    if origin.is_none_or(|origin| permit(origins, origin).is_none()) {
        return Some(respond(400, TEXT, "Disallowed CORS origin"));
    }
    let mut granted = respond(200, TEXT, "OK");
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        let value = HeaderValue::from_static(value);
        granted.headers_mut().insert(name, value);
    }
    Some(granted)
}

const TEXT: &str = "text/plain; charset=utf-8";

/// The methods that a page may use; each path decides which it supports.
const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

/// The headers that a page may set: what the API takes, what replacements of EventSource and clients
/// built on fetch send (`Accept`, `Cache-Control`, `Last-Event-ID`, `Pragma`, `X-Requested-With`), and
/// what tracing adds to all requests of a page. Not just any: a proxy in front of the gateway may
/// believe others.
const REQUEST_HEADERS: &str = "Accept, Authorization, Baggage, Cache-Control, Content-Type, \
    Idempotency-Key, Last-Event-ID, Pragma, Sentry-Trace, Traceparent, Tracestate, X-API-Key, \
    X-Requested-With";
/// The headers of a request that say which page it comes from. Most requests come from
/// services, which are no pages.
#[must_use]
pub fn origins_of(headers: &HeaderMap) -> HeaderMap {
    let origins = headers.get_all(ORIGIN).into_iter();
    origins.map(|origin| (ORIGIN, origin.clone())).collect()
}
