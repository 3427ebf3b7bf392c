//! Pages of a topic's history as clients get them, over HTTP and as the answer to a query.

use super::Writer;
use crate::engine::{HistoryExcerpt, Publication};
use crate::id::Form;
use crate::timestamp::timestamp_of;

/// Appends the messages of a page as JSON, oldest first, and whether there are more: `"events":[..],"more":..`.
pub fn put_history(out: &mut Vec<u8>, topic: &str, kept: &HistoryExcerpt) {
    out.extend_from_slice(br#""events":["#);
    for (index, message) in kept.messages.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let timestamp = timestamp_of(message.time_ms);
        Writer::new(out, &timestamp).event(&Publication {
            kind: message.kind,
            form: Form::NEUTRAL,
            topic,
            name: &message.name,
            data: &message.data,
            publisher: &message.publisher,
            epoch: kept.position.epoch,
            offset: message.offset,
        });
    }
    out.extend_from_slice(match kept.more {
        true => br#"],"more":true"#,
        false => br#"],"more":false"#,
    });
}
