//! The Pusher protocol, version 7, as Sockudo speaks it: client events on a private channel.
//!
//! Publishers of client events have to be subscribed to the channel, and do not get their own.

use std::borrow::Cow;
use std::fmt::Write;

use aws_lc_rs::hmac;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connection::SetupStep;
use super::json;
use crate::parsed::Parsed;

/// Its key, and the secret for signing channels, are those that perf/peers/sockudo starts the server
/// with.
pub(super) const PATH: &str = "/app/app-key?protocol=7&client=loadgen&version=1";
const SECRET: &[u8] = b"app-secret";
const KEY: &str = "app-key";

pub(super) const PONG: &[u8] = br#"{"event":"pusher:pong","data":{}}"#;

#[derive(Debug, Deserialize)]
struct PusherEvent<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

pub(super) fn set_up(topic: &str, payload: &[u8]) -> Result<SetupStep, String> {
    let unexpected = || {
        let text = String::from_utf8_lossy(payload);
        format!("unexpected answer while setting up: {text:.300}")
    };
    let event: PusherEvent<'_> = serde_json::from_slice(payload).map_err(|_| unexpected())?;
    match &*event.event {
        "pusher:connection_established" => {
            let socket = event.data.and_then(socket_id).ok_or_else(unexpected)?;
            let (channel, auth) = (channel(topic), signature(&socket, topic));
            let frame = serde_json::json!({
                "event": "pusher:subscribe",
                "data": {"channel": channel, "auth": format!("{KEY}:{auth}")},
            });
            Ok(SetupStep::Send(frame.to_string().into_bytes()))
        }
        "pusher_internal:subscription_succeeded" => Ok(SetupStep::Ready),
        _ => Err(unexpected()),
    }
}

/// The data of the protocol's own events is JSON in a string.
fn socket_id(data: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Established {
        socket_id: String,
    }
    let text: String = serde_json::from_str(data.get()).ok()?;
    let established: Established = serde_json::from_str(&text).ok()?;
    Some(established.socket_id)
}

fn channel(topic: &str) -> String {
    format!("private-{topic}")
}

/// HMAC-SHA256 of socket id and channel, in hexadecimal.
fn signature(socket: &str, topic: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let tag = hmac::sign(&key, format!("{socket}:{}", channel(topic)).as_bytes());
    tag.as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("strings take everything");
        text
    })
}

/// Whether it is the protocol's ping.
#[inline]
pub(super) fn is_ping(message: &[u8]) -> bool {
    message.starts_with(br#"{"event":"pusher:ping""#)
}

pub(super) fn publish(out: &mut Vec<u8>, topic: &str, data: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(br#"{"event":"client-m","channel":"private-"#);
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(br#"","data":"#);
    data(out);
    out.push(b'}');
}

/// A publisher gets pings, and errors for what the server did not publish.
pub(super) fn received(payload: &[u8]) -> Result<Option<&'static [u8]>, String> {
    let event: Option<PusherEvent<'_>> = serde_json::from_slice(payload).ok();
    match event.as_ref().map(|event| &*event.event) {
        Some("pusher:ping") => Ok(Some(PONG)),
        Some(name) if name != "pusher:error" => Ok(None),
        _ => {
            let text = String::from_utf8_lossy(payload);
            Err(format!("Sockudo said: {text:.200}"))
        }
    }
}

pub(super) fn parse(message: &[u8]) -> Parsed<'_> {
    let Ok(event) = serde_json::from_slice::<PusherEvent<'_>>(message) else {
        return Parsed::Corrupt;
    };
    let channel = event.channel.as_deref().unwrap_or_default();
    match (channel.strip_prefix("private-"), event.data) {
        (Some(name), Some(data)) if event.event == "client-m" => Parsed::Event {
            name: Cow::Owned(name.to_owned()),
            data: json::range_in(message, data),
            stamp: None,
        },
        _ if event.event.starts_with("pusher") => Parsed::Other,
        _ => Parsed::Corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_is_signed_for_the_socket() {
        let established =
            br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}"#;
        let Ok(SetupStep::Send(said)) = set_up("t0", established) else {
            panic!("nothing said");
        };
        let said = String::from_utf8(said).unwrap();
        // printf 1.2:private-t0 | openssl dgst -sha256 -hmac app-secret
        let signature = "e5ee4531a6913c2b53fe15ab2537efc38b13fb0587e4d5ce6f8320dfda2fcaa5";
        assert!(
            said.contains(&format!("\"auth\":\"app-key:{signature}\"")),
            "{said}"
        );
        let succeeded = br#"{"event":"pusher_internal:subscription_succeeded","data":"{}"}"#;
        assert_eq!(set_up("t0", succeeded), Ok(SetupStep::Ready));
    }

    #[test]
    fn an_error_to_a_publisher_is_a_failure() {
        assert!(received(br#"{"event":"pusher:error","data":{"code":4301}}"#).is_err());
        let ping = br#"{"event":"pusher:ping"}"#;
        assert_eq!(received(ping), Ok(Some(PONG)));
        assert!(is_ping(ping) && !is_ping(PONG));
    }
}
