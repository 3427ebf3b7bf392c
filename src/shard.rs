//! The state of one thread: an engine, the sockets of its peers, and buffers.
//!
//! Engine and sockets are in one `RefCell`, borrowed for one call at a time: no guard leaves this module and none lives
//! across an await. Code that runs during the borrow must not call the shard.

mod answers;
mod clock;
mod codec;
mod desk;
mod directory;
mod disconnect;
mod ends;
mod exchange;
mod flush;
mod handle;
mod handshakes;
mod inbound;
mod info;
mod life;
mod links;
mod lookup;
mod orders;
mod probes;
mod send;
mod settings;
mod signal;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub use answers::{CallError, CallLimits, Caller, CallerEvent, CountedPublish, PendingOutcome};
pub use clock::Clock;
pub use desk::{
    CREDIT_MAX, DeadLetterPage, DeskNote, ListedGroup, PollRefused, PollRequest, PolledObjects,
};
pub use directory::{ConnectionPage, SubscriptionPage};
pub use disconnect::{CloseCause, Disconnect};
pub use ends::{RefusedRequest, parse_connection_id};
pub use exchange::Note;
pub use handle::Handle;
pub use info::{ConnectionInfo, ConnectionUser};
pub use life::Deadlines;
pub use links::{Lease, Unfinished};
pub use lookup::{CloseOrder, FoundPage, Traffic, Wanted};
pub use orders::{Audience, ConnectionOrder, OrderReply, OrderResult};
pub use probes::PROBE_MS_MAX;
pub use settings::ShardSettings;
pub use signal::Signal;

use crate::auth::Authenticator;
use crate::bus::{Mesh, Port};
use crate::config::Config;
use crate::engine::{Engine, Turn};
use crate::id::{FormatId, PeerId, ShardId, UserKey};
use crate::metrics::Counters;
use crate::net::Writer;
use crate::process::Process;
use answers::Answers;
use codec::Buffers;
use exchange::Inbox;
use flush::Wakers;
pub use handshakes::Handshake;
use handshakes::Handshakes;
use inbound::Applications;
use links::{Links, Since, Transport};
use orders::Orders;
use probes::Probes;

/// All state of one thread.
#[derive(Debug)]
pub struct Shard {
    /// Which shard this is.
    pub id: ShardId,
    /// The configuration.
    pub config: Arc<Config>,
    /// Limits and tables that all shards share.
    pub process: Arc<Process>,
    /// Keys and secrets that credentials are checked against.
    pub authenticator: Arc<Authenticator>,
    /// This shard's counters and gauges.
    pub counters: Arc<Counters>,
    /// The time, read once per turn.
    pub clock: Clock,
    /// Wakes the flush task: raised when output or requests to other shards are pending.
    pub flusher: Signal,
    core: RefCell<Core>,
    buffers: Buffers,
    /// Tasks that wait for the next flush.
    wakers: RefCell<Wakers>,
    /// When deadlines were last looked at, in milliseconds of the clock.
    checked_ms: Cell<u64>,
    /// The version of the revocations that connections were last checked against.
    revocations_seen: Cell<usize>,
    /// Tasks that wait for outcomes of the engine.
    answers: RefCell<Answers>,
    /// What there is for applications.
    applications: Applications,
    /// Orders for connections of this shard.
    orders: RefCell<Orders>,
}

/// The engine, the sockets of its peers, and the lanes to other shards.
#[derive(Debug)]
struct Core {
    engine: Engine,
    links: Links,
    port: Port<Note>,
    inbox: Inbox,
    handshakes: Handshakes,
    tls_handshakes: Handshakes,
    probes: Probes,
}

