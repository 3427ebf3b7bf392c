//! `GET /`: a page to try the gateway out in a browser (`debug.page`).

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::routing::get;

use super::State;
use crate::config::{Config, Mode};
use crate::http::{Answer, page_policy, respond};

/// The page: markup, style and script in one, nothing from elsewhere.
const PAGE: &str = include_str!("page.html");

/// The route of the page; none where it is switched off.
pub(super) fn routes(config: &Config) -> Router<std::sync::Arc<State>> {
    if !config.debug.page {
        return Router::new();
    }
    let page = page(config);
    let policy = HeaderValue::from_str(&page_policy(&page)).expect("a policy is plain text");
    Router::new().route(
        "/",
        get(async move || -> Answer {
            let mut answer = respond(200, "text/html; charset=utf-8", page);
            let headers = answer.headers_mut();
            headers.insert(CONTENT_SECURITY_POLICY, policy);
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            answer
        }),
    )
}

/// The page with the endpoint that fits the mode, and a field for a token
/// where that endpoint looks at one.
fn page(config: &Config) -> String {
    let endpoint = match config.mode {
        Mode::Demo if config.events.demo_enabled => "/api/v1/ws/demo",
        Mode::Demo | Mode::Dev => "/api/v1/ws/dev",
        Mode::Prod => "/api/v1/ws",
    };
    let takes_token = endpoint != "/api/v1/ws/demo";
    PAGE.replace("{{endpoint}}", endpoint)
        .replace("{{token}}", &takes_token.to_string())
}
