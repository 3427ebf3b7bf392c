//! One connection of the fast client.

use std::io::{self, ErrorKind, Write};

use rustix::event::epoll::EventFlags;
use socket2::Socket;

use super::end::End;
use super::handshake;
use super::tls::{TlsEnd, TlsFailure, TlsSession};
use crate::frame::{PAYLOAD_BYTES_MAX, opcode};
use crate::http::ResponseReader;

/// Number of a connection; used again after it has closed.
pub(crate) type Id = usize;

/// The state of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConnectionPhase {
    #[default]
    Free,
    Connecting,
    /// Within the TLS handshake.
    Securing,
    Upgrading,
    Open,
    /// A close frame was sent.
    Closing,
}

/// Socket and buffers of one connection. Buffers are empty between whole frames.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) socket: Option<Socket>,
    /// What the socket carries, if not plain bytes.
    pub(super) tls: Option<Box<TlsSession>>,
    pub(super) phase: ConnectionPhase,
    /// Bytes to send or, with TLS, to seal, from `sent` on.
    pub(super) out: Vec<u8>,
    sent: usize,
    /// An incomplete frame, event or response head.
    pub(super) rest: Vec<u8>,
    /// Least length of what is in `rest`, 0 if not known.
    pub(super) needs: usize,
    fragments: Option<(u8, Vec<u8>)>,
    pub(super) paused: bool,
    pub(super) eager: bool,
    /// The server's close frame, once received.
    pub(super) close_frame: Option<End>,
    pub(super) interest_set: EventFlags,
    pub(super) kind: ConnectionKind,
}

/// What a connection is for, and what its response is checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConnectionKind {
    /// An upgrade with this Sec-WebSocket-Key.
    WebSocket(String),
    /// Server-Sent Events.
    EventStream,
    /// HTTP requests, whose responses this splits.
    Http(ResponseReader),
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            socket: None,
            tls: None,
            phase: ConnectionPhase::Free,
            out: Vec::new(),
            sent: 0,
            rest: Vec::new(),
            needs: 0,
            fragments: None,
            paused: false,
            eager: false,
            close_frame: None,
            interest_set: EventFlags::empty(),
            kind: ConnectionKind::EventStream,
        }
    }
}

impl Connection {
    /// Starts with a connecting `socket` and its request.
    pub(super) fn start(
        &mut self,
        socket: Socket,
        tls: Option<TlsSession>,
        request: Vec<u8>,
        kind: ConnectionKind,
    ) {
        *self = Self {
            socket: Some(socket),
            tls: tls.map(Box::new),
            phase: ConnectionPhase::Connecting,
            out: request,
            interest_set: EventFlags::IN | EventFlags::OUT,
            kind,
            ..Self::default()
        };
    }

    pub(super) fn interest(&self) -> EventFlags {
        let mut interest = EventFlags::empty();
        if !self.paused {
            interest |= EventFlags::IN;
        }
        let has_more = match &self.tls {
            // What is queued besides waits for that, or for the handshake.
            Some(tls) => tls.wants_write(),
            None => self.queued_bytes() > 0,
        };
        if self.phase == ConnectionPhase::Connecting || has_more {
            interest |= EventFlags::OUT;
        }
        interest
    }

    /// Bytes that the socket has not taken.
    pub(super) fn queued_bytes(&self) -> usize {
        let sealed_bytes = self.tls.as_ref().map_or(0, |tls| tls.sealed_bytes());
        self.out.len() - self.sent + sealed_bytes
    }

