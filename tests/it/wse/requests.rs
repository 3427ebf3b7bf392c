//! What clients ask of the gateway itself: each is answered, with what is so.

use std::time::Duration;

use serde_json::{Value, json};

use super::everywhere;
use crate::support::{WseApp, WseClient, wse_gateway, wse_hello, wse_publish};

/// A client that has said hello, subscribed to two topics, sent numbered messages, and taken an answer to a PING.
fn busy(address: std::net::SocketAddr) -> WseClient {
    let mut client = WseClient::greeted(address, "/wse");
    client.hello(&json!({ "compression": true, "batching": true }));
    client.subscribe(&["a", "b"]);
    for number in [1, 2, 5, 4] {
        client.say(&json!({ "t": "pong", "seq": number, "p": {} }));
    }
    client
}

#[test]
fn the_state_of_the_connection() {
    everywhere("", |gateway| {
        let mut client = busy(gateway.address);
        let p = client.ask(
            "connection_state_request",
            &json!({}),
            "connection_state_response",
        );
        assert_eq!(p["state"], "connected");
        assert_eq!(p["connection_id"], client.id());
        assert!(p["connected_since"].as_str().unwrap().ends_with('Z'));
        assert!(
            p["metrics"]["messages_received"].as_u64().unwrap() >= 6,
            "{p}"
        );
        assert!(p["metrics"]["bytes_sent"].as_u64().unwrap() > 100);
    });
}

#[test]
fn health_under_both_names() {
    everywhere("", |gateway| {
        let mut client = busy(gateway.address);
        for name in ["health_check", "health_check_request"] {
            let p = client.ask(name, &json!({}), "health_check_response");
            assert_eq!(p["status"], "healthy");
            assert_eq!(p["subscriptions"], json!({ "active": 2, "pending": 0 }));
            assert_eq!(p["client_info"]["version"], "2.0.7");
            assert_eq!(
                p["client_info"]["features"],
                json!(["compression", "batching"])
            );
            assert_eq!(
                p["circuit_breaker"]["state"], "OPEN",
                "no application is attached"
            );
            assert_eq!(p["sequence_stats"]["current_sequence"], 5);
            assert_eq!(p["sequence_stats"]["missing"], 1);
            assert_eq!(p["sequence_stats"]["out_of_order"], 1);
            assert_eq!(p["queue_stats"]["backpressure"], false);
            assert!(p["diagnostics"]["connection_quality"].is_string());
        }
    });
    let gateway = wse_gateway(1, "[backend]\nenabled = true\n");
    let mut client = WseClient::open(gateway.address);
    let _app = WseApp::attach(gateway.address);
    let p = client.ask("health_check", &json!({}), "health_check_response");
    assert_eq!(p["circuit_breaker"]["state"], "CLOSED");
}

#[test]
fn metrics_and_sequence_stats() {
    everywhere("", |gateway| {
        let mut client = busy(gateway.address);
        let first = client.ask("metrics_request", &json!({}), "metrics_response");
        let second = client.ask("metrics_request", &json!({}), "metrics_response");
        let received = |p: &Value| p["connection_stats"]["messages_received"].as_u64().unwrap();
        assert_eq!(received(&second), received(&first) + 1);
        assert!(second["uptime"].as_f64().unwrap() >= first["uptime"].as_f64().unwrap());
        let p = client.ask(
            "sequence_stats_request",
            &json!({}),
            "sequence_stats_response",
        );
        assert_eq!(
            (
                &p["current_sequence"],
                &p["expected_sequence"],
                &p["received"]
            ),
            (&json!(5), &json!(6), &json!(4))
        );
        assert_eq!(
            (&p["missing"], &p["out_of_order"], &p["repeated"]),
            (&json!(1), &json!(1), &json!(0))
        );
        assert!(p["rate_limit_remaining"].as_u64().unwrap() > 90_000);
    });
}

#[test]
fn the_highest_number_that_there_is_is_counted_and_no_other_is_expected() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        for number in [1, u64::MAX, u64::MAX] {
            client.say(&json!({ "t": "pong", "seq": number, "p": {} }));
        }
        let p = client.ask(
            "sequence_stats_request",
            &json!({}),
            "sequence_stats_response",
        );
        assert_eq!(
            (
                &p["current_sequence"],
                &p["expected_sequence"],
                &p["received"]
            ),
            (&json!(u64::MAX), &json!(u64::MAX), &json!(3))
        );
        assert_eq!(
            (&p["missing"], &p["out_of_order"], &p["repeated"]),
            (&json!(u32::MAX), &json!(0), &json!(1))
        );
        let p = client.ask("health_check", &json!({}), "health_check_response");
        assert_eq!(p["sequence_stats"]["expected_sequence"], json!(u64::MAX));
    });
}

