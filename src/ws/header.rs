//! The header of a frame from a client (RFC 6455 section 5.2).

use super::error::ProtocolError;

/// The longest header of a masked frame: two bytes, a 64-bit length, the key.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// What a frame carries (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpCode {
    /// A further fragment of the message in progress.
    Continuation = 0,
    /// A message of UTF-8, or its first fragment.
    Text = 1,
    /// A message of bytes, or its first fragment.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// A keep-alive request; answered by a pong with the same payload.
    Ping = 9,
    /// The answer to a ping, or an unsolicited keep-alive.
    Pong = 10,
}

impl OpCode {
    /// Whether frames of this kind may come between the fragments of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= 8
    }

    const fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return Err(ProtocolError::ReservedOpCode(bits)),
        })
    }
}

/// A complete, valid header. Whether it is allowed in the current state is the decoder's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: OpCode,
    pub(super) fin: bool,
    pub(super) rsv1: bool,
    pub(super) key: [u8; 4],
    /// As declared by the client: never the size of an allocation.
    pub(super) payload_len: u64,
    /// Bytes of the header itself.
    pub(super) len: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when more bytes are needed.
    ///
    /// What the first two bytes violate is refused as soon as they have arrived.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let opcode = OpCode::from_bits(first & 0x0f)?;
        let fin = first & 0x80 != 0;
        // RSV2 and RSV3 have no meaning in any extension this server negotiates.
        if first & 0x30 != 0 {
            return Err(ProtocolError::ReservedBit);
        }
        if second & 0x80 == 0 {
            return Err(ProtocolError::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() {
            if !fin {
                return Err(ProtocolError::FragmentedControl);
            }
            if short > 125 {
                return Err(ProtocolError::ControlTooLong);
            }
        }
        let Some((payload_len, rest)) = payload_len(short, rest)? else {
            return Ok(None);
        };
        let Some((&key, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some(Self {
            opcode,
            fin,
            rsv1: first & 0x40 != 0,
            key,
            payload_len,
            len: bytes.len() - rest.len(),
        }))
    }
}

/// The payload length whose 7-bit form is `short`, and the bytes that follow it.
fn payload_len(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    let (len, rest) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), rest),
            None => return Ok(None),
        },
        _ => return Ok(Some((u64::from(short), rest))),
    };
    if len >> 63 != 0 {
        return Err(ProtocolError::LengthTopBit);
    }
    let len_min = if short == 126 { 126 } else { 1 << 16 };
    if len < len_min {
        return Err(ProtocolError::NonMinimalLength);
    }
    Ok(Some((len, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks `bytes` whole, and that no proper prefix yields a header or another error.
    fn check(bytes: &[u8], expected: Result<(OpCode, u64), ProtocolError>) {
        let parsed = Header::parse(bytes);
        match expected {
            Ok((opcode, payload_len)) => {
                let header = parsed.unwrap().expect("the header is complete");
                assert_eq!((header.opcode, header.payload_len), (opcode, payload_len));
                assert_eq!(header.len, bytes.len());
                assert_eq!(header.key, bytes[bytes.len() - 4..]);
                for cut in 0..bytes.len() {
                    assert_eq!(Header::parse(&bytes[..cut]), Ok(None), "cut at {cut}");
                }
            }
            Err(error) => {
                assert_eq!(parsed, Err(error));
                for cut in 0..bytes.len() {
                    let prefix = Header::parse(&bytes[..cut]);
                    assert!(prefix == Ok(None) || prefix == Err(error), "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn headers_of_every_length_form_are_read() {
        check(b"\x81\x80abcd", Ok((OpCode::Text, 0)));
        check(b"\x82\xfdabcd", Ok((OpCode::Binary, 125)));
        check(b"\x80\xfe\x00\x7eabcd", Ok((OpCode::Continuation, 126)));
        check(b"\x02\xfe\xff\xffabcd", Ok((OpCode::Binary, 65_535)));
        check(
            b"\x81\xff\0\0\0\0\0\x01\0\0abcd",
            Ok((OpCode::Text, 65_536)),
        );
        check(
            b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd",
            Ok((OpCode::Text, (1 << 63) - 1)),
        );
        check(b"\x88\x82abcd", Ok((OpCode::Close, 2)));
    }

    #[test]
    fn f01_a_length_with_its_top_bit_set_is_refused() {
        check(
            b"\x82\xff\x80\0\0\0\0\0\0\0abcd",
            Err(ProtocolError::LengthTopBit),
        );
        check(
            b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            Err(ProtocolError::LengthTopBit),
        );
    }

    #[test]
    fn f03_non_minimal_lengths_are_refused() {
        check(
            b"\x82\xfe\x00\x05abcd",
            Err(ProtocolError::NonMinimalLength),
        );
        check(
            b"\x82\xfe\x00\x7dabcd",
            Err(ProtocolError::NonMinimalLength),
        );
        check(
            b"\x82\xff\0\0\0\0\0\0\0\xc8abcd",
            Err(ProtocolError::NonMinimalLength),
        );
        check(
            b"\x82\xff\0\0\0\0\0\0\xff\xffabcd",
            Err(ProtocolError::NonMinimalLength),
        );
        check(
            b"\x82\xff\0\0\0\0\0\0\0\0abcd",
            Err(ProtocolError::NonMinimalLength),
        );
    }

    #[test]
    fn f04_unmasked_frames_are_refused() {
        for first in [0x81, 0x82, 0x80, 0x88, 0x89, 0x8a] {
            check(&[first, 0x05], Err(ProtocolError::Unmasked));
        }
    }

    #[test]
    fn f05_reserved_bits_and_opcodes_are_refused() {
        for opcode in [0, 1, 2, 8, 9, 10] {
            for bits in [0x10, 0x20, 0x30, 0x50, 0x60, 0x70] {
                check(
                    &[0x80 | bits | opcode, 0x80],
                    Err(ProtocolError::ReservedBit),
                );
            }
        }
        for opcode in (3..8).chain(11..16) {
            check(
                &[0x80 | opcode, 0x80],
                Err(ProtocolError::ReservedOpCode(opcode)),
            );
        }
    }

    #[test]
    fn f06_control_frames_are_short_and_whole() {
        for opcode in [0x08, 0x09, 0x0a] {
            check(&[opcode, 0x80], Err(ProtocolError::FragmentedControl));
            check(
                &[0x80 | opcode, 0xfe, 0, 0x7e],
                Err(ProtocolError::ControlTooLong),
            );
            check(
                &[0x80 | opcode, 0xfe, 0, 0x05],
                Err(ProtocolError::ControlTooLong),
            );
            check(&[0x80 | opcode, 0xff], Err(ProtocolError::ControlTooLong));
        }
    }
}
