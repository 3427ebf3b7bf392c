//! What a message carries.

use super::error::ProtocolError;
use super::header::OpCode;

/// The payload of a message, unmasked and inflated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload<'a> {
    /// Of a text message: its bytes have been checked to be UTF-8 (RFC 6455 section 8.1).
    Text(&'a str),
    /// Of a binary message.
    Binary(&'a [u8]),
}

impl<'a> Payload<'a> {
    /// The payload of a message with this opcode: [`OpCode::Text`], or else [`OpCode::Binary`].
    ///
    /// Cost: one vectorised pass over a text.
    ///
    /// # Errors
    /// The text is not UTF-8.
    #[inline]
    pub fn new(opcode: OpCode, bytes: &'a [u8]) -> Result<Self, ProtocolError> {
        if opcode != OpCode::Text {
            return Ok(Self::Binary(bytes));
        }
        let text = simdutf8::basic::from_utf8(bytes);
        text.map(Self::Text).map_err(|_| ProtocolError::InvalidUtf8)
    }

    /// The opcode of a frame with this payload.
    #[must_use]
    pub const fn opcode(self) -> OpCode {
        match self {
            Self::Text(_) => OpCode::Text,
            Self::Binary(_) => OpCode::Binary,
        }
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}
