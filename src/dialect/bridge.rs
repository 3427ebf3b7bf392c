//! The bridge protocol (docs/bridge.md): services push to users over HTTP; users answer over WebSocket; a service that
//! asked gets the answers as an SSE response.

mod api;
mod claim;
mod data;
mod format;
mod frame;
mod inbound;
mod invalid;
mod logins;
mod mention;
mod push;
mod session;
mod settings;
mod syntax;
mod user;

pub use format::{BridgeFormats, PUSH};
pub use frame::{put_completed, put_correlated, put_error_frame};
pub use inbound::Inbound;
pub use invalid::{DETAILS_MAX, Invalid};
pub use push::Push;
pub use settings::{BridgeSettings, Duplicate};
pub use user::user_of;

use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;

use crate::auth::ApiKeys;
use crate::config::Config;
use crate::conn::{Admission, Claimed, Dialect, Registry, Route};
use crate::http::Source;
use crate::metrics::CounterRegistry;
use crate::process::Publishers;
use crate::service::Endpoint;
use crate::shard::{Disconnect, Shard};
use logins::Logins;

/// The name of the protocol in the log and in listings.
const NAME: &str = "bridge";

/// The bridge protocol: what all shards of the process share of it.
#[derive(Debug)]
pub struct Bridge {
    formats: BridgeFormats,
    settings: BridgeSettings,
    /// Whether credentials are required.
    asks: bool,
    /// `bridge.api_key`.
    key: ApiKeys,
    /// Counts requests toward `bridge.requests_per_minute`.
    requests: Publishers,
    /// The connected users.
    logins: Arc<Logins>,
    causes: CloseCauses,
}

/// Why the protocol closes connections, beside the reasons that all protocols have.
#[derive(Debug)]
struct CloseCauses {
    /// The user is connected already.
    duplicate: Disconnect,
    /// A newer connection of the user replaces this one.
    replaced: Disconnect,
    /// A token is required for this user, or by the configuration.
    token_required: Disconnect,
}

impl CloseCauses {
    fn register(counters: &mut CounterRegistry) -> Self {
        let mut cause = |label, text| Disconnect::register(counters, label, (1008, text));
        Self {
            duplicate: cause("duplicate", "User already connected"),
            replaced: cause("replaced", "Replaced by new connection"),
            token_required: cause("token_required", "Authentication required"),
        }
    }
}

impl Bridge {
    /// Registers the protocol's formats and close causes.
    pub fn register(config: &Config, registry: &mut Registry) -> Box<dyn Dialect> {
        let settings: BridgeSettings = config.section();
        Box::new(Arc::new(Self {
            formats: BridgeFormats::register(&mut registry.formats),
            asks: settings.asks(config.mode),
            key: ApiKeys::only(settings.api_key.as_ref()),
            requests: Publishers::new(settings.requests_per_minute),
            logins: Logins::new(),
            causes: CloseCauses::register(&mut registry.counters),
            settings,
        }))
    }
}

impl Dialect for Arc<Bridge> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, path: &str) -> Option<Route> {
        let is_own = self.settings.enabled && path == &*self.settings.ws_path;
        is_own.then_some(Route::Connection)
    }

    fn openapi(&self) -> &'static str {
        include_str!("bridge/openapi.json")
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        api::endpoints(self)
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
