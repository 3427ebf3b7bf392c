//! The gateway's own wse protocol: subscribing, publishing, and topic messages. What begins a
//! connection is in [`crate::wse`].

use std::ops::Range;

use memchr::memmem;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::connection::{SetupStep, Side};
use super::json;
use crate::parsed::{Parsed, Stamp};
use crate::payload::{Format, MAGIC, put_str_header};
use crate::wse::{self, Encoding, Greeting, MSGPACK, ServerFrame};

/// The type of all messages.
const TYPE: &str = "m";

/// A topic message: exactly these fields. Data that is no object stands in one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicMessage<'a, D> {
    tp: &'a str,
    e: &'a str,
    o: u64,
    c: &'a str,
    t: &'a str,
    p: Data<D>,
    v: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data<D> {
    data: D,
}

/// Any message in JSON: it names a topic, or is the server's own.
#[derive(Debug, Deserialize)]
struct AnyMessage<'a> {
    tp: Option<&'a str>,
}

/// The step after a frame to a connection that is not ready yet.
pub(super) fn set_up(
    encoding: Encoding,
    side: Side,
    topic: &str,
    text: &[u8],
) -> Result<SetupStep, String> {
    let frame = ServerFrame::parse(text)?;
    if frame.is("subscription_update") {
        return confirm(&frame, topic).map(|()| SetupStep::Ready);
    }
    Ok(match (wse::greet(&frame, encoding)?, side) {
        (Greeting::Send(answer), _) => SetupStep::Send(answer),
        (Greeting::Done, Side::Publisher) => SetupStep::Ready,
        (Greeting::Done, Side::Subscriber) => {
            let subscribe = json!({"action": "subscribe", "topics": [topic]});
            SetupStep::Send(wse::request("subscription_update", &subscribe))
        }
    })
}

/// Checks the answer to a subscription.
fn confirm(frame: &ServerFrame, topic: &str) -> Result<(), String> {
    let p = &frame.p;
    let is_confirmed = p["action"] == "subscribe"
        && p["success"] == true
        && p["success_topics"] == json!([topic])
        && p["failed_topics"] == json!([]);
    if is_confirmed {
        Ok(())
    } else {
        Err(format!("the subscription of {topic} was answered with {p}"))
    }
}

/// Appends one publication. `data` writes a string.
pub(super) fn publish(
    encoding: Encoding,
    out: &mut Vec<u8>,
    topic: &str,
    data: impl FnOnce(&mut Vec<u8>),
) {
    match encoding.format() {
        Format::Json => {
            out.extend_from_slice(br#"{"c":"U","t":"publish","p":{"topic":""#);
            out.extend_from_slice(topic.as_bytes());
            out.extend_from_slice(br#"","type":""#);
            out.extend_from_slice(TYPE.as_bytes());
            out.extend_from_slice(br#"","data":"#);
            data(out);
            out.extend_from_slice(br#"},"v":1}"#);
        }
        Format::Msgpack => {
            out.extend_from_slice(MSGPACK);
            // Maps of four and three entries; the literals are their keys and strings.
            out.extend_from_slice(b"\x84\xA1c\xA1U\xA1t\xA7publish\xA1p\x83\xA5topic");
            put_str_header(out, topic.len());
            out.extend_from_slice(topic.as_bytes());
            out.extend_from_slice(b"\xA4type");
            put_str_header(out, TYPE.len());
            out.extend_from_slice(TYPE.as_bytes());
            out.extend_from_slice(b"\xA4data");
            data(out);
            out.extend_from_slice(b"\xA1v\x01");
        }
    }
}

/// Checks a frame to a publisher that is ready; returns the reply that it requires. What it publishes
/// has no id and so no answer.
pub(super) fn publisher_received(text: &[u8]) -> Result<Option<&'static [u8]>, String> {
    if wse::is_ping(text) {
        return Ok(Some(wse::PONG));
    }
    let shown = String::from_utf8_lossy(text);
    let hint = wse::rate_hint(text);
    Err(format!("a publisher was told: {shown:.300}{hint}"))
}

/// What follows the data of a message.
pub(super) fn tail(encoding: Encoding) -> &'static [u8] {
    match encoding.format() {
        Format::Json => br#"},"v":1}"#,
        Format::Msgpack => b"\xA1v\x01",
    }
}

/// Finds the data and the stamp of a message that was unpacked.
pub(super) fn parse(encoding: Encoding, message: &[u8]) -> Parsed<'_> {
    let event = match encoding.format() {
        Format::Json => json_event(message),
        Format::Msgpack => msgpack_event(message),
    };
    event.unwrap_or_else(|| {
        // The server's own are JSON in any encoding.
        match serde_json::from_slice::<AnyMessage<'_>>(message) {
            Ok(AnyMessage { tp: None }) if memmem::find(message, &MAGIC).is_none() => Parsed::Other,
            _ => Parsed::Corrupt,
        }
    })
}

fn json_event(text: &[u8]) -> Option<Parsed<'_>> {
    let message: TopicMessage<'_, &RawValue> = serde_json::from_slice(text).ok()?;
    let data = json::range_in(text, message.p.data);
    let digits = message.o.to_string();
    event(text, message, data, (b"\",\"o\":", digits.as_bytes()))
}

