//! One connection's records: opens what its socket receives, and seals what is written to it.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use socket2::SockRef;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::record::{RECORD_BYTES_MAX, SEALED_BYTES_MAX, Scratch, with_scratch};
use crate::net::accepted::Accepted;

/// Plaintext sealed for one write to a socket that was full at the last one: a record. What is left of it waits in the
/// process, where a peer that does not read should not have much.
const SLOW_SEALED_BYTES_MAX: usize = 16 * 1024;

/// How a handshake went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsHandshakeKind {
    /// With signatures and an exchange of keys.
    Full,
    /// From a ticket.
    Resumed,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub(in crate::net) struct TlsStream {
    pub(in crate::net) reader: OwnedReadHalf,
    pub(in crate::net) writer: TlsWriter,
}

/// The writing side of a connection. Dropping it tells the peer that nothing more comes, as far as the socket takes it,
/// and shuts down our side.
#[derive(Debug)]
pub(in crate::net) struct TlsWriter {
    half: OwnedWriteHalf,
    pub(in crate::net) session: Rc<RefCell<TlsSession>>,
}

impl TlsStream {
    pub(super) fn new(reader: OwnedReadHalf, half: OwnedWriteHalf, session: TlsSession) -> Self {
        let session = Rc::new(RefCell::new(session));
        Self {
            reader,
            writer: TlsWriter { half, session },
        }
    }
}

impl TlsWriter {
    pub(in crate::net) fn tcp(&self) -> &TcpStream {
        self.half.as_ref()
    }

    /// As [`TlsSession::try_write`]. Not inlined, which keeps the flush of plain sockets small.
    #[inline(never)]
    pub(in crate::net) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<Accepted> {
        self.session.borrow_mut().try_write(self.tcp(), slices)
    }

    /// As [`TlsSession::poll_flushed`].
    pub(in crate::net) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.borrow_mut().poll_flushed(cx, self.tcp())
    }

    /// Tells the peer that nothing more comes (RFC 8446 section 6.1), once. What the socket does not take of it is written
    /// by [`Self::poll_flushed`].
    fn close(&self) {
        self.session.borrow_mut().close(self.tcp());
    }

    /// Shuts down our side when the socket has taken all, and that nothing more comes.
    ///
    /// # Errors
    /// The kernel's.
    pub(in crate::net) fn poll_shut(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        ready!(self.poll_flushed(cx))?;
        Poll::Ready(SockRef::from(self.tcp()).shutdown(Shutdown::Write))
    }
}

impl Drop for TlsWriter {
    fn drop(&mut self) {
        self.close();
    }
}

/// The state of a connection between its socket and its plaintext.
///
/// At rest its buffers hold no memory.
pub(in crate::net) struct TlsSession {
    connection: UnbufferedServerConnection,
    /// Ciphertext received that is no whole record yet. The library may have opened a part of it, so it is always
    /// given to it.
    received: Vec<u8>,
    /// Plaintext that its reader had no room for.
    opened: Vec<u8>,
    /// Ciphertext that the socket has not taken yet.
    sealed: Vec<u8>,
    /// The socket was full at the last write.
    was_full: bool,
    /// The socket holds more input, which is read in the next turn.
    turn_over: bool,
    /// The peer sends no more.
    has_ended: bool,
    /// The peer has sent what cannot be opened. The session is over.
    has_failed: bool,
    /// The peer is told that nothing more comes.
    is_closed: bool,
}

impl std::fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSession").finish_non_exhaustive()
    }
}

