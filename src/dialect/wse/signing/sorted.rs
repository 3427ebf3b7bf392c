//! The text that is signed: a message as Python's `json.dumps(json.loads(text), sort_keys=True)` writes it.
//!
//! Names are sorted by code points, ", " and ": " separate, all but ASCII is escaped, and the last of equal names counts.
//! Whole numbers stay as they are, others take Python's shortest form: `2.50` becomes `2.5`, `1e5` becomes `100000.0`.

use crate::json::DEPTH_MAX;

/// The sorted text of the object that `text` is, without the field `skipped` of it; `None` if it is no object, or nests
/// deeper than messages may.
///
/// Cost: one pass over the text, and an allocation for each name and string that is not plain ASCII.
pub(super) fn sorted(text: &str, skipped: &str) -> Option<String> {
    let mut reader = Reader { text, at: 0 };
    let mut out = String::with_capacity(text.len() * 2);
    reader.space();
    reader.object(Some(skipped), DEPTH_MAX, &mut out)?;
    reader.space();
    (reader.at == text.len()).then_some(out)
}

/// Reads a text of JSON from its front.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Whether `byte` is next, which is then passed. White space before it is passed in any case.
    fn passes(&mut self, byte: u8) -> bool {
        self.space();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn space(&mut self) {
        self.run(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// Passes the bytes that are `meant`.
    fn run(&mut self, meant: impl Fn(u8) -> bool) -> &str {
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|byte| !meant(byte));
        let run = &rest[..end.unwrap_or(rest.len())];
        self.at += run.len();
        run
    }

    fn value(&mut self, depth: usize, out: &mut String) -> Option<()> {
        self.space();
        match self.peek()? {
            b'{' => self.object(None, depth, out),
            b'[' => self.array(depth, out),
            b'"' => {
                put_string(out, &self.string()?);
                Some(())
            }
            b'a'..=b'z' => {
                let word = self.run(|byte| byte.is_ascii_alphabetic());
                let is_known = matches!(word, "true" | "false" | "null");
                is_known.then(|| out.push_str(word))
            }
            _ => {
                let number = |byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                put_number(out, self.run(number))
            }
        }
    }

    fn array(&mut self, depth: usize, out: &mut String) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.at += 1;
        out.push('[');
        let mut is_first = true;
        while !self.passes(b']') {
            if !is_first {
                self.passes(b',').then_some(())?;
                out.push_str(", ");
            }
            is_first = false;
            self.value(depth, out)?;
        }
        out.push(']');
        Some(())
    }

    fn object(&mut self, skipped: Option<&str>, depth: usize, out: &mut String) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.passes(b'{').then_some(())?;
        let mut fields = Vec::new();
        let mut is_first = true;
        while !self.passes(b'}') {
            if !is_first {
                self.passes(b',').then_some(())?;
                self.space();
            }
            is_first = false;
            (self.peek() == Some(b'"')).then_some(())?;
            let name = self.string()?;
            self.passes(b':').then_some(())?;
            let mut value = String::new();
            self.value(depth, &mut value)?;
            if !skipped.is_some_and(|skipped| name.iter().copied().eq(code_points(skipped))) {
                fields.push((name, value));
            }
        }
        // Stable: of equal names the last one stays last.
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        let is_last = |at: usize| fields.get(at + 1).is_none_or(|next| next.0 != fields[at].0);
        out.push('{');
        let mut separator = "";
        for (at, (name, value)) in fields.iter().enumerate() {
            if is_last(at) {
                out.push_str(separator);
                put_string(out, name);
                out.push_str(": ");
                out.push_str(value);
                separator = ", ";
            }
        }
        out.push('}');
        Some(())
    }

    /// The code points of the string that is next, also of half surrogate pairs, which Python takes.
    fn string(&mut self) -> Option<Vec<u32>> {
        self.at += 1;
        let mut points = Vec::new();
        loop {
            let plain = self.run(|byte| !matches!(byte, b'"' | b'\\'));
            points.extend(code_points(plain));
            let end = self.peek()?;
            self.at += 1;
            if end == b'"' {
                return Some(points);
            }
            let escape = self.peek()?;
            self.at += 1;
            points.push(match escape {
                b'"' | b'\\' | b'/' => u32::from(escape),
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => 0x0a,
                b'r' => 0x0d,
                b't' => 0x09,
                b'u' => self.unit_or_pair()?,
                _ => return None,
            });
        }
    }

    /// What four hexadecimal digits stand for, together with those of a second half of a surrogate pair.
    fn unit_or_pair(&mut self) -> Option<u32> {
        let high = self.hex()?;
        if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                return Some(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            }
            self.at = before;
        }
        Some(high)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        are_digits.then(|| u32::from_str_radix(digits, 16).ok())?
    }
}

