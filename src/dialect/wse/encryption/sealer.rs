//! Encrypts the frames that are written to one peer, on their way to its socket.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;

use super::{ENCRYPTION_BYTES, SealError, SessionKey};
use crate::net::Seal;
use crate::ws::OpCode;
use crate::ws::encode::put_header;

/// What messages that are never encrypted begin with: PING and PONG, also as clients of 1.x read them.
const CLEAR: [&[u8]; 4] = [
    br#"{"c":"WSE","t":"PING","#,
    br#"{"c":"WSE","t":"PONG","#,
    br#"WSE{"t":"PING","#,
    br#"WSE{"t":"PONG","#,
];

/// A change of keys that is announced already is not over yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a change of keys is in progress; ask again when it is answered")]
pub struct ChangePending;

/// The key of a peer's messages, as its session and its socket's writer share it. New ones have no key: all frames pass
/// as they are.
///
/// With a key each text and binary message becomes a binary one, encrypted. Control frames, PING and PONG messages pass
/// as they are. Every frame of a compressed message is refused then, which ends the connection.
#[derive(Clone, Default, Debug)]
pub struct FrameSealer(Rc<RefCell<Sealer>>);

#[derive(Default, Debug)]
struct Sealer {
    key: Option<Rc<SessionKey>>,
    change: Option<Change>,
    /// The beginning of a frame.
    begun: Vec<u8>,
}

#[derive(Debug)]
struct Change {
    after: &'static str,
    key: Option<Rc<SessionKey>>,
}

impl FrameSealer {
    /// Changes the key, `None` for no encryption, after the first message that begins with `after`. It is itself still
    /// encrypted as those before it, in whatever order they were queued.
    ///
    /// It should be queued so that it is not dropped (`Priority::Critical`): the change waits for it.
    ///
    /// # Errors
    /// The last change still waits for its message.
    pub fn begin(
        &self,
        after: &'static str,
        key: Option<Rc<SessionKey>>,
    ) -> Result<(), ChangePending> {
        let mut sealer = self.0.borrow_mut();
        if sealer.change.is_some() {
            return Err(ChangePending);
        }
        sealer.change = Some(Change { after, key });
        Ok(())
    }

    /// Whether a change waits for its message.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.0.borrow().change.is_some()
    }

    /// Whether messages that are written now are encrypted.
    #[must_use]
    pub fn is_encrypting(&self) -> bool {
        self.0.borrow().key.is_some()
    }
}

