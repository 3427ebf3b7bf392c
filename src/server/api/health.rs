//! Whether the gateway lives, takes connections, and what it counts.

use std::sync::Arc;

use axum::extract::{RawQuery, State as Shared};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::State;
use crate::http::{Answer, refuse, respond};
use crate::metrics::{render_json, render_prometheus};
use crate::protocol::Disconnect;
use crate::reactor::Phase;

const JSON: &str = "application/json";

/// `GET /health`: what all existing clients look for at once (spec/gateway.md 6.2).
pub(super) async fn health(Shared(state): Shared<Arc<State>>) -> Answer {
    let body = serde_json::json!({
        "status": "healthy",
        "service": "websocket-server",
        "connections": state.process.connections(),
        "uptime": "running",
        "uptime_seconds": state.started.elapsed().as_secs(),
    });
    respond(200, JSON, body.to_string())
}

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Answer {
    respond(200, JSON, r#"{"status":"live"}"#.to_owned())
}

/// `GET /health/ready`: new connections are welcome.
pub(super) async fn ready(Shared(state): Shared<Arc<State>>) -> Answer {
    match *state.phase.borrow() {
        Phase::Running => respond(200, JSON, r#"{"status":"ready"}"#.to_owned()),
        Phase::Draining(_) | Phase::Stopping => refuse(503, "The gateway is stopping", &[]),
    }
}

/// `GET /metrics`: JSON, or Prometheus text for those who ask for it.
pub(super) async fn metrics(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let uptime = state.started.elapsed().as_secs_f64();
    let wants_text = headers.get_all(ACCEPT).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|accept| accept.contains("text/plain") || accept.contains("openmetrics"))
    });
    let asks_for_text =
        query.is_some_and(|query| query.split('&').any(|pair| pair == "format=prometheus"));
    if wants_text || asks_for_text {
        let text = render_prometheus(&state.counters, &Disconnect::LABELS, uptime);
        respond(200, "text/plain; version=0.0.4; charset=utf-8", text)
    } else {
        respond(
            200,
            JSON,
            render_json(&state.counters, &Disconnect::LABELS, uptime),
        )
    }
}
