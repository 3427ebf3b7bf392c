//! Request heads, and the exact response to each.

use http::HeaderValue;

use super::super::deflate::{DeflateOptions, negotiate};
use super::*;

/// The example of RFC 6455 section 1.3.
const GOOD: &[(&str, &str)] = &[
    ("host", "server.example.com"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

/// `GOOD` with the headers named in `changes` replaced by those there; an empty value removes.
fn head(changes: &[(&'static str, &str)]) -> HeaderMap {
    let kept = GOOD
        .iter()
        .filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let mut headers = HeaderMap::new();
    for (name, value) in kept.chain(changes).filter(|(_, value)| !value.is_empty()) {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

#[track_caller]
fn check(changes: &[(&'static str, &str)], expected: Result<(), HandshakeError>) {
    let headers = head(changes);
    let result = Upgrade::check(&Method::GET, Version::HTTP_11, &headers);
    assert_eq!(result.map(drop), expected, "{changes:?}");
}

#[test]
fn the_example_of_the_rfc_is_answered_to_the_byte() {
    let headers = head(&[
        ("sec-websocket-protocol", "chat, superchat"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits",
        ),
    ]);
    let upgrade = Upgrade::check(&Method::GET, Version::HTTP_11, &headers).unwrap();
    assert_eq!(
        upgrade.protocols().collect::<Vec<_>>(),
        ["chat", "superchat"]
    );
    assert_eq!(
        upgrade.response(None, None),
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
          \r\n"
    );
    let agreed = negotiate(upgrade.extensions(), &DeflateOptions::default());
    assert_eq!(
        upgrade.response(Some("chat"), agreed.as_ref()),
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
          Sec-WebSocket-Protocol: chat\r\n\
          Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
          client_no_context_takeover\r\n\
          \r\n"
    );
}

#[test]
fn h09_a_body_is_refused() {
    check(&[("content-length", "0")], Ok(()));
    check(&[("content-length", "10")], Err(HandshakeError::Body));
    check(&[("content-length", "00")], Err(HandshakeError::Body));
    check(
        &[("content-length", "0"), ("content-length", "5")],
        Err(HandshakeError::Body),
    );
    check(
        &[("transfer-encoding", "chunked")],
        Err(HandshakeError::Body),
    );
    check(
        &[("transfer-encoding", "identity")],
        Err(HandshakeError::Body),
    );
    assert_eq!(HandshakeError::Body.status(), 400);
}

#[test]
fn h10_the_version_is_13() {
    for value in ["8", "12", "14", "13, 8", "013", "1", "13 13", "abc"] {
        check(
            &[("sec-websocket-version", value)],
            Err(HandshakeError::Version),
        );
    }
    check(
        &[("sec-websocket-version", "")],
        Err(HandshakeError::NoVersion),
    );
    let twice = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-version", "13"),
    ];
    check(&twice, Err(HandshakeError::NoVersion));
    assert_eq!(HandshakeError::NoVersion.status(), 400);
    assert_eq!(HandshakeError::Version.status(), 426);
    assert!(
        HandshakeError::Version
            .headers()
            .contains(&(SEC_WEBSOCKET_VERSION, "13"))
    );
}

#[test]
fn h11_the_key_is_the_base64_of_16_bytes() {
    for key in [
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "/+/+/+/+/+/+/+/+/+/+/w==",
        "dGhlIHNhbXBsZSBub25jZQ==",
    ] {
        check(&[("sec-websocket-key", key)], Ok(()));
    }
    for key in [
        "",
        "AAAAAAAAAAAAAAAAAAAA",         // 15 bytes
        "AAAAAAAAAAAAAAAAAAAAAAA=",     // 17 bytes
        "AAAAAAAAAAAAAAAAAAAAAA",       // without padding
        "AAAAAAAAAAAAAAAAAAAAAB==",     // bits beyond the 16th byte
        "AAAAAAAAAA AAAAAAAAAAA==",     // space
        "AAAAAAAAAA-_AAAAAAAAAA==",     // another alphabet
        "AAAAAAAAAAAAAAAAAAAA====",     // too much padding
        "AAAAAAAAAAAAAAAAAAAAAA==AAAA", // more behind it
        "not base64 at all, sorry",
    ] {
        check(&[("sec-websocket-key", key)], Err(HandshakeError::Key));
    }
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    check(&[key, key], Err(HandshakeError::Key));
    assert_eq!(HandshakeError::Key.status(), 400);
}

#[test]
fn h12_method_and_http_version_are_checked() {
    let headers = head(&[]);
    let check = |method: Method, version, status: u16| {
        let error = Upgrade::check(&method, version, &headers).unwrap_err();
        assert_eq!(error.status(), status);
    };
    for method in [Method::POST, Method::PUT, Method::HEAD, Method::CONNECT] {
        check(method, Version::HTTP_11, 405);
    }
    for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2] {
        check(Method::GET, version, 400);
    }
    assert_eq!(HandshakeError::Method.headers(), [(ALLOW, "GET")]);
}

#[test]
fn h12_upgrade_and_connection_are_lists_in_any_case() {
    check(&[("connection", "keep-alive, Upgrade")], Ok(()));
    check(
        &[("connection", "UPGRADE"), ("upgrade", "WebSocket")],
        Ok(()),
    );
    check(
        &[("connection", "keep-alive"), ("connection", "upgrade")],
        Ok(()),
    );
    check(&[("upgrade", "h2c, websocket")], Ok(()));
    check(&[("upgrade", "h2c")], Err(HandshakeError::Upgrade));
    check(&[("upgrade", "websocket2")], Err(HandshakeError::Upgrade));
    check(&[("upgrade", "websocket/13")], Err(HandshakeError::Upgrade));
    check(&[("upgrade", "")], Err(HandshakeError::NoUpgrade));
    check(
        &[("connection", "keep-alive")],
        Err(HandshakeError::Connection),
    );
    check(
        &[("connection", "upgraded")],
        Err(HandshakeError::Connection),
    );
    check(&[("connection", "")], Err(HandshakeError::Connection));
    assert_eq!(HandshakeError::Upgrade.status(), 400);
    assert_eq!(HandshakeError::NoUpgrade.status(), 426);
}

#[test]
fn a_host_is_named_once() {
    check(&[("host", "")], Err(HandshakeError::Host));
    check(&[("host", "a"), ("host", "a")], Err(HandshakeError::Host));
}

#[test]
fn h13_subprotocols_are_tokens() {
    let spaces = format!("b{}x", " ".repeat(50_000));
    for value in [&spaces[..], "a b", "a=b", "\"a\"", "a/b", "chat, gr\u{fc}n"] {
        check(
            &[("sec-websocket-protocol", value)],
            Err(HandshakeError::Protocol),
        );
    }
    let spaces = format!("b{},{}x", " ".repeat(50_000), " ".repeat(50_000));
    let headers = head(&[
        ("sec-websocket-protocol", &spaces),
        ("sec-websocket-protocol", "c,,d"),
    ]);
    let upgrade = Upgrade::check(&Method::GET, Version::HTTP_11, &headers).unwrap();
    assert_eq!(
        upgrade.protocols().collect::<Vec<_>>(),
        ["b", "x", "c", "d"]
    );
}

#[test]
#[should_panic(expected = "a subprotocol is a token")]
fn m13_a_subprotocol_cannot_split_the_answer() {
    let headers = head(&[]);
    let upgrade = Upgrade::check(&Method::GET, Version::HTTP_11, &headers).unwrap();
    let _ = upgrade.response(Some("chat\r\nSet-Cookie: a=b"), None);
}
