//! What the JSON object in a request's body has: one description, by which
//! bodies are read and documented.

use super::json::{self, JsonError, Raw};

/// An object of `N` fields. Others may be there; nobody looks at them.
#[derive(Debug)]
pub struct Object<const N: usize> {
    /// What the documentation calls it.
    pub name: &'static str,
    /// What it is: a sentence.
    pub doc: &'static str,
    /// Its fields, in the order in which [`Object::read`] gives their values.
    pub fields: [Field; N],
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Whether it has to be there.
    pub required: bool,
    /// Whether `null` stands for "not there".
    pub nullable: bool,
    /// What it means: a sentence or two.
    pub doc: &'static str,
    /// A value, as JSON.
    pub example: &'static str,
}

/// What a field's value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Any JSON value.
    Any,
    /// A string.
    String,
    /// An object.
    Object,
    /// A number.
    Number,
}

impl<const N: usize> Object<N> {
    /// The values of the fields of the object that `text` is. Of a repeated
    /// field the last one counts.
    ///
    /// Cost: that of [`json::fields`] and up to `N` comparisons for each field.
    ///
    /// # Errors
    /// As for [`json::fields`].
    pub fn read<'a>(&self, text: &'a str) -> Result<[Option<Raw<'a>>; N], JsonError> {
        let mut values = [None; N];
        json::fields(text, |key, value| {
            if let Some(at) = self.position(key) {
                let is_absent = self.fields[at].nullable && value.is_null();
                values[at] = Some(value).filter(|_| !is_absent);
            }
        })?;
        Ok(values)
    }

    /// Which of the fields has this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static POINT: Object<2> = Object {
        name: "Point",
        doc: "A place.",
        fields: [field("x", false), field("y", true)],
    };

    const fn field(name: &'static str, nullable: bool) -> Field {
        Field {
            name,
            kind: Kind::Number,
            required: true,
            nullable,
            doc: "How far.",
            example: "1",
        }
    }

    fn check(text: &str, expected: [Option<&str>; 2]) {
        let values = POINT.read(text).unwrap();
        assert_eq!(values.map(|value| value.map(Raw::text)), expected, "{text}");
    }

    #[test]
    fn values_come_in_the_order_of_the_description() {
        check("{}", [None, None]);
        check(
            r#"{"y":2,"z":3,"x":1,"\u0078":[1]}"#,
            [Some("[1]"), Some("2")],
        );
    }

    #[test]
    fn null_is_absence_only_where_the_description_says_so() {
        check(r#"{"x":null,"y":null}"#, [Some("null"), None]);
        check(r#"{"y":1,"y":null}"#, [None, None]);
    }
}