impl Seal for FrameSealer {
    fn seal(
        &mut self,
        plain: &[IoSlice<'_>],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let mut sealer = self.0.borrow_mut();
        let sealed = sealer.seal(plain, bytes_max, out);
        sealed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Sealer {
    /// As [`Seal::seal`]: takes whole frames, and the beginning of one only at the end of `plain`.
    fn seal(
        &mut self,
        plain: &[IoSlice<'_>],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, SealError> {
        let mut taken = 0;
        for slice in plain {
            let mut rest = &slice[..];
            while !rest.is_empty() {
                if taken >= bytes_max && self.begun.is_empty() {
                    return Ok(taken);
                }
                let part = self.seal_first(rest, out)?;
                rest = &rest[part..];
                taken += part;
            }
        }
        Ok(taken)
    }

    /// Seals the first frame of `bytes`, or adds to one that has begun. Returns how many bytes were taken.
    fn seal_first(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, SealError> {
        if self.begun.is_empty()
            && let Some(header) = Header::parse(bytes)?
            && let Some(frame) = bytes.get(..header.frame_bytes)
        {
            self.pass(header, frame, out)?;
            return Ok(frame.len());
        }
        let wanted = match Header::parse(&self.begun)? {
            Some(header) => header.frame_bytes - self.begun.len(),
            None => 1,
        };
        let part = wanted.min(bytes.len());
        self.begun.extend_from_slice(&bytes[..part]);
        if let Some(header) = Header::parse(&self.begun)?
            && self.begun.len() == header.frame_bytes
        {
            let frame = std::mem::take(&mut self.begun);
            self.pass(header, &frame, out)?;
        }
        Ok(part)
    }

    /// Appends a frame to `out` as its peer is sent it.
    fn pass(&mut self, header: Header, frame: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        if header.is_control {
            out.extend_from_slice(frame);
            return Ok(());
        }
        let payload = &frame[header.bytes..];
        match &self.key {
            Some(_) if header.is_compressed => return Err(SealError::Compressed),
            Some(key) if !CLEAR.iter().any(|begin| payload.starts_with(begin)) => {
                put_header(out, OpCode::Binary, false, ENCRYPTION_BYTES + payload.len());
                key.seal(payload, out)?;
            }
            _ => out.extend_from_slice(frame),
        }
        let is_announced = |change: &mut Change| payload.starts_with(change.after.as_bytes());
        if let Some(change) = self.change.take_if(is_announced) {
            self.key = change.key;
        }
        Ok(())
    }
}

/// The header of a frame of ours (RFC 6455 section 5.2).
#[derive(Clone, Copy)]
struct Header {
    is_control: bool,
    is_compressed: bool,
    /// Bytes of the header itself.
    bytes: usize,
    /// Bytes of the whole frame.
    frame_bytes: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when more bytes are needed.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, SealError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else {
            return Ok(None);
        };
        // A server's frames are whole messages, and never masked (section 5.1).
        if first & 0xb0 != 0x80 || second & 0x80 != 0 || !matches!(first & 0x0f, 1 | 2 | 8..=10) {
            return Err(SealError::NoFrame);
        }
        let (bytes, payload_bytes) = match second {
            126 => match rest.first_chunk() {
                Some(bytes) => (4, u64::from(u16::from_be_bytes(*bytes))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(bytes) => (10, u64::from_be_bytes(*bytes)),
                None => return Ok(None),
            },
            short => (2, u64::from(short)),
        };
        let payload_bytes = usize::try_from(payload_bytes).map_err(|_| SealError::NoFrame)?;
        Ok(Some(Self {
            is_control: first & 0x08 != 0,
            is_compressed: first & 0x40 != 0,
            bytes,
            frame_bytes: payload_bytes.checked_add(bytes).ok_or(SealError::NoFrame)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ws::CloseCode;
    use crate::ws::encode::{put_close, put_frame};

    const HELLO: &str = r#"{"c":"WSE","t":"server_hello","#;
    const ROTATED: &str = r#"{"c":"WSE","t":"key_rotation_response","#;
    const PONG: &str = r#"{"c":"WSE","t":"PONG","p":{},"v":1}"#;

    fn key(byte: u8) -> Rc<SessionKey> {
        Rc::new(SessionKey::new(&[byte; 32]))
    }

    fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_frame(&mut out, opcode, payload);
        out
    }

    fn text(payload: &str) -> Vec<u8> {
        frame(OpCode::Text, payload.as_bytes())
    }

    /// A client that has this key: cuts `bytes` into frames, decrypts those that are. Of each the opcode, whether it was
    /// encrypted, and its payload.
    fn receive(mut bytes: &[u8], key: &SessionKey) -> Vec<(u8, bool, Vec<u8>)> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let header = Header::parse(bytes).ok().flatten().unwrap();
            let (frame, rest) = bytes.split_at(header.frame_bytes);
            let payload = &frame[header.bytes..];
            let opcode = frame[0] & 0x0f;
            let mut opened = Vec::new();
            frames.push(match payload.starts_with(b"E:") {
                true => {
                    key.open(payload, &mut opened).unwrap();
                    (opcode, true, opened)
                }
                false => (opcode, false, payload.to_vec()),
            });
            bytes = rest;
        }
        frames
    }

    /// Has `sealer` seal all of `pieces`, given to it again from where it stopped.
    fn seal_all(sealer: &FrameSealer, pieces: &[&[u8]], bytes_max: usize) -> Vec<u8> {
        let (mut sealer, mut out) = (sealer.clone(), Vec::new());
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut slices = &mut slices[..];
        while slices.iter().any(|slice| !slice.is_empty()) {
            let taken = sealer.seal(slices, bytes_max, &mut out).unwrap();
            assert!(taken > 0);
            IoSlice::advance_slices(&mut slices, taken);
        }
        assert!(sealer.0.borrow().begun.is_empty());
        out
    }

    #[test]
    fn all_but_control_frames_and_heartbeats_is_encrypted_wherever_it_is_cut() {
        let long = format!(r#"{{"tp":"a","p":"{}"}}"#, "x".repeat(300));
        let old = r#"WSE{"t":"PING","p":{},"v":1}"#;
        let mut close = Vec::new();
        put_close(&mut close, CloseCode(1000), "bye");
        let frames = [
            text(r#"{"c":"U","t":"a"}"#),
            frame(OpCode::Ping, b"beat"),
            text(PONG),
            text(old),
            // One that only looks like it.
            text(r#"{"c":"WSE","t":"PONGS","p":{}}"#),
            text(&long),
            frame(OpCode::Pong, b""),
            frame(OpCode::Binary, b"\x81binary"),
            text(""),
            close,
        ];
        let plain = frames.concat();
        let expected: Vec<(u8, bool, Vec<u8>)> = [
            (2, true, &br#"{"c":"U","t":"a"}"#[..]),
            (9, false, b"beat"),
            (1, false, PONG.as_bytes()),
            (1, false, old.as_bytes()),
            (2, true, br#"{"c":"WSE","t":"PONGS","p":{}}"#),
            (2, true, long.as_bytes()),
            (10, false, b""),
            (2, true, b"\x81binary"),
            (2, true, b""),
            (8, false, b"\x03\xe8bye"),
        ]
        .map(|(opcode, is_sealed, payload)| (opcode, is_sealed, payload.to_vec()))
        .into();
        let sealer = FrameSealer::default();
        let key = key(1);
        sealer.0.borrow_mut().key = Some(key.clone());
        let check = |pieces: &[&[u8]], bytes_max| {
            let sealed = seal_all(&sealer, pieces, bytes_max);
            assert_eq!(receive(&sealed, &key), expected);
        };
        let all: Vec<&[u8]> = plain.chunks(1).collect();
        for bytes_max in [1, 100, usize::MAX] {
            check(&[&plain], bytes_max);
            check(&all, bytes_max);
            for cut in 0..plain.len() {
                check(&[&plain[..cut], &plain[cut..]], bytes_max);
            }
        }
        // The cut between two calls.
        for cut in 0..plain.len() {
            let mut sealed = Vec::new();
            let mut writer = sealer.clone();
            for part in [&plain[..cut], &plain[cut..]] {
                let taken = writer.seal(&[IoSlice::new(part)], usize::MAX, &mut sealed);
                assert_eq!(taken.unwrap(), part.len());
            }
            assert_eq!(receive(&sealed, &key), expected);
        }
    }

    #[test]
    fn keys_change_right_after_the_message_that_says_so() {
        let (first, second) = (key(1), key(2));
        let sealer = FrameSealer::default();
        sealer.begin(HELLO, Some(first.clone())).unwrap();
        let hello = text(&format!("{HELLO}\"p\":{{}}}}"));
        let rotated = text(&format!("{ROTATED}\"p\":{{}}}}"));
        let said = text("{}");
        // Binary messages that begin with the text, and compressed ones, are messages, too; other messages are none.
        let other = frame(OpCode::Ping, HELLO.as_bytes());
        let plain = [&said[..], &other, &hello].concat();
        assert_eq!(seal_all(&sealer, &[&plain], usize::MAX), plain);
        assert!(sealer.is_encrypting());
        let is_sealed = |bytes: &[u8], key: &SessionKey| {
            let frames = receive(bytes, key).into_iter();
            frames
                .map(|(_, is_sealed, _)| is_sealed)
                .collect::<Vec<_>>()
        };
        let sealed = seal_all(&sealer, &[&hello, &said], usize::MAX);
        assert_eq!(is_sealed(&sealed, &first), [true, true]);
        // To another key.
        sealer.begin(ROTATED, Some(second.clone())).unwrap();
        assert_eq!(sealer.begin(ROTATED, None), Err(ChangePending));
        let sealed = seal_all(&sealer, &[&said, &rotated], usize::MAX);
        assert_eq!(is_sealed(&sealed, &first), [true, true]);
        let sealed = seal_all(&sealer, &[&rotated, &said], usize::MAX);
        assert_eq!(is_sealed(&sealed, &second), [true, true]);
        // To none.
        sealer.begin(ROTATED, None).unwrap();
        let sealed = seal_all(&sealer, &[&rotated, &said], usize::MAX);
        assert_eq!(is_sealed(&sealed, &second), [true, false]);
        assert!(!sealer.is_encrypting());
    }

    #[test]
    fn no_more_than_a_write_may_take_is_sealed_and_no_frame_is_divided() {
        let mut writer = FrameSealer::default();
        writer.0.borrow_mut().key = Some(key(1));
        let (small, large) = (text("small"), text(&"x".repeat(100_000)));
        let plain = [&small[..], &large, &small, &large].concat();
        let cut = plain.split_at(5000);
        let slices = [IoSlice::new(cut.0), IoSlice::new(cut.1)];
        let mut out = Vec::new();
        // The first frame is less than it may be, so the second one is taken whole.
        let taken = writer.seal(&slices, 50_000, &mut out).unwrap();
        assert_eq!(taken, small.len() + large.len());
        let rest = IoSlice::new(&plain[taken..]);
        assert_eq!(writer.seal(&[rest], 7, &mut out).unwrap(), small.len());
    }

    #[test]
    fn compressed_messages_are_never_sent_once_there_is_a_key() {
        let sealer = FrameSealer::default();
        let mut compressed = text("deflated");
        compressed[0] |= 0x40;
        assert_eq!(seal_all(&sealer, &[&compressed], 9), compressed);
        sealer.0.borrow_mut().key = Some(key(1));
        let said = text("x");
        for slices in [&[&compressed[..]][..], &[&said, &compressed]] {
            let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
            let refused = sealer.clone().seal(&slices, 1000, &mut Vec::new());
            let refused = refused.unwrap_err().into_inner().unwrap();
            assert_eq!(refused.downcast_ref(), Some(&SealError::Compressed));
        }
        // What is no frame of a server: fragments, masked frames, other opcodes and bits, a response of HTTP.
        let others: [&[u8]; 7] = [
            b"\x01\x00",
            b"\x81\x80",
            b"\x83\x00",
            b"\x80\x00",
            b"\xa1\x00",
            b"\x91\x00",
            b"HTTP",
        ];
        for bytes in others {
            let sealer = FrameSealer::default();
            let refused = sealer
                .clone()
                .seal(&[IoSlice::new(bytes)], 9, &mut Vec::new());
            refused.unwrap_err();
        }
    }

    proptest! {
        /// Clients read what was written, in order, whatever is written and however.
        #[test]
        fn a_client_reads_what_was_written(
            messages in prop::collection::vec(
                prop_oneof![
                    "[a-zé\"]{0,40}".prop_map(|payload| (OpCode::Text, payload)),
                    "[a-z]{120,130}".prop_map(|payload| (OpCode::Text, payload)),
                    "x{65530,65540}".prop_map(|payload| (OpCode::Text, payload)),
                    Just((OpCode::Ping, "beat".to_owned())),
                    Just((OpCode::Text, PONG.to_owned())),
                ],
                0..12,
            ),
            cuts in prop::collection::vec(0_usize..200, 0..12),
            bytes_max in 1_usize..100_000,
        ) {
            let sealer = FrameSealer::default();
            let key = key(3);
            sealer.0.borrow_mut().key = Some(key.clone());
            let plain: Vec<u8> = messages
                .iter()
                .flat_map(|(opcode, payload)| frame(*opcode, payload.as_bytes()))
                .collect();
            let (mut pieces, mut rest) = (Vec::new(), &plain[..]);
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let sealed = seal_all(&sealer, &pieces, bytes_max);
            let read = receive(&sealed, &key);
            prop_assert_eq!(read.len(), messages.len());
            for ((opcode, is_sealed, payload), (written, text)) in read.into_iter().zip(messages) {
                let is_clear = written == OpCode::Ping || text == PONG;
                prop_assert_eq!(is_sealed, !is_clear);
                prop_assert_eq!(opcode, if is_clear { written as u8 } else { 2 });
                prop_assert_eq!(payload, text.into_bytes());
            }
        }
    }
}
