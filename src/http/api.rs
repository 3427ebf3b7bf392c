//! The handler of requests that are answered rather than claimed as connections.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::{Answer, Source};
use crate::collections::HashMap;

/// The handler of the POST requests of one path, which bypasses the router: at tens of thousands of publications per
/// second the router's layers cost as much as publishing.
pub type Shortcut = Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>;

/// A response to come.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The handler of all HTTP requests, shared by all connections.
#[derive(Clone)]
pub struct Api {
    router: Router,
    shortcuts: Arc<HashMap<Box<str>, Shortcut>>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("router", &self.router)
            .field("shortcuts", &self.shortcuts.keys())
            .finish()
    }
}

impl Api {
    /// An API. The paths with a shortcut are the router's, too, for other methods.
    #[must_use]
    pub fn new(router: Router, shortcuts: impl IntoIterator<Item = (Box<str>, Shortcut)>) -> Self {
        Self {
            router,
            shortcuts: Arc::new(shortcuts.into_iter().collect()),
        }
    }

    /// Answers one request. Handlers find its `source` among its extensions.
    pub async fn answer(self, mut request: Request<Incoming>, source: Source) -> Answer {
        request.extensions_mut().insert(source);
        let request = request.map(Body::new);
        if request.method() == Method::POST
            && let Some(shortcut) = self.shortcuts.get(request.uri().path())
        {
            return shortcut(request).await;
        }
        let answered = TowerToHyperService::new(self.router).call(request);
        answered.await.unwrap_or_else(|never| match never {})
    }
}
