//! The body of a push is understood or refused as a strict parser and the rules say, every refusal is
//! JSON, and what a client is sent is the data with three fields set.

use fanfare::call::Correlation;
use fanfare::dialect::bridge::{Invalid, Push, put_completed};
use serde_json::Value;

pub fn run(text: &str) {
    let strict = serde_json::from_str::<Value>(text);
    match Push::parse(text) {
        Ok(push) => {
            let _ = push.mention(|name| name == "a");
            let correlation = push.correlation().unwrap_or_else(Correlation::generate);
            let _ = correlation.key();
            let mut out = Vec::new();
            push.put_frame(&mut out, &correlation);
            if let Ok(body) = strict {
                let frame: Value = serde_json::from_slice(&out).expect("a frame is JSON");
                assert_eq!(frame, expected(&body, &correlation));
            }
        }
        Err(invalid) => {
            assert!(!strict.is_ok_and(|body| body["user_id"].is_string() && is_good(&body)));
            check(&invalid);
        }
    }
    if let Err(invalid) = Push::parse_batch(text) {
        check(&invalid);
    }
    check(&Invalid::unread(text.as_bytes()));
    if serde_json::from_str::<Value>(text).is_ok() {
        let mut out = Vec::new();
        put_completed(&mut out, text, text);
        serde_json::from_slice::<Value>(&out).expect("a frame is JSON");
    }
}

/// Whether nothing but the user could be wrong.
fn is_good(body: &Value) -> bool {
    let is_short = body["data"]["correlation_id"].to_string().len() < 100;
    is_short
        && body["data"].is_object()
        && matches!(
            body["data"]["correlation_id"],
            Value::Null | Value::String(_) | Value::Number(_)
        )
        && ["event_type", "event_id"]
            .iter()
            .all(|name| body[name].is_null() || body[name].is_string())
        && matches!(
            body["timestamp"],
            Value::Null | Value::Number(_) | Value::Bool(_)
        )
        && depth(body) <= 64
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn expected(body: &Value, correlation: &Correlation<'_>) -> Value {
    let mut frame = body["data"].clone();
    let timestamp = frame["timestamp"].take();
    frame["original_sender"] =
        serde_json::json!({"user_id": body["user_id"], "timestamp": timestamp});
    if body["data"].get("timestamp").is_some() {
        frame["timestamp"] = timestamp;
    } else {
        frame
            .as_object_mut()
            .expect("data is an object")
            .remove("timestamp");
    }
    frame["user_id"] = body["user_id"].clone();
    frame["correlation_id"] =
        serde_json::from_str(correlation.text()).expect("a correlation id is JSON");
    frame
}

/// A refusal has at least one detail, each with what programs look at. Values are repeated as they
/// were written, which a strict parser may not like: half a surrogate pair, or a number beyond floats.
fn check(invalid: &Invalid) {
    let body = invalid.body();
    assert!(body.starts_with(r#"{"detail":[{"type":""#), "{body}");
    if let Ok(body) = serde_json::from_str::<Value>(&body) {
        let details = body["detail"].as_array().expect("a list");
        assert!((1..=100).contains(&details.len()));
        for detail in details {
            assert!(
                detail["msg"].is_string()
                    && detail["loc"][0] == "body"
                    && detail.get("input").is_some()
            );
        }
    } else {
        let mut fields = 0;
        fanfare::json::fields(&body, |_, _| fields += 1).expect("a refusal is JSON");
        assert_eq!(fields, 1);
    }
}
