//! The handshake of an accepted connection (RFC 8446 section 2, RFC 5246 section 7.3).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;

use super::record::{RECORD_BYTES_MAX, with_scratch};
use super::server::TlsServer;
use super::session::{TlsHandshakeKind, TlsSession, TlsStream};

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum TlsHandshakeError {
    /// The peer speaks plain HTTP.
    #[error("this port speaks TLS: use https:// or wss://")]
    Plaintext,
    /// The peer is gone.
    #[error("the connection has ended")]
    Gone,
    /// The peer cannot be understood, or has nothing that is accepted. It has been told so, where there is an alert for
    /// it.
    #[error("TLS handshake failed: {0}")]
    Failed(rustls::Error),
}

/// Whether a connection begins with a request of plain HTTP. A TLS record begins with its type, 22 here.
fn is_http(first: u8) -> bool {
    first.is_ascii_alphabetic()
}

thread_local! {
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// The turn to compute, which one handshake of a thread has at a time, the one that has waited longest first.
///
/// It takes up to a millisecond, and is given back after sockets and flushes have had their turn: many handshakes at
/// once take longer, and delay nobody else's messages.
async fn turn() -> OwnedSemaphorePermit {
    let turn = TURN.with(Arc::clone).acquire_owned().await;
    turn.expect("it is never closed")
}

/// Completes the handshake of `socket`, from which `begun` has been read. After an error the socket is that of a
/// connection that is over, and no plaintext may be written to it, but for [`TlsHandshakeError::Plaintext`].
///
/// Takes as long as the peer does. Cancelling it closes the connection.
pub(in crate::net) async fn handshake(
    socket: TcpStream,
    begun: Vec<u8>,
    server: &TlsServer,
) -> Result<(TlsStream, TlsHandshakeKind), (TcpStream, TlsHandshakeError)> {
    let (mut reader, writer) = socket.into_split();
    let outcome = exchange((&mut reader, &writer), begun, server).await;
    match outcome {
        Ok((session, kind)) => Ok((TlsStream::new(reader, writer, *session), kind)),
        Err(error) => {
            let socket = reader.reunite(writer).expect("they are halves of one");
            Err((socket, error))
        }
    }
}

async fn exchange(
    (reader, writer): (&mut OwnedReadHalf, &OwnedWriteHalf),
    begun: Vec<u8>,
    server: &TlsServer,
) -> Result<(Box<TlsSession>, TlsHandshakeKind), TlsHandshakeError> {
    let mut received = begun;
    // Nothing is made for a silent peer.
    if received.is_empty() {
        read(reader, &mut received).await?;
    }
    if received.first().copied().is_some_and(is_http) {
        return Err(TlsHandshakeError::Plaintext);
    }
    let session = TlsSession::new(server.config()).map_err(TlsHandshakeError::Failed)?;
    let mut session = Box::new(session);
    loop {
        let turn = turn().await;
        let opened = session.open(&mut received, &mut ReadBuf::new(&mut []));
        // The next flight; an alert, if it failed.
        let flushed = session.flush(writer.as_ref());
        yield_now().await;
        drop(turn);
        opened.map_err(TlsHandshakeError::Failed)?;
        flushed.map_err(|_| TlsHandshakeError::Gone)?;
        let flushed = poll_fn(|cx| session.poll_flushed(cx, writer.as_ref())).await;
        flushed.map_err(|_| TlsHandshakeError::Gone)?;
        if let Some(kind) = session.handshake() {
            return Ok((session, kind));
        }
        received = session.take_received();
        if received.len() > UNFINISHED_BYTES_MAX {
            let error = rustls::Error::General("it is too large".to_owned());
            return Err(TlsHandshakeError::Failed(error));
        }
        read(reader, &mut received).await?;
    }
}

/// Received bytes of a handshake that is not done, at most. The library limits a message to 64 KiB.
const UNFINISHED_BYTES_MAX: usize = 64 * 1024 + RECORD_BYTES_MAX;

/// Reads once, behind what has been received.
async fn read(socket: &mut OwnedReadHalf, received: &mut Vec<u8>) -> Result<(), TlsHandshakeError> {
    let read = poll_fn(|cx| {
        with_scratch(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch.received[..RECORD_BYTES_MAX]);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer))?;
            received.extend_from_slice(buffer.filled());
            Poll::Ready(io::Result::Ok(buffer.filled().len()))
        })
    });
    match read.await {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err(TlsHandshakeError::Gone),
    }
}
