//! `GET /`: a page for trying the gateway in a browser (`debug.page`).

use crate::config::{Config, Mode};
use crate::http::{Answer, Page};
use crate::service::{Endpoint, EndpointAccess, EndpointGroup, Operation, Reply};

/// The page, with style and script inline; it loads nothing.
const PAGE: &str = include_str!("page.html");

/// The clients that docs/clients.md shows.
const CLIENTS: &str = concat!(
    include_str!("../../examples/follow.js"),
    include_str!("../../examples/listen.js"),
);

static ABOUT: Operation = Operation {
    group: EndpointGroup::Pages,
    summary: "A page to try the gateway out",
    doc: "The same events over WebSocket and as Server-Sent Events, in a browser.",
    access: EndpointAccess::Open,
    parameters: &[],
    body: None,
    replies: &[Reply::text(
        200,
        "The page.",
        "text/html",
        "<!doctype html>",
    )],
};

/// The page's endpoint; `None` if it is disabled.
pub(super) fn endpoint(config: &Config) -> Option<Endpoint> {
    if !config.debug.page {
        return None;
    }
    let page = Page::new(page(config));
    let answer = async move || -> Answer { page.answer() };
    Some(Endpoint::get("/", &ABOUT, answer))
}

/// The page for this configuration: with the WebSocket endpoint of the mode, and a field for a token if that endpoint
/// uses one.
fn page(config: &Config) -> String {
    let endpoint = match config.mode {
        Mode::Demo if config.events.demo_enabled => "/api/v1/ws/demo",
        Mode::Demo | Mode::Dev => "/api/v1/ws/dev",
        Mode::Prod => "/api/v1/ws",
    };
    let takes_token = endpoint != "/api/v1/ws/demo";
    PAGE.replace("{{clients}}", CLIENTS)
        .replace("{{endpoint}}", endpoint)
        .replace("{{token}}", &takes_token.to_string())
}
