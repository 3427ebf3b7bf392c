//! What a service pushes (docs/bridge.md, "A message").

use std::borrow::Cow;

use super::data::{DATA, Data};
use super::invalid::{FaultLocation, Faults, Invalid, MISSING, NO_OBJECT, fault_of};
use super::mention::first_mention;
use crate::call::Correlation;
use crate::http::schema::{Field, Kind, Object};
use crate::json::{self, JsonError, Raw};

/// The body of a push, and each element of a batch.
pub static MESSAGE: Object<5> = Object {
    name: "SSEMessage",
    doc: "A message for a user.",
    fields: [
        Field::required(
            "user_id",
            Kind::String,
            r#""alice""#,
            "Who it is for. A mention of a public account in `data` sends it there instead.",
        ),
        Field::required(
            "data",
            Kind::Of(&DATA),
            r#"{"type":"question","message":"Deploy to production?"}"#,
            "What the user is sent.",
        ),
        Field::optional(
            "event_type",
            Kind::String,
            r#""question""#,
            "What the event is called for the user's connections of the events protocol; `message` \
             if it is not there.",
        )
        .nullable(),
        Field::optional("event_id", Kind::String, r#""42""#, "Taken and not used.").nullable(),
        Field::optional(
            "timestamp",
            Kind::Number,
            "1763712871.5",
            "Taken and not used: the user is told `data.timestamp`.",
        )
        .nullable(),
    ],
};

/// A message that a service pushes. It borrows the request's body.
#[derive(Debug)]
pub struct Push<'a> {
    /// Who it is for, unless it mentions a public account.
    pub user: Cow<'a, str>,
    /// What other protocols call it.
    pub event_type: Option<Cow<'a, str>>,
    /// The user as a JSON string, as it was written.
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
    /// What to answer with: everything that is wrong with the body.
    pub fn parse(body: &'a str) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        match Self::read(body, None, &mut faults) {
            Ok(Some(push)) => Ok(push),
            Ok(None) => Err(faults.into()),
            Err(_) if is_missing(body) => Err(Invalid::missing_body()),
            Err(_) => Err(Invalid::no_json(body)),
        }
    }

    /// Reads the body of a batch: an array. If one element is wrong, none counts.
    ///
    /// Cost: as for [`Push::parse`], and one more pass over the body.
    ///
    /// # Errors
    /// What to answer with: what is wrong, up to [`DETAILS_MAX`](super::DETAILS_MAX) faults.
    pub fn parse_batch(body: &'a str) -> Result<Vec<Self>, Invalid> {
        let (mut pushes, mut faults) = (Vec::new(), Faults::default());
        let (mut index, mut is_json) = (0, true);
        let read = json::each_item(body, usize::MAX, |item| {
            // Of what is wrong enough has been said.
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
            // Whether it is JSON at all has not been looked at.
            Err(JsonError::NotArray) if json::fields(body, |_, _| ()) != Err(JsonError::Syntax) => {
                Err(Invalid::no_list(body))
            }
            _ => Err(Invalid::no_json(body)),
        }
    }

    /// Reads one message; notes what is wrong with it and gives `None`, or says
    /// that it is not JSON at all.
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
        for (field, value) in MESSAGE.fields.iter().zip(values) {
            let fault = match value {
                None => field.is_required().then_some((&MISSING, text)),
                Some(value) => fault_of(field.kind, value).map(|fault| (fault, value.text())),
            };
            match (fault, value) {
                (Some((fault, input)), _) => {
                    note(&[field.name], fault, input);
                    is_good = false;
                }
                (None, Some(object)) if field.name == "data" => {
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

    /// The first account that its text mentions and `is_public` says yes to: it
    /// is for that one then, and not for the user.
    #[must_use]
    pub fn mention(&self, is_public: impl Fn(&str) -> bool) -> Option<&str> {
        first_mention(self.data.text.as_deref()?, is_public)
    }

    /// What answers to it are to repeat, if the service says.
    #[must_use]
    pub fn correlation(&self) -> Option<Correlation<'a>> {
        self.correlation.clone()
    }

    /// Appends what the client is sent (docs/bridge.md, "A message"): `data` with
    /// `original_sender`, `user_id` and `correlation_id` as the gateway sets them.
    /// Every other field is passed on byte for byte.
    ///
    /// Cost: the copies; `out` grows once.
    pub fn put_frame(&self, out: &mut Vec<u8>, correlation: &Correlation<'_>) {
        self.data.put(out, self.user_text, correlation);
    }
}

/// Whether there is no body, or one that says so.
fn is_missing(body: &str) -> bool {
    body.is_empty() || body.trim_matches(json::JSON_SPACE) == "null"
}

#[cfg(test)]
mod tests;
