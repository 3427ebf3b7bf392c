//! A message that arrives in several frames or several reads.

use super::error::ProtocolError;
use super::header::OpCode;
use super::utf8;
use crate::collections::Segments;

/// The payload of a message so far.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) opcode: OpCode,
    /// `bytes` is a DEFLATE stream, inflated once it is complete.
    pub(super) compressed: bool,
    pub(super) bytes: Segments,
    /// The UTF-8 check of uncompressed text so far. The whole text is checked by
    /// [`Payload::new`](super::Payload::new).
    text: utf8::Checker,
}

impl Message {
    pub(super) const fn new(opcode: OpCode, compressed: bool) -> Self {
        Self {
            opcode,
            compressed,
            bytes: Segments::new(),
            text: utf8::Checker::new(),
        }
    }

    /// Appends a chunk, and fails at the first byte that is not UTF-8 in a text (RFC 6455 section 8.1), before the
    /// message is complete.
    ///
    /// `len_max` bounds the length of the message as far as it is known now.
    pub(super) fn append(&mut self, chunk: &[u8], len_max: usize) -> Result<(), ProtocolError> {
        if self.opcode == OpCode::Text && !self.compressed {
            self.text.check(chunk)?;
        }
        self.bytes.append(chunk, len_max);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f12_text_is_checked_as_it_arrives() {
        let mut message = Message::new(OpCode::Text, false);
        for byte in "añ€😀".bytes() {
            message.append(&[byte], 100).unwrap();
        }
        message.append(b"\xed", 100).unwrap();
        assert_eq!(
            message.append(b"\xa0", 100),
            Err(ProtocolError::InvalidUtf8)
        );
    }
}
