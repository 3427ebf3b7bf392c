//! An answer of a user, and the events that the calling service gets
//! (docs/bridge.md, "Questions").

use super::correlation::Correlation;
use super::event::put_event;
use crate::json::{self, Raw, Rest};

/// An answer. It borrows the message.
#[derive(Debug)]
pub struct CallAnswer<'a> {
    correlation: Correlation<'a>,
    form: AnswerForm<'a>,
}

/// How an answer is converted to events.
#[derive(Debug)]
enum AnswerForm<'a> {
    /// One event, as it was sent.
    AsSent { text: &'a str, is_last: bool },
    /// As it was sent, and again as the last one: the fields without `is_final`.
    Repeated { text: &'a str, rest: Rest<'a> },
    /// One event, with its correlation id where services look for it: the fields
    /// without that and `is_final`.
    Translated { rest: Rest<'a>, is_last: bool },
}

impl<'a> CallAnswer<'a> {
    /// A message of this protocol. `rest` is what is left of `text` without
    /// `is_final`.
    pub fn own(
        text: &'a str,
        correlation: Correlation<'a>,
        kind: Option<Raw<'a>>,
        is_final: Option<Raw<'a>>,
        rest: Rest<'a>,
    ) -> Self {
        let is_last = is_final.is_some_and(is_truthy);
        let kind = kind.and_then(Raw::as_string);
        let form = if !is_last && kind.as_deref() == Some("final_response") {
            AnswerForm::Repeated { text, rest }
        } else {
            AnswerForm::AsSent { text, is_last }
        };
        Self { correlation, form }
    }

    /// A response of the events protocol, `{"type":"response","id","data"}`, whose
    /// `id` is the correlation id; `None` if it has none. It is the last answer
    /// unless it says otherwise: `"is_final":false`, or another value that is
    /// not truthy.
    ///
    /// Cost: one pass over the text.
    #[must_use]
    pub fn from_response(text: &'a str) -> Option<Self> {
        let (mut id, mut is_final) = (None, None);
        let rest = json::without(text, |key, value| match key {
            "id" => {
                id = Some(value);
                false
            }
            "is_final" => {
                is_final = Some(value);
                true
            }
            _ => key == "correlation_id",
        });
        let rest = rest.ok()?;
        let correlation = Correlation::read(id?).ok()??;
        let is_last = is_final.is_none_or(is_truthy);
        let form = AnswerForm::Translated { rest, is_last };
        Some(Self { correlation, form })
    }

    /// An answer whose correlation id is beside its payload, an object. It is the last one unless its payload says
    /// otherwise, as in [`Self::from_response`].
    ///
    /// Cost: one pass over the payload.
    #[must_use]
    pub fn from_payload(payload: &'a str, correlation: Raw<'a>) -> Option<Self> {
        let mut is_final = None;
        let rest = json::without(payload, |key, value| match key {
            "is_final" => {
                is_final = Some(value);
                true
            }
            _ => key == "correlation_id",
        });
        let correlation = Correlation::read(correlation).ok()??;
        let is_last = is_final.is_none_or(is_truthy);
        let form = AnswerForm::Translated {
            rest: rest.ok()?,
            is_last,
        };
        Some(Self { correlation, form })
    }

    /// What it answers.
    #[must_use]
    pub fn correlation(&self) -> &Correlation<'a> {
        &self.correlation
    }

    /// Whether its stream ends after it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match self.form {
            AnswerForm::AsSent { is_last, .. } | AnswerForm::Translated { is_last, .. } => is_last,
            AnswerForm::Repeated { .. } => true,
        }
    }

    /// Appends the events for the service that waits: two for a
    /// `final_response`, else one.
    ///
    /// Cost: the copies, and a search for line breaks.
    pub fn put_events(&self, out: &mut Vec<u8>) {
        match &self.form {
            AnswerForm::AsSent { text, .. } => put_as_sent(out, text),
            AnswerForm::Repeated { text, rest } => {
                put_as_sent(out, text);
                put_event(out, |out| {
                    rest.put_open(out);
                    out.extend_from_slice(br#""is_final":true}"#);
                });
            }
            AnswerForm::Translated { rest, is_last } => put_event(out, |out| {
                rest.put_open(out);
                out.extend_from_slice(br#""correlation_id":"#);
                out.extend_from_slice(self.correlation.text().as_bytes());
                out.extend_from_slice(if *is_last {
                    br#","is_final":true}"#
                } else {
                    br#","is_final":false}"#
                });
            }),
        }
    }
}

fn put_as_sent(out: &mut Vec<u8>, text: &str) {
    let text = text.trim_matches(json::JSON_SPACE);
    put_event(out, |out| out.extend_from_slice(text.as_bytes()));
}

/// Whether a value is truthy in Python, as existing services and clients expect.
fn is_truthy(value: Raw<'_>) -> bool {
    let text = value.text();
    match text.as_bytes() {
        b"false" | b"null" | b"\"\"" => false,
        [b'[' | b'{', inner @ .., _] => !inner.trim_ascii().is_empty(),
        _ if value.is_number() => text.parse() != Ok(0.0_f64),
        _ => true,
    }
}