    /// Writes until all bytes are sent or the socket is full.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.phase == ConnectionPhase::Connecting {
            return Ok(());
        }
        let Some(socket) = &mut self.socket else {
            self.out.clear();
            return Ok(());
        };
        if let Some(tls) = &mut self.tls {
            let written = tls.write(socket, &self.out, &mut self.sent);
            if written.is_err() || self.sent == self.out.len() {
                self.out.clear();
                self.sent = 0;
            }
            return written;
        }
        while self.sent < self.out.len() {
            match socket.write(&self.out[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // No later write would succeed.
                    self.out.clear();
                    self.sent = 0;
                    return Err(error);
                }
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// The length of the response head at the front of `bytes`, once it is complete.
    pub(super) fn upgrade(&mut self, bytes: &[u8]) -> Result<Option<usize>, End> {
        let head_bytes = match &mut self.kind {
            ConnectionKind::EventStream => handshake::stream_response(bytes)?,
            ConnectionKind::Http(_) => Some(0),
            ConnectionKind::WebSocket(key) => {
                let head_bytes = handshake::response(bytes, key)?;
                if head_bytes.is_some() {
                    // Checked; frees its memory.
                    *key = String::new();
                }
                head_bytes
            }
        };
        if head_bytes.is_some() {
            self.phase = ConnectionPhase::Open;
        }
        Ok(head_bytes)
    }

    pub(super) fn is_websocket(&self) -> bool {
        matches!(self.kind, ConnectionKind::WebSocket(_))
    }

    pub(super) fn is_fragmented(&self) -> bool {
        self.fragments.is_some()
    }

    /// Adds one data frame; returns the message that it completes.
    pub(super) fn assemble(
        &mut self,
        fin: bool,
        op: u8,
        payload: &[u8],
    ) -> Result<Option<(u8, Vec<u8>)>, &'static str> {
        let (op, mut message) = match (op, self.fragments.take()) {
            (opcode::CONTINUATION, Some(begun)) => begun,
            (opcode::CONTINUATION, None) => return Err("continuation of nothing"),
            (_, Some(_)) => return Err("new message inside a fragmented one"),
            (op, None) => (op, Vec::new()),
        };
        if message.len() + payload.len() > PAYLOAD_BYTES_MAX {
            return Err("message larger than 32 MiB");
        }
        message.extend_from_slice(payload);
        if fin {
            return Ok(Some((op, message)));
        }
        self.fragments = Some((op, message));
        Ok(None)
    }

    /// How a connection ended whose read returned 0.
    pub(super) fn end_of_stream(&mut self) -> End {
        if let Some(end) = self.close_frame.take() {
            return end;
        }
        if self.phase == ConnectionPhase::Securing {
            return End::Tls(TlsFailure::truncated_handshake());
        }
        if self.phase < ConnectionPhase::Open {
            return handshake::refusal(&self.rest)
                .unwrap_or_else(|| End::Lost("before the upgrade was answered".into()));
        }
        End::Lost("end of stream".into())
    }

    /// How a connection ended whose TLS stream did. After a close frame it does not matter how.
    pub(super) fn tls_end(&mut self, end: TlsEnd) -> End {
        match (self.close_frame.take(), end) {
            (Some(end), _) => end,
            (None, TlsEnd::Failed(failure)) => End::Tls(failure),
            (None, TlsEnd::Truncated) if self.phase >= ConnectionPhase::Open => {
                End::Lost("end of stream without TLS close_notify".into())
            }
            (None, TlsEnd::Truncated | TlsEnd::CloseNotify) => self.end_of_stream(),
        }
    }

    /// Ends the write side of TLS, as far as the socket takes that.
    pub(super) fn close_tls(&mut self) {
        if let (Some(tls), Some(socket)) = (&mut self.tls, &mut self.socket) {
            tls.close(socket);
        }
    }

    /// How a connection ended whose read failed.
    pub(super) fn broken(&mut self, error: io::Error) -> End {
        if let Some(end) = self.close_frame.take() {
            return end;
        }
        End::Lost(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_assembled() {
        let mut connection = Connection::default();
        assert_eq!(connection.assemble(false, opcode::TEXT, b"a"), Ok(None));
        assert!(connection.is_fragmented());
        assert_eq!(
            connection.assemble(false, opcode::CONTINUATION, b"b"),
            Ok(None)
        );
        let whole = connection.assemble(true, opcode::CONTINUATION, b"c");
        assert_eq!(whole, Ok(Some((opcode::TEXT, b"abc".to_vec()))));
        assert!(!connection.is_fragmented());
        assert!(
            connection
                .assemble(true, opcode::CONTINUATION, b"")
                .is_err()
        );
        assert_eq!(connection.assemble(false, opcode::BINARY, b""), Ok(None));
        assert!(connection.assemble(true, opcode::TEXT, b"").is_err());
    }
}
