//! The body of a response, watched: a peer has to take it in time, yet a body may
//! take its own time to come.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, SizeHint};

use super::guarded::Progress;

/// A body that keeps its connection's deadline.
pub(super) struct Watched<B> {
    body: B,
    progress: Rc<Progress>,
    /// How long the peer may take for each piece of a body that comes piece by piece.
    piece_timeout: Duration,
    /// How long the connection may be idle after the body.
    idle_timeout: Duration,
}

/// As good as never.
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

    /// Asked for the next piece when the connection has room for it, which is a few
    /// pieces.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = &mut *self;
        // Until there is something to take, nobody can be late.
        this.progress.deadline.set(Instant::now() + NEVER);
        let piece = ready!(Pin::new(&mut this.body).poll_frame(cx));
        // Nobody asks again behind the last piece.
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
