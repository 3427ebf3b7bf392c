//! The requests that are answered: health, metrics, publishing.

mod bridge;
mod cors;
mod credentials;
mod dev_config;
mod directory;
mod events;
mod health;
mod history;
mod order;
mod page;
mod publish;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::sync::watch;

use crate::auth::Authenticator;
use crate::config::Config;
use crate::http::{Answer, Api, refuse};
use crate::metrics::Counters;
use crate::reactor::Phase;
use crate::shard::Process;

/// What handlers know. The shard they run on is found by `shard::local`.
#[derive(Debug)]
struct State {
    config: Arc<Config>,
    counters: Vec<Arc<Counters>>,
    process: Arc<Process>,
    phase: watch::Receiver<Phase>,
    authenticator: Arc<Authenticator>,
    started: Instant,
}

/// The router, the same for every shard.
pub(super) fn routes(
    config: &Arc<Config>,
    counters: &[Arc<Counters>],
    process: &Arc<Process>,
    authenticator: &Arc<Authenticator>,
    phase: watch::Receiver<Phase>,
) -> Api {
    let state = Arc::new(State {
        config: config.clone(),
        counters: counters.to_vec(),
        process: process.clone(),
        phase,
        authenticator: authenticator.clone(),
        started: Instant::now(),
    });
    let router = Router::new()
        .route("/api/v1/dev-config", get(dev_config::dev_config))
        .route("/health", get(health::health))
        .route("/api/v1/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/api/v1/events", post(events::publish))
        .route("/api/v1/events/batch", post(events::publish_batch))
        .route("/api/v1/ws/connections", get(directory::connections))
        .route("/api/v1/ws/subscriptions", get(directory::subscriptions))
        .route("/api/v1/publish", post(publish::publish))
        .route("/api/v1/topics/{topic}/history", get(history::history))
        .merge(bridge_routes(config))
        .merge(page::routes(config))
        .fallback(async || -> Answer { refuse(404, "Not Found", &[]) })
        .method_not_allowed_fallback(async || -> Answer { refuse(405, "Method Not Allowed", &[]) })
        .layer(DefaultBodyLimit::max(config.http.max_body_size))
        .layer(from_fn_with_state(state.clone(), cors::layer))
        .with_state(state);
    Api(router)
}

/// The routes of the bridge protocol, whose paths are configured.
fn bridge_routes(config: &Config) -> Router<Arc<State>> {
    let config = &config.bridge;
    if !config.enabled {
        return Router::new();
    }
    Router::new()
        .route(&config.push_path, post(bridge::push))
        .route(&config.batch_path, post(bridge::push_batch))
        .route(&config.send_path, post(bridge::send))
}