fn msgpack_event(bytes: &[u8]) -> Option<Parsed<'_>> {
    let message: TopicMessage<'_, &str> = rmp_serde::from_slice(bytes).ok()?;
    let start = message.p.data.as_ptr().addr() - bytes.as_ptr().addr();
    let data = start - 1..start + message.p.data.len();
    let digits = rmp_serde::to_vec(&message.o).ok()?;
    let is_whole = &bytes[data.end..] == tail(Encoding::Msgpack);
    is_whole.then(|| event(bytes, message, data, (b"\xA1o", &digits)))?
}

/// The event if its fields are right. Its offset follows `before`, which follows its epoch.
fn event<'a, D>(
    bytes: &[u8],
    message: TopicMessage<'a, D>,
    data: Range<usize>,
    (before, digits): (&[u8], &[u8]),
) -> Option<Parsed<'a>> {
    let epoch_at = message.e.as_ptr().addr() - bytes.as_ptr().addr();
    let epoch = epoch_at..epoch_at + message.e.len();
    let at = epoch.end + before.len();
    let is_stamped = bytes[epoch.end..].starts_with(before) && bytes[at..].starts_with(digits);
    let is_right = is_stamped
        && at < data.start
        && message.c == "U"
        && message.t == TYPE
        && message.v == 1
        && !epoch.is_empty();
    is_right.then(|| Parsed::Event {
        name: message.tp.into(),
        data,
        stamp: Some(Stamp {
            epoch,
            offset: message.o,
            digits: at..at + digits.len(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Layout, Source};

    const SOURCE: Source = Source {
        topic: 0,
        publisher: 0,
    };

    /// A message of topic t0 at offset 300, and the length of its data.
    fn message(encoding: Encoding) -> (Vec<u8>, usize) {
        let layout = Layout::with_format(encoding.format(), 64, 1);
        let mut out = match encoding.format() {
            Format::Json => br#"{"tp":"t0","e":"9be9","o":300,"c":"U","t":"m","p":{"data":"#.to_vec(),
            Format::Msgpack => {
                b"\x87\xA2tp\xA2t0\xA1e\xA49be9\xA1o\xCD\x01\x2C\xA1c\xA1U\xA1t\xA1m\xA1p\x81\xA4data".to_vec()
            }
        };
        layout.write(&mut out, SOURCE, 7, 5);
        out.extend_from_slice(tail(encoding));
        (out, layout.bytes())
    }

    #[test]
    fn messages_say_their_topic_and_their_place_in_it() {
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let (message, length) = message(encoding);
            let Parsed::Event { name, data, stamp } = parse(encoding, &message) else {
                panic!("{encoding:?} does not parse");
            };
            let stamp = stamp.unwrap();
            assert_eq!((&*name, data.len()), ("t0", length));
            assert_eq!(message[data.end..], *tail(encoding));
            assert_eq!((&message[stamp.epoch], stamp.offset), (&b"9be9"[..], 300));
            let read = crate::number::leading(encoding.format(), &message[stamp.digits.start..]);
            assert_eq!(read, Some((300, stamp.digits.len())));
        }
    }

    #[test]
    fn a_changed_or_missing_byte_around_the_data_is_noticed() {
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let (whole, length) = message(encoding);
            let expected = format!("{:?}", parse(encoding, &whole));
            let data = whole.len() - tail(encoding).len() - length;
            for at in (0..data).chain(data + length..whole.len()) {
                let mut changed = whole.clone();
                changed[at] ^= 1;
                let parsed = parse(encoding, &changed);
                // Another topic, epoch or offset is the verifier's to find.
                let is_other = matches!(&parsed, Parsed::Event { name, stamp: Some(stamp), .. }
                    if &**name != "t0" || changed[stamp.epoch.clone()] != *b"9be9" || stamp.offset != 300);
                assert!(
                    is_other || matches!(parsed, Parsed::Corrupt),
                    "{at}: {parsed:?}, {expected}"
                );
                assert!(
                    matches!(parse(encoding, &whole[..at]), Parsed::Corrupt),
                    "{at}"
                );
            }
        }
    }

    #[test]
    fn messages_of_the_server_are_no_events() {
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            for text in [
                r#"{"c":"WSE","t":"gap","p":{"topic":"t0","lost":3},"v":1}"#,
                r#"{"c":"WSE","t":"presence_join","p":{},"v":1}"#,
            ] {
                assert!(matches!(parse(encoding, text.as_bytes()), Parsed::Other));
            }
        }
        // MessagePack was asked for.
        let text = message(Encoding::Json).0;
        assert!(matches!(parse(Encoding::Msgpack, &text), Parsed::Corrupt));
    }

    #[test]
    fn publications_are_what_the_protocol_says() {
        let expected = json!({
            "c": "U", "t": "publish", "p": {"topic": "t0", "type": "m", "data": "x"}, "v": 1,
        });
        let mut text = Vec::new();
        publish(Encoding::Json, &mut text, "t0", |out| {
            out.extend_from_slice(b"\"x\"");
        });
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&text).unwrap(),
            expected
        );
        let mut packed = Vec::new();
        publish(Encoding::Msgpack, &mut packed, "t0", |out| {
            out.extend_from_slice(b"\xA1x");
        });
        let packed = packed.strip_prefix(MSGPACK).unwrap();
        assert_eq!(
            rmp_serde::from_slice::<serde_json::Value>(packed).unwrap(),
            expected
        );
    }
}
