//! The connections of all clients: plain, or TLS when `FANFARE_TEST_TLS` is 1.

#![expect(
    clippy::disallowed_types,
    reason = "threads of a test share a connection"
)]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use fanfare::config::ListenAddress;
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The plaintext of one record at most (RFC 8446, section 5.1), and what is read from TCP at once.
const RECORD_BYTES: usize = 1 << 14;

/// A connection to a gateway. As a `TcpStream` it may be cloned, for one thread that reads and one
/// that writes, and has the options of its socket through `AsFd`.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    tls: Option<Arc<Tls>>,
}

/// The TLS of a connection. Nobody waits for the peer with `session` locked.
#[derive(Debug)]
struct Tls {
    session: Mutex<Session>,
    /// Records that TCP has not taken yet. Locked before `session`.
    unsent: Mutex<Vec<u8>>,
}

#[derive(Debug)]
struct Session {
    keys: ClientConnection,
    /// Decrypted and not read yet.
    plaintext: VecDeque<u8>,
}

impl Socket {
    /// Connects, and has the handshake of TLS behind it.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// As [`Self::connect`], over a connection of TCP.
    pub(crate) fn over(tcp: TcpStream) -> io::Result<Self> {
        let tls = match &*TLS {
            Some(identity) => Some(Arc::new(identity.shake_hands(&tcp)?)),
            None => None,
        };
        Ok(Self { tcp, tls })
    }

    /// TLS over a connection of TCP to what shows the certificate of `identity`.
    pub(crate) fn secured(tcp: TcpStream, identity: &Identity) -> io::Result<Self> {
        let tls = Some(Arc::new(identity.shake_hands(&tcp)?));
        Ok(Self { tcp, tls })
    }

    /// A connection to a unix socket, which is never TLS. What only TCP has fails on it.
    pub(crate) fn local(unix: UnixStream) -> Self {
        let tcp = TcpStream::from(OwnedFd::from(unix));
        Self { tcp, tls: None }
    }

    /// Another handle of the same connection.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let tcp = self.tcp.try_clone()?;
        let tls = self.tls.clone();
        Ok(Self { tcp, tls })
    }

    /// How long a read waits; then it is `WouldBlock`, and nothing is lost.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp.set_read_timeout(timeout)
    }

    /// How long a write waits; then it is `WouldBlock`, and nothing is lost.
    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp.set_write_timeout(timeout)
    }

    /// Sends without waiting for acknowledgements.
    pub(crate) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.tcp.set_nodelay(nodelay)
    }

    /// Ends one or both directions, that to the peer with a close_notify.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if let (Some(tls), Shutdown::Write | Shutdown::Both) = (&self.tls, how) {
            // A peer that is gone is not told.
            let _ = tls.send(&self.tcp, |keys| {
                keys.send_close_notify();
                Ok(())
            });
        }
        self.tcp.shutdown(how)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

impl Read for Socket {
    /// As that of `TcpStream`: 0 bytes are the end of TCP, with or without a close_notify.
    ///
    /// # Panics
    /// What the gateway sent is not TLS.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            return read_tcp(&self.tcp, bytes);
        };
        loop {
            if let Some(read) = tls.take_plaintext(bytes) {
                return Ok(read);
            }
            let mut records = [0; RECORD_BYTES];
            let read = read_tcp(&self.tcp, &mut records)?;
            if read == 0 {
                return Ok(0);
            }
            tls.decrypt(&records[..read]);
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            return self.tcp.write(bytes);
        };
        let record = &bytes[..bytes.len().min(RECORD_BYTES)];
        tls.send(&self.tcp, |keys| keys.writer().write(record))
    }

    fn flush(&mut self) -> io::Result<()> {
        match &self.tls {
            Some(tls) => tls.send(&self.tcp, |_| Ok(())),
            None => self.tcp.flush(),
        }
    }
}

impl Tls {
    /// Gives what has been decrypted; `None` if it is nothing.
    fn take_plaintext(&self, bytes: &mut [u8]) -> Option<usize> {
        let plaintext = &mut self.session.lock().unwrap().plaintext;
        if plaintext.is_empty() {
            // A connection that is silent holds no buffer.
            *plaintext = VecDeque::new();
            return None;
        }
        Some(plaintext.read(bytes).unwrap())
    }

