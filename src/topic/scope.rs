//! Scopes: the topics that a section of the configuration is for. A text that ends in a separator is the beginning of
//! their names; any other is the name of one topic.

use super::Pattern;
use super::is_separator;

/// Whether `scope` is the beginning of names.
#[must_use]
pub fn is_prefix(scope: &str) -> bool {
    scope.bytes().next_back().is_some_and(is_separator)
}

/// Whether `topic` is in `scope`.
#[must_use]
pub fn has_topic(scope: &str, topic: &str) -> bool {
    match is_prefix(scope) {
        true => topic.starts_with(scope),
        false => topic == scope,
    }
}

/// Whether some topic that `pattern` matches may be in `scope`. For prefixes and patterns of bytes `true` may be wrong:
/// what follows the first wildcard is not looked at.
///
/// Cost: one pass over both texts.
#[must_use]
pub fn meets(scope: &str, pattern: &Pattern) -> bool {
    match is_prefix(scope) {
        true => pattern.may_begin_with(scope),
        false => pattern.matches(scope),
    }
}

/// Whether every topic that `pattern` matches is in `scope`; `false` may be wrong.
///
/// Cost: as [`meets`].
#[must_use]
pub fn has_all_of(scope: &str, pattern: &Pattern) -> bool {
    is_prefix(scope) && pattern.begins_with(scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_prefix_or_one_topic() {
        for (scope, topic, expected) in [
            ("chat.", "chat.a", true),
            ("chat.", "chat", false),
            ("chat:", "chat:a", true),
            ("chat", "chat", true),
            ("chat", "chat.a", false),
            ("chat", "chats", false),
            ("user:ann:", "user:ann:events", true),
            ("user:ann:events", "user:ann:events", true),
            ("user:ann:events", "user:ann:eventss", false),
        ] {
            assert_eq!(has_topic(scope, topic), expected, "{scope} {topic}");
        }
    }

    #[test]
    fn a_pattern_meets_a_scope_that_has_a_topic_of_it() {
        for (scope, pattern, meeting, within) in [
            ("chat.", "chat.*", true, true),
            ("chat.", "chat.a.*", true, true),
            ("chat.", "c*", true, false),
            ("chat.", "news.*", false, false),
            ("chat", "chat*", true, false),
            ("chat", "chat.*", false, false),
            ("chat.a", "chat.*", true, false),
            ("chat.a", "*.a", true, false),
            ("chat.a", "*.b", false, false),
            // No pattern matches an inbox.
            ("user:ann:events", "*", false, false),
        ] {
            let pattern = Pattern::segments(pattern).unwrap();
            assert_eq!(meets(scope, &pattern), meeting, "{scope} {pattern:?}");
            assert_eq!(has_all_of(scope, &pattern), within, "{scope} {pattern:?}");
        }
    }
}
