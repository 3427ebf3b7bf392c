//! A server of the protocol, in memory: accounts, challenges, messages that wait. It does what the
//! tests need and no more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// What a test asks of the server.
pub(crate) enum Order {
    /// Sends a frame to a connected user.
    Send(String, Value),
    /// Closes a user's connection.
    Close(String, u16, &'static str),
    /// Cuts it off.
    Cut(String),
    /// Gives a user other keys.
    Rekey(String, Value),
    /// Answers the next messages with this, each with one, in place of delivering them.
    Answer(Vec<Option<Value>>),
}

enum Event {
    Request(String, Value, oneshot::Sender<(u16, String)>),
    Connect(
        String,
        mpsc::UnboundedSender<Push>,
        oneshot::Sender<Option<(u64, String)>>,
    ),
    Frame(String, Value),
    Gone(String, u64),
    Order(Order),
}

enum Push {
    Frame(Value),
    Close(u16, &'static str),
    Cut,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    events: mpsc::UnboundedSender<Event>,
    /// Targets of all requests, upgrades included.
    pub(crate) requests: std::sync::mpsc::Receiver<String>,
    /// Frames that clients have sent.
    pub(crate) frames: std::sync::mpsc::Receiver<Value>,
    /// Whether requests are refused with 503.
    pub(crate) is_down: Arc<AtomicBool>,
}

#[derive(Default)]
struct Hub {
    users: BTreeMap<String, Value>,
    challenges: BTreeMap<String, Vec<u8>>,
    online: BTreeMap<String, (u64, mpsc::UnboundedSender<Push>)>,
    pending: Vec<(String, Value)>,
    tokens: BTreeSet<String>,
    next_id: i64,
    connections: u64,
    answers: VecDeque<Option<Value>>,
}

static TOKENS: AtomicU64 = AtomicU64::new(0);

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(None)
    }

    /// With TLS, as localhost; returns the certificate as PEM.
    pub(crate) fn start_tls() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::with(Some(acceptor)), made.cert.pem())
    }

    fn with(tls: Option<TlsAcceptor>) -> Self {
        let (events, mut inbox) = mpsc::unbounded_channel();
        let (request_sender, requests) = std::sync::mpsc::channel();
        let (frame_sender, frames) = std::sync::mpsc::channel();
        let (address_sender, address) = std::sync::mpsc::channel();
        let is_down = Arc::new(AtomicBool::new(false));
        let (to_hub, down) = (events.clone(), is_down.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                address_sender.send(listener.local_addr().unwrap()).unwrap();
                let mut hub = Hub::default();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let (stream, _) = accepted.unwrap();
                            let (events, requests) = (to_hub.clone(), request_sender.clone());
                            let (down, tls) = (down.clone(), tls.clone());
                            tokio::task::spawn_local(async move {
                                match tls {
                                    None => serve(stream, events, requests, down).await,
                                    Some(tls) => if let Ok(stream) = tls.accept(stream).await {
                                        serve(stream, events, requests, down).await;
                                    }
                                }
                            });
                        }
                        event = inbox.recv() => match event {
                            Some(event) => hub.handle(event, &frame_sender),
                            None => return,
                        }
                    }
                }
            });
        });
        Self {
            address: address.recv().unwrap(),
            events,
            requests,
            frames,
            is_down,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn order(&self, order: Order) {
        assert!(self.events.send(Event::Order(order)).is_ok());
    }

    pub(crate) fn go_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }
}

impl Hub {
    fn handle(&mut self, event: Event, frames: &std::sync::mpsc::Sender<Value>) {
        match event {
            Event::Request(target, body, reply) => {
                let _ = reply.send(self.answer(&target, &body));
            }
            Event::Connect(target, pushes, reply) => {
                let user = self.user_of(&target);
                let Some(user) = user else {
                    let _ = reply.send(None);
                    return;
                };
                self.connections += 1;
                let _ = reply.send(Some((self.connections, user.clone())));
                if let Some((_, old)) = self.online.remove(&user) {
                    let _ = old.send(Push::Close(1008, "Replaced by new connection"));
                }
                self.pending.retain(|(to, frame)| {
                    let is_theirs = *to == user;
                    if is_theirs {
                        let _ = pushes.send(Push::Frame(frame.clone()));
                    }
                    !is_theirs
                });
                self.online.insert(user, (self.connections, pushes));
            }
            Event::Frame(user, mut frame) => {
                let _ = frames.send(frame.clone());
                assert_eq!(frame["header"]["from"], user, "the sender is the user");
                self.deliver(&user, &mut frame);
            }
            Event::Gone(user, connection) => {
                if self
                    .online
                    .get(&user)
                    .is_some_and(|(it, _)| *it == connection)
                {
                    self.online.remove(&user);
                }
            }
            Event::Order(Order::Send(user, frame)) => self.push(&user, Push::Frame(frame)),
            Event::Order(Order::Close(user, code, why)) => {
                self.push(&user, Push::Close(code, why));
            }
            Event::Order(Order::Cut(user)) => self.push(&user, Push::Cut),
            Event::Order(Order::Answer(answers)) => self.answers.extend(answers),
            Event::Order(Order::Rekey(user, keys)) => {
                self.users.insert(user, keys);
            }
        }
    }

