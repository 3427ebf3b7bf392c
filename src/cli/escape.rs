//! Foreign text made harmless for terminals and line-based logs.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with every control character as `\u{..}`, so that it can neither start a line of its
/// own nor drive a terminal. Borrows when there is none.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    escaped_as(text, |safe, c| write!(safe, "\\u{{{:x}}}", u32::from(c)))
}

/// As [`escaped`], for a JSON document, whose strings alone may have such characters: as JSON spells them (RFC 8259
/// section 7).
pub(super) fn escaped_json(text: &str) -> Cow<'_, str> {
    escaped_as(text, |safe, c| write!(safe, "\\u{:04x}", u32::from(c)))
}

fn escaped_as(text: &str, spell: impl Fn(&mut String, char) -> std::fmt::Result) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            // A `String` takes all that is written.
            let _ = spell(&mut safe, c);
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Control characters, and those that turn the direction of text or break lines.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(escaped(text), expected);
    }

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(escaped("grüße, 世界 {\"a\":1}"), Cow::Borrowed(_)));
    }

    #[test]
    fn control_characters_are_spelled_out() {
        check("a\nb", "a\\u{a}b");
        check("\x1b[2J", "\\u{1b}[2J");
        check("\u{9b}31m\r\0\x7f", "\\u{9b}31m\\u{d}\\u{0}\\u{7f}");
        check("\u{202e}txt\u{2028}", "\\u{202e}txt\\u{2028}");
    }

    #[test]
    fn json_stays_json() {
        let text = "\u{85}\u{2028}\u{202e}\u{7f}";
        let json = escaped_json(&format!("{{\"a\":\"{text}\"}}")).into_owned();
        assert_eq!(json, r#"{"a":"\u0085\u2028\u202e\u007f"}"#);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["a"], text);
    }
}
