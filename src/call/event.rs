//! The events of an `/sse/send` response: one line of JSON each (docs/bridge.md, "Questions").

use super::correlation::Correlation;
use crate::json::put_string;

/// Appends an event that says why its stream ends.
pub fn put_error_event(out: &mut Vec<u8>, error: &str, correlation: &Correlation<'_>) {
    put_event(out, |out| {
        out.extend_from_slice(br#"{"error":"#);
        put_string(out, error);
        out.extend_from_slice(br#","correlation_id":"#);
        out.extend_from_slice(correlation.text().as_bytes());
        out.push(b'}');
    });
}

/// Appends an event with the JSON that `write` appends. Line breaks in it, which
/// can only stand between tokens, become spaces: a line break would end the field
/// (hostile-inputs.md M11).
///
/// Cost: one search for line breaks beside the copies.
pub fn put_event(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"data: ");
    let mut start = out.len();
    write(out);
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &out[start..]) {
        start += at;
        out[start] = b' ';
    }
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        let mut out = Vec::new();
        put_event(&mut out, |out| out.extend_from_slice(json.as_bytes()));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn m11_an_event_is_one_line_and_a_blank_one() {
        check("{}", "data: {}\n\n");
        check(
            "{\r\n\"a\":\n1,\r\"b\":\"\\n\"}\n",
            "data: {  \"a\": 1, \"b\":\"\\n\"} \n\n",
        );
    }

    #[test]
    fn an_error_repeats_the_correlation_id_as_it_was_written() {
        for id in [r#""c0""#, "1.50", r#""\u2028\n""#] {
            let mut correlation = None;
            let body = format!(r#"{{"correlation_id":{id}}}"#);
            crate::json::without(&body, |_, value| {
                correlation = Correlation::read(value).unwrap();
                false
            })
            .unwrap();
            let mut out = Vec::new();
            put_error_event(&mut out, "User \"u\"\n", &correlation.unwrap());
            let expected =
                format!("data: {{\"error\":\"User \\\"u\\\"\\n\",\"correlation_id\":{id}}}\n\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
