//! The opening handshake: which requests become connections, and what is agreed
//! about compression (hostile-inputs.md H10 to H15).

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{Client, Process, Response, TestGateway, request};

const HOST: &str = "Host: x\r\n";
const UPGRADE: &str = "Upgrade: websocket\r\n";
const CONNECTION: &str = "Connection: Upgrade\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends a request to the echo endpoint. One that is accepted is closed again by its client.
fn ask(address: SocketAddr, line: &str, headers: &[&str]) -> Response {
    let head = format!("{line}\r\n{}\r\n", headers.concat());
    let close = b"\x88\x80\0\0\0\0";
    let response = request(address, &[head.as_bytes(), close].concat());
    assert_eq!(response.count(), 1, "{head:?}: {response:?}");
    assert!(response.closed, "{head:?}: {response:?}");
    response
}

const GET: &str = "GET /debug/echo HTTP/1.1";

#[test]
fn h10_only_version_13_is_spoken_and_others_are_told_so() {
    let gateway = TestGateway::start();
    let ask = |versions: &str| {
        ask(
            gateway.address,
            GET,
            &[HOST, UPGRADE, CONNECTION, KEY, versions],
        )
    };
    for version in [
        "8", "12", "14", "0", "013", "+13", "13, 8", "8, 13", "x", "",
    ] {
        let response = ask(&format!("Sec-WebSocket-Version: {version}\r\n"));
        assert_eq!(response.status, 426, "{version:?}");
        assert_eq!(response.header("sec-websocket-version"), Some("13"));
        assert_eq!(response.header("upgrade"), Some("websocket"));
        assert_eq!(response.header("connection"), Some("close"));
    }
    assert_eq!(ask("").status, 400);
    assert_eq!(ask(&VERSION.repeat(2)).status, 400);
    assert_eq!(ask(VERSION).status, 101);
}

