//! A text of a wse client is a heartbeat, a message or neither. A message is JSON to a strict reader, and says to it what
//! was understood of it: it is passed on to applications as it came.

use fanfare::dialect::wse::{ClientInfo, Envelope, LegacyBeat, Wanted};
use fanfare::json::Raw;
use serde_json::Value;
use serde_json::value::RawValue;

pub fn run(text: &str) {
    let read = Envelope::parse(text);
    if let Some(beat) = LegacyBeat::read(text) {
        assert!(read.is_err(), "it is no JSON");
        if let LegacyBeat::Ping(number) = beat {
            assert!(number.len() <= 20 && number.bytes().all(|byte| byte.is_ascii_digit()));
            assert!(text.ends_with(number));
        }
    }
    let Ok(message) = read else {
        return;
    };
    assert!(text.contains(message.text));
    is_json(message.text);
    for raw in [message.payload, message.id, message.correlation] {
        raw.map(Raw::text).map(is_json);
    }
    let payload = message.payload_text();
    is_json(payload);
    // A strict reader has numbers in a smaller range, and takes the last of repeated keys, too.
    let strict: Option<Value> = serde_json::from_str(message.text).ok();
    if let Some(strict) = &strict {
        let kind = strict["t"].as_str().or(strict["type"].as_str());
        assert_eq!(message.kind.as_deref(), kind);
        assert_eq!(message.signature.as_deref(), strict["sig"].as_str());
        let id = Some(&strict["cid"]).filter(|id| id.is_string() || id.is_number());
        let read = message.correlation.map(|id| serde_json::from_str::<Value>(id.text()));
        assert_eq!(read.map(|id| id.expect("in the range")).as_ref(), id);
    }
    let wanted = Wanted::read(payload);
    wanted.presence.map(is_json);
    let strict: Option<Value> = serde_json::from_str(payload).ok();
    if let Some(strict) = &strict {
        assert_eq!(wanted.action.as_deref(), strict["action"].as_str());
        let names = strict["topics"].as_array().into_iter().flatten();
        let names: Option<Vec<&str>> = names.map(Value::as_str).collect();
        assert_eq!(wanted.topics, names.unwrap_or_default());
    }
    let positions = wanted.positions();
    assert!(positions.len() <= payload.len() / 2);
    assert!(wanted.recovers || positions.is_empty());
    assert!(ClientInfo::read(payload).version.len() <= ClientInfo::VERSION_BYTES_MAX);
}

fn is_json(text: &str) {
    serde_json::from_str::<&RawValue>(text).expect("JSON");
}
