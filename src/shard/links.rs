//! The sockets of a shard by slot, with their timestamps: the flush writes to them, the ticker checks them.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::num::{NonZeroU32, NonZeroU64};
use std::task::{Context, Poll, Waker};

use super::info::ConnectionInfo;
use crate::auth::KeySerial;

use super::Disconnect;
use crate::engine::hub::{Sink, Written};
use crate::id::{PeerId, Slot};
use crate::metrics::{CounterRegistry, Counters, DIALECTS_MAX, DialectId};
use crate::net::{Seal, Writer};

/// The writing side of one connection, with its timestamps and state.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) transport: Transport,
    writer: Writer,
    /// The upgrade response, while it is held back. Nothing is written before it.
    #[expect(
        clippy::box_collection,
        reason = "most have none: a pointer less in each"
    )]
    pub(super) head: Option<Box<Vec<u8>>>,
    /// The peer is not read from: its outbox is full, or there is no room for its publications.
    pub(super) is_paused: bool,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// Why the connection has to end, until its task takes it.
    pub(super) disconnect: Option<Disconnect>,
    pub(super) life: Life,
    /// What operators are told; `None` until the connection begins.
    pub(super) info: Option<Box<ConnectionInfo>>,
    /// Its protocol, once that is known, if it is counted by it.
    dialect: Option<DialectId>,
    /// Bytes received.
    pub(super) received: u64,
    /// Bytes sent.
    pub(super) sent: u64,
}

/// The protocol on the socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transport {
    /// WebSocket.
    WebSocket {
        /// The server's compression window; `None` without compression.
        window_bits: Option<u8>,
        /// How often its session is asked to say that the gateway lives, in tenths of a second; 0: never.
        beat_tenths: u16,
    },
    /// Server-Sent Events.
    Sse {
        /// Time without a write before a comment is sent, in tenths of a second, which keeps connections small.
        heartbeat_tenths: u16,
    },
}

/// When a connection last did what its deadlines count from, in milliseconds of the shard's clock.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Life {
    /// When bytes were last received.
    pub(super) received: u64,
    /// When the last ping was sent, if nothing was received since.
    pub(super) pinged: Option<Since>,
    /// When the incomplete message began.
    pub(super) unfinished: Option<Since>,
    /// When the close frame was queued.
    pub(super) closing: Option<Since>,
    /// When its token expires, if it has one.
    pub(super) lease: Option<Lease>,
}

/// A time in milliseconds of the shard's clock. `Option<Since>` takes eight bytes, which keeps connections small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Since(NonZeroU64);

impl Since {
    pub(super) fn new(ms: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(ms))
    }

    pub(super) fn ms(self) -> u64 {
        self.0.get() - 1
    }
}

/// How long a connection's token is valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// When the token expires, in seconds since the Unix epoch; those of the year 2106 and later are the last one.
    pub until: NonZeroU32,
    /// The key that signed it: the token is invalid once this key is removed.
    pub key: KeySerial,
}

/// Whether received bytes end within a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfinished {
    /// They end between messages.
    Nothing,
    /// They end within a message, and another one ended in them.
    New,
    /// They end within a message, and no other one ended in them.
    Same,
}

/// The sockets of a shard.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: Vec<Option<Box<Link>>>,
    open: OpenCount,
    /// The same by protocol, of connections that have begun.
    open_by_dialect: [u64; DIALECTS_MAX],
    /// It is not what [`Self::changed_by_dialect`] has told last.
    is_changed: Cell<bool>,
    writes: u64,
    writes_short: u64,
    bytes_out: u64,
}

/// The number of connections that are not closing, which is what clients can know.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct OpenCount {
    /// All of them.
    pub(super) connections: u64,
    /// SSE connections.
    pub(super) streams: u64,
}

impl Links {
    pub(super) fn insert(
        &mut self,
        peer: PeerId,
        writer: Writer,
        transport: Transport,
        now_ms: u64,
    ) {
        let index = peer.slot.index();
        if self.links.len() <= index {
            self.links.resize_with(index + 1, || None);
        }
        let life = Life {
            received: now_ms,
            ..Life::default()
        };
        self.open.connections += 1;
        self.open.streams += u64::from(matches!(transport, Transport::Sse { .. }));
        self.links[index] = Some(Box::new(Link {
            peer,
            transport,
            writer,
            head: None,
            is_paused: false,
            waker: None,
            disconnect: None,
            life,
            info: None,
            dialect: None,
            received: 0,
            sent: 0,
        }));
    }