fn code_points(text: &str) -> impl Iterator<Item = u32> {
    text.chars().map(u32::from)
}

/// Appends a string as Python does with `ensure_ascii`.
fn put_string(out: &mut String, points: &[u32]) {
    out.push('"');
    for &point in points {
        let short = match point {
            0x22 => "\\\"",
            0x5c => "\\\\",
            0x08 => "\\b",
            0x09 => "\\t",
            0x0a => "\\n",
            0x0c => "\\f",
            0x0d => "\\r",
            0x20..=0x7e => {
                out.extend(char::from_u32(point));
                continue;
            }
            0x1_0000.. => {
                let above = point - 0x1_0000;
                put_unit(out, 0xd800 + (above >> 10));
                put_unit(out, 0xdc00 + (above & 0x3ff));
                continue;
            }
            _ => {
                put_unit(out, point);
                continue;
            }
        };
        out.push_str(short);
    }
    out.push('"');
}

/// Appends a code unit of UTF-16 as `\uXXXX`.
fn put_unit(out: &mut String, unit: u32) {
    out.push_str("\\u");
    for digit in (0..4).rev() {
        out.extend(char::from_digit((unit >> (4 * digit)) & 0xf, 16));
    }
}

/// Appends a number as Python does: a whole one as it is, any other as the `repr` of a float.
fn put_number(out: &mut String, number: &str) -> Option<()> {
    if !number.contains(['.', 'e', 'E']) {
        let digits = number.strip_prefix('-').unwrap_or(number);
        let are_digits = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        are_digits.then(|| out.push_str(if number == "-0" { "0" } else { number }))
    } else {
        put_float(out, number.parse().ok()?);
        Some(())
    }
}

