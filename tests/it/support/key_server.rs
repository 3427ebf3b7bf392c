//! A server of one document, as an issuer's key set is served.

#![expect(
    clippy::disallowed_types,
    reason = "a test and its server share the answer"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Answers every request with the same, over HTTP or TLS. Its thread ends with the process.
pub(crate) struct KeyServer {
    /// Where it listens.
    pub address: SocketAddr,
    answer: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
}

impl KeyServer {
    /// With status 200 and `body`.
    pub(crate) fn start(body: &str) -> Self {
        Self::with(body, None)
    }

    /// The same over TLS.
    pub(crate) fn with(body: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            answer: Arc::new(Mutex::new(ok(body))),
            requests: Arc::new(AtomicUsize::new(0)),
        };
        let (answer, requests) = (server.answer.clone(), server.requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                requests.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().unwrap().clone();
                match &tls {
                    None => serve(stream, &answer),
                    Some(tls) => {
                        let session = ServerConnection::new(tls.clone()).unwrap();
                        serve(StreamOwned::new(session, stream), &answer);
                    }
                }
            }
        });
        server
    }

    /// From now on it answers with status 200 and `body`.
    pub(crate) fn put(&self, body: &str) {
        *self.answer.lock().unwrap() = ok(body);
    }

    /// From now on it answers with `status`, a code and its words, and these headers, each with its line's end.
    pub(crate) fn refuse(&self, status: &str, headers: &str) {
        *self.answer.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n");
    }

    /// How many connections it has had.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads one head and answers. A client that goes away is its own affair.
fn serve(mut stream: impl Read + Write, answer: &str) {
    let (mut head, mut piece) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&piece[..read]),
        }
    }
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.flush();
}
