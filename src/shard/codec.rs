//! The reusable buffers of a shard, and the encoding of frames for a single peer: no allocation once warm.

use std::cell::RefCell;

use crate::config::Websocket;
use crate::ws::deflate::{Deflater, Inflater};
use crate::ws::encode::{put_close, put_frame, put_header};
use crate::ws::{CloseCode, OpCode};

/// Bytes read from one connection per turn, at most.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Buffers that are borrowed for one call, each in a `RefCell` of its own.
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
    /// The JSON payload that a session is writing.
    pub(super) text: Vec<u8>,
    /// `text` as MessagePack.
    pub(super) packed: Vec<u8>,
    /// A client's MessagePack message, converted to JSON.
    pub(super) inbound: Vec<u8>,
    /// A client's answer to a call, as the events that its caller gets.
    pub(super) answer: Vec<u8>,
    deflated: Vec<u8>,
    frame: Vec<u8>,
}

/// A buffer with a larger capacity is freed by the ticker.
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

    /// Encodes a message for a peer. `window_bits`: its negotiated compression window, if any.
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

    /// Frees buffers that a large message has grown.
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

/// Frees buffers above [`BUFFER_BYTES_MAX`].
pub(super) fn shrink<const N: usize>(buffers: [&mut Vec<u8>; N]) {
    for buffer in buffers {
        if buffer.capacity() > BUFFER_BYTES_MAX {
            *buffer = Vec::new();
        }
    }
}

/// Appends a message as one frame; compressed with a window of the given bits, if `deflated` is given.
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
