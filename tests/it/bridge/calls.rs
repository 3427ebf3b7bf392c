//! `/sse/send`: a question, and the stream of its user's answers.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{SILENCE, call, call_when_free, gateway, last, leave, more, user, wait_until};
use crate::support::{Call, frame, metric};
use fanfare::dialect::bridge::BridgeSettings;

#[test]
fn a_stream_is_chunked_and_has_the_headers_of_one() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        let mut call = call(gateway.address, "alice", &json!("c1"));
        for (name, value) in [
            ("content-type", Some("text/event-stream; charset=utf-8")),
            ("transfer-encoding", Some("chunked")),
            ("cache-control", Some("no-cache, no-transform")),
            ("x-accel-buffering", Some("no")),
            ("content-length", None),
            ("content-encoding", None),
        ] {
            assert_eq!(call.header(name), value, "{name}: {}", call.head);
        }
        assert!(call.is_silent(SILENCE), "there is no initial event");
        alice.say(&last(&json!("c1"), 1));
        assert_eq!(call.until_end(), [last(&json!("c1"), 1)]);
    }
}

#[test]
fn an_event_is_one_line_of_data_and_a_blank_one() {
    let gateway = gateway(1, |_| {});
    let mut alice = user(gateway.address, "alice");
    let mut call = call(gateway.address, "alice", &json!("c1"));
    alice.send(0x81, br#"{"correlation_id":"c1","n":1}"#);
    let text = call.next_text().unwrap();
    assert_eq!(text, "data: {\"correlation_id\":\"c1\",\"n\":1}\n\n");
    let spread = b" {\r\n  \"correlation_id\": \"c1\",\n\r\n\t\"text\": \"a\\nb\\r\\u2028\\u0000\xe2\x80\xa8\"\r}\n";
    alice.send(0x81, spread);
    let value: Value = serde_json::from_slice(spread).unwrap();
    assert_eq!(call.event(), value);
    alice.say(&last(&json!("c1"), "\n\ndata: evil\n\n"));
    assert_eq!(call.event(), last(&json!("c1"), "\n\ndata: evil\n\n"));
    assert_eq!(call.next(), None);
}

#[test]
fn who_is_not_connected_is_one_event() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        for (id, expected) in [
            (json!("c0"), json!("c0")),
            (json!(7), json!(7)),
            (json!(-1.5), json!(-1.5)),
            (json!("\u{e9}\"\n"), json!("\u{e9}\"\n")),
        ] {
            let mut call = call(gateway.address, "nobody", &id);
            assert_eq!(call.header("transfer-encoding"), Some("chunked"));
            assert_eq!(
                call.header("content-type"),
                Some("text/event-stream; charset=utf-8")
            );
            let text = call.next_text().unwrap();
            assert!(
                text.starts_with("data: {") && text.ends_with("}\n\n"),
                "{text:?}"
            );
            let json: Value = serde_json::from_str(text[6..].trim_end()).unwrap();
            let event = json!({ "error": "User not connected", "correlation_id": expected });
            assert_eq!(json, event);
            assert_eq!(call.next_text(), None);
        }
    }
}

#[test]
fn the_connection_of_a_caller_can_be_used_again() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        let mut call = call(gateway.address, "nobody", &json!("c0"));
        assert_eq!(call.until_end().len(), 1);
        for number in 0..5 {
            let id = json!(number);
            let data = json!({ "user_id": "alice", "data": { "correlation_id": id } });
            call.again("/sse/send", "", &data.to_string());
            alice.say(&last(&id, "yes"));
            assert_eq!(call.until_end(), [last(&id, "yes")]);
        }
        call.again(
            "/sse/push",
            "Connection: close\r\n",
            r#"{"user_id":"alice","data":{}}"#,
        );
        assert!(call.whole_body().contains("success"));
        assert!(call.is_over());
    }
}

