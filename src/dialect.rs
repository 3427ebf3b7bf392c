//! The protocols. Each is a folder with codec, session, admission, wire formats and endpoints. A protocol imports no
//! other one, and no lower layer imports any.

pub mod bridge;
pub mod echo;
pub mod events;
pub mod sse;

use crate::conn::{Dialect, Dialects};
use crate::engine::FormatRegistry;

/// Creates a protocol, which registers its wire formats.
pub type RegisterDialect = fn(&mut FormatRegistry) -> Box<dyn Dialect>;

/// The protocols of the gateway. A new one is a new line here.
const ALL: &[RegisterDialect] = &[
    |formats| Box::new(events::Events::register(formats)),
    |formats| Box::new(bridge::Bridge::register(formats)),
    |formats| Box::new(sse::Sse::register(formats)),
    |formats| Box::new(echo::Echo::register(formats)),
];

/// The protocols of a process: the gateway's, and `more`. If two have a route for a path, the first one counts.
pub fn register(formats: &mut FormatRegistry, more: &[RegisterDialect]) -> Dialects {
    let all = ALL.iter().chain(more);
    all.map(|register| register(formats)).collect()
}
