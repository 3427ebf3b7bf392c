//! The sockets of accepted connections, whole and split: plain TCP, or TLS. What is written may be sealed besides.
//!
//! No module outside of `net` uses the runtime's socket types.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::accepted::Accepted;
use super::seal::{Seal, Sealed};
use super::tls::{
    self, TlsHandshakeError, TlsHandshakeKind, TlsServer, TlsSession, TlsStream, TlsWriter,
};

/// An accepted connection.
#[derive(Debug)]
pub struct Stream(Inner);

#[derive(Debug)]
enum Inner {
    Plain(TcpStream),
    /// It has to begin with a TLS handshake. Until then it is read and written as it is.
    Unsecured(TcpStream, Arc<TlsServer>),
    Tls(Box<TlsStream>),
}

/// The reading side of a [`Stream`].
#[derive(Debug)]
pub struct Reader {
    half: OwnedReadHalf,
    session: Option<Rc<RefCell<TlsSession>>>,
}

/// The writing side of a [`Stream`]. Dropping it shuts down our side of the connection.
#[derive(Debug)]
pub struct Writer(WriterInner);

#[derive(Debug)]
enum WriterInner {
    Plain(OwnedWriteHalf),
    /// One case, so that a plain socket is told from all others by one comparison.
    Layered(Box<Layered>),
}

/// A writer that changes what is written, and keeps what the socket does not take of it.
#[derive(Debug)]
enum Layered {
    Tls(TlsWriter),
    Sealed(Box<SealedWriter>),
}

/// A writer whose bytes pass through a [`Seal`] first.
#[derive(Debug)]
struct SealedWriter {
    below: Writer,
    sealed: RefCell<Sealed>,
}

impl Stream {
    /// A connection that was accepted on a listener of plain TCP, or of TLS.
    pub(super) fn new(socket: TcpStream, tls: Option<&Arc<TlsServer>>) -> Self {
        Self(match tls {
            None => Inner::Plain(socket),
            Some(tls) => Inner::Unsecured(socket, tls.clone()),
        })
    }

    /// Whether it has to begin with a TLS handshake.
    #[must_use]
    pub fn is_unsecured(&self) -> bool {
        matches!(self.0, Inner::Unsecured(..))
    }

    /// Completes the TLS handshake; `begun` has been read from the socket already.
    ///
    /// # Errors
    /// There is none, and the connection as it is, which is over: a response may be written only after
    /// [`TlsHandshakeError::Plaintext`].
    ///
    /// # Panics
    /// The connection does not begin with one.
    pub async fn secure(
        self,
        begun: Vec<u8>,
    ) -> Result<(Self, TlsHandshakeKind), (Self, TlsHandshakeError)> {
        let Inner::Unsecured(socket, server) = self.0 else {
            panic!("there is no handshake");
        };
        match tls::handshake(socket, begun, &server).await {
            Ok((stream, kind)) => Ok((Self(Inner::Tls(Box::new(stream))), kind)),
            Err((socket, error)) => Err((Self(Inner::Plain(socket)), error)),
        }
    }

    /// The two sides. The socket is closed when both are dropped.
    #[inline]
    #[must_use]
    pub fn into_split(self) -> (Reader, Writer) {
        match self.0 {
            Inner::Plain(socket) | Inner::Unsecured(socket, _) => {
                let (half, writer) = socket.into_split();
                let session = None;
                (Reader { half, session }, Writer(WriterInner::Plain(writer)))
            }
            Inner::Tls(stream) => {
                let TlsStream { reader, writer } = *stream;
                let reader = Reader {
                    half: reader,
                    session: Some(writer.session.clone()),
                };
                let writer = WriterInner::Layered(Box::new(Layered::Tls(writer)));
                (reader, Writer(writer))
            }
        }
    }

