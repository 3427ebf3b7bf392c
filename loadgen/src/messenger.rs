//! The messenger protocol as a user's client speaks it: its frames, and its requests over HTTP.

mod account;

use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) use account::{Account, challenge_of, token_of};

/// The sender of acknowledgements.
pub(crate) const SERVER: &str = "server";

/// A frame of the server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frame<'a> {
    pub(crate) id: Option<i64>,
    #[serde(borrow)]
    pub(crate) header: Header<'a>,
    #[serde(borrow)]
    body: Body<'a>,
    pub(crate) status: Option<&'a str>,
}

/// Who says something to whom. Users of a run have no ids that JSON escapes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) message_type: &'a str,
    #[serde(default)]
    pub(crate) is_broadcast: bool,
    pub(crate) timestamp: &'a str,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
}

/// What a sender is told of a message.
#[derive(Debug, Deserialize)]
struct Ack {
    success: bool,
    ack: Option<i64>,
}

impl<'a> Frame<'a> {
    /// Parses a frame.
    pub(crate) fn parse(payload: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(payload).map_err(|error| {
            let text = String::from_utf8_lossy(payload);
            format!("not a frame of the messenger protocol ({error}): {text:.300}")
        })
    }

    /// The content as JSON, quotes included.
    pub(crate) fn content(&self) -> &'a [u8] {
        self.body.content.get().as_bytes()
    }

    /// The id that an acknowledgement gives.
    pub(crate) fn acknowledged(&self) -> Result<i64, String> {
        let text: String = serde_json::from_slice(self.content())
            .map_err(|error| format!("an acknowledgement without content: {error}"))?;
        let parsed = serde_json::from_str(&text);
        match parsed {
            Ok(Ack {
                success: true,
                ack: Some(id),
            }) if self.status == Some("delivered") => Ok(id),
            _ => Err(format!("no acknowledgement: {text:.300}")),
        }
    }
}

/// What to do about a frame that says that a user sends too much.
pub(crate) fn rate_hint(payload: &[u8]) -> &'static str {
    match memchr::memmem::find(payload, b"Rate limit exceeded") {
        Some(_) => ". With FANFARE_MESSENGER__RATE_LIMIT=0 the server has no such limit",
        None => "",
    }
}

/// Appends a message, whose `content` is JSON.
pub(crate) fn put_message(
    out: &mut Vec<u8>,
    (from, to): (&str, &str),
    kind: &str,
    timestamp: &str,
    content: impl FnOnce(&mut Vec<u8>),
) {
    for part in [
        r#"{"header":{"from":""#,
        from,
        r#"","to":""#,
        to,
        r#"","message_type":""#,
        kind,
        r#"","timestamp":""#,
        timestamp,
        r#""},"body":{"content":"#,
    ] {
        out.extend_from_slice(part.as_bytes());
    }
    content(out);
    out.extend_from_slice(b"}}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_parses_and_nothing_unknown_does() {
        let mut text = Vec::new();
        put_message(&mut text, ("a", "b"), "direct", "t", |out| {
            out.extend_from_slice(br#""x""#);
        });
        let frame = Frame::parse(&text).unwrap();
        let header = &frame.header;
        let said = (
            header.from,
            header.to,
            header.message_type,
            header.timestamp,
        );
        assert_eq!(said, ("a", "b", "direct", "t"));
        assert_eq!(frame.content(), br#""x""#);
        let text = String::from_utf8(text).unwrap();
        assert!(Frame::parse(text.replace("to", "too").as_bytes()).is_err());
    }

    #[track_caller]
    fn check_ack(content: &str, status: &str, id: Option<i64>) {
        let content = serde_json::to_string(content).unwrap();
        let text = format!(
            r#"{{"header":{{"from":"server","to":"a","message_type":"direct","timestamp":"t"}},"body":{{"content":{content}}},"status":"{status}"}}"#
        );
        let frame = Frame::parse(text.as_bytes()).unwrap();
        assert_eq!(frame.acknowledged().ok(), id);
    }

    #[test]
    fn an_acknowledgement_says_success_and_an_id() {
        let good = r#"{"success":true,"ack":7,"status":"delivered"}"#;
        check_ack(good, "delivered", Some(7));
        check_ack(good, "error", None);
        check_ack(r#"{"success":false,"code":"STORE_BUSY"}"#, "error", None);
        check_ack(r#"{"success":true}"#, "delivered", None);
        check_ack("x", "delivered", None);
    }
}
