//! Names of identities.

/// Whether `text` is a valid name: 1 to 128 bytes without control characters.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_LEN_MAX && !text.chars().any(char::is_control)
}

/// Bytes of a name. Names of users become parts of topic names and log lines.
const NAME_LEN_MAX: usize = 128;