    /// Replaces the listener's [`Tuning::unacknowledged_max`](super::Tuning::unacknowledged_max).
    ///
    /// On a unix socket nothing is to be acknowledged: its peer is gone when the socket says so.
    ///
    /// # Errors
    /// The kernel's, if the peer is gone already.
    pub fn limit_unacknowledged(&self, max: Duration) -> io::Result<()> {
        match SockRef::from(self.tcp()).set_tcp_user_timeout(Some(max)) {
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(()),
            set => set,
        }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Inner::Plain(socket) | Inner::Unsecured(socket, _) => socket,
            Inner::Tls(stream) => stream.writer.tcp(),
        }
    }
}

impl Writer {
    /// Has all that is written pass through `seal` from now on, but for the first `clear` bytes: the rest of a frame of
    /// which the socket has taken the beginning. A writer is sealed once: another seal is ignored.
    #[must_use]
    pub fn sealed(self, seal: Box<dyn Seal>, clear: usize) -> Self {
        if let WriterInner::Layered(layered) = &self.0
            && matches!(**layered, Layered::Sealed(_))
        {
            return self;
        }
        let sealed = RefCell::new(Sealed::new(seal, clear));
        let sealed = Box::new(SealedWriter {
            below: self,
            sealed,
        });
        Self(WriterInner::Layered(Box::new(Layered::Sealed(sealed))))
    }

    /// Writes as much as the socket accepts, from several slices in one system call. With TLS or a [`Seal`] that is
    /// 64 KiB at once, and a full socket has accepted up to 64 KiB (and what completes a frame that is sealed) of which
    /// the peer may get nothing until [`Self::poll_writable`].
    ///
    /// # Errors
    /// The kernel's if the connection is gone; the seal's.
    #[inline]
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<Accepted> {
        let socket = match &self.0 {
            WriterInner::Plain(socket) => socket,
            WriterInner::Layered(layered) => return layered.try_write(slices),
        };
        let (outcome, offered) = match slices {
            [one] => (socket.try_write(one), one.len()),
            many => {
                let offered = many.iter().map(|slice| slice.len()).sum();
                (socket.try_write_vectored(many), offered)
            }
        };
        Accepted::by(socket.as_ref(), outcome, offered)
    }

    /// Ready when the socket may accept more. Only one task may wait.
    ///
    /// # Errors
    /// The runtime is being dropped, or the connection is gone.
    #[inline]
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            WriterInner::Plain(socket) => socket.as_ref().poll_write_ready(cx),
            WriterInner::Layered(layered) => layered.poll_flushed(cx),
        }
    }

    /// Bytes accepted that the kernel has not been given yet: ciphertext. At most a little more than 64 KiB, or one frame
    /// that is sealed; with both, of each.
    #[must_use]
    pub fn sealed_bytes(&self) -> usize {
        match &self.0 {
            WriterInner::Plain(_) => 0,
            WriterInner::Layered(layered) => layered.sealed_bytes(),
        }
    }

    /// Shuts down our side of the connection; the peer may still send. Ready when the kernel has all that was accepted,
    /// and with TLS the word that nothing more comes. Nothing is accepted from the first call on.
    ///
    /// # Errors
    /// The kernel's, if the connection is gone already.
    pub fn poll_shut(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = match &self.0 {
            WriterInner::Plain(socket) => socket.as_ref(),
            WriterInner::Layered(layered) => match &**layered {
                Layered::Tls(tls) => return tls.poll_shut(cx),
                Layered::Sealed(sealed) => {
                    sealed.sealed.borrow_mut().close();
                    ready!(layered.poll_flushed(cx))?;
                    return sealed.below.poll_shut(cx);
                }
            },
        };
        Poll::Ready(SockRef::from(socket).shutdown(Shutdown::Write))
    }

    /// Drops this side, of plain TCP without a shutdown: dropping the reader closes the socket.
    #[inline]
    pub fn forget(self) {
        match self.0 {
            WriterInner::Plain(socket) => socket.forget(),
            WriterInner::Layered(layered) => match *layered {
                Layered::Tls(_) => {}
                Layered::Sealed(sealed) => sealed.below.forget(),
            },
        }
    }

    /// As [`Self::try_write`], for ciphertext. Not inlined, and not the runtime's `try_write`, which is inlined for plain
    /// sockets as long as they alone call it.
    #[inline(never)]
    fn try_send(&self, ciphertext: &[u8]) -> io::Result<Accepted> {
        let socket = match &self.0 {
            WriterInner::Plain(socket) => socket.as_ref(),
            WriterInner::Layered(layered) => {
                return layered.try_write(&[IoSlice::new(ciphertext)]);
            }
        };
        let outcome = socket.try_io(Interest::WRITABLE, || {
            SockRef::from(socket).send(ciphertext)
        });
        Accepted::by(socket, outcome, ciphertext.len())
    }
}

