//! The start of a connection: a PROXY header, where one is required, and the first bytes of a request.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::timeout_at;

use super::guarded::READ_BYTES;
use crate::config::Server;
use crate::http::{PROXY_BYTES_MAX, ProxyError, parse_proxy, speaks_proxy};
use crate::net::Stream;

/// The result of reading the start of a connection.
pub(super) enum Preamble {
    /// The client's address, and the bytes received after the PROXY header.
    Read(IpAddr, Vec<u8>),
    /// The PROXY header is missing or malformed.
    Refused(ProxyError),
    /// The deadline has passed.
    TimedOut,
    /// The peer closed the connection before the start was complete.
    Closed,
}

/// Reads the PROXY header, if one is required from `address`, the socket's peer, and waits for the first bytes of a
/// request.
pub(super) async fn read(
    server: &Server,
    stream: &mut Stream,
    address: IpAddr,
    deadline: Instant,
) -> Preamble {
    if !speaks_proxy(server, address) {
        return begin(stream, address, Vec::new(), deadline).await;
    }
    let mut bytes = Vec::new();
    loop {
        match parse_proxy(&bytes) {
            Ok(Some(header)) => {
                bytes.drain(..header.bytes);
                let address = header.source.unwrap_or(address);
                return begin(stream, address, bytes, deadline).await;
            }
            Ok(None) => {}
            Err(error) => return Preamble::Refused(error),
        }
        // An incomplete header is shorter than this.
        bytes.reserve_exact(PROXY_BYTES_MAX - bytes.len());
        match timeout_at(deadline.into(), stream.read_buf(&mut bytes)).await {
            Err(_) => return Preamble::TimedOut,
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Preamble::Closed,
        }
    }
}

/// Waits for the first bytes of a request, unless they came with the header. hyper allocates buffers when it starts, so
/// it is not started for a silent peer.
async fn begin(
    stream: &mut Stream,
    address: IpAddr,
    begun: Vec<u8>,
    deadline: Instant,
) -> Preamble {
    if !begun.is_empty() {
        return Preamble::Read(address, begun);
    }
    let first = poll_fn(|cx| {
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
        Poll::Ready(io::Result::Ok(read.filled().to_vec()))
    });
    match timeout_at(deadline.into(), first).await {
        Err(_) => Preamble::TimedOut,
        Ok(Ok(begun)) if !begun.is_empty() => Preamble::Read(address, begun),
        Ok(_) => Preamble::Closed,
    }
}
