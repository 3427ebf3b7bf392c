//! What messages are, and the events that answers become.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A message and what it becomes: its events, and whether they are the last.
fn check(text: &str, expected: Result<(&[&str], bool), &str>) {
    match (Inbound::parse(text), expected) {
        (Inbound::Answer(answer), Ok((events, is_last))) => {
            assert_eq!(events_of(&answer), events, "{text}");
            assert_eq!(answer.is_last(), is_last, "{text}");
        }
        (Inbound::Ignored, Err("ignored"))
        | (Inbound::Broken, Err("broken"))
        | (Inbound::Message { .. }, Err("message")) => {}
        (got, _) => panic!("{text}: {got:?}"),
    }
}

/// The data of an answer's events, which are one line each.
fn events_of(answer: &CallAnswer<'_>) -> Vec<String> {
    let mut out = Vec::new();
    answer.put_events(&mut out);
    let text = String::from_utf8(out).unwrap();
    let events = text
        .strip_suffix("\n\n")
        .expect("the last event ends")
        .split("\n\n");
    events
        .map(|event| {
            assert!(!event.contains(['\n', '\r']), "{text:?}");
            event.strip_prefix("data: ").expect("data").to_owned()
        })
        .collect()
}

#[test]
fn an_answer_becomes_an_event_as_it_was_sent() {
    let text = r#"{"type":"response","data":{ "a" : [1.0]},"correlation_id":"req_123"}"#;
    check(text, Ok((&[text], false)));
    check(
        " {\"correlation_id\":7}\n",
        Ok((&["{\"correlation_id\":7}"], false)),
    );
}

#[test]
fn m11_line_breaks_between_tokens_become_spaces() {
    check(
        "{\r\n\"correlation_id\"\r:\n1 , \"a\":\"\\r\\n\u{2028}\"}",
        Ok((
            &["{  \"correlation_id\" : 1 , \"a\":\"\\r\\n\u{2028}\"}"],
            false,
        )),
    );
    check("{\"correlation_id\":1,\"a\":\"\n\"}", Err("ignored"));
    check("{\"correlation_id\":1,\"a\":[\"\r\"]}", Err("ignored"));
    check("{\"correlation_id\":1,\"\n\":1}", Err("ignored"));
}

