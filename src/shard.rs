//! What one thread owns, and the only place with `RefCell`.
//!
//! Methods borrow, act and release: no guard leaves this module and none lives
//! across an await. The parts are borrowed in the order of the struct's fields.

mod attendance;
mod calls;
mod catch_up;
mod clock;
mod codec;
mod directory;
mod errand;
mod exchange;
mod groups;
mod handshakes;
mod life;
mod links;
mod logins;
mod merge;
mod process;
mod publish;
mod publishers;
mod seats;
mod settings;
mod signal;
mod streams;
mod subscribe;
mod window;

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub use attendance::ROSTER_USERS_MAX;
pub use calls::{Caller, NoCall, Said};
pub use clock::Clock;
pub use directory::{About, Listing};
pub use life::Limits as LifeLimits;
pub use links::{Lease, Unfinished};
pub use logins::{AlreadyConnected, Connection, Login, Logins};
pub use process::{NoRoom, Place, Process};
pub use publish::{Counting, Delivered, Published};
pub use publishers::{Publisher, Publishers};
pub use seats::{Crowd, Seat, SeatLimits, Seats, block_of};
pub use settings::Settings;
pub use signal::Signal;
pub use subscribe::{Begin, Pending, Resumed, Start, TooManyTopics};
pub use window::{Over, Window};

use crate::auth::Authenticator;
use crate::config::Config;
use crate::engine::hub::{Enqueue, Flush, Hub, Incident};
use crate::engine::{Calls, Home, Interests, Mesh, Port, Recent};
use crate::id::{PeerId, Priority, ShardId, WireFormat};
use crate::metrics::{Counters, Refused, Totals};
use crate::net::Writer;
use crate::protocol::events::{Encoding, msgpack};
use crate::protocol::{Dialect, Disconnect};
use crate::ws::OpCode;
use crate::ws::deflate::Inflater;
use attendance::Attendance;
use calls::Callers;
use catch_up::CatchUps;
use codec::{Codec, SHARED_WINDOW_BITS};
use exchange::Asked;
use groups::Groups;
use handshakes::Handshakes;
use links::{Links, Transport};
use merge::Merges;
use publish::Waiters;
use subscribe::Tickets;

/// Writes of one flush before other work gets its turn.
const WRITES_PER_FLUSH: usize = 512;

/// Bytes written by one flush before other work gets its turn, give or take one
/// write: a millisecond or two.
const BYTES_PER_FLUSH: usize = 4 * 1024 * 1024;

/// Bytes read from one connection per turn.
const SCRATCH_BYTES: usize = 64 * 1024;

/// All state of one thread.
#[derive(Debug)]
pub struct Shard {
    /// Which shard this is.
    pub id: ShardId,
    /// What was configured.
    pub config: Arc<Config>,
    /// What all shards share.
    pub process: Arc<Process>,
    /// What credentials are checked against.
    pub authenticator: Arc<Authenticator>,
    /// What this shard counts.
    pub counters: Arc<Counters>,
    all_counters: Arc<[Arc<Counters>]>,
    /// This shard's time.
    pub clock: Clock,
    /// Raised when something waits to be written or handed over.
    pub flusher: Signal,
    scratch: RefCell<Box<[u8]>>,
    inflater: RefCell<Inflater>,
    home: RefCell<Home>,
    recent: RefCell<Recent>,
    attendance: RefCell<Attendance>,
    calls: RefCell<Calls>,
    callers: RefCell<Callers>,
    interests: RefCell<Interests>,
    merges: RefCell<Merges>,
    hub: RefCell<Hub>,
    port: RefCell<Port>,
    codec: RefCell<Codec>,
    links: RefCell<Links>,
    handshakes: RefCell<Handshakes>,
    tickets: RefCell<Tickets>,
    catch_ups: RefCell<CatchUps>,
    groups: RefCell<Groups>,
    waiters: RefCell<Waiters>,
    /// Requests that have been taken from each shard's lane and not been done.
    asked: RefCell<Vec<Option<Asked>>>,
    /// Deliveries wait until logs have been flushed.
    deferred: Cell<bool>,
    /// Tasks that wait until the next flush.
    waiting: RefCell<Vec<Waker>>,
    /// How many flushes there were.
    flushes: Cell<usize>,
}

thread_local! {
    static LOCAL: OnceCell<Rc<Shard>> = const { OnceCell::new() };
}

