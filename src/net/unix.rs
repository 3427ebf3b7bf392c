//! Unix sockets: one listener for all shards, since `SO_REUSEPORT` does not divide them.
//!
//! One shard accepts and hands connections to all in turn. Were each to poll the listener, all would wake for each
//! connection, and the first to wake would have most of them.
//!
//! An accepted socket is a [`TcpStream`] to the runtime, which reads, writes and shuts it down as any stream socket; what
//! only TCP has is asked of none of them.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Listener;

/// Connections that wait for a shard that is handed them; beyond it the accepting shard keeps them.
const HANDED_MAX: usize = 1024;

/// The file of a listening socket. Removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Which file is at a path, where another process may have put its own: device and number, and when it was made, since
/// numbers come back.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> io::Result<Identity> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

/// Listens at `path`, with a share for each shard; the first one accepts. A socket that a process has left behind is
/// replaced. `mode`: the permissions of the file.
///
/// # Errors
/// A process listens there, the file is no socket, or the kernel's.
pub fn listen_unix(
    path: &Path,
    mode: u32,
    backlog: u32,
    shards: u16,
) -> io::Result<(Vec<Listener>, SocketFile)> {
    check_socket_free(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    // Nobody connects before it listens.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let (others, receivers): (Vec<_>, Vec<_>) =
        (1..shards).map(|_| channel::<OwnedFd>(HANDED_MAX)).unzip();
    let accepting = UnixShare::Accepting {
        socket: OwnedFd::from(socket).into(),
        others,
    };
    let handed = receivers.into_iter().map(UnixShare::Handed);
    let shares = std::iter::once(accepting).chain(handed);
    Ok((shares.map(Listener::of_unix).collect(), file))
}

/// Checks that no process listens at `path`, and that a socket may be put there.
///
/// # Errors
/// [`ErrorKind::AddrInUse`]; [`ErrorKind::AlreadyExists`]: the file is no socket; the kernel's.
pub fn check_socket_free(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => return Err(ErrorKind::AlreadyExists.into()),
        Ok(_) => {}
        // Its folder has to be there.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(path);
            return fs::metadata(folder).map(drop);
        }
        Err(error) => return Err(error),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue would be waited for.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        // A process has left it behind.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        Ok(()) | Err(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

/// What one shard has of a unix socket.
#[derive(Debug)]
pub(super) enum UnixShare {
    /// The socket, and the ways to the other shards.
    Accepting {
        socket: std::os::unix::net::UnixListener,
        others: Vec<Sender<OwnedFd>>,
    },
    /// What the accepting shard hands over.
    Handed(Receiver<OwnedFd>),
}

impl UnixShare {
    pub(super) fn register(self) -> io::Result<UnixAcceptor> {
        Ok(match self {
            Self::Accepting { socket, others } => UnixAcceptor::Accepting {
                socket: UnixListener::from_std(socket)?,
                others,
                next: 0,
            },
            Self::Handed(receiver) => UnixAcceptor::Handed(receiver),
        })
    }
}

/// A [`UnixShare`] that a runtime polls.
#[derive(Debug)]
pub(super) enum UnixAcceptor {
    Accepting {
        socket: UnixListener,
        others: Vec<Sender<OwnedFd>>,
        /// Whose turn it is, by the place in `others`; behind them, this shard's own.
        next: usize,
    },
    Handed(Receiver<OwnedFd>),
}

impl UnixAcceptor {
    /// The next connection of this shard. Cancel-safe.
    pub(super) async fn accept(&mut self) -> io::Result<TcpStream> {
        let socket = match self {
            Self::Handed(receiver) => match receiver.recv().await {
                Some(socket) => socket,
                // The accepting shard has ended, as this one will.
                None => std::future::pending().await,
            },
            Self::Accepting {
                socket,
                others,
                next,
            } => loop {
                let (accepted, _) = socket.accept().await?;
                // Its runtime will be another one.
                let accepted = OwnedFd::from(accepted.into_std()?);
                let turn = *next;
                *next = (turn + 1) % (others.len() + 1);
                let Some(other) = others.get(turn) else {
                    break accepted;
                };
                if let Err(error) = other.try_send(accepted) {
                    break error.into_inner();
                }
            },
        };
        TcpStream::from_std(socket.into())
    }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A path of its own in a folder of its own.
    fn path(name: &str) -> PathBuf {
        let process = std::process::id();
        std::env::temp_dir().join(format!("fanfare-unix-{name}-{process}.sock"))
    }

    #[test]
    fn a_socket_in_use_is_left_alone_and_one_left_behind_is_replaced() {
        let path = path("stale");
        let _ = fs::remove_file(&path);
        check_socket_free(&path).unwrap();
        let (listeners, file) = listen_unix(&path, 0o600, 16, 1).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let in_use = listen_unix(&path, 0o600, 16, 1).unwrap_err();
        assert_eq!(in_use.kind(), ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        // As a process that is killed.
        drop(listeners);
        let _left_behind = ManuallyDrop::new(file);
        UnixStream::connect(&path).unwrap_err();
        let (_listeners, file) = listen_unix(&path, 0o600, 16, 1).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "on the test's own thread")]
    fn what_is_no_socket_or_another_one_stays() {
        let path = path("other");
        let _ = fs::remove_file(&path);
        fs::write(&path, "text").unwrap();
        let error = listen_unix(&path, 0o600, 16, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        fs::remove_file(&path).unwrap();
        let (listeners, file) = listen_unix(&path, 0o600, 16, 1).unwrap();
        drop(listeners);
        fs::remove_file(&path).unwrap();
        // Files made within a tick of the kernel's clock have one time.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (_listeners, _file) = listen_unix(&path, 0o600, 16, 1).unwrap();
        drop(file);
        assert!(path.exists(), "it is the file of the second");
        let missing = Path::new("/nonexistent/fanfare.sock");
        let error = check_socket_free(missing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn shards_get_connections_in_turn() {
        let path = path("turns");
        let _ = fs::remove_file(&path);
        let (listeners, _file) = listen_unix(&path, 0o600, 64, 3).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut acceptors: Vec<_> = listeners
                .into_iter()
                .map(|listener| listener.register().unwrap())
                .collect();
            let _clients: Vec<_> = (0..9)
                .map(|_| UnixStream::connect(&path).unwrap())
                .collect();
            // The first share accepts for all of them.
            for acceptor in &mut acceptors {
                for _ in 0..3 {
                    let (stream, address) = acceptor.accept().await.unwrap();
                    assert!(address.ip().is_loopback() && !stream.is_unsecured());
                    stream
                        .limit_unacknowledged(std::time::Duration::from_secs(1))
                        .unwrap();
                }
            }
        });
    }
}
