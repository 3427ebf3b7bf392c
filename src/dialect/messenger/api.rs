//! The HTTP endpoints of the messenger protocol (docs/messenger.md, "Accounts"). What they say of errors is plain text,
//! as its clients expect.

mod login;
mod register;
mod users;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State as Shared};
use axum::http::Method;
use axum::http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use super::{Messenger, NAME, static_files, statistics};
use crate::http::{Answer, Rejection, Source, respond};
use crate::metrics::Refused;
use crate::process::Publishers;
use crate::service::{Endpoint, Role, State, body_of};
use crate::shard::RefusedRequest;
use crate::store;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The protocol as requests of one shard hold it: with a count of its own, so that they share no cache line.
pub(super) type MessengerHandle = Arc<Arc<Messenger>>;

/// The protocol's endpoints.
pub(super) fn endpoints(messenger: &Arc<Messenger>) -> Vec<Endpoint> {
    if messenger.store.is_none() {
        return Vec::new();
    }
    let handle = Arc::new(messenger.clone());
    let mut endpoints = vec![
        post(messenger, "/auth/register", register::register),
        post(messenger, "/auth/login", login::login),
        get(messenger, "/auth/check-userid/{id}", users::check_user_id)
            .at("/auth/check-userid/{*id}"),
        get(messenger, "/auth/users/{id}", users::user).at("/auth/users/{*id}"),
    ];
    if messenger.settings.list_max > 0 {
        endpoints.push(get(messenger, "/active-users", users::active_users));
    }
    if messenger.settings.static_dir.is_some() {
        let root = get(messenger, "/static/", static_files::file);
        let files = get(messenger, "/static/{path}", static_files::file);
        endpoints.extend([root, files.at("/static/{*path}")]);
    }
    let stats = move |Shared(state): Shared<Arc<State>>, request: Request| {
        statistics::statistics(handle.clone(), state, request)
    };
    endpoints.push(Endpoint::get("/api/v1/messenger/stats", stats));
    endpoints
}

fn post<F: Future<Output = Result<Answer, Rejection>> + Send + 'static>(
    messenger: &Arc<Messenger>,
    path: &'static str,
    handler: fn(MessengerHandle, Arc<State>, Request) -> F,
) -> Endpoint {
    let handle = Arc::new(messenger.clone());
    let handler = move |Shared(state), request| handler(handle.clone(), state, request);
    Endpoint::post(path, handler)
        .serving(Role::Clients)
        .asking(false)
}

fn get<F: Future<Output = Result<Answer, Rejection>> + Send + 'static>(
    messenger: &Arc<Messenger>,
    path: &'static str,
    handler: fn(MessengerHandle, Arc<State>, Request) -> F,
) -> Endpoint {
    let handle = Arc::new(messenger.clone());
    let handler = move |Shared(state): Shared<Arc<State>>, request: Request| {
        handler(handle.clone(), state, request)
    };
    Endpoint::get(path, handler)
        .serving(Role::Clients)
        .asking(false)
}

/// The answer to a request that no endpoint takes: text for the protocol's paths, `None` for others.
pub(super) fn unrouted(method: &Method, path: &str, status: u16) -> Option<Answer> {
    let is_own = |own| {
        let rest = path.strip_prefix(own);
        rest.is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('/'))
    };
    OWN_PATHS
        .into_iter()
        .any(is_own)
        .then(|| match (path, status) {
            (CHECK_USER_ID | USERS, _) if method != Method::GET && method != Method::HEAD => {
                text(405, "Method not allowed")
            }
            // The path of an empty id.
            (CHECK_USER_ID, _) => json(r#"{"exists":false}"#),
            (USERS, _) => text(400, "User ID is required"),
            (_, 405) => text(405, "Method not allowed"),
            _ => text(status, "404 page not found"),
        })
}

/// The paths whose answers are text, with all that is below them.
const OWN_PATHS: [&str; 4] = ["/auth", "/ws", "/active-users", "/static"];

const CHECK_USER_ID: &str = "/auth/check-userid/";
const USERS: &str = "/auth/users/";

