//! Lazy JSON parsing: a message's routing fields are read; the rest is validated and passed on byte for byte.

use std::borrow::Cow;

use sonic_rs::LazyValue;

mod fields;
mod plain;
mod rest;

pub use fields::Fields;
pub use rest::{Rest, without};

/// How deep arrays and objects may nest in a message (hostile-inputs.md M01). The parser
/// underneath recurses, so this also bounds its stack.
pub const DEPTH_MAX: usize = 64;

/// Why a text is not the expected JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or nested deeper than [`DEPTH_MAX`].
    #[error("not valid JSON")]
    Syntax,
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotObject,
    /// Not an array; it may not be JSON at all.
    #[error("not a JSON array")]
    NotArray,
}

/// The unparsed text of a JSON value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// The text of the value.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0
    }

    /// The value of a string, escapes resolved; `None` for anything else and
    /// for half a surrogate pair.
    #[must_use]
    pub fn as_string(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            return Some(Cow::Borrowed(inner));
        }
        sonic_rs::from_str::<String>(self.0).ok().map(Cow::Owned)
    }

    /// The value of a string, escapes resolved and U+FFFD for what is half a
    /// surrogate pair; `None` for anything else.
    #[must_use]
    pub fn as_lossy_string(self) -> Option<Cow<'a, str>> {
        self.as_string().or_else(|| {
            let is_string = self.0.starts_with('"');
            let mut reader = sonic_rs::Deserializer::from_str(self.0).utf8_lossy();
            let text = is_string.then(|| serde::Deserialize::deserialize(&mut reader));
            text?.ok().map(Cow::Owned)
        })
    }

    /// The values of an array of strings; `None` for anything else.
    #[must_use]
    pub fn as_strings(self) -> Option<Vec<Cow<'a, str>>> {
        if !self.0.starts_with('[') {
            return None;
        }
        sonic_rs::to_array_iter(self.0)
            .map(|item| raw_in(self.0, &item.ok()?)?.as_string())
            .collect()
    }

    /// The value of a whole number that is not negative, written as a number or
    /// as a string of its digits.
    #[must_use]
    pub fn as_count(self) -> Option<u64> {
        let digits = self
            .0
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let digits = digits.unwrap_or(self.0);
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    }

    /// A string or a number as a key that is compared by its text: a number as it is written, a string in quotes and with
    /// its escapes resolved, so that however it was spelled it is one key, and never a number's. `None` for anything else,
    /// and where the string or number has more than `bytes_max` bytes.
    #[must_use]
    pub fn as_key(self, bytes_max: usize) -> Option<Cow<'a, str>> {
        // An escape has six bytes at most, and stands for one at least. Nothing longer is copied.
        if self.0.len() > 6 * bytes_max + 2 {
            return None;
        }
        let (key, bytes) = match self.as_string() {
            Some(Cow::Owned(text)) => (Cow::Owned(format!("\"{text}\"")), text.len()),
            Some(Cow::Borrowed(text)) => (Cow::Borrowed(self.0), text.len()),
            None if self.is_number() => (Cow::Borrowed(self.0), self.0.len()),
            None => return None,
        };
        (bytes <= bytes_max).then_some(key)
    }

    /// Whether the value is a string or a number.
    #[must_use]
    pub fn is_scalar_id(self) -> bool {
        matches!(self.0.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'))
    }

    /// Whether the value is a string.
    #[must_use]
    pub fn is_string(self) -> bool {
        self.0.starts_with('"')
    }

    /// Whether the value is a number.
    #[must_use]
    pub fn is_number(self) -> bool {
        self.is_scalar_id() && !self.is_string()
    }

    /// Whether the value is `true` or `false`.
    #[must_use]
    pub fn is_bool(self) -> bool {
        matches!(self.0, "true" | "false")
    }

    /// Whether the value is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether the value is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }
}

