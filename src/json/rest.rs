//! A JSON object without some of its fields.

use super::{JSON_SPACE, JsonError, Raw, end_in, fields};

/// The remaining fields of an object, unparsed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rest<'a> {
    /// Fields that stand together in the object's text; most objects need no
    /// more than this. Empty if no field is left.
    first: &'a str,
    more: Vec<&'a str>,
}

impl<'a> Rest<'a> {
    /// Appends an opening brace and the fields, each with a comma behind it: at
    /// least one field must follow, then the closing brace.
    pub fn put_open(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for run in [self.first].iter().chain(&self.more) {
            if !run.is_empty() {
                out.extend_from_slice(run.as_bytes());
                out.push(b',');
            }
        }
    }

    /// How many bytes the fields have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.first.len() + self.more.iter().map(|run| run.len() + 1).sum::<usize>()
    }

    /// Adds fields whose text begins behind the brace or value before them.
    fn push(&mut self, run: &'a str) {
        // What separates them from it: the opening brace or a comma.
        let fields = run.trim_start_matches(JSON_SPACE)[1..].trim_start_matches(JSON_SPACE);
        if self.first.is_empty() {
            self.first = fields;
        } else {
            self.more.push(fields);
        }
    }
}

/// What is left of the object that `text` is without the fields that `is_dropped`
/// says. It is asked for every field.
///
/// Cost: that of [`fields`]; an allocation only if a field is dropped from
/// between others.
///
/// # Errors
/// As for [`fields`].
pub fn without<'a>(
    text: &'a str,
    mut is_dropped: impl FnMut(&str, Raw<'a>) -> bool,
) -> Result<Rest<'a>, JsonError> {
    let mut rest = Rest::default();
    // Where the run that is being read begins, and where the last field ends.
    let (mut start, mut end) = (None, 0);
    fields(text, |key, value| {
        if !is_dropped(key, value) {
            start.get_or_insert(end);
        } else if let Some(start) = start.take() {
            rest.push(&text[start..end]);
        }
        end = end_in(text, value.text());
    })?;
    if let Some(start) = start {
        rest.push(&text[start..end]);
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn check(text: &str, expected: &str) {
        let rest = without(text, |key, _| key == "x").unwrap();
        let mut out = Vec::new();
        rest.put_open(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
    }

    #[test]
    fn the_fields_that_are_left_keep_their_text() {
        check("{}", "{");
        check(r#" { "a" : 1.0 ,"b":2 } "#, r#"{"a" : 1.0 ,"b":2,"#);
        check(r#"{"x":1}"#, "{");
        check(r#"{"x":1,"x":{"x":2}}"#, "{");
        check(r#"{"x":1, "a":1}"#, r#"{"a":1,"#);
        check(r#"{"a":1 , "x":1}"#, r#"{"a":1,"#);
        check(
            r#"{"a":1,"x":1,"b":2,"\u0078":1,"c":3}"#,
            r#"{"a":1,"b":2,"c":3,"#,
        );
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_a_map_without_the_fields_has(
            fields in prop::collection::vec(("[xyz]", 0..9_u8, " {0,2}"), 0..9),
        ) {
            let fields: Vec<_> = fields.iter().map(|(key, value, space)| format!(r#"{space}"{key}"{space}:{value}{space}"#)).collect();
            let text = format!("{{{}}}", fields.join(","));
            let mut expected: Value = serde_json::from_str(&text).unwrap();
            expected.as_object_mut().unwrap().remove("x");
            let mut out = Vec::new();
            without(&text, |key, _| key == "x").unwrap().put_open(&mut out);
            out.extend_from_slice(br#""z":"last"}"#);
            expected["z"] = "last".into();
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        }
    }
}
