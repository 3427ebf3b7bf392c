//! The message that a service pushes (docs/bridge.md, "A message").

use std::borrow::Cow;

use super::data::Data;
use super::invalid::{FaultLocation, Faults, FieldKind, Invalid, MISSING, NO_OBJECT, fault_of};
use super::mention::first_mention;
use crate::call::Correlation;
use crate::json::{self, Fields, JsonError, Raw};

/// The body of a push, and each element of a batch.
static MESSAGE: Fields<5> = Fields {
    names: ["user_id", "data", "event_type", "event_id", "timestamp"],
    required: 2,
};

/// What the values of [`MESSAGE`] are.
const KINDS: [FieldKind; 5] = [
    FieldKind::String,
    FieldKind::Object,
    FieldKind::String,
    FieldKind::String,
    FieldKind::Number,
];

/// A message that a service pushes. It borrows the request's body.
#[derive(Debug)]
pub struct Push<'a> {
    /// The recipient, unless the message mentions a public account.
    pub user: Cow<'a, str>,
    /// The type of the event that clients of other protocols get.
    pub event_type: Option<Cow<'a, str>>,
    /// `user` as the JSON string of the body.
    user_text: &'a str,
    data: Data<'a>,
    correlation: Option<Correlation<'a>>,
}

impl<'a> Push<'a> {
    /// Reads the body of a push.
    ///
    /// Cost: one pass over the body and one over its `data`.
    ///
    /// # Errors
    /// All faults of the body.
    pub fn parse(body: &'a str) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        match Self::read(body, None, &mut faults) {
            Ok(Some(push)) => Ok(push),
            Ok(None) => Err(faults.into()),
            Err(_) if is_missing(body) => Err(Invalid::missing_body()),
            Err(_) => Err(Invalid::no_json(body)),
        }
    }

    /// Reads the body of a batch, an array. One invalid element refuses the whole batch.
    ///
    /// Cost: as for [`Push::parse`], and one more pass over the body.
    ///
    /// # Errors
    /// The faults of the body, up to [`DETAILS_MAX`](super::DETAILS_MAX).
    pub fn parse_batch(body: &'a str) -> Result<Vec<Self>, Invalid> {
        let (mut pushes, mut faults) = (Vec::new(), Faults::default());
        let (mut index, mut is_json) = (0, true);
        let read = json::each_item(body, usize::MAX, |item| {
            // No further faults are listed.
            if faults.count() >= super::DETAILS_MAX {
                return;
            }
            match Self::read(item.text(), Some(index), &mut faults) {
                Ok(Some(push)) if faults.count() == 0 => pushes.push(push),
                Ok(_) => {}
                Err(_) => is_json = false,
            }
            index += 1;
        });
        match read {
            Ok(()) if is_json && faults.count() == 0 => Ok(pushes),
            Ok(()) if is_json => Err(faults.into()),
            Err(JsonError::NotArray) if is_missing(body) => Err(Invalid::missing_body()),
            // The syntax of the rest has not been checked yet.
            Err(JsonError::NotArray) if json::fields(body, |_, _| ()) != Err(JsonError::Syntax) => {
                Err(Invalid::no_list(body))
            }
            _ => Err(Invalid::no_json(body)),
        }
    }

    /// Reads one message. Adds its faults to `faults` and returns `None` if it has any; an error means that it is not
    /// JSON.
    fn read(
        text: &'a str,
        index: Option<usize>,
        faults: &mut Faults,
    ) -> Result<Option<Self>, JsonError> {
        let mut note = |path: &[&str], fault, input| {
            faults.note(&FaultLocation { index, path }, fault, input);
        };
        let values = match MESSAGE.read(text) {
            Err(JsonError::NotObject) if index.is_some() || !is_missing(text) => {
                note(&[], &NO_OBJECT, text);
                return Ok(None);
            }
            values => values?,
        };
        let (mut read, mut is_good) = (None, true);
        for (at, value) in values.into_iter().enumerate() {
            let fault = match value {
                None => (at < MESSAGE.required).then_some((&MISSING, text)),
                Some(value) => fault_of(KINDS[at], value).map(|fault| (fault, value.text())),
            };
            match (fault, value) {
                (Some((fault, input)), _) => {
                    note(&[MESSAGE.names[at]], fault, input);
                    is_good = false;
                }
                (None, Some(object)) if KINDS[at] == FieldKind::Object => {
                    let data = Data::read(object.text())?;
                    match data.correlation() {
                        Ok(correlation) => read = Some((data, correlation)),
                        Err((bad, value)) => {
                            note(&["data", "correlation_id"], bad.fault(), value.text());
                            is_good = false;
                        }
                    }
                }
                _ => {}
            }
        }
        let [user, _, event_type, _, _] = values;
        let (Some(user), Some((data, correlation)), true) = (user, read, is_good) else {
            return Ok(None);
        };
        Ok(user.as_string().map(|name| Self {
            user: name,
            event_type: event_type.and_then(Raw::as_string),
            user_text: user.text(),
            data,
            correlation,
        }))
    }

    /// The first account mentioned in its text for which `is_public` holds: the recipient instead of the user.
    #[must_use]
    pub fn mention(&self, is_public: impl Fn(&str) -> bool) -> Option<&str> {
        first_mention(self.data.text.as_deref()?, is_public)
    }

    /// The correlation id that the service chose, if any. Answers repeat it.
    #[must_use]
    pub fn correlation(&self) -> Option<Correlation<'a>> {
        self.correlation.clone()
    }

    /// Appends the payload for clients (docs/bridge.md, "A message"): `data` with `original_sender`, `user_id` and
    /// `correlation_id` set by the gateway. All other fields are copied byte for byte.
    ///
    /// Cost: one copy; `out` grows once.
    pub fn put_frame(&self, out: &mut Vec<u8>, correlation: &Correlation<'_>) {
        self.data.put(out, self.user_text, correlation);
    }
}

/// Whether the body is empty or `null`.
fn is_missing(body: &str) -> bool {
    body.is_empty() || body.trim_matches(json::JSON_SPACE) == "null"
}

#[cfg(test)]
mod tests;
