//! What is accepted, what is said of the rest, and what becomes of it.

use super::*;
use crate::dialect::bridge::DETAILS_MAX;
use proptest::prelude::*;
use serde_json::{Value, json};

mod model;

/// A body that is refused, and the details that say why.
fn check(body: &str, expected: Value) {
    let invalid = Push::parse(body).expect_err("it is wrong");
    check_details(body, &invalid, expected);
}

fn check_batch(body: &str, expected: Value) {
    let invalid = Push::parse_batch(body).expect_err("it is wrong");
    check_details(body, &invalid, expected);
}

fn check_details(body: &str, invalid: &Invalid, expected: Value) {
    let told: Value = serde_json::from_str(&invalid.body()).expect("a refusal is JSON");
    assert_eq!(told, json!({ "detail": expected }), "{body:.200}");
}

/// What the client of `body` is sent.
fn frame(body: &str) -> Value {
    let push = Push::parse(body).expect(body);
    let mut out = Vec::new();
    let given = push.correlation();
    push.put_frame(&mut out, &given.unwrap_or_else(Correlation::generate));
    serde_json::from_slice(&out).expect("a frame is JSON")
}

#[test]
fn what_is_missing_is_named_with_the_whole_object() {
    let missing = |name: &str, input: Value| json!({"type": "missing", "loc": ["body", name], "msg": "Field required", "input": input});
    check(
        "{}",
        json!([missing("user_id", json!({})), missing("data", json!({}))]),
    );
    check(
        r#" {"data":{}, "x":1} "#,
        json!([missing("user_id", json!({"data": {}, "x": 1}))]),
    );
    let body =
        json!([{"type": "missing", "loc": ["body"], "msg": "Field required", "input": null}]);
    check("", body.clone());
    check(" null ", body.clone());
    check_batch("", body.clone());
    check_batch("null", body.clone());
    check_details("", &Invalid::missing_body(), body.clone());
    check_details("", &Invalid::unread(b""), body);
}

