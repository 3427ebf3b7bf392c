//! The fast path for small whole messages, the most common input.

use super::super::header::OpCode;

/// A whole, unfragmented, uncompressed message with a 7 or 16-bit length: most of what arrives.
pub(super) struct Small {
    pub(super) opcode: OpCode,
    pub(super) key: [u8; 4],
    pub(super) header_len: usize,
    pub(super) payload_len: usize,
}

impl Small {
    /// Finds such a message at the start of `bytes`. For any other input, valid or not, `None`: the general path
    /// handles it.
    #[inline]
    pub(super) fn find(bytes: &[u8], message_bytes_max: usize) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
        let opcode = match first {
            0x81 => OpCode::Text,
            0x82 => OpCode::Binary,
            _ => return None,
        };
        let (payload_len, rest, header_len) = match second {
            0x80..=0xfd => (usize::from(second & 0x7f), rest, 6),
            0xfe => {
                let (len, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*len)), rest, 8)
            }
            _ => return None,
        };
        let (&key, rest) = rest.split_first_chunk::<4>()?;
        let is_legal = header_len == 6 || payload_len > 125;
        (is_legal && payload_len <= rest.len().min(message_bytes_max)).then_some(Self {
            opcode,
            key,
            header_len,
            payload_len,
        })
    }
}
