//! The protocols. Each is a folder with codec, session, admission, settings, wire formats and endpoints. A protocol
//! imports no other one, and no lower layer imports any.

pub mod backend;
pub mod bridge;
pub mod echo;
pub mod events;
pub mod messenger;
pub mod sse;
pub mod wse;

use crate::config::{Config, MakeSection, Section};
use crate::conn::{Dialect, Dialects, Registry};

/// A protocol: how it is registered, and its section of the configuration, if it has one.
#[derive(Clone, Copy, Debug)]
pub struct Protocol(pub RegisterDialect, pub Option<MakeSection>);

/// Creates a protocol, which reads the configuration once and registers its wire formats and counters.
pub type RegisterDialect = fn(&Config, &mut Registry) -> Box<dyn Dialect>;

/// The protocols of the gateway, in the order of their sections in the file. A new one is a new line here.
const ALL: &[Protocol] = &[
    Protocol(events::Events::register, None),
    Protocol(sse::Sse::register, Some(sse::SseSettings::make)),
    Protocol(
        messenger::Messenger::register,
        Some(messenger::MessengerSettings::make),
    ),
    Protocol(bridge::Bridge::register, Some(bridge::BridgeSettings::make)),
    Protocol(wse::Wse::register, Some(wse::WseSettings::make)),
    Protocol(echo::Echo::register, None),
    Protocol(backend::BackendLink::register, None),
];

/// The sections of the configuration that protocols have: the gateway's, and `more`.
pub fn sections(more: &[Protocol]) -> Vec<MakeSection> {
    ALL.iter().chain(more).filter_map(|it| it.1).collect()
}

/// The protocols of a process: the gateway's, and `more`. If two have a route for a path, the first one counts.
pub fn register(config: &Config, registry: &mut Registry, more: &[Protocol]) -> Dialects {
    let all = ALL.iter().chain(more);
    let dialects: Dialects = all.map(|it| (it.0)(config, registry)).collect();
    for dialect in &*dialects {
        registry.counters.register_dialect(dialect.name());
    }
    dialects
}
