//! The protocols' codecs: bytes in, values out, and back.

pub mod disconnect;
pub mod events;
pub mod json;

pub use disconnect::Disconnect;
