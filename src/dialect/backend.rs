//! The backend link (docs/backend.md): an application attaches with one WebSocket, is told what clients say, and acts.

mod answers;
mod api;
mod claim;
mod failure;
mod format;
mod operation;
mod request;
mod session;

pub use failure::{ErrorCode, Failure};
pub use operation::{BadObject, OBJECTS_MAX, Operation, Said, Target, objects};
pub use request::{LinkEncoding, LinkRequest};

use std::rc::Rc;

use hyper::Request;

use crate::config::{Config, Mode};
use crate::conn::{Admission, Claimed, Dialect, Registry, Route};
use crate::http::Source;
use crate::service::{Endpoint, Role};
use crate::shard::Shard;
use format::LinkFormats;

/// The name of the protocol in the log and in listings.
const NAME: &str = "backend";

/// Where members attach.
const PATH: &str = "/api/v1/backend";

/// The backend link.
#[derive(Debug)]
pub struct BackendLink {
    formats: LinkFormats,
    is_enabled: bool,
    /// Whether a credential is required.
    asks: bool,
}

impl BackendLink {
    /// Registers the protocol's formats.
    pub fn register(config: &Config, registry: &mut Registry) -> Box<dyn Dialect> {
        Box::new(Self {
            formats: LinkFormats::register(&mut registry.formats),
            is_enabled: config.backend.enabled,
            asks: asks(config),
        })
    }
}

impl Dialect for BackendLink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, path: &str) -> Option<Route> {
        (path == PATH).then_some(match self.is_enabled {
            true => Route::Connection,
            false => Route::Disabled,
        })
    }

    fn role(&self) -> Role {
        Role::Internal
    }

    fn openapi(&self) -> &'static str {
        include_str!("backend/openapi.json")
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let link = Endpoint::claimed(PATH).serving(Role::Internal);
        match self.is_enabled {
            true => [vec![link.asking(self.asks)], api::endpoints(self.asks)]
                .into_iter()
                .flatten()
                .collect(),
            false => Vec::new(),
        }
    }

    fn claim(
        &self,
        shard: &Rc<Shard>,
        request: &Request<()>,
        source: Source,
    ) -> Admission<Claimed> {
        let claim = claim::claim(self, shard, request, source)?;
        Ok(Claimed::WebSocket(Box::new(claim)))
    }
}

/// Whether a member shows a credential. It sees what all clients say, so demo mode asks, too, where it has a key to ask
/// with.
fn asks(config: &Config) -> bool {
    config.mode != Mode::Demo || config.asks_operators()
}
