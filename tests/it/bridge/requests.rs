//! The requests of services: what is answered to good ones, and to all others.

use fanfare::config::{CorsOrigin, OriginPattern};
use serde_json::{Value, json};

use super::{SILENCE, gateway, post, post_with, push, push_message, user};
use crate::support::{Response, TestGateway, request};

const PATHS: [&str; 3] = ["/sse/push", "/sse/push/batch", "/sse/send"];
const JSON: &str = "Content-Type: application/json\r\n";

fn ask(gateway: &TestGateway, method: &str, path: &str, headers: &str) -> Response {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    request(gateway.address, head.as_bytes())
}

/// The body is refused with exactly these faults.
#[track_caller]
fn check(gateway: &TestGateway, path: &str, headers: &str, body: &str, faults: &Value) {
    let response = post_with(gateway.address, path, headers, body);
    assert_eq!(response.status, 422, "{path} {body:.200}: {response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(&response.json()["detail"], faults, "{path} {body:.200}");
}

fn fault(kind: &str, place: Value, message: &str, input: Value) -> Value {
    let mut loc = vec![json!("body")];
    loc.extend(place.as_array().unwrap().iter().cloned());
    json!({ "type": kind, "loc": loc, "msg": message, "input": input })
}

#[test]
fn a_push_says_whether_it_arrived() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        let body = r#"{"user_id":"alice","data":{"message":"hi"}}"#;
        let response = post(gateway.address, "/sse/push", body);
        assert_eq!(response.header("content-type"), Some("application/json"));
        let delivered = json!({ "status": "success", "message": "Message delivered" });
        assert_eq!((response.status, response.json()), (200, delivered));
        assert_eq!(alice.json()["message"], "hi");
        for name in [
            "bob",
            "",
            "Alice",
            "alice ",
            "*",
            "a.*",
            &"x".repeat(129),
            &"x".repeat(5000),
        ] {
            assert!(!push(gateway.address, name, &json!({})), "{name:.20}");
        }
        assert!(alice.is_silent(SILENCE));
    }
}

#[test]
fn a_batch_says_of_each_message_whether_it_arrived() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        let mut ci = user(gateway.address, "ci_bot");
        let messages = json!([
            { "user_id": "alice", "data": { "n": 0 } },
            { "user_id": "nobody", "data": { "n": 1 } },
            { "user_id": "alice", "data": { "n": 2 } },
            { "user_id": "bob", "data": { "n": 3, "message": "@ci_bot" } },
            { "user_id": "alice", "data": { "n": 4, "message": "@email_bot" } },
            { "user_id": "", "data": {} },
            { "user_id": "al\"\\ice\n", "data": {} },
        ]);
        let response = post(gateway.address, "/sse/push/batch", &messages.to_string());
        assert_eq!(response.status, 200, "{response:?}");
        let result = |index: usize, success: bool| json!({ "index": index, "user_id": messages[index]["user_id"], "success": success });
        let arrived = [true, false, true, true, false, false, false];
        let results: Vec<_> = (0..7).map(|index| result(index, arrived[index])).collect();
        assert_eq!(response.json(), json!({ "results": results }));
        assert_eq!(alice.json()["n"], 0);
        assert_eq!(alice.json()["n"], 2);
        let rerouted = ci.json();
        assert_eq!(
            (&rerouted["n"], &rerouted["user_id"]),
            (&json!(3), &json!("bob"))
        );
        assert!(alice.is_silent(SILENCE) && ci.is_silent(SILENCE));
        let empty = post(gateway.address, "/sse/push/batch", " [ ] ");
        assert_eq!(
            (empty.status, empty.json()),
            (200, json!({ "results": [] }))
        );
    }
}

#[test]
fn one_bad_message_is_the_end_of_the_batch_and_nothing_is_delivered() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        let good = json!({ "user_id": "alice", "data": {} });
        for bad in [
            json!({}),
            json!(null),
            json!([]),
            json!({ "user_id": "alice", "data": 1 }),
        ] {
            let body = json!([good, good, bad, good]).to_string();
            let response = post(gateway.address, "/sse/push/batch", &body);
            assert_eq!(response.status, 422, "{response:?}");
            assert_eq!(response.json()["detail"][0]["loc"][1], 2);
        }
        assert_eq!(post(gateway.address, "/sse/push/batch", "[{").status, 422);
        assert!(alice.is_silent(SILENCE));
    }
}