#[test]
fn the_configuration_of_the_connection() {
    everywhere("", |gateway| {
        let mut client = busy(gateway.address);
        let p = client.ask("config_request", &json!({}), "config_response");
        for (key, value) in [
            ("compression_enabled", json!(true)),
            ("compression_threshold", json!(1024)),
            ("encryption_enabled", json!(false)),
            ("batch_size", json!(1)),
            ("batch_timeout", json!(0.1)),
            ("max_queue_size", json!(1000)),
            ("protocol_version", json!(1)),
            ("heartbeat_interval", json!(25_000)),
            ("max_message_size", json!(1 << 20)),
            (
                "rate_limits",
                json!({ "capacity": 100_000, "refill_rate": 10_000 }),
            ),
        ] {
            assert_eq!(p[key], value, "{key}: {p}");
        }
        assert!(p["idle_timeout"].as_u64().unwrap() >= 10_000);
        let mut plain = WseClient::open(gateway.address);
        let p = plain.ask("config_request", &json!({}), "config_response");
        assert_eq!(p["compression_enabled"], false);
    });
}

#[test]
fn a_config_update_takes_what_is_in_range_and_names_the_rest() {
    everywhere("", |gateway| {
        let mut client = busy(gateway.address);
        let good = json!({
            "compression_threshold": 512, "batch_size": 100, "batch_timeout": 0.01, "max_queue_size": 5000,
        });
        let p = client.ask("config_update", &good, "config_update_response");
        assert_eq!(
            (&p["success"], &p["updated_settings"], &p["rejected"]),
            (&json!(true), &good, &json!([]))
        );
        assert!(p["timestamp"].is_string());
        let config = client.ask("config_request", &json!({}), "config_response");
        for (key, value) in good.as_object().unwrap() {
            assert_eq!(&config[key], value, "{key}");
        }
        for (key, values) in [
            (
                "compression_threshold",
                &[json!(511), json!(10_241), json!("600"), json!(-1)][..],
            ),
            ("batch_size", &[json!(0), json!(101), json!(1.5)]),
            ("batch_timeout", &[json!(0.009), json!(5.1), json!(null)]),
            ("max_queue_size", &[json!(99), json!(5001)]),
            ("compression_enabled", &[json!(1), json!("true")]),
            ("colour", &[json!("red")]),
        ] {
            for value in values {
                let p = client.ask(
                    "config_update",
                    &json!({ key: value, "batch_size": 50 }),
                    "config_update_response",
                );
                let expected = if key == "batch_size" {
                    json!({})
                } else {
                    json!({ "batch_size": 50 })
                };
                if key != "batch_size" {
                    assert_eq!(p["updated_settings"], expected, "{key} {value}: {p}");
                    assert_eq!(p["rejected"], json!([key]), "{p}");
                    assert_eq!(p["success"], false);
                }
            }
        }
        let p = client.ask("config_request", &json!({}), "config_response");
        assert_eq!(
            (&p["compression_threshold"], &p["max_queue_size"]),
            (&json!(512), &json!(5000))
        );
    });
}

#[test]
fn debug_names_every_type_that_is_processed() {
    everywhere("", |gateway| {
        for name in ["debug_request", "debug_handlers"] {
            let mut client = busy(gateway.address);
            let p = client.ask(name, &json!({}), "debug_response");
            assert_eq!(p["connection_id"], client.id());
            assert_eq!(p["user_id"], client.user());
            assert_eq!(
                p["subscriptions"],
                json!({ "active": ["a", "b"], "pending": 0 })
            );
            let handlers = p["registered_handlers"].as_object().unwrap();
            for kind in [
                "client_hello",
                "ping",
                "subscription_update",
                "subscription",
                "publish",
                "priority_message",
                "presence_update",
                "sync_request",
                "batch",
                "batch_message",
                "connection_state_request",
                "health_check",
                "health_check_request",
                "metrics_request",
                "config_request",
                "config_update",
                "debug_request",
                "debug_handlers",
                "sequence_stats_request",
                "system_status",
                "response",
            ] {
                let line = handlers[kind].as_str();
                assert!(line.is_some_and(|line| !line.is_empty()), "{kind}");
            }
        }
    });
}

