//! Publications as clients of the bridge protocol get them.

use super::put_completed;
use crate::engine::{Format, FormatRegistry, Publication};
use crate::id::{Form, FormatId, Gather};
use crate::topic;
use crate::ws::text::TextFrames;

/// The form of a push: what clients are sent.
pub const PUSH: Form = Form(1);

/// The formats of the protocol, which knows no coming back for what was missed.
#[derive(Clone, Copy, Debug)]
pub struct BridgeFormats {
    json: FormatId,
    deflated: FormatId,
}

impl BridgeFormats {
    /// Registers them.
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

    /// That of a connection, which reads compressed frames that it shares with others or not.
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
        // What was pushed is what they are sent.
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
        if self.payload.capacity() > BUFFER_BYTES_MAX {
            self.payload = Vec::new();
        }
    }
}

/// A buffer that has grown beyond this is given back after use.
const BUFFER_BYTES_MAX: usize = 256 * 1024;