impl TlsSession {
    /// A session whose handshake begins.
    ///
    /// # Errors
    /// `config` cannot be used.
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            received: Vec::new(),
            opened: Vec::new(),
            sealed: Vec::new(),
            was_full: false,
            turn_over: false,
            has_ended: false,
            has_failed: false,
            is_closed: false,
        })
    }

    /// How the handshake went, once it is done.
    pub(super) fn handshake(&self) -> Option<TlsHandshakeKind> {
        if self.connection.is_handshaking() {
            return None;
        }
        match self.connection.handshake_kind()? {
            rustls::HandshakeKind::Resumed => Some(TlsHandshakeKind::Resumed),
            _ => Some(TlsHandshakeKind::Full),
        }
    }

    /// Takes what was received and is no whole message yet.
    pub(super) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Takes the ciphertext that is to be written.
    #[cfg(any(test, fuzzing))]
    pub(super) fn take_sealed(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sealed)
    }

    /// Takes the plaintext that its reader had no room for.
    #[cfg(any(test, fuzzing))]
    pub(super) fn take_opened(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.opened)
    }

    /// Bytes that the socket has not taken yet.
    pub(in crate::net) fn sealed_bytes(&self) -> usize {
        self.sealed.len()
    }

    /// Reads from the socket and opens what came. Plaintext goes to `buffer`, what it has no room for is kept. Nothing
    /// more comes after a read that has filled nothing.
    ///
    /// # Errors
    /// The kernel's; `InvalidData` for records that are none, of which the peer has been told where there is an alert for
    /// it.
    pub(in crate::net) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut OwnedReadHalf,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.opened.is_empty() {
            self.give_opened(buffer);
            return Poll::Ready(Ok(()));
        }
        if self.has_ended {
            return Poll::Ready(Ok(()));
        }
        if std::mem::take(&mut self.turn_over) {
            return yield_turn(cx);
        }
        let before = buffer.filled().len();
        with_scratch(|Scratch { received, .. }| {
            loop {
                let kept = self.received.len();
                let wanted = buffer.remaining().max(RECORD_BYTES_MAX);
                let room = (kept + wanted).min(received.len());
                let mut read = ReadBuf::new(&mut received[kept..room]);
                ready!(Pin::new(&mut *socket).poll_read(cx, &mut read))?;
                let read = read.filled().len();
                if read == 0 {
                    self.has_ended = true;
                    return Poll::Ready(Ok(()));
                }
                received[..kept].copy_from_slice(&self.received);
                let opened = self.open(&mut received[..kept + read], buffer);
                // What the library has to say: an alert, an update of keys.
                let flushed = self.flush(socket.as_ref());
                opened.map_err(invalid)?;
                flushed?;
                self.turn_over = kept + read == room;
                if buffer.filled().len() > before || self.has_ended {
                    return Poll::Ready(Ok(()));
                }
                if std::mem::take(&mut self.turn_over) {
                    return yield_turn(cx);
                }
            }
        })
    }

    /// Opens the records in `input`, which begins with what was kept, and keeps the rest.
    ///
    /// # Errors
    /// The library's. What the peer is to be told of it is sealed.
    pub(super) fn open(
        &mut self,
        input: &mut [u8],
        buffer: &mut ReadBuf<'_>,
    ) -> Result<(), rustls::Error> {
        if self.has_failed {
            return Err(rustls::Error::General("it has failed".to_owned()));
        }
        let mut done = 0;
        let outcome = loop {
            let left = &mut input[done..];
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(left);
            done += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        done += record.discard;
                        let fits = record.payload.len().min(buffer.remaining());
                        buffer.put_slice(&record.payload[..fits]);
                        self.opened.extend_from_slice(&record.payload[fits..]);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.sealed),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.has_ended = true,
                Ok(_) => break Ok(()),
                Err(error) => {
                    self.tell_fault(&mut input[done..]);
                    break Err(error);
                }
            }
        };
        let rest = &input[done..];
        // The beginning of a message for the library: none that comes after a handshake is as long.
        if rest.len() > RECORD_BYTES_MAX && !self.connection.is_handshaking() {
            self.has_failed = true;
            return Err(rustls::Error::General("a message is too large".to_owned()));
        }
        self.received = rest.to_vec();
        outcome
    }

    /// Takes the alert of the error that the library has just returned. It is not to be given these bytes again.
    fn tell_fault(&mut self, input: &mut [u8]) {
        self.has_failed = true;
        while self.connection.wants_write() {
            match self.connection.process_tls_records(input).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.sealed),
                _ => return,
            }
        }
    }

    fn give_opened(&mut self, buffer: &mut ReadBuf<'_>) {
        let fits = self.opened.len().min(buffer.remaining());
        buffer.put_slice(&self.opened[..fits]);
        match fits == self.opened.len() {
            true => self.opened = Vec::new(),
            false => drop(self.opened.drain(..fits)),
        }
    }

    /// Seals a part of `slices` and writes it. The socket is full as long as it has not taken what was sealed.
    ///
    /// # Errors
    /// The kernel's, or the session has failed or is closed.
    fn try_write(&mut self, socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<Accepted> {
        if self.is_closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if !self.flush(socket)? {
            return Ok(Accepted {
                bytes: 0,
                is_full: true,
            });
        }
        let max = match self.was_full {
            true => SLOW_SEALED_BYTES_MAX,
            false => SEALED_BYTES_MAX,
        };
        with_scratch(|scratch| {
            let plaintext = match slices {
                [one] => &one[..one.len().min(max)],
                many => {
                    scratch.joined.clear();
                    for slice in many {
                        let fits = slice.len().min(max - scratch.joined.len());
                        scratch.joined.extend_from_slice(&slice[..fits]);
                    }
                    &scratch.joined
                }
            };
            let sealed = self.seal(Sealed::Traffic(plaintext), &mut scratch.sealed)?;
            self.send(socket, &scratch.sealed[..sealed])?;
            self.was_full = !self.sealed.is_empty();
            Ok(Accepted {
                bytes: plaintext.len(),
                is_full: self.was_full,
            })
        })
    }

    /// As [`TlsWriter::close`].
    fn close(&mut self, socket: &TcpStream) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        let _ = with_scratch(|scratch| {
            let sealed = self.seal(Sealed::End, &mut scratch.sealed)?;
            self.flush(socket)?;
            self.send(socket, &scratch.sealed[..sealed])
        });
    }

    /// Writes what the socket has not taken yet. Returns whether nothing is left.
    ///
    /// # Errors
    /// The kernel's.
    pub(in crate::net) fn flush(&mut self, socket: &TcpStream) -> io::Result<bool> {
        if self.sealed.is_empty() {
            return Ok(true);
        }
        let sealed = std::mem::take(&mut self.sealed);
        self.send(socket, &sealed)?;
        Ok(self.sealed.is_empty())
    }

    /// Writes `ciphertext`, or keeps it behind what is left already.
    fn send(&mut self, socket: &TcpStream, ciphertext: &[u8]) -> io::Result<()> {
        if ciphertext.is_empty() {
            return Ok(());
        }
        let written = match self.sealed.is_empty() {
            false => 0,
            // Not the runtime's `try_write`, which is inlined for plain sockets as long as they alone call it.
            true => {
                let outcome = socket.try_io(Interest::WRITABLE, || {
                    SockRef::from(socket).send(ciphertext)
                });
                Accepted::by(socket, outcome, ciphertext.len())?.bytes
            }
        };
        self.sealed.extend_from_slice(&ciphertext[written..]);
        Ok(())
    }

    /// Ready when the socket has taken all that was sealed.
    ///
    /// # Errors
    /// The kernel's.
    pub(in crate::net) fn poll_flushed(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
    ) -> Poll<io::Result<()>> {
        while !self.flush(socket)? {
            ready!(socket.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Seals `what` into `out`, behind what the library has to say. Returns the length of the ciphertext.
    pub(super) fn seal(&mut self, what: Sealed<'_>, out: &mut [u8]) -> io::Result<usize> {
        if self.has_failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut kept = std::mem::take(&mut self.received);
        let (mut done, mut queued) = (0, Vec::new());
        let sealed = loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut kept[done..]);
            done += discard;
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    out[..queued.len()].copy_from_slice(&queued);
                    let rest = &mut out[queued.len()..];
                    let sealed = match what {
                        Sealed::Traffic(plaintext) => traffic.encrypt(plaintext, rest),
                        Sealed::End => traffic.queue_close_notify(rest),
                    };
                    break sealed.map(|bytes| queued.len() + bytes).map_err(invalid);
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut queued),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.has_ended = true,
                Ok(_) => break Err(io::ErrorKind::NotConnected.into()),
                Err(error) => {
                    self.has_failed = true;
                    break Err(invalid(error));
                }
            }
        };
        kept.drain(..done);
        self.received = kept;
        sealed
    }
}

