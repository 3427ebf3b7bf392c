use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn direct(content: &str) -> Inbound<'_> {
    Inbound {
        kind: MessageKind::Direct,
        from: "".into(),
        to: "bob".into(),
        timestamp: NO_TIMESTAMP.into(),
        signature: "".into(),
        encrypted_key: "".into(),
        encryption_nonce: "".into(),
        content: content.into(),
        asks: false,
    }
}

#[track_caller]
fn check(text: &str, expected: Result<Inbound<'_>, Ignored>) {
    assert_eq!(Inbound::parse(text), expected, "{text}");
}

#[test]
fn a_message_is_read_field_by_field() {
    check(
        r#"{"header":{"to":"bob"},"body":{"content":"hi"}}"#,
        Ok(direct("hi")),
    );
    check(
        r#"{"body":{"content":"a\n\"b\"","more":[]},"id":88,"status":7,"header":{"from":"alice","to":"bob",
            "message_type":"direct","timestamp":"2025-01-02T03:04:05.678Z","signature":"s",
            "encrypted_key":"k","encryption_nonce":"n","is_broadcast":false,"ack":true,"x":{}}}"#,
        Ok(Inbound {
            from: "alice".into(),
            timestamp: "2025-01-02T03:04:05.678Z".into(),
            signature: "s".into(),
            encrypted_key: "k".into(),
            encryption_nonce: "n".into(),
            asks: true,
            ..direct("a\n\"b\"")
        }),
    );
    check(
        r#"{"header":{"to":"bob","from":null,"ack":null},"body":null}"#,
        Ok(direct("")),
    );
}

#[test]
fn the_type_is_inferred_from_the_recipient() {
    for (header, kind) in [
        (r#"{"to":"broadcast"}"#, MessageKind::Broadcast),
        (r#"{"to":"server"}"#, MessageKind::Server),
        (r#"{"to":"server","message_type":""}"#, MessageKind::Server),
        (
            r#"{"to":"bob","message_type":"broadcast"}"#,
            MessageKind::Broadcast,
        ),
        (r#"{"message_type":"broadcast"}"#, MessageKind::Broadcast),
        (r#"{"to":"bob"}"#, MessageKind::Direct),
    ] {
        let text = format!(r#"{{"header":{header},"body":{{"content":"x"}}}}"#);
        assert_eq!(Inbound::parse(&text).map(|it| it.kind), Ok(kind), "{text}");
    }
}

#[test]
fn what_cannot_be_a_message_is_ignored() {
    for (text, why) in [
        ("", Ignored::Invalid),
        ("{", Ignored::Invalid),
        ("[]", Ignored::Invalid),
        ("{}", Ignored::Recipient),
        (r#"{"header":[]}"#, Ignored::Invalid),
        (r#"{"header":{"to":5}}"#, Ignored::Invalid),
        (r#"{"header":{"to":"bob","ack":1}}"#, Ignored::Invalid),
        (
            r#"{"header":{"to":"bob"},"body":{"content":{}}}"#,
            Ignored::Invalid,
        ),
        (r#"{"header":{"to":"bob"},"body":"x"}"#, Ignored::Invalid),
        (
            r#"{"header":{"to":"bob","timestamp":"today"}}"#,
            Ignored::Invalid,
        ),
        (
            r#"{"header":{"to":"bob","message_type":"shout"}}"#,
            Ignored::UnknownType,
        ),
        (r#"{"header":{"to":""}}"#, Ignored::Recipient),
        (r#"{"header":{"to":"system"}}"#, Ignored::Recipient),
        (r#"{"header":{"to":"a\u0000b"}}"#, Ignored::Recipient),
    ] {
        check(text, Err(why));
    }
    let long = format!(r#"{{"header":{{"to":"{}"}}}}"#, "x".repeat(129));
    check(&long, Err(Ignored::Recipient));
    let long = "x".repeat(OPAQUE_BYTES_MAX + 1);
    let long = format!(r#"{{"header":{{"to":"bob","signature":"{long}"}}}}"#);
    check(&long, Err(Ignored::Invalid));
}

#[test]
fn timestamps_are_those_of_rfc_3339() {
    for text in [
        "2025-01-02T03:04:05Z",
        "2025-01-02T03:04:05.678Z",
        "2025-01-02T03:04:05.123456789+05:30",
        "0001-01-01T00:00:00Z",
        "2024-02-29T00:00:00Z",
        "2000-02-29T00:00:00Z",
    ] {
        assert!(is_timestamp(text), "{text}");
    }
    for text in [
        "2025-01-02T03:04:05",
        "2025-01-02 03:04:05Z",
        "2025-13-02T03:04:05Z",
        "2025-01-32T03:04:05Z",
        "2025-02-29T03:04:05Z",
        "1900-02-29T03:04:05Z",
        "2025-06-31T03:04:05Z",
        "2025-01-02T24:04:05Z",
        "2025-01-02T03:04:05.Z",
        "2025-01-02T03:04:05+5:30",
        "2025-01-02T03:04:05+24:00",
        "+025-01-02T03:04:05Z",
        "2025-01-02T03:04:05Zé",
        "1735786800",
    ] {
        assert!(!is_timestamp(text), "{text}");
    }
}

#[test]
fn what_is_not_stored_has_no_id() {
    let mut out = Vec::new();
    let said = (Speaker::System, Some(Status::Error));
    put_spoken(
        &mut out,
        said,
        "al\"ice",
        b"2026-01-01T00:00:00.000Z",
        "Slow\n",
    );
    let read: Value = serde_json::from_slice(&out).unwrap();
    let header = json!({"from": "system", "to": "al\"ice", "message_type": "",
        "timestamp": "2026-01-01T00:00:00.000Z"});
    let expected = json!({"header": header, "body": {"content": "Slow\n"}, "status": "error"});
    assert_eq!(read, expected);
}

proptest! {
    #[test]
    fn any_text_is_read_or_ignored(text in "\\PC*") {
        let _ = Inbound::parse(&text);
        let _ = is_timestamp(&text);
    }

    #[test]
    fn texts_come_as_they_were_written(to in "[a-z]{1,9}", content in any::<String>(), signature in any::<String>()) {
        let text = json!({"header": {"to": format!("u{to}"), "signature": signature}, "body": {"content": content}}).to_string();
        let read = Inbound::parse(&text).unwrap();
        prop_assert_eq!(&read.content, &content);
        prop_assert_eq!(&read.signature, &signature);
    }
}