/// Calls `with` with the shard of this thread. For request handlers, whose
/// futures may not hold it.
///
/// # Panics
/// On a thread that is no shard's.
pub fn local<T>(with: impl FnOnce(&Rc<Shard>) -> T) -> T {
    LOCAL.with(|shard| with(shard.get().expect("handlers run on shards")))
}

impl Shard {
    /// The shard of this thread. A thread has one for its life.
    ///
    /// # Panics
    /// When called again on the same thread.
    #[must_use]
    pub fn install(settings: Settings, mesh: &Arc<Mesh>) -> Rc<Self> {
        let clock = Clock::since(settings.process.began);
        let (config, shards) = (settings.config, usize::from(mesh.shards()));
        let shard = Rc::new(Self {
            id: settings.id,
            process: settings.process,
            authenticator: settings.authenticator,
            counters: settings.counters,
            all_counters: settings.all_counters,
            flusher: Signal::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            inflater: RefCell::default(),
            home: RefCell::new(Home::new(config.clone(), shards, clock.wall_ms() * 1000)),
            recent: RefCell::default(),
            attendance: RefCell::default(),
            calls: RefCell::default(),
            callers: RefCell::default(),
            interests: RefCell::default(),
            merges: RefCell::new(Merges::new(settings.cursors)),
            hub: RefCell::new(Hub::new(
                settings::hub_limits(&config, shards),
                settings::policies(&config),
            )),
            port: RefCell::new(Port::new(settings.id, mesh.clone())),
            codec: RefCell::new(Codec::new(&config.websocket)),
            links: RefCell::default(),
            handshakes: RefCell::default(),
            tickets: RefCell::default(),
            catch_ups: RefCell::default(),
            groups: RefCell::default(),
            waiters: RefCell::default(),
            asked: RefCell::new((0..shards).map(|_| None).collect()),
            deferred: Cell::new(false),
            waiting: RefCell::default(),
            flushes: Cell::new(0),
            clock,
            config,
        });
        LOCAL.with(|local| local.set(shard.clone()).expect("a thread has one shard"));
        shard
    }

    /// Notes a connection that has to become one yet. The signal is raised if it
    /// has to make room for newer ones.
    #[must_use]
    pub fn begin_handshake(&self) -> Rc<Signal> {
        let open_max = self.config.server.max_handshakes / usize::from(self.port.borrow().shards());
        let (evicted, had_to_evict) = self.handshakes.borrow_mut().enter(open_max.max(1));
        if had_to_evict {
            self.counters.refused[Refused::Evicted as usize].add(1);
        }
        evicted
    }

    /// Notes that a handshake is over, one way or the other.
    pub fn end_handshake(&self) {
        self.handshakes.borrow_mut().leave();
    }

    /// A new connection. Whatever is sent to it is written to `writer`.
    /// `window_bits` is what was agreed about compression, if anything was.
    pub fn join(&self, dialect: Dialect, window_bits: Option<u8>, writer: Writer) -> PeerId {
        // A smaller window cannot read what all others share.
        let is_shared = window_bits == Some(SHARED_WINDOW_BITS);
        let format = match (dialect, is_shared) {
            (Dialect::Events(Encoding::Msgpack), _) => WireFormat::EventsMsgpack,
            (Dialect::Events(Encoding::JsonBatch), _) => WireFormat::EventsBatch,
            (Dialect::Events(Encoding::Json), true) => WireFormat::EventsJsonDeflate,
            (Dialect::Events(Encoding::Json), false) => WireFormat::EventsJson,
            (Dialect::Bridge, true) => WireFormat::BridgeDeflate,
            (Dialect::Bridge, false) => WireFormat::Bridge,
        };
        self.connect(format, Transport::WebSocket { window_bits }, writer)
    }

    /// A new connection that reads a stream of events. Whatever is sent to it is
    /// written to `writer`.
    pub fn join_stream(&self, writer: Writer) -> PeerId {
        self.connect(WireFormat::Sse, Transport::Sse { begun: false }, writer)
    }

    fn connect(&self, format: WireFormat, transport: Transport, writer: Writer) -> PeerId {
        let peer = self.hub.borrow_mut().join(format);
        self.links
            .borrow_mut()
            .insert(peer, writer, transport, self.clock.now_ms());
        self.counters.connections_opened.add(1);
        if format == WireFormat::Sse {
            self.counters.sse_connections_opened.add(1);
        }
        peer
    }