    fn push(&self, user: &str, push: Push) {
        if let Some((_, pushes)) = self.online.get(user) {
            let _ = pushes.send(push);
        }
    }

    fn deliver(&mut self, from: &str, frame: &mut Value) {
        let to = frame["header"]["to"].as_str().unwrap().to_owned();
        if let Some(answer) = self.answers.pop_front() {
            if let Some(answer) = answer {
                self.push(from, Push::Frame(answer));
            }
            return;
        }
        if to == "server" {
            let content = frame["body"]["content"].as_str().unwrap();
            let signature = frame["header"]["signature"].as_str().unwrap();
            let content_json: Value = serde_json::from_str(content).unwrap();
            let reply = match self.is_signed(from, content.as_bytes(), signature) {
                true => {
                    json!({"success": true, "request_id": content_json["request_id"], "result": {"echo": content_json["params"]}})
                }
                false => json!({"success": false, "error": "Invalid signature"}),
            };
            self.push(from, Push::Frame(server_frame(from, &reply, "delivered")));
            return;
        }
        self.next_id += 1;
        frame["id"] = self.next_id.into();
        let is_online = self.online.contains_key(&to);
        if to == "broadcast" {
            frame["header"]["is_broadcast"] = true.into();
            for (user, (_, pushes)) in &self.online {
                if user != from {
                    let _ = pushes.send(Push::Frame(frame.clone()));
                }
            }
        } else if is_online {
            self.push(&to, Push::Frame(frame.clone()));
        } else {
            frame["status"] = "pending".into();
            self.pending.push((to, frame.clone()));
        }
        let status = if is_online { "delivered" } else { "pending" };
        let ack = json!({"success": true, "ack": self.next_id, "status": status});
        self.push(from, Push::Frame(server_frame(from, &ack, status)));
    }

    fn is_signed(&self, user: &str, message: &[u8], signature: &str) -> bool {
        let key = self.users[user]["public_key"].as_str().unwrap();
        let key = UnparsedPublicKey::new(&ED25519, STANDARD.decode(key).unwrap());
        key.verify(message, &STANDARD.decode(signature).unwrap())
            .is_ok()
    }

    fn user_of(&self, target: &str) -> Option<String> {
        let (_, query) = target.split_once('?')?;
        let token = query.split('&').find_map(|it| it.strip_prefix("token="))?;
        self.tokens
            .contains(token)
            .then(|| token.split('.').next().unwrap().to_owned())
    }

    fn answer(&mut self, target: &str, body: &Value) -> (u16, String) {
        let user = body["user_id"].as_str().unwrap_or_default().to_owned();
        let text = |status, text: &str| (status, format!("{text}\n"));
        let json = |value: Value| (200, value.to_string());
        match target {
            "/auth/register" if self.users.contains_key(&user) => text(409, "User already exists"),
            "/auth/register" if user == "system" => text(400, "Reserved user ID"),
            "/auth/register" => {
                self.users.insert(user, body.clone());
                (201, "User registered successfully".into())
            }
            "/auth/login" => {
                let challenge = vec![self.challenges.len() as u8; 32];
                self.challenges.insert(user, challenge.clone());
                json(json!({"challenge": STANDARD.encode(challenge)}))
            }
            "/auth/login?verify=true" => {
                let Some(challenge) = self.challenges.remove(&user) else {
                    return text(400, "No challenge found");
                };
                if !self.users.contains_key(&user) {
                    return text(401, "User not found");
                }
                if !self.is_signed(&user, &challenge, body["signature"].as_str().unwrap()) {
                    return text(401, "Authentication failed");
                }
                let number = TOKENS.fetch_add(1, Ordering::SeqCst);
                let token = format!("{user}.e30.{number}");
                self.tokens.insert(token.clone());
                json(json!({"token": token}))
            }
            "/active-users" => {
                let offline = self
                    .users
                    .keys()
                    .filter(|it| !self.online.contains_key(*it));
                json(
                    json!({"online": self.online.keys().collect::<Vec<_>>(), "offline": offline.collect::<Vec<_>>()}),
                )
            }
            "/test/forget-tokens" => {
                self.tokens.clear();
                json(json!({}))
            }
            _ => {
                if let Some(user) = target.strip_prefix("/auth/check-userid/") {
                    return json(json!({"exists": self.users.contains_key(user)}));
                }
                let user = target
                    .strip_prefix("/auth/users/")
                    .expect("a path of the protocol");
                match self.users.get(user) {
                    Some(keys) => json(keys.clone()),
                    None => text(404, "User not found"),
                }
            }
        }
    }
}

