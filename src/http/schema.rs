//! Schemas of JSON objects: bodies are read by them, and the documentation is generated from them.

use std::fmt;

use crate::json::{self, JsonError, Raw};

/// An object of `N` fields. Other fields are ignored.
#[derive(Debug)]
pub struct Object<const N: usize> {
    /// What the documentation calls it.
    pub name: &'static str,
    /// What it is: a sentence.
    pub doc: &'static str,
    /// Its fields, in the order in which [`Object::read`] gives their values.
    pub fields: [Field; N],
}

/// An object of any number of fields.
pub trait Schema: fmt::Debug + Sync {
    /// What the documentation calls it.
    fn name(&self) -> &'static str;
    /// What it is: a sentence.
    fn doc(&self) -> &'static str;
    /// Its fields.
    fn fields(&self) -> &[Field];
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Whether it has to be there.
    pub presence: FieldPresence,
    /// Whether its value may be `null`. In what is read that is as if it were not there.
    pub nullable: bool,
    /// What it means: a sentence or two.
    pub doc: &'static str,
    /// A value, as JSON.
    pub example: &'static str,
}

/// Whether a field has to be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldPresence {
    /// It has to.
    Required,
    /// It need not.
    Optional,
    /// It has to unless the field of this name is there.
    Unless(&'static str),
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any JSON value.
    Any,
    /// A string.
    String,
    /// The name of a topic.
    Topic,
    /// A string or a number chosen by a client or service.
    Id,
    /// A number, or a string of one.
    Number,
    /// A whole number from the first to the second of these.
    Integer(u64, u64),
    /// `true` or `false`.
    Boolean,
    /// One of these values, each as JSON.
    OneOf(&'static [&'static str]),
    /// An object of any fields.
    Object,
    /// An object whose fields, however they are called, are of one kind.
    MapOf(&'static Self),
    /// This object.
    Of(&'static dyn Schema),
    /// An array.
    ListOf(&'static Self),
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
        let bytes = name.as_bytes();
        // Most differ in the first byte, which needs no call to find out.
        self.fields
            .iter()
            .position(|field| field.name.as_bytes().first() == bytes.first() && field.name == name)
    }
}

impl<const N: usize> Schema for Object<N> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }
}

impl Field {
    /// A field that has to be there.
    #[must_use]
    pub const fn required(
        name: &'static str,
        kind: Kind,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            presence: FieldPresence::Required,
            nullable: false,
            doc,
            example,
        }
    }

    /// A field that need not be there.
    #[must_use]
    pub const fn optional(
        name: &'static str,
        kind: Kind,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        let field = Self::required(name, kind, example, doc);
        Self {
            presence: FieldPresence::Optional,
            ..field
        }
    }

    /// The same, which has to be there unless the field `other` is.
    #[must_use]
    pub const fn unless(self, other: &'static str) -> Self {
        Self {
            presence: FieldPresence::Unless(other),
            ..self
        }
    }

    /// The same, whose value may be `null`.
    #[must_use]
    pub const fn nullable(self) -> Self {
        Self {
            nullable: true,
            ..self
        }
    }

    /// Whether it has to be there whatever else is.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.presence == FieldPresence::Required
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static POINT: Object<2> = Object {
        name: "Point",
        doc: "A place.",
        fields: [
            Field::required("x", Kind::Number, "1", "How far to the right."),
            Field::optional("y", Kind::Number, "1", "How far up.").nullable(),
        ],
    };

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
