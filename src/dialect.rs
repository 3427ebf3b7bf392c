//! The protocols. Each is a folder: codec, session, the requests that become its connections, its wire formats.
//! None knows another, and nothing below knows any of them.

pub mod bridge;
pub mod echo;
pub mod events;
pub mod sse;

use crate::conn::{Dialect, Dialects};
use crate::engine::FormatRegistry;

/// All of them. A new one is one more line here.
pub fn register(formats: &mut FormatRegistry) -> Dialects {
    let all: [Box<dyn Dialect>; _] = [
        Box::new(events::Events::register(formats)),
        Box::new(bridge::Bridge::register(formats)),
        Box::new(sse::Sse::register(formats)),
        Box::new(echo::Echo::register(formats)),
    ];
    all.into()
}
