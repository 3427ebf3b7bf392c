//! The tables of docs/clients.md and docs/sse.md on refusals: each status that they list is what the gateway answers, and no
//! other one.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare::auth::{Grant, issue};
use fanfare::config::{Config, Mode, OriginPattern, Secret};
use fanfare::dialect::sse::SseSettings;

use crate::support::{Client, Response, Socket, TestGateway, read_response, request};

const CLIENTS: &str = include_str!("../../docs/clients.md");
const SSE: &str = include_str!("../../docs/sse.md");
const SECRET: &[u8] = b"a secret that is long enough, is it";

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Rows of the first table below a heading: statuses, and the last column.
fn rows(document: &'static str, heading: &str) -> Vec<(BTreeSet<u16>, &'static str)> {
    let (_, section) = document.split_once(heading).expect("a section");
    let (_, table) = section.split_once("\n| status |").expect("a table");
    let lines = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let rows = lines.map(|line| {
        let mut cells = line.trim_matches('|').split(" | ");
        let statuses = cells.next().unwrap().split(',');
        let statuses = statuses.map(|status| status.trim().parse().expect("a status"));
        (statuses.collect(), cells.last().unwrap().trim())
    });
    rows.collect()
}

/// A gateway in production that lets pages of one origin in.
fn gateway(change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::in_mode(Mode::Prod, |config| {
        config.auth.jwt_secret = Secret::new(SECRET);
        let page = OriginPattern::parse("https://app.example.com");
        config.http.allowed_origins = vec![page.expect("an origin")];
        change(config);
    })
}

fn token(user: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.expect("it is later than 1970").as_secs();
    let grant = Grant {
        user,
        role: None,
        issued_at: now,
        expires_at: now + 600,
    };
    issue(&grant, &Secret::new(SECRET).unwrap()).unwrap()
}

fn ask(address: SocketAddr, line: &str, headers: &str) -> Response {
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    request(address, head.as_bytes())
}

