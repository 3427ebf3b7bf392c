//! Encodes frames into buffers that stay: no allocation once warm.

use crate::config::Websocket;
use crate::id::WireFormat;
use crate::protocol::bridge;
use crate::protocol::events::{Kind, Publication, Writer, msgpack};
use crate::sse::{PRESENCE, event_type, put_event};
use crate::topic;
use crate::ws::deflate::Deflater;
use crate::ws::encode::{put_close, put_frame, put_header};
use crate::ws::{CloseCode, OpCode};

/// The encoder of a shard.
#[derive(Debug)]
pub(super) struct Codec {
    deflater: Deflater,
    deflate_min_bytes: usize,
    /// A payload being put together by a caller.
    pub(super) text: Vec<u8>,
    /// The same as MessagePack.
    pub(super) packed: Vec<u8>,
    /// A client's message, as JSON.
    pub(super) inbound: Vec<u8>,
    /// A client's answer, as its caller gets it.
    pub(super) answer: Vec<u8>,
    payload: Vec<u8>,
    deflated: Vec<u8>,
    frame: Vec<u8>,
}

/// The window of frames that all peers share, as a power of two. A peer that
/// asked for a smaller one gets broadcasts uncompressed.
pub(super) const SHARED_WINDOW_BITS: u8 = 15;

/// A buffer that has grown beyond this is given back after use.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

impl Codec {
    pub(super) fn new(config: &Websocket) -> Self {
        Self {
            deflater: Deflater::new(config.deflate_level),
            deflate_min_bytes: config.deflate_min_size,
            text: Vec::new(),
            packed: Vec::new(),
            inbound: Vec::new(),
            answer: Vec::new(),
            payload: Vec::new(),
            deflated: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// A publication as its subscribers get it. Compressed ones keep no
    /// context, so that one frame serves them all.
    pub(super) fn event(
        &mut self,
        format: WireFormat,
        publication: &Publication<'_>,
        timestamp: &[u8],
    ) -> &[u8] {
        // What was pushed is what they are sent.
        match (format, publication.kind) {
            (WireFormat::Bridge, Kind::Push) => {
                self.encode(None, OpCode::Text, publication.data);
                return &self.frame;
            }
            (WireFormat::BridgeDeflate, Kind::Push) => {
                self.encode(Some(SHARED_WINDOW_BITS), OpCode::Text, publication.data);
                return &self.frame;
            }
            _ => {}
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        match (format, publication.kind) {
            (WireFormat::Sse, _) => {}
            (WireFormat::Bridge | WireFormat::BridgeDeflate, _) => {
                let user = topic::user_of(publication.topic).unwrap_or_default();
                let data = str::from_utf8(publication.data).expect("data is checked to be JSON");
                bridge::put_completed(&mut payload, &user, data);
            }
            _ => Writer::new(&mut payload, timestamp).event(publication),
        }
        match format {
            WireFormat::Bridge => self.encode(None, OpCode::Text, &payload),
            WireFormat::BridgeDeflate => {
                self.encode(Some(SHARED_WINDOW_BITS), OpCode::Text, &payload);
            }
            WireFormat::EventsJson => self.encode(None, OpCode::Text, &payload),
            WireFormat::EventsJsonDeflate => {
                self.encode(Some(SHARED_WINDOW_BITS), OpCode::Text, &payload);
            }
            WireFormat::EventsMsgpack => {
                self.packed.clear();
                msgpack::from_json(&payload, &mut self.packed);
                self.frame.clear();
                put_frame(&mut self.frame, OpCode::Binary, &self.packed);
            }
            WireFormat::EventsBatch => {
                self.frame.clear();
                self.frame.extend_from_slice(&payload);
            }
            WireFormat::Sse => {
                self.frame.clear();
                let written = if publication.kind == Kind::Presence {
                    payload.extend_from_slice(b"{\"event\":\"");
                    payload.extend_from_slice(publication.name.as_bytes());
                    payload.extend_from_slice(b"\",\"data\":");
                    payload.extend_from_slice(publication.data);
                    payload.push(b'}');
                    put_event(&mut self.frame, PRESENCE, &payload)
                } else {
                    put_event(
                        &mut self.frame,
                        event_type(publication.name),
                        publication.data,
                    )
                };
                written.expect("names are checked like those of topics");
            }
        }
        self.payload = payload;
        &self.frame
    }

    /// A message for one peer, which agreed to a window of this many bits or
    /// to no compression.
    pub(super) fn message(
        &mut self,
        window_bits: Option<u8>,
        opcode: OpCode,
        payload: &[u8],
    ) -> &[u8] {
        self.encode(window_bits, opcode, payload);
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
        for buffer in [
            &mut self.text,
            &mut self.packed,
            &mut self.inbound,
            &mut self.answer,
            &mut self.payload,
            &mut self.deflated,
            &mut self.frame,
        ] {
            if buffer.capacity() > BUFFER_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }

    fn encode(&mut self, window_bits: Option<u8>, opcode: OpCode, payload: &[u8]) {
        self.frame.clear();
        match window_bits.filter(|_| payload.len() >= self.deflate_min_bytes) {
            None => put_frame(&mut self.frame, opcode, payload),
            Some(window_bits) => {
                self.deflated.clear();
                self.deflater
                    .compress(window_bits, payload, &mut self.deflated);
                put_header(&mut self.frame, opcode, true, self.deflated.len());
                self.frame.extend_from_slice(&self.deflated);
            }
        }
    }
}
