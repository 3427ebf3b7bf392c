//! The wire formats of publications to clients of the bridge protocol.

use super::put_completed;
use crate::collections::free_large;
use crate::engine::{Format, FormatRegistry, Publication};
use crate::id::{Form, FormatId, Gather};
use crate::topic;
use crate::ws::text::TextFrames;

/// The form of a push: its data is the payload for clients.
pub const PUSH: Form = Form(1);

/// The formats of the protocol. Its clients cannot recover missed messages.
#[derive(Clone, Copy, Debug)]
pub struct BridgeFormats {
    json: FormatId,
    deflated: FormatId,
}

impl BridgeFormats {
    /// Registers the formats.
    pub fn register(registry: &mut FormatRegistry) -> Self {
        Self {
            json: registry.register(Gather::Each, false, |_| {
                BridgeJson::boxed(TextFrames::plain())
            }),
            deflated: registry.register(Gather::Each, false, |config| {
                BridgeJson::boxed(TextFrames::deflated(&config.websocket))
            }),
        }
    }

    /// The format of a connection: with shared compressed frames, or uncompressed.
    #[must_use]
    pub fn of(&self, is_deflated: bool) -> FormatId {
        match is_deflated {
            true => self.deflated,
            false => self.json,
        }
    }
}

/// JSON text frames.
#[derive(Debug)]
struct BridgeJson {
    frames: TextFrames,
    payload: Vec<u8>,
}

impl BridgeJson {
    fn boxed(frames: TextFrames) -> Box<dyn Format> {
        Box::new(Self {
            frames,
            payload: Vec::new(),
        })
    }
}

impl Format for BridgeJson {
    fn encode(&mut self, publication: &Publication<'_>, _: u64, out: &mut Vec<u8>) {
        // The data of a push is the payload.
        if publication.form == PUSH {
            return self.frames.put(out, publication.data);
        }
        self.payload.clear();
        let user = topic::user_of(publication.topic).unwrap_or_default();
        let data = str::from_utf8(publication.data).expect("data is checked to be JSON");
        put_completed(&mut self.payload, &user, data);
        self.frames.put(out, &self.payload);
    }

    fn tidy(&mut self) {
        self.frames.tidy();
        free_large([&mut self.payload]);
    }
}
