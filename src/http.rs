//! HTTP: what may pass to the parser, and the answers this gateway gives itself.

mod answer;
mod api;
mod guard;
mod policy;
mod route;

pub use answer::{Answer, event_stream_head, refuse, refuse_raw, respond};
pub use api::Api;
pub use guard::{Guard, GuardLimits, HeadError, Passed};
pub use policy::page_policy;
pub use route::{Route, route};
