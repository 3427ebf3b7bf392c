//! nchan and applications like it: a frame is a message, and a path names its topic.

use std::borrow::Cow;

use super::connection::Side;
use crate::parsed::Parsed;

pub(super) fn path(side: Side, topic: &str) -> String {
    match side {
        Side::Subscriber => format!("/sub/{topic}"),
        Side::Publisher => format!("/pub/{topic}"),
    }
}

/// nchan answers every publication with the state of its channel, or with an error.
pub(super) fn nchan_received(payload: &[u8]) -> Result<(), String> {
    if payload.starts_with(b"queued messages: ") {
        Ok(())
    } else {
        let text = String::from_utf8_lossy(payload);
        Err(format!("nchan did not publish: {text:.200}"))
    }
}

/// The whole message is the data, a JSON string.
pub(super) fn parse<'a>(message: &'a [u8], topic: &'a str) -> Parsed<'a> {
    if message.first() != Some(&b'"') {
        return Parsed::Corrupt;
    }
    Parsed::Event {
        name: Cow::Borrowed(topic),
        data: 0..message.len(),
        stamp: None,
    }
}
