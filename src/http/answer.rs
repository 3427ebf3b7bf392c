//! Answers with a body that says why.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{
    CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use axum::http::{Response, StatusCode};

/// What an answer has behind its head.
pub type AnswerBody = Body;

/// An HTTP response, as the router gives it.
pub type Answer = Response<AnswerBody>;

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

/// A refusal whose body is the text that says why.
#[must_use]
pub fn refuse_plainly(status: u16, why: &str) -> Answer {
    respond(status, "text/plain; charset=utf-8", format!("{why}\n"))
}

/// The answer to a credential from an address where too many have been wrong, without a look at it.
#[must_use]
pub fn too_many_failures(wait: Duration) -> Answer {
    let why = "Too many wrong credentials from this address; try again later";
    let mut answer = refuse(429, why, &[]);
    // Rounded up, so that who comes back then is not too early.
    let seconds = HeaderValue::from(wait.as_secs() + 1);
    answer.headers_mut().insert(RETRY_AFTER, seconds);
    answer
}

/// A response with a body of this type.
#[must_use]
pub fn respond(status: u16, content_type: &'static str, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = StatusCode::from_u16(status).expect("statuses are constants");
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// The bytes of a refusal to a connection whose request never reached the parser.
#[must_use]
pub fn refuse_raw(status: u16, why: &str) -> Vec<u8> {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let body = serde_json::json!({ "detail": why }).to_string();
    format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{CONNECTION}: close\r\n\r\n{body}",
        reason.unwrap_or(""),
        body.len(),
    )
    .into_bytes()
}

/// The head of a response that is a stream of events, which ends with the
/// connection (RFC 9112 section 6.3). `more` goes into it besides.
#[must_use]
pub fn event_stream_head(more: &HeaderMap) -> Vec<u8> {
    let mut head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
        cache-control: no-store\r\nx-accel-buffering: no\r\nconnection: close\r\n"
        .to_vec();
    for (name, value) in more {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}
