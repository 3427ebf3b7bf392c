//! The task of an SSE connection: waits for either side to close it. It writes nothing; the shard's flush does.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::claim::{Received, StreamClaim};
use super::connection::Connection;
use super::driver::{DISCARDED_BYTES_MAX, reschedule};
use super::records::Records;
use super::session::Flow;
use crate::net::Stream;
use crate::shard::{Disconnect, Shard};

/// Bytes that a client may send after its request. They are discarded; a client that sends more is disconnected.
const IGNORED_BYTES_MAX: usize = 64 * 1024;

/// Starts the stream that `claim` describes.
pub(super) fn start(
    shard: &Rc<Shard>,
    records: Rc<Records>,
    claim: StreamClaim,
    stream: Stream,
    received: &Received,
) {
    // A live peer's kernel acknowledges each heartbeat, so an unacknowledged one means that the peer is gone.
    let unacknowledged_max = claim.heartbeat + shard.config.websocket.ping_timeout;
    if stream.limit_unacknowledged(unacknowledged_max).is_err() {
        return;
    }
    let (reader, writer) = stream.into_split();
    let StreamClaim { heartbeat, record } = claim;
    let peer = shard.join_stream(record.format, record.user, heartbeat, writer);
    let mut connection = Connection::new(shard, records, (peer, reader), Box::new(record));
    connection.announce(&received.announcement);
    let begun = connection.with_session(|session, shard, peer| session.begin(shard, peer));
    if let Flow::End(why) = begun {
        connection.begin_close(why);
    }
    tokio::task::spawn_local(StreamDriver {
        connection,
        ignored: received.rest.len(),
    });
}

struct StreamDriver {
    connection: Connection,
    /// Bytes discarded.
    ignored: usize,
}

impl Future for StreamDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            connection,
            ignored,
        } = &mut *self;
        let shard = connection.shard.clone();
        shard.clock.refresh();
        loop {
            if let Some(why) = shard.take_disconnect(connection.peer, cx.waker()) {
                if matches!(why, Disconnect::Gone | Disconnect::Slow) {
                    // Closed at once, without flushing: a slow client reconnects and resumes from its cursor.
                    connection.note_end(why);
                    return Poll::Ready(());
                }
                connection.begin_close(why);
            }
            if connection.poll_end(cx).is_ready() {
                return Poll::Ready(());
            }
            // No longer read, the client is stopped by its TCP window until it is closed.
            if *ignored > DISCARDED_BYTES_MAX {
                return Poll::Pending;
            }
            let (read, is_full) = ready!(shard.with_scratch(|scratch, _| {
                let read = connection.poll_read(cx, scratch);
                read.map(|read| (read, read == scratch.len()))
            }));
            if read == 0 {
                connection.note_end(Disconnect::Gone);
                return Poll::Ready(());
            }
            shard.counters.bytes_in.add(read as u64);
            *ignored += read;
            if *ignored > IGNORED_BYTES_MAX {
                connection.begin_close(Disconnect::Unsupported);
            }
            if is_full {
                // One buffer of input per turn.
                reschedule(cx);
                return Poll::Pending;
            }
        }
    }
}
