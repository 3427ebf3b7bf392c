//! What a client needs to know to begin, where nothing is secret.

use std::sync::Arc;

use axum::extract::State as Shared;

use super::State;
use crate::config::Mode;
use crate::http::{Answer, refuse, respond};

/// `GET /api/v1/dev-config`: endpoints and defaults, in demo and dev mode.
pub(super) async fn dev_config(Shared(state): Shared<Arc<State>>) -> Answer {
    let config = &state.config;
    if config.mode == Mode::Prod {
        return refuse(404, "Not Found", &[]);
    }
    let (events, websocket) = (&config.events, &config.websocket);
    let body = serde_json::json!({
        "mode": config.mode.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "auth_required": events.auth_required,
        "endpoint": events.endpoint,
        "limits": {
            "connections": events.max_connections,
            "frames_per_minute": events.frames_per_minute,
            "message_bytes": events.max_message_size,
            "subscriptions": events.max_subscriptions,
        },
        "ping_interval_seconds": websocket.ping_interval.as_secs_f64(),
        "ping_timeout_seconds": websocket.ping_timeout.as_secs_f64(),
    });
    respond(200, "application/json", body.to_string())
}
