//! TLS below the reads and writes of a connection (RFC 8446, RFC 5246).

mod sessions;
#[cfg(test)]
mod tests;
mod trust;

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, ClientConnection, HandshakeKind};
use rustls::{NamedGroup, ProtocolVersion};

use sessions::Sessions;
pub(crate) use trust::{TlsFailure, Trust};

/// Plaintext at most of what rustls has kept of a record that was cut: one record's.
pub(super) const HELD_BYTES_MAX: usize = 16 * 1024;

/// How servers are trusted, and whether sessions are resumed.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsSettings {
    pub(crate) trust: Trust,
    /// Without this every connection is a full handshake.
    pub(crate) resume_sessions: bool,
}

/// The client's side of TLS with one server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl TlsClient {
    /// For the server at `host`, a name or an address. Reads the certificates that are trusted.
    pub(crate) fn new(host: &str, settings: &TlsSettings) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host} is no name that a certificate can have"))?;
        let mut config = settings.trust.config()?;
        config.resumption = if settings.resume_sessions {
            Resumption::store(Arc::new(Sessions::default()))
        } else {
            Resumption::disabled()
        };
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// The session of a new connection. Its first flight is there to be written.
    pub(super) fn session(&self) -> io::Result<TlsSession> {
        let connection = ClientConnection::new(self.config.clone(), self.name.clone())
            .map_err(io::Error::other)?;
        Ok(TlsSession {
            connection,
            sealed_bytes: 0,
        })
    }
}

/// What was agreed on in a handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TlsParameters {
    version: ProtocolVersion,
    suite: CipherSuite,
    group: Option<NamedGroup>,
}

impl fmt::Display for TlsParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.version, self.suite)?;
        match self.group {
            Some(group) => write!(f, ", {group:?}"),
            None => Ok(()),
        }
    }
}

/// What one read has brought.
#[derive(Debug)]
pub(super) struct TlsRead {
    /// Bytes read from the socket.
    pub(super) wire_bytes: usize,
    pub(super) plain_bytes: usize,
    /// How the stream ended behind these bytes, if it did.
    pub(super) end: Option<TlsEnd>,
}

/// How a stream ended.
#[derive(Debug)]
pub(super) enum TlsEnd {
    /// In order: the server will send nothing more.
    CloseNotify,
    /// The TCP connection ended without that.
    Truncated,
    Failed(TlsFailure),
}

/// TLS on one connection. Between two calls rustls holds no plaintext: what it had was read, and
/// what is to be sent is sealed when the socket has taken what was sealed before. So readiness of
/// the socket is all there is to wait for.
#[derive(Debug)]
pub(super) struct TlsSession {
    connection: ClientConnection,
    /// Bytes sealed that the socket did not take.
    sealed_bytes: usize,
}

impl TlsSession {
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the session was resumed, and what was agreed on; once the handshake is over.
    pub(super) fn parameters(&self) -> Option<(bool, TlsParameters)> {
        if self.is_handshaking() {
            return None;
        }
        let is_resumed = self.connection.handshake_kind()? == HandshakeKind::Resumed;
        let parameters = TlsParameters {
            version: self.connection.protocol_version()?,
            suite: self.connection.negotiated_cipher_suite()?.suite(),
            group: self
                .connection
                .negotiated_key_exchange_group()
                .map(|group| group.name()),
        };
        Some((is_resumed, parameters))
    }

    /// Whether it has bytes for the socket.
    pub(super) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    pub(super) fn sealed_bytes(&self) -> usize {
        self.sealed_bytes
    }

    /// Reads once into `ciphertext`, and opens all whole records into `plain`, which must have
    /// [`HELD_BYTES_MAX`] bytes more. An error is the socket's.
    pub(super) fn read(
        &mut self,
        socket: &mut impl Read,
        ciphertext: &mut [u8],
        plain: &mut [u8],
    ) -> io::Result<TlsRead> {
        let wire_bytes = socket.read(ciphertext)?;
        let mut read = TlsRead {
            wire_bytes,
            plain_bytes: 0,
            end: (wire_bytes == 0).then_some(TlsEnd::Truncated),
        };
        let mut rest = &ciphertext[..wire_bytes];
        while !rest.is_empty() && read.end.is_none() {
            match self.open(&mut rest, &mut plain[read.plain_bytes..]) {
                Ok((plain_bytes, has_ended)) => {
                    read.plain_bytes += plain_bytes;
                    read.end = has_ended.then_some(TlsEnd::CloseNotify);
                }
                Err(failure) => read.end = Some(TlsEnd::Failed(failure)),
            }
        }
        Ok(read)
    }

    /// Hands some of `ciphertext` to rustls and copies the plaintext of whole records; says whether
    /// close_notify was among them.
    fn open(
        &mut self,
        ciphertext: &mut &[u8],
        plain: &mut [u8],
    ) -> Result<(usize, bool), TlsFailure> {
        self.connection.read_tls(ciphertext)?;
        let state = self.connection.process_new_packets()?;
        let plain_bytes = state.plaintext_bytes_to_read();
        if plain_bytes > 0 {
            let plain = &mut plain[..plain_bytes];
            self.connection.reader().read_exact(plain)?;
        }
        Ok((plain_bytes, state.peer_has_closed()))
    }

    /// Seals `plain` from `taken` on and writes it, behind what is sealed already, until all is
    /// written or the socket is full. Before the end of the handshake nothing of `plain` is taken.
    /// After an error no later write succeeds.
    pub(super) fn write(
        &mut self,
        socket: &mut impl Write,
        plain: &[u8],
        taken: &mut usize,
    ) -> io::Result<()> {
        loop {
            if *taken < plain.len() && !self.connection.is_handshaking() {
                // At most 64 KiB, the limit of what rustls keeps sealed.
                *taken += self.connection.writer().write(&plain[*taken..])?;
            }
            if !self.connection.wants_write() {
                self.sealed_bytes = 0;
                let is_done = *taken == plain.len() || self.connection.is_handshaking();
                return if is_done {
                    Ok(())
                } else {
                    Err(ErrorKind::WriteZero.into())
                };
            }
            while self.connection.wants_write() {
                match self.connection.write_tls(socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.sealed_bytes = self.count_sealed();
                        return Ok(());
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Ends the write side with close_notify, behind what is sealed, as far as the socket takes it.
    pub(super) fn close(&mut self, socket: &mut impl Write) {
        self.connection.send_close_notify();
        while self.connection.wants_write() && self.connection.write_tls(socket).is_ok() {}
    }

    /// Only rustls knows; it tells when it is asked to look for input.
    fn count_sealed(&mut self) -> usize {
        let state = self.connection.process_new_packets();
        state.map_or(0, |state| state.tls_bytes_to_write())
    }
}
