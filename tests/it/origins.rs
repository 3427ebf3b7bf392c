//! Web pages: which may connect, and which may read answers (docs/tokens.md).

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare::auth::{Grant, issue};
use fanfare::config::{Config, CorsOrigin, Mode, OriginPattern, Secret};
use fanfare::dialect::sse::SseSettings;

use crate::support::{Client, EventStream, Response, Socket, TestGateway, metric, request};

const SECRET: [u8; 32] = [7; 32];

fn token() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let issued_at = since.unwrap().as_secs();
    let grant = Grant {
        user: "alice",
        role: None,
        issued_at,
        expires_at: issued_at + 600,
    };
    issue(&grant, &Secret::new(SECRET).unwrap()).unwrap()
}

fn origins(list: &[&str]) -> Vec<OriginPattern> {
    let read = |text: &&str| OriginPattern::parse(text).expect("an origin");
    list.iter().map(read).collect()
}

fn listed(origin: &str) -> Vec<CorsOrigin> {
    let origins = origins(&[origin]).into_iter();
    origins.map(CorsOrigin::Only).collect()
}

fn gateway(change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::in_mode(Mode::Dev, |config| {
        config.auth.jwt_secret = Secret::new(SECRET);
        change(config);
    })
}

/// Asks for an upgrade as a page would.
fn upgrade(address: SocketAddr, path: &str, host: &str, headers: &str) -> Response {
    request(address, head(path, host, headers).as_bytes())
}

fn head(path: &str, host: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// The status of an upgrade, whether or not the connection goes on.
fn upgrade_status(address: SocketAddr, host: &str, headers: &str) -> u16 {
    let mut stream = Socket::connect(address).unwrap();
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).unwrap();
    stream
        .write_all(head("/api/v1/ws", host, headers).as_bytes())
        .unwrap();
    let mut status = [0; "HTTP/1.1 101".len()];
    stream.read_exact(&mut status).expect("an answer in time");
    String::from_utf8_lossy(&status[9..]).parse().unwrap()
}

/// Spellings that are not `https://app.example.com`, nor below `example.org`.
fn foreign() -> Vec<String> {
    let spellings = [
        "null",
        "",
        " ",
        "*",
        "https://evil.com",
        "http://app.example.com.evil.com",
        "https://app.example.com.evil.com",
        "https://app.example.com.",
        "https://app.example.comx",
        "https://xapp.example.com",
        "https://app-example.com",
        "https://appxexample.com",
        "https://example.com",
        "https://a.app.example.com",
        "https://evil.com#https://app.example.com",
        "https://evil.com#app.example.com",
        "https://evil.com?app.example.com",
        "https://evil.com/app.example.com",
        "https://evil.com\\app.example.com",
        "https://app.example.com@evil.com",
        "https://evil.com@app.example.com",
        "https://user:pw@app.example.com",
        "https://app.example.com#",
        "https://app.example.com?",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com\\",
        "https://app.example.com:443",
        "https://app.example.com:80",
        "https://app.example.com:8443",
        "https://app.example.com:",
        "https://app.example.com:443:443",
        "https://app.example.com:evil",
        "HTTPS://APP.EXAMPLE.COM",
        "https://APP.example.com",
        "https://App.Example.Com",
        "HTTPS://app.example.com",
        "https:/app.example.com",
        "https:app.example.com",
        "//app.example.com",
        "app.example.com",
        "ftp://app.example.com",
        "ws://app.example.com",
        "wss://app.example.com",
        "file://app.example.com",
        "file://",
        "data:",
        "javascript://app.example.com",
        "chrome-extension://app.example.com",
        "https://app.example.com,https://evil.com",
        "https://evil.com,https://app.example.com",
        "https://evil.com https://app.example.com",
        "https://app.example.com https://evil.com",
        "https://app%2eexample.com",
        "https://app.example.com%00",
        "https://app.example.com%2eevil.com",
        "https://app.example.com;evil.com",
        "https://app.example.com&evil.com",
        "https://app..example.com",
        "https://.app.example.com",
        "https://app.example.com\t",
        "https://\u{430}pp.example.com",
        "https://xn--pp-7ia.example.com",
        "https://localhost",
        "http://127.0.0.1",
        "http://[::1]",
        "https://0x7f.1",
        "https://example.org",
        "https://.example.org",
        "https://a.b.example.org",
        "https://evilexample.org",
        "https://a.example.org.evil.com",
        "https://evil.com/.example.org",
        "https://evil.com#.example.org",
        "https://*.example.org",
        "https://A.example.org",
        "https://a@b.example.org",
        "http://a.example.org",
        "https://a.example.org:8443",
    ];
    // A server trims blanks around a header's value; what is left may be right.
    let trimmed = |text: &&&str| text.trim() != "https://app.example.com";
    spellings
        .iter()
        .filter(trimmed)
        .map(|text| (*text).to_owned())
        .collect()
}