#[test]
fn what_has_the_wrong_type_is_named_with_its_value() {
    let check_field = |name: &str, value: &str, kind: &str, message: &str| {
        let mut fields = vec![("user_id", "\"u\""), ("data", "{}")];
        fields.retain(|(other, _)| *other != name);
        fields.push((name, value));
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!(r#""{name}":{value}"#))
            .collect();
        let input: Value = serde_json::from_str(value).unwrap();
        check(
            &format!("{{{}}}", fields.join(",")),
            json!([{"type": kind, "loc": ["body", name], "msg": message, "input": input}]),
        );
    };
    let string = "Input should be a valid string";
    for value in ["5", "null", "true", "[]", "{}"] {
        check_field("user_id", value, "string_type", string);
    }
    for name in ["event_type", "event_id"] {
        for value in ["5", "false", "[]", "{}"] {
            check_field(name, value, "string_type", string);
        }
    }
    for value in ["5", "null", "\"{}\"", "[]"] {
        let message = "Input should be a valid dictionary";
        check_field("data", value, "dict_type", message);
    }
    for value in ["\"abc\"", "\"\"", "\"1 2\"", "\"0x1\""] {
        let message = "Input should be a valid number, unable to parse string as a number";
        check_field("timestamp", value, "float_parsing", message);
    }
    for value in ["[]", "{}"] {
        check_field(
            "timestamp",
            value,
            "float_type",
            "Input should be a valid number",
        );
    }
}

#[test]
fn half_a_surrogate_pair_is_no_name() {
    let told = |body: &str| Push::parse(body).expect_err("it is wrong").body();
    let expected = r#"{"detail":[{"type":"string_unicode","loc":["body","user_id"],"msg":"Input should be a valid string, unable to parse raw data as a unicode string","input":"\ud800"}]}"#;
    assert_eq!(told(r#"{"user_id":"\ud800","data":{}}"#), expected);
    let expected = r#"{"detail":[{"type":"string_unicode","loc":["body","data","correlation_id"],"msg":"Input should be a valid string, unable to parse raw data as a unicode string","input":"\udc00"}]}"#;
    let body = r#"{"user_id":"u","data":{"correlation_id":"\udc00"}}"#;
    assert_eq!(told(body), expected);
    // In fields that are only passed on it is not checked.
    assert!(Push::parse(r#"{"user_id":"u","data":{"message":"@\ud800"}}"#).is_ok());
}

#[test]
fn a_correlation_id_is_a_string_or_a_number() {
    let body = |id: &str| format!(r#"{{"user_id":"u","data":{{"correlation_id":{id}}}}}"#);
    let loc = json!(["body", "data", "correlation_id"]);
    for value in ["{\"a\":1}", "[1]", "true", "false"] {
        let input: Value = serde_json::from_str(value).unwrap();
        let message = "Input should be a valid string or number";
        check(
            &body(value),
            json!([{"type": "string_type", "loc": loc, "msg": message, "input": input}]),
        );
    }
    let long = "a".repeat(1023);
    check(
        &body(&format!("\"{long}\"")),
        json!([{"type": "string_too_long", "loc": loc, "msg": "String should have at most 1024 bytes", "input": long, "ctx": {"max_length": 1024}}]),
    );
    let given = |id: &str| {
        let body = body(id);
        let push = Push::parse(&body).unwrap();
        push.correlation()
            .map(|correlation| correlation.text().to_owned())
    };
    for none in ["null", "\"\""] {
        assert_eq!(given(none), None);
    }
    for some in ["\"\\u0061\"", "1.50", "0", &format!("\"{}\"", &long[1..])] {
        assert_eq!(given(some).as_deref(), Some(some));
    }
}

#[test]
fn what_is_no_object_is_refused_as_a_whole() {
    let message = "Input should be a valid dictionary or object to extract fields from";
    for value in ["[1]", "5", "\"s\"", "true", "[]"] {
        let input: Value = serde_json::from_str(value).unwrap();
        check(
            value,
            json!([{"type": "model_attributes_type", "loc": ["body"], "msg": message, "input": input}]),
        );
        if !value.starts_with('[') {
            let expected = json!([{"type": "list_type", "loc": ["body"], "msg": "Input should be a valid list", "input": input}]);
            check_batch(value, expected);
        }
    }
    check_batch(
        "[null]",
        json!([{"type": "model_attributes_type", "loc": ["body", 0], "msg": message, "input": null}]),
    );
    let body = b"{\"user_id\":\"\xff\"}";
    let input = "{\"user_id\":\"\u{fffd}\"}";
    check_details(
        "as text",
        &Invalid::unread(body),
        json!([{"type": "model_attributes_type", "loc": ["body"], "msg": message, "input": input}]),
    );
    check_details(
        "as text",
        &Invalid::unread_batch(body),
        json!([{"type": "list_type", "loc": ["body"], "msg": "Input should be a valid list", "input": input}]),
    );
}

#[test]
fn what_is_not_json_is_refused_with_the_place() {
    let expected = |offset: usize, why: &str| json!([{"type": "json_invalid", "loc": ["body", offset], "msg": "JSON decode error", "input": {}, "ctx": {"error": why}}]);
    check("{\"a\": }", expected(6, "Expecting value"));
    check(
        r#"{"user_id":5,"data":{"a":tru}}"#,
        expected(25, "Expecting value"),
    );
    check_batch(
        "[{},{]",
        expected(5, "Expecting property name enclosed in double quotes"),
    );
    check_batch(
        "{",
        expected(1, "Expecting property name enclosed in double quotes"),
    );
    check_batch("[1", expected(2, "Expecting ',' delimiter"));
    check_batch("[] x", expected(3, "Extra data"));
    let half = r#"{"user_id":"u","data":{"\ud800":1}}"#;
    check(half, expected(0, "Invalid \\uXXXX escape"));
    check_batch(&format!("[{half}]"), expected(0, "Invalid \\uXXXX escape"));
}

#[test]
fn m01_nesting_is_bounded() {
    let body = format!(
        r#"{{"user_id":"u","data":{{"a":{}{}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    check(
        &body,
        json!([{"type": "json_invalid", "loc": ["body", 89], "msg": "JSON decode error", "input": {}, "ctx": {"error": "Nested deeper than 64 levels"}}]),
    );
}

#[test]
fn m02_a_batch_of_nonsense_is_answered_with_100_details() {
    let body = format!("[{}0]", "0,".repeat(500_000));
    let told = Push::parse_batch(&body).unwrap_err().body();
    let told: Value = serde_json::from_str(&told).unwrap();
    let details = told["detail"].as_array().unwrap();
    assert_eq!(details.len(), DETAILS_MAX);
    assert_eq!(details[99]["loc"], json!(["body", 99]));
    assert!(Push::parse_batch(&format!("[{}]", ",".repeat(500_000))).is_err());
    assert!(Push::parse_batch("[]").unwrap().is_empty());
}

#[test]
fn the_last_of_a_repeated_field_counts() {
    let body = r#"{"user_id":5,"data":[],"user_id":"\u0075","data":{"message":"@x","message":"@y","correlation_id":[],"correlation_id":1}}"#;
    let push = Push::parse(body).unwrap();
    assert_eq!(push.user, "u");
    assert_eq!(push.mention(|_| true), Some("y"));
    assert_eq!(push.correlation().unwrap().text(), "1");
}

#[test]
fn the_field_that_mentions_is_the_first_string() {
    let mention = |data: &str| {
        let body = format!(r#"{{"user_id":"u","data":{data}}}"#);
        let push = Push::parse(&body).expect(data);
        push.mention(|name| name.ends_with("bot"))
            .map(str::to_owned)
    };
    for field in ["message", "text", "data", "content", "body"] {
        let found = mention(&format!(r#"{{"{field}":"hi @a @b_bot @c_bot"}}"#));
        assert_eq!(found.as_deref(), Some("b_bot"), "{field}");
    }
    let none = [
        r#"{"message":"","text":"@bot"}"#,
        r#"{"text":"x","content":"@bot"}"#,
        r#"{"title":"@bot"}"#,
        r#"{"message":["@bot"]}"#,
        r#"{"data":{"message":"@bot"}}"#,
    ];
    for data in none {
        assert_eq!(mention(data), None, "{data}");
    }
    let some = [
        r#"{"message":5,"text":null,"data":{},"content":"@bot"}"#,
        r#"{"body":"@bot","content":[]}"#,
        r#"{"message":"\u0040b\u006ft"}"#,
        r#"{"message":"\ud800@bot"}"#,
        r#"{"\u006dessage":"@bot"}"#,
    ];
    for data in some {
        assert_eq!(mention(data).as_deref(), Some("bot"), "{data}");
    }
}

#[test]
fn the_client_is_sent_the_data_as_it_was_written() {
    let body = r#"{"event_type":"e","user_id":"\u0061","data": { "user_id" : 1, "x": [1.0,  "\u0041"] , "timestamp":1.50, "correlation_id" : "c" ,"y":2} }"#;
    let push = Push::parse(body).unwrap();
    let (correlation, mut out) = (push.correlation().unwrap(), b"before ".to_vec());
    push.put_frame(&mut out, &correlation);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"before {"x": [1.0,  "\u0041"] , "timestamp":1.50,"y":2,"original_sender":{"user_id":"\u0061","timestamp":1.50},"user_id":"\u0061","correlation_id":"c"}"#
    );
    assert_eq!((&*push.user, push.event_type.as_deref()), ("a", Some("e")));
    let generated = frame(r#"{"user_id":"","data":{"correlation_id":""}}"#);
    assert_eq!(generated["correlation_id"].as_str().unwrap().len(), 36);
    assert_eq!(
        generated["original_sender"],
        json!({"user_id": "", "timestamp": null})
    );
}

/// A JSON value as text, of every kind that matters somewhere.
fn value() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec![
        "null",
        "true",
        "5",
        "1.5e3",
        "\"\"",
        "\"u\"",
        "\"12.5\"",
        "\" 1 \"",
        "\"nan\"",
        "\"\\u0061\"",
        "[]",
        "[{\"user_id\":1}]",
        "{}",
        "{\"correlation_id\":[]}",
        "{ \"correlation_id\" : 7 }",
        "{\"x\":{\"y\":[1]}}",
    ]);
    plain.prop_map(str::to_owned)
}

/// An object with some of these fields, some of them twice.
fn object(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let field = (prop::sample::select(names), value(), " {0,1}");
    prop::collection::vec(field, 0..8).prop_map(|fields| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value, space)| format!(r#"{space}"{name}"{space}:{value}{space}"#))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

fn message() -> impl Strategy<Value = String> {
    let fields = &[
        "user_id",
        "data",
        "event_type",
        "event_id",
        "timestamp",
        "other",
        "\\u0064ata",
    ];
    let good = object(&["x", "correlation_id"])
        .prop_map(|data| format!(r#"{{"user_id":"u","data":{data}}}"#));
    prop_oneof![4 => object(fields), 2 => good, 1 => value()]
}

/// What a refusal names: types, places and values.
fn told(invalid: &Invalid) -> Vec<model::Fault> {
    let told: Value = serde_json::from_str(&invalid.body()).expect("a refusal is JSON");
    let details = told["detail"].as_array().expect("a list").iter();
    details
        .map(|detail| {
            let kind = detail["type"].as_str().expect("a string").to_owned();
            (kind, detail["loc"].clone(), detail["input"].clone())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn faults_are_those_of_a_naive_validator(body in message()) {
        let expected = model::faults_of_body(&serde_json::from_str(&body).unwrap());
        match Push::parse(&body) {
            Ok(_) => prop_assert_eq!(expected, vec![]),
            Err(invalid) => prop_assert_eq!(told(&invalid), expected),
        }
    }

    #[test]
    fn faults_of_batches_are_those_of_a_naive_validator(
        messages in prop::collection::vec(message(), 0..5), more in 0..60_usize,
    ) {
        let body = format!("[{}]", vec![messages.join(","); 1 + more * usize::from(!messages.is_empty())].join(","));
        let expected = model::faults_of_batch(&serde_json::from_str(&body).unwrap());
        match Push::parse_batch(&body) {
            Ok(pushes) => prop_assert_eq!((pushes.len(), expected), (messages.len() * (more + 1), vec![])),
            Err(invalid) => prop_assert_eq!(told(&invalid), &expected[..expected.len().min(DETAILS_MAX)]),
        }
    }

    #[test]
    fn a_frame_is_the_data_with_three_fields_set(
        data in object(&["x", "message", "timestamp", "user_id", "original_sender", "\\u0075ser_id", "correlation_\\u0069d", "original_sender_"]),
    ) {
        let mut expected: Value = serde_json::from_str(&data).unwrap();
        let timestamp = expected["timestamp"].clone();
        expected["user_id"] = "u".into();
        expected["original_sender"] = json!({"user_id": "u", "timestamp": timestamp});
        let body = format!(r#"{{"data":{data},"user_id":"u"}}"#);
        let Ok(push) = Push::parse(&body) else {
            prop_assert_ne!(model::faults_of_body(&serde_json::from_str(&body).unwrap()), vec![]);
            return Ok(());
        };
        let correlation = push.correlation().unwrap_or_else(Correlation::generate);
        expected["correlation_id"] = serde_json::from_str(correlation.text()).unwrap();
        let mut out = Vec::new();
        push.put_frame(&mut out, &correlation);
        let mut names = Vec::new();
        json::fields(std::str::from_utf8(&out).unwrap(), |name, _| names.push(name.to_owned())).unwrap();
        prop_assert!(names.ends_with(&["original_sender", "user_id", "correlation_id"].map(str::to_owned)));
        let others = &names[..names.len() - 3];
        prop_assert!(!others.iter().any(|name| names[others.len()..].contains(name)));
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
    }

    #[test]
    fn any_text_is_understood_or_refused_in_json(text in r#"[\[\]{}:,"a01\\eu\.\- \n]{0,24}"#) {
        for invalid in [Push::parse(&text).err(), Push::parse_batch(&text).err()].into_iter().flatten() {
            told(&invalid);
        }
    }
}