/// An answer in plain text, with a line end.
pub(super) fn text(status: u16, why: &str) -> Answer {
    let mut answer = respond(status, TEXT, format!("{why}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

/// An answer in plain text that says when to come again.
fn text_later(status: u16, why: &str, seconds: u64) -> Answer {
    let mut answer = text(status, why);
    let headers = answer.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

/// An answer in JSON, which no cache keeps.
pub(super) fn json(body: impl Into<axum::body::Body>) -> Answer {
    let mut answer = respond(200, JSON, body);
    let no_store = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(CACHE_CONTROL, no_store);
    answer
}

/// Counts a request toward a limit of its address.
///
/// # Errors
/// The answer to a request beyond it.
fn count(
    state: &State,
    (limit, key): (&Publishers, &'static str),
    source: Source,
) -> Result<(), Rejection> {
    let shard = &state.shard;
    shard.clock.refresh();
    let now = shard.clock.now_ms();
    let taken = limit.take(limit.address(source.address), 1, now);
    taken.map_err(|over| {
        let answer = text_later(429, "Rate limit exceeded", over.retry_after(now));
        note_refused(state, source, (Refused::Rate, key), answer)
    })
}

/// Counts and logs that a request is refused with `answer`.
fn note_refused(
    state: &State,
    source: Source,
    (cause, detail): (Refused, &str),
    answer: Answer,
) -> Rejection {
    state.shard.note_refused(&RefusedRequest {
        source,
        endpoint: (NAME, ""),
        user: None,
        status: answer.status().as_u16(),
        cause,
        detail,
    });
    answer.into()
}

/// The JSON object in the body of a request.
///
/// # Errors
/// The answer to a request without one.
async fn object_of<T: DeserializeOwned>(state: &State, request: Request) -> Result<T, Rejection> {
    let body = body_of(state, request).await.map_err(plainly)?;
    parse(&body).ok_or_else(|| text(400, "Invalid JSON").into())
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Option<T> {
    // `serde` would also take an array of the fields.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(body).ok())?
}

/// The same refusal in plain text.
fn plainly(rejection: Rejection) -> Rejection {
    let answer = rejection.into_response();
    let status = answer.status().as_u16();
    let why = match status {
        413 => "Request body too large",
        415 => "The body has a Content-Encoding: send it as it is",
        503 => "Too busy; try again later",
        _ => "Invalid JSON",
    };
    let mut plain = text(status, why);
    if let Some(later) = answer.headers().get(RETRY_AFTER) {
        plain.headers_mut().insert(RETRY_AFTER, later.clone());
    }
    plain.into()
}

/// The answer where the store refuses.
pub(super) fn refused(why: store::Refused) -> Answer {
    let said = why.to_string();
    match why {
        store::Refused::Busy | store::Refused::Stopped => text_later(503, &said, 1),
        store::Refused::Poisoned => text(503, &said),
        store::Refused::DiskFull | store::Refused::UsersMax => text(507, &said),
    }
}

/// What the store answers; an end without an answer means that it has stopped.
pub(super) async fn answer_of<T>(reply: store::Reply<T>) -> Result<T, store::Refused> {
    reply.await.unwrap_or(Err(store::Refused::Stopped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, status: u16, expected: Option<u16>) {
        let answer = unrouted(&method, path, status);
        let answer = answer.map(|answer| answer.status().as_u16());
        assert_eq!(answer, expected, "{method} {path}");
    }

    #[test]
    fn paths_of_the_protocol_are_answered_in_text() {
        check(Method::GET, "/auth", 404, Some(404));
        check(Method::GET, "/auth/register", 405, Some(405));
        check(Method::GET, "/auth/check-userid/", 404, Some(200));
        check(Method::POST, "/auth/check-userid/", 404, Some(405));
        check(Method::GET, "/auth/users/", 404, Some(400));
        check(Method::GET, "/static/x", 404, Some(404));
        check(Method::GET, "/authx", 404, None);
        check(Method::GET, "/api/v1/auth", 404, None);
    }

    #[test]
    fn a_body_is_an_object() {
        let parse =
            |text: &'static str| parse::<super::super::account::Registration>(&Bytes::from(text));
        assert!(parse(r#" {"user_id":null,"more":[1]}"#).is_some());
        for text in [
            "",
            "null",
            "[]",
            r#"["a","b","c","d"]"#,
            "{",
            "{}x",
            r#"{"user_id":7}"#,
            "{\"user_id\":\"\u{0}\"}",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
