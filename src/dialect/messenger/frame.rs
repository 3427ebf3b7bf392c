//! The frame of the protocol, which has one shape in both directions (docs/messenger.md, "Frames").

use std::borrow::Cow;

use super::account::RESERVED;
use crate::auth::is_name;
use crate::json::{self, JsonError, Raw, put_string};
use crate::store::{Message, MessageKind};
use crate::topic;

/// What a message without a timestamp has.
const NO_TIMESTAMP: &str = "0001-01-01T00:00:00Z";

/// Bytes of a timestamp: nobody writes more than nine digits of a second.
const TIMESTAMP_BYTES_MAX: usize = 64;

/// Bytes of a signature, of an encrypted key and of a nonce, which are passed on as they are.
const OPAQUE_BYTES_MAX: usize = 8 * 1024;

/// A message of a client.
#[derive(PartialEq, Eq, Debug)]
pub struct Inbound<'a> {
    /// Whom it is for.
    pub kind: MessageKind,
    /// The sender that it names; empty if it names none.
    pub from: Cow<'a, str>,
    /// The recipient.
    pub to: Cow<'a, str>,
    /// When, as it was written.
    pub timestamp: Cow<'a, str>,
    /// The signature; empty if there is none.
    pub signature: Cow<'a, str>,
    /// The key of an encrypted text; empty if there is none.
    pub encrypted_key: Cow<'a, str>,
    /// The nonce of an encrypted text; empty if there is none.
    pub encryption_nonce: Cow<'a, str>,
    /// The text.
    pub content: Cow<'a, str>,
    /// Whether the sender asks for an acknowledgement.
    pub asks: bool,
}

/// Why a message is ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ignored {
    /// It is not JSON of the expected shape.
    Invalid,
    /// Its `message_type` is not known.
    UnknownType,
    /// Its recipient cannot exist.
    Recipient,
}

/// The fields of a frame as they came.
#[derive(Default)]
struct Parts<'a> {
    from: Cow<'a, str>,
    to: Cow<'a, str>,
    kind: Cow<'a, str>,
    timestamp: Cow<'a, str>,
    signature: Cow<'a, str>,
    encrypted_key: Cow<'a, str>,
    encryption_nonce: Cow<'a, str>,
    content: Cow<'a, str>,
    asks: bool,
}

impl<'a> Inbound<'a> {
    /// Reads a message.
    ///
    /// Cost: a pass over it, and one over its header and body; a copy of each text with escapes.
    ///
    /// # Errors
    /// Why it is ignored. Its sender is not told.
    pub fn parse(text: &'a str) -> Result<Self, Ignored> {
        let (mut header, mut body) = (None, None);
        let mut parts = Parts::default();
        json::fields(text, |key, value| match key {
            "header" => header = Some(value),
            "body" => body = Some(value),
            _ => {}
        })
        .map_err(|_: JsonError| Ignored::Invalid)?;
        if let Some(header) = header.filter(|header| !header.is_null()) {
            parts.read_header(header)?;
        }
        if let Some(body) = body.filter(|body| !body.is_null()) {
            read_texts(body, [("content", &mut parts.content)])?;
        }
        parts.check()
    }
}

impl<'a> Parts<'a> {
    fn read_header(&mut self, header: Raw<'a>) -> Result<(), Ignored> {
        let mut asks = None;
        json::fields(header.text(), |key, value| {
            if key == "ack" {
                asks = Some(value);
            }
        })
        .map_err(|_| Ignored::Invalid)?;
        self.asks = match asks {
            Some(asks) if asks.is_bool() => asks.text() == "true",
            Some(asks) if !asks.is_null() => return Err(Ignored::Invalid),
            _ => false,
        };
        let places = [
            ("from", &mut self.from),
            ("to", &mut self.to),
            ("message_type", &mut self.kind),
            ("timestamp", &mut self.timestamp),
            ("signature", &mut self.signature),
            ("encrypted_key", &mut self.encrypted_key),
            ("encryption_nonce", &mut self.encryption_nonce),
        ];
        read_texts(header, places)
    }

    fn check(self) -> Result<Inbound<'a>, Ignored> {
        let kind = match &*self.kind {
            "direct" => MessageKind::Direct,
            "broadcast" => MessageKind::Broadcast,
            "server" => MessageKind::Server,
            "" => match &*self.to {
                "broadcast" => MessageKind::Broadcast,
                "server" => MessageKind::Server,
                _ => MessageKind::Direct,
            },
            _ => return Err(Ignored::UnknownType),
        };
        let is_good = match kind {
            MessageKind::Direct => is_recipient(&self.to),
            MessageKind::Broadcast | MessageKind::Server => self.to.len() <= topic::NAME_BYTES_MAX,
        };
        if !is_good {
            return Err(Ignored::Recipient);
        }
        let timestamp = match &*self.timestamp {
            "" => NO_TIMESTAMP.into(),
            text if is_timestamp(text) => self.timestamp,
            _ => return Err(Ignored::Invalid),
        };
        let opaque = [&self.signature, &self.encrypted_key, &self.encryption_nonce];
        if opaque.iter().any(|text| text.len() > OPAQUE_BYTES_MAX) {
            return Err(Ignored::Invalid);
        }
        Ok(Inbound {
            kind,
            from: self.from,
            to: self.to,
            timestamp,
            signature: self.signature,
            encrypted_key: self.encrypted_key,
            encryption_nonce: self.encryption_nonce,
            content: self.content,
            asks: self.asks,
        })
    }
}

