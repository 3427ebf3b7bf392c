//! Messages of clients (docs/bridge.md, "A user's connection").

use crate::call::CallAnswer;
use crate::call::{BadCorrelation, Correlation};
use crate::json::{self, JsonError, Raw};

/// A client's text message.
#[derive(Debug)]
pub enum Inbound<'a> {
    /// An answer to the call with its correlation id, if one is open.
    Answer(CallAnswer<'a>),
    /// An object without a correlation id: for the application, or ignored.
    Message {
        /// Its `type`.
        kind: Option<Raw<'a>>,
    },
    /// Not JSON, or with a correlation id that is not valid: ignored.
    Ignored,
    /// JSON that is not an object, or whose correlation id is an array or object: answered with an error.
    Broken,
}

impl<'a> Inbound<'a> {
    /// Reads a message.
    ///
    /// Cost: one pass over it.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let (mut correlation, mut kind, mut is_final) = (None, None, None);
        let read = json::without(text, |key, value| {
            match key {
                "correlation_id" => correlation = Some(value),
                "type" => kind = Some(value),
                "is_final" => {
                    is_final = Some(value);
                    return true;
                }
                _ => {}
            }
            false
        });
        let rest = match read {
            Ok(rest) => rest,
            Err(JsonError::Syntax) => return Self::Ignored,
            Err(JsonError::NotObject | JsonError::NotArray) => return Self::Broken,
        };
        match correlation.map_or(Ok(None), Correlation::read) {
            Ok(Some(correlation)) => {
                Self::Answer(CallAnswer::own(text, correlation, kind, is_final, rest))
            }
            Err(BadCorrelation::Container) => Self::Broken,
            Ok(None) => Self::Message { kind },
            Err(BadCorrelation::Bool | BadCorrelation::TooLong | BadCorrelation::Surrogate) => {
                Self::Ignored
            }
        }
    }
}

#[cfg(test)]
mod tests;
