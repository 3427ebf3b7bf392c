//! Listening sockets that shards share, and the options of those they accept.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

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

/// Sets what every connection needs that is no request: an end of the connection when what was sent is not acknowledged within
/// `unacknowledged_max`, and a send buffer of this many bytes unless it is 0.
///
/// Without that end the kernel keeps a connection to a peer that has vanished,
/// and what was sent to it, for a quarter of an hour (`TCP_USER_TIMEOUT`, RFC 5482;
/// HOSTILE R03), also after it was closed here.
///
/// # Errors
/// The kernel's, if the peer is gone already.
pub fn tune(
    stream: &TcpStream,
    unacknowledged_max: Duration,
    send_buffer_bytes: usize,
) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(unacknowledged_max))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r03_a_tuned_connection_ends_when_its_peer_acknowledges_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 16).unwrap();
            let address = listener.local_addr().unwrap();
            let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (_client, (stream, _)) = (stream.unwrap(), accepted.unwrap());
            let limit = Duration::from_secs(40);
            tune(&stream, limit, 16 * 1024).unwrap();
            let socket = SockRef::from(&stream);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(limit));
            // The kernel doubles what it is asked for.
            assert_eq!(socket.send_buffer_size().unwrap(), 32 * 1024);
        });
    }
}
