//! The task of a connection that reads a stream of events: it waits for the
//! peer's end and for ours. It writes nothing; the flusher does.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::claim::StreamClaim;
use super::record::Records;
use super::session::{Flow, Session};
use crate::id::PeerId;
use crate::net::{Reader, Stream};
use crate::process::{ConnectionSlot, Seat};
use crate::shard::{Disconnect, Shard};

/// Bytes that a client may send behind its request, which nobody looks at.
const IGNORED_BYTES_MAX: usize = 64 * 1024;

/// Begins the stream that `claim` describes. `rest` is what the peer sent behind
/// its request.
pub(super) fn start(
    shard: &Rc<Shard>,
    records: Rc<Records>,
    claim: StreamClaim,
    stream: Stream,
    rest: &[u8],
) {
    let config = &shard.config;
    // A heartbeat is acknowledged by the peer's kernel as soon as it arrives.
    let unacknowledged_max = config.sse.heartbeat + config.websocket.ping_timeout;
    if stream.limit_unacknowledged(unacknowledged_max).is_err() {
        return;
    }
    let (reader, writer) = stream.into_split();
    let peer = shard.join_stream(claim.format, writer);
    if let Some(lease) = claim.lease {
        shard.lease(peer, lease);
    }
    records.put(peer.slot, claim.session);
    let mut driver = StreamDriver {
        shard: shard.clone(),
        records,
        peer,
        reader,
        ignored: rest.len(),
        phase: StreamPhase::Open,
        closing: None,
        _place: claim.place,
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
    /// Where the session is.
    records: Rc<Records>,
    peer: PeerId,
    reader: Reader,
    /// Bytes that came and were thrown away.
    ignored: usize,
    phase: StreamPhase,
    /// When the peer is not waited for any longer.
    closing: Option<Pin<Box<Sleep>>>,
    _place: ConnectionSlot,
    /// Given back when the end begins.
    seat: Option<Seat>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StreamPhase {
    Open,
    /// What is queued goes out; nothing follows.
    Closing,
    /// Our side is shut.
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
                    // A socket that takes nothing is not waited for: the client
                    // comes back and goes on where it was.
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
        let session = self.records.take(self.peer.slot);
        let mut session = session.expect("it is there as long as the connection");
        act(&mut *session);
        self.records.put(self.peer.slot, session);
    }

    /// Reads what the client says, to no purpose; 0 at the end of it.
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

    /// Begins the end: what is queued goes out, and the client has a while to
    /// leave.
    fn begin_close(&mut self, why: Disconnect) {
        if self.phase == StreamPhase::Open {
            self.phase = StreamPhase::Closing;
            drop(self.seat.take());
            self.records.tell_peer(&self.shard, self.peer);
            self.with_session(|session| session.end(&self.shard, self.peer));
            self.shard.begin_close(self.peer, why);
            let deadline = Instant::now() + self.shard.config.websocket.close_timeout;
            self.closing = Some(Box::pin(sleep_until(deadline)));
        }
    }

    /// The connection has ended; counted unless the end had begun before.
    fn note_end(&mut self, why: Disconnect) {
        if self.phase == StreamPhase::Open {
            self.phase = StreamPhase::Shut;
            self.shard.counters.disconnects[why.index()].add(1);
        }
    }
}

impl Drop for StreamDriver {
    /// Whatever happened, the shard forgets the connection.
    fn drop(&mut self) {
        if self.phase == StreamPhase::Open {
            self.shard.counters.disconnects[Disconnect::Internal.index()].add(1);
        }
        if let Some(mut session) = self.records.take(self.peer.slot) {
            session.end(&self.shard, self.peer);
        }
        // Before the socket goes, so that a client that sees its end is not counted.
        drop(self.seat.take());
        self.shard.leave(self.peer);
    }
}
