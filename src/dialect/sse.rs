//! Server-Sent Events: `GET /api/v1/sse?topics=` (docs/sse.md).

mod claim;
mod format;
mod session;

use std::net::IpAddr;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Method, Request};

use crate::config::Config;
use crate::conn::{Admission, Claimed, Dialect, Route};
use crate::engine::FormatRegistry;
use crate::http::event_stream_headers;
use crate::id::FormatId;
use crate::service::Endpoint;
use crate::shard::Shard;

/// The SSE protocol.
#[derive(Debug)]
pub struct Sse {
    format: FormatId,
}

impl Sse {
    /// Registers the format of SSE.
    pub fn register(formats: &mut FormatRegistry) -> Self {
        Self {
            format: format::register(formats),
        }
    }
}

impl Dialect for Sse {
    fn route(&self, config: &Config, path: &str) -> Option<Route> {
        (path == "/api/v1/sse").then_some(match config.sse.enabled {
            true => Route::Connection,
            false => Route::Disabled,
        })
    }

    fn openapi(&self) -> &'static str {
        include_str!("sse/openapi.json")
    }

    fn endpoints(&self, config: &Config) -> Vec<Endpoint> {
        match config.sse.enabled {
            true => vec![Endpoint::claimed("/api/v1/sse")],
            false => Vec::new(),
        }
    }

    fn claim(
        &self,
        shard: &Rc<Shard>,
        request: &Request<Incoming>,
        address: IpAddr,
    ) -> Admission<Claimed> {
        let claim = claim::claim(self.format, shard, request, address)?;
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
        let sse = Sse::register(&mut FormatRegistry::default());
        let config = Config::for_mode(Mode::Demo);
        assert_eq!(sse.route(&config, "/api/v1/sse"), Some(Route::Connection));
        for path in [
            "/api/v1/sse/",
            "/api/v1/%73se",
            "//api/v1/sse",
            "/API/v1/sse",
        ] {
            assert_eq!(sse.route(&config, path), None, "{path}");
        }
    }
}