#[test]
fn large_batches_are_delivered_in_order() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        let messages: Vec<_> = (0..3000)
            .map(|n| json!({ "user_id": "alice", "data": { "n": n } }))
            .collect();
        let response = post(
            gateway.address,
            "/sse/push/batch",
            &json!(messages).to_string(),
        );
        let results = response.json()["results"].take();
        assert_eq!(results.as_array().unwrap().len(), 3000);
        for n in 0..3000 {
            assert_eq!(
                results[n],
                json!({ "index": n, "user_id": "alice", "success": true })
            );
            assert_eq!(alice.json()["n"], n);
        }
    }
}

#[test]
fn fields_that_mean_nothing_are_ignored_and_optional_ones_may_be_null() {
    let gateway = gateway(3, |_| {});
    let mut alice = user(gateway.address, "alice");
    for more in [
        json!({ "event_type": "x", "event_id": "y", "timestamp": 12.5 }),
        json!({ "event_type": null, "event_id": null, "timestamp": null }),
        json!({ "timestamp": "12.5" }),
        json!({ "timestamp": "-1e3" }),
        json!({ "timestamp": 0 }),
        json!({ "extra": { "user_id": "bob" }, "priority": 9, "correlation_id": [1] }),
        json!({ "event_type": "no name of an event", "event_id": "" }),
    ] {
        let mut message = json!({ "user_id": "alice", "data": { "kind": "same" } });
        message
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert!(push_message(gateway.address, &message), "{message}");
        let mut frame = alice.json();
        assert_eq!(frame["correlation_id"].take().as_str().unwrap().len(), 36);
        let sender = json!({ "user_id": "alice", "timestamp": null });
        let expected = json!({
            "kind": "same", "user_id": "alice", "original_sender": sender, "correlation_id": null,
        });
        assert_eq!(frame, expected, "{message}");
    }
}