    /// Lets a connection last no longer than what it was let in by.
    pub fn lease(&self, peer: PeerId, lease: Lease) {
        if let Some(link) = self.links.borrow_mut().get_mut(peer) {
            link.life.lease = Some(lease);
        }
    }

    /// Forgets a connection. Its session has given up its patterns before.
    pub fn leave(&self, peer: PeerId) {
        self.vacate_topics_of(peer);
        self.hub.borrow_mut().leave(peer);
        self.links.borrow_mut().remove(peer);
        self.catch_ups.borrow_mut().forget(peer);
        self.merges.borrow_mut().forget(peer);
    }

    /// Queues bytes that are frames already, or an HTTP head.
    pub fn send_raw(&self, peer: PeerId, priority: Priority, bytes: &[u8]) {
        let mut hub = self.hub.borrow_mut();
        if hub.is_present(peer) {
            self.note(hub.send(peer.slot, priority, bytes));
            self.flusher.raise();
        }
    }

    /// Queues one message for one peer, compressed where the peer agreed to it.
    pub fn send(&self, peer: PeerId, priority: Priority, opcode: OpCode, payload: &[u8]) {
        let mut hub = self.hub.borrow_mut();
        if hub.is_present(peer) {
            let mut codec = self.codec.borrow_mut();
            let window_bits = match self.links.borrow().get(peer).map(|link| link.transport) {
                Some(Transport::WebSocket { window_bits }) => window_bits,
                _ => None,
            };
            self.note(hub.send(
                peer.slot,
                priority,
                codec.message(window_bits, opcode, payload),
            ));
            self.flusher.raise();
        }
    }

    /// Queues a message in the peer's own encoding. `write` writes it as JSON
    /// text; it is given the time, too.
    pub fn send_text(
        &self,
        peer: PeerId,
        priority: Priority,
        write: impl FnOnce(&mut Vec<u8>, &[u8]),
    ) {
        let timestamp = self.clock.timestamp();
        let mut text = std::mem::take(&mut self.codec.borrow_mut().text);
        text.clear();
        write(&mut text, &timestamp);
        self.send_json(peer, priority, &text);
        self.codec.borrow_mut().text = text;
    }

    /// Queues a message whose JSON text is given in the peer's own encoding.
    fn send_json(&self, peer: PeerId, priority: Priority, text: &[u8]) {
        let hub = self.hub.borrow();
        if !hub.is_present(peer) {
            return;
        }
        let format = hub.format_of(peer.slot);
        drop(hub);
        match format {
            WireFormat::EventsJson
            | WireFormat::EventsJsonDeflate
            | WireFormat::EventsBatch
            | WireFormat::Bridge
            | WireFormat::BridgeDeflate => {
                self.send(peer, priority, OpCode::Text, text);
            }
            WireFormat::EventsMsgpack => {
                let mut packed = std::mem::take(&mut self.codec.borrow_mut().packed);
                packed.clear();
                msgpack::from_json(text, &mut packed);
                self.send(peer, priority, OpCode::Binary, &packed);
                self.codec.borrow_mut().packed = packed;
            }
            // A stream has events only; whoever has more to say says it there.
            WireFormat::Sse => {}
        }
    }

    /// Lends `read` an empty buffer for the text of a message that came in
    /// another encoding.
    pub fn with_text<T>(&self, read: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut text = std::mem::take(&mut self.codec.borrow_mut().inbound);
        text.clear();
        let outcome = read(&mut text);
        self.codec.borrow_mut().inbound = text;
        outcome
    }

    /// Lends `read` an empty buffer for the text of an answer to a caller.
    pub fn with_answer<T>(&self, read: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut text = std::mem::take(&mut self.codec.borrow_mut().answer);
        text.clear();
        let outcome = read(&mut text);
        self.codec.borrow_mut().answer = text;
        outcome
    }

