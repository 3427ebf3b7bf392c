//! Buffers of a shard that stay, and the encoding of what is for one peer alone: no allocation once
//! warm.

use std::cell::RefCell;

use crate::config::Websocket;
use crate::ws::deflate::{Deflater, Inflater};
use crate::ws::encode::{put_close, put_frame, put_header};
use crate::ws::{CloseCode, OpCode};

/// Bytes read from one connection per turn.
const SCRATCH_BYTES: usize = 64 * 1024;

/// What is lent for a moment, each by itself.
#[derive(Debug)]
pub(super) struct Buffers {
    pub(super) scratch: RefCell<Box<[u8]>>,
    pub(super) inflater: RefCell<Inflater>,
    pub(super) codec: RefCell<Codec>,
}

impl Buffers {
    pub(super) fn new(config: &Websocket) -> Self {
        Self {
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            inflater: RefCell::default(),
            codec: RefCell::new(Codec::new(config)),
        }
    }
}

/// Encodes frames for one peer.
#[derive(Debug)]
pub(super) struct Codec {
    deflater: Deflater,
    deflate_min_bytes: usize,
    /// A payload being put together by a session.
    pub(super) text: Vec<u8>,
    /// The same as MessagePack.
    pub(super) packed: Vec<u8>,
    /// A client's message, as JSON.
    pub(super) inbound: Vec<u8>,
    /// A client's answer, as its caller gets it.
    pub(super) answer: Vec<u8>,
    deflated: Vec<u8>,
    frame: Vec<u8>,
}

/// A buffer that has grown beyond this is given back after use.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

impl Codec {
    fn new(config: &Websocket) -> Self {
        Self {
            deflater: Deflater::new(config.deflate_level),
            deflate_min_bytes: config.deflate_min_size,
            text: Vec::new(),
            packed: Vec::new(),
            inbound: Vec::new(),
            answer: Vec::new(),
            deflated: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// A message for a peer that agreed to a window of this many bits or to no compression.
    pub(super) fn message(
        &mut self,
        window_bits: Option<u8>,
        opcode: OpCode,
        payload: &[u8],
    ) -> &[u8] {
        self.frame.clear();
        let window_bits = window_bits.filter(|_| payload.len() >= self.deflate_min_bytes);
        put_message(
            &mut self.frame,
            window_bits.map(|bits| (bits, &mut self.deflater, &mut self.deflated)),
            opcode,
            payload,
        );
        &self.frame
    }

    /// A ping or pong.
    pub(super) fn control(&mut self, opcode: OpCode, payload: &[u8]) -> &[u8] {
        self.frame.clear();
        put_frame(&mut self.frame, opcode, payload);
        &self.frame
    }

    /// A close frame.
    pub(super) fn close(&mut self, code: u16, reason: &str) -> &[u8] {
        self.frame.clear();
        put_close(&mut self.frame, CloseCode(code), reason);
        &self.frame
    }

    /// Gives back buffers that one large message has left behind.
    pub(super) fn tidy(&mut self) {
        let Self {
            text,
            packed,
            inbound,
            answer,
            deflated,
            frame,
            ..
        } = self;
        shrink([text, packed, inbound, answer, deflated, frame]);
    }
}

/// Gives back buffers that one large message has left behind.
pub(super) fn shrink<const N: usize>(buffers: [&mut Vec<u8>; N]) {
    for buffer in buffers {
        if buffer.capacity() > BUFFER_BYTES_MAX {
            *buffer = Vec::new();
        }
    }
}

/// Appends a message as one frame; deflated with a window of so many bits, if one is given.
pub(super) fn put_message(
    out: &mut Vec<u8>,
    deflated: Option<(u8, &mut Deflater, &mut Vec<u8>)>,
    opcode: OpCode,
    payload: &[u8],
) {
    match deflated {
        None => put_frame(out, opcode, payload),
        Some((window_bits, deflater, deflated)) => {
            deflated.clear();
            deflater.compress(window_bits, payload, deflated);
            put_header(out, opcode, true, deflated.len());
            out.extend_from_slice(deflated);
        }
    }
}