#[test]
fn no_answer_in_time_ends_the_stream_and_each_answer_starts_the_time_again() {
    let gateway = gateway(3, |config| {
        config.section_mut::<BridgeSettings>().response_timeout = Duration::from_secs(4);
    });
    let id = json!("c0");
    let mut alice = user(gateway.address, "alice");
    let mut call = call(gateway.address, "alice", &id);
    // Together longer than the time that each may take.
    for number in 0..4 {
        thread::sleep(Duration::from_millis(1100));
        alice.say(&more(&id, number));
        assert_eq!(call.event(), more(&id, number));
    }
    let timeout = json!({ "error": "Timeout waiting for response", "correlation_id": "c0" });
    assert_eq!(call.until_end(), [timeout]);
    alice.say(&more(&id, "late"));
    wait_until("nobody waits for it", || {
        metric(gateway.address, "answers_unclaimed_total") == 1
    });
}

#[test]
fn a_timeout_repeats_the_id_that_the_user_was_sent() {
    let gateway = gateway(1, |config| {
        config.section_mut::<BridgeSettings>().response_timeout = Duration::from_millis(50);
    });
    let mut alice = user(gateway.address, "alice");
    for given in [
        json!({}),
        json!({ "correlation_id": null }),
        json!({ "correlation_id": "" }),
    ] {
        let mut call = Call::begin(
            gateway.address,
            &json!({ "user_id": "alice", "data": given }),
        );
        let made_up = alice.json()["correlation_id"].clone();
        check_uuid(&made_up);
        let event = json!({ "error": "Timeout waiting for response", "correlation_id": made_up });
        assert_eq!(call.until_end(), [event]);
    }
}

/// A UUID of version 4 (RFC 9562 section 5.4).
#[track_caller]
fn check_uuid(id: &Value) {
    let id = id.as_str().unwrap_or_else(|| panic!("{id}")).as_bytes();
    let is_it = id.len() == 36
        && [8, 13, 18, 23].iter().all(|&at| id[at] == b'-')
        && id[14] == b'4'
        && b"89ab".contains(&id[19]);
    assert!(is_it, "{id:?}");
}

#[test]
fn where_no_id_is_given_the_one_made_up_finds_the_caller() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        for given in [
            json!({}),
            json!({ "correlation_id": null }),
            json!({ "correlation_id": "" }),
        ] {
            let body = json!({ "user_id": "alice", "data": given });
            // Two at a time: nothing is no id that could be in use.
            let mut calls = [0, 1].map(|_| Call::begin(gateway.address, &body));
            let ids = [0, 1].map(|_| alice.json()["correlation_id"].clone());
            ids.iter().for_each(check_uuid);
            assert_ne!(ids[0], ids[1]);
            for (call, id) in calls.iter_mut().zip(&ids).rev() {
                alice.say(&json!({ "correlation_id": null, "is_final": true }));
                alice.say(&json!({ "correlation_id": "", "is_final": true }));
                alice.say(&last(id, 1));
                assert_eq!(call.until_end(), [last(id, 1)]);
            }
        }
    }
}

#[test]
fn a_final_response_is_two_events() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        for final_before in [None, Some(json!(false)), Some(json!(null)), Some(json!(0))] {
            let mut call = call(gateway.address, "alice", &json!("c"));
            let mut answer = json!({ "type": "final_response", "data": 1, "correlation_id": "c" });
            if let Some(value) = final_before {
                answer["is_final"] = value;
            }
            alice.say(&answer);
            let mut repeated = answer.clone();
            repeated["is_final"] = json!(true);
            let texts = [call.next_text().unwrap(), call.next_text().unwrap()];
            assert_eq!(texts[1].matches("is_final").count(), 1, "{texts:?}");
            let values = texts.map(|text| serde_json::from_str::<Value>(&text[6..]).unwrap());
            assert_eq!(values, [answer, repeated]);
            assert_eq!(call.next(), None);
        }
        // The word means something in `type` only, and nothing else means the same.
        let mut call = call(gateway.address, "alice", &json!("c"));
        for kind in [
            json!("Final_response"),
            json!("final"),
            json!(["final_response"]),
            json!(1),
        ] {
            let answer = json!({ "type": kind, "data": "final_response", "correlation_id": "c" });
            alice.say(&answer);
            assert_eq!(call.event(), answer);
        }
        alice.say(&last(&json!("c"), 1));
        assert_eq!(call.until_end().len(), 1);
    }
}