    pub(super) fn remove(&mut self, peer: PeerId) {
        self.begin_close(peer, 0);
        if self.get(peer).is_some()
            && let Some(link) = self.links[peer.slot.index()].take()
        {
            // Dropping the reader closes the socket, so no shutdown is needed.
            link.writer.forget();
        }
    }

    /// Has what is written to a WebSocket peer pass through `seal`, but for the first `clear` bytes, and nothing that is
    /// sent to it alone is compressed any more.
    pub(super) fn seal(&mut self, peer: PeerId, seal: Box<dyn Seal>, clear: usize) {
        let is_meant = |link: &mut Box<Link>| {
            link.peer == peer && matches!(link.transport, Transport::WebSocket { .. })
        };
        let Some(place) = self.links.get_mut(peer.slot.index()) else {
            return;
        };
        let Some(link) = place.take_if(is_meant) else {
            return;
        };
        let mut link = *link;
        if let Transport::WebSocket { window_bits, .. } = &mut link.transport {
            *window_bits = None;
        }
        *place = Some(Box::new(Link {
            writer: link.writer.sealed(seal, clear),
            ..link
        }));
    }

    /// Marks a connection as closing. It is no longer counted as open.
    pub(super) fn begin_close(&mut self, peer: PeerId, now_ms: u64) {
        let Some(link) = self
            .get_mut(peer)
            .filter(|link| link.life.closing.is_none())
        else {
            return;
        };
        link.life.closing = Some(Since::new(now_ms));
        let dialect = link.dialect;
        let is_stream = matches!(link.transport, Transport::Sse { .. });
        self.open.connections -= 1;
        self.open.streams -= u64::from(is_stream);
        if let Some(dialect) = dialect {
            self.open_by_dialect[dialect.index()] -= 1;
            self.is_changed.set(true);
        }
    }

    /// Sets what operators are told of a connection, which has begun.
    pub(super) fn set_info(
        &mut self,
        peer: PeerId,
        info: Box<ConnectionInfo>,
        dialect: Option<DialectId>,
    ) {
        let Some(link) = self.get_mut(peer) else {
            return;
        };
        link.info = Some(info);
        if link.life.closing.is_some() || link.dialect.is_some() {
            return;
        }
        link.dialect = dialect;
        if let Some(dialect) = dialect {
            self.open_by_dialect[dialect.index()] += 1;
            self.is_changed.set(true);
        }
    }

    /// The connections that have begun and are not closing, by the number of their protocol, if they are others than when
    /// this was last asked.
    pub(super) fn changed_by_dialect(&self) -> Option<&[u64; DIALECTS_MAX]> {
        self.is_changed.take().then_some(&self.open_by_dialect)
    }

    pub(super) fn open(&self) -> OpenCount {
        self.open
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Link> {
        self.links
            .get(peer.slot.index())?
            .as_deref()
            .filter(|link| link.peer == peer)
    }

    pub(super) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Link> {
        self.links
            .get_mut(peer.slot.index())?
            .as_deref_mut()
            .filter(|link| link.peer == peer)
    }

    /// Adds the writes since the last call to `counters`.
    pub(super) fn count_into(&mut self, counters: &Counters) {
        counters.writes.add(std::mem::take(&mut self.writes));
        counters
            .writes_short
            .add(std::mem::take(&mut self.writes_short));
        counters.bytes_out.add(std::mem::take(&mut self.bytes_out));
    }

    /// The connections from slot `from` on that are not closing, with their slots.
    pub(super) fn iter_from(&self, from: usize) -> impl Iterator<Item = (usize, &Link)> {
        let behind = self.links.iter().enumerate().skip(from);
        let present = behind.filter_map(|(slot, link)| Some((slot, link.as_deref()?)));
        present.filter(|(_, link)| link.life.closing.is_none())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.iter_mut().filter_map(|link| link.as_deref_mut())
    }
}

impl Link {
    pub(super) fn watch(&mut self, waker: &Waker) {
        if !self
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            self.waker = Some(waker.clone());
        }
    }

    /// The close code and reason that its client is told, if it can be.
    pub(super) fn close_of(
        &self,
        why: Disconnect,
        registry: &CounterRegistry,
    ) -> Option<(u16, &'static str)> {
        let protocol = self.info.as_deref().map_or("", |info| info.endpoint.0);
        why.close_in(registry, protocol)
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Shuts down the writing side. An error is ignored: the reader sees that the socket is gone.
    pub(super) fn poll_shut(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.writer.poll_shut(cx).map(drop)
    }

    /// Ready when a full socket may accept more. Also says whether it has taken bytes that it had accepted.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> (Poll<io::Result<()>>, bool) {
        let sealed = self.writer.sealed_bytes();
        let ready = self.writer.poll_writable(cx);
        (ready, self.writer.sealed_bytes() < sealed)
    }
}

