//! Who may be which user, in each mode.

use std::net::SocketAddr;

use fanfare::config::Mode;
use fanfare::dialect::bridge::BridgeSettings;
use serde_json::json;

use super::{
    bearer, call, closed, connections, gateway, gateway_in, last, push, refused, token, user,
    wait_until,
};
use crate::support::{Client, TestGateway, metric};

/// A gateway that takes a token to be somebody, and asks services for nothing else than a key.
fn strict(mode: Mode, shards: usize) -> TestGateway {
    gateway_in(mode, shards, |config| {
        config.section_mut::<BridgeSettings>().api_key =
            fanfare::config::Secret::api_key(super::services::KEY);
        config.auth.max_failures_per_minute = 0;
    })
}

/// Connects with these headers; a push arrives.
#[track_caller]
fn check_in(address: SocketAddr, path: &str, headers: &str, name: &str) {
    let mut client = Client::connect_with(address, path, headers);
    assert!(
        super::services::push_with_key(address, name, &json!({ "hello": name })),
        "{path}"
    );
    assert_eq!(client.json()["hello"], name, "{path}");
    super::leave(client);
}

/// The upgrade succeeds and the connection is closed at once.
#[track_caller]
fn check_closed(address: SocketAddr, path: &str) {
    let mut client = Client::connect(address, path);
    assert_eq!(
        closed(&mut client),
        (1008, "Authentication required".to_owned()),
        "{path}"
    );
    assert_eq!(client.next(), None);
}

#[test]
fn in_demo_mode_whoever_says_a_name_is_that_user() {
    for shards in [1, 3] {
        let gateway = gateway(shards, |_| {});
        let mut alice = user(gateway.address, "alice");
        assert!(push(gateway.address, "alice", &json!({ "n": 1 })));
        assert_eq!(alice.json()["n"], 1);
    }
}

#[test]
fn in_dev_mode_whoever_says_a_name_is_that_user_as_the_configuration_says() {
    let gateway = gateway_in(Mode::Dev, 1, |_| {});
    let mut alice = user(gateway.address, "alice");
    assert!(push(gateway.address, "alice", &json!({ "n": 1 })));
    assert_eq!(alice.json()["n"], 1);
}

#[test]
fn a_token_is_its_users_and_nobody_elses() {
    for (mode, shards) in [
        (Mode::Prod, 1),
        (Mode::Prod, 3),
        (Mode::Dev, 3),
        (Mode::Demo, 3),
    ] {
        let gateway = strict(mode, shards);
        let address = gateway.address;
        let alice = token("alice", None);
        check_in(
            address,
            &format!("/ws?user_id=alice&token={alice}"),
            "",
            "alice",
        );
        check_in(
            address,
            &format!("/ws?token={alice}&user_id=alice"),
            "",
            "alice",
        );
        check_in(address, "/ws?user_id=alice", &bearer(&alice), "alice");
        check_in(
            address,
            "/ws?user_id=alice",
            &format!("Sec-WebSocket-Protocol: bearer, {alice}\r\n"),
            "alice",
        );
        check_in(
            address,
            &format!("/ws?user_id=b%20%C3%A9&token={}", token("b \u{e9}", None)),
            "",
            "b \u{e9}",
        );
        for path in [
            "/ws?user_id=bob",
            "/ws?user_id=Alice",
            "/ws?user_id=alice%20",
            "/ws?user_id=system",
        ] {
            let response = refused(address, path, &bearer(&alice));
            assert_eq!(response.status, 403, "{mode:?} {path}: {response:?}");
            let response = refused(address, &format!("{path}&token={alice}"), "");
            assert_eq!(response.status, 403, "{mode:?} {path}: {response:?}");
        }
        for bad in ["nonsense", "a.b.c", &alice[..alice.len() - 3]] {
            let response = refused(address, &format!("/ws?user_id=alice&token={bad}"), "");
            assert_eq!(response.status, 401, "{mode:?} {bad}: {response:?}");
            assert!(!response.body.contains("eyJ"), "tokens are not repeated");
        }
        // Two that disagree are as good as none.
        let both = format!("/ws?user_id=alice&token={alice}");
        assert_eq!(
            refused(address, &both, &bearer(&token("bob", None))).status,
            401
        );
        // A token without a name, which is the messenger's where that is enabled.
        let response = refused(address, &format!("/ws?token={alice}"), "");
        let expected = if mode == Mode::Demo { 401 } else { 400 };
        assert_eq!(response.status, expected, "{response:?}");
        wait_until("nobody is left", || connections(address) == 0);
    }
}

