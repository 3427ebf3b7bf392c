//! A WebSocket client of bytes: it can send anything, and checks what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Socket;

/// How long a client waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A topic that the gateway publishes to every few seconds. Who follows it by a pattern alone does not see its events here.
const METRICS: &str = "system.metrics";

/// A connection that has been upgraded.
pub(crate) struct Client {
    /// The socket itself, for those who want to do strange things to it.
    pub stream: Socket,
    /// The head of the 101 response.
    pub head: String,
    received: Vec<u8>,
    /// It has asked for [`METRICS`] by name.
    takes_metrics: bool,
}

/// A frame from the gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// The first byte: FIN, reserved bits, opcode.
    pub first: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The close code, if this is a close frame with one.
    pub(crate) fn close_code(&self) -> Option<u16> {
        let code = self
            .payload
            .first_chunk::<2>()
            .filter(|_| self.first == 0x88)?;
        Some(u16::from_be_bytes(*code))
    }

    /// The payload of a text frame as JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.first, 0x81, "a text frame: {self:?}");
        serde_json::from_slice(&self.payload).expect("JSON")
    }
}

/// A masked client frame: first byte (0x81 text, 0x82 binary, 0x89 ping, ..) and payload.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame_with(first, payload, [0x12, 0x34, 0x56, 0x78])
}

/// As [`frame`], with this masking key.
pub(crate) fn frame_with(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(key);
    out.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    out
}

impl Client {
    /// Connects and upgrades at `path`.
    pub(crate) fn connect(address: SocketAddr, path: &str) -> Self {
        Self::connect_with(address, path, "")
    }

    /// As [`Self::connect`], with more header lines, each ended by CRLF.
    pub(crate) fn connect_with(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = Socket::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut client = Self::reading(stream);
        let end = client.wait_for(|received| {
            received
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .map(|at| at + 4)
        });
        let end = end.expect("a response head");
        client.head = String::from_utf8(client.received.drain(..end).collect()).unwrap();
        assert!(client.head.starts_with("HTTP/1.1 101 "), "{}", client.head);
        client
    }

    /// A connection whose upgrade has been asked for on `stream`; `None` if it is refused.
    pub(crate) fn answered(stream: Socket) -> Option<Self> {
        let mut client = Self::reading(stream);
        let end = client.wait_for(|received| {
            let at = received.windows(4).position(|four| four == b"\r\n\r\n");
            at.map(|at| at + 4)
        })?;
        client.head = String::from_utf8(client.received.drain(..end).collect()).unwrap();
        client.head.starts_with("HTTP/1.1 101 ").then_some(client)
    }

    /// A connection with the answer to its request, of which `start` has been read already.
    pub(crate) fn answered_from(stream: Socket, start: &[u8]) -> Self {
        let mut client = Self::reading(stream);
        client.received.extend_from_slice(start);
        let end = client.wait_for(|received| {
            let at = received.windows(4).position(|four| four == b"\r\n\r\n");
            at.map(|at| at + 4)
        });
        let head = client.received.drain(..end.expect("a response head"));
        client.head = String::from_utf8(head.collect()).unwrap();
        client
    }

    /// The reading side of a connection that has been upgraded.
    pub(crate) fn reading(stream: Socket) -> Self {
        Self {
            stream,
            head: String::new(),
            received: Vec::new(),
            takes_metrics: false,
        }
    }

    /// Connects to the events protocol's demo endpoint and takes the greeting.
    pub(crate) fn events(address: SocketAddr) -> Self {
        let mut client = Self::connect(address, "/api/v1/ws/demo");
        assert_eq!(client.json()["type"], "connection_established");
        client
    }

    /// Connects to the echo endpoint.
    pub(crate) fn echo(address: SocketAddr) -> Self {
        Self::connect(address, "/debug/echo")
    }

    /// Sends bytes as they are. A connection that is gone is for the reader to find out.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a masked frame.
    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) {
        self.send_bytes(&frame(first, payload));
    }

    /// Sends a text message.
    pub(crate) fn say(&mut self, value: &Value) {
        self.send(0x81, value.to_string().as_bytes());
    }

    /// Subscribes and takes the confirmation.
    pub(crate) fn subscribe(&mut self, events: &[&str]) -> Value {
        self.takes_metrics |= events.contains(&METRICS);
        self.say(&serde_json::json!({ "type": "subscribe", "events": events }));
        let answer = self.json();
        assert_eq!(answer["type"], "subscription_confirmed", "{answer}");
        answer
    }

    /// The next frame; `None` when the gateway has closed the connection.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let header = self.wait_for(|received| {
            let short = usize::from(*received.get(1)?);
            assert_eq!(short & 0x80, 0, "a server's frame is not masked");
            let (len, header) = match short {
                126 => (
                    usize::from(u16::from_be_bytes(*received.get(2..4)?.first_chunk()?)),
                    4,
                ),
                127 => (
                    u64::from_be_bytes(*received.get(2..10)?.first_chunk()?) as usize,
                    10,
                ),
                len => (len, 2),
            };
            (received.len() >= header + len).then_some((header, len))
        });
        let (header, len) = header?;
        let first = self.received[0];
        let payload = self.received[header..header + len].to_vec();
        self.received.drain(..header + len);
        Some(Frame { first, payload })
    }

    /// The next frame's JSON.
    pub(crate) fn json(&mut self) -> Value {
        loop {
            let json = self.next().expect("a frame, not the end").json();
            if self.takes_metrics || json["event"] != METRICS {
                return json;
            }
        }
    }

    /// Answers the ping that has to be the next frame.
    #[track_caller]
    pub(crate) fn answer_ping(&mut self) {
        let frame = self.next().expect("a ping, not the end");
        assert_eq!(frame.first, 0x89, "{frame:?}");
        self.send(0x8a, &frame.payload);
    }

    /// Frames up to a close frame or the end; the close code, if there was one.
    pub(crate) fn until_close(&mut self) -> Option<u16> {
        loop {
            match self.next() {
                Some(frame) if frame.first == 0x88 => return frame.close_code(),
                Some(_) => {}
                None => return None,
            }
        }
    }

    /// Whether nothing comes within `time`.
    pub(crate) fn is_silent(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            if self.received.is_empty() && self.read_some(end).is_none() {
                return true;
            }
            let has_metrics = String::from_utf8_lossy(&self.received).contains(METRICS);
            if self.takes_metrics || !has_metrics || self.next().unwrap().json()["event"] != METRICS
            {
                return false;
            }
        }
    }

    /// Waits for the end of the stream, ignoring what comes before; how long that took.
    pub(crate) fn wait_for_end(&mut self) -> Duration {
        let began = Instant::now();
        while self
            .read_some(began + PATIENCE * 4)
            .expect("the gateway closes the connection")
        {
            self.received.clear();
        }
        began.elapsed()
    }

    /// Ends our side of the stream.
    pub(crate) fn shut(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads until `find` finds what it looks for; `None` at the end of the stream.
    fn wait_for<T>(&mut self, find: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(&self.received) {
                return Some(found);
            }
            match self.read_some(deadline) {
                Some(true) => {}
                Some(false) => return None,
                None => panic!("nothing came for {PATIENCE:?}; so far: {:?}", self.received),
            }
        }
    }

    /// Reads once: `Some(true)` for bytes, `Some(false)` for the end, `None` when time is up.
    fn read_some(&mut self, deadline: Instant) -> Option<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        self.stream.set_read_timeout(Some(left)).unwrap();
        let mut bytes = [0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => Some(false),
            Ok(read) => {
                self.received.extend(&bytes[..read]);
                Some(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(_) => Some(false),
        }
    }
}
