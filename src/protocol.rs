//! The protocols' codecs: bytes in, values out, and back.

pub mod bridge;
pub mod disconnect;
pub mod events;
pub mod schema;

pub use disconnect::Disconnect;

/// What a connection speaks, fixed for its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// The events protocol, encoded so.
    Events(events::Encoding),
    /// The bridge protocol.
    Bridge,
}
