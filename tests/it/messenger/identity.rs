//! An account's id is nobody else's.

use std::time::{SystemTime, UNIX_EPOCH};

use fanfare::auth::{Grant, issue};
use fanfare::config::{Mode, Secret};
use serde_json::json;

use super::{Account, Folder, check_text, gateway, post, verify};
use crate::support::{Client, TestGateway, request};

const SECRET: [u8; 32] = [7; 32];

#[test]
fn a25_an_id_that_is_registered_takes_its_token_to_be_connected() {
    let gateway = TestGateway::start();
    let address = gateway.address;
    // Until it is registered, whoever says that it is alice is.
    let mut early = Client::connect(address, "/ws?user_id=alice");
    Account::registered(address, "alice");
    assert_eq!(early.until_close(), Some(1008));
    for user in ["alice", "server", "system", "broadcast", "sse"] {
        let mut client = Client::connect(address, &format!("/ws?user_id={user}"));
        let frame = client.next().expect("a close frame");
        assert_eq!(frame.close_code(), Some(1008), "{user}");
        assert_eq!(&frame.payload[2..], b"Authentication required", "{user}");
    }
    let mut bob = Client::connect(address, "/ws?user_id=bob");
    bob.send(0x88, &1000_u16.to_be_bytes());
    assert_eq!(bob.until_close(), Some(1000));
}

#[test]
fn a_token_of_a_login_is_a_token_of_the_gateway() {
    for secret in [None, Secret::new(SECRET)] {
        let gateway = TestGateway::with(|config| config.auth.jwt_secret = secret.clone());
        let alice = Account::registered(gateway.address, "alice");
        let path = format!("/ws?user_id=alice&token={}", alice.token(gateway.address));
        let mut client = Client::connect(gateway.address, &path);
        let push = json!({ "user_id": "alice", "data": { "n": 1 } });
        let answer = post(gateway.address, "/sse/push", &push);
        assert_eq!(answer.json()["status"], "success", "{answer:?}");
        assert_eq!(client.json()["n"], 1);
    }
}

#[test]
fn a_token_of_another_process_or_secret_is_none() {
    let one = TestGateway::start();
    let token = Account::registered(one.address, "alice").token(one.address);
    let other = TestGateway::start();
    let head = format!(
        "GET /ws?user_id=alice&token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    assert_eq!(request(other.address, head.as_bytes()).status, 401);
    assert_eq!(request(one.address, head.as_bytes()).status, 101);
}

#[test]
fn what_is_not_enabled_takes_no_name_from_anybody() {
    let gateway = gateway(|settings| settings.enabled = false);
    let mut client = Client::connect(gateway.address, "/ws?user_id=alice");
    client.send(0x88, &1000_u16.to_be_bytes());
    assert_eq!(client.until_close(), Some(1000));
}

#[test]
fn services_alone_read_the_counts_where_credentials_are_asked_for() {
    let folder = Folder::new("stats");
    let gateway = TestGateway::in_mode(Mode::Dev, |config| {
        config.auth.jwt_secret = Secret::new(SECRET);
        let settings: &mut fanfare::dialect::messenger::MessengerSettings = config.section_mut();
        settings.enabled = true;
        config.store.url = Some(format!("sqlite:{}", folder.path("app.db")));
    });
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let token = |role| {
        let grant = Grant {
            user: "billing",
            role,
            issued_at: now,
            expires_at: now + 60,
        };
        issue(&grant, &Secret::new(SECRET).unwrap()).unwrap()
    };
    let ask = |headers: &str| {
        let head = format!(
            "GET /api/v1/messenger/stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
        );
        request(gateway.address, head.as_bytes()).status
    };
    let bearer = |token: String| format!("Authorization: Bearer {token}\r\n");
    assert_eq!(ask(""), 401);
    assert_eq!(ask(&bearer(token(None))), 403);
    assert_eq!(ask(&bearer(token(Some("service")))), 200);
    // A login gives no such role.
    let alice = Account::registered(gateway.address, "alice");
    assert_eq!(ask(&bearer(alice.token(gateway.address))), 403);
    check_text(
        &verify(gateway.address, &json!({ "user_id": "bob" })),
        400,
        "No challenge found",
    );
}
