//! Writes publications down for the engine, in buffers that stay: no allocation once warm.

use super::clock::{TIMESTAMP_LEN, timestamp_of};
use super::codec::{put_message, shrink};
use crate::config::Websocket;
use crate::engine::{Change, Encode};
use crate::id::WireFormat;
use crate::json::put_string;
use crate::protocol::bridge;
use crate::protocol::events::{Kind, Publication, Writer, msgpack};
use crate::sse::{PRESENCE, event_type, put_event};
use crate::topic;
use crate::ws::OpCode;
use crate::ws::deflate::Deflater;
use crate::ws::encode::put_frame;

/// The encoder of a shard's engine.
#[derive(Debug)]
pub(super) struct Encoder {
    deflater: Deflater,
    deflate_min_bytes: usize,
    /// The last time that was written down, and how.
    time_ms: u64,
    timestamp: [u8; TIMESTAMP_LEN],
    payload: Vec<u8>,
    packed: Vec<u8>,
    deflated: Vec<u8>,
    frame: Vec<u8>,
}

/// The window of frames that all peers share, as a power of two. A peer that asked for a smaller one
/// gets broadcasts uncompressed.
pub(super) const SHARED_WINDOW_BITS: u8 = 15;

impl Encoder {
    pub(super) fn new(config: &Websocket) -> Self {
        Self {
            deflater: Deflater::new(config.deflate_level),
            deflate_min_bytes: config.deflate_min_size,
            time_ms: 0,
            timestamp: timestamp_of(0),
            payload: Vec::new(),
            packed: Vec::new(),
            deflated: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// The payload of a message in a text frame, deflated if `deflates`. Compressed ones keep no
    /// context, so that one frame serves all.
    fn put_text(&mut self, deflates: bool, payload: &[u8]) {
        self.frame.clear();
        let window_bits = deflates.then_some(SHARED_WINDOW_BITS);
        let window_bits = window_bits.filter(|_| payload.len() >= self.deflate_min_bytes);
        put_message(
            &mut self.frame,
            window_bits.map(|bits| (bits, &mut self.deflater, &mut self.deflated)),
            OpCode::Text,
            payload,
        );
    }

    fn set_time(&mut self, time_ms: u64) {
        if time_ms != self.time_ms {
            self.time_ms = time_ms;
            self.timestamp = timestamp_of(time_ms);
        }
    }

    fn put_sse(&mut self, publication: &Publication<'_>) {
        self.frame.clear();
        let written = if publication.kind == Kind::Presence {
            self.payload.clear();
            let payload = &mut self.payload;
            payload.extend_from_slice(b"{\"event\":\"");
            payload.extend_from_slice(publication.name.as_bytes());
            payload.extend_from_slice(b"\",\"data\":");
            payload.extend_from_slice(publication.data);
            payload.extend_from_slice(b",\"presence_seq\":");
            let sequence = itoa::Buffer::new().format(publication.offset).to_owned();
            payload.extend_from_slice(sequence.as_bytes());
            payload.push(b'}');
            put_event(&mut self.frame, PRESENCE, payload)
        } else {
            let name = event_type(publication.name);
            put_event(&mut self.frame, name, publication.data)
        };
        written.expect("names are checked like those of topics");
    }

    fn put_bridge(&mut self, deflates: bool, publication: &Publication<'_>) {
        // What was pushed is what they are sent.
        if publication.kind == Kind::Push {
            return self.put_text(deflates, publication.data);
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        let user = topic::user_of(publication.topic).unwrap_or_default();
        let data = str::from_utf8(publication.data).expect("data is checked to be JSON");
        bridge::put_completed(&mut payload, &user, data);
        self.put_text(deflates, &payload);
        self.payload = payload;
    }
}

impl Encode for Encoder {
    fn event(&mut self, format: WireFormat, publication: &Publication<'_>, time_ms: u64) -> &[u8] {
        match format {
            WireFormat::Sse => self.put_sse(publication),
            WireFormat::Bridge => self.put_bridge(false, publication),
            WireFormat::BridgeDeflate => self.put_bridge(true, publication),
            WireFormat::EventsJson
            | WireFormat::EventsJsonDeflate
            | WireFormat::EventsMsgpack
            | WireFormat::EventsBatch => {
                self.set_time(time_ms);
                let mut payload = std::mem::take(&mut self.payload);
                payload.clear();
                Writer::new(&mut payload, &self.timestamp).event(publication);
                match format {
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
                    format => self.put_text(format == WireFormat::EventsJsonDeflate, &payload),
                }
                self.payload = payload;
            }
        }
        &self.frame
    }

    fn group(&mut self, events: &[u8], count: usize, time_ms: u64) -> &[u8] {
        self.set_time(time_ms);
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        Writer::new(&mut payload, &self.timestamp).batch(events, count);
        self.put_text(false, &payload);
        self.payload = payload;
        &self.frame
    }

    fn presence(&mut self, change: &Change) -> Vec<u8> {
        let action = if change.joined { "join" } else { "leave" };
        let mut data =
            format!(r#"{{"action":"{action}","users":{},"user":"#, change.users).into_bytes();
        put_string(&mut data, &change.user);
        data.push(b'}');
        data
    }

    fn tidy(&mut self) {
        let Self {
            payload,
            packed,
            deflated,
            frame,
            ..
        } = self;
        shrink([payload, packed, deflated, frame]);
    }
}
