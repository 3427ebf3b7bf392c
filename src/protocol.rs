//! The protocols' codecs: bytes in, values out, and back.

pub mod bridge;
pub mod disconnect;
pub mod events;
pub mod json;
pub mod schema;

pub use disconnect::Disconnect;
