//! The forms of messages in frames.

use crate::frame::opcode;
use crate::payload::Format;

/// Before a packed message, in a binary frame.
pub(crate) const MSGPACK: &[u8] = b"M:";

/// Before a compressed message, in a binary frame.
pub(crate) const ZLIB: &[u8] = b"C:";

/// How the server writes messages to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// JSON in text frames.
    Json,
    /// As [`Self::Json`], but larger ones by zlib in binary frames.
    Zlib,
    /// MessagePack in binary frames.
    Msgpack,
}

impl Encoding {
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Json | Self::Zlib => Format::Json,
            Self::Msgpack => Format::Msgpack,
        }
    }

    /// The opcode of what a client publishes.
    pub(crate) fn opcode(self) -> u8 {
        match self {
            Self::Json | Self::Zlib => opcode::TEXT,
            Self::Msgpack => opcode::BINARY,
        }
    }
}
