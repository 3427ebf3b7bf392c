//! The WebSocket wire format (RFC 6455) with permessage-deflate (RFC 7692).
//!
//! Pure: bytes go in, values come out. There is no socket, task or clock here, so a connection
//! can be driven from memory and everything that can go wrong is a value in a test.
//!
//! - [`handshake`] turns a request head into an [`Upgrade`](handshake::Upgrade) and writes the 101.
//! - [`Decoder`] turns received bytes into [`Event`]s, borrowing the read buffer where it can.
//! - [`encode`] writes the frames of a server.
//! - [`deflate`] negotiates compression and holds the compressors a shard shares.

mod close;
mod close_code;
mod decode;
pub mod deflate;
pub mod encode;
mod error;
pub mod handshake;
mod header;
mod input;
mod mask;
mod message;
mod payload;
mod syntax;
pub mod text;
mod utf8;

#[cfg(test)]
mod testing;

pub use close_code::CloseCode;
pub use decode::{Decoder, DecoderLimits, Event};
pub use error::ProtocolError;
pub use header::OpCode;
pub use input::Input;
pub use mask::unmask;
pub use payload::Payload;