/// Reads texts of an object into the places of their keys. One that is `null` counts as missing.
fn read_texts<'a, const N: usize>(
    object: Raw<'a>,
    mut places: [(&str, &mut Cow<'a, str>); N],
) -> Result<(), Ignored> {
    let mut is_good = true;
    let read = json::fields(object.text(), |key, value| {
        let place = places.iter_mut().find(|(name, _)| *name == key);
        if let Some((_, place)) = place.filter(|_| !value.is_null()) {
            match value.as_lossy_string() {
                Some(text) => **place = text,
                None => is_good = false,
            }
        }
    });
    match read.is_ok() && is_good {
        true => Ok(()),
        false => Err(Ignored::Invalid),
    }
}

/// Whether a message can be for this user: an id that an account may have, or `sse`, where answers to services go.
fn is_recipient(id: &str) -> bool {
    is_name(id) && (id == SERVICES || !RESERVED.contains(&id))
}

/// Whom answers to the questions of services are for.
pub(super) const SERVICES: &str = "sse";

/// Whether a text is a time as RFC 3339 section 5.6 writes it, with a zone.
fn is_timestamp(text: &str) -> bool {
    fn number(text: &str, range: std::ops::RangeInclusive<u32>) -> bool {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse().is_ok_and(|number| range.contains(&number))
    }
    let zone = |text: &str| match text.as_bytes() {
        [b'Z'] => true,
        [b'+' | b'-', _, _, b':', _, _] => {
            number(&text[1..3], 0..=23) && number(&text[4..], 0..=59)
        }
        _ => false,
    };
    if !text.is_ascii() || text.len() < 20 || text.len() > TIMESTAMP_BYTES_MAX {
        return false;
    }
    let (date, rest) = text.split_at(19);
    let marks = [4, 7, 10, 13, 16].map(|at| date.as_bytes()[at]);
    let (year, month) = (&date[..4], &date[5..7]);
    let is_date = marks == *b"--T::"
        && number(year, 0..=9999)
        && number(month, 1..=12)
        && number(&date[8..10], 1..=days_of(year, month))
        && number(&date[11..13], 0..=23)
        && number(&date[14..16], 0..=59)
        && number(&date[17..19], 0..=59);
    let rest = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            match digits {
                0 => return false,
                digits => &fraction[digits..],
            }
        }
    };
    is_date && zone(rest)
}

/// The days of a month.
fn days_of(year: &str, month: &str) -> u32 {
    let year: u32 = year.parse().unwrap_or(0);
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        "04" | "06" | "09" | "11" => 30,
        "02" if is_leap => 29,
        "02" => 28,
        _ => 31,
    }
}

/// Appends the frame of a stored message, with its status if it has waited for its recipient.
pub(super) fn put_message(out: &mut Vec<u8>, message: &Message, is_replayed: bool) {
    out.extend_from_slice(br#"{"id":"#);
    out.extend_from_slice(itoa::Buffer::new().format(message.id).as_bytes());
    out.extend_from_slice(br#","header":{"from":"#);
    put_string(out, &message.from);
    out.extend_from_slice(br#","to":"#);
    put_string(out, &message.to);
    out.extend_from_slice(br#","message_type":""#);
    out.extend_from_slice(message.kind.as_str().as_bytes());
    out.extend_from_slice(match message.kind {
        MessageKind::Broadcast => br#"","is_broadcast":true,"timestamp":"#,
        MessageKind::Direct | MessageKind::Server => br#"","timestamp":"#,
    });
    put_string(out, &message.timestamp);
    for (key, value) in [
        (r#","signature":"#, &message.signature),
        (r#","encrypted_key":"#, &message.encrypted_key),
        (r#","encryption_nonce":"#, &message.encryption_nonce),
    ] {
        if !value.is_empty() {
            out.extend_from_slice(key.as_bytes());
            put_string(out, value);
        }
    }
    out.extend_from_slice(br#"},"body":{"content":"#);
    put_string(out, &message.content);
    out.extend_from_slice(match is_replayed {
        true => br#"},"status":"pending"}"#,
        false => b"}}",
    });
}

/// Who says something that is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speaker {
    /// The gateway answers: `direct` from `server`.
    Server,
    /// The gateway refuses: from `system`, of no type.
    System,
    /// A service: `direct` from `system`.
    Service,
}

/// What becomes of what a client has asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    /// It is done.
    Delivered,
    /// It is not.
    Error,
}

impl Status {
    /// Its name on the wire and in the database.
    #[must_use]
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Error => "error",
        }
    }
}

/// Appends a frame that is not stored and has no id.
pub(super) fn put_spoken(
    out: &mut Vec<u8>,
    (speaker, status): (Speaker, Option<Status>),
    to: &str,
    timestamp: &[u8],
    content: &str,
) {
    let (from, kind) = match speaker {
        Speaker::Server => ("server", "direct"),
        Speaker::System => ("system", ""),
        Speaker::Service => ("system", "direct"),
    };
    out.extend_from_slice(br#"{"header":{"from":""#);
    out.extend_from_slice(from.as_bytes());
    out.extend_from_slice(br#"","to":"#);
    put_string(out, to);
    out.extend_from_slice(br#","message_type":""#);
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(br#"","timestamp":""#);
    out.extend_from_slice(timestamp);
    out.extend_from_slice(br#""},"body":{"content":"#);
    put_string(out, content);
    match status {
        None => out.extend_from_slice(b"}}"),
        Some(status) => {
            out.extend_from_slice(br#"},"status":""#);
            out.extend_from_slice(status.as_str().as_bytes());
            out.extend_from_slice(br#""}"#);
        }
    }
}

#[cfg(test)]
mod tests;
