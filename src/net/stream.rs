//! The sockets of accepted connections, whole and split: plain TCP.
//!
//! No module outside of `net` uses the runtime's socket types. Methods call those of the inner socket.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// An accepted connection.
#[derive(Debug)]
pub struct Stream(pub(super) TcpStream);

/// The reading side of a [`Stream`].
#[derive(Debug)]
pub struct Reader(OwnedReadHalf);

/// The writing side of a [`Stream`]. Dropping it shuts down our side of the connection.
#[derive(Debug)]
pub struct Writer(OwnedWriteHalf);

impl Stream {
    /// The two sides. The socket is closed when both are dropped.
    #[inline]
    #[must_use]
    pub fn into_split(self) -> (Reader, Writer) {
        let (reader, writer) = self.0.into_split();
        (Reader(reader), Writer(writer))
    }

    /// Replaces the listener's [`Tuning::unacknowledged_max`](super::Tuning::unacknowledged_max).
    ///
    /// # Errors
    /// The kernel's, if the peer is gone already.
    pub fn limit_unacknowledged(&self, max: Duration) -> io::Result<()> {
        SockRef::from(&self.0).set_tcp_user_timeout(Some(max))
    }
}

impl Writer {
    /// Writes as much as fits into the socket's buffer.
    ///
    /// # Errors
    /// `WouldBlock` if the buffer is full; the kernel's if the connection is gone.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// As [`Self::try_write`], from several slices in one system call.
    ///
    /// # Errors
    /// As [`Self::try_write`].
    #[inline]
    pub fn try_write_vectored(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    /// Ready when the socket may be writable. Only one task may wait.
    ///
    /// # Errors
    /// The runtime is being dropped.
    #[inline]
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_ref().poll_write_ready(cx)
    }

    /// Shuts down our side of the connection; the peer may still send.
    ///
    /// # Errors
    /// The kernel's, if the connection is gone already.
    pub fn shut(&self) -> io::Result<()> {
        SockRef::from(self.0.as_ref()).shutdown(Shutdown::Write)
    }

    /// Drops this side without a shutdown: dropping the reader closes the socket.
    #[inline]
    pub fn forget(self) {
        self.0.forget();
    }
}

impl AsyncRead for Reader {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    #[inline]
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bytes)
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

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
            test(client.unwrap(), Stream(accepted.unwrap().0)).await;
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
            poll_fn(|cx| writer.poll_write_ready(cx)).await.unwrap();
            assert_eq!(writer.try_write(b"one ").unwrap(), 4);
            let slices = [IoSlice::new(b"two "), IoSlice::new(b"three")];
            assert_eq!(writer.try_write_vectored(&slices).unwrap(), 9);
            writer.shut().unwrap();
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, b"one two three");
            // The peer's side goes on.
            client.write_all(b"late").await.unwrap();
            let mut read = [0; 4];
            reader.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"late");
            writer.try_write(b"more").unwrap_err();
        });
    }

    #[test]
    fn a_full_socket_takes_bytes_again_when_its_peer_has_read() {
        check(|mut client, stream| async move {
            let (_reader, writer) = stream.into_split();
            poll_fn(|cx| writer.poll_write_ready(cx)).await.unwrap();
            let mut written = 0;
            let full = loop {
                match writer.try_write(&[0; 64 * 1024]) {
                    Ok(bytes) => written += bytes,
                    Err(error) => break error,
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
            let mut read = vec![0; written];
            let writable = poll_fn(|cx| writer.poll_write_ready(cx));
            let (read, writable) = tokio::join!(client.read_exact(&mut read), writable);
            assert_eq!(read.unwrap(), written);
            writable.unwrap();
            assert_eq!(writer.try_write(b"more").unwrap(), 4);
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
            let socket = SockRef::from(&stream.0);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(limit));
        });
    }

    #[test]
    fn a_stream_is_as_large_as_its_socket() {
        assert_eq!(size_of::<Stream>(), size_of::<TcpStream>());
        assert_eq!(size_of::<Reader>(), size_of::<OwnedReadHalf>());
        assert_eq!(size_of::<Writer>(), size_of::<OwnedWriteHalf>());
    }
}
