//! One HTTP request.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::output::shown;
use crate::transport::Transport;

/// Until the whole answer is there.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Bytes of an answer: a list of all users is the longest.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Characters of an answer that are shown.
const SHOWN_MAX: usize = 200;
/// What this client calls itself.
pub(crate) const AGENT: &str = concat!("fanfare-chat/", env!("CARGO_PKG_VERSION"));

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Without the end of its last line.
    pub(crate) text: String,
    /// How long to wait, where it says so.
    pub(crate) retry_after: Option<Duration>,
}

impl Answer {
    /// What it says, for people.
    pub(crate) fn shown(&self) -> String {
        let json: Option<Value> = serde_json::from_str(&self.text).ok();
        // As in {"detail":".."}: what is for people.
        let said = json.as_ref().and_then(|it| {
            let fields = ["detail", "error", "message"];
            fields.iter().find_map(|field| it[field].as_str())
        });
        let text: String = said.unwrap_or(&self.text).chars().take(SHOWN_MAX).collect();
        format!("{} {}", self.status, shown(&text))
    }
}

/// Sends `body`, if there is one, as JSON. Must run in a `LocalSet`. An error says what to do.
pub(crate) async fn ask(
    transport: &Transport,
    method: Method,
    path: &str,
    body: Option<String>,
) -> Result<Answer, String> {
    let answered = timeout(ANSWER_MAX, ask_without_limit(transport, method, path, body)).await;
    answered.unwrap_or_else(|_| {
        let seconds = ANSWER_MAX.as_secs();
        Err(format!(
            "{} does not answer within {seconds} s",
            transport.url.shown()
        ))
    })
}

async fn ask_without_limit(
    transport: &Transport,
    method: Method,
    path: &str,
    body: Option<String>,
) -> Result<Answer, String> {
    let server = transport.url.shown();
    let failed = |error: &dyn std::error::Error| format!("{server} does not answer: {error}");
    let stream = transport.connect().await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    // It ends with the request: the server is told to close.
    let connection = spawn_local(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(transport.url.target(path))
        .header(HOST, transport.url.authority())
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())));
    let request = request.map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await;
    let response = response.map_err(|error| failed(&error))?;
    let (head, body) = response.into_parts();
    if head.status.is_redirection() {
        return Err(redirected(transport, &head.headers));
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("{server} does not answer in full: {error}"))?;
    connection.abort();
    let text = String::from_utf8_lossy(&body.to_bytes())
        .trim_end()
        .to_owned();
    Ok(Answer {
        status: head.status.as_u16(),
        text,
        retry_after: retry_after(&head.headers),
    })
}

fn redirected(transport: &Transport, headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|it| it.to_str().ok());
    let location = shown(location.unwrap_or("another address"));
    let option = transport.url.option;
    let server = transport.url.shown();
    format!("{server} says to go to {location}: set {option} to that server, as https://..")
}

/// Seconds that a server asks to wait; not more than a day.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(24 * 60 * 60)))
}