/// Appends the `repr` of a float in Python: its shortest digits, in fixed notation from 0.0001 to below 1e16.
fn put_float(out: &mut String, float: f64) {
    if float.is_infinite() {
        out.push_str(if float > 0.0 { "Infinity" } else { "-Infinity" });
        return;
    }
    // Of two that are as short and as near, Python takes the even one and Rust the larger one.
    let shortest = format!("{float:e}");
    let mantissa = shortest.find('e').unwrap_or(shortest.len());
    let digits = shortest[..mantissa].bytes().filter(u8::is_ascii_digit);
    let even = format!("{float:.*e}", digits.count() - 1);
    let text = match even.parse() == Ok(float) {
        true => even,
        false => shortest,
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    out.push_str(sign);
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(0);
    let digits = mantissa.replace('.', "");
    match exponent {
        -4..0 => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', places - 1));
            out.push_str(&digits);
        }
        0..16 => {
            let (whole, rest) = digits.split_at(digits.len().min(places + 1));
            out.push_str(whole);
            out.extend(std::iter::repeat_n('0', places + 1 - whole.len()));
            out.push('.');
            out.push_str(if rest.is_empty() { "0" } else { rest });
        }
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            out.push_str(&format!("{mantissa}e{sign}{places:02}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected` as Python 3.13 wrote it with the arguments of wse-server 1.4.4.
    fn check(text: &str, expected: &str) {
        assert_eq!(sorted(text, "sig").as_deref(), Some(expected), "{text}");
        // What is sorted stays so.
        let is_json = !expected.contains("Infinity");
        assert!(!is_json || sorted(expected, "sig").as_deref() == Some(expected));
    }

    #[test]
    fn messages_are_sorted_as_python_sorts_them() {
        check("{}", "{}");
        check(
            r#"{"t":"a","p":{"b":1,"a":[1,2.50,-0,-0.0,1e5,1E400,0.00001,0.0001,1e16,123456789012345678901234567890,1.5e300,2.5e-7,9007199254740993,0.1,1e22,1497388691571707.25,120.0,-5e-324]},"v":1}"#,
            r#"{"p": {"a": [1, 2.5, 0, -0.0, 100000.0, Infinity, 1e-05, 0.0001, 1e+16, 123456789012345678901234567890, 1.5e+300, 2.5e-07, 9007199254740993, 0.1, 1e+22, 1497388691571707.2, 120.0, -5e-324], "b": 1}, "t": "a", "v": 1}"#,
        );
        check(
            " { \"p\" : [ ] , \"t\" : { } ,\r\n\t\"a\" : [ { } , [ null , true , false ] ] } ",
            r#"{"a": [{}, [null, true, false]], "p": [], "t": {}}"#,
        );
        check(
            "{\"\\u00e9\":\"gr\u{fc}\u{df}e \u{1f600} \\ud83d\\ude00 \\ud800x \\udc00\",\"z\":\"a\\/b\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f\\u007f~\",\"\u{1f600}\":1,\"\u{ffff}\":2,\"\\ud800\":3,\"Z\":4,\"_\":5,\"a\":6,\"aa\":7,\"\":8}",
            r#"{"": 8, "Z": 4, "_": 5, "a": 6, "aa": 7, "z": "a/b\"\\\b\f\n\r\t\u0000\u001f\u007f~", "\u00e9": "gr\u00fc\u00dfe \ud83d\ude00 \ud83d\ude00 \ud800x \udc00", "\ud800": 3, "\uffff": 2, "\ud83d\ude00": 1}"#,
        );
        check(
            r#"{"a":1,"b":2,"a":{"y":1,"x":2,"y":3}}"#,
            r#"{"a": {"x": 2, "y": 3}, "b": 2}"#,
        );
        check(
            r#"{"c":"U","t":"order","p":{"sig":"inner stays","price":99.90,"qty":3},"id":"0199","v":1,"sig":"dropped"}"#,
            r#"{"c": "U", "id": "0199", "p": {"price": 99.9, "qty": 3, "sig": "inner stays"}, "t": "order", "v": 1}"#,
        );
    }

    #[test]
    fn what_is_no_object_has_no_sorted_text() {
        for text in [
            "",
            "[]",
            "1",
            "{",
            "}",
            "{}x",
            "{} {}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{a:1}",
            "{\"a\":[1,]}",
            "{\"a\":[1 2]}",
            "{\"a\":tru}",
            "{\"a\":-}",
            "{\"a\":1.e.}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":\"\\u+123\"}",
            "{\"a\":\"",
            "{\"a\":\"\\",
            "{\"a\":\"\\u\u{fc}\u{fc}\"}",
            "{\"a\":\"\\ud800\\u\"}",
            "{\"a\" 1}",
            "{1:1}",
        ] {
            assert_eq!(sorted(text, "sig"), None, "{text}");
        }
        let nested = |depth: usize| {
            let inner = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
            sorted(&format!("{{\"a\":{inner}}}"), "sig")
        };
        assert!(nested(DEPTH_MAX).is_some());
        assert!(nested(DEPTH_MAX + 1).is_none());
        assert!(nested(1_000_000).is_none());
    }
}
