//! Signatures, as the Python router makes them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use serde_json::json;

use super::everywhere;
use crate::support::{WseApp, WseClient, wse_gateway};

const KEY: &str = "a signing key of more than 32 bytes";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature of a message whose sorted JSON this is.
fn signature(sorted: &str, nonce: &str, seconds: u64) -> String {
    let hash = hex(digest(&SHA256, sorted.as_bytes()).as_ref());
    let signed = format!("{hash}:{seconds}:{nonce}");
    let key = Key::new(HMAC_SHA256, KEY.as_bytes());
    let mac = hex(sign(&key, signed.as_bytes()).as_ref());
    format!("{signed}:{mac}")
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[test]
fn a_signature_is_checked_and_counts_once() {
    let toml = format!("[backend]\nenabled = true\n[wse]\nsigning_key = \"{KEY}\"\n");
    everywhere(&toml, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::open(gateway.address);
        let sorted = r#"{"p": {"n": 1}, "t": "order"}"#;
        let say = |client: &mut WseClient, sig: &str, n: u64| {
            client.say(&json!({ "t": "order", "p": { "n": n }, "sig": sig }));
        };
        let good = signature(sorted, "0123456789abcdef", now());
        say(&mut client, &good, 1);
        assert_eq!(app.next("message")["data"]["p"]["n"], 1);
        // The same again, on another connection, too.
        say(&mut client, &good, 1);
        client.expect("error");
        let mut other = WseClient::open(gateway.address);
        say(&mut other, &good, 1);
        other.expect("error");
        // Of another message; old; with another key.
        say(&mut client, &signature(sorted, "b", now()), 2);
        client.expect("error");
        say(&mut client, &signature(sorted, "c", now() - 1000), 1);
        client.expect("error");
        let forged = signature(sorted, "d", now());
        let flipped = if forged.ends_with('0') { "1" } else { "0" };
        say(
            &mut client,
            &format!("{}{flipped}", &forged[..forged.len() - 1]),
            1,
        );
        client.expect("error");
        // Without one it is passed on.
        client.say(&json!({ "t": "last", "p": {} }));
        assert_eq!(app.next("message")["type"], "last");
    });
}

#[test]
fn types_that_are_signed_have_a_signature() {
    let toml = format!(
        "[backend]\nenabled = true\n[wse]\nsigning_key = \"{KEY}\"\nsigned_types = [\"payment\"]\n"
    );
    everywhere(&toml, |gateway| {
        let mut app = WseApp::attach(gateway.address);
        let mut client = WseClient::open(gateway.address);
        for (kind, is_signed) in [("payment", true), ("other", false)] {
            app.run(
                &json!({ "op": "send", "conn": client.id(), "type": kind, "data": { "n": 1 } }),
            );
            let message = client.next();
            assert_eq!(message.kind(), kind);
            let sig = message.json.get("sig").and_then(|sig| sig.as_str());
            assert_eq!(sig.is_some(), is_signed, "{message:?}");
            let Some(sig) = sig else { continue };
            let (signed, mac) = sig.rsplit_once(':').unwrap();
            let key = Key::new(HMAC_SHA256, KEY.as_bytes());
            assert_eq!(mac, hex(sign(&key, signed.as_bytes()).as_ref()));
            let id = &message.json["id"];
            let sorted =
                format!(r#"{{"c": "U", "id": {id}, "p": {{"n": 1}}, "t": "payment", "v": 1}}"#);
            assert_eq!(
                signed.split(':').next(),
                Some(&*hex(digest(&SHA256, sorted.as_bytes()).as_ref()))
            );
        }
    });
}

#[test]
fn without_a_key_signatures_are_passed_on() {
    let gateway = wse_gateway(1, "[backend]\nenabled = true\n");
    let mut app = WseApp::attach(gateway.address);
    let mut client = WseClient::open(gateway.address);
    let message = json!({ "t": "order", "p": {}, "sig": "whatever" });
    client.say(&message);
    assert_eq!(app.next("message")["data"], message);
}
