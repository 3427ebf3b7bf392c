//! `GET /docs`: the HTTP API for people; `GET /`: a page for trying the gateway in a browser (`debug.page`); `GET /monitor`:
//! the page for operators, in a build that has it (`debug.monitor`).

use crate::config::{Config, Mode};
use crate::http::{Answer, Page};
use crate::service::{Endpoint, Role};

/// Both pages have their style and script inline. The one at `/docs` reads `/openapi.json`.
const DOCS: &str = include_str!("docs.html");
const PAGE: &str = include_str!("page.html");

/// The page that `make monitor` makes of `clients/monitor`, with its style and script inline.
#[cfg(feature = "monitor")]
const MONITOR: Option<&str> = Some(include_str!("../../clients/monitor/dist/index.html"));
#[cfg(not(feature = "monitor"))]
const MONITOR: Option<&str> = None;

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
    if let Some(monitor) = monitor(config) {
        endpoints.push(endpoint("/monitor", with_endpoint(monitor, config)).serving(Role::Clients));
    }
    endpoints
}

fn endpoint(path: &'static str, html: String) -> Endpoint {
    let page = Page::new(html);
    let answer = async move || -> Answer { page.answer() };
    Endpoint::get(path, answer)
}

/// The page that shows `/openapi.json`.
fn docs(config: &Config) -> String {
    DOCS.replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{mode}}", &config.mode.to_string())
}

/// The page for operators, if there is one here. It has no secrets: what it shows is a matter of its reader's token.
fn monitor(config: &Config) -> Option<&'static str> {
    MONITOR.filter(|_| config.debug.monitor)
}

/// The page for trying the gateway.
fn page(config: &Config) -> String {
    let link = match monitor(config) {
        Some(_) => r#"<a href="/monitor">monitor</a>"#,
        None => "",
    };
    with_endpoint(PAGE, config)
        .replace("{{clients}}", CLIENTS)
        .replace("{{monitor}}", link)
}

/// A page with the WebSocket endpoint of the mode, and a field for a token if that endpoint uses one.
fn with_endpoint(html: &str, config: &Config) -> String {
    let endpoint = match config.mode {
        Mode::Demo if config.clients.demo_enabled => "/api/v1/ws/demo",
        Mode::Demo | Mode::Dev => "/api/v1/ws/dev",
        Mode::Prod => "/api/v1/ws",
    };
    let takes_token = endpoint != "/api/v1/ws/demo";
    html.replace("{{endpoint}}", endpoint)
        .replace("{{token}}", &takes_token.to_string())
}
