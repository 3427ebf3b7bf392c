//! What a message carries, and what of it decides where it goes.

use std::borrow::Cow;

use super::correlation::{BadCorrelation, Correlation};
use crate::protocol::json::{self, JsonError, Raw, Rest};
use crate::protocol::schema::{Field, Kind, Object};

/// What means something in the `data` of a message (spec/bridge.md 1.2, 1.4).
pub static DATA: Object<9> = Object {
    name: "Data",
    doc: "What the user is sent. Every field is passed on as it was written.",
    fields: [
        field(
            "message",
            Kind::Any,
            "The text that is looked at for mentions of public accounts.",
            r#""Deploy to production?""#,
        ),
        field(
            "text",
            Kind::Any,
            "Looked at if `message` is not a string.",
            r#""Deploy to production?""#,
        ),
        field(
            "data",
            Kind::Any,
            "Looked at if neither `message` nor `text` is a string.",
            r#"{"build":7}"#,
        ),
        field(
            "content",
            Kind::Any,
            "Looked at if nothing above is a string.",
            r#""Deploy to production?""#,
        ),
        field(
            "body",
            Kind::Any,
            "Looked at if nothing above is a string.",
            r#""Deploy to production?""#,
        ),
        field(
            "timestamp",
            Kind::Any,
            "Repeated as `original_sender.timestamp`.",
            "1763712871",
        ),
        field(
            "correlation_id",
            Kind::Any,
            "What answers to this message repeat: a string or a number of at most 1,024 bytes. \
             If it is missing, `null` or empty, the gateway makes one up.",
            r#""req_1""#,
        ),
        field(
            "user_id",
            Kind::Any,
            "Replaced by the user that the message was sent to.",
            r#""alice""#,
        ),
        field(
            "original_sender",
            Kind::Any,
            "Replaced by `{\"user_id\", \"timestamp\"}`.",
            "null",
        ),
    ],
};

const fn field(name: &'static str, kind: Kind, doc: &'static str, example: &'static str) -> Field {
    Field {
        name,
        kind,
        required: false,
        nullable: false,
        doc,
        example,
    }
}

/// Those of [`DATA`] that may mention somebody: the first string counts.
const TEXTS: usize = 5;
const TIMESTAMP: usize = 5;
/// This one and those behind it are set by the gateway.
const CORRELATION: usize = 6;

/// What a message carries: an object.
#[derive(Debug)]
pub(super) struct Data<'a> {
    /// All fields but those that the gateway sets.
    rest: Rest<'a>,
    timestamp: Option<Raw<'a>>,
    correlation: Option<Raw<'a>>,
    /// The text that is looked at for mentions, if it has an `@` at all.
    pub(super) text: Option<Cow<'a, str>>,
}

impl<'a> Data<'a> {
    /// Reads an object.
    ///
    /// Cost: one pass over it.
    ///
    /// # Errors
    /// The text is not JSON, or no object.
    pub(super) fn read(object: &'a str) -> Result<Self, JsonError> {
        let mut values = [None; 9];
        let rest = json::without(object, |key, value| match DATA.position(key) {
            Some(at) => {
                values[at] = Some(value);
                at >= CORRELATION
            }
            None => false,
        })?;
        let mut texts = values[..TEXTS].iter().flatten();
        Ok(Self {
            rest,
            timestamp: values[TIMESTAMP],
            correlation: values[CORRELATION],
            text: texts
                .find(|value| value.is_string())
                .and_then(|text| with_mention(*text)),
        })
    }

    /// The correlation id that it comes with, if any.
    ///
    /// # Errors
    /// Why it is none, and the value.
    pub(super) fn correlation(&self) -> Result<Option<Correlation<'a>>, (BadCorrelation, Raw<'a>)> {
        match self.correlation {
            Some(value) => Correlation::read(value).map_err(|bad| (bad, value)),
            None => Ok(None),
        }
    }

    /// Appends the object with what the gateway sets in it. `user` is a JSON
    /// string.
    ///
    /// Cost: the copies; `out` grows once.
    pub(super) fn put(&self, out: &mut Vec<u8>, user: &str, correlation: &Correlation<'_>) {
        let timestamp = self.timestamp.map_or("null", Raw::text);
        let bytes = self.rest.bytes() + timestamp.len() + 2 * user.len();
        out.reserve(bytes + correlation.text().len() + SET_BYTES);
        self.rest.put_open(out);
        put_set(out, user, timestamp, correlation);
    }
}

/// Appends the fields that the gateway sets, in the order of spec/bridge.md 1.2,
/// and the closing brace. All but `out` are JSON.
pub(super) fn put_set(
    out: &mut Vec<u8>,
    user: &str,
    timestamp: &str,
    correlation: &Correlation<'_>,
) {
    for part in [
        r#""original_sender":{"user_id":"#,
        user,
        r#","timestamp":"#,
        timestamp,
        r#"},"user_id":"#,
        user,
        r#","correlation_id":"#,
        correlation.text(),
        "}",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// What is written of those fields and around them whatever their values are,
/// rounded up.
const SET_BYTES: usize = 96;

/// The value of a string that has an `@`.
fn with_mention(string: Raw<'_>) -> Option<Cow<'_, str>> {
    let bytes = string.text().as_bytes();
    // An `@` may be written as an escape.
    memchr::memchr2(b'@', b'\\', bytes)?;
    let text = string.as_lossy_string()?;
    text.contains('@').then_some(text)
}
