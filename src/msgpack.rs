//! MessagePack at the boundary (docs/protocol.md, "MessagePack"): a frame
//! is a map with the keys that the JSON object has.
//!
//! Internally the protocols that have it are JSON text. A client's message is converted to JSON before it is parsed ([`to_json`]);
//! output is converted to MessagePack last ([`from_json`]), a publication once for all its subscribers. So the two
//! encodings cannot drift apart, and limits and checks exist once. Both conversions are one pass without recursion and
//! without a document tree.

mod from_json;
mod to_json;

pub use from_json::from_json;
pub use to_json::{MsgpackError, to_json};

#[cfg(test)]
mod tests;
