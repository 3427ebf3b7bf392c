//! Subscribe frames of the events protocol, and the server's frames that are not events. Events are
//! checked by [`crate::verify`].

use serde::Deserialize;

use crate::frame::opcode;
use crate::payload::Format;

/// A frame of the events protocol that is not an event.
#[derive(Debug, Deserialize)]
pub(crate) struct ServerFrame {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) events: Vec<String>,
    pub(crate) id: Option<serde_json::Value>,
    pub(crate) result: Option<serde_json::Value>,
    pub(crate) client_timestamp: Option<u64>,
}

impl ServerFrame {
    /// Parses a JSON frame.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, String> {
        Self::parse_in(Format::Json, payload)
    }

    /// Parses a frame.
    pub(crate) fn parse_in(format: Format, payload: &[u8]) -> Result<Self, String> {
        let parsed = match format {
            Format::Json => serde_json::from_slice(payload).map_err(|error| error.to_string()),
            Format::Msgpack => rmp_serde::from_slice(payload).map_err(|error| error.to_string()),
        };
        parsed.map_err(|error| {
            let text = String::from_utf8_lossy(payload);
            format!("not a frame of the events protocol ({error}): {text:.200}")
        })
    }
}

/// The payload of a subscribe frame in JSON.
pub(crate) fn subscribe<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    subscribe_in(Format::Json, names)
}

/// The payload of a subscribe frame in `format`.
pub(crate) fn subscribe_in<'a>(format: Format, names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let events: Vec<&str> = names.collect();
    let frame = serde_json::json!({"type": "subscribe", "events": events});
    match format {
        Format::Json => frame.to_string().into_bytes(),
        Format::Msgpack => rmp_serde::to_vec(&frame).expect("plain values"),
    }
}

/// The opcode of frames in `format`.
pub(crate) fn message_opcode(format: Format) -> u8 {
    match format {
        Format::Json => opcode::TEXT,
        Format::Msgpack => opcode::BINARY,
    }
}
