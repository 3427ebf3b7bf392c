//! Connect, upgrade, greeting, close: what a connection costs at least, from the SYN to
//! the last FIN.
//!
//! The server accepts, reads until the blank line, writes a fixed answer with a
//! greeting behind it, reads the close frame, answers it and shuts its side, reads the
//! end, and closes. That is all of a WebSocket's life in system calls (RFC 6455 section
//! 7.1.1: the server ends the connection first, so TIME_WAIT is its own). The generator
//! goes through the same life as `loadgen connect`, so many connections at a time.

mod client;
mod server;

use std::net::Ipv4Addr;

use clap::Args;

use crate::report::{Latency, Measured};
use crate::window::{self, Shared};
use crate::{Common, Outcome, sockets};

/// The end of a request's head.
pub(crate) const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// What every request is answered with, the bytes of a real answer's size: a head, and
/// a text frame of 100 bytes.
const RESPONSE_HEAD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const GREETING_BYTES: u8 = 100;

/// Close frames with code 1000, as clients and as servers send them.
pub(crate) const CLIENT_CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8];
pub(crate) const SERVER_CLOSE: &[u8] = &[0x88, 0x02, 0x03, 0xE8];

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Connections being set up or torn down at any time.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,

    /// Bytes of a request; with a token it is larger.
    #[arg(long, default_value_t = 170)]
    request: usize,
}

/// Measures connects, counted and timed where the greeting is read.
pub(crate) fn run(options: &Options, common: &Common) -> Outcome<Measured> {
    let listener = sockets::listen((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (request, response) = (request(options.request), response());
    let shared = Shared::new();
    let (served, visited, window) = window::run(
        common,
        &shared,
        || server::serve(&listener, &response, &shared),
        || client::visit(address, options.concurrency, &request, &response, &shared),
    )?;
    let mut measured = Measured::new("connect", "connects", window);
    measured.connections = options.concurrency;
    measured.wire_bytes_per_message = response.len();
    measured.latency_us = Latency::of(&visited.latency);
    let what = "connections closed by the server do not match those greeted";
    measured.must_match(what, &visited.greeted, &served);
    measured.must_match("bytes were changed", &0, &visited.wrong);
    Ok(measured)
}

fn request(bytes: usize) -> Vec<u8> {
    let mut request = b"GET / HTTP/1.1\r\nX: ".to_vec();
    let padding = bytes.saturating_sub(request.len() + BLANK_LINE.len());
    request.resize(request.len() + padding, b'x');
    request.extend_from_slice(BLANK_LINE);
    request
}

fn response() -> Vec<u8> {
    let mut response = RESPONSE_HEAD.as_bytes().to_vec();
    response.extend([0x81, GREETING_BYTES]);
    response.resize(response.len() + usize::from(GREETING_BYTES), b'x');
    response
}
