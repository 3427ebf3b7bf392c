//! The messenger protocol (docs/messenger.md): accounts with Ed25519 keys, messages that are stored until their
//! recipients have them, and signed commands.

mod settings;

pub use settings::{Duplicate, MessengerSettings};

use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;

use crate::config::Config;
use crate::conn::{Admission, Claimed, Dialect, Registry, Route};
use crate::http::Source;
use crate::service::Endpoint;
use crate::shard::Shard;

/// The name of the protocol in the log and in listings.
const NAME: &str = "messenger";

/// The messenger protocol: what all shards of the process share of it.
#[derive(Debug)]
pub struct Messenger {
    settings: MessengerSettings,
}

impl Messenger {
    /// Registers the protocol.
    pub fn register(config: &Config, registry: &mut Registry) -> Box<dyn Dialect> {
        let _ = registry;
        Box::new(Arc::new(Self {
            settings: config.section(),
        }))
    }
}

impl Dialect for Arc<Messenger> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, path: &str) -> Option<Route> {
        let _ = (path, self.settings.enabled);
        None
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        Vec::new()
    }

    fn claim(
        &self,
        _shard: &Rc<Shard>,
        _request: &Request<Incoming>,
        _source: Source,
    ) -> Admission<Claimed> {
        unreachable!("no path has a route of connections")
    }
}
