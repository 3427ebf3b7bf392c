//! The bridge protocol (docs/bridge.md): services push to users over HTTP; users answer over WebSocket; a service that
//! asked gets the answers as an SSE response.

mod api;
mod claim;
mod data;
mod format;
mod frame;
mod inbound;
mod invalid;
mod mention;
mod push;
mod session;
mod syntax;
mod user;

pub use format::{BridgeFormats, PUSH};
pub use frame::{put_completed, put_error_frame};
pub use inbound::Inbound;
pub use invalid::{DETAILS_MAX, Invalid};
pub use push::Push;
pub use user::user_of;

use std::net::IpAddr;
use std::rc::Rc;

use hyper::Request;
use hyper::body::Incoming;

use crate::config::Config;
use crate::conn::{Admission, Claimed, Dialect, Route};
use crate::engine::FormatRegistry;
use crate::service::Endpoint;
use crate::shard::Shard;

/// The bridge protocol.
#[derive(Debug)]
pub struct Bridge {
    formats: BridgeFormats,
}

impl Bridge {
    /// Registers the protocol's formats.
    pub fn register(formats: &mut FormatRegistry) -> Self {
        Self {
            formats: BridgeFormats::register(formats),
        }
    }
}

impl Dialect for Bridge {
    fn route(&self, config: &Config, path: &str) -> Option<Route> {
        let is_own = config.bridge.enabled && path == &*config.bridge.ws_path;
        is_own.then_some(Route::Connection)
    }

    fn openapi(&self) -> &'static str {
        include_str!("bridge/openapi.json")
    }

    fn endpoints(&self, config: &Config) -> Vec<Endpoint> {
        api::endpoints(config)
    }

    fn claim(
        &self,
        shard: &Rc<Shard>,
        request: &Request<Incoming>,
        address: IpAddr,
    ) -> Admission<Claimed> {
        let claim = claim::claim(&self.formats, shard, request, address)?;
        Ok(Claimed::WebSocket(Box::new(claim)))
    }
}
