//! The requests that are answered instead of claimed.

use std::net::IpAddr;

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

/// The address a request came from, for handlers.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);

impl Api {
    /// Answers one request that came from `address`.
    pub async fn answer(self, mut request: Request<Incoming>, address: IpAddr) -> Answer {
        request.extensions_mut().insert(PeerAddress(address));
        let answered = TowerToHyperService::new(self.0).call(request.map(Body::new));
        answered.await.unwrap_or_else(|never| match never {})
    }
}
