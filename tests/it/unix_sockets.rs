//! Listeners at a path, for a proxy or services of the same machine.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fanfare::config::{Config, ListenAddress, SocketPath};
use serde_json::json;

use crate::support::{Client, Process, Response, Socket, TestGateway, request, request_on};

const PATIENCE: Duration = Duration::from_secs(10);

/// A path of this test, where nothing is.
fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fanfare-{name}-{}.sock", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

fn listen(path: &Path) -> ListenAddress {
    SocketPath::new(path.to_str().unwrap()).unwrap().into()
}

fn connect(path: &Path) -> Socket {
    Socket::local(UnixStream::connect(path).expect("the gateway listens"))
}

/// One request on a connection of its own.
fn get(path: &Path, target: &str, headers: &str) -> Response {
    let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    request_on(connect(path), head.as_bytes())
}

/// A WebSocket; `None` if it is refused.
fn upgrade(path: &Path, target: &str, headers: &str) -> Option<Client> {
    let mut socket = connect(path);
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    Client::answered(socket)
}

/// A gateway that also listens at `path`.
fn start(path: &Path, change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::with(|config| {
        config.server.listen.push(listen(path));
        change(config);
    })
}

#[test]
fn connections_of_all_kinds_are_served_by_all_shards() {
    let path = path("kinds");
    let gateway = start(&path, |config| config.server.shards = 3);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o660
    );
    assert_eq!(get(&path, "/health", "").status, 200);
    let mut clients: Vec<Client> = (0..9)
        .map(|_| upgrade(&path, "/api/v1/ws/demo", "").unwrap())
        .collect();
    for client in &mut clients {
        assert_eq!(client.json()["type"], "connection_established");
        client.subscribe(&["a"]);
    }
    let mut stream = connect(&path);
    let ask = b"GET /api/v1/sse?topics=a HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(ask).unwrap();
    // More than the socket takes at once, from one that came by TCP.
    let mut publisher = Client::events(gateway.address);
    let large = "x".repeat(60_000);
    for n in 0..10 {
        publisher.say(&json!({ "type": "publish", "event": "a", "data": [n, &large] }));
    }
    for client in &mut clients {
        for n in 0..10 {
            assert_eq!(client.json()["data"][0], n);
        }
    }
    drop(clients);
    let streamed = crate::support::read_response(&mut Waiting(stream, 600_000));
    assert!(
        streamed.head.starts_with("HTTP/1.1 200 "),
        "{}",
        streamed.head
    );
    assert!(streamed.body.contains("[9,"));
    gateway.stop();
    assert!(!path.exists(), "the file goes with the gateway");
}

/// A stream of events until so many bytes have come.
struct Waiting(Socket, usize);

impl std::io::Read for Waiting {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if self.1 == 0 {
            return Ok(0);
        }
        self.0.set_read_timeout(Some(PATIENCE))?;
        let read = self.0.read(bytes)?;
        self.1 = self.1.saturating_sub(read);
        Ok(read)
    }
}

#[test]
fn a_proxy_behind_it_names_its_clients_without_being_listed() {
    let path = path("proxy");
    let gateway = start(&path, |config| config.server.max_connections_per_ip = 1);
    let from = |client: &str| {
        let header = format!("X-Forwarded-For: {client}\r\n");
        upgrade(&path, "/debug/echo", &header)
    };
    let mut first = from("198.51.100.1").unwrap();
    let _second = from("198.51.100.2").unwrap();
    assert!(from("198.51.100.1").is_none(), "the address has its one");
    // Without a header it is one of this machine.
    let _own = upgrade(&path, "/debug/echo", "").unwrap();
    assert!(upgrade(&path, "/debug/echo", "").is_none());
    // Over TCP nobody is believed who is not listed.
    let ask =
        b"GET /debug/echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        X-Forwarded-For: 198.51.100.3\r\n\r\n";
    assert_eq!(request(gateway.address, ask).status, 503);
    first.send(0x82, b"here");
    assert_eq!(first.next().unwrap().payload, b"here");
}

#[test]
fn services_may_have_one_of_their_own() {
    let path = path("services");
    let gateway = TestGateway::with(|config| {
        config.server.internal_listen = vec![listen(&path)];
        config.server.unix_socket_mode = fanfare::config::SocketMode(0o600);
    });
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(get(&path, "/metrics", "").status, 200);
    let ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(request(gateway.address, ask).status, 404);
    assert!(upgrade(&path, "/debug/echo", "").is_none());
}

#[test]
fn one_that_a_killed_process_has_left_is_replaced_and_one_in_use_is_not() {
    let path = path("killed");
    let name = format!("unix:{}", path.display());
    let variables = [("FANFARE_SERVER__INTERNAL_LISTEN", &*name)];
    let first = Process::with(&["--shards", "2"], &variables);
    assert_eq!(get(&path, "/metrics", "").status, 200);
    // Where it listens, no other does.
    let second = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["serve", "--mode", "demo", "--listen", "127.0.0.1:0"])
        .env_clear()
        .env("FANFARE_ENV_FILE", "")
        .envs(variables)
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another process listens there"), "{said}");
    assert_eq!(get(&path, "/metrics", "").status, 200);
    first.signal("KILL");
    first.wait(PATIENCE);
    assert!(path.exists());
    let third = Process::with(&["--shards", "2"], &variables);
    assert_eq!(get(&path, "/metrics", "").status, 200);
    third.signal("TERM");
    assert!(third.wait(PATIENCE).success());
    assert!(!path.exists());
}
