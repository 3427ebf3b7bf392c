//! Protocol violations of a peer.

use super::close_code::CloseCode;

/// A violation that ends the connection. The text says what is wrong, and fits a close reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// RFC 6455 section 5.1: a server closes the connection upon an unmasked frame.
    #[error("frame from a client is not masked")]
    Unmasked,
    /// RFC 6455 section 5.2: a reserved bit without a meaning in a negotiated extension.
    #[error("reserved bit is set")]
    ReservedBit,
    /// RFC 6455 section 5.2: opcodes 3 to 7 and 11 to 15.
    #[error("opcode {0} is reserved")]
    ReservedOpCode(u8),
    /// RFC 6455 section 5.5: a control frame is never fragmented.
    #[error("control frame is fragmented")]
    FragmentedControl,
    /// RFC 6455 section 5.5: a control frame has at most 125 bytes, hence no extended length.
    #[error("control frame is longer than 125 bytes")]
    ControlTooLong,
    /// RFC 6455 section 5.2: the shortest form of the length must be used.
    #[error("payload length is not in its shortest form")]
    NonMinimalLength,
    /// RFC 6455 section 5.2: the most significant bit of a 64-bit length is 0.
    #[error("payload length has its top bit set")]
    LengthTopBit,
    /// RFC 6455 section 5.4: no message is in progress.
    #[error("continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// RFC 6455 section 5.4: fragments of two messages are not interleaved.
    #[error("new message inside a fragmented message")]
    InterleavedMessage,
    /// RFC 6455 section 5.5.1: a close payload has a two-byte code or nothing.
    #[error("close payload of one byte")]
    CloseTooShort,
    /// RFC 6455 section 7.4: see [`CloseCode::is_valid_on_wire`].
    #[error("close code {0} is not allowed in a frame")]
    InvalidCloseCode(u16),
    /// RFC 6455 section 5.5.1: the close reason is UTF-8.
    #[error("close reason is not UTF-8")]
    InvalidCloseReason,
    /// RFC 6455 section 8.1: a text message is UTF-8.
    #[error("text message is not UTF-8")]
    InvalidUtf8,
    /// The message, as sent or inflated, is larger than the limit in bytes.
    #[error("message is larger than {0} bytes")]
    MessageTooBig(usize),
    /// RFC 7692 section 7.2.2: the payload is not a DEFLATE stream, or refers to data before it.
    #[error("compressed message is corrupt")]
    CorruptDeflate,
    /// The message is mostly compressed bytes without output, which cost work and carry nothing.
    #[error("compressed message has too many empty blocks")]
    DeflateWaste,
}

impl ProtocolError {
    /// The code to close the connection with.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Unmasked
            | Self::ReservedBit
            | Self::ReservedOpCode(_)
            | Self::FragmentedControl
            | Self::ControlTooLong
            | Self::NonMinimalLength
            | Self::LengthTopBit
            | Self::UnexpectedContinuation
            | Self::InterleavedMessage
            | Self::CloseTooShort
            | Self::InvalidCloseCode(_) => CloseCode::PROTOCOL_ERROR,
            Self::InvalidCloseReason | Self::InvalidUtf8 | Self::CorruptDeflate => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::MessageTooBig(_) => CloseCode::MESSAGE_TOO_BIG,
            Self::DeflateWaste => CloseCode::POLICY_VIOLATION,
        }
    }
}
