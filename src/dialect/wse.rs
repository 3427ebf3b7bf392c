//! The wse protocol (docs/wse.md): clients of the WSE engine connect unmodified.

mod api;
mod category;
mod claim;
mod compress;
mod encryption;
mod envelope;
mod format;
mod frame;
mod old_names;
mod session;
mod settings;
mod signing;

pub use compress::{DecompressError, decompress};
pub use encryption::{
    ChangePending, ENCRYPTION_BYTES, FrameSealer, KeyExchange, KeyExchangeError, KeyForm,
    OpenError, SealError, SessionKey,
};
pub use envelope::{Envelope, LegacyBeat};
pub use session::{ClientInfo, Wanted};
pub use settings::{RefuseWith, WseSettings};
pub use signing::{NONCES_MAX, SignatureError, Signer, WINDOW_SECONDS};

use std::rc::Rc;
use std::sync::Arc;

use hyper::Request;

use crate::config::{Config, Mode, Namespace};
use crate::conn::{Admission, Claimed, Dialect, Registry, Route};
use crate::http::Source;
use crate::service::Endpoint;
use crate::shard::{Disconnect, Shard};
use crate::topic::{Pattern, Selector};
use format::WseFormats;
use old_names::OLD_NAMES;

/// The name of the protocol in the log and in listings.
const NAME: &str = "wse";

/// The wse protocol: what all shards of the process share of it.
#[derive(Debug)]
pub struct Wse {
    formats: WseFormats,
    settings: WseSettings,
    mode: Mode,
    /// Signs and checks signatures, if there is a key.
    signer: Option<Signer>,
    /// Whether any topic keeps a history.
    has_history: bool,
    /// The page's origin is not allowed.
    origin_refused: Disconnect,
}

impl Wse {
    /// Registers the protocol's formats and close codes.
    pub fn register(config: &Config, registry: &mut Registry) -> Box<dyn Dialect> {
        let counters = &mut registry.counters;
        // Its clients do not come back after 1000 or 1001, and get a new token after 4401.
        counters.register_code(NAME, &["drain"], 1012);
        let credentials = [
            "no_token",
            "expired_token",
            "invalid_token",
            "expired",
            "revoked",
        ];
        counters.register_code(NAME, &credentials, 4401);
        counters.register_code(NAME, &["blocked"], 4403);
        counters.register_old_names(NAME, OLD_NAMES);
        let origin = (4403, "Origin not allowed");
        let origin_refused = Disconnect::register(counters, "origin", origin);
        let all = Selector::Pattern(Pattern::bytes("*").expect("it is a pattern"));
        let keeps_none = |_, namespace: &Namespace| namespace.history_size == 0;
        let settings: WseSettings = config.section();
        let signing_key = settings.signing_key.as_ref();
        Box::new(Arc::new(Self {
            signer: signing_key.map(|key| Signer::new(key.expose())),
            has_history: !config.namespaces.all(&all, keeps_none),
            origin_refused,
            formats: WseFormats::register(&mut registry.formats),
            settings,
            mode: config.mode,
        }))
    }

    /// Whether credentials are required.
    fn asks(&self) -> bool {
        self.settings.asks(self.mode)
    }
}

impl Dialect for Arc<Wse> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, path: &str) -> Option<Route> {
        (path == self.settings.path).then_some(match self.settings.enabled {
            true => Route::Connection,
            false => Route::Disabled,
        })
    }

    fn openapi(&self) -> &'static str {
        include_str!("wse/openapi.json")
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        match self.settings.enabled {
            true => api::endpoints(self),
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
