//! One connection's life: HTTP until it is claimed or answered, then frames.

mod accept;
mod claim;
mod credentials;
mod driver;
mod guarded;
mod preamble;
mod quota;
mod session;

pub use accept::accept;
