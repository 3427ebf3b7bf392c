//! The configuration that clients need to connect, in demo and dev mode.

use std::sync::Arc;

use axum::extract::State as Shared;

use crate::config::Mode;
use crate::dialect::events::BATCH_MESSAGES_MAX;
use crate::http::{Answer, refuse, respond};
use crate::service::State;

/// `GET /api/v1/dev-config`: endpoints and defaults, in demo and dev mode.
pub(super) async fn dev_config(Shared(state): Shared<Arc<State>>) -> Answer {
    let config = &state.config;
    if config.mode == Mode::Prod {
        return refuse(404, "Not Found", &[]);
    }
    let websocket = &config.websocket;
    let demo = config.clients.demo_enabled.then_some("/api/v1/ws/demo");
    let body = serde_json::json!({
        "mode": config.mode.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "auth_required": config.clients.auth_required,
        "endpoint": config.clients.endpoint,
        "endpoints": {
            "demo": demo,
            "dev": "/api/v1/ws/dev",
            "prod": "/api/v1/ws",
            "client": "/api/v1/ws/{client_id}",
            "publish": "/api/v1/events",
            "health": "/api/v1/health",
        },
        "formats": ["json", "msgpack"],
        "limits": {
            "connections": config.clients.max_connections,
            "frames_per_minute": config.clients.frames_per_minute,
            "message_bytes": config.clients.max_message_size,
            "subscriptions": config.clients.max_subscriptions,
            "batch_messages": BATCH_MESSAGES_MAX,
        },
        "ping_interval_seconds": websocket.ping_interval.as_secs_f64(),
        "ping_timeout_seconds": websocket.ping_timeout.as_secs_f64(),
    });
    respond(200, "application/json", body.to_string())
}
