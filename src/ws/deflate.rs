//! permessage-deflate (RFC 7692).
//!
//! The server keeps no compression context between its messages (`server_no_context_takeover`), so that a broadcast
//! is compressed once, its bytes are shared by all connections with the same window, and one [`Deflater`] serves a
//! shard. By default it asks the same of clients, so that one [`Inflater`] serves a shard and an idle connection
//! costs nothing.

mod deflater;
mod inflater;
mod offer;

pub use deflater::Deflater;
pub use inflater::{Inflater, compressed_bytes_max};
pub use offer::{Agreed, DeflateOptions, OFFERS_MAX, negotiate};

/// The end of every flushed DEFLATE stream, the length of an empty stored block, which senders omit (RFC 7692 sections
/// 7.2.1 and 7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
