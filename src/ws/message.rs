//! A message that is arriving in several frames or several reads.

use super::error::ProtocolError;
use super::header::OpCode;
use super::utf8;

/// The payload of a message so far, in one contiguous buffer whatever the number of fragments.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) opcode: OpCode,
    /// `bytes` is a DEFLATE stream, to be inflated once it is complete.
    pub(super) compressed: bool,
    pub(super) bytes: Vec<u8>,
    /// For text that is not compressed: so many bytes are whole, valid characters.
    checked: usize,
}

impl Message {
    pub(super) const fn new(opcode: OpCode, compressed: bool) -> Self {
        Self {
            opcode,
            compressed,
            bytes: Vec::new(),
            checked: 0,
        }
    }

    /// Appends what arrived, and fails at the first byte that cannot be text (RFC 6455 section
    /// 8.1), be the message complete or not.
    ///
    /// `len_max` is the greatest length the message can come to as far as is known now.
    pub(super) fn append(&mut self, chunk: &[u8], len_max: usize) -> Result<(), ProtocolError> {
        grow(&mut self.bytes, chunk.len(), len_max);
        self.bytes.extend_from_slice(chunk);
        if self.opcode == OpCode::Text && !self.compressed {
            self.checked += utf8::check_prefix(&self.bytes[self.checked..])?;
        }
        Ok(())
    }

    /// Whether the text ends with a whole character. To be asked when the last byte is there.
    pub(super) fn check_end(&self) -> Result<(), ProtocolError> {
        if self.opcode == OpCode::Text && !self.compressed && self.checked != self.bytes.len() {
            return Err(ProtocolError::InvalidUtf8);
        }
        Ok(())
    }
}

/// Makes room for `extra` bytes, with some to spare: a quarter of what is held, or as much again
/// while that is small, but nothing beyond `len_max`.
///
/// So the buffer follows what arrived, never what was declared, and exceeds it by at most a
/// quarter and 4 KiB.
fn grow(bytes: &mut Vec<u8>, extra: usize, len_max: usize) {
    const SMALL: usize = 4096;
    let needed = bytes.len() + extra;
    let capacity = bytes.capacity();
    if needed > capacity {
        let spare = if capacity < SMALL {
            capacity
        } else {
            capacity / 4
        };
        let target = (capacity + spare).min(len_max).max(needed);
        bytes.reserve_exact(target - bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f08_the_buffer_exceeds_the_payload_by_a_quarter_and_4_kib_at_most() {
        for chunk in [1, 7, 64, 1000, 65_536] {
            let mut message = Message::new(OpCode::Binary, false);
            while message.bytes.len() < 300_000 {
                message.append(&vec![0; chunk], 1 << 20).unwrap();
                let (len, capacity) = (message.bytes.len(), message.bytes.capacity());
                assert!(capacity <= len + len / 4 + 4096, "{capacity} for {len}");
            }
        }
    }

    #[test]
    fn no_room_is_made_beyond_what_the_message_can_come_to() {
        let mut message = Message::new(OpCode::Binary, false);
        for _ in 0..10 {
            message.append(&[0; 1000], 10_000).unwrap();
            assert!(message.bytes.capacity() <= 10_000);
        }
    }

    #[test]
    fn f12_text_is_checked_as_it_arrives() {
        let mut message = Message::new(OpCode::Text, false);
        for byte in "añ€😀".bytes() {
            message.append(&[byte], 100).unwrap();
        }
        assert_eq!(message.check_end(), Ok(()));
        message.append(b"\xed", 100).unwrap();
        assert_eq!(message.check_end(), Err(ProtocolError::InvalidUtf8));
        assert_eq!(
            message.append(b"\xa0", 100),
            Err(ProtocolError::InvalidUtf8)
        );
    }
}
