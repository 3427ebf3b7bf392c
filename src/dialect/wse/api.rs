//! The HTTP endpoints of the wse protocol.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::http::HeaderMap;

use super::Wse;
use super::compress::Compressor;
use crate::config::Mode;
use crate::http::{Answer, Rejection, Source, respond};
use crate::service::{Endpoint, Role, State};

const JSON: &str = "application/json";

/// The protocol's endpoints.
pub(super) fn endpoints(wse: &Arc<Wse>) -> Vec<Endpoint> {
    let path = &wse.settings.path;
    let below = |name: &str| format!("{path}/{name}");
    let debug = Endpoint::get("/wse/debug", debug).at(&below("debug"));
    vec![
        debug.asking(wse.mode == Mode::Prod),
        Endpoint::claimed("/wse").at(path).asking(wse.asks()),
        Endpoint::get("/wse/health", health)
            .at(&below("health"))
            .serving(Role::All)
            .asking(false),
        Endpoint::get("/wse/compression-test", compression_test)
            .at(&below("compression-test"))
            .serving(Role::All)
            .asking(false),
    ]
}

/// `GET /wse/health`.
async fn health(Shared(state): Shared<Arc<State>>) -> Answer {
    let body = serde_json::json!({
        "status": "healthy",
        "connections": state.process.connections(),
        "uptime_seconds": state.started.elapsed().as_secs(),
    });
    respond(200, JSON, body.to_string())
}

/// `GET /wse/debug`: counts, for services but in demo and dev mode.
async fn debug(
    Shared(state): Shared<Arc<State>>,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
) -> Result<Answer, Rejection> {
    if state.config.mode == Mode::Prod {
        state.check_credential(&headers, source, None, true)?;
    }
    state.process.update_gauges();
    let (totals, counters) = (state.process.totals(), &state.process.counters);
    let topics: u64 = counters.iter().map(|shard| shard.topics.read()).sum();
    let body = serde_json::json!({
        "connections": state.process.connections(),
        "subscriptions": totals.subscriptions,
        "topics": topics,
        "bus": {"messages_in": totals.messages_in, "messages_out": totals.messages_out},
        "mode": state.config.mode.to_string(),
    });
    Ok(respond(200, JSON, body.to_string()))
}

/// `GET /wse/compression-test`: what compression makes of a message.
async fn compression_test() -> Answer {
    let item = r#"{"symbol":"EURUSD","bid":1.08421,"ask":1.08424,"volume":1000000}"#;
    let sample = format!(
        r#"{{"t":"sample_snapshot","p":{{"data":[{}]}}}}"#,
        [item; 100].join(",")
    );
    let raw = sample.len();
    let compressed = Compressor::default().compress(sample.as_bytes()).len();
    let body = serde_json::json!({
        "original_size": raw,
        "compressed_size": compressed,
        "ratio": raw as f64 / compressed as f64,
    });
    respond(200, JSON, body.to_string())
}
