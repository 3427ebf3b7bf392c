//! The router of all HTTP endpoints, and those of no protocol: health, metrics, publishing, history, listings.

mod connections;
mod cors;
mod directory;
mod health;
mod history;
#[cfg(feature = "monitor")]
mod monitor;
mod openapi;
mod page;
mod publish;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use tokio::sync::watch;

use crate::auth::Authenticator;
use crate::config::Config;
use crate::conn::Dialects;
use crate::http::{Api, refuse};
use crate::process::{Process, ProcessPhase};
use crate::service::{Endpoint, Role, Shared, State};
use crate::shard::Handle;

/// The routes of a gateway.
#[derive(Clone, Debug)]
pub struct Routes {
    shared: Arc<Shared>,
    dialects: Dialects,
}

impl Routes {
    /// The routes with this configuration and these protocols.
    #[must_use]
    pub fn new(
        config: &Arc<Config>,
        (process, authenticator): (&Arc<Process>, &Arc<Authenticator>),
        phase: watch::Receiver<ProcessPhase>,
        dialects: Dialects,
    ) -> Self {
        let endpoints = endpoints(config, &dialects);
        let protocols: Vec<&str> = dialects.iter().map(|dialect| dialect.openapi()).collect();
        let shared = Arc::new(Shared {
            config: config.clone(),
            process: process.clone(),
            phase,
            authenticator: authenticator.clone(),
            started: Instant::now(),
            openapi: openapi::document(config, &protocols, &endpoints).to_string(),
        });
        Self { shared, dialects }
    }

    /// The router of one shard, for its thread and its listeners of this role. What is for another role is not found
    /// there.
    pub fn of(&self, shard: Handle, role: Role) -> Api {
        let shared = self.shared.clone();
        let mut endpoints = endpoints(&shared.config, &self.dialects);
        endpoints.retain(|endpoint| role.serves(endpoint.role));
        let state = Arc::new(State { shared, shard });
        let shortcuts: Vec<_> = endpoints
            .iter()
            .filter_map(|endpoint| endpoint.shortcut(&state))
            .collect();
        let served = endpoints
            .into_iter()
            .fold(Router::new(), |router, endpoint| endpoint.join(router));
        let unrouted = |status, why| {
            let dialects = self.dialects.clone();
            move |Extract(state): Extract<Arc<State>>, method: Method, uri: Uri| async move {
                let mut own = dialects.iter();
                let own = || own.find_map(|it| it.unrouted(&method, uri.path(), status));
                let check = health::check(&state, &method, &uri);
                let answer = check.or_else(own);
                answer.unwrap_or_else(|| refuse(status, why, &[]))
            }
        };
        let router = served
            .fallback(unrouted(404, "Not Found"))
            .method_not_allowed_fallback(unrouted(405, "Method Not Allowed"))
            .layer(from_fn_with_state(state.clone(), cors::layer))
            .with_state(state);
        Api::new(router, shortcuts)
    }
}

/// All endpoints that are enabled by this configuration.
fn endpoints(config: &Config, dialects: &Dialects) -> Vec<Endpoint> {
    let mut endpoints = vec![
        Endpoint::post("/api/v1/publish", publish::publish),
        Endpoint::get("/api/v1/topics/{topic}/history", history::history),
        Endpoint::get("/api/v1/ws/connections", directory::connections),
        Endpoint::get("/api/v1/ws/subscriptions", directory::subscriptions),
        Endpoint::get("/health", health::health).serving(Role::All),
        Endpoint::get("/health", health::health)
            .at("/api/v1/health")
            .serving(Role::All),
        Endpoint::get("/health/live", health::live).serving(Role::All),
        Endpoint::get("/health/ready", health::ready).serving(Role::All),
        Endpoint::get("/metrics", health::metrics),
        Endpoint::get("/openapi.json", openapi::openapi),
    ];
    let asks = config.asks_operators();
    endpoints.extend(connections::endpoints().map(|endpoint| endpoint.asking(asks)));
    let own = dialects.iter();
    endpoints.extend(own.flat_map(|dialect| dialect.endpoints()));
    endpoints.extend(page::endpoints(config));
    #[cfg(feature = "monitor")]
    if page::has_monitor(config) {
        endpoints.extend(monitor::endpoints());
    }
    endpoints
}
