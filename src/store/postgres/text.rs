//! Texts as a column of PostgreSQL takes them: it has no zero bytes, which a message may have.

use std::borrow::Cow;

/// Stands before the digit that says what is meant: a character that is in no message by itself.
const MARK: char = '\u{F8FF}';

/// The text for a column.
///
/// Cost: a search; a copy of a text with a zero byte.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', MARK]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for next in text.chars() {
        match next {
            '\0' => stored.extend([MARK, '0']),
            MARK => stored.extend([MARK, '1']),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// The text that [`stored`] has made into that of a column.
pub(super) fn unstored(column: &str) -> Box<str> {
    if !column.contains(MARK) {
        return column.into();
    }
    let (mut text, mut rest) = (String::with_capacity(column.len()), column.chars());
    while let Some(next) = rest.next() {
        match next {
            MARK => text.push(if rest.next() == Some('0') { '\0' } else { MARK }),
            other => text.push(other),
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_comes_back_as_it_was(text in "(\\PC|\u{0}|\u{F8FF}){0,20}") {
            let column = stored(&text);
            prop_assert!(!column.contains('\0'));
            prop_assert_eq!(&*unstored(&column), &*text);
        }
    }
}
