//! The wire formats of publications to clients of the events protocol.

use super::{Encoding, Writer};
use crate::collections::free_large;
use crate::engine::{Format, FormatRegistry, Packing, Publication};
use crate::id::{FormatId, Gather};
use crate::msgpack;
use crate::timestamp::LastTimestamp;
use crate::ws::OpCode;
use crate::ws::encode::put_frame;
use crate::ws::text::TextFrames;

/// The formats of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct EventsFormats {
    json: FormatId,
    deflated: FormatId,
    msgpack: FormatId,
    batch: FormatId,
}

impl EventsFormats {
    /// Registers the formats.
    pub fn register(registry: &mut FormatRegistry) -> Self {
        Self {
            json: registry.register(Gather::Each, true, |_| {
                JsonFormat::boxed(TextFrames::plain())
            }),
            deflated: registry.register(Gather::Each, true, |config| {
                JsonFormat::boxed(TextFrames::deflated(&config.websocket))
            }),
            msgpack: registry.register(Gather::Each, true, |_| Box::<MsgpackFormat>::default()),
            batch: registry.register(Gather::Group, true, |_| {
                Box::new(BatchFormat(JsonFormat::new(TextFrames::plain())))
            }),
        }
    }

    /// The format of a connection: with shared compressed frames, or uncompressed.
    #[must_use]
    pub fn of(&self, encoding: Encoding, is_deflated: bool) -> FormatId {
        match encoding {
            Encoding::Msgpack => self.msgpack,
            Encoding::JsonBatch => self.batch,
            Encoding::Json if is_deflated => self.deflated,
            Encoding::Json => self.json,
        }
    }
}

/// JSON text frames.
#[derive(Debug)]
struct JsonFormat {
    frames: TextFrames,
    timestamp: LastTimestamp,
    payload: Vec<u8>,
}

impl JsonFormat {
    fn new(frames: TextFrames) -> Self {
        Self {
            frames,
            timestamp: LastTimestamp::default(),
            payload: Vec::new(),
        }
    }

    fn boxed(frames: TextFrames) -> Box<dyn Format> {
        Box::new(Self::new(frames))
    }
}

impl Format for JsonFormat {
    fn encode(&mut self, publication: &Publication<'_>, time_ms: u64, out: &mut Vec<u8>) {
        self.payload.clear();
        Writer::new(&mut self.payload, self.timestamp.of(time_ms)).event(publication);
        self.frames.put(out, &self.payload);
    }

    fn tidy(&mut self) {
        self.frames.tidy();
        free_large([&mut self.payload]);
    }
}

/// JSON text frames with several events each.
#[derive(Debug)]
struct BatchFormat(JsonFormat);

impl Format for BatchFormat {
    fn encode(&mut self, publication: &Publication<'_>, time_ms: u64, out: &mut Vec<u8>) {
        Writer::new(out, self.0.timestamp.of(time_ms)).event(publication);
    }

    fn encode_missed(&mut self, publication: &Publication<'_>, time_ms: u64, out: &mut Vec<u8>) {
        self.0.encode(publication, time_ms, out);
    }

    fn group(&mut self, events: &[u8], count: usize, time_ms: u64, out: &mut Vec<u8>) {
        let JsonFormat {
            payload, timestamp, ..
        } = &mut self.0;
        payload.clear();
        Writer::new(payload, timestamp.of(time_ms)).batch(events, count);
        self.0.frames.put(out, &self.0.payload);
    }

    fn tidy(&mut self) {
        self.0.tidy();
    }
}

/// MessagePack in binary frames.
#[derive(Default, Debug)]
struct MsgpackFormat {
    timestamp: LastTimestamp,
    payload: Vec<u8>,
    packed: Vec<u8>,
}

impl Format for MsgpackFormat {
    fn encode(&mut self, publication: &Publication<'_>, time_ms: u64, out: &mut Vec<u8>) {
        self.payload.clear();
        Writer::new(&mut self.payload, self.timestamp.of(time_ms)).event(publication);
        self.packed.clear();
        msgpack::from_json(&self.payload, &mut self.packed);
        put_frame(out, OpCode::Binary, &self.packed);
    }

    fn pack(&mut self, json: &[u8], _: Option<usize>, packed: &mut Vec<u8>) -> Packing {
        msgpack::from_json(json, packed);
        Packing::Binary
    }

    fn tidy(&mut self) {
        free_large([&mut self.payload, &mut self.packed]);
    }
}
