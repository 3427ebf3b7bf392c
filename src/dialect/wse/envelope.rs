//! What a client says: JSON with an envelope around its payload, in one of the forms that clients of all versions use.

use std::borrow::Cow;

use crate::json::{self, JSON_SPACE, JsonError, Raw};

/// The message of a client. It borrows the text.
#[derive(Debug, Default)]
pub struct Envelope<'a> {
    /// Its object, without what is before it.
    pub text: &'a str,
    /// Whether the category is before the object: the client is of 1.x or 2.0.
    pub is_prefixed: bool,
    /// Its type: `t` or `type`.
    pub kind: Option<Cow<'a, str>>,
    /// Its payload: `p` or `payload`.
    pub payload: Option<Raw<'a>>,
    /// Its `id`, a string or a number.
    pub id: Option<Raw<'a>>,
    /// Its correlation id, `cid`.
    pub correlation: Option<Raw<'a>>,
    /// Its number among those of its connection, from 1.
    pub sequence: Option<u64>,
    /// Its priority, `pri`.
    pub priority: Option<u64>,
    /// Its signature, `sig`.
    pub signature: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    /// Reads the text of a message.
    ///
    /// Cost: one pass over the text.
    ///
    /// # Errors
    /// It is no JSON object.
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        let bare = without_prefix(text);
        let mut envelope = Self {
            text: bare.trim_matches(JSON_SPACE),
            is_prefixed: bare.len() < text.len(),
            ..Self::default()
        };
        let (mut kind, mut payload) = (None, None);
        json::fields(bare, |key, value| match key {
            "t" => envelope.kind = value.as_string(),
            "type" => kind = value.as_string(),
            "p" => envelope.payload = Some(value),
            "payload" => payload = Some(value),
            "id" => envelope.id = Some(value).filter(|value| value.is_scalar_id()),
            "cid" => envelope.correlation = Some(value).filter(|value| value.is_scalar_id()),
            "seq" => envelope.sequence = value.as_count(),
            "pri" | "priority" => envelope.priority = value.as_count().or(envelope.priority),
            "sig" => envelope.signature = value.as_string(),
            _ => {}
        })?;
        envelope.kind = envelope.kind.or(kind);
        envelope.payload = envelope.payload.or(payload);
        Ok(envelope)
    }

    /// The text of its payload: an object, empty if there is none.
    #[must_use]
    pub fn payload_text(&self) -> &'a str {
        let payload = self.payload.filter(|payload| payload.is_object());
        payload.map_or("{}", Raw::text)
    }
}

/// A text without the category before its object.
fn without_prefix(text: &str) -> &str {
    let bare = ["WSE", "S", "U"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    bare.filter(|bare| bare.starts_with('{')).unwrap_or(text)
}

/// A heartbeat of old clients: text that is no JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LegacyBeat<'a> {
    /// `PING:<ms>`, also behind `WSE:`; to be answered with the same number.
    Ping(&'a str),
    /// `PONG:<ms>`.
    Pong,
}

impl<'a> LegacyBeat<'a> {
    /// The heartbeat that a text is, if it is one.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix("WSE:").unwrap_or(text);
        let is_number =
            |number: &&str| number.len() <= 20 && number.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(number) = text.strip_prefix("PING:").filter(is_number) {
            return Some(Self::Ping(number));
        }
        let answered = text.strip_prefix("PONG:").filter(is_number);
        answered.map(|_| Self::Pong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_envelope_is_read() {
        for text in [
            r#"{"c":"WSE","t":"x","p":{"a":1},"id":"i","seq":3,"pri":8,"cid":7,"sig":"s"}"#,
            r#"WSE{"t":"x","p":{"a":1},"id":"i","seq":3,"pri":8,"cid":7,"sig":"s"}"#,
            r#"U{"type":"x","payload":{"a":1},"id":"i","seq":3,"priority":8,"cid":7,"sig":"s"}"#,
            r#" {"type":"y","t":"x","payload":0,"p":{"a":1},"id":"i","seq":3,"pri":8,"cid":7,"sig":"s"} "#,
        ] {
            let read = Envelope::parse(text).unwrap();
            assert_eq!(read.is_prefixed, text.starts_with(['W', 'U']), "{text}");
            assert_eq!(read.kind.as_deref(), Some("x"), "{text}");
            assert_eq!(read.payload_text(), r#"{"a":1}"#, "{text}");
            assert_eq!(read.id.map(Raw::text), Some(r#""i""#), "{text}");
            assert_eq!(read.correlation.map(Raw::text), Some("7"), "{text}");
            assert_eq!((read.sequence, read.priority), (Some(3), Some(8)), "{text}");
            assert_eq!(read.signature.as_deref(), Some("s"), "{text}");
            assert!(read.text.starts_with('{') && read.text.ends_with('}'));
        }
    }

    #[test]
    fn what_is_no_object_is_no_message() {
        for bad in [
            "", "x", "[]", "WSE", "WSE {}", "Ux{}", "{", "{}{}", "S{", "SU{}",
        ] {
            assert!(Envelope::parse(bad).is_err(), "{bad}");
        }
        let odd = Envelope::parse(r#"{"t":5,"p":[],"id":{},"seq":-1}"#).unwrap();
        assert!(odd.kind.is_none() && odd.id.is_none() && odd.sequence.is_none());
        assert_eq!(odd.payload_text(), "{}");
    }

    #[test]
    fn heartbeats_of_old_clients_are_known() {
        assert_eq!(LegacyBeat::read("PING:12"), Some(LegacyBeat::Ping("12")));
        assert_eq!(LegacyBeat::read("WSE:PING:1"), Some(LegacyBeat::Ping("1")));
        assert_eq!(LegacyBeat::read("PONG:1"), Some(LegacyBeat::Pong));
        for other in ["PING", "PING:x", "ping:1", "PING:-1", "WSE:WSE:PING:1"] {
            assert_eq!(LegacyBeat::read(other), None, "{other}");
        }
    }
}
