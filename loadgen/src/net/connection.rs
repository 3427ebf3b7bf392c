//! One connection of the fast client.

use std::io::{self, ErrorKind, Write};

use rustix::event::epoll::EventFlags;
use socket2::Socket;

use super::end::End;
use super::handshake;
use crate::frame::{PAYLOAD_BYTES_MAX, opcode};
use crate::http::Reader;

/// Number of a connection; used again after it has closed.
pub(crate) type Id = usize;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    #[default]
    Free,
    Connecting,
    Upgrading,
    Open,
    /// A close frame was sent.
    Closing,
}

/// Socket and buffers of one connection. Buffers are empty while nothing is cut
/// or stuck.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) socket: Option<Socket>,
    pub(super) phase: Phase,
    /// Frames to send, from `sent` on.
    pub(super) out: Vec<u8>,
    sent: usize,
    /// The start of a frame or of the response head.
    pub(super) rest: Vec<u8>,
    /// Bytes that the frame in `rest` needs, as far as known.
    pub(super) needs: usize,
    fragments: Option<(u8, Vec<u8>)>,
    pub(super) paused: bool,
    /// What the server's close frame said, once it came.
    pub(super) close_frame: Option<End>,
    pub(super) interest_set: EventFlags,
    pub(super) opening: Opening,
}

/// What was asked for, and how the answer is known to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opening {
    /// An upgrade, with this key.
    WebSocket(String),
    /// A stream of events.
    Stream,
    /// Nothing: requests follow, and this splits their responses.
    Http(Reader),
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            socket: None,
            phase: Phase::Free,
            out: Vec::new(),
            sent: 0,
            rest: Vec::new(),
            needs: 0,
            fragments: None,
            paused: false,
            close_frame: None,
            interest_set: EventFlags::empty(),
            opening: Opening::Stream,
        }
    }
}

impl Connection {
    /// Begins with `socket` connecting and the request to be sent.
    pub(super) fn start(&mut self, socket: Socket, request: Vec<u8>, opening: Opening) {
        *self = Self {
            socket: Some(socket),
            phase: Phase::Connecting,
            out: request,
            interest_set: EventFlags::IN | EventFlags::OUT,
            opening,
            ..Self::default()
        };
    }

    pub(super) fn interest(&self) -> EventFlags {
        let mut interest = EventFlags::empty();
        if !self.paused {
            interest |= EventFlags::IN;
        }
        if self.phase == Phase::Connecting || self.queued_bytes() > 0 {
            interest |= EventFlags::OUT;
        }
        interest
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Writes until everything is out or the socket is full.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.phase == Phase::Connecting {
            return Ok(());
        }
        let Some(socket) = &mut self.socket else {
            self.out.clear();
            return Ok(());
        };
        while self.sent < self.out.len() {
            match socket.write(&self.out[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Nothing will ever go out again.
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

    /// Looks for the response head in `bytes` and returns its length.
    pub(super) fn upgrade(&mut self, bytes: &[u8]) -> Result<Option<usize>, End> {
        let head_bytes = match &mut self.opening {
            Opening::Stream => handshake::stream_response(bytes)?,
            Opening::Http(_) => Some(0),
            Opening::WebSocket(key) => {
                let head_bytes = handshake::response(bytes, key)?;
                if head_bytes.is_some() {
                    // Not needed again.
                    *key = String::new();
                }
                head_bytes
            }
        };
        if head_bytes.is_some() {
            self.phase = Phase::Open;
        }
        Ok(head_bytes)
    }

    pub(super) fn is_websocket(&self) -> bool {
        matches!(self.opening, Opening::WebSocket(_))
    }

    pub(super) fn is_fragmented(&self) -> bool {
        self.fragments.is_some()
    }

    /// Takes one data frame; returns the message that it completes.
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

    /// What the end of the byte stream means.
    pub(super) fn end_of_stream(&mut self) -> End {
        if let Some(end) = self.close_frame.take() {
            return end;
        }
        if self.phase < Phase::Open {
            return handshake::refusal(&self.rest)
                .unwrap_or_else(|| End::Lost("before the upgrade was answered".into()));
        }
        End::Lost("end of stream".into())
    }

    /// What a failed read means.
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
    fn fragments_are_put_together() {
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
