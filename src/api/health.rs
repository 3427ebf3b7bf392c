//! Liveness, readiness and metrics.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{RawQuery, State as Shared};
use axum::http::header::{HeaderValue, VARY};
use axum::http::{HeaderMap, Method, Uri};

use crate::http::{Answer, preferred, refuse, respond};
use crate::metrics::{ProcessUsage, render_json, render_old_names, render_prometheus};
use crate::net::process_usage;
use crate::process::ProcessPhase;
use crate::service::State;
use crate::shard::Disconnect;
use crate::store::StoreHealth;

const JSON: &str = "application/json";

/// The content type of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /health`: status, version and counts, as existing clients expect them. A store that does not store degrades it;
/// all else goes on, so the status of the response stays 200.
pub(super) async fn health(Shared(state): Shared<Arc<State>>) -> Answer {
    let store = state.process.store.as_ref().map(|it| it.health());
    let status = match store {
        None | Some(StoreHealth::Good) => "healthy",
        Some(StoreHealth::DiskFull | StoreHealth::Unreachable | StoreHealth::Poisoned(_)) => {
            "degraded"
        }
    };
    let mut body = serde_json::json!({
        "status": status,
        "service": "websocket-server",
        "connections": state.process.connections(),
        "uptime": "running",
        "uptime_seconds": state.started.elapsed().as_secs(),
    });
    if let Some(store) = store {
        body["store"] = match store {
            StoreHealth::Good => "good",
            StoreHealth::DiskFull => "full",
            StoreHealth::Unreachable => "unreachable",
            StoreHealth::Poisoned(_) => "failed",
        }
        .into();
    }
    respond(200, JSON, body.to_string())
}

/// `GET /health/live`: 200 as long as the process answers.
pub(super) async fn live() -> Answer {
    respond(200, JSON, r#"{"status":"live"}"#.to_owned())
}

/// `GET /health/ready`: 200 as long as the gateway accepts new connections.
pub(super) async fn ready(Shared(state): Shared<Arc<State>>) -> Answer {
    readiness(&state)
}

/// `OPTIONS` of the whole gateway, as `*` or `/`, or of a path above: how HAProxy checks a server unless
/// it is told a method (`option httpchk`). `None` for any other request.
pub(super) fn check(state: &State, method: &Method, uri: &Uri) -> Option<Answer> {
    match uri.path() {
        _ if method != Method::OPTIONS => None,
        "*" | "/" | "/health/ready" => Some(readiness(state)),
        "/health" | "/api/v1/health" | "/health/live" => Some(Answer::default()),
        _ => None,
    }
}

fn readiness(state: &State) -> Answer {
    match *state.phase.borrow() {
        ProcessPhase::Running => respond(200, JSON, r#"{"status":"ready"}"#.to_owned()),
        ProcessPhase::Draining { .. } | ProcessPhase::Stopping => {
            refuse(503, "The gateway is stopping", &[])
        }
    }
}

/// `GET /metrics`: JSON, or Prometheus text on request. `names` has the numbers, as text, under the names that they had
/// in the server of a protocol.
pub(super) async fn metrics(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let uptime = state.started.elapsed().as_secs_f64();
    let usage = ProcessUsage {
        started_seconds: state.process.started_seconds(),
        ..process_usage().await
    };
    state.process.update_gauges();
    let (counters, registered) = (&state.process.counters, &state.process.registered);
    let query = query.as_deref().unwrap_or("");
    if let Some(names) = parameter(query, "names") {
        return match render_old_names(counters, registered, names, uptime) {
            Some(text) => respond(200, TEXT, text),
            None => refuse(400, "No protocol has registered such names", &[]),
        };
    }
    let ends = Disconnect::labels(registered);
    let mut answer = if wants_text(query, &headers) {
        let mut text = render_prometheus(counters, registered, &ends, uptime, &usage);
        if let Some(key_set) = &state.authenticator.key_set {
            key_set.render_prometheus(&mut text, Instant::now());
        }
        if let Some(store) = &state.process.store {
            store.render_prometheus(&mut text);
        }
        respond(200, TEXT, text)
    } else {
        let json = render_json(counters, registered, &ends, uptime, &usage);
        respond(200, JSON, json)
    };
    let vary = HeaderValue::from_static("Accept");
    answer.headers_mut().insert(VARY, vary);
    answer
}

/// The value of a parameter, which has no escapes.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let value = |pair: &'q str| pair.strip_prefix(name)?.strip_prefix('=');
    query.split('&').find_map(value)
}

/// Whether metrics are wanted as Prometheus text: `format` says so, or else `Accept`. Scrapers that
/// only ask for OpenMetrics, or for another version of the text, read this one.
fn wants_text(query: &str, headers: &HeaderMap) -> bool {
    match parameter(query, "format") {
        Some("prometheus") => true,
        Some("json") => false,
        _ => match preferred(headers, &[JSON, TEXT, "application/openmetrics-text"]) {
            Some(place) => place > 0,
            None => preferred(headers, &["text/plain"]).is_some(),
        },
    }
}