#[test]
fn a_truthy_is_final_ends_the_stream() {
    let text = |is_final: &str| format!(r#"{{"correlation_id":1,"is_final":{is_final}}}"#);
    for yes in [
        "true",
        "1",
        "-0.5",
        "1e-5",
        "\"false\"",
        "\" \"",
        "[0]",
        "{\"a\":0}",
        "[[]]",
    ] {
        check(&text(yes), Ok((&[&text(yes)], true)));
    }
    for no in [
        "false", "null", "0", "-0", "0.0", "0e9", "-0.0E-5", "\"\"", "[]", "[ ]", "{}", "{  }",
    ] {
        check(&text(no), Ok((&[&text(no)], false)));
    }
    let twice = r#"{"is_final":true,"correlation_id":1,"is_final":false}"#;
    check(twice, Ok((&[twice], false)));
}

#[test]
fn a_final_response_is_two_events_and_one_if_it_says_so_itself() {
    let text = r#"{"type":"final_response","correlation_id":1}"#;
    let second = r#"{"type":"final_response","correlation_id":1,"is_final":true}"#;
    check(text, Ok((&[text, second], true)));
    check(second, Ok((&[second], true)));
    let text =
        r#"{"is_final":0 ,"type":"final\u005fresponse", "is_final":false,"correlation_id":1}"#;
    let second = r#"{"type":"final\u005fresponse","correlation_id":1,"is_final":true}"#;
    check(text, Ok((&[text, second], true)));
    let other = r#"{"type":["final_response"],"correlation_id":1}"#;
    check(other, Ok((&[other], false)));
}

#[test]
fn what_nobody_can_wait_for_is_ignored() {
    let long = format!(r#"{{"correlation_id":"{}"}}"#, "a".repeat(1024));
    for text in [
        "",
        "hello",
        "{",
        "{\"correlation_id\":1",
        "{\"correlation_id\":true}",
        "{\"correlation_id\":\"\\ud800\"}",
        "{\"correlation_id\":NaN}",
        &long,
    ] {
        check(text, Err("ignored"));
    }
}

#[test]
fn an_object_without_a_correlation_id_is_for_the_application() {
    for text in [
        "{}",
        "{\"data\":{\"correlation_id\":1}}",
        "{\"correlation_id\":null}",
        "{\"correlation_id\":\"\"}",
    ] {
        check(text, Err("message"));
    }
    let Inbound::Message { kind } = Inbound::parse(r#"{"a":1,"type":"chat"}"#) else {
        panic!("it is a message");
    };
    assert_eq!(kind.and_then(Raw::as_string).as_deref(), Some("chat"));
}

#[test]
fn json_that_is_no_message_is_broken() {
    for text in [
        "[1]",
        "null",
        "5",
        "\"s\"",
        " [] ",
        "{\"correlation_id\":[1]}",
        "{\"correlation_id\":{}}",
    ] {
        check(text, Err("broken"));
    }
}

#[test]
fn a_response_of_the_events_protocol_is_the_last_unless_it_says_otherwise() {
    let check = |text: &str, expected: &str, is_last: bool| {
        let answer = CallAnswer::from_response(text).expect(text);
        assert_eq!(events_of(&answer), [expected]);
        assert_eq!(answer.is_last(), is_last, "{text}");
        assert_eq!(answer.correlation().key(), "\"c\"");
    };
    check(
        r#"{"type":"response","id":"\u0063","data":[1]}"#,
        r#"{"type":"response","id":"\u0063","data":[1],"correlation_id":"\u0063","is_final":true}"#,
        true,
    );
    check(
        r#"{"id":"c","is_final":false,"correlation_id":5}"#,
        r#"{"id":"c","correlation_id":"c","is_final":false}"#,
        false,
    );
    for text in [
        "",
        "[]",
        "{}",
        r#"{"id":null}"#,
        r#"{"id":[]}"#,
        r#"{"id":true}"#,
    ] {
        assert!(CallAnswer::from_response(text).is_none(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn events_are_one_line_each_whatever_was_sent(
        fields in prop::collection::vec(
            (
                prop::sample::select(vec!["correlation_id", "type", "is_final", "\\u0069s_final", "data", "\\n"]),
                prop::sample::select(vec!["1", "0", "true", "null", "\"final_response\"", "\"\\r\\n\"", "[\n]", "{\r\"a\"\n:1}"]),
                "[\n\r ]{0,2}",
            ),
            0..6,
        ),
    ) {
        let fields: Vec<_> = fields.iter().map(|(name, value, space)| format!(r#"{space}"{name}"{space}:{value}{space}"#)).collect();
        let text = format!("{{{}}}", fields.join(","));
        let mut sent: Value = serde_json::from_str(&text).unwrap();
        let Inbound::Answer(answer) = Inbound::parse(&text) else {
            let waits = matches!(&sent["correlation_id"], Value::Number(_) | Value::String(_));
            prop_assert!(!waits);
            return Ok(());
        };
        let events: Vec<Value> = events_of(&answer).iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        prop_assert_eq!(&events[0], &sent);
        let is_final = match &sent["is_final"] {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::Array(items) => !items.is_empty(),
            _ => true,
        };
        let is_response = sent["type"] == "final_response";
        prop_assert_eq!(answer.is_last(), is_final || is_response);
        if is_response && !is_final {
            sent["is_final"] = json!(true);
            prop_assert_eq!(&events[1..], &[sent]);
        } else {
            prop_assert_eq!(events.len(), 1);
        }
    }
}