impl Layered {
    /// Not inlined, which keeps the flush of plain sockets small.
    #[inline(never)]
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<Accepted> {
        match self {
            Self::Tls(tls) => tls.try_write(slices),
            Self::Sealed(writer) => {
                let mut sealed = writer.sealed.borrow_mut();
                sealed.try_write(slices, |bytes| writer.below.try_send(bytes))
            }
        }
    }

    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(tls) => tls.poll_flushed(cx),
            Self::Sealed(sealed) => {
                while !sealed.flush()? {
                    ready!(sealed.below.poll_writable(cx))?;
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn sealed_bytes(&self) -> usize {
        match self {
            Self::Tls(tls) => tls.session.borrow().sealed_bytes(),
            Self::Sealed(sealed) => sealed.sealed.borrow().carried() + sealed.below.sealed_bytes(),
        }
    }
}

impl SealedWriter {
    /// Writes what the socket has not taken yet. Returns whether nothing is left, here or below.
    fn flush(&self) -> io::Result<bool> {
        let mut sealed = self.sealed.borrow_mut();
        let is_sent = sealed.flush(|bytes| self.below.try_send(bytes))?;
        Ok(is_sent && self.below.sealed_bytes() == 0)
    }
}

impl Reader {
    /// Whether its bytes are those of the socket, not TLS.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.session.is_none()
    }
}

impl AsyncRead for Reader {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { half, session } = &mut *self;
        match session {
            None => Pin::new(half).poll_read(cx, buffer),
            Some(session) => session.borrow_mut().poll_read(cx, half, buffer),
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Plain(socket) | Inner::Unsecured(socket, _) => {
                Pin::new(socket).poll_read(cx, buffer)
            }
            Inner::Tls(stream) => {
                let TlsStream { reader, writer } = &mut **stream;
                let mut session = writer.session.borrow_mut();
                session.poll_read(cx, reader, buffer)
            }
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// Ready when the kernel has all that was accepted.
    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Plain(_) | Inner::Unsecured(..) => Poll::Ready(Ok(())),
            Inner::Tls(stream) => stream.writer.poll_flushed(cx),
        }
    }

