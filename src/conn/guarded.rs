//! The socket that hyper reads from: request heads are passed on whole, after `http/guard.rs` has checked them.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::{Guard, GuardLimits, HeadError};
use crate::net::Stream;
use crate::process::Reservation;

/// State of one HTTP connection, shared by its socket, its response body and its task.
#[derive(Debug)]
pub(super) struct Progress {
    /// When the connection times out. Moved with each request, response and idle period.
    pub(super) deadline: Cell<Instant>,
    /// The request being read is the last one of the connection.
    pub(super) last: Cell<bool>,
    /// The connection waits for the next request.
    pub(super) idle: Cell<bool>,
    /// The router is answering a request: the connection is not evicted for newer ones.
    pub(super) answering: Cell<bool>,
    /// A request is being processed, or its response is being written.
    pub(super) busy: Cell<bool>,
    /// A complete next request was withheld from hyper while `busy`: hyper has to be polled again.
    pub(super) withheld: Cell<bool>,
    /// The request being read is not complete.
    pub(super) in_request: Cell<bool>,
    /// The budget that the response being written has reserved.
    pub(super) answer: RefCell<Option<Reservation>>,
    /// Why the guard refused the request head; hyper was not given it.
    pub(super) refused: Cell<Option<HeadError>>,
}

impl Progress {
    /// The state of a connection whose first request is due at `deadline`.
    pub(super) fn until(deadline: Instant) -> Self {
        Self {
            deadline: Cell::new(deadline),
            last: Cell::new(false),
            idle: Cell::new(false),
            answering: Cell::new(false),
            busy: Cell::new(false),
            withheld: Cell::new(false),
            in_request: Cell::new(false),
            answer: RefCell::new(None),
            refused: Cell::new(None),
        }
    }
}

/// A socket behind its guard.
#[derive(Debug)]
pub(super) struct Guarded {
    stream: Stream,
    guard: Guard,
    progress: Rc<Progress>,
    head_timeout: Duration,
}

/// Bytes per read before a connection is claimed.
pub(super) const READ_BYTES: usize = 16 * 1024;

impl Guarded {
    /// A socket from which `begun` has been read already.
    pub(super) fn new(
        stream: Stream,
        begun: &[u8],
        limits: GuardLimits,
        progress: Rc<Progress>,
        head_timeout: Duration,
    ) -> Self {
        let mut guard = Guard::new(limits);
        guard.take(begun);
        Self {
            stream,
            guard,
            progress,
            head_timeout,
        }
    }

    /// The socket, and the bytes that hyper has not been given.
    pub(super) fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.guard.into_rest())
    }
}

impl Read for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            // hyper reads ahead, and would fail the current request for an error in the next one. So the next one is
            // withheld until the current one is answered. After an upgrade these bytes are frames.
            if this.progress.busy.get() && this.guard.holds_next() {
                this.progress.withheld.set(true);
                return Poll::Pending;
            }
            match this.guard.pass() {
                Err(error) => {
                    this.progress.refused.set(Some(error));
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                Ok(Some(passed)) => {
                    if passed.last {
                        this.progress.last.set(true);
                    }
                    let bytes = passed.bytes.min(buffer.remaining());
                    buffer.put_slice(this.guard.give(bytes));
                    this.progress.in_request.set(this.guard.is_in_request());
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => {}
            }
            let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut read = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            if this.progress.idle.replace(false) {
                this.progress
                    .deadline
                    .set(Instant::now() + this.head_timeout);
            }
            this.guard.take(read.filled());
        }
    }
}

impl Write for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// hyper calls this when the response has been written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.progress.answer.take();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
