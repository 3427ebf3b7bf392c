//! Centrifugo's client protocol in JSON: each command and each reply is a line, and a frame holds one or more.
//!
//! Clients are anonymous, so that connecting takes an empty command. A publisher need not subscribe.

use std::borrow::Cow;

use memchr::{memchr, memmem};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::connection::{Received, SetupStep, Side};
use super::json;
use crate::parsed::Parsed;
use crate::payload::MAGIC;

pub(super) const PATH: &str = "/connection/websocket";

/// What a client has to say first.
pub(super) const CONNECT: &[u8] = br#"{"id":1,"connect":{}}"#;

/// The reply to each publication: all have the same id.
const PUBLISHED: &[u8] = br#"{"id":3,"publish":{}}"#;

const PING: &[u8] = b"{}";
const PONG: &[u8] = b"{}";

/// A line from the server: what is pushed, or the reply to a command.
#[derive(Debug, Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    push: Option<Push<'a>>,
    connect: Option<IgnoredAny>,
    subscribe: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Push<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow, rename = "pub")]
    publication: Option<Publication<'a>>,
}

/// Besides its data, a publication names the client that it is of.
#[derive(Debug, Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The step after a frame to a connection that is not ready yet.
pub(super) fn set_up(side: Side, topic: &str, payload: &[u8]) -> Result<SetupStep, String> {
    let mut step = SetupStep::Wait;
    for line in lines(payload) {
        step = if line == PING {
            SetupStep::Send(PONG.to_vec())
        } else {
            answered(side, topic, line).ok_or_else(|| {
                let text = String::from_utf8_lossy(line);
                format!("unexpected answer while setting up: {text:.300}")
            })?
        };
    }
    Ok(step)
}

/// The step after the reply to a command, if that is no error.
fn answered(side: Side, topic: &str, line: &[u8]) -> Option<SetupStep> {
    let reply: Reply<'_> = serde_json::from_slice(line).ok()?;
    match (side, reply.connect, reply.subscribe) {
        (Side::Subscriber, Some(_), None) => Some(SetupStep::Send(
            format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#).into_bytes(),
        )),
        (Side::Publisher, Some(_), None) | (Side::Subscriber, None, Some(_)) => {
            Some(SetupStep::Ready)
        }
        _ => None,
    }
}

pub(super) fn publish(out: &mut Vec<u8>, topic: &str, data: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(br#"{"id":3,"publish":{"channel":""#);
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(br#"","data":"#);
    data(out);
    out.extend_from_slice(b"}}\n");
}

/// A publisher gets a reply to each publication, and pings.
pub(super) fn received(payload: &[u8]) -> Result<Option<&'static [u8]>, String> {
    let mut reply = None;
    for line in lines(payload) {
        if line == PING {
            reply = Some(PONG);
        } else if line != PUBLISHED {
            let text = String::from_utf8_lossy(line);
            return Err(format!("Centrifugo said: {text:.200}"));
        }
    }
    Ok(reply)
}

/// Takes the next line off a frame.
///
/// Cost: one search.
#[inline]
pub(super) fn next<'a>(frame: &mut &'a [u8]) -> Received<'a> {
    let bytes = *frame;
    let end = memchr(b'\n', bytes).unwrap_or(bytes.len());
    *frame = bytes.get(end + 1..).unwrap_or_default();
    match &bytes[..end] {
        b"" => Received::Nothing,
        PING => Received::Reply(PONG),
        line => Received::Message(line),
    }
}

/// The lines of a frame that are not empty.
fn lines(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = payload.split(|&byte| byte == b'\n');
    lines.filter(|line| !line.is_empty())
}

pub(super) fn parse(message: &[u8]) -> Parsed<'_> {
    match serde_json::from_slice::<Reply<'_>>(message) {
        Ok(Reply {
            push:
                Some(Push {
                    channel,
                    publication: Some(publication),
                }),
            ..
        }) => Parsed::Event {
            name: channel,
            data: json::range_in(message, publication.data),
            stamp: None,
        },
        // A publication whose key was changed still carries a payload.
        Ok(_) if memmem::find(message, &MAGIC).is_none() => Parsed::Other,
        _ => Parsed::Corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_apart_line_by_line() {
        let mut frame: &[u8] = b"{\"push\":1}\n{}\n\n{\"push\":2}";
        assert_eq!(next(&mut frame), Received::Message(b"{\"push\":1}"));
        assert_eq!(next(&mut frame), Received::Reply(PONG));
        assert_eq!(next(&mut frame), Received::Nothing);
        assert_eq!(next(&mut frame), Received::Message(b"{\"push\":2}"));
        assert!(frame.is_empty());
    }

    #[test]
    fn a_subscriber_is_ready_when_it_is_subscribed_and_a_publisher_when_it_is_connected() {
        let connected =
            br#"{"id":1,"connect":{"client":"x","version":"6.9.1","ping":25,"pong":true}}"#;
        assert_eq!(
            set_up(Side::Publisher, "t0", connected),
            Ok(SetupStep::Ready)
        );
        let Ok(SetupStep::Send(sent)) = set_up(Side::Subscriber, "t0", connected) else {
            panic!("nothing is sent");
        };
        assert_eq!(sent, br#"{"id":2,"subscribe":{"channel":"t0"}}"#);
        let subscribed = br#"{"id":2,"subscribe":{}}"#;
        assert_eq!(
            set_up(Side::Subscriber, "t0", subscribed),
            Ok(SetupStep::Ready)
        );
        assert_eq!(
            set_up(Side::Subscriber, "t0", PING),
            Ok(SetupStep::Send(PONG.to_vec()))
        );
        let refused = br#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#;
        assert!(set_up(Side::Subscriber, "t0", refused).is_err());
    }

    #[test]
    fn each_publication_is_a_line_and_has_to_be_accepted() {
        let mut out = Vec::new();
        publish(&mut out, "t0", |out| out.extend_from_slice(b"\"x\""));
        assert_eq!(
            out,
            b"{\"id\":3,\"publish\":{\"channel\":\"t0\",\"data\":\"x\"}}\n"
        );
        let accepted = b"{\"id\":3,\"publish\":{}}\n{\"id\":3,\"publish\":{}}";
        assert_eq!(received(accepted), Ok(None));
        assert_eq!(received(b"{\"id\":3,\"publish\":{}}\n{}"), Ok(Some(PONG)));
        assert!(received(br#"{"id":3,"error":{"code":108}}"#).is_err());
    }

    #[test]
    fn who_published_stands_after_the_data() {
        let message =
            br#"{"push":{"channel":"t0","pub":{"data":"x","info":{"user":"","client":"y"}}}}"#;
        let Parsed::Event { name, data, .. } = parse(message) else {
            panic!("it does not parse");
        };
        assert_eq!((&*name, &message[data]), ("t0", &b"\"x\""[..]));
    }
}
