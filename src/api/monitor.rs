//! `GET /monitor`: the page for operators (`debug.monitor`), in a build that has it.

use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use rust_embed::Embed;

use crate::http::{Answer, refuse, respond};
use crate::service::{Endpoint, Role};

/// What `make monitor` builds: a page, and assets with the hashes of their contents in their names.
#[derive(Embed)]
#[folder = "clients/monitor/dist"]
struct Files;

/// The page loads its own assets, and connects to where it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and its assets. They have no secrets: what the page shows is a matter of its reader's token.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let page = async || file("index.html", "no-cache");
    let asset = async |Path(name): Path<String>| {
        file(
            &format!("assets/{name}"),
            "public, max-age=31536000, immutable",
        )
    };
    let endpoints = [
        Endpoint::get("/monitor", page),
        Endpoint::get("/monitor", page).at("/monitor/"),
        Endpoint::get("/monitor/assets/{name}", asset),
    ];
    let endpoints = endpoints.into_iter();
    endpoints
        .map(|endpoint| endpoint.serving(Role::Clients))
        .collect()
}

fn file(path: &str, cached: &'static str) -> Answer {
    let Some(file) = Files::get(path) else {
        return refuse(404, "Not Found", &[]);
    };
    let mut answer = respond(200, content_type(path), file.data.into_owned());
    let headers: [(HeaderName, &'static str); 4] = [
        (CACHE_CONTROL, cached),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