/// What is said of a message that is too fast.
pub(crate) fn too_fast(to: &str) -> Value {
    let mut frame = server_frame(to, &Value::Null, "error");
    frame["header"]["from"] = "system".into();
    frame["body"]["content"] = "Rate limit exceeded. Please slow down.".into();
    frame
}

pub(crate) fn server_frame(to: &str, content: &Value, status: &str) -> Value {
    json!({
        "header": {"from": "server", "to": to, "message_type": "direct", "timestamp": "2026-01-02T03:04:05.123456789Z"},
        "body": {"content": content.to_string()},
        "status": status,
    })
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    events: mpsc::UnboundedSender<Event>,
    requests: std::sync::mpsc::Sender<String>,
    is_down: Arc<AtomicBool>,
) {
    let mut head = Vec::new();
    let (end, length) = loop {
        let mut bytes = [0; 4096];
        let Ok(count @ 1..) = stream.read(&mut bytes).await else {
            return;
        };
        head.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&head).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            break (
                end + 4,
                header(&text, "content-length").map_or(0, |it| it.parse().unwrap()),
            );
        }
    };
    while head.len() < end + length {
        let mut bytes = [0; 4096];
        let Ok(count @ 1..) = stream.read(&mut bytes).await else {
            return;
        };
        head.extend_from_slice(&bytes[..count]);
    }
    let text = String::from_utf8_lossy(&head[..end]).into_owned();
    let target = text.split(' ').nth(1).unwrap().to_owned();
    requests.send(target.clone()).ok();
    if is_down.load(Ordering::SeqCst) {
        answer(&mut stream, 503, "Retry-After: 0\r\n", "later\n").await;
        return;
    }
    let Some(key) = header(&text, "sec-websocket-key") else {
        let body = serde_json::from_slice(&head[end..]).unwrap_or(Value::Null);
        let (reply, answered) = oneshot::channel();
        events
            .send(Event::Request(target, body, reply))
            .ok()
            .unwrap();
        let (status, body) = answered.await.unwrap();
        answer(&mut stream, status, "", &body).await;
        return;
    };
    let (pushes, mut inbox) = mpsc::unbounded_channel();
    let (reply, connected) = oneshot::channel();
    events
        .send(Event::Connect(target, pushes, reply))
        .ok()
        .unwrap();
    let Some((connection, user)) = connected.await.unwrap() else {
        answer(&mut stream, 401, "", "Invalid token\n").await;
        return;
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    loop {
        tokio::select! {
            push = inbox.recv() => {
                let sent = match push {
                    Some(Push::Frame(frame)) => socket.send(Message::text(frame.to_string())).await,
                    Some(Push::Close(code, reason)) => {
                        let frame = CloseFrame { code: code.into(), reason: reason.into() };
                        socket.send(Message::Close(Some(frame))).await
                    }
                    Some(Push::Cut) | None => break,
                };
                if sent.is_err() {
                    break;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let frame = serde_json::from_str(&text).expect("clients send JSON");
                    events.send(Event::Frame(user.clone(), frame)).ok().unwrap();
                }
                Some(Ok(Message::Close(frame))) => {
                    let code: u16 = frame.map_or(1005, |frame| frame.code.into());
                    requests.send(format!("close {code}")).ok();
                    let _ = socket.flush().await;
                    break;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            }
        }
    }
    let _ = events.send(Event::Gone(user, connection));
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (header, value) = line.split_once(':')?;
        header
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), status: u16, headers: &str, body: &str) {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