    #[inline]
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Plain(socket) | Inner::Unsecured(socket, _) => {
                Pin::new(socket).poll_shutdown(cx)
            }
            Inner::Tls(stream) => stream.writer.poll_shut(cx),
        }
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let writer = match &mut self.0 {
            Inner::Plain(socket) | Inner::Unsecured(socket, _) => {
                return Pin::new(socket).poll_write_vectored(cx, slices);
            }
            Inner::Tls(stream) => &stream.writer,
        };
        loop {
            let accepted = writer.try_write(slices)?;
            if accepted.bytes > 0 || !accepted.is_full {
                return Poll::Ready(Ok(accepted.bytes));
            }
            ready!(writer.poll_flushed(cx))?;
        }
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::path::Path;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{Config, Mode};
    use crate::net::seal::tests::Twice;

    /// Runs `test` with a client and the connection that was accepted from it.
    fn check<T: Future<Output = ()>>(test: impl FnOnce(TcpStream, Stream) -> T) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            test(client.unwrap(), Stream::new(accepted.unwrap().0, None)).await;
        });
    }

    #[test]
    fn bytes_go_both_ways_through_a_whole_stream() {
        check(|mut client, mut stream| async move {
            client.write_all(b"question").await.unwrap();
            let mut read = [0; 8];
            stream.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"question");
            assert!(stream.is_write_vectored());
            let slices = [IoSlice::new(b"an"), IoSlice::new(b"swer")];
            assert_eq!(stream.write_vectored(&slices).await.unwrap(), 6);
            stream.shutdown().await.unwrap();
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, b"answer");
        });
    }

    #[test]
    fn both_sides_of_a_split_stream_work_and_one_may_be_shut() {
        check(|mut client, stream| async move {
            let (mut reader, writer) = stream.into_split();
            poll_fn(|cx| writer.poll_writable(cx)).await.unwrap();
            assert_eq!(writer.try_write(&[IoSlice::new(b"one ")]).unwrap().bytes, 4);
            let slices = [IoSlice::new(b"two "), IoSlice::new(b"three")];
            assert_eq!(writer.try_write(&slices).unwrap().bytes, 9);
            poll_fn(|cx| writer.poll_shut(cx)).await.unwrap();
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, b"one two three");
            // The peer's side goes on.
            client.write_all(b"late").await.unwrap();
            let mut read = [0; 4];
            reader.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"late");
            writer.try_write(&[IoSlice::new(b"more")]).unwrap_err();
        });
    }

    #[test]
    fn a_full_socket_takes_bytes_again_when_its_peer_has_read() {
        check(|mut client, stream| async move {
            let (_reader, writer) = stream.into_split();
            poll_fn(|cx| writer.poll_writable(cx)).await.unwrap();
            let mut written = 0;
            loop {
                let accepted = writer.try_write(&[IoSlice::new(&[0; 64 * 1024])]).unwrap();
                written += accepted.bytes;
                if accepted.bytes == 0 {
                    assert!(accepted.is_full);
                    break;
                }
            }
            let mut read = vec![0; written];
            let writable = poll_fn(|cx| writer.poll_writable(cx));
            let (read, writable) = tokio::join!(client.read_exact(&mut read), writable);
            assert_eq!(read.unwrap(), written);
            writable.unwrap();
            let more = writer.try_write(&[IoSlice::new(b"more")]).unwrap();
            assert_eq!((more.bytes, more.is_full), (4, false));
        });
    }

    #[test]
    fn a_short_write_is_no_reason_to_try_at_once_again() {
        check(|client, stream| async move {
            let (_reader, writer) = stream.into_split();
            poll_fn(|cx| writer.poll_writable(cx)).await.unwrap();
            let large = vec![0; 64 * 1024 * 1024];
            let accepted = writer.try_write(&[IoSlice::new(&large)]).unwrap();
            assert!(accepted.bytes > 0 && accepted.is_full);
            let is_writable = poll_fn(|cx| Poll::Ready(writer.poll_writable(cx).is_ready()));
            assert!(!is_writable.await);
            drop(client);
        });
    }

    #[test]
    fn a_forgotten_writer_leaves_the_connection_open() {
        check(|mut client, stream| async move {
            let (mut reader, writer) = stream.into_split();
            writer.forget();
            client.write_all(b"x").await.unwrap();
            assert_eq!(reader.read_u8().await.unwrap(), b'x');
            let pending = client.try_read(&mut [0; 1]).unwrap_err();
            assert_eq!(pending.kind(), io::ErrorKind::WouldBlock);
            drop(reader);
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        });
    }

    #[test]
    fn the_time_to_acknowledge_can_be_changed() {
        check(|_client, stream| async move {
            let limit = Duration::from_secs(20);
            stream.limit_unacknowledged(limit).unwrap();
            let socket = SockRef::from(stream.tcp());
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(limit));
        });
    }

    /// Writes all of `plain` to a connection through a seal that doubles it, of which the first 1,000 bytes pass as they
    /// are. Its socket is full most of the time.
    async fn write_sealed(stream: Stream, plain: &[u8]) {
        SockRef::from(stream.tcp()).set_send_buffer_size(1).unwrap();
        let (_reader, writer) = stream.into_split();
        let writer = writer.sealed(Box::new(Twice), 1000);
        // It is not sealed twice.
        let writer = writer.sealed(Box::new(Twice), 1000);
        let (mut rest, mut full, mut sealed_max) = (plain, 0, 0);
        while !rest.is_empty() {
            let (one, other) = rest.split_at(rest.len() / 2);
            let slices = [IoSlice::new(one), IoSlice::new(other)];
            let accepted = writer.try_write(&slices).unwrap();
            rest = &rest[accepted.bytes..];
            sealed_max = sealed_max.max(writer.sealed_bytes());
            if accepted.is_full {
                full += 1;
                poll_fn(|cx| writer.poll_writable(cx)).await.unwrap();
            }
            assert_eq!(writer.sealed_bytes(), 0);
        }
        assert!(full > 1, "{full}");
        assert!(sealed_max < 3 * 64 * 1024, "{sealed_max}");
        poll_fn(|cx| writer.poll_shut(cx)).await.unwrap();
        writer.try_write(&[IoSlice::new(b"late")]).unwrap_err();
        writer.forget();
    }

    /// What a client gets that reads slowly at first.
    fn read_slowly(mut client: impl Read) -> Vec<u8> {
        let mut read = Vec::new();
        for _ in 0..2000 {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            read.extend(byte);
        }
        client.read_to_end(&mut read).unwrap();
        read
    }

    /// One million bytes, and what a client gets of them.
    fn plain_and_sealed() -> (Vec<u8>, Vec<u8>) {
        let plain: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8 + 1).collect();
        let (clear, rest) = plain.split_at(1000);
        let twice = rest.iter().flat_map(|&byte| [byte; 2]);
        let sealed = clear.iter().copied().chain(twice).collect();
        (plain, sealed)
    }

    #[test]
    fn a_sealed_writer_gives_a_slow_peer_all_in_order() {
        check(|client, stream| async move {
            let (plain, sealed) = plain_and_sealed();
            let client = client.into_std().unwrap();
            client.set_nonblocking(false).unwrap();
            let client = std::thread::spawn(|| read_slowly(client));
            write_sealed(stream, &plain).await;
            assert!(client.join().unwrap() == sealed);
        });
    }

    #[test]
    fn a_writer_may_be_sealed_above_tls() {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let mut settings = Config::for_mode(Mode::Demo).tls;
        settings.certificate_file = vec!["c".into()];
        settings.key_file = vec!["k".into()];
        let read = |path: &Path| match path.to_str() {
            Some("c") => Ok(cert.pem().into_bytes()),
            _ => Ok(signing_key.serialize_pem().into_bytes()),
        };
        let server = Arc::new(TlsServer::new(&settings, read).unwrap());
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("a.example").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        check(|client, stream| async move {
            let (plain, sealed) = plain_and_sealed();
            let client = client.into_std().unwrap();
            client.set_nonblocking(false).unwrap();
            let client = std::thread::spawn(|| read_slowly(StreamOwned::new(session, client)));
            let Stream(Inner::Plain(socket)) = stream else {
                unreachable!("it was accepted so")
            };
            let stream = Stream::new(socket, Some(&server));
            let (stream, _) = stream.secure(Vec::new()).await.unwrap();
            write_sealed(stream, &plain).await;
            assert!(client.join().unwrap() == sealed);
        });
    }

    #[test]
    fn the_sides_of_a_plain_stream_are_small() {
        assert_eq!(size_of::<Writer>(), size_of::<OwnedWriteHalf>());
        assert_eq!(
            size_of::<Reader>(),
            size_of::<OwnedReadHalf>() + size_of::<usize>()
        );
    }
}
