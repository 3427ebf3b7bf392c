//! The grammar that handshake headers share: comma-separated lists, tokens, quoted strings.
//!
//! Every function reads its input once, front to back.

/// Whether `text` is a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// The elements of a comma-separated list without quoted strings. Empty elements are legal and skipped (RFC 9110 section
/// 5.6.1).
pub(super) fn elements(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// Strips optional white space from both ends (RFC 9110 section 5.6.3).
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
        | b'|' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
}

/// Reads a header value front to back.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    pub(super) fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Consumes `byte`, and white space before it, if it comes next.
    pub(super) fn eat(&mut self, byte: char) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(byte) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Consumes a token, and white space before it.
    pub(super) fn token(&mut self) -> Option<&'a str> {
        self.skip_space();
        let end = self.rest.bytes().position(|byte| !is_token_byte(byte));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A token, or a quoted string whose content is a token (RFC 6455 section 9.1). Backslash escapes inside are
    /// legal but treated as malformed.
    pub(super) fn token_or_quoted(&mut self) -> Option<&'a str> {
        if !self.eat('"') {
            return self.token();
        }
        let (content, rest) = self.rest.split_once('"')?;
        self.rest = rest;
        is_token(content).then_some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_commas_and_trimmed() {
        let check = |list: &str, expected: &[&str]| {
            assert_eq!(elements(list).collect::<Vec<_>>(), expected, "{list:?}");
        };
        check("a", &["a"]);
        check(" a ,\tb,, c", &["a", "b", "c"]);
        check("", &[]);
        check(" , ,", &[]);
        check("a b", &["a b"]);
    }

    #[test]
    fn tokens_have_no_separators() {
        assert!(is_token("permessage-deflate") && is_token("v1.json") && is_token("a|b~"));
        for text in [
            "", "a b", "a,b", "a=b", "\"a\"", "a/b", "é", "a\r\n", "a\0", "(a)", "a@b",
        ] {
            assert!(!is_token(text), "{text:?}");
        }
    }

    #[test]
    fn quoted_strings_must_hold_a_token() {
        let check = |text: &'static str, expected: Option<&str>| {
            assert_eq!(Scanner::new(text).token_or_quoted(), expected, "{text:?}");
        };
        check("10", Some("10"));
        check(" \"10\"", Some("10"));
        check("\"\"", None);
        check("\"1 0\"", None);
        check("\"10", None);
        check("\"1\\0\"", None);
        check("", None);
    }
}
