//! Bytes of a MessagePack client are refused or become JSON of bounded size; what the gateway
//! understands of it, and what it answers, can be packed again and says the same.

use fanfare::dialect::events::{Command, Refusal, Writer};
use fanfare::msgpack;

const TIMESTAMP: &[u8] = b"2026-11-21T07:34:31.524Z";

pub fn run(bytes: &[u8]) {
    let mut text = Vec::new();
    if msgpack::to_json(bytes, &mut text).is_err() {
        assert!(text.len() <= bytes.len() * 6 + 8);
        return;
    }
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    serde_json::from_str::<&serde_json::value::RawValue>(&text).expect("JSON");
    let mut packed = Vec::new();
    msgpack::from_json(text.as_bytes(), &mut packed);
    let mut again = Vec::new();
    msgpack::to_json(&packed, &mut again).expect("what was packed here is read here");
    assert_eq!(text.as_bytes(), again);
    let mut answer = Vec::new();
    match Command::parse(&text) {
        Ok(command) => {
            Writer::new(&mut answer, TIMESTAMP).echo(command.id.map(|id| id.text()), &text)
        }
        Err(refusal) => {
            let Refusal { code, .. } = refusal;
            assert!(code.starts_with("INVALID_"), "{code}");
            Writer::new(&mut answer, TIMESTAMP).error(&refusal);
        }
    }
    packed.clear();
    msgpack::from_json(&answer, &mut packed);
    assert_ne!(packed, [0xC0], "an answer is a map");
}
