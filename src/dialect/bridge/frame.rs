//! Payloads for clients other than pushes: publications of other protocols, and errors.

use super::data::{Data, put_gateway_fields};
use crate::call::Correlation;
use crate::json::put_string;

/// Appends the payload for `user` of `data`, a JSON value published by another protocol. An object is treated as the
/// `data` of a push; any other value becomes its field `data`. A correlation id is generated unless `data` has one.
pub fn put_completed(out: &mut Vec<u8>, user: &str, data: &str) {
    put_correlated(out, user, data, None);
}

/// As [`put_completed`]. A `correlation` overrides the one that `data` has: the payload answers the message with that
/// one.
pub fn put_correlated(
    out: &mut Vec<u8>,
    user: &str,
    data: &str,
    correlation: Option<Correlation<'_>>,
) {
    let user = serde_json::to_string(user).expect("a string can always be written to memory");
    match Data::read(data) {
        Ok(data) => {
            let given = correlation.or_else(|| data.correlation().ok().flatten());
            let correlation = given.unwrap_or_else(Correlation::generate);
            data.put(out, &user, &correlation);
        }
        Err(_) => {
            out.extend_from_slice(br#"{"data":"#);
            out.extend_from_slice(data.as_bytes());
            out.push(b',');
            let correlation = correlation.unwrap_or_else(Correlation::generate);
            put_gateway_fields(out, &user, "null", &correlation);
        }
    }
}

/// Appends an error payload.
pub fn put_error_frame(out: &mut Vec<u8>, message: &str, timestamp_seconds: f64) {
    out.extend_from_slice(br#"{"type":"error","message":"#);
    put_string(out, message);
    out.extend_from_slice(br#","timestamp":"#);
    serde_json::to_writer(&mut *out, &timestamp_seconds).expect("a number can always be written");
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(data: &str, expected: Value) {
        let mut out = Vec::new();
        put_completed(&mut out, "a\"b", data);
        let mut frame: Value = serde_json::from_slice(&out).unwrap();
        if expected["correlation_id"] == "<uuid>" {
            let id = frame["correlation_id"].take();
            assert_eq!(id.as_str().unwrap().len(), 36, "{data}");
            frame["correlation_id"] = "<uuid>".into();
        }
        assert_eq!(frame, expected, "{data}");
    }

    #[test]
    fn an_object_is_completed_and_any_other_value_becomes_data() {
        let completed = |mut data: Value, timestamp: Value| {
            data["user_id"] = "a\"b".into();
            data["original_sender"] = json!({"user_id": "a\"b", "timestamp": timestamp});
            if data["correlation_id"].is_null() {
                data["correlation_id"] = "<uuid>".into();
            }
            data
        };
        check("{}", completed(json!({}), Value::Null));
        check(
            r#"{"x":1,"timestamp":"t","user_id":5}"#,
            completed(json!({"x": 1, "timestamp": "t"}), "t".into()),
        );
        check(
            r#"{"correlation_id":7}"#,
            completed(json!({"correlation_id": 7}), Value::Null),
        );
        for value in ["[1]", "null", "\"s\"", "1.5", "true"] {
            let wrapped = format!(r#"{{"data":{value}}}"#);
            let wrapped = serde_json::from_str(&wrapped).unwrap();
            check(value, completed(wrapped, Value::Null));
        }
        check(
            r#"{"correlation_id":[1]}"#,
            completed(json!({}), Value::Null),
        );
    }

    #[test]
    fn an_answer_has_the_id_of_its_question() {
        for (data, id) in [
            ("{\"correlation_id\":\"other\",\"x\":1}", "\"q\""),
            ("[1]", "7"),
        ] {
            let mut out = Vec::new();
            put_correlated(&mut out, "u", data, Correlation::of_id(id));
            let frame: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(frame["correlation_id"].to_string(), id);
        }
    }

    #[test]
    fn an_error_has_the_time_as_a_number() {
        let mut out = Vec::new();
        put_error_frame(&mut out, "Error", 1_763_712_871.25);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"type":"error","message":"Error","timestamp":1763712871.25}"#
        );
    }
}
