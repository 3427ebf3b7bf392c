//! What a proxy says in front of the first request.

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
/// if one has to come from there, and waits for what follows.
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
        // A header that is not complete is shorter than this.
        bytes.reserve_exact(PROXY_BYTES_MAX - bytes.len());
        match timeout_at(deadline.into(), stream.read_buf(&mut bytes)).await {
            Err(_) => return Preamble::TimedOut,
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Preamble::Over,
        }
    }
}

/// Waits for the first bytes of a request, if none have come with the header: the parser has buffers from
/// its beginning, so it does not begin for a peer that says nothing.
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
        Ok(_) => Preamble::Over,
    }
}
