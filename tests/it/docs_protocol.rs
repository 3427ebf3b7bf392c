//! The examples of docs/protocol.md, as they are written there.

use serde_json::Value;

use crate::support::{Client, TestGateway};

/// Whether `got` is what `expected` says. `"*"` is anything.
fn is_like(got: &Value, expected: &Value) -> bool {
    match (got, expected) {
        (_, Value::String(any)) if any == "*" => true,
        (Value::Object(got), Value::Object(expected)) => {
            got.len() == expected.len()
                && expected
                    .iter()
                    .all(|(key, value)| got.get(key).is_some_and(|got| is_like(got, value)))
        }
        (Value::Array(got), Value::Array(expected)) => {
            got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| is_like(a, b))
        }
        (got, expected) => got == expected,
    }
}

#[test]
fn every_example_is_true() {
    let text = include_str!("../../docs/protocol.md");
    let mut examples = 0;
    for block in text.split("\n```frames").skip(1) {
        let (path, rest) = block.split_once('\n').unwrap();
        let (lines, _) = rest.split_once("\n```").expect("the block ends");
        let gateway = TestGateway::start();
        let mut client = match path.trim() {
            "" => Client::events(gateway.address),
            path => Client::connect(gateway.address, path),
        };
        for line in lines.lines() {
            match line.split_at(2) {
                ("> ", message) => client.send(0x81, message.as_bytes()),
                ("< ", answer) => {
                    let (got, expected) = (client.json(), serde_json::from_str(answer).unwrap());
                    assert!(
                        is_like(&got, &expected),
                        "documented: {expected}\ngot: {got}"
                    );
                    examples += 1;
                }
                _ => panic!("neither sent nor received: {line}"),
            }
        }
    }
    assert!(examples >= 37, "{examples}");
}

/// The one example in MessagePack.
#[test]
fn the_packed_example_is_a_ping() {
    let text = include_str!("../../docs/protocol.md");
    let (_, hex) = text.split_once(r#"`{"type":"ping","id":1}` is `"#).unwrap();
    let (hex, _) = hex.split_once('`').unwrap();
    let digits: String = hex.split_whitespace().collect();
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect();
    let gateway = TestGateway::start();
    let mut client = Client::connect(gateway.address, "/api/v1/ws/demo?format=msgpack");
    client.next().unwrap();
    client.send(0x82, &bytes);
    let pong: Value = rmp_serde::from_slice(&client.next().unwrap().payload).unwrap();
    assert_eq!(
        (pong["type"].as_str(), pong["id"].as_u64()),
        (Some("pong"), Some(1))
    );
}
