//! The requests that are answered: health, metrics, publishing.

mod bridge;
mod cors;
mod credentials;
mod dev_config;
mod directory;
mod docs;
mod events;
mod health;
mod history;
mod openapi;
mod operation;
mod order;
mod page;
mod publish;
mod receiving;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use tokio::sync::watch;

use crate::auth::Authenticator;
use crate::config::{Config, Mode};
use crate::http::{Api, refuse};
use crate::process::{Process, ProcessPhase};
use crate::shard::Handle;
use operation::Endpoint;
use page::Page;

/// What handlers know.
#[derive(Debug)]
struct State {
    shared: Arc<Shared>,
    /// The shard whose requests they answer.
    shard: Handle,
}

/// What the handlers of all shards know.
#[derive(Debug)]
struct Shared {
    config: Arc<Config>,
    process: Arc<Process>,
    phase: watch::Receiver<ProcessPhase>,
    authenticator: Arc<Authenticator>,
    started: Instant,
    /// What is said about all of this, for programs and for people.
    openapi: String,
    docs: Page,
}

impl Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// What can be asked of a gateway.
#[derive(Clone, Debug)]
pub(super) struct Routes(Arc<Shared>);

impl Routes {
    pub(super) fn new(
        config: &Arc<Config>,
        process: &Arc<Process>,
        authenticator: &Arc<Authenticator>,
        phase: watch::Receiver<ProcessPhase>,
    ) -> Self {
        let endpoints = endpoints(config);
        Self(Arc::new(Shared {
            config: config.clone(),
            process: process.clone(),
            phase,
            authenticator: authenticator.clone(),
            started: Instant::now(),
            openapi: openapi::document(config, &endpoints).to_string(),
            docs: Page::new(docs::html(config, &endpoints)),
        }))
    }

    /// The router of one shard, for its thread.
    pub(super) fn of(&self, shard: Handle) -> Api {
        let shared = self.0.clone();
        let endpoints = endpoints(&shared.config);
        let state = Arc::new(State { shared, shard });
        let shortcuts: Vec<_> = endpoints
            .iter()
            .filter_map(|endpoint| endpoint.shortcut(&state))
            .collect();
        let served = endpoints
            .into_iter()
            .fold(Router::new(), |router, endpoint| endpoint.join(router));
        let router = served
            .fallback(
                async |Extract(state): Extract<Arc<State>>, method: Method, uri: Uri| {
                    let check = health::check(&state, &method, &uri);
                    check.unwrap_or_else(|| refuse(404, "Not Found", &[]))
                },
            )
            .method_not_allowed_fallback(
                async |Extract(state): Extract<Arc<State>>, method: Method, uri: Uri| {
                    let check = health::check(&state, &method, &uri);
                    check.unwrap_or_else(|| refuse(405, "Method Not Allowed", &[]))
                },
            )
            .layer(from_fn_with_state(state.clone(), cors::layer))
            .with_state(state);
        Api::new(router, shortcuts)
    }
}

/// Everything that can be asked for with this configuration, and nothing else.
fn endpoints(config: &Config) -> Vec<Endpoint> {
    let mut endpoints = vec![
        Endpoint::post("/api/v1/publish", &publish::ABOUT, publish::publish),
        Endpoint::post("/api/v1/events", &events::PUBLISH, events::publish),
        Endpoint::post(
            "/api/v1/events/batch",
            &events::PUBLISH_BATCH,
            events::publish_batch,
        ),
        Endpoint::claimed("/api/v1/ws", &receiving::EVENTS),
        Endpoint::claimed("/api/v1/ws/{client_id}", &receiving::EVENTS_AS),
        Endpoint::get(
            "/api/v1/topics/{topic}/history",
            &history::ABOUT,
            history::history,
        ),
        Endpoint::get(
            "/api/v1/ws/connections",
            &directory::CONNECTIONS,
            directory::connections,
        ),
        Endpoint::get(
            "/api/v1/ws/subscriptions",
            &directory::SUBSCRIPTIONS,
            directory::subscriptions,
        ),
        Endpoint::get("/health", &health::HEALTH, health::health),
        Endpoint::get("/api/v1/health", &health::HEALTH, health::health),
        Endpoint::get("/health/live", &health::LIVE, health::live),
        Endpoint::get("/health/ready", &health::READY, health::ready),
        Endpoint::get("/metrics", &health::METRICS, health::metrics),
        Endpoint::get("/docs", &docs::ABOUT, docs::docs),
        Endpoint::get("/openapi.json", &openapi::ABOUT, openapi::openapi),
        Endpoint::get(
            "/api/v1/dev-config",
            &dev_config::ABOUT,
            dev_config::dev_config,
        ),
    ];
    if config.mode != Mode::Prod {
        endpoints.push(Endpoint::claimed("/api/v1/ws/dev", &receiving::EVENTS_DEV));
    }
    if config.events.demo_enabled {
        endpoints.push(Endpoint::claimed(
            "/api/v1/ws/demo",
            &receiving::EVENTS_DEMO,
        ));
    }
    if config.sse.enabled {
        endpoints.push(Endpoint::claimed("/api/v1/sse", &receiving::SSE));
    }
    if config.debug.echo {
        endpoints.push(Endpoint::claimed("/debug/echo", &receiving::ECHO));
    }
    if config.bridge.enabled {
        let paths = &config.bridge;
        endpoints.extend([
            Endpoint::post(&paths.push_path, &bridge::PUSH, bridge::push),
            Endpoint::post(&paths.batch_path, &bridge::PUSH_BATCH, bridge::push_batch),
            Endpoint::post(&paths.send_path, &bridge::SEND, bridge::send),
            Endpoint::claimed(&paths.ws_path, &receiving::BRIDGE),
        ]);
    }
    endpoints.extend(page::endpoint(config));
    endpoints
}
