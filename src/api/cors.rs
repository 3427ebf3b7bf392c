//! Cross-origin requests to the API.

use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::middleware::Next;

use crate::http::{Answer, allow_page, origins_of, preflight};
use crate::service::State;

/// Answers preflight requests, and adds CORS headers for pages of `http.cors_origins` to other responses.
pub(super) async fn layer(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Answer {
    let origins = &state.config.http.cors_origins;
    if origins.is_empty() {
        return next.run(request).await;
    }
    let asked = origins_of(request.headers());
    let mut answer = match preflight(origins, request.method(), request.headers()) {
        Some(answer) => answer,
        None => next.run(request).await,
    };
    allow_page(origins, &asked, answer.headers_mut());
    answer
}
