//! Standard base64, and the ways in which a text is written as a JSON string.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Standard base64 with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// What standard base64 with padding stands for.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// As [`decode`], of exactly `N` bytes.
pub(crate) fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

/// What base64 of tokens stands for: the URL's alphabet, without padding.
pub(crate) fn decode_url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A JSON string as most encoders write it.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a text is a JSON string")
}

/// A JSON string as Go's encoder writes it, with `<`, `>`, `&`, U+2028 and U+2029 escaped:
/// what other clients of the protocol sign.
pub(crate) fn go_json_string(text: &str) -> String {
    json_string(text)
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_as_both_encoders_do() {
        let check = |text: &str, json: &str, go: &str| {
            assert_eq!(json_string(text), json);
            assert_eq!(go_json_string(text), go);
        };
        check("hi", r#""hi""#, r#""hi""#);
        check("a\"b\n", r#""a\"b\n""#, r#""a\"b\n""#);
        check("a<b>&c", r#""a<b>&c""#, r#""a\u003cb\u003e\u0026c""#);
        check("\u{2028}\u{1}", "\"\u{2028}\\u0001\"", r#""\u2028\u0001""#);
    }

    #[test]
    fn base64_is_of_the_length_that_is_asked_for() {
        assert_eq!(decode_array::<2>("AAE="), Some([0, 1]));
        assert_eq!(decode_array::<3>("AAE="), None);
        assert_eq!(decode_array::<2>("AAE"), None);
        assert_eq!(decode_url("-_8"), Some(vec![0xfb, 0xff]));
    }
}
