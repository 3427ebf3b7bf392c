//! A user's connection: admission, limits, and who replaces whom.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Account, MessengerClient, check_text, everywhere, get};
use crate::support::{Client, Response, frame, request};

/// Asks for an upgrade.
fn upgrade(address: SocketAddr, path: &str, headers: &str) -> Response {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    request(address, head.as_bytes())
}

fn online(address: SocketAddr) -> Value {
    get(address, "/active-users").json()["online"].take()
}

#[test]
fn without_a_valid_token_there_is_no_connection() {
    everywhere("", |address| {
        let alice = Account::registered(address, "alice");
        let token = alice.token(address);
        check_text(
            &upgrade(address, "/ws", ""),
            401,
            "Missing authentication token",
        );
        check_text(&get(address, "/ws"), 401, "Missing authentication token");
        let invalid = "Invalid token: token validation failed:";
        check_text(
            &upgrade(address, "/ws?token=x", ""),
            401,
            &format!("{invalid} token is malformed"),
        );
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("/ws?token={signed}.{first}{}", &signature[1..]);
        check_text(
            &upgrade(address, &forged, ""),
            401,
            &format!("{invalid} signature is invalid"),
        );
        check_text(
            &get(address, &format!("/ws?token={token}")),
            400,
            "Bad Request",
        );
        let wrong = format!("/ws?token={token}&after=x");
        assert_eq!(upgrade(address, &wrong, "").status, 400);
        // Browsers attach cookies to requests of every page.
        let foreign = format!("Cookie: access_token={token}\r\nOrigin: http://y\r\n");
        let answer = upgrade(address, "/ws", &foreign);
        assert_eq!(answer.status, 403);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        for headers in [
            format!("Authorization: Bearer {token}\r\n"),
            format!("Cookie: access_token={token}\r\nOrigin: http://{address}\r\n"),
        ] {
            let mut client = Client::connect_with(address, "/ws", &headers);
            client.send(0x88, &1000_u16.to_be_bytes());
            assert_eq!(client.until_close(), Some(1000));
        }
    });
}

#[test]
fn the_user_of_a_token_has_an_account() {
    let secret = "0123456789abcdef0123456789abcdef";
    let toml = format!("[auth]\njwt_secret = \"{secret}\"\n");
    everywhere(&toml, |address| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let grant = |user, expires_at| fanfare::auth::Grant {
            user,
            role: None,
            issued_at: now,
            expires_at,
        };
        let secret = fanfare::config::Secret::new(secret.as_bytes()).unwrap();
        let ghost = fanfare::auth::issue(&grant("ghost", now + 60), &secret).unwrap();
        check_text(
            &upgrade(address, &format!("/ws?token={ghost}"), ""),
            401,
            "Invalid user",
        );
        Account::registered(address, "ghost");
        assert_eq!(
            upgrade(address, &format!("/ws?token={ghost}"), "").status,
            101
        );
        let old = fanfare::auth::issue(&grant("ghost", now - 600), &secret).unwrap();
        let why = "Invalid token: token validation failed: token is expired";
        check_text(&upgrade(address, &format!("/ws?token={old}"), ""), 401, why);
    });
}

#[test]
fn where_origins_are_listed_one_is_needed() {
    let toml = "[http]\nallowed_origins = [\"https://app.example\"]\n";
    everywhere(toml, |address| {
        let path = format!(
            "/ws?token={}",
            Account::registered(address, "alice").token(address)
        );
        let status = |headers| upgrade(address, &path, headers).status;
        assert_eq!(status("Origin: https://app.example\r\n"), 101);
        assert_eq!(status("Origin: https://evil.example\r\n"), 403);
        assert_eq!(status("Origin: \r\n"), 403);
        assert_eq!(status(""), 403);
    });
    everywhere("", |address| {
        let path = format!(
            "/ws?token={}",
            Account::registered(address, "alice").token(address)
        );
        assert_eq!(
            upgrade(address, &path, "Origin: https://evil.example\r\n").status,
            101
        );
    });
}

