//! The events protocol's endpoints and requests, a test for each part of
//! docs/protocol.md that is not in `events`.

use fanfare::auth::{Grant, issue};
use fanfare::config::{Mode, Secret};
use serde_json::{Value, json};

use crate::support::{Client, TestGateway, metric, request};

/// Says `text` and returns the answer.
fn ask(client: &mut Client, text: &str) -> Value {
    client.send(0x81, text.as_bytes());
    client.json()
}

/// Checks that `text` is answered by this, but for the timestamp.
fn check(client: &mut Client, text: &str, expected: Value) {
    let mut answer = ask(client, text);
    let timestamp = answer.as_object_mut().unwrap().remove("timestamp");
    let timestamp = timestamp.expect("a timestamp");
    assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
    assert_eq!(answer, expected, "{text}");
}

/// Checks the error that `text` is answered with, and that the connection stays.
fn check_error(client: &mut Client, text: &str, code: &str, message: &str) -> Value {
    let answer = ask(client, text);
    assert_eq!(
        (&answer["type"], &answer["code"], &answer["message"]),
        (&json!("error"), &json!(code), &json!(message)),
        "{text}"
    );
    assert_eq!(ask(client, r#"{"type":"ping"}"#)["type"], "pong");
    answer
}

/// Asks for an upgrade at `path` that is refused; the status and why.
fn refused(gateway: &TestGateway, path: &str) -> (u16, String) {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let response = request(gateway.address, head.as_bytes());
    let detail = response.json()["detail"].as_str().unwrap().to_owned();
    assert!(response.closed && response.count() == 1);
    (response.status, detail)
}

#[test]
fn a_client_may_name_itself() {
    let gateway = TestGateway::start();
    let longest = "x".repeat(64);
    for id in ["cl1", "A-z_09", &longest] {
        let path = format!("/api/v1/ws/{id}?token=dev");
        let mut first = Client::connect(gateway.address, &path).json();
        let second = Client::connect(gateway.address, &path).json();
        assert_eq!(first["client_id"], id);
        assert_eq!(first["data"]["client_id"], id);
        assert_eq!(first["data"]["endpoint"], "prod");
        assert_eq!(first["authenticated"], false);
        // The name is the client's, the session is the gateway's.
        assert_ne!(
            first["data"].take()["session_id"],
            second["data"]["session_id"]
        );
    }
}

#[test]
fn a_client_that_names_itself_needs_a_token_where_one_is_asked_for() {
    let secret = [7; 32];
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = Secret::new(secret);
    });
    let mut client = Client::connect(gateway.address, "/api/v1/ws/cl1");
    assert_eq!(client.json()["code"], "AUTHENTICATION_FAILED");
    assert_eq!(client.until_close(), Some(1008));
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = since.unwrap().as_secs();
    let grant = Grant {
        user: "alice",
        role: None,
        issued_at: now,
        expires_at: now + 600,
    };
    let token = issue(&grant, &Secret::new(secret).unwrap()).unwrap();
    let path = format!("/api/v1/ws/cl1?token={token}");
    let mut client = Client::connect(gateway.address, &path);
    let greeting = client.json();
    assert_eq!(greeting["client_id"], "cl1");
    assert_eq!(greeting["user"], "alice");
    let answer = ask(&mut client, r#"{"type":"command","command":"echo"}"#);
    assert_eq!(answer["result"], json!({ "echo": null, "sender": "alice" }));
}

#[test]
fn m13_a_bad_client_id_is_refused_before_the_upgrade_and_not_repeated() {
    let gateway = TestGateway::start();
    let too_long = "x".repeat(65);
    for id in [
        "a.b",
        "a%20b",
        "a%0d%0aX:1",
        "%64emo",
        "a;b",
        "a*",
        "~",
        &too_long,
    ] {
        let (status, why) = refused(&gateway, &format!("/api/v1/ws/{id}"));
        assert_eq!(status, 404, "{id}");
        assert_eq!(why, "A client id is 1 to 64 letters, digits, `_` and `-`");
    }
    for id in ["monitor", "connections", "subscriptions"] {
        let (status, why) = refused(&gateway, &format!("/api/v1/ws/{id}?x=1"));
        assert_eq!(status, 404, "{id}");
        assert_eq!(why, format!("`{id}` is reserved: choose another client id"));
    }
    for path in ["/api/v1/ws/", "/api/v1/ws/a/b", "/api/v1/ws/monitor/a"] {
        assert_eq!(refused(&gateway, path).0, 404, "{path}");
    }
}

#[test]
fn a_welcome_comes_to_those_who_ask_for_it() {
    let gateway = TestGateway::start();
    for endpoint in ["demo", "dev"] {
        let path = format!("/api/v1/ws/{endpoint}?welcome=true");
        let mut client = Client::connect(gateway.address, &path);
        assert_eq!(client.json()["type"], "connection_established");
        let welcome = client.json();
        assert_eq!(welcome["type"], format!("{endpoint}_welcome"));
        assert!(welcome["message"].is_string() && welcome["timestamp"].is_string());
        let features = welcome["features"].as_array().unwrap();
        assert_eq!(features.len(), 3);
        assert!(features.iter().all(Value::is_string));
        assert_eq!(ask(&mut client, r#"{"type":"ping"}"#)["type"], "pong");
    }
    for path in ["/api/v1/ws?welcome=true", "/api/v1/ws/demo?welcome=false"] {
        let mut client = Client::connect(gateway.address, path);
        assert_eq!(client.json()["type"], "connection_established");
        assert_eq!(ask(&mut client, r#"{"type":"ping"}"#)["type"], "pong");
    }
}

#[test]
fn a_parameter_that_means_nothing_is_refused_before_the_upgrade() {
    let gateway = TestGateway::start();
    for (query, expected) in [
        (
            "format=cbor",
            "`format` is unknown; there are: json, msgpack",
        ),
        ("format=", "`format` is unknown; there are: json, msgpack"),
        (
            "token=dev&format=JSON",
            "`format` is unknown; there are: json, msgpack",
        ),
        ("welcome=maybe", "`welcome` is true or false"),
    ] {
        for path in ["demo", "dev", "cl1"] {
            let (status, why) = refused(&gateway, &format!("/api/v1/ws/{path}?{query}"));
            assert_eq!((status, &*why), (400, expected), "{path} {query}");
        }
    }
}

#[test]
fn dev_config_says_where_to_begin_outside_of_prod() {
    let get = |gateway: &TestGateway| {
        let head = b"GET /api/v1/dev-config HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        request(gateway.address, head)
    };
    let gateway = TestGateway::start();
    let response = get(&gateway);
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    let config = response.json();
    assert_eq!(config["mode"], "demo");
    assert_eq!(config["auth_required"], false);
    assert_eq!(config["formats"], json!(["json", "msgpack"]));
    assert_eq!(
        config["limits"],
        json!({ "message_bytes": 65_536, "subscriptions": 50, "batch_messages": 100, "connections": 0, "frames_per_minute": 0 })
    );
    for name in ["demo", "dev", "prod"] {
        let path = config["endpoints"][name].as_str().unwrap();
        let greeting = Client::connect(gateway.address, path).json();
        assert_eq!(greeting["data"]["endpoint"], name);
    }
    let gateway = TestGateway::in_mode(Mode::Dev, |config| config.clients.demo_enabled = false);
    let config = get(&gateway).json();
    assert_eq!(
        (&config["mode"], &config["auth_required"]),
        (&json!("dev"), &json!(true))
    );
    assert_eq!(config["endpoints"]["demo"], Value::Null);
    let gateway = TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = Secret::new([7; 32]);
    });
    assert_eq!(get(&gateway).status, 404);
}

#[test]
fn queries_by_name_are_answered_with_a_response() {
    let gateway = TestGateway::with(|config| config.server.shards = 2);
    let _other = Client::events(gateway.address);
    let mut client = Client::events(gateway.address);
    client.subscribe(&["b", "a.*"]);
    check(
        &mut client,
        r#"{"type":"query","id":1,"params":{"query":"subscriptions"}}"#,
        json!({"type":"response","id":1,"result":{"subscriptions":["b","a.*"],"count":2,"limit":50}}),
    );
    check(
        &mut client,
        r#"{"type":"query","id":"q","params":{"query":"connections"}}"#,
        json!({"type":"response","id":"q","result":{"count":2}}),
    );
    let answer = ask(
        &mut client,
        r#"{"type":"query","params":{"query":"server_info"}}"#,
    );
    assert!(answer.get("id").is_none());
    let info = &answer["result"];
    assert_eq!(
        (&info["name"], &info["endpoint"]),
        (&json!("fanfare"), &json!("demo"))
    );
    assert!(info["version"].is_string() && info["uptime_seconds"].is_u64());
    assert_eq!(info["connected_users"], 2);
    let answer = ask(
        &mut client,
        r#"{"type":"query","params":{"query":"metrics"}}"#,
    );
    let metrics = &answer["result"];
    assert_eq!(metrics["connections"], 2);
    assert_eq!(metrics["messages_in"], 5);
    for name in ["messages_out", "subscriptions", "uptime_seconds"] {
        assert!(metrics[name].is_u64(), "{metrics}");
    }
    let text = r#"{"type":"query","id":2,"params":{"query":"secrets"}}"#;
    let error = check_error(&mut client, text, "UNKNOWN_QUERY", "Unknown query: secrets");
    assert_eq!(error["id"], 2);
    for text in [
        r#"{"type":"query"}"#,
        r#"{"type":"query","params":{"query":1}}"#,
        r#"{"type":"query","params":"server_info"}"#,
    ] {
        let message = "`params.query` is missing: a name";
        check_error(&mut client, text, "INVALID_MESSAGE", message);
    }
}

#[test]
fn queries_by_type_are_answered_with_a_query_result() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    for (kind, field, empty) in [
        ("agent_status", "agents", json!([])),
        ("world_state", "world", json!({})),
    ] {
        let text = json!({"type": "query", "id": 7, "data": {"query_type": kind}});
        let answer = ask(&mut client, &text.to_string());
        assert_eq!(answer["type"], "query_result");
        assert_eq!(
            (&answer["query_type"], &answer["id"]),
            (&json!(kind), &json!(7))
        );
        assert_eq!(answer["data"][field], empty);
        assert_eq!(answer["data"]["timestamp"], answer["timestamp"]);
    }
    let text = r#"{"type":"query","data":{"query_type":"x"}}"#;
    check_error(&mut client, text, "UNKNOWN_QUERY", "Unknown query: x");
}

#[test]
fn a_command_is_run_wherever_its_name_stands() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    for text in [
        r#"{"type":"command","id":"c","params":{"command":"echo","params":{"x":[1.0,"\u0041"]}}}"#,
        r#"{"type":"command","id":"c","command":"echo","params":{"x":[1.0,"\u0041"]}}"#,
        r#"{"type":"command","id":"c","data":{"command":"echo","params":{"x":[1.0,"A"]}}}"#,
        r#"{"type":"command","id":"c","data":{"command":"echo","parameters":{"x":[1.0,"A"]}}}"#,
    ] {
        let result = json!({ "echo": { "x": [1.0, "A"] }, "sender": null });
        check(
            &mut client,
            text,
            json!({"type":"response","id":"c","result":result}),
        );
    }
}

#[test]
fn the_commands_of_the_registry_answer() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    let mut run = |name: &str| {
        let answer = ask(
            &mut client,
            &json!({"type":"command","id":1,"command":name}).to_string(),
        );
        assert_eq!(
            (&answer["type"], &answer["id"]),
            (&json!("response"), &json!(1)),
            "{answer}"
        );
        answer["result"].clone()
    };
    let commands = run("list_commands");
    assert_eq!(
        commands,
        json!({"commands":["echo","list_commands","ping","server_info","user_count"],"count":5})
    );
    assert_eq!(run("ping")["message"], "pong");
    assert_eq!(run("echo"), json!({ "echo": null, "sender": null }));
    assert_eq!(run("user_count")["count"], 1);
    assert_eq!(run("server_info")["connected_users"], 1);
    for name in ["ping", "user_count", "server_info"] {
        assert!(run(name)["timestamp"].is_u64(), "seconds since the epoch");
    }
    let text = r#"{"type":"command","id":"x","command":"reboot"}"#;
    let error = check_error(
        &mut client,
        text,
        "UNKNOWN_COMMAND",
        "Unknown command: reboot",
    );
    assert_eq!(error["id"], "x");
    for text in [
        r#"{"type":"command"}"#,
        r#"{"type":"command","command":[]}"#,
    ] {
        check_error(
            &mut client,
            text,
            "INVALID_MESSAGE",
            "`command` is missing: a name",
        );
    }
}

