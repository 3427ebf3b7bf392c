//! Labels: how runs write the names of topics and patterns, so that one text says which it is.
//!
//! A label with a star is a pattern of segments, one behind `~` a pattern of bytes, and one behind `=` a topic, whose
//! name may look like any of these; every other label is a topic's name.

use crate::topic::{Matcher, Pattern};

/// Separates the fields of a line, and the parts of a list. No name contains a control character.
pub(super) const FIELD: char = '\u{1f}';
pub(super) const PART: char = '\u{1e}';

/// The label of a topic, or of a pattern with this matcher.
pub(super) fn label(name: &str, matcher: Option<Matcher>) -> String {
    match matcher {
        Some(Matcher::Segments) => name.to_owned(),
        Some(Matcher::Bytes) => format!("~{name}"),
        None if name.contains('*') || name.starts_with(['~', '=']) => format!("={name}"),
        None => name.to_owned(),
    }
}

/// The label of a pattern.
pub(super) fn label_of(pattern: &Pattern) -> String {
    label(pattern.as_str(), Some(pattern.matcher()))
}

/// The pattern with this label.
pub(super) fn pattern_of(label: &str) -> Option<Pattern> {
    match label.strip_prefix('~') {
        Some(glob) => Some(Pattern::bytes(glob).expect("it is one")),
        None if label.starts_with('=') || !label.contains('*') => None,
        None => Some(Pattern::segments(label).expect("it is one")),
    }
}

/// Whether a label is that of a pattern.
pub(super) fn is_pattern(label: &str) -> bool {
    pattern_of(label).is_some()
}

/// The name of the topic with this label.
pub(super) fn topic_of(label: &str) -> &str {
    label.strip_prefix('=').unwrap_or(label)
}
