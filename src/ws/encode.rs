//! The frames of a server: never masked, never fragmented (RFC 6455 section 5.1).

use super::close::REASON_BYTES_MAX;
use super::close_code::CloseCode;
use super::header::OpCode;

/// The longest header [`put_header`] writes.
pub const HEADER_BYTES_MAX: usize = 10;

/// Bytes of the header of a frame with `payload_len` bytes of payload.
#[must_use]
#[inline]
pub const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => HEADER_BYTES_MAX,
    }
}

/// Appends the header of a final frame; the caller appends the payload.
///
/// `rsv1` marks the payload as compressed (RFC 7692 section 6).
#[inline]
pub fn put_header(out: &mut Vec<u8>, opcode: OpCode, rsv1: bool, payload_len: usize) {
    let first = 0x80 | u8::from(rsv1) << 6 | opcode as u8;
    match payload_len {
        0..=125 => out.extend_from_slice(&[first, payload_len as u8]),
        126..=0xffff => {
            let [high, low] = (payload_len as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, high, low]);
        }
        _ => {
            let mut header = [first, 127, 0, 0, 0, 0, 0, 0, 0, 0];
            header[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
            out.extend_from_slice(&header);
        }
    }
}

/// Appends a final, uncompressed frame.
///
/// A control frame's payload has at most 125 bytes; a longer one is the caller's mistake.
///
/// Cost: one reservation and one copy of the payload.
#[inline]
pub fn put_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    debug_assert!(!opcode.is_control() || payload.len() <= 125);
    out.reserve(header_len(payload.len()) + payload.len());
    put_header(out, opcode, false, payload.len());
    out.extend_from_slice(payload);
}

/// The bytes of the frame of an uncompressed message.
#[must_use]
pub fn frame_len(payload_len: usize) -> usize {
    header_len(payload_len) + payload_len
}

/// Appends a close frame. A code that is not allowed in a frame, such as 1005, is sent as an empty payload; a
/// reason that is too long is cut at a character boundary.
pub fn put_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    if !code.is_valid_on_wire() {
        return put_frame(out, OpCode::Close, b"");
    }
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    put_header(out, OpCode::Close, false, 2 + reason.len());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(opcode: OpCode, payload_len: usize, header: &[u8]) {
        let payload = vec![b'x'; payload_len];
        let mut out = b"before".to_vec();
        put_frame(&mut out, opcode, &payload);
        assert_eq!(out, [b"before", header, &payload].concat());
        assert_eq!(header_len(payload_len), header.len());
    }

    #[test]
    fn the_length_takes_its_shortest_form() {
        check(OpCode::Text, 0, b"\x81\x00");
        check(OpCode::Binary, 125, b"\x82\x7d");
        check(OpCode::Binary, 126, b"\x82\x7e\x00\x7e");
        check(OpCode::Text, 65_535, b"\x81\x7e\xff\xff");
        check(OpCode::Text, 65_536, b"\x81\x7f\0\0\0\0\0\x01\0\0");
        check(OpCode::Pong, 5, b"\x8a\x05");
    }

    #[test]
    fn a_compressed_frame_has_its_first_reserved_bit_set() {
        let mut out = Vec::new();
        put_header(&mut out, OpCode::Text, true, 7);
        assert_eq!(out, b"\xc1\x07");
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let check = |code: u16, reason: &str, expected: &[u8]| {
            let mut out = Vec::new();
            put_close(&mut out, CloseCode(code), reason);
            assert_eq!(out, expected);
        };
        check(1000, "", b"\x88\x02\x03\xe8");
        check(4001, "slow", b"\x88\x06\x0f\xa1slow");
        check(1005, "ignored", b"\x88\x00");
        let long = "x".repeat(122) + "é" + "y";
        check(
            1001,
            &long,
            &[b"\x88\x7c\x03\xe9", &long.as_bytes()[..122]].concat(),
        );
        let fits = "x".repeat(121) + "é";
        check(
            1001,
            &fits,
            &[b"\x88\x7d\x03\xe9", fits.as_bytes()].concat(),
        );
    }
}
