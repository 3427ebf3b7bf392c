//! One connection's life: HTTP until it is claimed or answered, then frames.

mod accept;
mod claim;
mod credentials;
mod driver;
mod guarded;
mod preamble;
mod quota;
mod record;
mod session;
mod sse;
mod watched;

pub use accept::{accept, turn_away};
pub use credentials::RequestToken;
pub use record::Records;