#[test]
fn where_tokens_are_needed_none_is_the_end_after_the_upgrade() {
    for shards in [1, 3] {
        let gateway = strict(Mode::Prod, shards);
        let address = gateway.address;
        check_closed(address, "/ws?user_id=alice");
        check_closed(address, "/ws?user_id=ci_bot");
        // T6: an empty token is none.
        check_closed(address, "/ws?user_id=alice&token=");
        check_closed(address, "/ws?user_id=system");
        assert!(!super::services::push_with_key(
            address,
            "alice",
            &json!({})
        ));
        assert_eq!(
            metric(address, "disconnects_total{reason=\"token_required\"}"),
            4
        );
        // It is not in the way of the user, nor told whether the user is there.
        let path = format!("/ws?user_id=alice&token={}", token("alice", None));
        let mut alice = Client::connect(address, &path);
        check_closed(address, "/ws?user_id=alice");
        assert!(super::services::push_with_key(
            address,
            "alice",
            &json!({ "n": 1 })
        ));
        assert_eq!(alice.json()["n"], 1);
        // Not even with a token is there a second one.
        let connecting = {
            let path = path.clone();
            std::thread::spawn(move || Client::connect(address, &path))
        };
        alice.answer_ping();
        let mut second = connecting.join().expect("it is answered");
        assert_eq!(
            closed(&mut second),
            (1008, "User already connected".to_owned())
        );
        assert!(super::services::push_with_key(
            address,
            "alice",
            &json!({ "n": 2 })
        ));
        assert_eq!(alice.json()["n"], 2);
    }
}

#[test]
fn without_a_name_there_is_no_connection_in_any_mode() {
    for mode in [Mode::Demo, Mode::Dev, Mode::Prod] {
        let gateway = strict(mode, 1);
        assert_eq!(refused(gateway.address, "/ws", "").status, 401);
        assert_eq!(refused(gateway.address, "/ws?user_id=", "").status, 400);
        let empty = format!("/ws?user_id=&token={}", token("alice", None));
        assert_eq!(refused(gateway.address, &empty, "").status, 400);
    }
}

#[test]
fn reserved_names_take_a_token() {
    for shards in [1, 3] {
        let gateway = gateway_in(Mode::Demo, shards, |_| {});
        let address = gateway.address;
        for name in ["server", "system", "broadcast", "sse"] {
            check_closed(address, &format!("/ws?user_id={name}"));
            assert!(!push(address, name, &json!({})));
            let path = format!("/ws?user_id={name}&token={}", token(name, None));
            let mut client = Client::connect(address, &path);
            assert!(push(address, name, &json!({ "n": 1 })));
            assert_eq!(client.json()["user_id"], name);
        }
        check_closed(address, "/ws?user_id=syste%6D");
        for name in ["System", "servers", "system_bot", "ci_bot"] {
            let _open = user(address, name);
            assert!(push(address, name, &json!({})), "{name}");
        }
    }
}

#[test]
fn a_token_that_expires_ends_the_connection() {
    let gateway = gateway_in(Mode::Demo, 3, |config| {
        config.auth.leeway = std::time::Duration::ZERO;
    });
    let address = gateway.address;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let grant = fanfare::auth::Grant {
        user: "alice",
        role: None,
        issued_at: now,
        expires_at: now + 2,
    };
    let secret = fanfare::config::Secret::new(super::SECRET).unwrap();
    let token = fanfare::auth::issue(&grant, &secret).unwrap();
    let mut alice = Client::connect(address, &format!("/ws?user_id=alice&token={token}"));
    let mut waiting = call(address, "alice", &json!("c"));
    assert_eq!(alice.json()["correlation_id"], "c");
    assert_eq!(closed(&mut alice), (4002, "Token expired".to_owned()));
    let mut alice = user(address, "alice");
    alice.say(&last(&json!("c"), 1));
    assert_eq!(waiting.until_end(), [last(&json!("c"), 1)]);
}

#[test]
fn pages_that_are_not_listed_do_not_connect() {
    let gateway = gateway_in(Mode::Demo, 1, |config| {
        config.http.allowed_origins =
            vec![fanfare::config::OriginPattern::parse("https://app.example.com").unwrap()];
    });
    let response = refused(
        gateway.address,
        "/ws?user_id=a",
        "Origin: https://evil.example\r\n",
    );
    assert_eq!(response.status, 403, "{response:?}");
    drop(Client::connect_with(
        gateway.address,
        "/ws?user_id=a",
        "Origin: https://app.example.com\r\n",
    ));
    // A cookie speaks for its user on the pages of this host only.
    let cookie = format!("Cookie: access_token={}\r\n", token("alice", None));
    assert_eq!(
        refused(gateway.address, "/ws?user_id=alice", &cookie).status,
        403
    );
    let own = format!("{cookie}Origin: https://app.example.com\r\n");
    let mut alice = Client::connect_with(gateway.address, "/ws?user_id=alice", &own);
    assert!(push(gateway.address, "alice", &json!({ "n": 1 })));
    assert_eq!(alice.json()["n"], 1);
}
