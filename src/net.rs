//! The machine: listening sockets and those they accept, plain or TLS, cores, pages, file limits.

mod accepted;
mod affinity;
mod limits;
mod listener;
mod monotonic;
mod pages;
mod seal;
mod stream;
mod tls;
mod unix;
mod usage;

pub use accepted::Accepted;
pub use affinity::{available_cores, pin_to_core};
pub use limits::raise_file_limit;
pub use listener::{
    Acceptor, Families, Listener, Spare, Tuning, check_free, is_out_of_files, listen,
};
pub use monotonic::monotonic_us;
pub use pages::use_small_pages;
pub use seal::Seal;
pub use stream::{Reader, Stream, Writer};
#[cfg(fuzzing)]
pub use tls::receive;
pub use tls::{CertificateError, TlsHandshakeError, TlsHandshakeKind, TlsServer};
pub use unix::{SocketFile, check_socket_free, listen_unix};
pub use usage::process_usage;
