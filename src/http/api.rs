//! The handler of requests that are answered rather than claimed as connections.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::Answer;
use crate::collections::HashMap;

/// The client's address, as an extension of the request: that given by trusted proxies, else the socket's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientAddress(pub IpAddr);

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

    /// Answers one request from `address`.
    pub async fn answer(self, mut request: Request<Incoming>, address: IpAddr) -> Answer {
        request.extensions_mut().insert(ClientAddress(address));
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
