use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json::DEPTH_MAX;

fn packed(text: &str) -> Vec<u8> {
    let mut out = b"before".to_vec();
    from_json(text.as_bytes(), &mut out);
    assert_eq!(&out[..6], b"before");
    out.split_off(6)
}

/// What is packed is read back by another implementation, and by this one.
fn check(text: &str, expected: &Value) {
    let packed = packed(text);
    let other: Value = rmp_serde::from_slice(&packed).unwrap();
    assert_eq!(&other, expected, "{text}");
    let mut own = Vec::new();
    to_json(&packed, &mut own).unwrap();
    let own: Value = serde_json::from_slice(&own).unwrap();
    assert_eq!(&own, expected, "{text}");
}

fn check_refused(bytes: &[u8], error: MsgpackError) {
    let mut out = Vec::new();
    assert_eq!(to_json(bytes, &mut out), Err(error), "{bytes:x?}");
}

#[test]
fn values_are_the_same_in_both_formats() {
    for text in [
        "null",
        " true ",
        "false",
        "\"\"",
        "[]",
        "{}",
        "[[],{},[{}]]",
        r#"{"a":1,"b":[1,2,{"c":null}],"d":"x"}"#,
        "[0,127,128,255,256,65535,65536,4294967295,4294967296,18446744073709551615]",
        "[-1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649,-9223372036854775808]",
        "[0.5,-0.25,1e2,1.0,1E-7,123456789012345678901234567890]",
        r#"["\"\\\/\b\f\n\r\t","\u0041\u00e9\ud83d\ude00","é😀\u0000"]"#,
        " {\n\"a\" :\t[ 1 , 2 ]\r\n} ",
    ] {
        check(text, &serde_json::from_str(text).unwrap());
    }
}

#[test]
fn lengths_have_their_shortest_form_on_both_sides_of_every_limit() {
    for len in [0, 1, 15, 16, 17, 31, 32, 255, 256, 65_535, 65_536] {
        let list = json!(vec![1; len]);
        check(&list.to_string(), &list);
        let map: serde_json::Map<String, Value> =
            (0..len).map(|n| (n.to_string(), json!(n))).collect();
        let map = Value::Object(map);
        check(&map.to_string(), &map);
        for text in [json!("x".repeat(len)), json!("\n".repeat(len))] {
            check(&text.to_string(), &text);
        }
        assert_eq!(packed(&list.to_string()), rmp_serde::to_vec(&list).unwrap());
    }
}

#[test]
fn numbers_beyond_integers_are_the_nearest_float() {
    let float = |text: &str| rmp_serde::from_slice::<f64>(&packed(text)).unwrap();
    assert_eq!(float("18446744073709551616"), 18_446_744_073_709_551_616.0);
    assert_eq!(float("1e400"), f64::INFINITY);
    assert_eq!(float("-1e400"), f64::NEG_INFINITY);
    assert_eq!(float("1e-400"), 0.0);
    assert!(float("-0").is_sign_negative());
    let digits = "9".repeat(60_000);
    assert_eq!(float(&digits), f64::INFINITY);
}