/// What a refusal has to have by its row, and that there is one.
#[track_caller]
fn check(
    rows: &[(BTreeSet<u16>, &'static str)],
    seen: &mut BTreeSet<u16>,
    status: u16,
    got: &Response,
) {
    assert_eq!(got.status, status, "{got:?}");
    let row = rows.iter().find(|(statuses, _)| statuses.contains(&status));
    let (_, again) = row.unwrap_or_else(|| panic!("{status} is in no row"));
    let waits = again.contains("Retry-After") || *again == "later";
    assert!(!waits || got.header("retry-after").is_some(), "{got:?}");
    match got.header("content-type") {
        Some("application/json") => assert!(got.json()["detail"].is_string(), "{got:?}"),
        other => assert_eq!(other, Some("text/plain; charset=utf-8"), "{got:?}"),
    }
    seen.insert(status);
}

#[test]
fn upgrades_are_refused_as_the_table_for_clients_says() {
    let rows = rows(CLIENTS, "## Refusals before the upgrade");
    let valid = token("ann");
    let bearer = format!("Authorization: Bearer {valid}\r\n");
    for path in ["/api/v1/ws", "/ws?user_id=ann"] {
        let mut seen = BTreeSet::new();
        let mut check = |status, got: &Response| check(&rows, &mut seen, status, got);
        let open = gateway(|_| {});
        let get = format!("GET {path}");
        let upgrade = |headers: &str| ask(open.address, &get, &format!("{UPGRADE}{headers}"));
        let wrong_key = UPGRADE.replace("dGhl", "d");
        check(400, &ask(open.address, &get, &wrong_key));
        let parameter = if path == "/ws?user_id=ann" {
            "/ws?user_id="
        } else {
            "/api/v1/ws?format=xml"
        };
        check(
            400,
            &ask(open.address, &format!("GET {parameter}"), UPGRADE),
        );
        check(
            405,
            &ask(
                open.address,
                &format!("POST {path}"),
                &format!("{UPGRADE}Content-Length: 0\r\n"),
            ),
        );
        check(426, &ask(open.address, &get, &bearer));
        check(426, &ask(open.address, &get, &UPGRADE.replace("13", "8")));
        check(
            403,
            &upgrade(&format!("{bearer}Origin: https://evil.example\r\n")),
        );
        check(403, &upgrade(&format!("Cookie: access_token={valid}\r\n")));
        let name = if path == "/ws?user_id=ann" {
            "/ws/a?user_id=ann"
        } else {
            "/api/v1/ws/a.b"
        };
        check(404, &ask(open.address, &format!("GET {name}"), UPGRADE));
        check(404, &ask(open.address, "GET /api/v1/ws/demo", UPGRADE));
        check(431, &upgrade(&"X: y\r\n".repeat(101)));
        if path == "/ws?user_id=ann" {
            check(401, &ask(open.address, "GET /ws", UPGRADE));
            check(401, &upgrade("Authorization: Bearer x\r\n"));
            check(
                403,
                &ask(
                    open.address,
                    "GET /ws?user_id=bob",
                    &format!("{UPGRADE}{bearer}"),
                ),
            );
        } else {
            let mut told = Client::connect_with(open.address, path, "Authorization: Bearer x\r\n");
            assert_eq!(told.until_close(), Some(1008));
        }

        let slow = gateway(|config| config.server.handshake_timeout = Duration::from_millis(200));
        let mut stream = Socket::connect(slow.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n").unwrap();
        check(408, &read_response(&mut stream));

        let strict = gateway(|config| config.auth.max_failures_per_minute = 1);
        let wrong = format!("{UPGRADE}Authorization: Bearer wrong\r\n");
        for _ in 0..2 {
            ask(strict.address, &get, &wrong);
        }
        check(429, &ask(strict.address, &get, &wrong));

        let full = gateway(|config| config.server.max_connections = 1);
        let _first = Client::connect_with(full.address, path, &bearer);
        check(503, &ask(full.address, &get, &format!("{UPGRADE}{bearer}")));

        let listed: BTreeSet<u16> = rows
            .iter()
            .flat_map(|(statuses, _)| statuses)
            .copied()
            .collect();
        let missing: Vec<_> = listed.difference(&seen).collect();
        let expected: &[&u16] = if path == "/api/v1/ws" { &[&401] } else { &[] };
        assert_eq!(missing, expected, "{path}");
    }
}

#[test]
fn streams_are_refused_as_their_table_says() {
    let rows = rows(SSE, "## The request");
    let mut seen = BTreeSet::new();
    let mut check = |status, got: &Response| check(&rows, &mut seen, status, got);
    let bearer = format!("Authorization: Bearer {}\r\n", token("ann"));
    let get = "GET /api/v1/sse?topics=news";
    let open = gateway(|_| {});
    for query in ["", "?topics=", "?topics=a.*", "?topics=gap"] {
        check(
            400,
            &ask(open.address, &format!("GET /api/v1/sse{query}"), &bearer),
        );
    }
    check(
        400,
        &ask(open.address, get, &format!("{bearer}Content-Length: 1\r\n")),
    );
    check(401, &ask(open.address, get, ""));
    check(401, &ask(open.address, get, "Authorization: Bearer x\r\n"));
    check(
        403,
        &ask(
            open.address,
            "GET /api/v1/sse?topics=user:bob:events",
            &bearer,
        ),
    );
    check(
        403,
        &ask(
            open.address,
            get,
            &format!("{bearer}Origin: https://evil.example\r\n"),
        ),
    );
    check(
        405,
        &ask(
            open.address,
            "POST /api/v1/sse?topics=news",
            &format!("{bearer}Content-Length: 0\r\n"),
        ),
    );
    let off = gateway(|config| config.section_mut::<SseSettings>().enabled = false);
    check(404, &ask(off.address, get, &bearer));
    let strict = gateway(|config| config.auth.max_failures_per_minute = 1);
    for _ in 0..2 {
        ask(strict.address, get, "Authorization: Bearer x\r\n");
    }
    check(
        429,
        &ask(strict.address, get, "Authorization: Bearer x\r\n"),
    );
    for (limit, status) in [
        (
            (|config| config.clients.max_connections_per_ip = 1) as fn(&mut Config),
            429,
        ),
        (|config| config.clients.max_connections_per_user = 1, 429),
        (|config| config.clients.max_connections = 1, 503),
        (|config| config.server.max_connections = 1, 503),
    ] {
        let full = gateway(limit);
        let _first = Client::connect_with(full.address, "/api/v1/ws", &bearer);
        check(status, &ask(full.address, get, &bearer));
    }
    let listed: BTreeSet<u16> = rows
        .iter()
        .flat_map(|(statuses, _)| statuses)
        .copied()
        .collect();
    assert_eq!(listed, seen);
}