#[test]
fn a_truthy_is_final_is_the_last_answer_and_no_other_is() {
    let gateway = gateway(3, |_| {});
    let mut alice = user(gateway.address, "alice");
    let id = json!("c");
    let with = |value: &Value| json!({ "correlation_id": "c", "is_final": value });
    let falsy = [
        json!(false),
        json!(null),
        json!(0),
        json!(0.0),
        json!(-0.0),
        json!(""),
        json!([]),
        json!({}),
    ];
    let mut open = call(gateway.address, "alice", &id);
    for value in &falsy {
        alice.say(&with(value));
        assert_eq!(open.event(), with(value));
    }
    // Only at the top.
    let inside = json!({ "correlation_id": "c", "data": { "is_final": true } });
    alice.say(&inside);
    assert_eq!(open.event(), inside);
    assert!(open.is_silent(SILENCE));
    alice.say(&with(&json!(true)));
    assert_eq!(open.until_end(), [with(&json!(true))]);
    for value in [
        json!(1),
        json!(-1),
        json!(0.1),
        json!("false"),
        json!([0]),
        json!({ "a": 0 }),
    ] {
        let mut call = call(gateway.address, "alice", &id);
        alice.say(&with(&value));
        assert_eq!(call.until_end(), [with(&value)], "{value}");
    }
}

#[test]
fn answers_find_their_callers_whatever_the_order() {
    const CALLS: usize = 60;
    for shards in [1, 2, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        let id = |number: usize| json!(format!("c{number}"));
        let mut calls: Vec<_> = (0..CALLS)
            .map(|number| call(gateway.address, "alice", &id(number)))
            .collect();
        let mut asked: Vec<_> = (0..CALLS)
            .map(|_| alice.json()["correlation_id"].clone())
            .collect();
        let expected: Vec<_> = (0..CALLS).map(id).collect();
        assert_eq!(asked, expected, "questions keep their order");
        asked.reverse();
        for round in 0..3 {
            for id in &asked {
                alice.say(&more(id, json!([id, round])));
            }
        }
        for id in asked
            .iter()
            .skip(1)
            .step_by(2)
            .chain(asked.iter().step_by(2))
        {
            alice.say(&last(id, json!([id, 3])));
        }
        for (number, call) in calls.iter_mut().enumerate() {
            let data: Vec<_> = call
                .until_end()
                .into_iter()
                .map(|mut e| e["data"].take())
                .collect();
            let expected: Vec<_> = (0..4).map(|round| json!([id(number), round])).collect();
            assert_eq!(data, expected, "{shards} shards");
        }
    }
}

#[test]
fn only_who_was_asked_answers() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        let mut others: Vec<_> = ["bob", "Alice", "alice%20", "ali", "ci_bot"]
            .iter()
            .map(|name| user(gateway.address, name))
            .collect();
        let id = json!("c");
        let mut call = call(gateway.address, "alice", &id);
        for other in &mut others {
            other.say(&last(&id, "stolen"));
        }
        let all = others.len() as u64;
        wait_until("nobody waits for theirs", || {
            metric(gateway.address, "answers_unclaimed_total") == all
        });
        assert!(call.is_silent(SILENCE));
        alice.say(&last(&id, "mine"));
        assert_eq!(call.until_end(), [last(&id, "mine")]);
        for other in &mut others {
            assert!(
                other.is_silent(Duration::from_millis(10)),
                "they are not told"
            );
        }
    }
}

