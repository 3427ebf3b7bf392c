//! The reusable buffers of a shard, and the encoding of frames for a single peer: no allocation once warm.

use std::cell::RefCell;

use crate::collections::free_large;
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

    /// The smallest message that is compressed, unless it says otherwise.
    pub(super) fn deflate_min_bytes(&self) -> usize {
        self.deflate_min_bytes
    }

    /// The frame of a message, compressed for a peer with that window.
    pub(super) fn compressed(&mut self, window_bits: u8, opcode: OpCode, payload: &[u8]) -> &[u8] {
        self.deflated.clear();
        self.deflater
            .compress(window_bits, payload, &mut self.deflated);
        self.frame.clear();
        put_header(&mut self.frame, opcode, true, self.deflated.len());
        self.frame.extend_from_slice(&self.deflated);
        &self.frame
    }

    /// The frame of a message as it is, or a ping or pong.
    pub(super) fn plain(&mut self, opcode: OpCode, payload: &[u8]) -> &[u8] {
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
        free_large([text, packed, inbound, answer, deflated, frame]);
    }
}
