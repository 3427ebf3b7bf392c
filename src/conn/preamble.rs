//! What a proxy says in front of the first request.

use std::net::IpAddr;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

use crate::config::Server;
use crate::http::{PROXY_BYTES_MAX, ProxyError, parse_proxy, speaks_proxy};
use crate::net::Stream;

/// How the beginning of a connection turned out.
pub(super) enum Preamble {
    /// The connection is from this address, and these bytes follow.
    Read(IpAddr, Vec<u8>),
    /// There is no header where there has to be one.
    Refused(ProxyError),
    /// It did not come in time.
    TimedOut,
    /// The peer left before it was complete.
    Over,
}

/// Reads the PROXY header of a connection whose socket's address is `address`,
/// if one has to come from there.
pub(super) async fn read(
    server: &Server,
    stream: &mut Stream,
    address: IpAddr,
    deadline: Instant,
) -> Preamble {
    if !speaks_proxy(server, address) {
        return Preamble::Read(address, Vec::new());
    }
    let mut bytes = Vec::new();
    loop {
        match parse_proxy(&bytes) {
            Ok(Some(header)) => {
                bytes.drain(..header.bytes);
                return Preamble::Read(header.source.unwrap_or(address), bytes);
            }
            Ok(None) => {}
            Err(error) => return Preamble::Refused(error),
        }
        // A header that is not complete is shorter than this.
        bytes.reserve_exact(PROXY_BYTES_MAX - bytes.len());
        match timeout_at(deadline.into(), stream.read_buf(&mut bytes)).await {
            Err(_) => return Preamble::TimedOut,
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Preamble::Over,
        }
    }
}
