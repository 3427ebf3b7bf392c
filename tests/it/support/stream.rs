//! A client of event streams, of bytes: it reads them as WHATWG HTML 9.2.6 says.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Socket;

/// How long a client waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream of events that has begun.
pub(crate) struct EventStream {
    /// The socket itself.
    pub stream: Socket,
    /// The head of the response.
    pub head: String,
    /// The last event ID, as a browser keeps it.
    pub last_id: String,
    received: Vec<u8>,
}

/// An event as it was dispatched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    /// The last event ID after it.
    pub id: String,
    /// Its type.
    pub name: String,
    /// Its data.
    pub data: String,
}

impl Event {
    /// The data as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl EventStream {
    /// Asks for `/api/v1/sse` with this query and takes the head.
    pub(crate) fn connect(address: SocketAddr, query: &str) -> Self {
        Self::connect_with(address, query, "")
    }

    /// As [`Self::connect`], with more header lines, each ended by CRLF.
    pub(crate) fn connect_with(address: SocketAddr, query: &str, headers: &str) -> Self {
        let mut stream = Socket::connect(address).expect("the gateway listens");
        let request = format!(
            "GET /api/v1/sse?{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut client = Self {
            stream,
            head: String::new(),
            last_id: String::new(),
            received: Vec::new(),
        };
        client.head = client.until("\r\n\r\n").expect("a response head");
        assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
        client
    }

    /// As [`Self::connect`]; also takes what comes before the first event and
    /// checks that nothing is missing.
    pub(crate) fn subscribe(address: SocketAddr, query: &str) -> Self {
        let mut client = Self::connect(address, query);
        client.take_opening();
        client
    }

    /// Goes on where a stream of these topics ended.
    pub(crate) fn resume(address: SocketAddr, query: &str, last_id: &str) -> Self {
        Self::connect_with(address, query, &format!("Last-Event-ID: {last_id}\r\n"))
    }

    /// Takes the time to come back and the first id, which begin the first event's block.
    pub(crate) fn take_opening(&mut self) {
        let retry = self.line();
        assert!(retry.starts_with("retry: "), "{retry}");
        let id = self.line();
        let id = id
            .strip_prefix("id: ")
            .unwrap_or_else(|| panic!("where it stands, not {id}"));
        // A browser would do so with the block's end.
        id.trim_end().clone_into(&mut self.last_id);
    }

    /// The next line, which there has to be.
    pub(crate) fn line(&mut self) -> String {
        self.until("\n").expect("a line")
    }

    /// The next lines up to an empty one, as they came; `None` at the end of the stream.
    pub(crate) fn block(&mut self) -> Option<String> {
        let block = self.until("\n\n")?;
        if let Some(id) = block.lines().rfind(|line| line.starts_with("id: ")) {
            id["id: ".len()..].clone_into(&mut self.last_id);
        }
        Some(block)
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block()?;
            let of = |field: &str| {
                let lines = block.lines();
                let values = lines.filter_map(|line| line.strip_prefix(field));
                values.collect::<Vec<_>>()
            };
            let data = of("data: ");
            if !data.is_empty() {
                return Some(Event {
                    id: self.last_id.clone(),
                    name: of("event: ").concat(),
                    data: data.join("\n"),
                });
            }
        }
    }

    /// The next event, which there has to be.
    pub(crate) fn event(&mut self) -> Event {
        self.next().expect("an event, not the end")
    }

    /// Takes blocks up to the end of the stream.
    pub(crate) fn until_end(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.block()).collect()
    }

    /// Bytes that are no whole block yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.received
    }

    fn until(&mut self, end: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        loop {
            let from = seen.min(self.received.len());
            let found = self.received[from..]
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let end = from + at + end.len();
                let block: Vec<u8> = self.received.drain(..end).collect();
                return Some(String::from_utf8(block).expect("UTF-8"));
            }
            seen = (self.received.len() + 1).saturating_sub(end.len());
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing came; so far: {:?}", self.received);
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut bytes = [0; 64 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(read) => self.received.extend(&bytes[..read]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return None,
            }
        }
    }
}
