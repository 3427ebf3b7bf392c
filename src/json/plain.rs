//! The fast path for plain objects, which nearly all messages are: on one line, at most [`FIELDS_MAX`] fields, keys
//! without escapes. All other texts are left to the general parser, which also reports errors.

use super::{DEPTH_MAX, Raw};

/// The largest number of fields of a plain object.
const FIELDS_MAX: usize = 12;

/// The fields of one object, in their order.
#[derive(Default)]
pub(super) struct PlainFields<'a> {
    found: [(&'a str, &'a str); FIELDS_MAX],
    count: usize,
}

impl<'a> PlainFields<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, Raw<'a>)> {
        let found = self.found[..self.count].iter();
        found.map(|&(key, value)| (key, Raw(value)))
    }
}

/// Adds the fields of the object `text` to `fields`, which is empty; `None` if it is not a plain object.
///
/// Cost: one pass over bytes outside strings, two vectorised passes over those within; no allocation.
pub(super) fn find<'a>(fields: &mut PlainFields<'a>, text: &'a str) -> Option<()> {
    // Within strings they would be wrong, between tokens white space.
    let has_controls = text.bytes().fold(false, |has, byte| has | (byte < b' '));
    let mut cursor = Cursor { text, at: 0 };
    cursor.space();
    if has_controls || !cursor.take(b'{') {
        return None;
    }
    cursor.space();
    if !cursor.take(b'}') {
        loop {
            let key = cursor.key()?;
            let start = cursor.at;
            cursor.value()?;
            *fields.found.get_mut(fields.count)? = (key, &text[start..cursor.at]);
            fields.count += 1;
            cursor.space();
            if cursor.take(b'}') {
                break;
            }
            cursor.expect(b',')?;
            cursor.space();
        }
    }
    cursor.space();
    (cursor.at == text.len()).then_some(())
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over `byte`, if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    /// Passes over white space: other than spaces is not plain.
    fn space(&mut self) {
        while self.take(b' ') {}
    }

    /// A key without escapes and its colon.
    fn key(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        // Keys are short: calling for a vectorised search takes longer than the search.
        let rest = &self.text[self.at..];
        let key = &rest[..rest.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?];
        self.at += key.len();
        self.expect(b'"')?;
        self.space();
        self.expect(b':')?;
        self.space();
        Some(key)
    }

    fn string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', &self.text.as_bytes()[self.at..])?;
            if self.take(b'"') {
                return Some(());
            }
            self.at += 1;
            self.escape()?;
        }
    }

    /// What follows a backslash (RFC 8259, section 7). A surrogate may stand alone.
    fn escape(&mut self) -> Option<()> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += match rest {
            [b'u', digits @ ..] => {
                let digits = digits.first_chunk::<4>()?;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(5)?
            }
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 1,
            _ => return None,
        };
        Some(())
    }

    /// A value, and all that it holds.
    fn value(&mut self) -> Option<()> {
        // A bit for each array or object that is open in the object, the innermost last: set for
        // an object.
        let (mut open, mut depth) = (0_u64, 0);
        loop {
            let begins = self.peek()?;
            match begins {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    // Besides those around it there is the object itself.
                    if depth + 1 >= DEPTH_MAX {
                        return None;
                    }
                    self.at += 1;
                    self.space();
                    let is_object = begins == b'{';
                    if !self.take(if is_object { b'}' } else { b']' }) {
                        depth += 1;
                        open = open << 1 | u64::from(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => self.number()?,
            }
            // A value has ended, and with it perhaps those around it.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let is_object = open & 1 == 1;
                self.space();
                if self.take(b',') {
                    self.space();
                    if is_object {
                        self.key()?;
                    }
                    break;
                }
                self.expect(if is_object { b'}' } else { b']' })?;
                open >>= 1;
                depth -= 1;
            }
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text[self.at..]
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    /// A number (RFC 8259, section 6).
    fn number(&mut self) -> Option<()> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Some(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    fn fields(text: &str) -> Option<PlainFields<'_>> {
        let mut fields = PlainFields::default();
        find(&mut fields, text).map(|()| fields)
    }

    /// What a strict parser makes of an object's fields.
    fn strict(text: &str) -> Option<serde_json::Map<String, Value>> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn m01_depth_is_counted_as_the_other_parser_counts_it() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(fields(&nested(DEPTH_MAX - 1)).is_some());
        assert!(fields(&nested(DEPTH_MAX)).is_none());
    }

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        let many = (0..=FIELDS_MAX).map(|number| format!("\"{number}\":0"));
        let many = format!("{{{}}}", many.collect::<Vec<_>>().join(","));
        for text in [
            "[1]",
            "{\"a\":\n1}",
            r#"{"\u0061":1}"#,
            &many,
            "{\"a\":\"\t\"}",
        ] {
            assert!(fields(text).is_none(), "{text}");
        }
        assert_eq!(fields(" { } ").unwrap().iter().count(), 0);
    }

    proptest! {
        /// Nothing passes that a strict parser refuses, and nothing plain is refused that it takes.
        #[test]
        fn a_strict_parser_agrees(
            text in r#"\{ ?"a" ?: ?([\[\]{}:,"a01e.\-+ ]|"b"|true|false|null|1\.5e|\[\[|\{"c":|"\\n\\""|"\\u00e9"|"\\u12"|"\\x"|\\){0,16}\}"#,
        ) {
            let found = fields(&text);
            let expected = strict(&text);
            // Numbers beyond what a float holds are JSON all the same.
            let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            // An escape may stand in a key.
            prop_assert!(found.is_some() == is_json || found.is_none() && text.contains('\\'));
            if let (Some(found), Some(expected)) = (found, expected) {
                for (key, value) in found.iter() {
                    prop_assert!(expected.contains_key(key));
                    prop_assert!(serde_json::from_str::<IgnoredAny>(value.text()).is_ok());
                    prop_assert_eq!(value.text().trim(), value.text());
                }
                let last = found.iter().last().expect("it has a field");
                prop_assert_eq!(serde_json::from_str::<Value>(last.1.text()).ok(), expected.get(last.0).cloned());
            }
        }

        /// A document that a strict parser has written is read field by field.
        #[test]
        fn documents_are_cut_into_their_fields(
            keys in prop::collection::vec("[a-z\u{e9}\u{1f980} ]{0,6}", 0..6),
            number in any::<i64>(),
            text in "[a-z{}\\[\\],: \"\\\\\n/\u{e9}]{0,12}",
        ) {
            let value = serde_json::json!([{ "n": number, "s": text }, [], {}, null, true, -0.5, { "x": [[text]] }]);
            let object: serde_json::Map<_, _> = keys.iter().map(|key| (key.clone(), value.clone())).collect();
            let document = serde_json::to_string(&object).unwrap();
            let found = fields(&document).expect("it is plain");
            let again: serde_json::Map<_, _> = found
                .iter()
                .map(|(key, value)| (key.to_owned(), serde_json::from_str(value.text()).unwrap()))
                .collect();
            prop_assert_eq!(again, object);
        }
    }
}
