//! Cross-origin requests to the API.

use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use axum::middleware::Next;

use super::State;
use crate::http::{Answer, allow_page, preflight};

/// Answers a browser's question about a request itself; lets pages of `http.cors_origins` read the
/// answers to the others.
pub(super) async fn layer(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Answer {
    let origins = &state.config.http.cors_origins;
    if origins.is_empty() {
        return next.run(request).await;
    }
    let asked = origins_of(&request);
    let mut answer = match preflight(origins, request.method(), request.headers()) {
        Some(answer) => answer,
        None => next.run(request).await,
    };
    allow_page(origins, &asked, answer.headers_mut());
    answer
}

/// The headers of a request that say which page it comes from. Most requests come from
/// services, which are no pages.
pub(super) fn origins_of(request: &Request) -> HeaderMap {
    let origins = request.headers().get_all(ORIGIN).into_iter();
    origins.map(|origin| (ORIGIN, origin.clone())).collect()
}