#[test]
fn an_agent_command_is_acknowledged() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    for command in [
        "start", "stop", "restart", "status", "update", "create", "delete",
    ] {
        let data = json!({"command": command, "agent_id": "agent-1_B", "params": {"x": 1}});
        check(
            &mut client,
            &json!({"type": "agent_command", "id": 5, "data": data}).to_string(),
            json!({"type":"agent_command_result","id":5,"agent_id":"agent-1_B","command":command,
                "status":"acknowledged"}),
        );
    }
    let mut fails = |data: &str, code: &str, message: &str| {
        let text = format!(r#"{{"type":"agent_command","id":6,"data":{data}}}"#);
        assert_eq!(check_error(&mut client, &text, code, message)["id"], 6);
    };
    fails("[]", "INVALID_MESSAGE", "`data` is missing: an object");
    fails("{}", "INVALID_COMMAND", "`data.command` is missing: a name");
    let data = r#"{"command":"explode","agent_id":"a"}"#;
    fails(data, "INVALID_COMMAND", "Invalid command: explode");
    // Case C4: a command without an agent is none.
    let missing = "`data.agent_id` is missing: the agent that the command is for";
    fails(r#"{"command":"start"}"#, "INVALID_COMMAND", missing);
    fails(
        r#"{"command":"start","agent_id":null}"#,
        "INVALID_COMMAND",
        missing,
    );
    for agent in ["\"a b\"", "\"a\\u0000\"", "\"../b\""] {
        let data = format!(r#"{{"command":"stop","agent_id":{agent}}}"#);
        let message = "`data.agent_id` is 1 to 128 letters, digits, `_` and `-`";
        fails(&data, "INVALID_AGENT_ID", message);
    }
}

#[test]
fn a_batch_is_done_in_order_and_answered_one_by_one() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    client.say(&json!({"type": "batch", "id": "not answered", "messages": [
        {"type": "ping", "id": 1},
        {"type": "subscribe", "events": ["t"], "id": 2},
        {"type": "publish", "event": "t", "data": "x", "id": 3},
        {"type": "batch", "messages": [{"type": "ping"}], "id": 4},
        5,
        {"type": "ping", "id": {}},
        {"type": "whatever", "id": 6},
        {"type": "heartbeat", "id": 7},
    ]}));
    let answers: Vec<Value> = (0..9).map(|_| client.json()).collect();
    let (events, answers): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| answer["type"] == "event");
    let seen: Vec<_> = answers
        .iter()
        .map(|answer| (answer["type"].as_str().unwrap(), answer["id"].clone()))
        .collect();
    let expected = [
        ("pong", json!(1)),
        ("subscription_confirmed", json!(2)),
        ("response", json!(3)),
        ("error", json!(4)),
        ("error", Value::Null),
        ("error", Value::Null),
        ("echo", json!(6)),
        ("heartbeat_ack", json!(7)),
    ];
    assert_eq!(seen, expected);
    // What was published came after the subscription.
    assert_eq!(events.len(), 1);
    assert_eq!(answers[3]["message"], "A batch has no batches in it");
    assert_eq!(
        answers[6]["original"],
        json!({ "type": "whatever", "id": 6 })
    );
}

