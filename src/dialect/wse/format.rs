//! The wire formats of publications to clients of the protocol: each made once a message, whatever the number of clients.

use std::collections::BTreeMap;

use super::WseSettings;
use super::compress::{COMPRESS_FROM, Compressor};
use super::frame::{Dress, Stamp, put_publication, put_too_large};
use crate::collections::free_large;
use crate::config::{Config, MIB, Namespaces};
use crate::engine::{Format, FormatRegistry, Packing, Publication, PublicationKind};
use crate::id::{FormatId, Gather};
use crate::msgpack;
use crate::topic;
use crate::ws::OpCode;
use crate::ws::encode::put_frame;
use crate::ws::text::TextFrames;

/// The largest message that existing clients read, in bytes.
pub(super) const OUTBOUND_BYTES_MAX: usize = MIB;

/// The formats of the protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct WseFormats {
    /// By dress and coding.
    text: [[FormatId; 3]; 2],
    msgpack: FormatId,
}

/// How a client reads messages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Coding {
    /// JSON in text frames.
    #[default]
    Json,
    /// The same, compressed by permessage-deflate.
    Deflated,
    /// JSON in text frames, larger ones as `C:` and zlib in binary frames.
    Zlib,
    /// `M:` and MessagePack in binary frames.
    Msgpack,
}

impl WseFormats {
    /// Registers the formats.
    pub(super) fn register(registry: &mut FormatRegistry) -> Self {
        let mut json = |make| registry.register(Gather::Each, true, make);
        let text = [
            [
                json(|config| WseFormat::boxed(config, Dress::Field, Coding::Json)),
                json(|config| WseFormat::boxed(config, Dress::Field, Coding::Deflated)),
                json(|config| WseFormat::boxed(config, Dress::Field, Coding::Zlib)),
            ],
            [
                json(|config| WseFormat::boxed(config, Dress::Prefix, Coding::Json)),
                json(|config| WseFormat::boxed(config, Dress::Prefix, Coding::Deflated)),
                json(|config| WseFormat::boxed(config, Dress::Prefix, Coding::Zlib)),
            ],
        ];
        let msgpack = json(|config| WseFormat::boxed(config, Dress::Field, Coding::Msgpack));
        Self { text, msgpack }
    }

    /// The format of a client. MessagePack has no prefix.
    #[must_use]
    pub(super) fn of(&self, dress: Dress, coding: Coding) -> FormatId {
        let row = match dress {
            Dress::Field => self.text[0],
            Dress::Prefix => self.text[1],
        };
        match coding {
            Coding::Json => row[0],
            Coding::Deflated => row[1],
            Coding::Zlib => row[2],
            Coding::Msgpack => self.msgpack,
        }
    }
}

/// Encodes publications.
#[derive(Debug)]
struct WseFormat {
    namespaces: Namespaces,
    event_map: BTreeMap<String, String>,
    dress: Dress,
    coding: Coding,
    frames: TextFrames,
    compressor: Compressor,
    payload: Vec<u8>,
    packed: Vec<u8>,
}

impl WseFormat {
    fn boxed(config: &Config, dress: Dress, coding: Coding) -> Box<dyn Format> {
        let settings: WseSettings = config.section();
        Box::new(Self {
            namespaces: config.namespaces.clone(),
            event_map: settings.event_map,
            dress,
            coding,
            frames: match coding {
                Coding::Deflated => TextFrames::deflated(&config.websocket),
                Coding::Json | Coding::Zlib | Coding::Msgpack => TextFrames::plain(),
            },
            compressor: Compressor::default(),
            payload: Vec::new(),
            packed: Vec::new(),
        })
    }

    /// Writes the payload of a publication.
    fn put(&mut self, publication: &Publication<'_>, may_stamp: bool) {
        self.payload.clear();
        let how = (&self.namespaces, &self.event_map);
        put_event(&mut self.payload, self.dress, publication, how, may_stamp);
    }

