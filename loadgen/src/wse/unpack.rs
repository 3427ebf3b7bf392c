//! Takes messages out of their frames: as they are, packed, or compressed.

use std::mem;

use flate2::{Decompress, FlushDecompress, Status};

use super::encoding::{Encoding, MSGPACK, ZLIB};
use crate::frame::{PAYLOAD_BYTES_MAX, opcode};

/// Compressed messages that are remembered.
const REMEMBERED: usize = 1 << 13;

/// Bytes of the checksum at the end of a zlib stream, which chooses where a message is remembered.
const CHECKSUM_BYTES: usize = 4;

/// Unpacks the frames of all connections.
///
/// A compressed message comes to every subscriber in the same bytes. They are inflated once, and
/// compared for the others.
#[derive(Debug, Default)]
pub(crate) struct Unpacker {
    remembered: Vec<Remembered>,
    /// Messages that came compressed.
    pub(crate) compressed: u64,
}

#[derive(Debug, Default, Clone)]
struct Remembered {
    compressed: Vec<u8>,
    text: Vec<u8>,
}

impl Unpacker {
    /// The message in a frame; none if the frame has no form that this encoding allows.
    ///
    /// Cost: nothing for plain and packed ones. A compressed one that came before is compared.
    #[inline]
    pub(crate) fn unpack<'a>(
        &'a mut self,
        encoding: Encoding,
        op: u8,
        payload: &'a [u8],
    ) -> Option<&'a [u8]> {
        match (encoding, op) {
            // With MessagePack these are the server's own.
            (_, opcode::TEXT) => Some(payload),
            (Encoding::Msgpack, opcode::BINARY) => payload.strip_prefix(MSGPACK),
            (Encoding::Zlib, opcode::BINARY) => self.inflate(payload.strip_prefix(ZLIB)?),
            _ => None,
        }
    }

    fn inflate(&mut self, compressed: &[u8]) -> Option<&[u8]> {
        let checksum = compressed.last_chunk::<CHECKSUM_BYTES>()?;
        if self.remembered.is_empty() {
            self.remembered = vec![Remembered::default(); REMEMBERED];
        }
        let place = u32::from_be_bytes(*checksum).wrapping_mul(0x9E37_79B1) as usize % REMEMBERED;
        let remembered = &mut self.remembered[place];
        if remembered.compressed != compressed {
            let mut text = mem::take(&mut remembered.text);
            remembered.compressed.clear();
            inflate(compressed, &mut text)?;
            remembered.compressed.extend_from_slice(compressed);
            remembered.text = text;
        }
        self.compressed += 1;
        Some(&remembered.text)
    }
}

/// Inflates one whole zlib stream, with its checksum, into `text`.
fn inflate(compressed: &[u8], text: &mut Vec<u8>) -> Option<()> {
    text.clear();
    let mut stream = Decompress::new(true);
    loop {
        text.reserve((2 * text.len()).max(4 * compressed.len()));
        let rest = compressed.get(stream.total_in() as usize..)?;
        let status = stream.decompress_vec(rest, text, FlushDecompress::Finish);
        match status.ok()? {
            Status::StreamEnd => break,
            _ if text.len() < text.capacity() || text.len() > PAYLOAD_BYTES_MAX => return None,
            _ => {}
        }
    }
    (stream.total_in() == compressed.len() as u64).then_some(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(ZLIB.to_vec(), Compression::new(6));
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(unpacker: &mut Unpacker, payload: &[u8]) -> Option<Vec<u8>> {
        let unpacked = unpacker.unpack(Encoding::Zlib, opcode::BINARY, payload);
        unpacked.map(<[u8]>::to_vec)
    }

    #[test]
    fn compressed_messages_come_out_whole_however_often_they_come() {
        let mut unpacker = Unpacker::default();
        for length in [0, 1, 1_000, 100_000] {
            let text: Vec<u8> = (0..length).map(|at| (at * 31 % 101) as u8).collect();
            for _ in 0..3 {
                assert_eq!(
                    unpack(&mut unpacker, &compressed(&text)),
                    Some(text.clone())
                );
            }
        }
        assert_eq!(unpacker.compressed, 12);
    }

    #[test]
    fn a_changed_byte_anywhere_in_a_compressed_message_is_noticed() {
        let text: Vec<u8> = (0..2_000).map(|at| (at * at % 251) as u8).collect();
        let whole = compressed(&text);
        let mut unpacker = Unpacker::default();
        assert_eq!(unpack(&mut unpacker, &whole), Some(text.clone()));
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let seen = unpack(&mut unpacker, &changed);
            // Some bits of the header say nothing about the text.
            assert!(seen.is_none() || at < ZLIB.len() + 2, "{at}");
            assert_eq!(unpack(&mut unpacker, &whole[..at]), None, "cut at {at}");
        }
        assert_eq!(unpack(&mut unpacker, &[&whole[..], b"x"].concat()), None);
        assert_eq!(unpack(&mut unpacker, &whole), Some(text));
    }

    #[test]
    fn frames_of_another_form_are_refused() {
        let mut unpacker = Unpacker::default();
        let mut check = |encoding, op, payload, expected| {
            assert_eq!(unpacker.unpack(encoding, op, payload), expected);
        };
        check(Encoding::Json, opcode::TEXT, b"{}", Some(&b"{}"[..]));
        check(Encoding::Json, opcode::BINARY, b"{}", None);
        check(
            Encoding::Msgpack,
            opcode::BINARY,
            b"M:\x80",
            Some(&b"\x80"[..]),
        );
        check(Encoding::Msgpack, opcode::BINARY, b"\x80", None);
        check(Encoding::Zlib, opcode::BINARY, b"{}", None);
    }
}
