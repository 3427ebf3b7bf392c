//! The task of an SSE connection: waits for either side to close it. It writes nothing; the shard's flush does.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::claim::StreamClaim;
use super::session::{Flow, Session};
use super::session_table::SessionTable;
use crate::id::PeerId;
use crate::net::{Reader, Stream};
use crate::process::{ConnectionSlot, Seat};
use crate::shard::{Disconnect, Shard};

/// Bytes that a client may send after its request. They are discarded; a client that sends more is disconnected.
const IGNORED_BYTES_MAX: usize = 64 * 1024;

/// Starts the stream that `claim` describes. `rest`: bytes received after the request.
pub(super) fn start(
    shard: &Rc<Shard>,
    sessions: Rc<SessionTable>,
    claim: StreamClaim,
    stream: Stream,
    rest: &[u8],
) {
    let config = &shard.config;
    // A live peer's kernel acknowledges each heartbeat, so an unacknowledged one means that the peer is gone.
    let unacknowledged_max = config.sse.heartbeat + config.websocket.ping_timeout;
    if stream.limit_unacknowledged(unacknowledged_max).is_err() {
        return;
    }
    let (reader, writer) = stream.into_split();
    let peer = shard.join_stream(claim.format, writer);
    if let Some(lease) = claim.lease {
        shard.lease(peer, lease);
    }
    sessions.put(peer.slot, claim.session);
    let mut driver = StreamDriver {
        shard: shard.clone(),
        sessions,
        peer,
        reader,
        ignored: rest.len(),
        phase: StreamPhase::Open,
        closing: None,
        _slot: claim.slot,
        seat: Some(claim.seat),
    };
    let mut begun = Flow::Continue;
    driver.with_session(|session| begun = session.begin(shard, peer));
    if let Flow::End(why) = begun {
        driver.begin_close(why);
    }
    tokio::task::spawn_local(driver);
}

struct StreamDriver {
    shard: Rc<Shard>,
    /// Holds this connection's session.
    sessions: Rc<SessionTable>,
    peer: PeerId,
    reader: Reader,
    /// Bytes discarded.
    ignored: usize,
    phase: StreamPhase,
    /// The close timeout, once the close has begun.
    closing: Option<Pin<Box<Sleep>>>,
    _slot: ConnectionSlot,
    /// Released when the close begins.
    seat: Option<Seat>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StreamPhase {
    Open,
    /// What is queued is still written; nothing more is queued.
    Closing,
    /// Our writing side is shut down.
    Shut,
}

impl Future for StreamDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.shard.clock.refresh();
        loop {
            if let Some(why) = this.shard.take_disconnect(this.peer, cx.waker()) {
                if matches!(why, Disconnect::Gone | Disconnect::Slow) {
                    // Closed at once, without flushing: a slow client reconnects and resumes from its cursor.
                    this.note_end(why);
                    return Poll::Ready(());
                }
                this.begin_close(why);
            }
            if let Poll::Ready(Err(_)) = this.shard.poll_unblocked(this.peer, cx) {
                this.note_end(Disconnect::Gone);
                return Poll::Ready(());
            }
            if this.phase == StreamPhase::Closing && this.shard.is_drained(this.peer) {
                this.shard.shut(this.peer);
                this.phase = StreamPhase::Shut;
            }
            if let Some(sleep) = &mut this.closing
                && sleep.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(());
            }
            match ready!(this.read(cx)) {
                0 => {
                    this.note_end(Disconnect::Gone);
                    return Poll::Ready(());
                }
                read => this.ignored = this.ignored.saturating_add(read),
            }
            if this.ignored > IGNORED_BYTES_MAX {
                this.begin_close(Disconnect::Unsupported);
            }
        }
    }
}

impl StreamDriver {
    /// Lends `act` the stream's session.
    fn with_session(&self, act: impl FnOnce(&mut dyn Session)) {
        let session = self.sessions.take(self.peer.slot);
        let mut session = session.expect("it is there as long as the connection");
        act(&mut *session);
        self.sessions.put(self.peer.slot, session);
    }

    /// Discards input. Returns its length; 0 is EOF.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let shard = &self.shard;
        shard.with_scratch(|scratch, _| {
            let mut buffer = ReadBuf::new(scratch);
            let outcome = ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer));
            let read = outcome.map_or(0, |()| buffer.filled().len());
            shard.counters.bytes_in.add(read as u64);
            Poll::Ready(read)
        })
    }

    /// Begins to close: what is queued is still written, and the client has `websocket.close_timeout` to close its
    /// side.
    fn begin_close(&mut self, why: Disconnect) {
        if self.phase == StreamPhase::Open {
            self.phase = StreamPhase::Closing;
            drop(self.seat.take());
            self.sessions.deliver_outcomes_to(&self.shard, self.peer);
            self.with_session(|session| session.end(&self.shard, self.peer));
            self.shard.begin_close(self.peer, why);
            let deadline = Instant::now() + self.shard.config.websocket.close_timeout;
            self.closing = Some(Box::pin(sleep_until(deadline)));
        }
    }

    /// Counts the end of a connection, unless the close has begun and was counted.
    fn note_end(&mut self, why: Disconnect) {
        if self.phase == StreamPhase::Open {
            self.phase = StreamPhase::Shut;
            self.shard.counters.disconnects[why.index()].add(1);
        }
    }
}

impl Drop for StreamDriver {
    /// Removes the connection from the shard, also if the task panicked or was cancelled.
    fn drop(&mut self) {
        if self.phase == StreamPhase::Open {
            self.shard.counters.disconnects[Disconnect::Internal.index()].add(1);
        }
        if let Some(mut session) = self.sessions.take(self.peer.slot) {
            session.end(&self.shard, self.peer);
        }
        // Before the socket is closed: a client that sees EOF no longer counts toward limits.
        drop(self.seat.take());
        self.shard.leave(self.peer);
    }
}
