//! The requests that are answered instead of claimed.

use std::net::IpAddr;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::Answer;

/// Where a request comes from, as an extension of it: the client's address, if
/// those in between are believed, or the socket's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientAddress(pub IpAddr);

/// The router of a gateway, the same for every connection.
#[derive(Clone, Debug)]
pub struct Api(pub Router);

impl Api {
    /// Answers one request from `address`.
    pub async fn answer(self, mut request: Request<Incoming>, address: IpAddr) -> Answer {
        request.extensions_mut().insert(ClientAddress(address));
        let answered = TowerToHyperService::new(self.0).call(request.map(Body::new));
        answered.await.unwrap_or_else(|never| match never {})
    }
}