/// What is sealed.
#[derive(Clone, Copy)]
pub(super) enum Sealed<'a> {
    /// Plaintext, at most [`SEALED_BYTES_MAX`].
    Traffic(&'a [u8]),
    /// The end of the plaintext.
    End,
}

/// Appends what the library has encoded.
fn encode(data: &mut EncodeTlsData<'_, rustls::server::ServerConnectionData>, out: &mut Vec<u8>) {
    let begin = out.len();
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        out.resize(begin + size.required_size, 0);
        let encoded = data.encode(&mut out[begin..]);
        debug_assert!(encoded.is_ok(), "it said how much it needs");
    }
}

/// Reads on after all other tasks, and a poll of the sockets, have had their turn.
fn yield_turn<T>(cx: &mut Context<'_>) -> Poll<T> {
    let _ = Future::poll(std::pin::pin!(tokio::task::yield_now()), cx);
    Poll::Pending
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// What a new session of `server` makes of `bytes`, given to it in pieces of `piece`. Returns how many bytes it has
/// answered with.
#[cfg(fuzzing)]
pub fn receive(server: &super::TlsServer, bytes: &[u8], piece: usize) -> usize {
    let mut session = TlsSession::new(server.config()).unwrap();
    let mut answered = 0;
    for piece in bytes.chunks(piece.max(1)) {
        let mut input = session.take_received();
        input.extend_from_slice(piece);
        let outcome = session.open(&mut input, &mut ReadBuf::new(&mut []));
        answered += session.take_sealed().len();
        assert!(session.take_opened().is_empty(), "there are no keys yet");
        assert!(session.handshake().is_none());
        let mut out = [0; 1024];
        assert!(session.seal(Sealed::Traffic(b"x"), &mut out).is_err());
        if outcome.is_err() {
            break;
        }
    }
    answered
}