#[test]
fn a14_a_cookie_is_taken_from_our_own_pages_only() {
    let cookie = format!("Cookie: access_token={}\r\n", token());
    let listed = gateway(|config| {
        config.http.allowed_origins =
            origins(&["https://app.example.com", "https://*.example.org"]);
    });
    let unlisted = gateway(|_| {});
    let all = foreign();
    assert!(all.len() >= 60, "{}", all.len());
    for origin in &all {
        let headers = format!("{cookie}Origin: {origin}\r\n");
        for gateway in [&listed, &unlisted] {
            let response = upgrade(gateway.address, "/api/v1/ws", "app.example.com", &headers);
            assert_eq!(response.status, 403, "{origin:?}: {response:?}");
            assert!(
                response.json()["detail"]
                    .as_str()
                    .unwrap()
                    .contains("rigin")
            );
        }
    }
    for gateway in [&listed, &unlisted] {
        let absent = upgrade(gateway.address, "/api/v1/ws", "app.example.com", &cookie);
        assert_eq!(absent.status, 403);
        let twice = "Origin: https://app.example.com\r\n".repeat(2);
        let twice = upgrade(
            gateway.address,
            "/api/v1/ws",
            "app.example.com",
            &format!("{cookie}{twice}"),
        );
        assert_eq!(twice.status, 403);
        let own = format!("{cookie}Origin: https://app.example.com\r\n");
        let status = upgrade_status(gateway.address, "app.example.com", &own);
        assert_eq!(status, 101);
    }
    let below = format!("{cookie}Origin: https://a.example.org\r\n");
    assert_eq!(upgrade_status(listed.address, "x", &below), 101);
    assert_eq!(upgrade_status(unlisted.address, "x", &below), 403);
    assert!(metric(unlisted.address, "refused_total{reason=\"origin\"}") > 60);
}

#[test]
fn a14_only_listed_pages_connect_and_programs_always_do() {
    let gateway = gateway(|config| {
        config.http.allowed_origins =
            origins(&["https://app.example.com", "https://*.example.org"]);
    });
    let query = format!("/api/v1/ws?token={}", token());
    for path in [&query, "/api/v1/ws/demo", "/api/v1/ws/dev", "/debug/echo"] {
        for origin in foreign() {
            let response = upgrade(gateway.address, path, "x", &format!("Origin: {origin}\r\n"));
            assert_eq!(response.status, 403, "{path} {origin:?}");
        }
        for headers in [
            "",
            "Origin: https://app.example.com\r\n",
            "Origin: https://a.example.org\r\n",
        ] {
            drop(Client::connect_with(gateway.address, path, headers));
        }
    }
}

#[test]
fn where_none_are_listed_every_page_may_connect_without_a_cookie() {
    let gateway = gateway(|_| {});
    let headers = "Origin: https://anywhere.example\r\n";
    let mut client = Client::connect_with(gateway.address, "/api/v1/ws/demo", headers);
    assert_eq!(client.json()["type"], "connection_established");
    // The demo endpoint looks at no token, so a cookie is no matter there.
    let headers = format!("{headers}Cookie: access_token={}\r\n", token());
    let mut client = Client::connect_with(gateway.address, "/api/v1/ws/demo", &headers);
    assert_eq!(client.json()["authenticated"], false);
}

fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Response {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    request(address, head.as_bytes())
}

#[test]
fn a20_listed_pages_may_use_the_api_and_no_others() {
    let gateway = gateway(|config| {
        config.http.cors_origins = listed("https://app.example.com");
    });
    let question =
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n";
    let own = "Origin: https://app.example.com\r\n";
    let granted = ask(
        gateway.address,
        "OPTIONS",
        "/api/v1/events",
        &format!("{own}{question}"),
    );
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
        assert_eq!(granted.header(name), Some(value), "{granted:?}");
    }
    for origin in foreign() {
        let headers = format!("Origin: {origin}\r\n");
        let refused = ask(
            gateway.address,
            "OPTIONS",
            "/api/v1/events",
            &format!("{headers}{question}"),
        );
        assert_eq!(
            (refused.status, refused.body.as_str()),
            (400, "Disallowed CORS origin"),
            "{origin:?}"
        );
        assert_eq!(
            refused.header("access-control-allow-origin"),
            None,
            "{origin:?}"
        );
        let answer = ask(gateway.address, "GET", "/health", &headers);
        assert_eq!(
            (answer.status, answer.header("vary")),
            (200, Some("Origin"))
        );
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{origin:?}"
        );
    }
    // Whoever asks may be told why it was refused.
    let answer = ask(gateway.address, "POST", "/api/v1/events", own);
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example.com")
    );
    // What is no question of a browser is no method of the API.
    assert_eq!(
        ask(gateway.address, "OPTIONS", "/api/v1/events", own).status,
        405
    );
    let programs = ask(gateway.address, "GET", "/health", "");
    assert_eq!(programs.header("access-control-allow-origin"), None);
}

