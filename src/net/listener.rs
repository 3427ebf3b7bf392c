//! Listening sockets that shards share, and the options of those they accept.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::unix::{UnixAcceptor, UnixShare};
use super::{Stream, TlsServer};

/// The options of a listener's connections.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// A connection ends when what was sent is not acknowledged for as long.
    ///
    /// Otherwise the kernel keeps a connection to a peer that has vanished, and
    /// what was sent to it, for a quarter of an hour (`TCP_USER_TIMEOUT`, RFC 5482;
    /// hostile-inputs.md R03), also after it was closed here.
    pub unacknowledged_max: Duration,
    /// `SO_SNDBUF`; 0: the kernel's choice.
    pub send_buffer_bytes: usize,
    /// `TCP_NOTSENT_LOWAT`; 0: the kernel's choice.
    ///
    /// The kernel takes as many bytes as `net.ipv4.tcp_wmem` says, 4 MiB, for a peer that reads none of
    /// them. This bounds those that have not been sent, and leaves it what is on its way to a distant peer.
    pub unsent_bytes_max: usize,
}

/// Which address families a listener of an IPv6 address accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// Its own family only.
    Own,
    /// IPv4, too: it listens on `[::]`, and no other listener on `0.0.0.0`.
    Both,
}

impl Families {
    /// The families that `address`, one of `listen`, accepts.
    #[must_use]
    pub fn of(address: SocketAddr, listen: &[SocketAddr]) -> Self {
        let any_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        if address.ip() == Ipv6Addr::UNSPECIFIED && !listen.contains(&any_ipv4) {
            Self::Both
        } else {
            Self::Own
        }
    }
}

/// A listening socket that no runtime polls yet. The kernel queues its connections. Closed when dropped.
#[derive(Debug)]
pub struct Listener(ListenerInner);

#[derive(Debug)]
enum ListenerInner {
    Tcp {
        socket: std::net::TcpListener,
        /// Of TLS; `None`: its connections are plain.
        tls: Option<Arc<TlsServer>>,
    },
    Unix(UnixShare),
}

impl Listener {
    /// A shard's share of a unix socket.
    pub(super) fn of_unix(share: UnixShare) -> Self {
        Self(ListenerInner::Unix(share))
    }

    /// Where it listens, with the port that the kernel chose for 0; `None`: at a path.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        match &self.0 {
            ListenerInner::Tcp { socket, .. } => socket.local_addr().map(Some),
            ListenerInner::Unix(_) => Ok(None),
        }
    }

    /// Has the calling thread's runtime poll it.
    ///
    /// # Errors
    /// The kernel's: `epoll` has no room for it.
    pub fn register(self) -> io::Result<Acceptor> {
        Ok(Acceptor(match self.0 {
            ListenerInner::Tcp { socket, tls } => AcceptorInner::Tcp {
                socket: TcpListener::from_std(socket)?,
                tls,
            },
            ListenerInner::Unix(share) => AcceptorInner::Unix(share.register()?),
        }))
    }
}

/// A [`Listener`] that a runtime polls.
#[derive(Debug)]
pub struct Acceptor(AcceptorInner);

#[derive(Debug)]
enum AcceptorInner {
    Tcp {
        socket: TcpListener,
        tls: Option<Arc<TlsServer>>,
    },
    Unix(UnixAcceptor),
}

impl Acceptor {
    /// Accepts a connection. IPv4 addresses are not mapped to IPv6, and 127.0.0.1 stands for the other end of a unix
    /// socket. Cancel-safe: dropping the future loses no connection.
    ///
    /// # Errors
    /// The kernel's: about this connection, or the file limit is reached.
    pub async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        match &mut self.0 {
            AcceptorInner::Tcp { socket, tls } => {
                let (socket, mut address) = socket.accept().await?;
                address.set_ip(address.ip().to_canonical());
                Ok((Stream::new(socket, tls.as_ref()), address))
            }
            AcceptorInner::Unix(acceptor) => {
                let socket = acceptor.accept().await?;
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                Ok((Stream::new(socket, None), address))
            }
        }
    }
}

/// A spare open file: closing it allows one more connection to be accepted at the file limit.
#[derive(Debug)]
pub struct Spare(Option<OwnedFd>);

impl Spare {
    /// Opens a file, if the limit allows.
    #[must_use]
    pub fn open() -> Self {
        Self(eventfd(0, EventfdFlags::CLOEXEC).ok())
    }

    /// Closes the file. Returns whether there was one.
    pub fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// Whether an error says that the file limit of the process or the system is reached.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

/// Opens a listener of one shard. The kernel spreads connections over all listeners
/// of the same address (`SO_REUSEPORT`). With `tls` its connections have to begin with a handshake.
///
/// # Errors
/// The kernel's: the address is in use by another user, or not an address of this machine.
pub fn listen(
    address: SocketAddr,
    families: Families,
    backlog: u32,
    tuning: Tuning,
    tls: Option<Arc<TlsServer>>,
) -> io::Result<Listener> {
    let socket = socket(address, families)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Connections have a listener's options from the start: no system call for each of them.
    // A head and what follows it may be two writes (RFC 896).
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(tuning.unacknowledged_max))?;
    if tuning.send_buffer_bytes > 0 {
        socket.set_send_buffer_size(tuning.send_buffer_bytes)?;
    }
    if tuning.unsent_bytes_max > 0 {
        socket.set_tcp_notsent_lowat(u32::try_from(tuning.unsent_bytes_max).unwrap_or(u32::MAX))?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let socket = socket.into();
    Ok(Listener(ListenerInner::Tcp { socket, tls }))
}

/// Checks that no process listens on `address`. [`listen`] alone does not notice another gateway of the same user: with
/// `SO_REUSEPORT` the kernel would divide connections between the two. On port 0 only the address is checked.
///
/// # Errors
/// The kernel's, as for [`listen`].
pub fn check_free(address: SocketAddr, families: Families) -> io::Result<()> {
    socket(address, families)?.bind(&address.into())
}

fn socket(address: SocketAddr, families: Families) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the previous run in TIME_WAIT do not prevent listening.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(families == Families::Own)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn r03_a_connection_ends_when_its_peer_acknowledges_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let limit = Duration::from_secs(40);
            let tuning = Tuning {
                unacknowledged_max: limit,
                send_buffer_bytes: 16 * 1024,
                unsent_bytes_max: 128 * 1024,
            };
            let listener = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = listen(listener, Families::Own, 16, tuning, None).unwrap();
            let address = listener.address().unwrap().unwrap();
            let mut listener = listener.register().unwrap();
            let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (_client, (stream, _)) = (stream.unwrap(), accepted.unwrap());
            let socket = SockRef::from(stream.tcp());
            assert!(socket.tcp_nodelay().unwrap());
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(limit));
            // The kernel doubles what it is asked for.
            assert_eq!(socket.send_buffer_size().unwrap(), 32 * 1024);
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), 128 * 1024);
        });
    }
}
