//! A message of a messenger client says to a strict reader what was understood of it, or is ignored for what a strict
//! reader finds, too.

use std::sync::LazyLock;

use fanfare::auth::is_name;
use fanfare::dialect::messenger::{Ignored, Inbound};
use fanfare::store::MessageKind;
use serde_json::{Map, Value};

pub fn run(text: &str) {
    let read = Inbound::parse(text);
    if let Ok(message) = &read {
        check_limits(message);
    }
    let Ok(strict) = serde_json::from_str::<Value>(text) else {
        return;
    };
    if let Ok(message) = &read {
        let said = understood(&strict).expect("a strict reader ignores it");
        check(message, &said);
    }
    // Written anew it has no key twice, which is where the two differ: a wrong value that is overwritten is wrong.
    let text = strict.to_string();
    match (Inbound::parse(&text), understood(&strict)) {
        (Ok(message), Ok(said)) => check(&message, &said),
        (Err(why), Err(expected)) => assert_eq!(why, expected),
        (Err(Ignored::Invalid), Ok(said)) => assert!(
            depth(&strict) > 60
                || said.timestamp != ""
                || said.opaque.iter().any(|it| it.len() > 8192),
            "{text}"
        ),
        (read, said) => panic!("{text}: {read:?} {said:?}"),
    }
}

/// What a strict reader understands, but for what a time is and how long texts may be.
#[derive(Debug)]
struct Said<'a> {
    kind: MessageKind,
    from: &'a str,
    to: &'a str,
    timestamp: &'a str,
    opaque: [&'a str; 3],
    content: &'a str,
    asks: bool,
}

/// What a part that is missing has.
static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

fn understood(strict: &Value) -> Result<Said<'_>, Ignored> {
    let part = |key: &str| match &strict[key] {
        Value::Null => Ok(&*NONE),
        Value::Object(part) => Ok(part),
        _ => Err(Ignored::Invalid),
    };
    if !strict.is_object() {
        return Err(Ignored::Invalid);
    }
    let (header, body) = (part("header")?, part("body")?);
    fn text<'a>(of: &'a Map<String, Value>, key: &str) -> Result<&'a str, Ignored> {
        match of.get(key) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Ignored::Invalid),
        }
    }
    let asks = match header.get("ack") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(asks)) => *asks,
        Some(_) => return Err(Ignored::Invalid),
    };
    let (kind, to) = (text(header, "message_type")?, text(header, "to")?);
    let mut said = Said {
        kind: MessageKind::Direct,
        from: text(header, "from")?,
        to,
        timestamp: text(header, "timestamp")?,
        opaque: [
            text(header, "signature")?,
            text(header, "encrypted_key")?,
            text(header, "encryption_nonce")?,
        ],
        content: text(body, "content")?,
        asks,
    };
    said.kind = match (kind, to) {
        ("broadcast", _) | ("", "broadcast") => MessageKind::Broadcast,
        ("server", _) | ("", "server") => MessageKind::Server,
        ("direct", _) | ("", _) => MessageKind::Direct,
        _ => return Err(Ignored::UnknownType),
    };
    let is_good = match said.kind {
        MessageKind::Direct => is_name(to) && !["server", "system", "broadcast"].contains(&to),
        _ => to.len() <= 128,
    };
    if !is_good {
        return Err(Ignored::Recipient);
    }
    Ok(said)
}

fn check(message: &Inbound<'_>, said: &Said<'_>) {
    assert_eq!(message.kind, said.kind);
    assert_eq!((&*message.from, &*message.to), (said.from, said.to));
    assert_eq!((&*message.content, message.asks), (said.content, said.asks));
    let opaque = [
        &*message.signature,
        &*message.encrypted_key,
        &*message.encryption_nonce,
    ];
    assert_eq!(opaque, said.opaque);
    if !said.timestamp.is_empty() {
        assert_eq!(message.timestamp, said.timestamp);
    }
}

/// What holds of every message that is taken.
fn check_limits(message: &Inbound<'_>) {
    let time = &*message.timestamp;
    assert!((20..=64).contains(&time.len()) && time.is_ascii());
    let allowed = |byte: u8| byte.is_ascii_digit() || b"-T:.Z+".contains(&byte);
    assert!(time.bytes().all(allowed), "{time:?}");
    assert!(message.to.len() <= 128);
    let opaque = [
        &message.signature,
        &message.encrypted_key,
        &message.encryption_nonce,
    ];
    assert!(opaque.iter().all(|it| it.len() <= 8192));
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(items) => items.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}
