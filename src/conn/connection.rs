//! What the tasks of all connections have in common: the session, the close, and the release of what the connection holds.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::quota::Quota;
use super::record::Record;
use super::records::Records;
use super::session::Session;
use crate::id::PeerId;
use crate::metrics::DialectId;
use crate::net::Reader;
use crate::shard::{Disconnect, Shard};

/// A connection, for its task. Dropping it removes it from the shard.
pub(super) struct Connection {
    pub(super) shard: Rc<Shard>,
    pub(super) peer: PeerId,
    pub(super) phase: ConnectionPhase,
    reader: Reader,
    records: Rc<Records>,
    /// Its protocol, if connections are counted by it.
    dialect: Option<DialectId>,
    /// The close timeout, once the close has begun.
    closing: Option<Pin<Box<Sleep>>>,
    /// Who began the close; `None` before, and once its last frame has been written.
    closed_by: Option<ClosedBy>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClosedBy {
    Us,
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionPhase {
    Open,
    /// The last frame is queued; input is discarded.
    Closing,
    /// The last frame is queued; the peer has shut down its writing side.
    PeerHalfClosed,
    /// The last frame has been written and our writing side is shut down.
    Shut,
}

impl Connection {
    /// A connection that has joined its shard.
    pub(super) fn new(
        shard: &Rc<Shard>,
        records: Rc<Records>,
        (peer, reader): (PeerId, Reader),
        mut record: Box<Record>,
    ) -> Self {
        if let Some(lease) = record.lease.take() {
            shard.lease(peer, lease);
        }
        let info = record.info.take();
        let name = info.as_ref().map(|info| info.endpoint.0);
        let dialect = name.and_then(|name| shard.process.registered.dialect(name));
        if let Some(info) = info {
            shard.set_info(peer, info);
        }
        records.put(peer.slot, record);
        Self {
            shard: shard.clone(),
            peer,
            phase: ConnectionPhase::Open,
            reader,
            records,
            dialect,
            closing: None,
            closed_by: None,
        }
    }

    /// Tells applications that the connection has begun, if there is anything to tell.
    pub(super) fn announce(&self, announcement: &[u8]) {
        if !announcement.is_empty() {
            self.shard.tell_connect(self.peer, announcement);
        }
    }

    /// Counts a message of the client.
    pub(super) fn count_message(&self) {
        let counters = &self.shard.counters;
        counters.messages_in.add(1);
        if let Some(dialect) = self.dialect {
            counters.of_dialect(dialect).messages_in.add(1);
        }
    }

    /// Lends `act` the session.
    pub(super) fn with_session<T>(
        &self,
        act: impl FnOnce(&mut dyn Session, &Shard, PeerId) -> T,
    ) -> T {
        let mut record = self.take_record();
        let done = act(&mut *record.session, &self.shard, self.peer);
        self.put_record(record);
        done
    }

    /// Takes the record, until [`Self::put_record`].
    pub(super) fn take_record(&self) -> Box<Record> {
        let record = self.records.take(self.peer.slot);
        record.expect("it is there as long as the connection")
    }

    pub(super) fn put_record(&self, record: Box<Record>) {
        self.records.put(self.peer.slot, record);
    }

    /// Reads into `buffer`. Returns the number of bytes; 0 is EOF, or a socket that failed.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        let mut buffer = ReadBuf::new(buffer);
        let outcome = ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer));
        Poll::Ready(match outcome {
            Ok(()) => buffer.filled().len(),
            Err(error) => {
                self.shard.note_detail(self.peer, &error.kind().to_string());
                0
            }
        })
    }

    /// Ready when the connection is over: its socket has failed, all is written and the peer has closed or begun to, or
    /// the close timeout has passed. Shuts our writing side down when the last frame has been written.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(Err(_)) = self.shard.poll_unblocked(self.peer, cx) {
            self.note_end(Disconnect::Gone);
            return Poll::Ready(());
        }
        let is_closing = matches!(
            self.phase,
            ConnectionPhase::Closing | ConnectionPhase::PeerHalfClosed
        );
        if is_closing && self.shard.is_drained(self.peer) {
            match self.closed_by.take() {
                Some(ClosedBy::Us) => {
                    self.with_session(|session, shard, peer| session.drained(shard, peer));
                }
                // It sends nothing after its close frame that would be lost, discards what it is sent, and waits for
                // the end (RFC 6455 section 7.1.1). With TLS it says one thing more, to which a closed socket would
                // answer by a reset.
                Some(ClosedBy::Client) if self.reader.is_plain() => return Poll::Ready(()),
                _ => {}
            }
            if self.shard.poll_shut(self.peer, cx).is_ready() {
                if self.phase == ConnectionPhase::PeerHalfClosed {
                    return Poll::Ready(());
                }
                self.phase = ConnectionPhase::Shut;
            }
        }
        match &mut self.closing {
            Some(timeout) => timeout.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Begins to close: queues the last frame. The peer has `websocket.close_timeout` to close its side. Returns whether the
    /// close had not begun before.
    pub(super) fn begin_close(&mut self, why: Disconnect) -> bool {
        if self.phase != ConnectionPhase::Open {
            return false;
        }
        self.phase = ConnectionPhase::Closing;
        self.records.deliver_outcomes_to(&self.shard, self.peer);
        let mut record = self.take_record();
        // The seat is free from here on, so that the client may reconnect before this socket is closed.
        record.quota = Quota::default();
        record.session.end(&self.shard, self.peer);
        self.put_record(record);
        self.closed_by = Some(match why.is_by_client() {
            true => ClosedBy::Client,
            false => ClosedBy::Us,
        });
        self.shard.begin_close(self.peer, why);
        let deadline = Instant::now() + self.shard.config.websocket.close_timeout;
        self.closing = Some(Box::pin(sleep_until(deadline)));
        true
    }

    /// Counts the end of a socket, unless the close has begun and was counted.
    pub(super) fn note_end(&mut self, why: Disconnect) {
        if self.phase == ConnectionPhase::Open {
            self.phase = ConnectionPhase::Shut;
            self.with_session(|session, shard, peer| session.end(shard, peer));
            self.shard.note_end(self.peer, why);
        }
    }
}

impl Drop for Connection {
    /// Removes the connection from the shard, also if the task panicked or was cancelled.
    fn drop(&mut self) {
        self.note_end(Disconnect::Internal);
        // Before the socket is closed: a client that sees EOF no longer counts toward limits.
        drop(self.records.take(self.peer.slot));
        self.shard.leave(self.peer);
    }
}
