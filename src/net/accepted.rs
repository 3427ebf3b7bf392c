//! The result of a write.

use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a socket accepted of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// How many bytes. They need not be offered again.
    pub bytes: usize,
    /// It accepts no more until it is writable.
    pub is_full: bool,
}

impl Accepted {
    /// What `socket` made of a write of `offered` bytes, whose `outcome` is the kernel's.
    ///
    /// # Errors
    /// The kernel's, but for a full socket.
    #[inline]
    pub(super) fn by(
        socket: &TcpStream,
        outcome: io::Result<usize>,
        offered: usize,
    ) -> io::Result<Self> {
        let bytes = match outcome {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let is_full = bytes < offered;
        if is_full {
            wait_for_room(socket);
        }
        Ok(Self { bytes, is_full })
    }
}

/// Has the runtime wait until the kernel says that there is room. After a short write it still takes the socket for
/// writable, and the next write would be one in vain.
#[cold]
fn wait_for_room(socket: &TcpStream) {
    let full = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
    let _ = socket.try_io(Interest::WRITABLE, full);
}