#[test]
fn each_fault_of_a_message_is_told_as_it_always_was() {
    let gateway = gateway(1, |_| {});
    for path in ["/sse/push", "/sse/send"] {
        let check = |body: &str, faults: Value| check(&gateway, path, JSON, body, &faults);
        let missing =
            |name: &str, input: Value| fault("missing", json!([name]), "Field required", input);
        let no_user = json!({ "data": {} });
        check(r#"{"data":{}}"#, json!([missing("user_id", no_user)]));
        check(
            "{}",
            json!([missing("user_id", json!({})), missing("data", json!({}))]),
        );
        let no_data = json!({ "user_id": "u" });
        check(r#"{"user_id":"u"}"#, json!([missing("data", no_data)]));
        check(
            "",
            json!([fault("missing", json!([]), "Field required", json!(null))]),
        );
        for (data, input) in [
            ("1", json!(1)),
            ("\"s\"", json!("s")),
            ("[]", json!([])),
            ("null", json!(null)),
        ] {
            let body = format!(r#"{{"user_id":"u","data":{data}}}"#);
            let why = "Input should be a valid dictionary";
            check(
                &body,
                json!([fault("dict_type", json!(["data"]), why, input)]),
            );
        }
        for (user, input) in [
            ("1", json!(1)),
            ("null", json!(null)),
            ("true", json!(true)),
            ("{}", json!({})),
        ] {
            let body = format!(r#"{{"user_id":{user},"data":{{}}}}"#);
            let why = "Input should be a valid string";
            check(
                &body,
                json!([fault("string_type", json!(["user_id"]), why, input)]),
            );
        }
        for name in ["event_type", "event_id"] {
            let body = json!({ "user_id": "u", "data": {}, name: 5 }).to_string();
            let why = "Input should be a valid string";
            check(
                &body,
                json!([fault("string_type", json!([name]), why, json!(5))]),
            );
        }
        let body = r#"{"user_id":"u","data":{},"timestamp":"abc"}"#;
        let why = "Input should be a valid number, unable to parse string as a number";
        check(
            body,
            json!([fault(
                "float_parsing",
                json!(["timestamp"]),
                why,
                json!("abc")
            )]),
        );
        let body = r#"{"user_id":"u","data":{},"timestamp":[]}"#;
        let why = "Input should be a valid number";
        check(
            body,
            json!([fault("float_type", json!(["timestamp"]), why, json!([]))]),
        );
        let why = "Input should be a valid dictionary or object to extract fields from";
        for (body, input) in [("[]", json!([])), ("5", json!(5)), ("\"s\"", json!("s"))] {
            check(
                body,
                json!([fault("model_attributes_type", json!([]), why, input)]),
            );
        }
        // All that is wrong, in the order of the fields.
        let body = r#"{"data":5,"event_id":6,"timestamp":"x"}"#;
        let response = post(gateway.address, path, body);
        let detail = response.json()["detail"].take();
        let kinds: Vec<_> = detail
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["type"])
            .collect();
        assert_eq!(
            kinds,
            ["missing", "dict_type", "string_type", "float_parsing"]
        );
    }
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    let gateway = gateway(1, |_| {});
    for path in PATHS {
        for (body, offset, why) in [
            ("{", 1, "Expecting property name enclosed in double quotes"),
            ("{\"user_id\":\"u\" \"data\"", 15, "Expecting ',' delimiter"),
            ("nope", 0, "Expecting value"),
            (
                "[{]",
                2,
                "Expecting property name enclosed in double quotes",
            ),
            ("{} {}", 3, "Extra data"),
            ("{\"a\":\"\n\"}", 6, "Invalid control character at"),
        ] {
            let faults = json!([{
                "type": "json_invalid", "loc": ["body", offset], "msg": "JSON decode error",
                "input": {}, "ctx": { "error": why },
            }]);
            check(&gateway, path, JSON, body, &faults);
        }
    }
}

#[test]
fn each_fault_of_a_batch_says_in_which_message_it_is() {
    let gateway = gateway(1, |_| {});
    let path = "/sse/push/batch";
    let why = "Input should be a valid list";
    for (body, input) in [
        ("{}", json!({})),
        ("null", json!(null)),
        ("\"s\"", json!("s")),
        ("5", json!(5)),
    ] {
        // `null` is no body at all.
        if body == "null" {
            let missing = fault("missing", json!([]), "Field required", input);
            check(&gateway, path, JSON, body, &json!([missing]));
            continue;
        }
        check(
            &gateway,
            path,
            JSON,
            body,
            &json!([fault("list_type", json!([]), why, input)]),
        );
    }
    let body = r#"[{"user_id":"u","data":{}},{"data":{}},{"user_id":1,"data":2},7]"#;
    let object = "Input should be a valid dictionary or object to extract fields from";
    let faults = json!([
        fault(
            "missing",
            json!([1, "user_id"]),
            "Field required",
            json!({ "data": {} })
        ),
        fault(
            "string_type",
            json!([2, "user_id"]),
            "Input should be a valid string",
            json!(1)
        ),
        fault(
            "dict_type",
            json!([2, "data"]),
            "Input should be a valid dictionary",
            json!(2)
        ),
        fault("model_attributes_type", json!([3]), object, json!(7)),
    ]);
    check(&gateway, path, JSON, body, &faults);
    check(
        &gateway,
        path,
        JSON,
        "",
        &json!([fault("missing", json!([]), "Field required", json!(null))]),
    );
}

#[test]
fn a_correlation_id_is_a_string_or_a_number() {
    let gateway = gateway(3, |_| {});
    let _alice = user(gateway.address, "alice");
    for path in PATHS {
        for id in [json!([]), json!([1]), json!({}), json!(true), json!(false)] {
            let message = json!({ "user_id": "alice", "data": { "correlation_id": id } });
            let (body, index) = match path {
                "/sse/push/batch" => (json!([message]), vec![json!(0)]),
                _ => (message, vec![]),
            };
            let response = post(gateway.address, path, &body.to_string());
            assert_eq!(response.status, 422, "{path} {id}: {response:?}");
            let detail = response.json()["detail"].take();
            let place = [
                vec![json!("body")],
                index,
                vec![json!("data"), json!("correlation_id")],
            ];
            assert_eq!(detail[0]["loc"], json!(place.concat()));
            assert_eq!(detail[0]["input"], id);
            assert_eq!(detail.as_array().unwrap().len(), 1);
        }
    }
}

#[test]
fn text_is_not_read_as_json_and_no_type_is() {
    let gateway = gateway(3, |_| {});
    let mut alice = user(gateway.address, "alice");
    let body = r#"{"user_id":"alice","data":{"n":1}}"#;
    let why = "Input should be a valid dictionary or object to extract fields from";
    let faults = json!([fault("model_attributes_type", json!([]), why, json!(body))]);
    for kind in ["text/plain", "text/plain; charset=utf-8", "text/json"] {
        for path in ["/sse/push", "/sse/send"] {
            check(
                &gateway,
                path,
                &format!("Content-Type: {kind}\r\n"),
                body,
                &faults,
            );
        }
    }
    assert!(alice.is_silent(SILENCE));
    for headers in [
        "",
        "Content-Type: application/json; charset=utf-8\r\n",
        "content-type: APPLICATION/JSON\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/vnd.api+json\r\n",
    ] {
        let response = post_with(gateway.address, "/sse/push", headers, body);
        assert_eq!(response.status, 200, "{headers}");
        assert_eq!(alice.json()["n"], 1);
    }
}

/// `curl -d` calls every body a form; what is one is refused as any text.
#[test]
fn json_that_is_called_a_form_is_read_and_a_form_is_not() {
    let gateway = gateway(1, |_| {});
    let mut alice = user(gateway.address, "alice");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let message = r#"{"user_id":"alice","data":{"n":1}}"#;
    let batch = format!("\n [{message}]");
    for (path, body) in [("/sse/push", message), ("/sse/push/batch", &*batch)] {
        let response = post_with(gateway.address, path, form, body);
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert_eq!(alice.json()["n"], 1);
    }
    let absent = r#"{"user_id":"bob","data":{}}"#;
    assert_eq!(
        post_with(gateway.address, "/sse/send", form, absent).status,
        200
    );
    let why = "Input should be a valid dictionary or object to extract fields from";
    let body = "user_id=alice&data={}";
    let faults = json!([fault("model_attributes_type", json!([]), why, json!(body))]);
    check(&gateway, "/sse/push", form, body, &faults);
}

#[test]
fn a_batch_sent_as_text_is_no_list() {
    let gateway = gateway(1, |_| {});
    let body = r#"[{"user_id":"alice","data":{}}]"#;
    let why = "Input should be a valid list";
    let faults = json!([fault("list_type", json!([]), why, json!(body))]);
    check(
        &gateway,
        "/sse/push/batch",
        "Content-Type: text/plain\r\n",
        body,
        &faults,
    );
}

#[test]
fn a_body_that_is_not_utf_8_is_refused() {
    let gateway = gateway(1, |_| {});
    for path in PATHS {
        let body = b"{\"user_id\":\"a\xff\",\"data\":{\"m\":\"\xc3\x28\"}}";
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{JSON}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let response = request(gateway.address, &[head.as_bytes(), &body[..]].concat());
        assert_eq!(response.status, 422, "{path} {response:?}");
        assert!(response.json()["detail"].is_array());
    }
}

#[test]
fn other_methods_are_told_which_one_there_is() {
    let gateway = gateway(1, |_| {});
    for path in PATHS {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let response = ask(&gateway, method, path, "");
            assert_eq!(response.status, 405, "{method} {path}");
            assert_eq!(response.header("allow"), Some("POST"), "{method} {path}");
            assert_eq!(response.json(), json!({ "detail": "Method Not Allowed" }));
        }
        assert_eq!(ask(&gateway, "HEAD", path, "").status, 405);
    }
    for path in ["/health", "/metrics"] {
        let response = post(gateway.address, path, "{}");
        assert_eq!(response.status, 405);
        assert!(
            response.header("allow").unwrap().contains("GET"),
            "{response:?}"
        );
        assert_eq!(response.json(), json!({ "detail": "Method Not Allowed" }));
    }
}

#[test]
fn other_paths_are_not_found() {
    let gateway = gateway(1, |_| {});
    for path in [
        "/sse",
        "/sse/",
        "/sse/push/",
        "/sse/Push",
        "/sse//push",
        "/sse/push/batch/x",
        "/sse/stream/alice",
        "/sse/%70ush",
        "/nothing",
    ] {
        for response in [
            ask(&gateway, "GET", path, ""),
            post(gateway.address, path, "{}"),
        ] {
            assert_eq!(response.status, 404, "{path}");
            assert_eq!(response.json(), json!({ "detail": "Not Found" }));
        }
    }
}

#[test]
fn health_and_metrics_are_what_services_know() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let _users = [user(gateway.address, "a"), user(gateway.address, "b")];
        let health = ask(&gateway, "GET", "/health", "");
        assert_eq!(health.status, 200);
        let health = health.json();
        assert_eq!(health["status"], "healthy");
        assert_eq!(health["connections"], 2);
        assert_eq!(health["uptime"], "running");
        // Gauges are brought up to date once a second.
        super::wait_until("both are counted", || {
            let metrics = ask(&gateway, "GET", "/metrics", "");
            assert_eq!(metrics.status, 200);
            assert_eq!(metrics.json()["service"], "websocket-sse-server");
            metrics.json()["active_connections"] == 2
        });
    }
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let gateway = gateway(3, |config| config.http.max_body_size = 10_000);
    let mut alice = user(gateway.address, "alice");
    let body = |len: usize| {
        let empty = r#"{"user_id":"alice","data":{"m":""}}"#.len();
        json!({ "user_id": "alice", "data": { "m": "x".repeat(len - empty) } }).to_string()
    };
    for path in PATHS {
        let response = post(gateway.address, path, &body(10_001));
        assert_eq!(response.status, 413, "{path} {response:?}");
        assert!(
            response.json()["detail"]
                .as_str()
                .unwrap()
                .contains("10000")
        );
    }
    assert!(alice.is_silent(SILENCE));
    assert_eq!(
        post(gateway.address, "/sse/push", &body(10_000)).status,
        200
    );
    assert_eq!(alice.json()["m"].as_str().unwrap().len(), 10_000 - 35);
}