#[test]
fn a_user_is_online_from_the_upgrade_to_the_close() {
    everywhere("", |address| {
        assert_eq!(
            get(address, "/active-users").json(),
            json!({ "online": [], "offline": [] })
        );
        let mut alice = MessengerClient::new(address, "alice");
        assert_eq!(online(address), json!(["alice"]));
        alice.client.send(0x88, &4321_u16.to_be_bytes());
        assert_eq!(alice.client.until_close(), Some(4321), "the code is echoed");
        assert_eq!(
            get(address, "/active-users").json(),
            json!({ "online": [], "offline": ["alice"] })
        );
        // Also when it is gone without a word.
        drop(MessengerClient::again(address, "alice", ""));
        let began = Instant::now();
        while online(address) != json!([]) {
            assert!(began.elapsed() < Duration::from_secs(10), "she has gone");
        }
    });
}

#[test]
fn a_newer_connection_replaces_the_older_one() {
    everywhere("", |address| {
        let mut bob = MessengerClient::new(address, "bob");
        let mut first = MessengerClient::new(address, "alice");
        for number in 0..10 {
            let mut second = MessengerClient::again(address, "alice", "");
            let close = first.client.next().expect("a close frame");
            assert_eq!((close.first, close.close_code()), (0x88, Some(1008)));
            assert_eq!(&close.payload[2..], b"Replaced by new connection");
            // Whatever the old one does.
            drop(first);
            let mut all = online(address).as_array().unwrap().clone();
            all.sort_by_key(Value::to_string);
            assert_eq!(all, ["alice", "bob"]);
            bob.tell("alice", &number.to_string());
            assert_eq!(second.content(), number.to_string());
            first = second;
        }
        assert!(
            online(address)
                .as_array()
                .unwrap()
                .contains(&json!("alice"))
        );
    });
}

#[test]
fn where_it_is_allowed_all_connections_of_a_user_receive() {
    everywhere("[messenger]\nduplicate = \"allow\"\n", |address| {
        let mut bob = MessengerClient::new(address, "bob");
        let mut first = MessengerClient::new(address, "alice");
        let mut second = MessengerClient::again(address, "alice", "");
        bob.tell("alice", "both");
        assert_eq!([first.content(), second.content()], ["both", "both"]);
        first.leave();
        bob.tell("alice", "one");
        assert_eq!(second.content(), "one");
        second.has_nothing();
    });
}

#[test]
fn what_is_too_large_closes_with_1009() {
    everywhere("", |address| {
        let mut alice = MessengerClient::new(address, "alice");
        let frame_of = |bytes: usize| {
            let empty = super::direct("alice", "").to_string().len();
            super::direct("alice", &"x".repeat(bytes - empty)).to_string()
        };
        alice.client.send(0x81, frame_of(1024 * 1024).as_bytes());
        let content = alice.content();
        assert!(content.len() > 1_000_000);
        alice
            .client
            .send_bytes(&frame(0x81, frame_of(1024 * 1024 + 1).as_bytes()));
        assert_eq!(alice.client.until_close(), Some(1009));
    });
}

#[test]
fn the_path_is_shared_with_the_bridge_by_the_query() {
    everywhere("", |address| {
        let token = Account::registered(address, "alice").token(address);
        Account::registered(address, "bob");
        // Both: the bridge, authenticated.
        let mut bridge = Client::connect(address, &format!("/ws?user_id=alice&token={token}"));
        bridge.say(&json!({ "header": { "to": "alice" }, "body": { "content": "x" } }));
        assert!(bridge.is_silent(Duration::from_millis(50)));
        assert_eq!(
            upgrade(address, &format!("/ws?user_id=bob&token={token}"), "").status,
            403
        );
        // A name alone: open mode, unless it is registered.
        let mut guest = Client::connect(address, "/ws?user_id=guest");
        guest.send(0x88, &1000_u16.to_be_bytes());
        assert_eq!(guest.until_close(), Some(1000));
        let mut thief = Client::connect(address, "/ws?user_id=alice");
        assert_eq!(thief.until_close(), Some(1008));
    });
}