    /// Appends the frame of the payload.
    fn put_frame(&mut self, out: &mut Vec<u8>) {
        match self.coding {
            Coding::Msgpack => {
                self.packed.clear();
                put_msgpack(&mut self.packed, &self.payload);
                put_frame(out, OpCode::Binary, &self.packed);
            }
            Coding::Zlib if self.payload.len() >= COMPRESS_FROM => {
                put_frame(out, OpCode::Binary, self.compressor.compress(&self.payload));
            }
            _ if self.dress == Dress::Prefix && looks_like_beat(&self.payload) => {
                put_frame(out, OpCode::Binary, &self.payload);
            }
            Coding::Json | Coding::Deflated | Coding::Zlib => self.frames.put(out, &self.payload),
        }
    }
}

impl Format for WseFormat {
    fn encode(&mut self, publication: &Publication<'_>, _: u64, out: &mut Vec<u8>) {
        self.put(publication, true);
        self.put_frame(out);
    }

    fn encode_queued(&mut self, publication: &Publication<'_>, _: u64, out: &mut Vec<u8>) {
        // A member does not get all, and would take the others for missed.
        self.put(publication, false);
        self.put_frame(out);
    }

    fn pack(&mut self, json: &[u8], compress_from: Option<usize>, packed: &mut Vec<u8>) -> Packing {
        match self.coding {
            Coding::Msgpack => put_msgpack(packed, json),
            Coding::Zlib if json.len() >= compress_from.unwrap_or(COMPRESS_FROM) => {
                packed.extend_from_slice(self.compressor.compress(json));
            }
            _ if self.dress == Dress::Prefix && looks_like_beat(json) => {
                packed.extend_from_slice(json);
            }
            Coding::Json | Coding::Deflated | Coding::Zlib => return Packing::Text,
        }
        Packing::Binary
    }

    fn tidy(&mut self) {
        self.frames.tidy();
        self.compressor.tidy();
        free_large([&mut self.payload, &mut self.packed]);
    }
}

/// Appends the message of a publication, as `event_map` renames it; without its place unless `may_stamp`.
pub(super) fn put_event(
    out: &mut Vec<u8>,
    dress: Dress,
    publication: &Publication<'_>,
    (namespaces, event_map): (&Namespaces, &BTreeMap<String, String>),
    may_stamp: bool,
) {
    let name = match publication.name {
        "" => "broadcast",
        name => name,
    };
    let renamed = match event_map.is_empty() {
        true => None,
        false => event_map.get(name),
    };
    let kind = match renamed.map_or(name, String::as_str) {
        // Clients would act on it, wherever it comes from.
        kind if is_reserved(kind) => "message",
        kind => kind,
    };
    // Clients that see a gap ask for what is missing: only where it may be kept.
    let is_stamped = may_stamp
        && publication.kind == PublicationKind::Event
        && !topic::is_internal(publication.topic)
        && namespaces.of(publication.topic).history_size > 0;
    let begin = out.len();
    put_publication(out, dress, publication, Stamp { kind, is_stamped });
    if out.len() - begin > OUTBOUND_BYTES_MAX {
        out.truncate(begin);
        put_too_large(out, dress, publication, is_stamped);
    }
}

/// Whether existing clients act on messages of this type: nobody may publish any.
#[must_use]
pub(super) fn is_reserved(kind: &str) -> bool {
    RESERVED.contains(&kind)
}

/// The types of messages that existing clients act on.
const RESERVED: [&str; 14] = [
    "server_ready",
    "server_hello",
    "subscription_update",
    "health_check",
    "metrics_request",
    "sync_request",
    "config_update",
    "priority_message",
    "heartbeat",
    "PONG",
    "pong",
    "PING",
    "ping",
    "batch",
];

/// Whether clients of 1.x would take a text for a heartbeat, whose mark they look for anywhere in it.
fn looks_like_beat(payload: &[u8]) -> bool {
    let has = |mark: &[u8]| memchr::memmem::find(payload, mark).is_some();
    has(br#""t":"PING""#) || has(br#""t":"PONG""#)
}

/// Appends a message as `M:` and MessagePack.
fn put_msgpack(out: &mut Vec<u8>, json: &[u8]) {
    out.extend_from_slice(b"M:");
    msgpack::from_json(json, out);
}