#[test]
fn m01_lone_surrogates_and_repeated_keys_are_passed_on_as_far_as_they_can_be() {
    for (text, expected) in [
        (r#""\ud800""#, "\u{FFFD}"),
        (r#""\ud800\ud800x""#, "\u{FFFD}\u{FFFD}x"),
        (r#""\ud800\u0041""#, "\u{FFFD}A"),
        (r#""a\udc00\ud83d\ude00""#, "a\u{FFFD}😀"),
        (r#""\ud800\n""#, "\u{FFFD}\n"),
    ] {
        check(text, &json!(expected));
    }
    let twice = packed(r#"{"a":1,"a":2}"#);
    assert_eq!(twice, [0x82, 0xa1, b'a', 1, 0xa1, b'a', 2]);
    let mut text = Vec::new();
    to_json(&twice, &mut text).unwrap();
    assert_eq!(text, br#"{"a":1,"a":2}"#);
}

#[test]
fn m01_depth_is_bounded_without_recursion() {
    let nested = |depth: usize| [vec![0x91; depth], vec![0xC0]].concat();
    let mut out = Vec::new();
    to_json(&nested(DEPTH_MAX), &mut out).unwrap();
    for depth in [DEPTH_MAX + 1, 100_000, 1_000_000] {
        check_refused(&nested(depth), MsgpackError::TooDeep);
        check_refused(&vec![0x81; depth], MsgpackError::Key);
    }
    // What a client may say fits into any answer.
    let text = "[".repeat(DEPTH_MAX + 3) + &"]".repeat(DEPTH_MAX + 3);
    assert_eq!(packed(&text).len(), DEPTH_MAX + 3);
}

#[test]
fn m03_announced_lengths_are_not_believed() {
    for marker in [0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF] {
        let mut out = Vec::new();
        let announced = [vec![marker], vec![0xFF; 4]].concat();
        assert!(to_json(&announced, &mut out).is_err());
        assert!(out.capacity() < 100, "{marker:x}: {}", out.capacity());
    }
    check_refused(
        &[0xDD, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2],
        MsgpackError::Truncated,
    );
}

#[test]
fn what_json_cannot_say_is_refused() {
    check_refused(b"", MsgpackError::Truncated);
    check_refused(&[0x81, 0xA1], MsgpackError::Truncated);
    check_refused(&[0xC0, 0xC0], MsgpackError::Trailing);
    check_refused(&[0xC1], MsgpackError::Type);
    for marker in [
        0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8,
    ] {
        check_refused(&[marker, 0, 0, 0, 0, 0], MsgpackError::Type);
    }
    for key in [&[1][..], &[0xC0], &[0x80], &[0x90], &[0xC4, 0]] {
        check_refused(&[&[0x81], key, &[1]].concat(), MsgpackError::Key);
    }
    check_refused(&[0xA1, 0xFF], MsgpackError::Utf8);
    check_refused(&[0xA3, 0xED, 0xA0, 0x80], MsgpackError::Utf8);
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        check_refused(
            &rmp_serde::to_vec(&number).unwrap(),
            MsgpackError::NotFinite,
        );
        let single = number as f32;
        check_refused(
            &rmp_serde::to_vec(&single).unwrap(),
            MsgpackError::NotFinite,
        );
    }
}

#[test]
fn every_cut_of_a_message_is_truncated() {
    let text = json!({"a": [1, 300, 70_000, -5, 1.5, "text", null], "b": {"c": "x".repeat(40)}});
    let whole = packed(&text.to_string());
    for cut in 0..whole.len() {
        check_refused(&whole[..cut], MsgpackError::Truncated);
    }
}

/// Any JSON value.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // The parser below is exact for these only.
        any::<i32>().prop_map(|n| json!(f64::from(n) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 200, 40, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_survives_both_ways(value in value()) {
        check(&value.to_string(), &value);
        let named = rmp_serde::to_vec_named(&value).unwrap();
        let mut text = Vec::new();
        to_json(&named, &mut text).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
    }

    /// Whatever passes for JSON elsewhere can be packed.
    #[test]
    fn what_is_accepted_as_json_can_be_packed(
        text in prop_oneof![
            r#"[\[\]{}:,"a01\\eE+.\- ntrufdls\n]{0,24}"#,
            r#""(\\["\\/bfnrtux]|\\u[0-9a-fA-Fg]{3,4}|[a-z\n\t\x00\x7f\u{e9}])*""#,
            r#"-?[0-9]{0,3}(\.[0-9]{0,2})?([eE][+\-]?[0-9]{0,4})?"#,
        ],
    ) {
        let text = format!("{{\"a\":{text}}}");
        if crate::json::fields(&text, |_, _| ()).is_ok() {
            prop_assert_ne!(packed(&text), [0xC0]);
        }
    }

    #[test]
    fn any_float_survives_both_ways(bits in any::<u64>()) {
        let number = f64::from_bits(bits);
        let mut text = Vec::new();
        if to_json(&rmp_serde::to_vec(&number).unwrap(), &mut text).is_ok() {
            let text = str::from_utf8(&text).unwrap();
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
            let back: f64 = rmp_serde::from_slice(&packed(text)).unwrap();
            prop_assert_eq!(back.to_bits(), bits);
        } else {
            prop_assert!(!number.is_finite());
        }
    }

    /// Whatever comes in, either nothing or JSON comes out, of bounded size.
    #[test]
    fn any_bytes_are_refused_or_become_json(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut text = Vec::new();
        if to_json(&bytes, &mut text).is_ok() {
            serde_json::from_slice::<Value>(&text).unwrap();
            prop_assert_eq!(packed(str::from_utf8(&text).unwrap()).is_empty(), false);
        }
        prop_assert!(text.len() <= bytes.len() * 6 + 8);
    }
}
