//! A member's frame is understood as a strict parser says: what is run is in it, and what is refused has the `id` that it
//! came with.

use fanfare::dialect::backend::{BadObject, OBJECTS_MAX, Operation, Said, objects};
use serde_json::Value;

pub fn run(text: &str) {
    let strict = serde_json::from_str::<Value>(text).ok();
    let Ok(all) = objects(text) else {
        assert!(!strict.is_some_and(|value| value.as_array().is_some_and(Vec::is_empty)));
        return;
    };
    assert!(all.len() <= OBJECTS_MAX);
    if let Some(Value::Array(items)) = &strict {
        assert_eq!(items.len(), all.len());
    }
    for object in all {
        check(object);
    }
}

fn check(object: &str) {
    let strict = serde_json::from_str::<Value>(object).ok();
    // Of a repeated key the last one counts for both.
    let field = |name: &str| strict.as_ref().map(|value| value[name].clone());
    match Said::parse(object) {
        Ok(Said::Ack(seq)) => {
            if let Some(ack) = field("ack") {
                assert_eq!(ack, seq);
            }
        }
        Ok(Said::Credit(more)) => {
            assert!(more > 0);
            if let Some(credit) = field("credit") {
                assert_eq!(credit, more);
            }
        }
        Ok(Said::Operation(id, operation)) => {
            check_id(id, field("id"));
            if let Some(op) = field("op") {
                assert_eq!(op, name_of(&operation));
            }
        }
        Err(BadObject { id, why }) => {
            assert!(!why.message.is_empty());
            if id.is_some() {
                check_id(id, field("id"));
            }
            let mut out = Vec::new();
            why.put(&mut out, id);
            serde_json::from_slice::<&serde_json::value::RawValue>(&out).expect("JSON");
        }
    }
}

fn check_id(id: Option<&str>, sent: Option<Value>) {
    match (id.map(serde_json::from_str::<Value>), sent) {
        (Some(Ok(id)), Some(sent)) => assert_eq!(id, sent),
        (None, Some(sent)) => assert!(sent.is_null()),
        _ => {}
    }
}

fn name_of(operation: &Operation<'_>) -> &'static str {
    match operation {
        Operation::Publish { data, .. } => {
            serde_json::from_str::<&serde_json::value::RawValue>(data).expect("JSON");
            "publish"
        }
        Operation::Send { .. } => "send",
        Operation::Reply { .. } => "reply",
        Operation::Subscribe { topics, .. } => {
            assert!((1..=1024).contains(&topics.len()));
            "subscribe"
        }
        Operation::Unsubscribe { .. } => "unsubscribe",
        Operation::Disconnect { .. } => "disconnect",
        Operation::Broadcast { .. } => "broadcast",
        Operation::Presence { .. } => "presence",
        Operation::Connections { .. } => "connections",
        Operation::Health => "health",
    }
}
