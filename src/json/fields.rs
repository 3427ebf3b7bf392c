//! The fields of an object that are read, by their names.

use super::{JsonError, Raw, fields};

/// `N` fields of an object. Other fields are ignored.
#[derive(Debug)]
pub struct Fields<const N: usize> {
    /// Their names, in the order in which [`Fields::read`] gives their values: those that have to be there first.
    pub names: [&'static str; N],
    /// How many have to be there. The `null` of another field is read as if the field were not there.
    pub required: usize,
}

impl<const N: usize> Fields<N> {
    /// The values of the fields of the object that `text` is. Of a repeated
    /// field the last one counts.
    ///
    /// Cost: that of [`fields`] and up to `N` comparisons for each field.
    ///
    /// # Errors
    /// As for [`fields`].
    pub fn read<'a>(&self, text: &'a str) -> Result<[Option<Raw<'a>>; N], JsonError> {
        let mut values = [None; N];
        fields(text, |key, value| {
            if let Some(at) = self.position(key) {
                let is_absent = at >= self.required && value.is_null();
                values[at] = Some(value).filter(|_| !is_absent);
            }
        })?;
        Ok(values)
    }

    /// Which of the fields has this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        let first = name.as_bytes().first();
        // Most differ in the first byte, which needs no call to find out.
        self.names
            .iter()
            .position(|own| own.as_bytes().first() == first && *own == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static POINT: Fields<2> = Fields {
        names: ["x", "y"],
        required: 1,
    };

    fn check(text: &str, expected: [Option<&str>; 2]) {
        let values = POINT.read(text).unwrap();
        assert_eq!(values.map(|value| value.map(Raw::text)), expected, "{text}");
    }

    #[test]
    fn values_come_in_the_order_of_the_names() {
        check("{}", [None, None]);
        check(
            r#"{"y":2,"z":3,"x":1,"\u0078":[1]}"#,
            [Some("[1]"), Some("2")],
        );
    }

    #[test]
    fn null_is_absence_only_where_a_field_is_optional() {
        check(r#"{"x":null,"y":null}"#, [Some("null"), None]);
        check(r#"{"y":1,"y":null}"#, [None, None]);
    }
}
