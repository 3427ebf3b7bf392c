//! The wire protocol of WSE with the application of perf/peers/wse.py behind it.
//!
//! WSE leaves subscribing and publishing to the application; ours answers `subscription_update` as
//! WSE's clients expect it, and broadcasts the data of a `publish`.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connection::{SetupStep, Side};
use super::json;
use crate::parsed::Parsed;
use crate::payload::MAGIC;

#[derive(Debug, Deserialize)]
struct Message<'a> {
    t: &'a str,
    #[serde(borrow)]
    p: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

pub(super) fn opened(side: Side, topic: &str) -> SetupStep {
    match side {
        Side::Publisher => SetupStep::Ready,
        Side::Subscriber => SetupStep::Send(
            format!(
                r#"{{"c":"WSE","t":"subscription_update","p":{{"action":"subscribe","topics":["{topic}"]}},"v":1}}"#
            )
            .into_bytes(),
        ),
    }
}

pub(super) fn set_up(payload: &[u8]) -> Result<SetupStep, String> {
    match serde_json::from_slice::<Message<'_>>(payload) {
        Ok(Message {
            t: "subscription_update",
            ..
        }) => Ok(SetupStep::Ready),
        Ok(Message { t, .. }) if t != "error" => Ok(SetupStep::Wait),
        _ => {
            let text = String::from_utf8_lossy(payload);
            Err(format!("unexpected answer while setting up: {text:.300}"))
        }
    }
}

pub(super) fn publish(out: &mut Vec<u8>, topic: &str, data: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(br#"{"c":"U","t":"publish","p":{"topic":""#);
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(br#"","data":"#);
    data(out);
    out.extend_from_slice(br#"},"v":1}"#);
}

pub(super) fn parse(message: &[u8]) -> Parsed<'_> {
    let parsed = serde_json::from_slice::<Message<'_>>(message).ok();
    match parsed {
        Some(Message {
            t: "event",
            p: Some(payload),
        }) => match serde_json::from_str::<Payload<'_>>(payload.get()) {
            Ok(payload) => Parsed::Event {
                name: payload.topic,
                data: json::range_in(message, payload.data),
                stamp: None,
            },
            Err(_) => Parsed::Corrupt,
        },
        // An event whose type was changed still carries a payload.
        Some(Message { t, .. }) if t != "event" && memmem::find(message, &MAGIC).is_none() => {
            Parsed::Other
        }
        _ => Parsed::Corrupt,
    }
}
