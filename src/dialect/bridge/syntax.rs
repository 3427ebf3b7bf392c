//! The first syntax error of a text that is not JSON, with the messages of Python's `json` module, which existing
//! services know.
//!
//! Runs only for refused bodies, so it is simple rather than fast.

use crate::json::{DEPTH_MAX, JSON_SPACE};

/// The first syntax error of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SyntaxFault {
    /// Its byte offset.
    pub(super) offset: usize,
    /// Python's message.
    pub(super) why: &'static str,
}

/// The first syntax error of `text`; `None` if it is JSON.
pub(super) fn first_fault(text: &str) -> Option<SyntaxFault> {
    let mut reader = SyntaxReader { text, at: 0 };
    let read = reader.value(0).and_then(|()| {
        reader.skip_space();
        match reader.peek() {
            None => Ok(()),
            Some(_) => Err(reader.fault("Extra data")),
        }
    });
    read.err()
}

struct SyntaxReader<'a> {
    text: &'a str,
    at: usize,
}

impl SyntaxReader<'_> {
    fn value(&mut self, depth: usize) -> Result<(), SyntaxFault> {
        self.skip_space();
        match self.peek() {
            Some(b'{' | b'[') if depth == DEPTH_MAX => {
                Err(self.fault("Nested deeper than 64 levels"))
            }
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string(),
            _ => self.literal(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), SyntaxFault> {
        self.at += 1;
        self.skip_space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.fault("Expecting property name enclosed in double quotes"));
            }
            self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.fault("Expecting ':' delimiter"));
            }
            self.value(depth)?;
            self.skip_space();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.fault("Expecting ',' delimiter"));
            }
            self.skip_space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), SyntaxFault> {
        self.at += 1;
        self.skip_space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            self.skip_space();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.fault("Expecting ',' delimiter"));
            }
        }
    }

    fn string(&mut self) -> Result<(), SyntaxFault> {
        let open = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(fault_at(open, "Unterminated string starting at")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(0..=0x1f) => return Err(self.fault("Invalid control character at")),
                Some(b'\\') => self.escape(open)?,
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self, open: usize) -> Result<(), SyntaxFault> {
        let bytes = &self.text.as_bytes()[self.at + 1..];
        match bytes {
            [] => Err(fault_at(open, "Unterminated string starting at")),
            [b'u', digits @ ..] => match digits.first_chunk::<4>() {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                    self.at += 6;
                    Ok(())
                }
                _ => Err(fault_at(self.at + 1, "Invalid \\uXXXX escape")),
            },
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {
                self.at += 2;
                Ok(())
            }
            _ => Err(self.fault("Invalid \\escape")),
        }
    }

    /// `true`, `false`, `null` or a number.
    fn literal(&mut self) -> Result<(), SyntaxFault> {
        let rest = &self.text[self.at..];
        let word = ["true", "false", "null"]
            .into_iter()
            .find(|word| rest.starts_with(word));
        let bytes = word.map_or_else(|| number_bytes(rest), str::len);
        if bytes == 0 {
            return Err(self.fault("Expecting value"));
        }
        self.at += bytes;
        Ok(())
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches(JSON_SPACE).len();
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fault(&self, why: &'static str) -> SyntaxFault {
        fault_at(self.at, why)
    }
}

/// The length of the number at the start of `text`; 0 if there is none.
fn number_bytes(text: &str) -> usize {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let sign = usize::from(text.starts_with('-'));
    let mut bytes = match &text[sign..] {
        rest if rest.starts_with('0') => sign + 1,
        rest => match digits(rest) {
            0 => return 0,
            count => sign + count,
        },
    };
    if let Some(fraction) = text[bytes..].strip_prefix('.') {
        bytes += match digits(fraction) {
            0 => return bytes,
            count => count + 1,
        };
    }
    if let Some(exponent) = text[bytes..].strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        bytes += match digits(&exponent[sign..]) {
            0 => 0,
            count => 1 + sign + count,
        };
    }
    bytes
}

fn fault_at(offset: usize, why: &'static str) -> SyntaxFault {
    SyntaxFault { offset, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, JsonError};
    use proptest::prelude::*;

    fn check(text: &str, expected: (usize, &str)) {
        let fault = first_fault(text).expect(text);
        assert_eq!((fault.offset, fault.why), expected, "{text:?}");
    }

    /// As `json.loads` of Python 3.11 says them, its positions being characters.
    #[test]
    fn faults_are_those_that_python_finds() {
        for (text, offset) in [
            ("", 0),
            ("  ", 2),
            ("nul", 0),
            ("-", 0),
            (".5", 0),
            ("+1", 0),
            ("}", 0),
            ("[", 1),
            ("[,]", 1),
            ("[1,", 3),
            ("[1, ]", 4),
            ("{\"a\":", 5),
            ("{\"a\": }", 6),
        ] {
            check(text, (offset, "Expecting value"));
        }
        for (text, offset) in [("{", 1), ("{a:1}", 1), ("{\"a\":1,", 7), ("{\"a\":1, }", 8)] {
            let why = "Expecting property name enclosed in double quotes";
            check(text, (offset, why));
        }
        for (text, offset) in [("{\"a\"", 4), ("{\"a\" ", 5), ("{\"a\" 1}", 5)] {
            check(text, (offset, "Expecting ':' delimiter"));
        }
        for (text, offset) in [
            ("[1", 2),
            ("[1 2]", 3),
            ("[01]", 2),
            ("{\"a\":1", 6),
            ("{\"a\":1 x", 7),
            ("{\"a\":nullx}", 9),
        ] {
            check(text, (offset, "Expecting ',' delimiter"));
        }
        for (text, offset) in [
            ("{}x", 2),
            ("{} {}", 3),
            ("01", 1),
            ("1.", 1),
            ("1e", 1),
            ("1e+", 1),
            ("-0.5E-1.", 7),
            ("[1]]", 3),
        ] {
            check(text, (offset, "Extra data"));
        }
        for text in ["\"a", "\"\\", "\"abc\\"] {
            check(text, (0, "Unterminated string starting at"));
        }
        check("\"a\n\"", (2, "Invalid control character at"));
        check("{\"\t\":1}", (2, "Invalid control character at"));
        check("\"\\x\"", (1, "Invalid \\escape"));
        for (text, offset) in [("\"\\u12\"", 2), ("\"\\u12g4\"", 2), ("{\"a\":\"\\u\"}", 7)] {
            check(text, (offset, "Invalid \\uXXXX escape"));
        }
    }

    #[test]
    fn m01_nesting_is_bounded() {
        let why = "Nested deeper than 64 levels";
        check(&"[".repeat(1_000_000), (64, why));
        let text = format!("{}1{}", "[".repeat(64), "]".repeat(64));
        assert_eq!(first_fault(&text), None);
    }

    proptest! {
        #[test]
        fn a_fault_is_found_exactly_in_what_is_refused(
            text in r#"\{("a":)?[\[\]{}:,"a01\\eu\.\- \n]{0,16}\}?"#,
        ) {
            let refused = json::fields(&text, |_, _| ()) == Err(JsonError::Syntax);
            prop_assert_eq!(first_fault(&text).is_some(), refused, "{:?}", first_fault(&text));
        }
    }
}