    /// What all shards together have counted.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::of(&self.all_counters)
    }

    /// Answers a ping.
    pub fn send_pong(&self, peer: PeerId, payload: &[u8]) {
        let mut hub = self.hub.borrow_mut();
        if hub.is_present(peer) {
            let mut codec = self.codec.borrow_mut();
            self.note(hub.send_pong(peer.slot, codec.control(OpCode::Pong, payload)));
            self.flusher.raise();
        }
    }

    fn note(&self, enqueue: Enqueue) {
        if let Enqueue::Overflow(dropped) = enqueue {
            self.counters.messages_dropped.add(dropped as u64);
        }
    }

    /// Holds back the answer to a connection's upgrade request until its inbox is live.
    /// Its task reads nothing until then.
    pub fn hold_open(&self, peer: PeerId, head: Vec<u8>) {
        if let Some(link) = self.links.borrow_mut().get_mut(peer) {
            link.head = Some(head.into());
        }
    }

    /// Whether a connection's upgrade request has not been answered.
    #[must_use]
    pub fn is_opening(&self, peer: PeerId) -> bool {
        let links = self.links.borrow();
        links.get(peer).is_some_and(|link| link.head.is_some())
    }

    /// Sends the answer to a connection's upgrade request, if it was held back.
    pub(super) fn open(&self, peer: PeerId) {
        let head = self
            .links
            .borrow_mut()
            .get_mut(peer)
            .and_then(|link| link.head.take());
        if let Some(head) = head {
            self.send_raw(peer, Priority::Critical, &head);
        }
    }

    /// Begins the end of a connection: queues the close frame, if the peer can
    /// be told, as the last one.
    pub fn part(&self, peer: PeerId, why: Disconnect) {
        self.counters.disconnects[why.index()].add(1);
        self.vacate_topics_of(peer);
        self.open(peer);
        if let Some((code, reason)) = why.close() {
            let mut hub = self.hub.borrow_mut();
            if hub.is_present(peer) {
                match hub.format_of(peer.slot) {
                    // The end of the stream says it all.
                    WireFormat::Sse => hub.send_last(peer.slot, b""),
                    _ => hub.send_last(peer.slot, self.codec.borrow_mut().close(code, reason)),
                }
            }
            if let Some(link) = self.links.borrow_mut().get_mut(peer) {
                link.life.closing = Some(self.clock.now_ms());
            }
            self.flusher.raise();
        }
    }

    /// Tells a connection's task that it has to end. One that is ending
    /// already is told only that its socket is gone.
    pub fn condemn(&self, peer: PeerId, why: Disconnect) {
        if let Some(link) = self.links.borrow_mut().get_mut(peer)
            && (link.life.closing.is_none() || why == Disconnect::Gone)
        {
            link.verdict.get_or_insert(why);
            link.wake();
        }
    }

    /// As [`Self::condemn`], for a connection of any shard.
    pub fn condemn_at(&self, at: ShardId, peer: PeerId, why: Disconnect) {
        if at == self.id {
            self.condemn(peer, why);
        } else {
            self.tell(at, move |shard| shard.condemn(peer, why));
        }
    }

    /// Why a connection has to end, if it has to. Also notes who to wake.
    #[must_use]
    pub fn verdict(&self, peer: PeerId, waker: &Waker) -> Option<Disconnect> {
        let mut links = self.links.borrow_mut();
        let Some(link) = links.get_mut(peer) else {
            return Some(Disconnect::Gone);
        };
        link.watch(waker);
        if std::mem::take(&mut link.life.paused) {
            link.life.heard = self.clock.now_ms();
            link.life.pinged = None;
        }
        link.verdict.take()
    }

    /// Notes that a peer is not read from until its task is woken: until then
    /// it is not expected to be heard.
    pub fn pause(&self, peer: PeerId) {
        if let Some(link) = self.links.borrow_mut().get_mut(peer) {
            link.life.paused = true;
        }
    }

    /// Notes that a peer has sent something, and what of it is not complete yet.
    /// A message's time begins with the message, also right behind another one.
    pub fn heard(&self, peer: PeerId, unfinished: Unfinished) {
        let now = self.clock.now_ms();
        if let Some(link) = self.links.borrow_mut().get_mut(peer) {
            link.life.heard = now;
            link.life.pinged = None;
            link.life.unfinished = match unfinished {
                Unfinished::Nothing => None,
                Unfinished::New => Some(now),
                Unfinished::Same => link.life.unfinished.or(Some(now)),
            };
        }
    }

    /// Looks whether a full socket takes bytes again, and lets the next flush
    /// write to it if so.
    pub fn poll_unblocked(&self, peer: PeerId, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.hub.borrow().is_blocked(peer.slot) {
            return Poll::Ready(Ok(()));
        }
        let ready = match self.links.borrow().get(peer) {
            Some(link) => link.poll_writable(cx),
            None => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        if let Poll::Ready(Ok(())) = ready {
            self.hub.borrow_mut().unblock(peer.slot);
            self.act_on_incidents();
            self.flusher.raise();
        }
        ready
    }

    /// Whether a peer has to take answers before it may ask more.
    #[must_use]
    pub fn is_outbox_full(&self, peer: PeerId) -> bool {
        self.hub.borrow().is_outbox_full(peer.slot)
    }

    /// Whether all that was queued for a peer has been written.
    #[must_use]
    pub fn is_drained(&self, peer: PeerId) -> bool {
        let hub = self.hub.borrow();
        !hub.is_present(peer) || hub.is_drained(peer.slot)
    }

    /// Wakes `waker` after the next flush. There will be one: whatever a task
    /// waits for ends with a flush, be it that of this turn or the one after
    /// another shard has made room.
    pub fn wake_after_flush(&self, waker: &Waker) {
        self.waiting.borrow_mut().push(waker.clone());
    }

    /// Whether a peer's socket is full: its task is woken when it no longer is.
    #[must_use]
    pub fn is_blocked(&self, peer: PeerId) -> bool {
        self.hub.borrow().is_blocked(peer.slot)
    }

    /// Shuts the writing side of a connection after its last frame.
    pub fn shut(&self, peer: PeerId) {
        if let Some(link) = self.links.borrow().get(peer) {
            link.shut();
        }
    }

    /// Lets `read` use this shard's scratch buffer and inflater.
    pub fn with_scratch<T>(&self, read: impl FnOnce(&mut [u8], &mut Inflater) -> T) -> T {
        read(
            &mut self.scratch.borrow_mut(),
            &mut self.inflater.borrow_mut(),
        )
    }

    /// Hands over what other shards were told and writes what waits.
    pub fn flush(&self) -> Flush {
        self.clock.refresh();
        self.begin_ahead();
        self.port.borrow_mut().hand_over();
        // A gap is told before anything newer is written.
        self.act_on_incidents();
        let flush = {
            let mut links = self.links.borrow_mut();
            let flush = self.hub.borrow_mut().flush(
                &mut *links,
                self.clock.now_ms(),
                WRITES_PER_FLUSH,
                BYTES_PER_FLUSH,
            );
            self.counters.writes.add(std::mem::take(&mut links.writes));
            self.counters
                .writes_short
                .add(std::mem::take(&mut links.writes_short));
            self.counters
                .bytes_out
                .add(std::mem::take(&mut links.bytes_out));
            flush
        };
        self.act_on_incidents();
        let mut waiting = self.waiting.take();
        // Whoever is woken first takes the room that there is; each of them is the
        // first one in its turn (HOSTILE M09).
        self.flushes.set(self.flushes.get().wrapping_add(1));
        if !waiting.is_empty() {
            let first = self.flushes.get() % waiting.len();
            waiting.rotate_left(first);
        }
        for waker in waiting {
            waker.wake();
        }
        flush
    }

    fn is_stream(&self, peer: PeerId) -> bool {
        let hub = self.hub.borrow();
        hub.is_present(peer) && hub.format_of(peer.slot) == WireFormat::Sse
    }

    fn act_on_incidents(&self) {
        loop {
            let incidents = self.hub.borrow_mut().take_incidents();
            if incidents.is_empty() {
                return;
            }
            for incident in incidents {
                self.act_on(incident);
            }
        }
    }

    fn act_on(&self, incident: Incident) {
        match incident {
            Incident::Slow(peer) => {
                self.counters.slow_consumers.add(1);
                self.condemn(peer, Disconnect::Slow);
            }
            Incident::Gone(peer) => self.condemn(peer, Disconnect::Gone),
            Incident::Gap { peer, topic, lost } if self.is_stream(peer) => {
                // Of what is for it alone a stream loses nothing but heartbeats.
                if let Some(log) = topic {
                    self.counters.messages_dropped.add(u64::from(lost));
                    self.send_stream_gap(peer, log, lost);
                }
            }
            Incident::Gap { peer, topic, lost } => {
                let name = topic.map(|topic| {
                    self.counters.messages_dropped.add(u64::from(lost));
                    self.hub.borrow().name(topic).to_owned()
                });
                self.tell_gap(peer, name.as_deref(), Some(u64::from(lost)));
            }
            Incident::Refillable(peer) => self.ask_page(peer),
        }
    }
}
