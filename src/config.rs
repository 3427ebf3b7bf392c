//! The configuration: validated once, so that a [`Config`] is valid by construction.
//!
//! Defaults of the mode, then the environment file, then the TOML file, then the environment, then flags. Every key
//! knows what it accepts, so that no value is out of range once a [`Config`] exists, and every refusal says where the
//! value came from, what it was and what would be accepted.
//!
//! Each section is declared once, in the file of its name: struct, defaults, accepted values
//! and comments. `default-config` and `check-config` print from the same declaration.

use std::io;

mod access;
mod alias;
mod auth;
mod bridge;
mod debug;
mod document;
mod duration;
mod env;
mod env_file;
mod error;
mod events;
mod explain;
mod file;
mod http;
mod hub;
mod kind;
mod layers;
mod log;
mod mode;
mod namespace;
mod origin;
mod raw;
mod rules;
mod secret;
mod section;
mod server;
mod setting;
mod size;
mod sse;
#[cfg(test)]
mod tests;
mod websocket;

pub use access::Access;
pub use auth::{Auth, TokenAlgorithm};
pub use bridge::{Bridge, Duplicate};
pub use debug::Debug;
pub use document::Document;
pub use duration::parse as parse_duration;
pub use env::{CONFIG_VARIABLE, ENV_FILE_VARIABLE, TOKEN_VARIABLE};
pub use error::{ConfigError, Problem};
pub use events::Events;
pub use explain::{Explained, Rule};
pub use http::Http;
pub use hub::{Hub, SlowConsumer};
pub use layers::{Flag, Sources};
pub use log::{Log, LogFormat, LogLevel};
pub use mode::{Mode, UnknownMode};
pub use namespace::{Namespace, Namespaces};
pub use origin::{CorsOrigin, OriginPattern};
pub use secret::{KeyHash, Secret};
use section::Section;
pub use server::{ForwardedHeader, Server};
pub use size::{GIB, KIB, MIB};
pub use sse::Sse;
pub use websocket::Websocket;

/// The whole configuration. See each section for its keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the defaults of the other keys come from.
    pub mode: Mode,
    /// Listeners, shards and what connections may cost before they speak.
    pub server: Server,
    /// Limits of requests.
    pub http: Http,
    /// Liveness, deadlines, budgets and compression of WebSocket connections.
    pub websocket: Websocket,
    /// Memory of topics and clients, slow consumers.
    pub hub: Hub,
    /// Settings by prefix of a topic's name.
    pub namespaces: Namespaces,
    /// Access and limits of the events protocol.
    pub events: Events,
    /// Streams of Server-Sent Events.
    pub sse: Sse,
    /// The bridge protocol.
    pub bridge: Bridge,
    /// Credentials.
    pub auth: Auth,
    /// Endpoints for tests and measurements.
    pub debug: Debug,
    /// Level and format of the log.
    pub log: Log,
}

impl Config {
    /// The defaults of `mode`. Those of [`Mode::Prod`] lack credentials, so a gateway does not start with them alone.
    pub fn for_mode(mode: Mode) -> Self {
        let (hub, events) = (Hub::for_mode(mode), Events::for_mode(mode));
        Self {
            mode,
            server: Server::for_mode(mode),
            http: Http::for_mode(mode),
            websocket: Websocket::for_mode(mode),
            namespaces: Namespaces::new(Vec::new(), &hub, &events),
            hub,
            events,
            sse: Sse::for_mode(mode),
            bridge: Bridge::for_mode(mode),
            auth: Auth::for_mode(mode),
            debug: Debug::for_mode(mode),
            log: Log::for_mode(mode),
        }
    }

    /// The settings of `topic`, see [`Namespaces::of`].
    pub fn namespace(&self, topic: &str) -> &Namespace {
        self.namespaces.of(topic)
    }

    /// The configuration that `text` alone describes: no environment, no flags, and no other file, so
    /// that `auth.jwt_secret_file` is refused.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let file = Some(("configuration".to_owned(), text.to_owned()));
        Self::from_sources(
            &Sources {
                file,
                ..Sources::default()
            },
            |_| Err(io::ErrorKind::Unsupported.into()),
        )
    }

    /// The sections with fixed names, in the order of the file.
    fn sections(&self) -> [(&'static str, &dyn Section); 10] {
        [
            ("server", &self.server),
            ("http", &self.http),
            ("websocket", &self.websocket),
            ("hub", &self.hub),
            ("events", &self.events),
            ("sse", &self.sse),
            ("bridge", &self.bridge),
            ("auth", &self.auth),
            ("debug", &self.debug),
            ("log", &self.log),
        ]
    }

    /// The section called `name`.
    fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        Some(match name {
            "server" => &mut self.server,
            "http" => &mut self.http,
            "websocket" => &mut self.websocket,
            "hub" => &mut self.hub,
            "events" => &mut self.events,
            "sse" => &mut self.sse,
            "bridge" => &mut self.bridge,
            "auth" => &mut self.auth,
            "debug" => &mut self.debug,
            "log" => &mut self.log,
            _ => return None,
        })
    }
}
