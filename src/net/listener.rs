//! Listening sockets that shards share, and the options of those they accept.

use std::io;
use std::net::{Shutdown, SocketAddr};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// A listener of one shard. The kernel spreads connections over all listeners
/// of the same address (`SO_REUSEPORT`).
///
/// # Errors
/// The kernel's: the address is in use by somebody else, or is not ours.
pub fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Checks that nobody listens on `address`. [`listen`] alone does not notice
/// another gateway of the same user: its listeners can be shared, too, and the
/// kernel would give each of the two a part of the connections.
///
/// # Errors
/// The kernel's, as for [`listen`].
pub fn check_free(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of the last run that linger are no hindrance.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// Sets what every accepted connection needs: no delay of small writes, and a
/// send buffer of this many bytes unless it is 0.
///
/// # Errors
/// The kernel's, if the peer is gone already.
pub fn tune(stream: &TcpStream, send_buffer_bytes: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if send_buffer_bytes > 0 {
        SockRef::from(stream).set_send_buffer_size(send_buffer_bytes)?;
    }
    Ok(())
}

/// Ends our side of a connection; the peer's may go on.
///
/// # Errors
/// The kernel's, if the connection is gone already.
pub fn shut(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).shutdown(Shutdown::Write)
}
