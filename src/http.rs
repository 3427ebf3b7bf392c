//! HTTP: what may pass to the parser, and the answers this gateway gives itself.

mod answer;
mod api;
mod cors;
mod guard;
mod origin;
mod route;

pub use answer::{Answer, refuse, refuse_raw, respond, too_many_failures};
pub use api::{Api, PeerAddress};
pub use cors::{allow_page, preflight};
pub use guard::{Guard, GuardLimits, HeadError, Passed};
pub use origin::{is_allowed_page, is_own_page};
pub use route::{Route, route};