/// Calls `each` with every field of the object that `text` is. The whole text
/// is checked; fields seen before an error have been reported by then.
///
/// Cost: one pass over the text; an allocation for each key with an escape.
///
/// # Errors
/// The text is not JSON, nests too deep, or is not an object.
pub fn fields<'a>(text: &'a str, mut each: impl FnMut(&str, Raw<'a>)) -> Result<(), JsonError> {
    let mut plain = plain::PlainFields::default();
    if plain::find(&mut plain, text).is_some() {
        plain.iter().for_each(|(key, value)| each(key, value));
        return Ok(());
    }
    any_fields(text, each)
}

/// As [`fields`], by the general parser.
fn any_fields<'a>(text: &'a str, mut each: impl FnMut(&str, Raw<'a>)) -> Result<(), JsonError> {
    if nests_deeper_than(text.as_bytes(), DEPTH_MAX) || has_bad_escape(text.as_bytes()) {
        return Err(JsonError::Syntax);
    }
    let body = text.trim_start_matches(JSON_SPACE);
    if !body.starts_with('{') {
        let valid = sonic_rs::from_str::<sonic_rs::Value>(text).is_ok();
        return Err(if valid {
            JsonError::NotObject
        } else {
            JsonError::Syntax
        });
    }
    let mut rest = &body[1..];
    for field in sonic_rs::to_object_iter(body) {
        let (key, value) = field.map_err(|_| JsonError::Syntax)?;
        let value = raw_in(text, &value).ok_or(JsonError::Syntax)?;
        rest = &text[end_in(text, value.0)..];
        each(&key, value);
    }
    // The iterator ends at the closing brace and does not check the text after it.
    let behind = rest.trim_start_matches(JSON_SPACE).strip_prefix('}');
    match behind.map(|behind| behind.trim_start_matches(JSON_SPACE)) {
        Some("") => Ok(()),
        _ => Err(JsonError::Syntax),
    }
}

/// The first `items_max` items of the array that `text` is.
///
/// # Errors
/// The text is not JSON, nests too deep, or is not an array. The text after the last item requested is not checked.
pub fn items(text: &str, items_max: usize) -> Result<Vec<Raw<'_>>, JsonError> {
    let mut items = Vec::new();
    each_item(text, items_max, |item| items.push(item))?;
    Ok(items)
}

/// Calls `each` with the first `items_max` items of the array that `text` is.
///
/// # Errors
/// As for [`items`]; items seen before an error have been reported by then.
pub fn each_item<'a>(
    text: &'a str,
    items_max: usize,
    mut each: impl FnMut(Raw<'a>),
) -> Result<(), JsonError> {
    if nests_deeper_than(text.as_bytes(), DEPTH_MAX) || has_bad_escape(text.as_bytes()) {
        return Err(JsonError::Syntax);
    }
    let body = text.trim_matches(JSON_SPACE);
    let inner = body
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if inner
        .ok_or(JsonError::NotArray)?
        .trim_matches(JSON_SPACE)
        .is_empty()
    {
        return Ok(());
    }
    let (mut end, mut count) = (0, 0);
    for item in sonic_rs::to_array_iter(body).take(items_max) {
        let item = raw_in(text, &item.map_err(|_| JsonError::Syntax)?).ok_or(JsonError::Syntax)?;
        (end, count) = (end_in(text, item.0), count + 1);
        each(item);
    }
    let is_last = text[end..].trim_matches(JSON_SPACE) == "]";
    if is_last || count == items_max {
        Ok(())
    } else {
        Err(JsonError::Syntax)
    }
}

/// Appends `text` as a JSON string.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string can always be written to memory");
}

