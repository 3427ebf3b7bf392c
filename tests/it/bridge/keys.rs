//! Correlation ids: which are equal, and that each is one call's at a time.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::{SILENCE, call, gateway, join, last, more, user};
use crate::support::{Call, Client};
use fanfare::dialect::bridge::BridgeSettings;

/// Asks with the id as it is written, without a look at the answer's status.
fn ask(address: SocketAddr, id: &str) -> Call {
    let body = format!(r#"{{"user_id":"alice","data":{{"correlation_id":{id}}}}}"#);
    Call::post(address, "/sse/send", "", &body)
}

/// Asks with one spelling of an id, and answers with another. Returns what the user was sent.
#[track_caller]
fn check_equal(address: SocketAddr, alice: &mut Client, asked: &str, answered: &str) {
    let mut call = ask(address, asked);
    assert_eq!(call.status, 200, "{asked}");
    let sent: Value = alice.json();
    let expected: Value = serde_json::from_str(asked).unwrap();
    assert_eq!(sent["correlation_id"], expected, "{asked}");
    let answer = format!(r#"{{"correlation_id":{answered},"is_final":true}}"#);
    alice.send(0x81, answer.as_bytes());
    let text = call.next_text().unwrap();
    assert!(text.contains(answered), "{asked} = {answered}: {text}");
    assert_eq!(call.next_text(), None, "{asked} = {answered}");
}

#[test]
fn ids_are_compared_as_json_values() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        for (asked, answered) in [
            ("\"req_123\"", "\"req_123\""),
            ("1", "1"),
            ("1", "1.0"),
            ("1.0", "1"),
            ("100", "1e2"),
            ("0", "-0"),
            ("0", "0.0"),
            ("-1", "-1"),
            ("-1.5", "-1.50"),
            ("1.5", "1.5"),
            ("1763712871.123456", "1763712871.123456"),
            ("123456789012345678", "123456789012345678"),
            ("\"\u{e9}\u{4e16}\u{1f600}\"", "\"\u{e9}\u{4e16}\u{1f600}\""),
            ("\"\u{e9}\"", "\"\\u00e9\""),
            ("\"\\ud83d\\ude00\"", "\"\u{1f600}\""),
            ("\"a/b\"", "\"a\\/b\""),
            ("\" \"", "\" \""),
            ("\"null\"", "\"null\""),
            ("\"\\u0000\"", "\"\\u0000\""),
            ("\"\\r\\n\\r\\ndata: x\"", "\"\\r\\n\\r\\ndata: x\""),
        ] {
            check_equal(gateway.address, &mut alice, asked, answered);
        }
    }
}

#[test]
fn ids_that_only_look_alike_are_different() {
    let gateway = gateway(3, |_| {});
    let mut alice = user(gateway.address, "alice");
    for (asked, others) in [
        ("1", &["\"1\"", "1.1", "-1", "10", "true"][..]),
        ("\"2\"", &["2", "\"2.0\"", "\"2 \"", "\" 2\""]),
        ("\"true\"", &["true"]),
        ("\"null\"", &["null"]),
        ("\"a\"", &["\"A\"", "\"\u{e1}\"", "\"\\\"a\\\"\""]),
        ("\"\u{e9}\"", &["\"e\u{301}\""]),
        (
            "9007199254740993",
            &["9007199254740992", "9007199254740994"],
        ),
        ("\"\u{1}\"", &[] as &[&str]),
    ] {
        // A control character as it is has no place in JSON.
        if asked.contains('\u{1}') {
            assert_eq!(ask(gateway.address, asked).status, 422);
            continue;
        }
        let mut call = ask(gateway.address, asked);
        assert_eq!(call.status, 200, "{asked}");
        alice.json();
        for other in others {
            alice.send(
                0x81,
                format!(r#"{{"correlation_id":{other},"is_final":true}}"#).as_bytes(),
            );
        }
        let answer = format!(r#"{{"correlation_id":{asked},"it":1,"is_final":true}}"#);
        alice.send(0x81, answer.as_bytes());
        let events = call.until_end();
        assert_eq!(events.len(), 1, "{asked}: {events:?}");
        assert_eq!(events[0]["it"], 1, "{asked}");
    }
}

#[test]
fn an_id_in_use_is_refused_and_its_call_goes_on() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let mut alice = user(address, "alice");
        let _bob = user(address, "bob");
        let id = json!(1);
        let mut first = call(address, "alice", &id);
        alice.json();
        for spelling in ["1", "1.0", "10e-1"] {
            for who in ["alice", "bob", "nobody"] {
                let body =
                    format!(r#"{{"user_id":"{who}","data":{{"correlation_id":{spelling}}}}}"#);
                let mut second = Call::post(address, "/sse/send", "", &body);
                assert_eq!(second.status, 409, "{spelling} {who}");
                assert_eq!(second.header("content-type"), Some("application/json"));
                let why: Value = serde_json::from_str(&second.whole_body()).unwrap();
                assert_eq!(why, json!({ "detail": "correlation_id already in use" }));
            }
        }
        assert!(alice.is_silent(SILENCE), "what is refused is not sent");
        // A push waits for no answer, so its id is not in anybody's way.
        assert!(super::push(
            address,
            "alice",
            &json!({ "correlation_id": 1 })
        ));
        assert_eq!(alice.json()["correlation_id"], 1);
        alice.say(&more(&id, "a"));
        alice.say(&last(&id, "b"));
        assert_eq!(first.until_end(), [more(&id, "a"), last(&id, "b")]);
    }
}

#[test]
fn an_id_is_free_as_soon_as_its_last_answer_has_come() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        let id = json!("c");
        for round in 0..150 {
            let mut call = call(gateway.address, "alice", &id);
            alice.json();
            if round % 2 == 0 {
                alice.say(&last(&id, round));
            } else {
                alice.say(&json!({ "type": "final_response", "correlation_id": id }));
            }
            // Not even the end of the body has to be waited for.
            call.event();
        }
    }
}

#[test]
fn an_id_is_free_as_soon_as_its_stream_has_timed_out() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| {
            config.section_mut::<BridgeSettings>().response_timeout = Duration::from_millis(10);
        });
        let _alice = user(gateway.address, "alice");
        for _ in 0..100 {
            let mut call = call(gateway.address, "alice", &json!("c"));
            assert_eq!(call.event()["error"], "Timeout waiting for response");
        }
    }
}

#[test]
fn an_id_is_free_as_soon_as_its_user_is_said_not_to_be_connected() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        for _ in 0..150 {
            let mut call = call(gateway.address, "nobody", &json!("c"));
            assert_eq!(call.event()["error"], "User not connected");
        }
    }
}

#[test]
fn one_of_many_who_ask_with_one_id_at_once_is_heard() {
    const CALLERS: usize = 16;
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let mut alice = user(address, "alice");
        for round in 0..5 {
            let threads: Vec<_> = (0..CALLERS)
                .map(|_| std::thread::spawn(move || ask(address, &format!("\"r{round}\""))))
                .collect();
            let calls = join(threads);
            let (mut heard, refused): (Vec<_>, Vec<_>) =
                calls.into_iter().partition(|call| call.status == 200);
            assert_eq!((heard.len(), refused.len()), (1, CALLERS - 1));
            assert!(refused.iter().all(|call| call.status == 409));
            let id = json!(format!("r{round}"));
            assert_eq!(alice.json()["correlation_id"], id);
            assert!(alice.is_silent(Duration::from_millis(20)));
            alice.say(&last(&id, 1));
            assert_eq!(heard[0].until_end(), [last(&id, 1)]);
        }
    }
}
