//! WebSocket frames as a client sees them (RFC 6455 section 5).
//!
//! Shares no code with the server, so that a mistake in one cannot hide behind
//! the same mistake in the other. It is strict about what a server may send:
//! no mask, no reserved bits, shortest length form, sane control frames.

/// Bits of a frame's first byte.
pub(crate) const FIN: u8 = 0x80;

/// The first byte of a message in one frame.
const WHOLE_TEXT: u8 = FIN | opcode::TEXT;
const WHOLE_BINARY: u8 = FIN | opcode::BINARY;

/// Largest payload accepted from a server, in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 32 << 20;

/// Largest header of an unmasked frame, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 10;

/// Opcodes of RFC 6455 section 5.2.
pub(crate) mod opcode {
    pub(crate) const CONTINUATION: u8 = 0x0;
    pub(crate) const TEXT: u8 = 0x1;
    pub(crate) const BINARY: u8 = 0x2;
    pub(crate) const CLOSE: u8 = 0x8;
    pub(crate) const PING: u8 = 0x9;
    pub(crate) const PONG: u8 = 0xA;
}

/// The frame at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameSplit {
    /// Incomplete; the frame has at least this many bytes.
    Partial { needs: usize },
    /// A whole frame: its payload is `head..head + payload`.
    Frame {
        /// FIN and opcode.
        first: u8,
        head: usize,
        payload: usize,
    },
    /// The server broke RFC 6455.
    Invalid(&'static str),
}

/// Looks at the frame at the front of `bytes`.
///
/// Cost: a few comparisons, no copy.
#[inline]
pub(crate) fn split(bytes: &[u8]) -> FrameSplit {
    let &[first, second, ..] = bytes else {
        return FrameSplit::Partial { needs: 2 };
    };
    let (head, payload) = match second {
        length @ 0..=125 => (2, usize::from(length)),
        126 => {
            let Some(&[_, _, high, low]) = bytes.first_chunk() else {
                return FrameSplit::Partial { needs: 4 };
            };
            let length = u16::from_be_bytes([high, low]);
            if length < 126 {
                return FrameSplit::Invalid("length not in its shortest form");
            }
            (4, usize::from(length))
        }
        127 => {
            let Some(&[_, _, ref length @ ..]) = bytes.first_chunk::<HEAD_BYTES_MAX>() else {
                return FrameSplit::Partial {
                    needs: HEAD_BYTES_MAX,
                };
            };
            let length = u64::from_be_bytes(*length);
            if length <= u64::from(u16::MAX) {
                return FrameSplit::Invalid("length not in its shortest form");
            }
            match usize::try_from(length) {
                Ok(length) if length <= PAYLOAD_BYTES_MAX => (HEAD_BYTES_MAX, length),
                _ => return FrameSplit::Invalid("frame larger than 32 MiB"),
            }
        }
        _ => return FrameSplit::Invalid("masked frame from a server"),
    };
    // The first bytes of unfragmented messages are valid.
    if !matches!(first, WHOLE_TEXT | WHOLE_BINARY)
        && let Some(problem) = first_byte_problem(first, payload)
    {
        return FrameSplit::Invalid(problem);
    }
    if bytes.len() < head + payload {
        return FrameSplit::Partial {
            needs: head + payload,
        };
    }
    FrameSplit::Frame {
        first,
        head,
        payload,
    }
}

#[cold]
fn first_byte_problem(first: u8, payload: usize) -> Option<&'static str> {
    if first & 0x70 != 0 {
        return Some("reserved bit set without an extension");
    }
    match first & 0x0F {
        opcode::CONTINUATION | opcode::TEXT | opcode::BINARY => None,
        opcode::CLOSE | opcode::PING | opcode::PONG => {
            if first & FIN == 0 {
                Some("fragmented control frame")
            } else if payload > 125 {
                Some("control frame over 125 bytes")
            } else {
                None
            }
        }
        _ => Some("unknown opcode"),
    }
}

