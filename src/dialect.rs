//! The protocols. Each is a folder: codec, session, requests, wire formats, endpoints. None knows another, and nothing
//! below knows any of them.

pub mod bridge;
pub mod echo;
pub mod events;
pub mod sse;

use crate::conn::{Dialect, Dialects};
use crate::engine::FormatRegistry;

/// Makes a protocol, which registers its wire formats.
pub type RegisterDialect = fn(&mut FormatRegistry) -> Box<dyn Dialect>;

/// The protocols of the gateway. A new one is one more line here.
const ALL: &[RegisterDialect] = &[
    |formats| Box::new(events::Events::register(formats)),
    |formats| Box::new(bridge::Bridge::register(formats)),
    |formats| Box::new(sse::Sse::register(formats)),
    |formats| Box::new(echo::Echo::register(formats)),
];

/// The protocols of a process: the gateway's, and `more`. Of two that know a path the first has it.
pub fn register(formats: &mut FormatRegistry, more: &[RegisterDialect]) -> Dialects {
    let all = ALL.iter().chain(more);
    all.map(|register| register(formats)).collect()
}
