//! TLS 1.2 and 1.3 on accepted sockets (RFC 5246, RFC 8446): certificates, handshakes, and records between a socket and
//! the shard. Nothing outside of `net` names the library.
//!
//! Records are opened and sealed in scratch buffers of the thread, so that a connection at rest holds its keys and no
//! buffer.

mod certificates;
mod handshake;
mod record;
mod server;
mod session;
#[cfg(test)]
mod tests;

#[cfg(fuzzing)]
pub use session::receive;

pub use certificates::CertificateError;
pub use handshake::TlsHandshakeError;
pub(super) use handshake::handshake;
pub use server::TlsServer;
pub use session::TlsHandshakeKind;
pub(super) use session::{TlsSession, TlsStream, TlsWriter};
