//! The configuration: read once, valid ever after.
//!
//! Defaults of the mode, then the TOML file, then the environment, then flags. Every key knows
//! what it accepts, so that no value is out of range once a [`Config`] exists, and every
//! refusal says where the value came from, what it was and what would be accepted.
//!
//! Each section is declared once, in the file of its name: struct, defaults, accepted values
//! and comments. `default-config` and `check-config` print from the same declaration.

mod auth;
mod debug;
mod duration;
mod events;
mod http;
mod hub;
mod kind;
mod log;
mod mode;
mod namespace;
mod raw;
mod secret;
mod section;
mod server;
mod size;
mod websocket;

pub use auth::Auth;
pub use debug::Debug;
pub use events::Events;
pub use http::Http;
pub use hub::{Hub, SlowConsumer};
pub use log::{Log, LogFormat, LogLevel};
pub use mode::Mode;
pub use namespace::{Namespace, Namespaces, Priority};
pub use secret::{KeyHash, Secret};
use section::Section;
pub use server::Server;
pub use size::{GIB, KIB, MIB};
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
    /// What differs by prefix of the topic.
    pub namespaces: Namespaces,
    /// Who may use the events protocol.
    pub events: Events,
    /// Credentials.
    pub auth: Auth,
    /// Endpoints for tests and measurements.
    pub debug: Debug,
    /// What is logged, and how.
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
            auth: Auth::for_mode(mode),
            debug: Debug::for_mode(mode),
            log: Log::for_mode(mode),
        }
    }

    /// What holds for `topic`, see [`Namespaces::of`].
    pub fn namespace(&self, topic: &str) -> &Namespace {
        self.namespaces.of(topic)
    }
}
