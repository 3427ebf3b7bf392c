//! What a client says (docs/bridge.md, "A user's connection").

use crate::call::CallAnswer;
use crate::call::{BadCorrelation, Correlation};
use crate::json::{self, JsonError};

/// What a client's text message is.
#[derive(Debug)]
pub enum Inbound<'a> {
    /// An answer, if somebody waits for one with its correlation id.
    Answer(CallAnswer<'a>),
    /// Nothing that anybody waits for: not JSON, or without a correlation id.
    Ignored,
    /// JSON that is no answer and nothing else either; the client is told.
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
            Ok(None)
            | Err(BadCorrelation::Bool | BadCorrelation::TooLong | BadCorrelation::Surrogate) => {
                Self::Ignored
            }
        }
    }
}

#[cfg(test)]
mod tests;