#[test]
fn m04_a_batch_has_100_messages_and_no_more() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    let batch = |count: usize| {
        let messages: Vec<Value> = (0..count)
            .map(|id| json!({"type": "ping", "id": id}))
            .collect();
        json!({"type": "batch", "id": "b", "messages": messages}).to_string()
    };
    let text = batch(100);
    client.send(0x81, text.as_bytes());
    for id in 0..100 {
        assert_eq!(client.json()["id"], id);
    }
    let message = "A batch has at most 100 messages";
    let error = check_error(&mut client, &batch(101), "INVALID_MESSAGE", message);
    assert_eq!(
        (&error["id"], &error["details"]),
        (&json!("b"), &json!({ "limit": 100 }))
    );
    // None at all is a batch, too, without any answer.
    client.send(0x81, batch(0).as_bytes());
    assert_eq!(ask(&mut client, r#"{"type":"ping"}"#)["type"], "pong");
    for messages in ["", r#","messages":{}"#, r#","messages":"ping""#] {
        let text = format!(r#"{{"type":"batch"{messages}}}"#);
        let message = "`messages` is missing: a list of messages";
        check_error(&mut client, &text, "INVALID_MESSAGE", message);
    }
}

/// A batch that publishes more than a log takes before it is flushed goes on
/// where it had to wait.
#[test]
fn a_batch_that_has_to_wait_repeats_and_omits_nothing() {
    for shards in [1, 2] {
        let gateway = TestGateway::with(|config| {
            config.server.shards = shards;
            config.hub.max_log_size = 64 * 1024;
            config.hub.max_lag = 64 * 1024;
            config.clients.max_message_size = 256 * 1024;
            // A reader that is given no time by a busy machine is no slow one.
            config.server.max_unsent = 4 * 1024 * 1024;
        });
        let mut subscriber = Client::events(gateway.address);
        subscriber.subscribe(&["t"]);
        let mut publisher = Client::events(gateway.address);
        let (read, has_read) = std::sync::mpsc::channel();
        let reading = std::thread::spawn(move || {
            for number in 0..500 {
                if number % 100 == 0 {
                    read.send(()).unwrap();
                }
                let event = subscriber.json();
                assert_eq!(
                    event["data"][0], number,
                    "in order, once: {}",
                    event["type"]
                );
            }
            subscriber
        });
        for round in 0..5 {
            has_read.recv().unwrap();
            let messages: Vec<Value> = (0..100)
                .map(|n| {
                    let number = round * 100 + n;
                    let data = json!([number, "x".repeat(2000)]);
                    json!({"type": "publish", "event": "t", "data": data, "id": number})
                })
                .collect();
            publisher.say(&json!({"type": "batch", "messages": messages}));
        }
        for number in 0..500 {
            let answer = publisher.json();
            assert_eq!(answer["id"], number, "{answer}");
            assert_eq!(answer["result"]["offset"], number + 1);
        }
        let mut subscriber = reading.join().unwrap();
        let waited = metric(gateway.address, "publications_waited_total");
        // With two shards it depends on who is where.
        assert!(
            waited > 0 || shards > 1,
            "a log of 64 KiB does not take 200 KB at once"
        );
        subscriber.say(&json!({"type": "ping"}));
        assert_eq!(subscriber.json()["type"], "pong");
    }
}

/// Answers that do not fit into the outbox are waited for, not dropped.
#[test]
fn a_batch_with_more_answers_than_fit_loses_none() {
    let gateway = TestGateway::with(|config| config.hub.outbox_max_bytes = 8 * 1024);
    let mut client = Client::events(gateway.address);
    let filler = "x".repeat(500);
    for round in 0..5 {
        let messages: Vec<Value> = (0..100)
            .map(|n| json!({"type": "ping", "id": format!("{round}-{n}-{filler}")}))
            .collect();
        client.say(&json!({"type": "batch", "messages": messages}));
    }
    for round in 0..5 {
        for n in 0..100 {
            let answer = client.json();
            let id = answer["id"]
                .as_str()
                .unwrap_or("")
                .split_once("-x")
                .unwrap();
            assert_eq!(id.0, format!("{round}-{n}"), "{}", answer["type"]);
        }
    }
}

#[test]
fn an_id_is_repeated_unchanged_by_every_answer() {
    let gateway = TestGateway::start();
    let mut client = Client::events(gateway.address);
    for id in [
        "0",
        "-7",
        "1.50",
        "12345678901234567890",
        r#""""#,
        r#""é\n\"""#,
    ] {
        for body in [
            r#""type":"ping""#,
            r#""type":"heartbeat""#,
            r#""type":"subscribe","events":["a"]"#,
            r#""type":"unsubscribe""#,
            r#""type":"publish","event":"a","data":1"#,
            r#""type":"query","params":{"query":"connections"}"#,
            r#""type":"query","data":{"query_type":"world_state"}"#,
            r#""type":"command","command":"ping""#,
            r#""type":"agent_command","data":{"command":"stop","agent_id":"a"}"#,
            r#""type":"batch""#,
            r#""type":"other""#,
            r#""type":"subscribe""#,
        ] {
            client.send(0x81, format!(r#"{{{body},"id":{id}}}"#).as_bytes());
            let answer = String::from_utf8(client.next().unwrap().payload).unwrap();
            assert!(
                answer.contains(&format!(r#""id":{id},"#)),
                "{body}: {answer}"
            );
        }
    }
}

#[test]
fn what_other_systems_knew_and_this_protocol_does_not_is_unknown() {
    let gateway = TestGateway::start();
    let mut client = Client::connect(gateway.address, "/api/v1/ws");
    client.json();
    for kind in ["clear_conversation", "prompt_submitted", "agent_create"] {
        let text = json!({ "type": kind, "data": {} }).to_string();
        let message = format!("Unknown message type: {kind}");
        check_error(&mut client, &text, "UNKNOWN_MESSAGE_TYPE", &message);
    }
}

#[test]
fn limits_say_how_much_there_is() {
    let gateway = TestGateway::with(|config| config.clients.max_subscriptions = 1);
    let mut client = Client::events(gateway.address);
    client.say(&json!({ "type": "subscribe", "events": ["a", "b"] }));
    assert_eq!(client.json()["rejected"], json!(["b"]));
    let error = client.json();
    assert_eq!(
        (&error["code"], &error["details"]),
        (&json!("SUBSCRIPTION_LIMIT"), &json!({"limit": 1}))
    );
    let gateway = TestGateway::with(|config| config.clients.max_message_size = 128 * 1024);
    let mut client = Client::events(gateway.address);
    let data = "x".repeat(65_536);
    let text = json!({ "type": "publish", "event": "t", "data": data }).to_string();
    let message = "`data` has 65538 bytes; this topic takes 65536";
    let error = check_error(&mut client, &text, "MESSAGE_TOO_LARGE", message);
    assert_eq!(error["details"], json!({ "limit": 65_536 }));
}