/// Appends one masked frame to `out`. `write` appends the payload, `mask` is the
/// masking key (RFC 6455 section 5.3).
///
/// Cost: one pass over the payload; it moves only if it is over 65,535 bytes.
pub(crate) fn encode(out: &mut Vec<u8>, op: u8, mask: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    // Room for the usual header; the payload is moved when its length needs another.
    const USUAL: usize = 2 + 2 + 4;
    out.extend_from_slice(&[0; USUAL]);
    write(out);
    let length = out.len() - start - USUAL;
    let mask = mask.to_ne_bytes();
    let mut head = [0; 14];
    head[0] = FIN | op;
    let head_bytes = match length {
        0..126 => {
            head[1] = 0x80 | length as u8;
            head[2..6].copy_from_slice(&mask);
            6
        }
        126..=0xFFFF => {
            head[1] = 0x80 | 126;
            head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            head[4..8].copy_from_slice(&mask);
            8
        }
        _ => {
            head[1] = 0x80 | 127;
            head[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            head[10..14].copy_from_slice(&mask);
            14
        }
    };
    if head_bytes == USUAL {
        out[start..start + USUAL].copy_from_slice(&head[..USUAL]);
    } else {
        out.splice(start..start + USUAL, head[..head_bytes].iter().copied());
    }
    apply_mask(&mut out[start + head_bytes..], mask);
}

fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let key = u32::from_ne_bytes(mask);
    let (words, tail) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..126 => bytes.push(length as u8),
            length @ 126..=0xFFFF => {
                bytes.push(126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn whole_frames_split_at_every_length_form() {
        for (length, expected_head) in [
            (0, 2),
            (125, 2),
            (126, 4),
            (65_535, 4),
            (65_536, 10),
            (70_000, 10),
        ] {
            let bytes = unmasked(0x81, &vec![b'x'; length]);
            let expected = FrameSplit::Frame {
                first: 0x81,
                head: expected_head,
                payload: length,
            };
            assert_eq!(split(&bytes), expected, "{length}");
        }
    }

    #[test]
    fn a_cut_frame_asks_for_what_it_needs_and_never_more() {
        for length in [0, 5, 125, 126, 300, 65_535, 65_536] {
            let bytes = unmasked(0x82, &vec![7; length]);
            for cut in (0..bytes.len()).take(400) {
                let FrameSplit::Partial { needs } = split(&bytes[..cut]) else {
                    panic!("{length} cut at {cut} is not partial");
                };
                assert!(cut < needs && needs <= bytes.len().max(2), "{length} {cut}");
            }
        }
    }

    #[test]
    fn a_server_that_breaks_the_protocol_is_caught() {
        for bytes in [
            &[0x81, 0x80, 0, 0, 0, 0][..],              // masked
            &[0xC1, 0x00],                              // reserved bit
            &[0x83, 0x00],                              // unknown opcode
            &[0x09, 0x00],                              // fragmented ping
            &[0x81, 126, 0, 125],                       // not shortest
            &[0x81, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], // not shortest
            &[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0],       // too large
            &[0x89, 126, 0, 126],                       // long ping
        ] {
            assert!(matches!(split(bytes), FrameSplit::Invalid(_)), "{bytes:?}");
        }
    }

    #[test]
    fn encoded_frames_are_masked_and_come_back() {
        for length in [0, 1, 125, 126, 127, 1_000, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            let mut out = b"before".to_vec();
            encode(&mut out, opcode::BINARY, 0x1234_5678, |out| {
                out.extend_from_slice(&payload);
            });
            let mut frame = out.split_off(6);
            assert_eq!(out, b"before");
            assert_eq!(frame[1] & 0x80, 0x80);
            // Take the mask out to be able to split it as a server's frame.
            frame[1] &= 0x7F;
            let head = match frame[1] {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            let mask: Vec<u8> = frame.drain(head..head + 4).collect();
            for (i, byte) in frame[head..].iter_mut().enumerate() {
                *byte ^= mask[i % 4];
            }
            assert_eq!(frame, unmasked(0x82, &payload), "{length}");
        }
    }
}
