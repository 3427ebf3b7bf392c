//! MessagePack at the boundary (docs/protocol.md, "MessagePack"): a frame
//! is a map with the keys that the JSON object has.
//!
//! The protocol itself is spoken in JSON text. What a client sends is turned
//! into JSON before it is looked at ([`to_json`]), what it gets is turned into
//! MessagePack last ([`from_json`]), for a publication once for all its
//! subscribers. So the two formats cannot drift apart, and limits and checks
//! are written once. Both directions are one pass without recursion, and
//! neither builds a document.

mod from_json;
mod to_json;

pub use from_json::from_json;
pub use to_json::{MsgpackError, to_json};

#[cfg(test)]
mod tests;