#[test]
fn an_id_inside_of_data_is_not_looked_at() {
    let gateway = gateway(3, |_| {});
    let mut alice = user(gateway.address, "alice");
    let id = json!("c");
    let mut call = call(gateway.address, "alice", &id);
    for answer in [
        json!({ "type": "response", "data": { "correlation_id": "c", "is_final": true } }),
        json!({ "type": "final_response", "data": { "correlation_id": "c" } }),
        json!({ "correlation_id": "other", "data": { "correlation_id": "c" }, "is_final": true }),
        json!({ "correlationId": "c", "is_final": true }),
        json!({ "id": "c", "type": "response" }),
    ] {
        alice.say(&answer);
    }
    let both = json!({ "correlation_id": "c", "data": { "correlation_id": "d" }, "is_final": 1 });
    alice.say(&both);
    assert_eq!(call.until_end(), [both]);
}

#[test]
fn a_user_who_comes_back_in_time_answers() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        for round in 0..10 {
            let id = json!(round);
            let name = format!("u{round}");
            let mut first = user(gateway.address, &name);
            let mut call = call(gateway.address, &name, &id);
            assert_eq!(first.json()["correlation_id"], id);
            first.say(&more(&id, "first"));
            assert_eq!(call.event(), more(&id, "first"));
            leave(first);
            let mut second = user(gateway.address, &name);
            second.say(&last(&id, "second"));
            assert_eq!(call.until_end(), [last(&id, "second")], "{shards} shards");
        }
    }
}

#[test]
fn a_user_who_leaves_does_not_end_the_stream_before_its_time() {
    let gateway = gateway(3, |config| {
        config.section_mut::<BridgeSettings>().response_timeout = Duration::from_secs(3);
    });
    let alice = user(gateway.address, "alice");
    let mut call = call(gateway.address, "alice", &json!("c"));
    leave(alice);
    assert!(call.is_silent(Duration::from_millis(200)));
    let timeout = json!({ "error": "Timeout waiting for response", "correlation_id": "c" });
    assert_eq!(call.until_end(), [timeout]);
}

#[test]
fn what_is_answered_before_the_user_leaves_arrives() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        for round in 0..20 {
            let (id, name) = (json!(round), format!("u{round}"));
            let mut alice = user(gateway.address, &name);
            let mut call = call(gateway.address, &name, &id);
            for number in 0..5 {
                alice.say(&more(&id, number));
            }
            alice.say(&last(&id, 5));
            drop(alice);
            let data: Vec<_> = call.until_end().iter().map(|e| e["data"].clone()).collect();
            assert_eq!(data, [0, 1, 2, 3, 4, 5], "{shards} shards");
        }
    }
}

#[test]
fn a_caller_who_goes_away_is_forgotten() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let address = gateway.address;
        let mut alice = user(address, "alice");
        for round in 0..10 {
            let id = json!(format!("c{round}"));
            let gone = call(address, "alice", &id);
            alice.json();
            drop(gone);
            let before = metric(address, "answers_unclaimed_total");
            wait_until("the caller is gone", || {
                alice.say(&more(&id, "for nobody"));
                metric(address, "answers_unclaimed_total") > before
            });
            let mut next = call_when_free(address, "alice", &id);
            assert_eq!(alice.json()["correlation_id"], id);
            alice.say(&last(&id, "for somebody"));
            let events = next.until_end();
            assert_eq!(
                events.last(),
                Some(&last(&id, "for somebody")),
                "{shards} shards"
            );
        }
    }
}

#[test]
fn many_callers_who_go_away_leave_nothing_behind() {
    const CALLS: usize = 40;
    for shards in [1, 3] {
        // As many as may wait at all.
        let gateway = gateway(shards, |config| {
            config.section_mut::<BridgeSettings>().max_calls = CALLS;
        });
        let address = gateway.address;
        let mut alice = user(address, "alice");
        for _ in 0..5 {
            let id = |number: usize| json!(number);
            let calls: Vec<_> = (0..CALLS)
                .map(|number| wait_for_call(address, &id(number)))
                .collect();
            for _ in 0..CALLS {
                alice.json();
            }
            drop(calls);
        }
    }
}

