//! A response body with a write deadline: the peer has to take each piece in time, while the handler may take any time
//! to produce it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, SizeHint};

use super::guarded::Progress;

/// A body that sets its connection's deadline as it is sent.
pub(super) struct Watched<B> {
    body: B,
    progress: Rc<Progress>,
    /// The time that the peer has to take one piece of a streamed body.
    piece_timeout: Duration,
    /// The keep-alive timeout after the body.
    idle_timeout: Duration,
}

/// A deadline that is not reached: a year.
const NEVER: Duration = Duration::from_hours(24 * 365);

impl<B> Watched<B> {
    pub(super) fn new(
        body: B,
        progress: Rc<Progress>,
        piece_timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        progress.idle.set(true);
        progress.deadline.set(Instant::now() + idle_timeout);
        Self {
            body,
            progress,
            piece_timeout,
            idle_timeout,
        }
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.progress.answering.set(false);
        self.progress.busy.set(false);
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    /// Called by hyper when its write buffer, of a few pieces, has room for the next one.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = &mut *self;
        // No deadline for the peer while the handler produces the next piece.
        this.progress.deadline.set(Instant::now() + NEVER);
        let piece = ready!(Pin::new(&mut this.body).poll_frame(cx));
        // Not polled again after the last piece.
        let timeout = match piece.is_some() && !this.body.is_end_stream() {
            true => this.piece_timeout,
            false => this.idle_timeout,
        };
        this.progress.deadline.set(Instant::now() + timeout);
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