impl Sink for Links {
    fn write(&mut self, slot: Slot, bytes: &[IoSlice<'_>]) -> Written {
        let Some(link) = self
            .links
            .get_mut(slot.index())
            .and_then(|link| link.as_deref_mut())
        else {
            return Written::Gone;
        };
        self.writes += 1;
        let Ok(accepted) = link.writer.try_write(bytes) else {
            return Written::Gone;
        };
        self.bytes_out += accepted.bytes as u64;
        link.sent += accepted.bytes as u64;
        // The connection's task waits for the socket to become writable or, when closing, for the last bytes to be
        // written.
        if accepted.is_full {
            self.writes_short += 1;
            link.wake();
            return Written::Full(accepted.bytes);
        }
        if link.life.closing.is_some() {
            link.wake();
        }
        Written::Bytes(accepted.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::net::{Families, Tuning, listen};

    /// Doubles every byte, and takes no zero.
    #[derive(Debug)]
    struct Twice;

    impl Seal for Twice {
        fn seal(
            &mut self,
            plain: &[IoSlice<'_>],
            _: usize,
            out: &mut Vec<u8>,
        ) -> io::Result<usize> {
            if plain[0].contains(&0) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            out.extend(plain[0].iter().flat_map(|&byte| [byte; 2]));
            Ok(plain[0].len())
        }
    }

    /// Runs `test` with a WebSocket connection that compresses, and its client.
    fn check(test: impl FnOnce(&mut Links, PeerId, &mut TcpStream)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let tuning = Tuning {
                unacknowledged_max: Duration::from_secs(40),
                send_buffer_bytes: 0,
                unsent_bytes_max: 0,
            };
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = listen(any, Families::Own, 16, tuning, None).unwrap();
            let mut client = TcpStream::connect(listener.address().unwrap().unwrap()).unwrap();
            let mut listener = listener.register().unwrap();
            let (reader, writer) = listener.accept().await.unwrap().0.into_split();
            std::future::poll_fn(|cx| writer.poll_writable(cx))
                .await
                .unwrap();
            let peer = PeerId {
                slot: Slot(3),
                generation: 7,
            };
            let transport = Transport::WebSocket {
                window_bits: Some(15),
                beat_tenths: 0,
            };
            let mut links = Links::default();
            links.insert(peer, writer, transport, 0);
            test(&mut links, peer, &mut client);
            // The reader closes the socket; nothing else has been sent.
            links.remove(peer);
            drop(reader);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        });
    }

    #[test]
    fn what_is_written_to_a_sealed_peer_is_sealed_and_not_compressed() {
        check(|links, peer, client| {
            let written = |links: &mut Links, text: &[u8]| {
                let written = links.write(peer.slot, &[IoSlice::new(text)]);
                assert_eq!(written, Written::Bytes(text.len()));
            };
            written(links, b"plain");
            let another = PeerId {
                generation: 6,
                ..peer
            };
            links.seal(another, Box::new(Twice), 0);
            written(links, b"half");
            links.seal(peer, Box::new(Twice), 4);
            written(links, b"rest");
            written(links, b"ab");
            let mut read = [0; 17];
            client.read_exact(&mut read).unwrap();
            assert_eq!(&read, b"plainhalfrestaabb");
            let link = links.get(peer).unwrap();
            let Transport::WebSocket {
                window_bits: None, ..
            } = link.transport
            else {
                panic!("{:?}", link.transport);
            };
            assert_eq!(link.sent, 15);
            // What cannot be sealed ends the connection, and nothing of it is sent.
            let refused = links.write(peer.slot, &[IoSlice::new(b"x\0")]);
            assert_eq!(refused, Written::Gone);
            let refused = links.write(peer.slot, &[IoSlice::new(b"x")]);
            assert_eq!(refused, Written::Gone);
        });
    }

    #[test]
    fn what_every_connection_has_is_small() {
        // Sizes that the allocator has classes of.
        assert!(size_of::<Link>() <= 128, "{}", size_of::<Link>());
        assert!(
            size_of::<ConnectionInfo>() <= 88,
            "{}",
            size_of::<ConnectionInfo>()
        );
        assert_eq!(size_of::<Option<Since>>(), 8);
        assert_eq!(Since::new(0).ms(), 0);
    }
}