impl Shard {
    /// A shard, for the calling thread.
    #[must_use]
    pub fn new(settings: ShardSettings, mesh: &Arc<Mesh<Note>>) -> Rc<Self> {
        let clock = Clock::since(settings.process.began);
        let shards = mesh.shards();
        let core = Core {
            engine: Engine::new(settings::engine(&settings, shards, clock.wall_ms())),
            links: Links::default(),
            port: Port::new(settings.id, mesh.clone()),
            inbox: Inbox::new(shards),
            handshakes: Handshakes::default(),
            tls_handshakes: Handshakes::default(),
            probes: Probes::default(),
        };
        let now_ms = clock.now_ms();
        let applications = Applications::new(&settings, now_ms);
        Rc::new(Self {
            id: settings.id,
            buffers: Buffers::new(&settings.config.websocket),
            config: settings.config,
            process: settings.process,
            authenticator: settings.authenticator,
            counters: settings.counters,
            clock,
            flusher: Signal::default(),
            core: RefCell::new(core),
            wakers: RefCell::default(),
            checked_ms: Cell::new(now_ms),
            revocations_seen: Cell::new(0),
            answers: RefCell::default(),
            applications,
            orders: RefCell::default(),
        })
    }

    /// Runs `act` on the engine. `act` must not call the shard.
    pub fn engine<T>(&self, act: impl FnOnce(&mut Turn<'_, Port<Note>>) -> T) -> T {
        let mut core = self.core.borrow_mut();
        let Core { engine, port, .. } = &mut *core;
        let done = act(&mut engine.turn(self.clock.now(), port, &self.counters));
        if engine.take_flush_wanted() {
            self.flusher.raise();
        }
        done
    }

    /// Takes the number of steps that the engine has spent on patterns since the last call.
    #[must_use]
    pub fn take_steps(&self) -> usize {
        self.core.borrow_mut().engine.take_steps()
    }

    /// Registers an accepted socket that is not a connection yet, and evicts the oldest one beyond the limit.
    #[must_use]
    pub fn begin_handshake(self: &Rc<Self>) -> Handshake {
        let open_max = self.process.handshakes_max();
        Handshake::begin(self, open_max, |core| &mut core.handshakes)
    }

    /// As [`Self::begin_handshake`], for one within its TLS handshake.
    #[must_use]
    pub fn begin_tls_handshake(self: &Rc<Self>) -> Handshake {
        let open_max = self.config.tls.max_handshakes;
        Handshake::begin(self, open_max, |core| &mut core.tls_handshakes)
    }

    /// Sets the gauges of this shard. Called before each write, so that a scrape is never older than what a client has
    /// been told.
    ///
    /// Cost: a load and a store per gauge.
    fn update_gauges(&self, core: &Core) {
        let Core {
            engine,
            links,
            handshakes,
            tls_handshakes,
            ..
        } = core;
        let (counters, hub, open) = (&self.counters, engine.hub(), links.open());
        counters.connections.set(open.connections);
        counters.streams.set(open.streams);
        if let Some(open) = links.changed_by_dialect() {
            counters.set_open_by_dialect(open);
        }
        counters.handshakes.set(handshakes.open() as u64);
        counters
            .tls_handshakes_open
            .set(tls_handshakes.open() as u64);
        let subscriptions = engine.subscription_count();
        counters.subscriptions.set(subscriptions as u64);
        counters.topics.set(hub.topic_count() as u64);
        counters.held_bytes.set(hub.held() as u64);
        counters.history_bytes.set(engine.history_held() as u64);
    }

    /// Registers a WebSocket connection of `user` that reads publications in `format`. `window_bits`: the server's
    /// negotiated compression window (RFC 7692 section 7.1.2.1), `None` without compression.
    pub fn join(
        &self,
        format: FormatId,
        user: UserKey,
        window_bits: Option<u8>,
        writer: Writer,
    ) -> PeerId {
        let transport = Transport::WebSocket {
            window_bits,
            beat_tenths: 0,
        };
        self.connect((format, user), transport, writer)
    }

    /// Registers an SSE connection, as [`Self::join`], which is sent a comment after `heartbeat` without a write. It is
    /// rounded up to tenths of a second, which is how often deadlines are looked at.
    pub fn join_stream(
        &self,
        format: FormatId,
        user: UserKey,
        heartbeat: Duration,
        writer: Writer,
    ) -> PeerId {
        self.counters.streams_opened.add(1);
        let tenths = heartbeat.as_millis().div_ceil(100);
        let heartbeat_tenths = u16::try_from(tenths).unwrap_or(u16::MAX);
        self.connect((format, user), Transport::Sse { heartbeat_tenths }, writer)
    }

    fn connect(
        &self,
        (format, user): (FormatId, UserKey),
        transport: Transport,
        writer: Writer,
    ) -> PeerId {
        let mut core = self.core.borrow_mut();
        let peer = core.engine.join(format, user);
        core.links
            .insert(peer, writer, transport, self.clock.now().ms);
        self.counters.connections_opened.add(1);
        peer
    }

    /// Ends a connection when its token expires or its key is removed.
    pub fn lease(&self, peer: PeerId, lease: Lease) {
        if let Some(link) = self.core.borrow_mut().links.get_mut(peer) {
            link.life.lease = Some(lease);
        }
    }

    /// Replaces the lease of a connection, and says in listings who its user is now.
    pub fn renew(&self, peer: PeerId, lease: Lease, user: Box<ConnectionUser>) {
        if let Some(link) = self.core.borrow_mut().links.get_mut(peer) {
            link.life.lease = Some(lease);
            if let Some(info) = &mut link.info {
                info.user = Some(user);
            }
        }
    }

    /// Removes a connection. Its session has unsubscribed from its patterns before.
    pub fn leave(&self, peer: PeerId) {
        let mut core = self.core.borrow_mut();
        core.engine.leave(peer);
        core.links.remove(peer);
        self.update_gauges(&core);
    }

    /// Begins to close a connection: queues the close frame as its last frame. An SSE connection just ends.
    pub fn begin_close(&self, peer: PeerId, why: Disconnect) {
        self.open(peer);
        let mut core = self.core.borrow_mut();
        self.count_end(&core, peer, why);
        let Core { engine, links, .. } = &mut *core;
        if let Some(link) = links.get(peer) {
            let mut codec = self.buffers.codec.borrow_mut();
            let last = match (link.transport, link.close_of(why, &self.process.registered)) {
                (Transport::WebSocket { .. }, Some((code, reason))) => {
                    let ordered = link.info.as_deref().and_then(|info| info.detail.as_deref());
                    let ordered = ordered.filter(|_| matches!(why, Disconnect::Ordered(_)));
                    codec.close(code, ordered.unwrap_or(reason))
                }
                // SSE has no close frame.
                _ => b"",
            };
            engine.send_last(peer, last);
            links.begin_close(peer, self.clock.now().ms);
            self.flusher.raise();
        }
    }

    /// Counts the end of a socket whose peer is told nothing.
    pub fn note_end(&self, peer: PeerId, why: Disconnect) {
        self.count_end(&self.core.borrow(), peer, why);
    }

    /// Asks a connection's task to close it. While it is closing, only [`Disconnect::Gone`] has an effect.
    pub fn disconnect(&self, peer: PeerId, why: Disconnect) {
        if let Some(link) = self.core.borrow_mut().links.get_mut(peer)
            && (link.life.closing.is_none() || why == Disconnect::Gone)
        {
            link.disconnect.get_or_insert(why);
            link.wake();
        }
    }

    /// As [`Self::disconnect`], for a connection of any shard.
    pub fn disconnect_at(&self, at: ShardId, peer: PeerId, why: Disconnect) {
        if at == self.id {
            self.disconnect(peer, why);
        } else {
            self.note(at, Note::Disconnect { peer, why });
        }
    }

    /// Wakes the task of a connection.
    pub fn wake(&self, peer: PeerId) {
        if let Some(link) = self.core.borrow().links.get(peer) {
            link.wake();
        }
    }

    /// Takes the reason why a connection has to end, if any, and registers `waker` for the next one.
    #[must_use]
    pub fn take_disconnect(&self, peer: PeerId, waker: &Waker) -> Option<Disconnect> {
        let mut core = self.core.borrow_mut();
        let Some(link) = core.links.get_mut(peer) else {
            return Some(Disconnect::Gone);
        };
        link.watch(waker);
        if std::mem::take(&mut link.is_paused) {
            link.life.received = self.clock.now().ms;
            link.life.pinged = None;
        }
        link.disconnect.take()
    }

    /// Marks a peer as not read from until its task is woken: until then its silence does not time out.
    pub fn pause(&self, peer: PeerId) {
        if let Some(link) = self.core.borrow_mut().links.get_mut(peer) {
            link.is_paused = true;
        }
    }

    /// Notes that `bytes` were received from a peer, and whether a message is incomplete. The message timeout starts with
    /// each message, also one that begins in the same read as the end of another.
    pub fn note_received(&self, peer: PeerId, bytes: usize, unfinished: Unfinished) {
        let now = self.clock.now().ms;
        self.end_probes_of(peer);
        if let Some(link) = self.core.borrow_mut().links.get_mut(peer) {
            link.received += bytes as u64;
            link.life.received = now;
            link.life.pinged = None;
            link.life.unfinished = match unfinished {
                Unfinished::Nothing => None,
                Unfinished::New => Some(Since::new(now)),
                Unfinished::Same => link.life.unfinished.or_else(|| Some(Since::new(now))),
            };
        }
    }

    /// Polls whether a full socket is writable, and has the next flush write to it if so.
    pub fn poll_unblocked(&self, peer: PeerId, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (ready, has_progressed) = {
            let core = self.core.borrow();
            if !core.engine.hub().is_blocked(peer.slot) {
                return Poll::Ready(Ok(()));
            }
            match core.links.get(peer) {
                Some(link) => link.poll_writable(cx),
                None => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        };
        if let Poll::Ready(Ok(())) = ready {
            self.engine(|engine| engine.unblock(peer));
        } else if has_progressed {
            self.engine(|engine| engine.note_progress(peer));
        }
        ready
    }

    /// Whether a connection is still registered.
    #[must_use]
    pub fn is_present(&self, peer: PeerId) -> bool {
        self.core.borrow().engine.hub().is_present(peer)
    }

    /// Whether a peer's outbox is full: it is not read from until the peer has taken some of it.
    #[must_use]
    pub fn is_outbox_full(&self, peer: PeerId) -> bool {
        self.core.borrow().engine.hub().is_outbox_full(peer.slot)
    }

    /// Whether anything waits for a peer alone.
    #[must_use]
    pub fn has_queued(&self, peer: PeerId) -> bool {
        self.core.borrow().engine.hub().has_queued(peer.slot)
    }

    /// Whether everything queued for a peer has been written.
    #[must_use]
    pub fn is_drained(&self, peer: PeerId) -> bool {
        let core = self.core.borrow();
        let hub = core.engine.hub();
        !hub.is_present(peer) || hub.is_drained(peer.slot)
    }

    /// Whether a peer's socket is full. Its task is woken when it is writable.
    #[must_use]
    pub fn is_blocked(&self, peer: PeerId) -> bool {
        self.core.borrow().engine.hub().is_blocked(peer.slot)
    }

    /// Shuts down the writing side of a connection after its last frame. Ready when that is done, or the connection is
    /// gone.
    pub fn poll_shut(&self, peer: PeerId, cx: &mut Context<'_>) -> Poll<()> {
        match self.core.borrow().links.get(peer) {
            Some(link) => link.poll_shut(cx),
            None => Poll::Ready(()),
        }
    }

    /// The connections that are not closing, but for the links of applications.
    #[must_use]
    pub fn open_clients(&self) -> Vec<PeerId> {
        let (core, members) = (self.core.borrow(), self.applications.members.borrow());
        let open = core.links.iter_from(0).map(|(_, link)| link.peer);
        open.filter(|peer| !members.contains(peer)).collect()
    }

    /// All connections.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerId> {
        self.core.borrow().engine.hub().peers().collect()
    }
}