#[test]
fn a20_all_pages_may_use_the_api_without_cookies_and_listed_ones_with_them() {
    let gateway = gateway(|config| {
        config.http.cors_origins = listed("https://app.example.com");
        config.http.cors_origins.push(CorsOrigin::Any);
    });
    let question = "Access-Control-Request-Method: POST\r\n";
    for (origin, allowed, credentials) in [
        (
            "https://app.example.com",
            "https://app.example.com",
            Some("true"),
        ),
        ("https://elsewhere.example", "*", None),
        ("null", "*", None),
    ] {
        let origin = format!("Origin: {origin}\r\n");
        let path = "/api/v1/events";
        let granted = ask(
            gateway.address,
            "OPTIONS",
            path,
            &format!("{origin}{question}"),
        );
        let answer = ask(gateway.address, "GET", "/health", &origin);
        assert_eq!((granted.status, answer.status), (200, 200));
        for response in [granted, answer] {
            let header = |name| response.header(name);
            assert_eq!(header("access-control-allow-origin"), Some(allowed));
            assert_eq!(header("access-control-allow-credentials"), credentials);
            assert_eq!(header("vary"), Some("Origin"));
        }
    }
}

#[test]
fn case_h6_a_page_that_may_read_a_stream_may_read_why_there_is_none() {
    let own = "https://app.example.com";
    let refusals = |change: fn(&mut Config), asked: &[(&str, &str, &str, u16)]| {
        let gateway = gateway(|config| {
            config.http.cors_origins = listed(own);
            change(config);
        });
        for (method, path, headers, status) in asked {
            for (origin, allowed) in [(own, Some(own)), ("https://elsewhere.example", None)] {
                let headers = format!("Origin: {origin}\r\n{headers}");
                let answer = ask(gateway.address, method, path, &headers);
                assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
                let header = |name| answer.header(name);
                assert_eq!(header("access-control-allow-origin"), allowed, "{answer:?}");
                let credentials = allowed.map(|_| "true");
                assert_eq!(header("access-control-allow-credentials"), credentials);
                let exposed = allowed.map(|_| "Retry-After");
                assert_eq!(header("access-control-expose-headers"), exposed);
                assert_eq!(answer.head.matches("vary: Origin").count(), 1, "{answer:?}");
            }
        }
    };
    let sse = "/api/v1/sse?topics=t";
    let cookie = "Cookie: access_token=x\r\n";
    refusals(
        |_| {},
        &[
            ("GET", sse, "", 401),
            ("GET", "/api/v1/sse?topics=t&token=x", "", 401),
            ("GET", sse, cookie, 403),
            ("POST", sse, "", 405),
            ("HEAD", sse, "", 401),
            // A page finds out by fetch why its WebSocket was refused.
            ("GET", "/api/v1/ws", "", 426),
            ("GET", "/ws?user_id=", "", 426),
        ],
    );
    refusals(
        |config| config.clients.auth_required = false,
        &[
            ("GET", "/api/v1/sse", "", 400),
            ("GET", "/api/v1/sse?topics=user:7:x", "", 403),
        ],
    );
    refusals(
        |config| config.section_mut::<SseSettings>().enabled = false,
        &[("GET", sse, "", 404)],
    );
}

