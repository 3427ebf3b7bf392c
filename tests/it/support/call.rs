//! A caller of `/sse/send`, of bytes: it takes a chunked stream of events apart and
//! checks that there is nothing in it but events.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Socket;

/// How long a caller waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A response whose body is a stream of events.
pub(crate) struct Call {
    /// The socket itself.
    pub stream: Socket,
    /// The head of the response.
    pub head: String,
    /// The status of the response.
    pub status: u16,
    received: Vec<u8>,
    body: Vec<u8>,
    has_ended: bool,
}

impl Call {
    /// Posts `body` to `/sse/send`, which has to begin a stream.
    pub(crate) fn begin(address: SocketAddr, body: &Value) -> Self {
        let call = Self::post(address, "/sse/send", "", &body.to_string());
        assert_eq!(call.status, 200, "{body}: {}", call.head);
        call
    }

    /// Posts `body` to `path` with more header lines, each ended by CRLF, and takes the head of
    /// the response, whatever it is.
    pub(crate) fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> Self {
        let stream = Socket::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).unwrap();
        let mut call = Self {
            stream,
            head: String::new(),
            status: 0,
            received: Vec::new(),
            body: Vec::new(),
            has_ended: false,
        };
        call.again(path, headers, body);
        call
    }

    /// Posts on the same connection, after the end of the stream before.
    pub(crate) fn again(&mut self, path: &str, headers: &str, body: &str) {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).unwrap();
        let end = self.wait_for(|received| {
            let mut windows = received.windows(4);
            windows
                .position(|four| four == b"\r\n\r\n")
                .map(|at| at + 4)
        });
        let head: Vec<u8> = self.received.drain(..end).collect();
        self.head = String::from_utf8(head).unwrap();
        self.status = self.head.split(' ').nth(1).unwrap().parse().unwrap();
        self.has_ended = false;
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(':'));
        let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    /// The body of a response that says how long it is.
    pub(crate) fn whole_body(&mut self) -> String {
        let len: usize = self.header("content-length").unwrap().parse().unwrap();
        self.wait_for(|received| (received.len() >= len).then_some(()));
        String::from_utf8(self.received.drain(..len).collect()).unwrap()
    }

    /// The next event as it was written, up to its blank line; `None` after the last chunk,
    /// without which no stream may end.
    pub(crate) fn next_text(&mut self) -> Option<String> {
        loop {
            let mut pairs = self.body.windows(2);
            if let Some(at) = pairs.position(|two| two == b"\n\n") {
                let event = self.body.drain(..at + 2).collect();
                return Some(String::from_utf8(event).expect("UTF-8"));
            }
            if self.has_ended {
                assert!(self.body.is_empty(), "half an event: {:?}", self.body);
                return None;
            }
            self.take_chunk();
        }
    }

    /// The next event's JSON; `None` after the last chunk.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let text = self.next_text()?;
        let json = text
            .strip_prefix("data: ")
            .and_then(|text| text.strip_suffix("\n\n"));
        let json = json.unwrap_or_else(|| panic!("not an event: {text:?}"));
        assert!(!json.contains(['\n', '\r']), "more than one line: {text:?}");
        Some(serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {text:?}")))
    }

    /// The next event's JSON, which there has to be.
    pub(crate) fn event(&mut self) -> Value {
        self.next().expect("an event, not the end")
    }

    /// All events up to the last chunk.
    pub(crate) fn until_end(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Whether no byte comes within `time`.
    pub(crate) fn is_silent(&mut self, time: Duration) -> bool {
        self.body.is_empty()
            && self.received.is_empty()
            && self.read_some(Instant::now() + time).is_none()
    }

    /// Whether the gateway ends the connection now, with nothing more to say.
    pub(crate) fn is_over(&mut self) -> bool {
        self.received.is_empty() && self.read_some(Instant::now() + PATIENCE) == Some(false)
    }

    fn take_chunk(&mut self) {
        let (start, len) = self.wait_for(|received| {
            let at = received.windows(2).position(|two| two == b"\r\n")?;
            let size = str::from_utf8(&received[..at]).unwrap();
            let len = usize::from_str_radix(size, 16).expect("a chunk's size");
            (received.len() >= at + 2 + len + 2).then_some((at + 2, len))
        });
        let chunk: Vec<u8> = self.received.drain(..start + len + 2).collect();
        assert!(chunk.ends_with(b"\r\n"), "{chunk:?}");
        self.body.extend_from_slice(&chunk[start..start + len]);
        self.has_ended = len == 0;
    }

    fn wait_for<T>(&mut self, find: impl Fn(&[u8]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(&self.received) {
                return found;
            }
            match self.read_some(deadline) {
                Some(true) => {}
                Some(false) => panic!("the response is cut; so far: {:?}", self.text()),
                None => panic!("nothing came for {PATIENCE:?}; so far: {:?}", self.text()),
            }
        }
    }

    /// What has come and is no whole event yet.
    fn text(&self) -> String {
        String::from_utf8_lossy(&[&*self.body, &*self.received].concat()).into_owned()
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
