//! Responses, and refusals with a body that says why.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use httpdate::fmt_http_date;

/// The body of a response.
pub type AnswerBody = Body;

/// An HTTP response, as the router gives it.
pub type Answer = Response<AnswerBody>;

/// The answer to a request that is refused, as an error.
#[derive(Debug)]
pub struct Rejection(Box<Answer>);

impl From<Answer> for Rejection {
    fn from(answer: Answer) -> Self {
        Self(Box::new(answer))
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Answer {
        *self.0
    }
}

/// A refusal with a JSON body that says why: `{"detail": why}`.
#[must_use]
pub fn refuse(status: u16, why: &str, headers: &[(HeaderName, &'static str)]) -> Answer {
    let body = serde_json::json!({ "detail": why }).to_string();
    let mut answer = respond(status, "application/json", body);
    for (name, value) in headers {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// A refusal whose body is the plain text `why`.
#[must_use]
pub fn refuse_plainly(status: u16, why: &str) -> Answer {
    respond(status, "text/plain; charset=utf-8", format!("{why}\n"))
}

/// The response to a client that exceeds a rate, and is within it again after `seconds`.
#[must_use]
pub fn too_many(why: &str, seconds: u64) -> Answer {
    let mut answer = refuse(429, why, &[]);
    let headers = answer.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

/// The response to credentials from an address with too many failures; they are not checked.
#[must_use]
pub fn too_many_failures(wait: Duration) -> Answer {
    let why = "Too many wrong credentials from this address; try again later";
    // Rounded up, so that a client that waits for it is not refused again.
    too_many(why, wait.as_secs() + 1)
}

/// The refusal of a token that cannot be checked yet. It may be a good one, and is not called wrong.
#[must_use]
pub fn keys_missing() -> Answer {
    let why = "The keys that tokens are checked with are not there yet; try again later";
    refuse(503, why, &[(RETRY_AFTER, "5")])
}

/// The refusal of a request whose body or response exceeds `http.max_buffered_bytes`.
#[must_use]
pub fn too_many_buffered() -> Answer {
    let why = "Requests and answers hold as much memory as `http.max_buffered_bytes` allows; try again later";
    refuse(503, why, &[(RETRY_AFTER, "1")])
}

/// A response with a body of this type. A 401 names the authentication scheme (RFC 9110 section 15.5.2).
#[must_use]
pub fn respond(status: u16, content_type: &'static str, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = StatusCode::from_u16(status).expect("statuses are constants");
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

/// The bytes of a refusal, for a request that did not reach hyper. `now` is its date.
#[must_use]
pub fn refuse_raw(status: u16, why: &str, now: SystemTime) -> Vec<u8> {
    refuse_raw_with(status, why, now, &HeaderMap::new())
}

/// As [`refuse_raw`], with `more` in the head.
#[must_use]
pub fn refuse_raw_with(status: u16, why: &str, now: SystemTime, more: &HeaderMap) -> Vec<u8> {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let body = serde_json::json!({ "detail": why }).to_string();
    let mut answer = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{CONNECTION}: close\r\n{DATE}: {}\r\n",
        reason.unwrap_or(""),
        body.len(),
        fmt_http_date(now),
    )
    .into_bytes();
    end_head(&mut answer, more);
    answer.extend_from_slice(body.as_bytes());
    answer
}

/// The head of an SSE response, whose body ends with the connection (RFC 9112 section 6.3). `more`: additional headers.
#[must_use]
pub fn event_stream_head(more: &HeaderMap, now: SystemTime) -> Vec<u8> {
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in EVENT_STREAM {
        put_header(&mut head, &name, value.as_bytes());
    }
    put_header(&mut head, &CONNECTION, b"close");
    put_header(&mut head, &DATE, fmt_http_date(now).as_bytes());
    end_head(&mut head, more);
    head
}

/// The response to a HEAD request for an event stream.
#[must_use]
pub fn event_stream_headers() -> Answer {
    let mut answer = Response::new(Body::empty());
    for (name, value) in EVENT_STREAM {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// The headers of an event stream: caches must not store it, and proxies must not compress or buffer it.
const EVENT_STREAM: [(HeaderName, &str); 3] = [
    (CONTENT_TYPE, "text/event-stream"),
    (CACHE_CONTROL, "no-store, no-transform"),
    (HeaderName::from_static("x-accel-buffering"), "no"),
];

/// Appends `more` and the end of a head.
fn end_head(head: &mut Vec<u8>, more: &HeaderMap) {
    for (name, value) in more {
        put_header(head, name, value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
}

fn put_header(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}