/// White space between tokens.
pub const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The part of `text` that a value of it covers.
fn raw_in<'a>(text: &'a str, value: &LazyValue<'_>) -> Option<Raw<'a>> {
    let raw = value.as_raw_str();
    let start = (raw.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    text.get(start..start + raw.len()).map(Raw)
}

/// Where `part`, which lies in `text`, ends in it.
fn end_in(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize + part.len()
}

/// Whether a `\u` is not followed by four hexadecimal digits. The parser does not check this in values that it skips,
/// and such a value would break every subscriber's parser. Backslashes outside strings are found by the parser.
///
/// Cost: a vectorised search for the first backslash.
fn has_bad_escape(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (escape, behind) = match &rest[at + 1..] {
            [b'u', behind @ ..] => behind.split_at(behind.len().min(4)),
            [_, behind @ ..] => (&b"0000"[..], behind),
            [] => return true,
        };
        if escape.len() < 4 || !escape.iter().all(u8::is_ascii_hexdigit) {
            return true;
        }
        rest = behind;
    }
    false
}

/// Whether brackets outside strings nest deeper than `depth_max`.
///
/// Cost: next to nothing for a text with few brackets, else one pass.
fn nests_deeper_than(text: &[u8], depth_max: usize) -> bool {
    if memchr::memchr2_iter(b'[', b'{', text)
        .take(depth_max + 1)
        .count()
        <= depth_max
    {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_fields(text: &str, expected: Result<&[(&str, &str)], JsonError>) {
        let mut seen = Vec::new();
        let outcome = fields(text, |key, value| seen.push((key.to_owned(), value.text())));
        match expected {
            Ok(expected) => {
                assert_eq!(outcome, Ok(()), "{text:?}");
                let seen: Vec<_> = seen.iter().map(|(key, value)| (&**key, *value)).collect();
                assert_eq!(seen, expected, "{text:?}");
            }
            Err(error) => assert_eq!(outcome, Err(error), "{text:?}"),
        }
    }

    #[test]
    fn fields_are_given_as_they_were_written() {
        check_fields("{}", Ok(&[]));
        check_fields(
            " { \"a\" : 1.50 , \"b\":[ 1, {} ] } \n",
            Ok(&[("a", "1.50"), ("b", "[ 1, {} ]")]),
        );
        check_fields(r#"{"a":"\\u12\\"}"#, Ok(&[("a", r#""\\u12\\""#)]));
        check_fields(r#"{"\u0061":"\u0062"}"#, Ok(&[("a", r#""\u0062""#)]));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in ["[1]", "5", "null", "\"s\"", " [] "] {
            check_fields(text, Err(JsonError::NotObject));
        }
        for text in [
            "",
            "{",
            "}",
            "{}x",
            "{} {}",
            "{\"a\":1} x",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":tru}",
            "{\"a\":[1,]}",
            "{\"a\" 1}",
            "{\"a\":\"\n\"}",
            r#"{"a":"\u12g4"}"#,
            r#"{"a":"\u12"}"#,
            r#"{"a":"\\\u12"}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\"#,
            r#"{"a":"\u"#,
            "{\"a\":nullx}",
            "{a:1}",
            "[1",
            "{\"a\":1}}",
        ] {
            check_fields(text, Err(JsonError::Syntax));
        }
    }

    #[test]
    fn m01_depth_is_bounded_before_anything_recurses() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let legal = nested(DEPTH_MAX - 1);
        check_fields(&legal, Ok(&[("a", &legal[5..legal.len() - 1])]));
        check_fields(&nested(DEPTH_MAX), Err(JsonError::Syntax));
        check_fields(&nested(1_000_000), Err(JsonError::Syntax));
        check_fields(&"[".repeat(1_000_000), Err(JsonError::Syntax));
        assert_eq!(items(&nested(1_000_000)[5..], 9), Err(JsonError::Syntax));
        assert_eq!(
            items(&format!("[{}]", "[".repeat(1_000_000)), 9),
            Err(JsonError::Syntax)
        );
        let many = format!("{{\"a\":[{}0]}}", "[],".repeat(100));
        check_fields(&many, Ok(&[("a", &many[5..many.len() - 1])]));
        let quoted = format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(100));
        check_fields(&quoted, Ok(&[("a", &quoted[5..quoted.len() - 1])]));
    }

    #[test]
    fn arrays_are_cut_into_their_items() {
        let texts = |text: &'static str| {
            items(text, 3).map(|items| items.into_iter().map(Raw::text).collect::<Vec<_>>())
        };
        assert_eq!(texts(" [ ] "), Ok(vec![]));
        assert_eq!(
            texts(r#"[1, {"a":[2]} ,"x"]"#),
            Ok(vec!["1", r#"{"a":[2]}"#, "\"x\""])
        );
        assert_eq!(texts("[1,2,3,4]"), Ok(vec!["1", "2", "3"]));
        for bad in ["[1,]", "[1 2]", "[1]]", "[1]x]", "[,]", "[1,,2]"] {
            assert_eq!(texts(bad), Err(JsonError::Syntax), "{bad}");
        }
        for bad in ["", "{}", "1", "[1", "1]"] {
            assert_eq!(texts(bad), Err(JsonError::NotArray), "{bad}");
        }
    }

    #[test]
    fn strings_are_resolved() {
        let string = |text: &'static str| Raw(text).as_string();
        assert_eq!(string(r#""plain""#).as_deref(), Some("plain"));
        assert_eq!(string(r#""a\u00e9\n""#).as_deref(), Some("aé\n"));
        assert_eq!(string("5"), None);
        assert_eq!(string(r#""\ud800""#), None);
        let strings = |text: &'static str| Raw(text).as_strings();
        assert_eq!(strings(r#"["a", "b"]"#).unwrap(), ["a", "b"]);
        assert_eq!(strings("[]").unwrap(), Vec::<String>::new());
        assert_eq!(strings(r#"["a", 1]"#), None);
        assert_eq!(strings(r#""a""#), None);
    }

    #[test]
    fn a_key_is_one_however_it_is_spelled() {
        let key = |text: &'static str| Raw(text).as_key(3);
        assert_eq!(key(r#""é""#).as_deref(), Some("\"é\""));
        assert_eq!(key(r#""\u00e9""#), key(r#""é""#));
        assert_eq!(key("7").as_deref(), Some("7"));
        assert_eq!(key(r#""7""#).as_deref(), Some(r#""7""#));
        assert_eq!(key(r#""\u0061bc""#).as_deref(), Some(r#""abc""#));
        for none in [
            "null",
            "true",
            "[1]",
            "{}",
            r#""\ud800""#,
            "1.25",
            r#""abcd""#,
            r#""éé""#,
        ] {
            assert_eq!(key(none), None, "{none}");
        }
    }

    proptest! {
        /// What is read in one pass, the parser underneath reads the same.
        #[test]
        fn both_ways_lead_to_the_same_fields(
            text in r#"\{"a" ?:([\[\]{}:, 0e]|"b"|null|-1\.5|"c":|,"d":|"\\n\\""|"\\ud83e"|"\\u12"|\\|\n){0,12}\}"#,
        ) {
            let mut plain = plain::PlainFields::default();
            if plain::find(&mut plain, &text).is_some() {
                let mut seen = Vec::new();
                let outcome = any_fields(&text, |key, value| seen.push((key.to_owned(), value)));
                prop_assert_eq!(outcome, Ok(()));
                let plain: Vec<_> = plain.iter().map(|(key, value)| (key.to_owned(), value)).collect();
                prop_assert_eq!(plain, seen);
            }
        }

        /// A strict parser agrees on what is an object and what is not.
        #[test]
        fn a_strict_parser_agrees(text in r#"[\[\]{}:,"a01\\e\.\- ntrufls\n]{0,24}"#) {
            let strict = serde_json::from_str::<serde_json::Value>(&text);
            match fields(&text, |_, _| ()) {
                Ok(()) => prop_assert!(strict.is_ok_and(|value| value.is_object())),
                Err(JsonError::NotObject) => prop_assert!(strict.is_ok_and(|value| !value.is_object())),
                // Numbers beyond what a float holds are JSON all the same.
                Err(JsonError::Syntax) => prop_assert!(strict.is_err()),
                Err(JsonError::NotArray) => prop_assert!(false),
            }
        }
    }
}
