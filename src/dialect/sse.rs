//! Server-Sent Events: `GET /api/v1/sse?topics=` (docs/sse.md).

mod claim;
mod format;
mod session;
mod settings;

pub use settings::SseSettings;

use std::rc::Rc;
use std::sync::Arc;

use hyper::{Method, Request};

use crate::config::Config;
use crate::conn::{Admission, Claimed, Dialect, Registry, Route};
use crate::http::{Source, event_stream_headers};
use crate::id::FormatId;
use crate::service::Endpoint;
use crate::shard::Shard;
use crate::sse::CursorKey;

/// The name of the protocol in the log and in listings.
const NAME: &str = "sse";

/// The SSE protocol.
#[derive(Debug)]
pub struct Sse {
    format: FormatId,
    settings: SseSettings,
    /// Signs cursors.
    cursors: Arc<CursorKey>,
}

impl Sse {
    /// Registers the format of SSE. Cursors are valid beyond this process if their key derives from a configured
    /// secret.
    pub fn register(config: &Config, registry: &mut Registry) -> Box<dyn Dialect> {
        let settings: SseSettings = config.section();
        let secret = settings.cursor_secret.as_ref();
        let cursors = Arc::new(
            secret
                .or(config.auth.jwt_secret.as_ref())
                .map_or_else(CursorKey::random, |secret| CursorKey::new(secret.expose())),
        );
        registry.cursors = Some(cursors.clone());
        Box::new(Arc::new(Self {
            format: format::register(&mut registry.formats),
            settings,
            cursors,
        }))
    }
}

impl Dialect for Arc<Sse> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, path: &str) -> Option<Route> {
        (path == "/api/v1/sse").then_some(match self.settings.enabled {
            true => Route::Connection,
            false => Route::Disabled,
        })
    }

    fn openapi(&self) -> &'static str {
        include_str!("sse/openapi.json")
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        match self.settings.enabled {
            true => vec![Endpoint::claimed("/api/v1/sse")],
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
        Ok(match request.method() == Method::HEAD {
            true => Claimed::Answer(Box::new(event_stream_headers())),
            false => Claimed::Stream(Box::new(claim)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    #[test]
    fn h16_only_the_exact_spelling_is_the_path() {
        let config = Config::for_mode(Mode::Demo);
        let sse = Sse::register(&config, &mut Registry::default());
        assert_eq!(sse.route("/api/v1/sse"), Some(Route::Connection));
        for path in [
            "/api/v1/sse/",
            "/api/v1/%73se",
            "//api/v1/sse",
            "/API/v1/sse",
        ] {
            assert_eq!(sse.route(path), None, "{path}");
        }
    }
}
