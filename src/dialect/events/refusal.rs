//! Errors that refuse a client's message.

use std::borrow::Cow;

use crate::json::Raw;

/// Why a message is refused. The connection stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The request's `id`, unparsed.
    pub id: Option<String>,
    /// The error's code.
    pub code: &'static str,
    /// The error's text.
    pub message: Cow<'static, str>,
    /// Details for programs: a JSON object.
    pub details: Option<String>,
}

/// Bytes of a client's text that an error repeats.
const QUOTED_BYTES_MAX: usize = 128;

impl Refusal {
    /// A refusal with this code and text.
    pub fn new(
        id: Option<Raw<'_>>,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            id: id.map(|id| id.text().to_owned()),
            code,
            message: message.into(),
            details: None,
        }
    }

    /// This refusal with `details`, a JSON object.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self {
            details: Some(details.into()),
            ..self
        }
    }

    /// The limit of topics is reached. `id` is the request's, unparsed; empty if there is none.
    #[must_use]
    pub fn too_many_topics(id: &str) -> Self {
        Self {
            id: Some(id.to_owned()).filter(|id| !id.is_empty()),
            code: "TOPIC_LIMIT",
            message: "The gateway has as many topics as it may; try again later".into(),
            details: None,
        }
    }

    /// The memory limit of subscriptions is reached. `id` is the request's, unparsed.
    #[must_use]
    pub fn no_memory(id: Option<&str>) -> Self {
        Self {
            id: id.map(ToOwned::to_owned),
            code: "SUBSCRIPTION_LIMIT",
            message: "The gateway has no memory for more subscriptions; try again later, or use a pattern"
                .into(),
            details: None,
        }
    }

    /// A field of the message is missing or has the wrong type.
    pub fn invalid(id: Option<Raw<'_>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(id, "INVALID_MESSAGE", message)
    }

    /// An unknown `what`, with the name that the client used.
    #[must_use]
    pub fn unknown(id: Option<Raw<'_>>, code: &'static str, what: &str, name: &str) -> Self {
        let cut = name.floor_char_boundary(QUOTED_BYTES_MAX);
        let more = if cut < name.len() { ".." } else { "" };
        Self::new(id, code, format!("{what}: {}{more}", &name[..cut]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m14_an_error_repeats_no_more_than_128_bytes_of_a_name() {
        let message = |name: &str| Refusal::unknown(None, "X", "Unknown", name).message;
        assert_eq!(message("abc"), "Unknown: abc");
        assert_eq!(
            message(&"a".repeat(128)),
            format!("Unknown: {}", "a".repeat(128))
        );
        assert_eq!(
            message(&"é".repeat(500)),
            format!("Unknown: {}..", "é".repeat(64))
        );
    }
}