#[test]
fn listed_pages_may_use_the_requests_and_others_may_not() {
    let gateway = gateway(1, |config| {
        config.http.cors_origins = vec![CorsOrigin::Only(
            OriginPattern::parse("https://app.example.com").unwrap(),
        )];
    });
    let own = "Origin: https://app.example.com\r\n";
    let foreign = "Origin: https://evil.example\r\n";
    let question =
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n";
    for path in PATHS {
        let granted = ask(&gateway, "OPTIONS", path, &format!("{own}{question}"));
        assert_eq!((granted.status, granted.body.as_str()), (200, "OK"));
        for (name, value) in [
            ("access-control-allow-origin", "https://app.example.com"),
            ("access-control-allow-credentials", "true"),
            (
                "access-control-allow-methods",
                "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
            ),
            ("access-control-max-age", "600"),
            ("vary", "Origin"),
        ] {
            assert_eq!(granted.header(name), Some(value), "{path} {name}");
        }
        let refused = ask(&gateway, "OPTIONS", path, &format!("{foreign}{question}"));
        assert_eq!(
            (refused.status, refused.body.as_str()),
            (400, "Disallowed CORS origin")
        );
        let message = json!({ "user_id": "nobody", "data": {} });
        let body = if path.ends_with("batch") {
            json!([message])
        } else {
            message
        }
        .to_string();
        for body in [body.as_str(), "{"] {
            let answer = post_with(gateway.address, path, &format!("{JSON}{own}"), body);
            assert_eq!(
                (
                    answer.header("access-control-allow-origin"),
                    answer.header("access-control-allow-credentials"),
                    answer.header("vary")
                ),
                (
                    Some("https://app.example.com"),
                    Some("true"),
                    Some("Origin")
                ),
                "{path} {answer:?}"
            );
            let answer = post_with(gateway.address, path, &format!("{JSON}{foreign}"), body);
            assert_eq!(answer.header("access-control-allow-origin"), None);
            assert_eq!(answer.header("vary"), Some("Origin"));
        }
    }
    // Pages that may not read answers may still connect.
    let mut client =
        crate::support::Client::connect_with(gateway.address, "/ws?user_id=a", foreign);
    assert!(push(gateway.address, "a", &json!({})));
    assert_eq!(client.json()["user_id"], "a");
}

#[test]
fn a_connection_stays_open_between_requests_for_as_long_as_configured() {
    use std::io::{Read, Write};
    use std::time::Duration;
    let gateway = gateway(1, |config| {
        config.websocket.message_timeout = Duration::from_millis(200);
        config.http.keep_alive_timeout = Duration::from_secs(60);
    });
    let mut stream = crate::support::Socket::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
    let body = r#"{"user_id":"nobody","data":{}}"#;
    for path in ["/sse/push", "/sse/push", "/sse/send", "/sse/push"] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..read]);
        assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text:?}");
        // Longer than a message may take, and far shorter than a pause may.
        std::thread::sleep(Duration::from_millis(600));
    }
}

#[test]
fn the_requests_are_described_for_programs_and_for_people() {
    let gateway = gateway(1, |_| {});
    let description = ask(&gateway, "GET", "/openapi.json", "");
    assert_eq!(description.status, 200, "{description:?}");
    let paths = &description.json()["paths"];
    for path in PATHS {
        assert!(paths[path]["post"].is_object(), "{path}: {paths}");
    }
    assert_eq!(ask(&gateway, "GET", "/docs", "").status, 200);
}
