//! What the user sees.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;

/// What a signature says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Signed {
    /// There is none.
    None,
    Verified,
    /// It is not the sender's.
    Invalid,
    /// The sender's keys have changed, and are not trusted yet.
    KeyChanged,
    /// The sender's key is not known.
    Unknown,
}

/// A message to be shown.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Message {
    pub(crate) id: Option<i64>,
    pub(crate) from: String,
    pub(crate) to: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) timestamp: String,
    pub(crate) text: String,
    pub(crate) signature: Signed,
    pub(crate) encrypted: bool,
    /// Whether it was encrypted, and cannot be read.
    pub(crate) unreadable: bool,
    /// Whether it has waited for this connection.
    pub(crate) pending: bool,
    /// Whether it is the server's refusal of something.
    pub(crate) error: bool,
}

/// Standard output, and standard error for what is no message. With JSON everything is on standard output,
/// one object a line.
#[derive(Debug)]
pub(crate) struct Output {
    is_json: bool,
    zone: TimeZone,
}

impl Output {
    pub(crate) fn new(is_json: bool) -> Self {
        Self {
            is_json,
            zone: TimeZone::system(),
        }
    }

    /// Prints a message; it is written when this returns.
    pub(crate) fn message(&self, message: &Message) -> Result<(), Failure> {
        if self.is_json {
            let mut line = serde_json::to_value(message).expect("it is JSON");
            line["event"] = "message".into();
            line["verified"] = (message.signature == Signed::Verified).into();
            return self.line(&line.to_string());
        }
        self.line(&message_line(message, Timestamp::now(), &self.zone))
    }

    /// Tells something: for people a line, for programs an object with its name as `event` and the line
    /// as `text`.
    pub(crate) fn tell(&self, event: &str, text: &str, fields: &Value) -> Result<(), Failure> {
        if !self.is_json {
            let marker = if event == "warning" { "!!!" } else { "*" };
            for line in text.lines() {
                eprintln!("{marker} {}", shown(line));
            }
            return Ok(());
        }
        let mut object = json!({ "event": event, "text": text });
        if let (Some(object), Some(fields)) = (object.as_object_mut(), fields.as_object()) {
            object.extend(fields.clone());
        }
        self.line(&object.to_string())
    }

    /// [`Self::tell`] without more fields.
    pub(crate) fn notice(&self, text: &str) -> Result<(), Failure> {
        self.tell("notice", text, &Value::Null)
    }

    fn line(&self, line: &str) -> Result<(), Failure> {
        let mut output = io::stdout().lock();
        let written = writeln!(output, "{line}").and_then(|()| output.flush());
        written.map_err(|error| Failure::Other(format!("the output cannot be written: {error}")))
    }
}

/// `[HH:MM:SS] from -> to [VERIFIED] [ENCRYPTED]: text`, the time in the zone given.
fn message_line(message: &Message, now: Timestamp, zone: &TimeZone) -> String {
    let sent: Option<Timestamp> = message.timestamp.parse().ok();
    // Senders without a clock have the year 1.
    let sent = sent.filter(|sent| *sent > Timestamp::UNIX_EPOCH);
    let time = sent.unwrap_or(now).to_zoned_datetime(zone.clone());
    let time = time.strftime("%H:%M:%S");
    let (from, to) = (shown_id(&message.from), shown_id(&message.to));
    let mut line = format!("[{time}] {from} -> {to}");
    let signature = match message.signature {
        Signed::None => "",
        Signed::Verified => " [VERIFIED]",
        Signed::Invalid => " [SIGNATURE INVALID]",
        Signed::KeyChanged => " [KEY CHANGED]",
        Signed::Unknown => " [UNVERIFIED]",
    };
    line.push_str(signature);
    if message.encrypted {
        line.push_str(" [ENCRYPTED]");
    }
    if message.error {
        line.push_str(" [ERROR]");
    }
    line.push_str(": ");
    line.push_str(&shown(&message.text));
    line
}

/// A text in one line that moves no cursor, and in the order of its characters.
pub(crate) fn shown(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => line.push('\t'),
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => line.extend(character.escape_unicode()),
            _ if character.is_control() => line.extend(character.escape_default()),
            _ => line.push(character),
        }
    }
    line
}

/// An id as it is, or in quotes where it could be taken for something else.
fn shown_id(id: &str) -> String {
    let is_plain = |it: char| it.is_alphanumeric() || matches!(it, '-' | '_' | '.' | '@' | '+');
    if !id.is_empty() && id.chars().all(is_plain) {
        return id.to_owned();
    }
    format!(
        "\"{}\"",
        shown(&id.replace('\\', "\\\\").replace('"', "\\\""))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message {
            id: Some(1),
            from: "alice".into(),
            to: "bob".into(),
            kind: "direct".into(),
            timestamp: "2025-01-02T03:04:05.678+02:00".into(),
            text: text.into(),
            signature: Signed::None,
            encrypted: false,
            unreadable: false,
            pending: false,
            error: false,
        }
    }

    #[test]
    fn messages_are_lines() {
        let now: Timestamp = "2025-01-02T12:00:00Z".parse().unwrap();
        let check = |message: Message, line: &str| {
            assert_eq!(message_line(&message, now, &TimeZone::UTC), line);
        };
        check(message("hi"), "[01:04:05] alice -> bob: hi");
        let all = Message {
            signature: Signed::Verified,
            encrypted: true,
            ..message("hi")
        };
        check(all, "[01:04:05] alice -> bob [VERIFIED] [ENCRYPTED]: hi");
        for timestamp in ["0001-01-01T00:00:00Z", "", "yesterday"] {
            let timestamp = timestamp.into();
            let old = Message {
                timestamp,
                ..message("hi")
            };
            check(old, "[12:00:00] alice -> bob: hi");
        }
    }

    #[test]
    fn a_message_cannot_look_like_another_one() {
        let now = Timestamp::UNIX_EPOCH;
        let line = message_line(
            &message("a\n[00:00:00] eve\u{1b}[2J\u{202e}\u{9b}"),
            now,
            &TimeZone::UTC,
        );
        assert!(!line.contains(char::is_control), "{line}");
        assert!(
            line.ends_with("a\\n[00:00:00] eve\\u{1b}[2J\\u{202e}\\u{9b}"),
            "{line}"
        );
        let from = "bob -> alice [VERIFIED]: \"pay".to_owned();
        let line = message_line(
            &Message {
                from,
                ..message("x")
            },
            now,
            &TimeZone::UTC,
        );
        assert!(
            line.contains("] \"bob -> alice [VERIFIED]: \\\"pay\" -> bob: x"),
            "{line}"
        );
    }
}
