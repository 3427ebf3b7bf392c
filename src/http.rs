//! HTTP: what may pass to the parser, and the answers this gateway gives itself.

mod answer;
mod api;
mod forwarded;
mod guard;
mod proxy;
mod route;

pub use answer::{Answer, event_stream_head, refuse, refuse_raw, respond};
pub use api::{Api, ClientAddress};
pub use forwarded::client_of;
pub use guard::{Guard, GuardLimits, HeadError, Passed};
pub use proxy::{PROXY_BYTES_MAX, ProxyError, ProxyHeader, parse_proxy, speaks_proxy};
pub use route::{Route, route};
