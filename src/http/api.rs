//! The requests that are answered instead of claimed.

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::Answer;

/// The router of a gateway, the same for every connection.
#[derive(Clone, Debug)]
pub struct Api(pub Router);

impl Api {
    /// Answers one request.
    pub async fn answer(self, request: Request<Incoming>) -> Answer {
        let answered = TowerToHyperService::new(self.0).call(request.map(Body::new));
        answered.await.unwrap_or_else(|never| match never {})
    }
}
