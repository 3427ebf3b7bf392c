//! The content of a server command is what a strict reader says. What is repeated of it in the answer is JSON, so that no
//! request can add a field to its answer.

use fanfare::dialect::messenger::AskedCommand;
use serde_json::Value;
use serde_json::value::RawValue;

pub fn run(text: &str) {
    let Some(asked) = AskedCommand::parse(text) else {
        if let Ok(strict) = serde_json::from_str::<Value>(text) {
            check_refused(&strict.to_string(), &strict);
        }
        return;
    };
    let params = asked.params.unwrap_or("null");
    serde_json::from_str::<&RawValue>(params).expect("JSON");
    assert_ne!(asked.params, Some("null"));
    if !asked.request_id.is_empty() {
        let id = serde_json::from_str::<String>(asked.request_id).expect("a string");
        assert!((1..=256).contains(&id.len()));
    }
    // A strict reader has numbers in a smaller range and no lone surrogates, and takes the last of repeated keys, too.
    let Ok(strict) = serde_json::from_str::<Value>(text) else {
        return;
    };
    assert_eq!(asked.name, strict["command"].as_str().unwrap_or_default());
    assert_eq!(
        serde_json::from_str::<Value>(params).expect("in the range"),
        strict["params"]
    );
    let answer = format!(
        r#"{{"success":true,"request_id":{},"echo":{params}}}"#,
        match asked.request_id {
            "" => "\"\"",
            id => id,
        }
    );
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer.as_object().map(|it| it.len()), Some(3));
}

/// Written anew, without repeated keys, it is refused for a reason.
fn check_refused(text: &str, strict: &Value) {
    if AskedCommand::parse(text).is_some() {
        return;
    }
    let (command, id) = (&strict["command"], &strict["request_id"]);
    let is_good = strict.is_object()
        && (command.is_null() || command.is_string())
        && (id.is_null() || id.as_str().is_some_and(|id| id.len() <= 256));
    assert!(!is_good || depth(strict) > 60, "{text}");
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(items) => items.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}