    /// Takes records in.
    fn decrypt(&self, mut records: &[u8]) {
        let Session { keys, plaintext } = &mut *self.session.lock().unwrap();
        // Nothing is taken behind a close_notify.
        while !records.is_empty() && keys.read_tls(&mut records).unwrap() > 0 {
            if let Err(error) = keys.process_new_packets() {
                panic!("the gateway's TLS: {error}");
            }
            // Up to what would block.
            let _ = io::copy(&mut keys.reader(), plaintext);
        }
    }

    /// Sends what is left over, and then what `say` has to say. What TCP does not take in time of that
    /// is left over.
    fn send<T>(
        &self,
        tcp: &TcpStream,
        say: impl FnOnce(&mut ClientConnection) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut unsent = self.unsent.lock().unwrap();
        write_front(tcp, &mut unsent)?;
        let mut session = self.session.lock().unwrap();
        let said = say(&mut session.keys)?;
        while session.keys.wants_write() {
            session.keys.write_tls(&mut *unsent)?;
        }
        drop(session);
        match write_front(tcp, &mut unsent) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(said),
        }
    }
}

/// Reads once. A wait with a timeout is interrupted when the machine is paused, which is no end.
fn read_tcp(mut tcp: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match tcp.read(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Writes all of `bytes`, and removes what is written.
fn write_front(mut tcp: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    while !bytes.is_empty() {
        match tcp.write(bytes) {
            Ok(written) => drop(bytes.drain(..written)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    *bytes = Vec::new();
    Ok(())
}

/// A certificate, as that of all gateways of this process, and clients that trust only it.
pub(crate) struct Identity {
    /// The certificate and its key; for other processes, too.
    pub pem_file: PathBuf,
    clients: Arc<ClientConfig>,
    /// What `pem_file` leads to. It has no other name, so that nothing is left behind.
    _file: File,
}

/// What makes connections TLS; `None` if they are plain, as those of browsers always are.
pub(crate) static TLS: LazyLock<Option<Identity>> = LazyLock::new(|| {
    let asked = std::env::var("FANFARE_TEST_TLS").is_ok_and(|value| value == "1");
    (asked && env!("CARGO_CRATE_NAME") == "it").then(Identity::new)
});

/// How many identities have been made.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The host that the certificate names.
const HOST: &str = "localhost";

impl Identity {
    /// A new one, for `localhost`.
    pub(crate) fn new() -> Self {
        let own = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let process = std::process::id();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}/tls-{process}-{number}.pem", env!("CARGO_TARGET_TMPDIR"));
        let mut file = File::create(&name).unwrap();
        let pem = own.cert.pem() + &own.signing_key.serialize_pem();
        file.write_all(pem.as_bytes()).unwrap();
        fs::remove_file(&name).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let clients = ClientConfig::builder().with_root_certificates(roots);
        let mut clients = clients.with_no_client_auth();
        clients.resumption = Resumption::disabled();
        Self {
            pem_file: format!("/proc/{process}/fd/{}", file.as_raw_fd()).into(),
            clients: Arc::new(clients),
            _file: file,
        }
    }

    fn shake_hands(&self, mut tcp: &TcpStream) -> io::Result<Tls> {
        let host = HOST.try_into().expect("a name");
        let mut keys = ClientConnection::new(self.clients.clone(), host).unwrap();
        // Records are whole messages to the gateway, and nothing is gained by waiting for more.
        tcp.set_nodelay(true)?;
        let timeout = tcp.read_timeout()?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        while keys.is_handshaking() || keys.wants_write() {
            keys.complete_io(&mut tcp)?;
        }
        tcp.set_read_timeout(timeout)?;
        Ok(Tls {
            session: Mutex::new(Session {
                keys,
                plaintext: VecDeque::new(),
            }),
            unsent: Mutex::default(),
        })
    }
}

/// How `server.listen` has a listener for these connections.
pub(crate) fn listen(address: SocketAddr) -> ListenAddress {
    ListenAddress {
        address,
        tls: TLS.is_some(),
        unix: None,
    }
}

/// Whether a test has to be left out because connections are TLS, and why that is.
#[must_use]
pub(crate) fn needs_plaintext(reason: &str) -> bool {
    if TLS.is_some() {
        println!("left out with TLS: {reason}");
    }
    TLS.is_some()
}
