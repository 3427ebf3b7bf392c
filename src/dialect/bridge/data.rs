//! The `data` object of a message: its mentions, its correlation id, and the fields that the gateway sets.

use std::borrow::Cow;

use crate::call::{BadCorrelation, Correlation};
use crate::json::{self, Fields, JsonError, Raw, Rest};

/// The fields of a message's `data` that the gateway reads or sets (docs/bridge.md).
static DATA: Fields<9> = Fields {
    names: [
        "message",
        "text",
        "data",
        "content",
        "body",
        "timestamp",
        "correlation_id",
        "user_id",
        "original_sender",
    ],
    required: 0,
};

/// The first fields of [`DATA`] may contain mentions. The first one that is a string counts.
const TEXT_FIELDS: usize = 5;
const TIMESTAMP: usize = 5;
/// This field of [`DATA`] and those after it are set by the gateway.
const CORRELATION: usize = 6;

/// The `data` of a message, an object.
#[derive(Debug)]
pub(super) struct Data<'a> {
    /// All fields except those that the gateway sets.
    rest: Rest<'a>,
    timestamp: Option<Raw<'a>>,
    correlation: Option<Raw<'a>>,
    /// The text that is searched for mentions, if it contains an `@`.
    pub(super) text: Option<Cow<'a, str>>,
}

impl<'a> Data<'a> {
    /// Reads an object.
    ///
    /// Cost: one pass over it.
    ///
    /// # Errors
    /// The text is not JSON, or not an object.
    pub(super) fn read(object: &'a str) -> Result<Self, JsonError> {
        let mut values = [None; 9];
        let rest = json::without(object, |key, value| match DATA.position(key) {
            Some(at) => {
                values[at] = Some(value);
                at >= CORRELATION
            }
            None => false,
        })?;
        let mut texts = values[..TEXT_FIELDS].iter().flatten();
        Ok(Self {
            rest,
            timestamp: values[TIMESTAMP],
            correlation: values[CORRELATION],
            text: texts
                .find(|value| value.is_string())
                .and_then(|text| with_mention(*text)),
        })
    }

    /// Its correlation id, if any.
    ///
    /// # Errors
    /// Why the value is not valid, and the value.
    pub(super) fn correlation(&self) -> Result<Option<Correlation<'a>>, (BadCorrelation, Raw<'a>)> {
        match self.correlation {
            Some(value) => Correlation::read(value).map_err(|bad| (bad, value)),
            None => Ok(None),
        }
    }

    /// Appends the object, with the fields that the gateway sets. `user` is a JSON string.
    ///
    /// Cost: one copy; `out` grows once.
    pub(super) fn put(&self, out: &mut Vec<u8>, user: &str, correlation: &Correlation<'_>) {
        let timestamp = self.timestamp.map_or("null", Raw::text);
        let bytes = self.rest.bytes() + timestamp.len() + 2 * user.len();
        out.reserve(bytes + correlation.text().len() + GATEWAY_FIELDS_BYTES);
        self.rest.put_open(out);
        put_gateway_fields(out, user, timestamp, correlation);
    }
}

/// Appends the fields that the gateway sets, in the order of docs/bridge.md,
/// and the closing brace. All but `out` are JSON.
pub(super) fn put_gateway_fields(
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

/// Bytes written for those fields without their values, rounded up.
const GATEWAY_FIELDS_BYTES: usize = 96;

/// The value of a JSON string, if it contains an `@`.
fn with_mention(string: Raw<'_>) -> Option<Cow<'_, str>> {
    let bytes = string.text().as_bytes();
    // An `@` may be written as an escape.
    memchr::memchr2(b'@', b'\\', bytes)?;
    let text = string.as_lossy_string()?;
    text.contains('@').then_some(text)
}