/// Asks until there is room, and the id is free.
fn wait_for_call(address: std::net::SocketAddr, id: &Value) -> Call {
    let body = json!({ "user_id": "alice", "data": { "correlation_id": id } }).to_string();
    let mut call = Call::post(address, "/sse/send", "", &body);
    wait_until("there is room again", || {
        let has_begun = call.status == 200;
        if !has_begun {
            assert!(matches!(call.status, 409 | 503), "{}", call.head);
            call = Call::post(address, "/sse/send", "", &body);
        }
        has_begun || call.status == 200
    });
    call
}

#[test]
fn large_answers_arrive_whole_across_shards() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |config| {
            config.section_mut::<BridgeSettings>().max_answer_bytes = 16 << 20;
        });
        for round in 0..2 {
            let (id, name) = (json!(round), format!("u{round}"));
            let mut alice = user(gateway.address, &name);
            let mut call = call(gateway.address, &name, &id);
            let large = "x".repeat(400_000);
            let reader = thread::spawn(move || call.until_end());
            let answer = frame(0x81, more(&id, large.as_str()).to_string().as_bytes());
            for _ in 0..4 {
                alice.send_bytes(&answer);
            }
            alice.say(&last(&id, "end"));
            let events = reader.join().unwrap();
            assert_eq!(events.len(), 5);
            assert!(events[..4].iter().all(|event| event["data"] == large));
        }
    }
}

#[test]
fn a_caller_who_sends_a_body_in_chunks_is_answered() {
    use std::io::Write;
    let gateway = gateway(3, |_| {});
    let mut alice = user(gateway.address, "alice");
    let mut stream = crate::support::Socket::connect(gateway.address).unwrap();
    let body = r#"{"user_id":"alice","data":{"correlation_id":"c"}}"#;
    let request = format!(
        "POST /sse/push HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let response = crate::support::read_response(&mut stream);
    assert_eq!(response.json()["status"], "success");
    assert_eq!(alice.json()["correlation_id"], "c");
}

#[test]
fn a_caller_of_http_1_0_gets_the_stream_as_it_is_and_its_end() {
    use std::io::{Read, Write};
    let gateway = gateway(3, |_| {});
    let mut alice = user(gateway.address, "alice");
    let body = r#"{"user_id":"alice","data":{"correlation_id":"c"}}"#;
    let request = format!(
        "POST /sse/send HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = crate::support::Socket::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    alice.json();
    alice.send(0x81, br#"{"correlation_id":"c"}"#);
    alice.send(0x81, br#"{"correlation_id":"c","is_final":1}"#);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(" 200 ") && !head.contains("chunked"),
        "{head}"
    );
    let events =
        "data: {\"correlation_id\":\"c\"}\n\ndata: {\"correlation_id\":\"c\",\"is_final\":1}\n\n";
    assert_eq!(body, events);
}

#[test]
fn what_a_user_answered_before_coming_back_is_before_what_comes_after() {
    let gateway = gateway(3, |_| {});
    let address = gateway.address;
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            thread::spawn(move || {
                for round in 0..40 {
                    let name = format!("u{thread}.{round}");
                    let id = json!(name);
                    let mut first = user(address, &name);
                    let mut call = call(address, &name, &id);
                    assert_eq!(first.json()["correlation_id"], id);
                    first.say(&more(&id, "first"));
                    // The gateway has answered the close frame, so it has read what was before it.
                    leave(first);
                    user(address, &name).say(&last(&id, "second"));
                    assert_eq!(call.until_end(), [more(&id, "first"), last(&id, "second")]);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no answer is lost or overtaken");
    }
}
