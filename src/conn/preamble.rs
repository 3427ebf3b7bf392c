//! The start of a connection: a PROXY header, where one is required, and the first bytes of a request. A TLS handshake
//! comes between them.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::timeout_at;

use super::guarded::READ_BYTES;
use crate::config::Server;
use crate::http::{ProxyError, Source, parse_proxy, speaks_proxy};
use crate::net::Stream;

/// Why a connection ends before its first request.
pub(super) enum PreambleError {
    /// The PROXY header is missing or malformed.
    Refused(ProxyError),
    /// The deadline has passed.
    TimedOut,
    /// The peer closed the connection before the start was complete.
    Closed,
}

/// Reads the PROXY header, if one is required from `source`, the socket's peer. Returns where the client is and the
/// bytes received after the header.
pub(super) async fn read_proxy(
    server: &Server,
    stream: &mut Stream,
    source: Source,
    deadline: Instant,
) -> Result<(Source, Vec<u8>), PreambleError> {
    let mut bytes = Vec::new();
    if !speaks_proxy(server, source.address) {
        return Ok((source, bytes));
    }
    loop {
        match parse_proxy(&bytes) {
            Ok(Some(header)) => {
                bytes.drain(..header.bytes);
                let forwarded = header.source.map(|address| Source {
                    address,
                    is_forwarded: true,
                });
                return Ok((forwarded.unwrap_or(source), bytes));
            }
            Ok(None) => {}
            Err(error) => return Err(PreambleError::Refused(error)),
        }
        // As much as there is: most proxies send the header and the request together.
        bytes.append(&mut read_some(stream, deadline).await?);
    }
}

/// Waits for the first bytes of a request, or of a PROXY header. hyper allocates buffers when it starts, so it is not
/// started for a silent peer.
pub(super) async fn read_some(
    stream: &mut Stream,
    deadline: Instant,
) -> Result<Vec<u8>, PreambleError> {
    let first = poll_fn(|cx| {
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
        Poll::Ready(io::Result::Ok(read.filled().to_vec()))
    });
    match timeout_at(deadline.into(), first).await {
        Err(_) => Err(PreambleError::TimedOut),
        Ok(Ok(begun)) if !begun.is_empty() => Ok(begun),
        Ok(_) => Err(PreambleError::Closed),
    }
}
