//! The wire formats of publications to users of the messenger: what other protocols send to a user's inbox.

use super::frame::{Speaker, put_spoken};
use crate::collections::free_large;
use crate::engine::{Format, FormatRegistry, Publication};
use crate::id::{Form, FormatId, Gather};
use crate::timestamp::LastTimestamp;
use crate::topic;
use crate::ws::text::TextFrames;

/// The form of what the messenger publishes for users of other protocols. Its own users have it from the store.
pub(super) const MESSAGE: Form = Form(2);

/// The formats of the protocol. Its clients cannot recover missed publications: what is to wait for them is a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessengerFormats(FormatId);

impl MessengerFormats {
    pub(super) fn register(registry: &mut FormatRegistry) -> Self {
        Self(registry.register(Gather::Each, false, |_| {
            Box::new(MessengerJson {
                frames: TextFrames::plain(),
                payload: Vec::new(),
                timestamp: LastTimestamp::default(),
            })
        }))
    }

    /// The format of every connection.
    pub(super) fn id(self) -> FormatId {
        self.0
    }
}

/// JSON text frames.
#[derive(Debug)]
struct MessengerJson {
    frames: TextFrames,
    payload: Vec<u8>,
    timestamp: LastTimestamp,
}

impl Format for MessengerJson {
    fn encode(&mut self, publication: &Publication<'_>, wall_ms: u64, out: &mut Vec<u8>) {
        if publication.form == MESSAGE {
            return;
        }
        self.payload.clear();
        let user = topic::user_of(publication.topic).unwrap_or_default();
        let data = str::from_utf8(publication.data).expect("data is checked to be JSON");
        let timestamp = self.timestamp.of(wall_ms);
        put_spoken(
            &mut self.payload,
            (Speaker::Service, None),
            &user,
            timestamp,
            data,
        );
        self.frames.put(out, &self.payload);
    }

    fn tidy(&mut self) {
        self.frames.tidy();
        free_large([&mut self.payload]);
    }
}
