//! The rules of docs/bridge.md once more, on whole documents.

use serde_json::{Value, json};

/// What is wrong, where, and the value that is.
pub(super) type Fault = (String, Value, Value);

pub(super) fn faults_of_body(body: &Value) -> Vec<Fault> {
    if body.is_null() {
        return vec![fault("missing", &[json!("body")], body)];
    }
    faults_of_message(body, &[json!("body")])
}

pub(super) fn faults_of_batch(body: &Value) -> Vec<Fault> {
    let Some(messages) = body.as_array() else {
        return vec![fault("list_type", &[json!("body")], body)];
    };
    let messages = messages.iter().enumerate();
    messages
        .flat_map(|(index, message)| faults_of_message(message, &[json!("body"), json!(index)]))
        .collect()
}

fn faults_of_message(message: &Value, place: &[Value]) -> Vec<Fault> {
    if !message.is_object() {
        return vec![fault("model_attributes_type", place, message)];
    }
    let mut faults = Vec::new();
    let mut blame = |path: &[&str], kind: &str, value: &Value| {
        let path: Vec<_> = place
            .iter()
            .cloned()
            .chain(path.iter().map(|name| json!(name)))
            .collect();
        faults.push(fault(kind, &path, value));
    };
    match message.get("user_id") {
        None => blame(&["user_id"], "missing", message),
        Some(Value::String(_)) => {}
        Some(other) => blame(&["user_id"], "string_type", other),
    }
    match message.get("data") {
        None => blame(&["data"], "missing", message),
        Some(Value::Object(data)) => {
            let id = data.get("correlation_id");
            if let Some(id @ (Value::Bool(_) | Value::Array(_) | Value::Object(_))) = id {
                blame(&["data", "correlation_id"], "string_type", id);
            }
        }
        Some(other) => blame(&["data"], "dict_type", other),
    }
    for name in ["event_type", "event_id"] {
        match message.get(name) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => blame(&[name], "string_type", other),
        }
    }
    match message.get("timestamp") {
        Some(Value::String(text)) if text.trim().parse::<f64>().is_err() => {
            blame(&["timestamp"], "float_parsing", &json!(text));
        }
        Some(other @ (Value::Array(_) | Value::Object(_))) => {
            blame(&["timestamp"], "float_type", other);
        }
        _ => {}
    }
    faults
}

fn fault(kind: &str, place: &[Value], value: &Value) -> Fault {
    (kind.to_owned(), Value::from(place.to_vec()), value.clone())
}