#[test]
fn h11_the_key_is_the_base64_of_16_bytes_once() {
    let gateway = TestGateway::start();
    let ask = |keys: &str| {
        ask(
            gateway.address,
            GET,
            &[HOST, UPGRADE, CONNECTION, VERSION, keys],
        )
    };
    for key in [
        "",
        "AAAAAAAAAAAAAAAAAAAA",     // 15 bytes
        "AAAAAAAAAAAAAAAAAAAAAAA=", // 17 bytes
        "AAAAAAAAAAAAAAAAAAAAAA",   // no padding
        "AAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAA===",
        "AAAAAAAAAAAAAAAAAAAAAB==", // bits that nothing holds
        "AAAAAAAAAA AAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAA_-==", // base64url
        "!!!!!!!!!!!!!!!!!!!!!!==",
        "AAAAAAAAAAAAAAAAAAAAAA==, AAAAAAAAAAAAAAAAAAAAAA==",
    ] {
        let response = ask(&format!("Sec-WebSocket-Key: {key}\r\n"));
        assert_eq!(response.status, 400, "{key:?}");
    }
    assert_eq!(ask("").status, 400);
    assert_eq!(ask(&KEY.repeat(2)).status, 400);
    let response = ask(KEY);
    assert_eq!(response.status, 101);
    // The example of RFC 6455 section 1.3.
    assert_eq!(
        response.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
}

#[test]
fn h12_methods_versions_and_tokens_are_checked_as_the_rfc_says() {
    let gateway = TestGateway::start();
    let check = |line: &str, upgrade: &str, connection: &str, status: u16| {
        let response = ask(
            gateway.address,
            line,
            &[HOST, upgrade, connection, VERSION, KEY],
        );
        assert_eq!(response.status, status, "{line} {upgrade} {connection}");
        response
    };
    for method in ["POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "get"] {
        let line = format!("{method} /debug/echo HTTP/1.1");
        let response = check(&line, UPGRADE, CONNECTION, 405);
        assert_eq!(response.header("allow"), Some("GET"));
    }
    check("GET /debug/echo HTTP/1.0", UPGRADE, CONNECTION, 400);
    check(GET, "Upgrade: h2c\r\n", CONNECTION, 400);
    check(GET, "Upgrade: websockets\r\n", CONNECTION, 400);
    check(GET, "", CONNECTION, 426);
    check(GET, UPGRADE, "", 400);
    check(GET, UPGRADE, "Connection: close\r\n", 400);
    check(GET, UPGRADE, "Connection: upgrades\r\n", 400);
    for connection in [
        "keep-alive, Upgrade",
        "Upgrade, keep-alive",
        "upgrade",
        "UPGRADE",
        ",, keep-alive ,upgrade,",
        "keep-alive\r\nConnection: Upgrade",
    ] {
        check(GET, UPGRADE, &format!("Connection: {connection}\r\n"), 101);
    }
    for upgrade in ["WebSocket", "WEBSOCKET", "h2c, websocket"] {
        check(GET, &format!("Upgrade: {upgrade}\r\n"), CONNECTION, 101);
    }
}

/// CPU time of 20 requests with this header, all answered with `status`.
fn cost(gateway: &Process, header: &str, status: u16) -> Duration {
    let before = gateway.cpu();
    for _ in 0..20 {
        let response = ask(
            gateway.address,
            GET,
            &[HOST, UPGRADE, CONNECTION, VERSION, KEY, header, "\r\n"],
        );
        assert_eq!(response.status, status);
    }
    gateway.cpu() - before
}

/// Long headers are let through to those that read them.
fn with_long_heads() -> Process {
    let variables = [("FANFARE_HTTP__MAX_HEAD_SIZE", "1MiB")];
    Process::with(&["--shards", "1"], &variables)
}

#[test]
fn h13_spaces_in_a_list_cost_no_more_than_their_number() {
    let mut gateway = with_long_heads();
    let spaces = " ".repeat(200_000);
    // Time that grows with the square of the spaces would be minutes.
    for (header, status) in [
        (format!("Sec-WebSocket-Protocol: b{spaces}x"), 400),
        (format!("Sec-WebSocket-Protocol: b,{spaces},x"), 101),
        (format!("Sec-WebSocket-Extensions: b{spaces}x"), 101),
        (format!("Sec-WebSocket-Extensions: b;{spaces}x"), 101),
    ] {
        assert!(cost(&gateway, &header, status) < Duration::from_secs(5));
    }
    gateway.check_alive();
}

#[test]
fn h14_extension_headers_that_make_no_sense_are_ignored_at_little_cost() {
    let mut gateway = with_long_heads();
    let backslashes = format!("a;b=\"{}", "\\\\".repeat(50_000));
    let offers = "permessage-deflate; x, ".repeat(10_000) + "permessage-deflate";
    let parameters = format!("permessage-deflate{}", "; x=1".repeat(10_000));
    for value in [
        "a;b=\"\\",
        "a;b=\"c",
        "constructor",
        "__proto__; constructor=toString",
        ";",
        "=",
        ",",
        "permessage-deflate;",
        "permessage-deflate; =",
        "permessage-deflate; \"x\"",
        &backslashes,
        &offers,
        &parameters,
    ] {
        let header = format!("Sec-WebSocket-Extensions: {value}");
        assert!(cost(&gateway, &header, 101) < Duration::from_secs(5));
        let mut client =
            Client::connect_with(gateway.address, "/debug/echo", &format!("{header}\r\n"));
        assert!(
            !client
                .head
                .to_lowercase()
                .contains("sec-websocket-extensions")
        );
        client.send(0x81, b"uncompressed");
        assert_eq!(client.next().unwrap().payload, b"uncompressed");
    }
    gateway.check_alive();
}

#[test]
fn h15_offers_are_declined_one_by_one_and_the_next_valid_one_is_taken() {
    let gateway = TestGateway::start();
    const TAKEN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let check = |offers: &str, bits: Option<&str>| {
        let client = Client::connect_with(
            gateway.address,
            "/debug/echo",
            &format!("Sec-WebSocket-Extensions: {offers}\r\n"),
        );
        let mut lines = client.head.lines();
        let answer = lines.find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        let expected = bits.map(|bits| format!("{TAKEN}{bits}"));
        assert_eq!(answer, expected.as_deref(), "{offers:?}");
    };
    for offer in [
        "permessage-deflate",
        "Permessage-Deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=\"10\"",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits",
    ] {
        check(offer, Some(""));
    }
    for bits in ["9", "10", "15", "\"10\""] {
        let answer = format!("; server_max_window_bits={}", bits.trim_matches('"'));
        check(
            &format!("permessage-deflate; server_max_window_bits={bits}"),
            Some(&answer),
        );
    }
    for parameter in [
        "server_max_window_bits",
        "server_max_window_bits=8", // no raw deflate with a window of 8 bits
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=015",
        "server_max_window_bits=-1",
        "server_max_window_bits=9.0",
        "server_max_window_bits=",
        "server_max_window_bits=\"\"",
        "server_max_window_bits=99999999999999999999",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=015",
        "client_max_window_bits=-1",
        "client_max_window_bits=9.0",
        "client_max_window_bits=",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits",
        "server_no_context_takeover; server_no_context_takeover",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "unknown",
        "unknown=1",
    ] {
        let offer = format!("permessage-deflate; {parameter}");
        check(&offer, None);
        // What breaks the grammar ends the list; what is only not valid does not.
        if !parameter.ends_with('=') && !parameter.ends_with("\"\"") {
            check(&format!("{offer}, permessage-deflate"), Some(""));
        }
    }
}
