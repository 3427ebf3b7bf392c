//! Liveness, readiness and metrics.

use std::sync::Arc;

use axum::extract::{RawQuery, State as Shared};
use axum::http::header::{HeaderValue, VARY};
use axum::http::{HeaderMap, Method, Uri};

use crate::http::schema::{Field, Kind, Object};
use crate::http::{Answer, preferred, refuse, respond};
use crate::metrics::{render_json, render_prometheus};
use crate::process::ProcessPhase;
use crate::service::State;
use crate::service::{EndpointAccess, EndpointGroup, Operation, Parameter, Reply};
use crate::shard::Disconnect;

const JSON: &str = "application/json";

/// The content type of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /health`: status, version and counts, as existing clients expect them.
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

/// `GET /metrics`: JSON, or Prometheus text on request.
pub(super) async fn metrics(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let uptime = state.started.elapsed().as_secs_f64();
    state.process.update_gauges();
    let counters = &state.process.counters;
    let mut answer = if wants_text(query.as_deref().unwrap_or(""), &headers) {
        let text = render_prometheus(counters, &Disconnect::LABELS, uptime);
        respond(200, TEXT, text)
    } else {
        let json = render_json(counters, &Disconnect::LABELS, uptime);
        respond(200, JSON, json)
    };
    let vary = HeaderValue::from_static("Accept");
    answer.headers_mut().insert(VARY, vary);
    answer
}

/// Whether metrics are wanted as Prometheus text: `format` says so, or else `Accept`. Scrapers that
/// only ask for OpenMetrics, or for another version of the text, read this one.
fn wants_text(query: &str, headers: &HeaderMap) -> bool {
    let formats = query.split('&');
    match formats
        .filter_map(|pair| pair.strip_prefix("format="))
        .next()
    {
        Some("prometheus") => true,
        Some("json") => false,
        _ => match preferred(headers, &[JSON, TEXT, "application/openmetrics-text"]) {
            Some(place) => place > 0,
            None => preferred(headers, &["text/plain"]).is_some(),
        },
    }
}

pub(super) static HEALTH: Operation = Operation {
    group: EndpointGroup::Health,
    summary: "Whether the gateway is healthy",
    doc: "Has what clients of all protocols look for.",
    access: EndpointAccess::Open,
    parameters: &[],
    body: None,
    replies: &[Reply::json(
        200,
        "It is.",
        Kind::Of(&HEALTH_STATUS),
        r#"{"status":"healthy","service":"websocket-server","connections":12,"uptime":"running","uptime_seconds":86400}"#,
    )],
};

static HEALTH_STATUS: Object<5> = Object {
    name: "Health",
    doc: "How the gateway is.",
    fields: [
        Field::required(
            "status",
            Kind::OneOf(&[r#""healthy""#]),
            r#""healthy""#,
            "Always this.",
        ),
        Field::required(
            "service",
            Kind::String,
            r#""websocket-server""#,
            "Always this.",
        ),
        Field::required(
            "connections",
            Kind::Integer(0, u64::MAX),
            "12",
            "Open connections.",
        ),
        Field::required("uptime", Kind::String, r#""running""#, "Always this."),
        Field::required(
            "uptime_seconds",
            Kind::Integer(0, u64::MAX),
            "86400",
            "How long the gateway has been running.",
        ),
    ],
};

pub(super) static LIVE: Operation = Operation {
    group: EndpointGroup::Health,
    summary: "Whether the process answers",
    doc: "For a supervisor that restarts what does not.",
    access: EndpointAccess::Open,
    parameters: &[],
    body: None,
    replies: &[Reply::json(
        200,
        "It does.",
        Kind::Of(&STATUS),
        r#"{"status":"live"}"#,
    )],
};

pub(super) static READY: Operation = Operation {
    group: EndpointGroup::Health,
    summary: "Whether new connections are welcome",
    doc: "For a load balancer: a gateway that is stopping finishes what it has and takes nothing new.",
    access: EndpointAccess::Open,
    parameters: &[],
    body: None,
    replies: &[
        Reply::json(200, "They are.", Kind::Of(&STATUS), r#"{"status":"ready"}"#),
        Reply::refusal(
            503,
            "The gateway is stopping.",
            r#"{"detail":"The gateway is stopping"}"#,
        ),
    ],
};

static STATUS: Object<1> = Object {
    name: "Status",
    doc: "How the gateway is.",
    fields: [Field::required(
        "status",
        Kind::String,
        r#""ready""#,
        "In a word.",
    )],
};

pub(super) static METRICS: Operation = Operation {
    group: EndpointGroup::Health,
    summary: "What the gateway counts",
    doc: "JSON, or Prometheus text for whoever prefers it by `Accept: text/plain`, as scrapers do; `format` \
          comes before `Accept`.",
    access: EndpointAccess::Open,
    parameters: &[Parameter::query(Field::optional(
        "format",
        Kind::OneOf(&[r#""prometheus""#, r#""json""#]),
        r#""prometheus""#,
        "Which of the two.",
    ))],
    body: None,
    replies: &[Reply {
        text: Some((
            "text/plain",
            "# TYPE wse_active_connections gauge\nwse_active_connections 12\n",
        )),
        ..Reply::json(
            200,
            "Counters and gauges; there are more than the example has.",
            Kind::Object,
            r#"{"active_connections":12,"service":"websocket-sse-server","uptime_seconds":86400.5}"#,
        )
    }],
};
