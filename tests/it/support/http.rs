//! One HTTP exchange, as bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::Socket;

/// Everything the gateway said until it closed the connection.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status of the first response; 0 if there was none.
    pub status: u16,
    /// The head of the first response.
    pub head: String,
    /// Whatever came behind it.
    pub body: String,
    /// Whether the gateway ended the connection.
    pub closed: bool,
}

impl Response {
    /// The value of a header of the first response.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .next()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// How many responses came on the connection.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.status != 0) + self.body.matches("HTTP/1.1 ").count()
    }
}

/// Sends `bytes`, and reads until the gateway closes the connection or says
/// nothing for a second; for its first byte it has five.
pub(crate) fn request(address: SocketAddr, bytes: &[u8]) -> Response {
    let stream = Socket::connect(address).expect("the gateway listens");
    request_on(stream, bytes)
}

/// As [`request`], on a connection that is there.
pub(crate) fn request_on(mut stream: Socket, bytes: &[u8]) -> Response {
    // A gateway that has refused the beginning may not take the rest.
    let _ = stream.write_all(bytes);
    // The first byte may be late on a busy machine; what follows comes with it.
    let patience = |seconds| Some(Duration::from_secs(seconds));
    stream.set_read_timeout(patience(5)).unwrap();
    let mut first = [0; 16 * 1024];
    let read = stream.read(&mut first).unwrap_or(0);
    stream.set_read_timeout(patience(1)).unwrap();
    read_response(&mut first[..read].chain(stream))
}

/// Reads until the gateway closes the connection or says nothing for as long as
/// the stream's read timeout.
pub(crate) fn read_response(stream: &mut impl Read) -> Response {
    let mut all = Vec::new();
    let mut piece = [0; 16 * 1024];
    let closed = loop {
        match stream.read(&mut piece) {
            Ok(0) => break true,
            Ok(read) => all.extend(&piece[..read]),
            Err(error) => break error.kind() == ErrorKind::ConnectionReset,
        }
    };
    let text = String::from_utf8_lossy(&all).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    Response {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
        closed,
    }
}

/// The value of a metric, named with its labels and without its prefix.
pub(crate) fn metric(address: SocketAddr, name: &str) -> u64 {
    let request_bytes =
        b"GET /metrics?format=prometheus HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let response = request(address, request_bytes);
    let mut lines = response.body.lines();
    let value = lines.find_map(|line| {
        line.strip_prefix("fanfare_")?
            .strip_prefix(name)?
            .strip_prefix(' ')
    });
    let value = value.unwrap_or_else(|| panic!("no metric {name} in {response:?}"));
    value.parse().unwrap()
}