#[test]
fn the_status_of_the_gateway() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let _others = [
            WseClient::open(gateway.address),
            WseClient::open(gateway.address),
        ];
        for name in ["system_status", "system_status_request"] {
            let p = client.ask(name, &json!({}), "system_status_response");
            assert_eq!(
                (&p["status"], &p["connections"]),
                (&json!("healthy"), &json!(3)),
                "{p}"
            );
            assert_eq!(p["application_attached"], false);
            assert!(p["server_version"].is_string() && p["uptime_seconds"].is_number());
        }
    });
}

#[test]
fn a_poor_connection_gets_advice_and_a_good_one_none() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let report = json!({ "diagnostics": { "connectionQuality": "poor", "jitter": 80, "packetLoss": 2 } });
        let p = client.ask("health_check_response", &report, "connection_quality");
        assert_eq!(p["quality"], "poor");
        assert_eq!(p["suggestions"].as_array().unwrap().len(), 2, "{p}");
        client.send(
            "health_check_response",
            &json!({ "diagnostics": { "connectionQuality": "good" } }),
        );
        client.send("metrics_response", &json!({}));
        client.send("sync_response", &json!({}));
        client.send("heartbeat", &json!({}));
        client.has_nothing();
    });
}

#[test]
fn a_batch_is_its_messages() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let messages = json!([
            { "t": "subscription_update", "p": { "action": "subscribe", "topics": ["t"] }, "id": "1" },
            { "t": "ping", "p": { "timestamp": 9 } },
            { "t": "health_check", "p": {} },
        ]);
        client.send("batch", &json!({ "messages": messages, "count": 3 }));
        let mut kinds: Vec<String> = (0..3).map(|_| client.next().kind().to_owned()).collect();
        kinds.sort();
        assert_eq!(
            kinds,
            ["PONG", "health_check_response", "subscription_update"]
        );
        wse_publish(gateway.address, "t", "x", &json!({}));
        client.expect("x");
    });
}

#[test]
fn a_batch_message_has_a_result_for_each() {
    everywhere("", |gateway| {
        let mut client = WseClient::open(gateway.address);
        let messages = json!([
            { "t": "pong", "p": {} },
            { "t": "batch", "p": { "messages": [] } },
            7,
            { "t": "heartbeat", "p": {} },
        ]);
        let p = client.ask(
            "batch_message",
            &json!({ "messages": messages }),
            "batch_message_result",
        );
        assert_eq!(
            (&p["total"], &p["successful"], &p["failed"]),
            (&json!(4), &json!(2), &json!(2)),
            "{p}"
        );
        let results = p["results"].as_array().unwrap();
        let good: Vec<_> = results
            .iter()
            .map(|result| result["success"] == true)
            .collect();
        assert_eq!(good, [true, false, false, true]);
        for (index, result) in results.iter().enumerate() {
            assert_eq!(result["index"], index);
            assert_eq!(result["error"].is_string(), !good[index], "{result}");
        }
        for bad in [
            json!({}),
            json!({ "messages": 7 }),
            json!({ "messages": {} }),
        ] {
            client.send("batch_message", &bad);
            client.error("INVALID_MESSAGE");
        }
    });
}

#[test]
fn a_batch_of_too_many_processes_the_first_thousand() {
    let gateway = wse_gateway(1, "");
    let mut client = WseClient::open(gateway.address);
    let messages = vec![json!({ "t": "pong" }); 1500];
    client.send("batch_message", &json!({ "messages": messages }));
    client.error("MESSAGE_TOO_LARGE");
    let p = client.expect("batch_message_result");
    assert_eq!(
        (&p["total"], &p["successful"], &p["failed"]),
        (&json!(1500), &json!(1000), &json!(500))
    );
}

#[test]
fn requests_are_answered_before_a_hello_and_to_older_clients() {
    let gateway = wse_gateway(1, "");
    let mut client = WseClient::greeted(gateway.address, "/wse");
    client.ask("config_request", &json!({}), "config_response");
    let mut old = WseClient::greeted(gateway.address, "/wse");
    let hello = wse_hello(&json!({}));
    old.client.send(0x81, format!("WSE{hello}").as_bytes());
    old.expect("server_hello");
    old.client
        .send(0x81, b"WSE{\"t\":\"config_request\",\"p\":{}}");
    assert!(
        old.next()
            .text
            .starts_with("WSE{\"t\":\"config_response\",")
    );
    assert!(old.is_silent(Duration::from_millis(20)));
}
