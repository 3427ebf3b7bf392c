//! The bridge protocol: services push and ask over HTTP, users receive and answer over WebSocket.
//! A module for each part of what it promises.

mod calls;
mod duplicates;
mod events;
mod identity;
mod keys;
mod limits;
mod load;
mod mentions;
mod requests;
mod services;
mod socket;
mod stop;
mod text;

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanfare::auth::{Grant, issue};
use fanfare::config::{Config, Mode, Secret};
use serde_json::{Value, json};

use crate::support::{Call, Client, Response, Socket, TestGateway, request};

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing comes where nothing may come.
const SILENCE: Duration = Duration::from_millis(100);

/// A demo gateway with so many shards.
fn gateway(shards: usize, change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::with(|config| {
        config.server.shards = shards;
        change(config);
    })
}

/// Connects as a user, whose name is written as in a query.
fn user(address: SocketAddr, name: &str) -> Client {
    Client::connect(address, &format!("/ws?user_id={name}"))
}

/// Posts `body` as JSON, and takes the whole response.
fn post(address: SocketAddr, path: &str, body: &str) -> Response {
    post_with(address, path, "Content-Type: application/json\r\n", body)
}

/// Posts `body` with these header lines, each ended by CRLF.
fn post_with(address: SocketAddr, path: &str, headers: &str, body: &str) -> Response {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    request(address, &[head.as_bytes(), body.as_bytes()].concat())
}

/// Pushes `data` to a user. Returns whether the gateway says that it arrived.
fn push(address: SocketAddr, user: &str, data: &Value) -> bool {
    push_message(address, &json!({ "user_id": user, "data": data }))
}

/// Posts a whole message to `/sse/push`. Returns whether the gateway says that it arrived.
fn push_message(address: SocketAddr, message: &Value) -> bool {
    let response = post(address, "/sse/push", &message.to_string());
    assert_eq!(response.status, 200, "{response:?}");
    let delivered = json!({ "status": "success", "message": "Message delivered" });
    let offline = json!({ "status": "partial", "message": "User not connected" });
    let answer = response.json();
    assert!(answer == delivered || answer == offline, "{answer}");
    answer == delivered
}

/// Asks a user with this correlation id, which has to begin a stream.
fn call(address: SocketAddr, user: &str, id: &Value) -> Call {
    let data = json!({ "message": "?", "correlation_id": id });
    Call::begin(address, &json!({ "user_id": user, "data": data }))
}

/// Asks a user until the correlation id is free.
fn call_when_free(address: SocketAddr, user: &str, id: &Value) -> Call {
    let deadline = Instant::now() + PATIENCE;
    let data = json!({ "message": "?", "correlation_id": id });
    let body = json!({ "user_id": user, "data": data }).to_string();
    loop {
        let call = Call::post(address, "/sse/send", "", &body);
        if call.status == 200 {
            return call;
        }
        assert_eq!(call.status, 409, "{}", call.head);
        assert!(Instant::now() < deadline, "{id} is not free");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An answer that ends its stream.
fn last(id: &Value, data: impl Into<Value>) -> Value {
    json!({ "type": "response", "correlation_id": id, "data": data.into(), "is_final": true })
}

/// An answer that others may follow.
fn more(id: &Value, data: impl Into<Value>) -> Value {
    json!({ "type": "response", "correlation_id": id, "data": data.into() })
}

/// Waits until `is_so`.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The number of connections, as `/health` says.
fn connections(address: SocketAddr) -> u64 {
    let health = request(
        address,
        b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    health.json()["connections"].as_u64().expect("a number")
}

/// Ends a connection as a well-behaved client does, and waits for the answer to its close frame.
fn leave(mut client: Client) {
    client.send(0x88, &1000_u16.to_be_bytes());
    assert_eq!(client.until_close(), Some(1000));
}

/// The close code and reason of a connection that ends with nothing said before.
#[track_caller]
fn closed(client: &mut Client) -> (u16, String) {
    let frame = client.next().expect("a close frame");
    let code = frame
        .close_code()
        .unwrap_or_else(|| panic!("no close frame: {frame:?}"));
    (
        code,
        String::from_utf8(frame.payload[2..].to_vec()).unwrap(),
    )
}

/// The secret that tokens are signed with.
const SECRET: [u8; 32] = [7; 32];

/// A gateway of this mode that knows tokens.
fn gateway_in(mode: Mode, shards: usize, change: impl FnOnce(&mut Config)) -> TestGateway {
    TestGateway::in_mode(mode, |config| {
        config.auth.jwt_secret = Secret::new(SECRET);
        config.server.shards = shards;
        change(config);
    })
}

/// A token of a user.
fn token(user: &str, role: Option<&str>) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let issued_at = since.unwrap().as_secs();
    let grant = Grant {
        user,
        role,
        issued_at,
        expires_at: issued_at + 600,
    };
    issue(&grant, &Secret::new(SECRET).unwrap()).unwrap()
}

/// The header line of a bearer token.
fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Asks for an upgrade that is refused.
fn refused(address: SocketAddr, path: &str, headers: &str) -> Response {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    request(address, head.as_bytes())
}

/// Asks for an upgrade and does not wait for the answer.
fn upgrade(address: SocketAddr, user: &str) -> Socket {
    let mut stream = Socket::connect(address).expect("the gateway listens");
    let request = format!(
        "GET /ws?user_id={user} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    stream
}

/// A second connection of a user whose `first` one is there, and says so when it is asked.
#[track_caller]
fn second(address: SocketAddr, user: &str, first: &mut Client) -> Client {
    let stream = upgrade(address, user);
    first.answer_ping();
    answered(stream)
}

/// The connection with the answer to its upgrade request, which comes before anything else.
#[track_caller]
fn answered(mut stream: Socket) -> Client {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut start = [0; 9];
    let read = std::io::Read::read_exact(&mut stream, &mut start);
    assert!(
        read.is_ok() && start == *b"HTTP/1.1 ",
        "no answer to a request: {start:x?} {read:?}"
    );
    Client::answered_from(stream, &start)
}

/// What these threads have come to.
fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads
        .into_iter()
        .map(|thread| thread.join().expect("a client is content"))
        .collect()
}