#[test]
fn case_h6_a_page_is_told_that_there_is_no_room() {
    let gateway = gateway(|config| {
        config.http.cors_origins = listed("https://app.example.com");
        config.clients.auth_required = false;
        config.clients.max_connections_per_ip = 1;
        config.auth.max_failures_per_minute = 1;
    });
    let own = "Origin: https://app.example.com\r\n";
    let check = |path: &str, status: u16| {
        let answer = ask(gateway.address, "GET", path, own);
        assert_eq!(answer.status, status, "{answer:?}");
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some("https://app.example.com"), "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    };
    let sse = "/api/v1/sse?topics=t";
    let _stream = EventStream::subscribe(gateway.address, "topics=t");
    check(sse, 429);
    let wrong = "/api/v1/sse?topics=t&token=x";
    ask(gateway.address, "GET", wrong, own);
    check(wrong, 429);
    let mut full = TestGateway::in_mode(Mode::Demo, |config| {
        config.http.cors_origins = listed("https://app.example.com");
        config.clients.max_connections = 1;
    });
    let _stream = EventStream::subscribe(full.address, "topics=t");
    let answer = ask(full.address, "GET", sse, own);
    assert_eq!(answer.status, 503, "{answer:?}");
    let allowed = answer.header("access-control-allow-origin");
    assert_eq!(allowed, Some("https://app.example.com"), "{answer:?}");
    // Topics are counted after the request is taken.
    full = TestGateway::in_mode(Mode::Demo, |config| {
        config.http.cors_origins = listed("https://app.example.com");
        config.hub.max_topics = 1;
        config.server.shards = 1;
    });
    let many: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
    let path = format!("/api/v1/sse?topics={}", many.join(","));
    let answer = ask(full.address, "GET", &path, own);
    assert_eq!(answer.status, 503, "{answer:?}");
    let allowed = answer.header("access-control-allow-origin");
    assert_eq!(allowed, Some("https://app.example.com"), "{answer:?}");
}

#[test]
fn case_h7_a_preflight_allows_what_clients_of_streams_and_apis_send() {
    let gateway = gateway(|config| {
        config.http.cors_origins = listed("https://app.example.com");
    });
    let question = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: GET\r\n\
        Access-Control-Request-Headers: authorization,cache-control,last-event-id\r\n";
    for path in [
        "/api/v1/sse?topics=t",
        "/sse/send",
        "/api/v1/events",
        "/metrics",
    ] {
        let granted = ask(gateway.address, "OPTIONS", path, question);
        assert_eq!(granted.status, 200, "{granted:?}");
        assert_eq!(
            granted.head.matches("vary: Origin").count(),
            1,
            "{granted:?}"
        );
        let allowed = granted.header("access-control-allow-headers").unwrap();
        let allowed = allowed.to_ascii_lowercase();
        let allowed: Vec<&str> = allowed.split(", ").collect();
        for header in [
            "accept",
            "authorization",
            "cache-control",
            "content-type",
            "idempotency-key",
            "last-event-id",
            "pragma",
            "traceparent",
            "x-api-key",
            "x-requested-with",
        ] {
            assert!(allowed.contains(&header), "{header}: {allowed:?}");
        }
        assert!(!allowed.contains(&"x-forwarded-for"), "{allowed:?}");
    }
}

#[test]
fn case_h17_in_demo_mode_pages_of_any_port_of_this_machine_may_post() {
    let gateway = TestGateway::start();
    let body = r#"{"user_id":"nobody","data":{"message":"?"}}"#;
    for (origin, status) in [
        ("http://localhost:3000", 200),
        ("http://localhost", 200),
        ("http://127.0.0.1:5173", 200),
        ("https://localhost:8443", 200),
        ("http://[::1]:3000", 200),
        ("http://localhost.evil.example:3000", 403),
        ("http://evil.example", 403),
        ("null", 403),
    ] {
        for path in ["/sse/send", "/sse/push"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x:8080\r\nConnection: close\r\nOrigin: {origin}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = request(gateway.address, head.as_bytes());
            assert_eq!(answer.status, status, "{origin}: {answer:?}");
            let allowed = (status == 200).then_some(origin);
            assert_eq!(answer.header("access-control-allow-origin"), allowed);
        }
    }
}

#[test]
fn a20_credentials_in_the_wrong_place_publish_nothing() {
    let gateway = gateway(|config| config.http.cors_origins.clear());
    let question = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: POST\r\n";
    assert_eq!(
        ask(gateway.address, "OPTIONS", "/api/v1/events", question).status,
        405
    );
    let cookie = format!("Cookie: access_token={}\r\n", token());
    for (method, path, headers, status) in [
        ("POST", "/api/v1/events?api_key=key", "", 401),
        ("POST", "/api/v1/events?x-api-key=key", "", 401),
        ("POST", "/api/v1/events", cookie.as_str(), 401),
        (
            "GET",
            "/api/v1/events",
            "X-HTTP-Method-Override: POST\r\n",
            405,
        ),
        ("GET", "/api/v1/events?_method=POST", "", 405),
        ("PUT", "/api/v1/events", "", 405),
        ("DELETE", "/api/v1/events", "", 405),
        ("PATCH", "/api/v1/events", "", 405),
        ("POST", "/api/v1/events/", "", 404),
    ] {
        let response = ask(gateway.address, method, path, headers);
        assert_eq!(response.status, status, "{method} {path} {headers}");
    }
}
