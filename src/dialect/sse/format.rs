//! The wire format of publications in SSE (docs/sse.md).

use crate::collections::free_large;
use crate::engine::{Format, FormatRegistry, Publication, PublicationKind};
use crate::id::{FormatId, Gather};
use crate::json::put_string;
use crate::sse::{PRESENCE, event_type, put_event};

/// Registers the format of SSE.
pub(super) fn register(registry: &mut FormatRegistry) -> FormatId {
    registry.register(Gather::Merge, true, |_| Box::<EventStream>::default())
}

/// Events without their `id`, which encodes the positions of all topics of a stream and is added by its merged log.
#[derive(Default, Debug)]
struct EventStream {
    payload: Vec<u8>,
}

impl Format for EventStream {
    fn encode(&mut self, publication: &Publication<'_>, _: u64, out: &mut Vec<u8>) {
        let written = if publication.kind == PublicationKind::Presence {
            let payload = &mut self.payload;
            payload.clear();
            payload.extend_from_slice(b"{\"event\":");
            put_string(payload, publication.name);
            payload.extend_from_slice(b",\"data\":");
            payload.extend_from_slice(publication.data);
            payload.extend_from_slice(b",\"presence_seq\":");
            let mut sequence = itoa::Buffer::new();
            payload.extend_from_slice(sequence.format(publication.offset).as_bytes());
            payload.push(b'}');
            put_event(out, PRESENCE, payload)
        } else {
            put_event(out, event_type(publication.name), publication.data)
        };
        written.expect("names have no control characters");
    }

    fn tidy(&mut self) {
        free_large([&mut self.payload]);
    }
}
