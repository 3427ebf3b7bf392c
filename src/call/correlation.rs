//! The correlation id, which an answer and its question have in common.

use std::borrow::Cow;

use uuid::Uuid;

use crate::json::Raw;

/// How long a correlation id may be, in bytes of JSON text. Callers keep it for
/// as long as they wait for answers.
pub const CORRELATION_BYTES_MAX: usize = 1024;

/// A correlation id: a JSON string or number.
#[derive(Clone, Debug)]
pub struct Correlation<'a> {
    text: Cow<'a, str>,
}

/// Why a value is no correlation id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadCorrelation {
    /// An array or an object.
    Container,
    /// `true` or `false`.
    Bool,
    /// Longer than [`CORRELATION_BYTES_MAX`].
    TooLong,
    /// A string with a lone surrogate, which cannot be compared.
    Surrogate,
}

impl<'a> Correlation<'a> {
    /// A new, unique one: a random UUID (RFC 9562 section 5.4).
    #[must_use]
    pub fn generate() -> Self {
        let mut text = String::with_capacity(38);
        text.push('"');
        text.push_str(
            Uuid::new_v4()
                .hyphenated()
                .encode_lower(&mut Uuid::encode_buffer()),
        );
        text.push('"');
        Self { text: text.into() }
    }

    /// The `id` of a message, the text of a JSON string or number; none if it is empty, or too long.
    #[must_use]
    pub fn of_id(text: &'a str) -> Option<Self> {
        let is_one = !text.is_empty() && text.len() <= CORRELATION_BYTES_MAX;
        is_one.then(|| Self { text: text.into() })
    }

    /// The correlation id that a field's value is; none if it is `null` or empty.
    pub fn read(value: Raw<'a>) -> Result<Option<Self>, BadCorrelation> {
        if value.is_null() || value.text() == "\"\"" {
            return Ok(None);
        }
        if value.is_bool() {
            return Err(BadCorrelation::Bool);
        }
        if !value.is_scalar_id() {
            return Err(BadCorrelation::Container);
        }
        if value.text().len() > CORRELATION_BYTES_MAX {
            return Err(BadCorrelation::TooLong);
        }
        if value.is_string() && value.as_string().is_none() {
            return Err(BadCorrelation::Surrogate);
        }
        let text = value.text().into();
        Ok(Some(Self { text }))
    }

    /// Its JSON text, as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The key for comparison: equal for equal JSON values in any notation, and never equal for a string and a number.
    ///
    /// Cost: nothing for a string without escapes and for a whole number.
    #[must_use]
    pub fn key(&self) -> Cow<'_, str> {
        let text = &*self.text;
        match text.strip_prefix('"') {
            Some(_) if !text.contains('\\') => text.into(),
            Some(_) => {
                let value: String =
                    serde_json::from_str(text).expect("it was looked at when it was read");
                format!("\"{value}\"").into()
            }
            None if text == "-0" => "0".into(),
            None if is_whole(text) => text.into(),
            // A client that repeats a number with a point or an exponent has parsed it as a 64-bit float, so it is
            // compared as one. Its text without exponent equals that of the same whole number, if there is one.
            None => match text.parse::<f64>() {
                Ok(0.0) => "0".into(),
                Ok(value) if value.is_finite() => value.to_string().into(),
                _ => text.into(),
            },
        }
    }

    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Correlation<'static> {
        Correlation {
            text: self.text.into_owned().into(),
        }
    }
}

/// Whether a number's text has digits only.
fn is_whole(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Option<Correlation<'_>>, BadCorrelation> {
        let items = json::items(text, 9).unwrap();
        Correlation::read(items[0])
    }

    fn check(text: &str, expected: Result<Option<&str>, BadCorrelation>) {
        let text = format!("[{text}]");
        let read = read(&text);
        let key = read.map(|id| id.map(|id| id.key().into_owned()));
        assert_eq!(
            key.as_ref().map(Option::as_deref).map_err(|bad| *bad),
            expected,
            "{text}"
        );
    }

    #[test]
    fn equal_values_have_one_key_however_they_are_written() {
        for one in ["1", "1.0", "1e0", "10E-1", "0.1e+1"] {
            check(one, Ok(Some("1")));
        }
        for zero in ["0", "-0", "0.0", "-0e5", "0e-999"] {
            check(zero, Ok(Some("0")));
        }
        check("-12.50", Ok(Some("-12.5")));
        check("1e21", Ok(Some("1000000000000000000000")));
        check("18446744073709551617", Ok(Some("18446744073709551617")));
        check("0.1000000000000000055", Ok(Some("0.1")));
        check("1e400", Ok(Some("1e400")));
        check(r#""a\"b""#, Ok(Some(r#""a"b""#)));
        check(r#""\u0061""#, Ok(Some(r#""a""#)));
    }

    #[test]
    fn a_string_is_never_a_number() {
        check("1", Ok(Some("1")));
        check("\"1\"", Ok(Some("\"1\"")));
    }

    #[test]
    fn null_and_empty_are_none() {
        check("null", Ok(None));
        check("\"\"", Ok(None));
        check("\" \"", Ok(Some("\" \"")));
        check("\"null\"", Ok(Some("\"null\"")));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        check("{}", Err(BadCorrelation::Container));
        check("[1]", Err(BadCorrelation::Container));
        check("true", Err(BadCorrelation::Bool));
        check(r#""\ud800""#, Err(BadCorrelation::Surrogate));
        let long = |bytes: usize| format!("\"{}\"", "a".repeat(bytes - 2));
        check(&long(1025), Err(BadCorrelation::TooLong));
        check(&long(1024), Ok(Some(&long(1024))));
        check(&"1".repeat(1025), Err(BadCorrelation::TooLong));
    }

    #[test]
    fn generated_ones_are_uuids_and_differ() {
        let [a, b] = [Correlation::generate(), Correlation::generate()];
        assert_ne!(a.key(), b.key());
        let uuid: Uuid = a.text().trim_matches('"').parse().unwrap();
        assert_eq!((a.text().len(), uuid.get_version_num()), (38, 4));
    }

    proptest! {
        #[test]
        fn strings_are_equal_as_a_strict_parser_says(
            [a, b] in prop::array::uniform2(r#"([a"/\n]|\\u006[12]|\\"|\\/|\\n){0,3}"#),
        ) {
            let texts = [a, b].map(|text| format!("[\"{}\"]", text.replace('\n', "").replace("\"\"", "")));
            let values = texts.each_ref().map(|text| serde_json::from_str::<Vec<String>>(text));
            let [Ok(x), Ok(y)] = &values else { return Ok(()) };
            let [p, q] = texts.each_ref().map(|text| read(text).unwrap());
            let keys = [&p, &q].map(|id| id.as_ref().map(Correlation::key));
            prop_assert_eq!(x == y, keys[0] == keys[1]);
        }

        #[test]
        fn numbers_are_equal_whatever_their_exponent(a in 1..99_i32, sign in prop::sample::select(vec![1, -1]), zeros in 0..9_usize, shift in -9..9_i32) {
            let a = sign * a;
            let plain = format!("[{a}]");
            let scaled = format!("[{a}{}e{}]", "0".repeat(zeros), -i32::try_from(zeros).unwrap());
            let other = format!("[{a}e{shift}]");
            let key = |text: &str| read(text).unwrap().unwrap().key().into_owned();
            prop_assert_eq!(key(&plain), key(&scaled));
            prop_assert_eq!(key(&plain) == key(&other), shift == 0);
        }
    }
}
