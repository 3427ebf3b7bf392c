//! A client's message is understood as a strict parser says, and an answer becomes whole events of one
//! line: what a client sends cannot add an event or a field to a service's stream.

use fanfare::call::{CallAnswer, put_error_event};
use fanfare::dialect::bridge::Inbound;
use serde_json::Value;

pub fn run(text: &str) {
    let strict = serde_json::from_str::<Value>(text);
    match Inbound::parse(text) {
        Inbound::Answer(answer) => {
            let events = check(&answer);
            if let Ok(sent) = strict {
                assert_eq!(
                    serde_json::from_str::<Value>(&events[0]).expect("an event is JSON"),
                    sent
                );
            }
        }
        Inbound::Message { .. } => {
            if let Ok(sent) = strict {
                let correlation = &sent["correlation_id"];
                assert!(sent.is_object());
                assert!(correlation.is_null() || correlation == "");
            }
        }
        Inbound::Ignored => {}
        Inbound::Broken => {
            if let Ok(sent) = strict {
                assert!(
                    !sent.is_object()
                        || sent["correlation_id"].is_array()
                        || sent["correlation_id"].is_object()
                );
            }
        }
    }
    if let Some(answer) = CallAnswer::from_response(text) {
        assert_eq!(check(&answer).len(), 1);
    }
}

/// The data of an answer's events.
fn check(answer: &CallAnswer<'_>) -> Vec<String> {
    let mut out = Vec::new();
    answer.put_events(&mut out);
    put_error_event(
        &mut out,
        "Timeout waiting for response",
        answer.correlation(),
    );
    let text = String::from_utf8(out).expect("events are UTF-8");
    let events = text
        .strip_suffix("\n\n")
        .expect("the last event ends")
        .split("\n\n");
    let mut events: Vec<_> = events
        .map(|event| {
            assert!(!event.contains(['\n', '\r', '\0']), "{text:?}");
            event
                .strip_prefix("data: {")
                .map(|rest| format!("{{{rest}"))
                .expect("an object")
        })
        .collect();
    events.pop();
    assert!((1..=1 + usize::from(answer.is_last())).contains(&events.len()));
    events
}
