//! The events protocol: JSON objects in text frames, or the same as MessagePack
//! in binary frames (docs/protocol.md).

mod api;
mod claim;
mod command;
mod dev_config;
mod format;
mod frame;
mod history;
mod parameters;
mod refusal;
mod route;
mod session;

pub use command::{AGENT_COMMANDS, Action, BATCH_MESSAGES_MAX, Command, Envelope, Query};
pub use format::EventsFormats;
pub use frame::{Greeting, TopicStart, Writer};
pub use history::put_history;
pub use parameters::{BadParameter, Encoding, Parameters};
pub use refusal::Refusal;

use std::rc::Rc;

use hyper::Request;

use crate::config::{Config, Mode};
use crate::conn::{Admission, Claimed, Dialect, Registry, Route};
use crate::http::Source;
use crate::service::{Endpoint, Role};
use crate::shard::Shard;
use route::{EventsRoute, route};

/// The name of the protocol in the log and in listings.
const NAME: &str = "events";

/// The events protocol.
#[derive(Debug)]
pub struct Events {
    formats: EventsFormats,
    mode: Mode,
    demo_enabled: bool,
}

impl Events {
    /// Registers the protocol's formats.
    pub fn register(config: &Config, registry: &mut Registry) -> Box<dyn Dialect> {
        Box::new(Self {
            formats: EventsFormats::register(&mut registry.formats),
            mode: config.mode,
            demo_enabled: config.clients.demo_enabled,
        })
    }
}

impl Dialect for Events {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, path: &str) -> Option<Route> {
        let exists = match route(path) {
            EventsRoute::Other => return None,
            EventsRoute::Demo => self.demo_enabled,
            EventsRoute::Dev => self.mode != Mode::Prod,
            EventsRoute::Prod | EventsRoute::As(_) => true,
            EventsRoute::Reserved(id) => {
                let why = format!("`{id}` is reserved: choose another client id");
                return Some(Route::NoWebSocket(why));
            }
            EventsRoute::BadClientId => return Some(Route::Refused(BAD_CLIENT_ID)),
        };
        Some(match exists {
            true => Route::Connection,
            false => Route::Disabled,
        })
    }

    fn openapi(&self) -> &'static str {
        include_str!("events/openapi.json")
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints = vec![
            Endpoint::post("/api/v1/events", api::publish),
            Endpoint::post("/api/v1/events/batch", api::publish_batch),
            Endpoint::claimed("/api/v1/ws"),
            Endpoint::claimed("/api/v1/ws/{client_id}"),
            Endpoint::get("/api/v1/dev-config", dev_config::dev_config).serving(Role::Clients),
        ];
        if self.mode != Mode::Prod {
            endpoints.push(Endpoint::claimed("/api/v1/ws/dev"));
        }
        if self.demo_enabled {
            endpoints.push(Endpoint::claimed("/api/v1/ws/demo"));
        }
        endpoints
    }

    fn claim(
        &self,
        shard: &Rc<Shard>,
        request: &Request<()>,
        source: Source,
    ) -> Admission<Claimed> {
        let claim = claim::claim(&self.formats, shard, request, source)?;
        Ok(Claimed::WebSocket(Box::new(claim)))
    }
}

/// The refusal of a client id outside the grammar.
const BAD_CLIENT_ID: &str = "A client id is 1 to 64 letters, digits, `_` and `-`";
