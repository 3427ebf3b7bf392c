//! `GET /docs`: the HTTP API for people; `GET /`: a page for trying the gateway in a browser (`debug.page`).

use crate::config::{Config, Mode};
use crate::http::{Answer, Page};
use crate::service::{Endpoint, Role};

/// Both pages have their style and script inline. The one at `/docs` reads `/openapi.json`.
const DOCS: &str = include_str!("docs.html");
const PAGE: &str = include_str!("page.html");

/// The clients that docs/clients.md shows.
const CLIENTS: &str = concat!(
    include_str!("../../examples/follow.js"),
    include_str!("../../examples/listen.js"),
);

/// The pages that are enabled.
pub(super) fn endpoints(config: &Config) -> Vec<Endpoint> {
    let mut endpoints = vec![endpoint("/docs", docs(config))];
    if config.debug.page {
        endpoints.push(endpoint("/", page(config)).serving(Role::Clients));
    }
    endpoints
}

fn endpoint(path: &'static str, html: String) -> Endpoint {
    let page = Page::new(html);
    let answer = async move || -> Answer { page.answer() };
    Endpoint::get(path, answer)
}

/// Whether this build has the page for operators, and serves it.
pub(super) fn has_monitor(config: &Config) -> bool {
    cfg!(feature = "monitor") && config.debug.monitor
}

/// The page that shows `/openapi.json`.
fn docs(config: &Config) -> String {
    DOCS.replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{mode}}", &config.mode.to_string())
}

/// The page for trying the gateway: with the WebSocket endpoint of the mode, a field for a token if that endpoint
/// uses one, and a link to the page for operators where there is one.
fn page(config: &Config) -> String {
    let monitor = match has_monitor(config) {
        true => r#"<a href="/monitor">monitor</a>"#,
        false => "",
    };
    let endpoint = match config.mode {
        Mode::Demo if config.clients.demo_enabled => "/api/v1/ws/demo",
        Mode::Demo | Mode::Dev => "/api/v1/ws/dev",
        Mode::Prod => "/api/v1/ws",
    };
    let takes_token = endpoint != "/api/v1/ws/demo";
    PAGE.replace("{{clients}}", CLIENTS)
        .replace("{{monitor}}", monitor)
        .replace("{{endpoint}}", endpoint)
        .replace("{{token}}", &takes_token.to_string())
}
