//! State that all shards of a process share: its limits, and its start time.

mod budget;
mod ends;
mod inbound;
mod phase;
mod publishers;
mod seats;
mod window;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

pub use budget::{ByteBudget, Reservation};
pub use ends::{ENDS_KEPT, End, Ends};
pub use inbound::{InboundRooms, MemberSlot, NotTaken};
pub use phase::ProcessPhase;
pub use publishers::{Publisher, Publishers};
pub use seats::{LimitReached, Seat, SeatLimits, Seats, block_of};
pub use window::{RateLimited, Window};

pub use crate::collections::Locked;
use crate::collections::{HashMap, SEGMENT_BYTES};
use crate::config::Config;
use crate::metrics::{CounterRegistry, Counters, Totals};
use crate::store::Store;

/// Limits and tables of the whole process.
#[derive(Debug)]
pub struct Process {
    /// Limits of clients' connections and messages, by user and address.
    pub seats: Arc<Seats>,
    /// Rate limits of publishers over HTTP.
    pub publishers: Publishers,
    /// Why connections ended and requests were refused.
    pub ends: Ends,
    /// Room for what clients say to applications.
    pub inbound: Arc<InboundRooms>,
    /// The counters that protocols have registered.
    pub registered: CounterRegistry,
    /// Accounts and messages, where a protocol stores any.
    pub store: Option<Arc<Store>>,
    /// The counters, by shard.
    pub counters: Arc<[Arc<Counters>]>,
    /// Bytes of unfinished WebSocket messages.
    pub unfinished: Arc<ByteBudget>,
    /// Bytes of request bodies, and of responses that clients have not taken.
    pub http_bodies: Arc<ByteBudget>,
    /// The zero of all shards' clocks.
    pub(crate) began: Instant,
    /// `began` in microseconds since the Unix epoch, which identifies this process.
    pub(crate) epoch: u64,
    draining: AtomicBool,
    drained_shards: AtomicUsize,
    /// Shards whose clients have left; the links of applications may be there.
    vacated_shards: AtomicUsize,
    /// Connection slots that are taken, including those of closing connections.
    connections: AtomicUsize,
    connections_max: usize,
    handshakes_max: usize,
    sockets_max: usize,
    calls: AtomicUsize,
    per_ip_max: usize,
    /// Taken slots by address, where a limit per address is set.
    per_ip: Locked<HashMap<IpAddr, usize>>,
}

/// Which limit refuses a connection slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRoom {
    /// `server.max_connections`.
    Connections,
    /// `server.max_connections_per_ip`.
    PerIp,
}

/// One of `server.max_connections`. Dropping it frees it.
#[derive(Debug)]
pub struct ConnectionSlot {
    process: Arc<Process>,
    address: Option<IpAddr>,
}

/// A slot of an open call. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct CallSlot(Arc<Process>);

impl Process {
    /// A process of `shards`, with the limits of `config`, whose file limit allows `sockets_max` sockets of clients,
    /// whose protocols count what they have `registered`, and use this `store`.
    #[must_use]
    pub fn new(
        config: &Config,
        shards: u16,
        sockets_max: usize,
        registered: CounterRegistry,
        store: Option<Arc<Store>>,
    ) -> Arc<Self> {
        let (server, clients) = (&config.server, &config.clients);
        Arc::new(Self {
            seats: Seats::new(SeatLimits {
                connections_max: clients.max_connections,
                per_ip_max: clients.max_connections_per_ip,
                per_user_max: clients.max_connections_per_user,
                frames_per_ip_max: clients.frames_per_minute_per_ip,
                dropped_per_ip_max: clients
                    .frames_per_minute_per_ip
                    .saturating_mul(clients.max_rate_excess),
            }),
            publishers: Publishers::new(clients.publishes_per_minute),
            ends: Ends::new(config.log.ends_per_second),
            inbound: InboundRooms::new(&config.backend),
            counters: (0..shards)
                .map(|_| Arc::new(Counters::with(&registered)))
                .collect(),
            registered,
            store,
            unfinished: ByteBudget::new(config.websocket.max_unfinished_bytes),
            // At least one body of the largest size fits.
            http_bodies: ByteBudget::new({
                // It is held in whole segments.
                let body_bytes_max = config.http.max_body_size.next_multiple_of(SEGMENT_BYTES);
                config.http.max_buffered_bytes.max(body_bytes_max)
            }),
            began: Instant::now(),
            epoch: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| {
                    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
                }),
            draining: AtomicBool::new(false),
            drained_shards: AtomicUsize::new(0),
            vacated_shards: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            connections_max: server.max_connections,
            handshakes_max: server.max_handshakes,
            sockets_max,
            calls: AtomicUsize::new(0),
            per_ip_max: server.max_connections_per_ip,
            per_ip: Default::default(),
        })
    }

    /// From now on clients are closed, and new ones are refused.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether clients are closed and refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Notes that the clients of one more shard have left, but for the links of applications.
    pub fn note_vacated(&self) {
        self.vacated_shards.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the clients of all shards have left, but for the links of applications.
    #[must_use]
    pub fn is_vacated(&self) -> bool {
        self.vacated_shards.load(Ordering::Relaxed) >= self.counters.len()
    }

    /// Notes that the clients of one more shard have left.
    pub fn note_drained(&self) {
        self.drained_shards.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the clients of all shards have left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained_shards.load(Ordering::Relaxed) >= self.counters.len()
    }

    /// Takes a slot for a connection from `address`.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn take_slot(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, NoRoom> {
        let taken = self
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < self.connections_max).then_some(open + 1)
            });
        if taken.is_err() {
            return Err(NoRoom::Connections);
        }
        let mut slot = ConnectionSlot {
            process: self.clone(),
            address: None,
        };
        if self.per_ip_max > 0 {
            let address = block_of(address);
            let mut per_ip = self.per_ip.lock();
            let open = per_ip.entry(address).or_default();
            if *open >= self.per_ip_max {
                return Err(NoRoom::PerIp);
            }
            *open += 1;
            slot.address = Some(address);
        }
        Ok(slot)
    }

    /// The number of open connections of all protocols, without those that are closing.
    ///
    /// Cost: one load per shard.
    #[must_use]
    pub fn connections(&self) -> u64 {
        let shards = self.counters.iter();
        shards.map(|shard| shard.connections.read()).sum()
    }

    /// When the process began, in seconds since the Unix epoch.
    #[must_use]
    pub fn started_seconds(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let micros = self.epoch as f64;
        micros / 1e6
    }

    /// Sets the gauges of the whole process, in the counters of the first shard.
    ///
    /// Cost: as [`Seats::addresses`] and [`Seats::users`].
    pub fn update_gauges(&self) {
        let (counters, seats) = (&self.counters[0], &self.seats);
        let (unfinished, bodies) = (self.unfinished.held(), self.http_bodies.held());
        counters.unfinished_bytes.set(unfinished as u64);
        counters.http_body_bytes.set(bodies as u64);
        counters.seats.set(seats.taken() as u64);
        counters.seated_addresses.set(seats.addresses() as u64);
        counters.seated_users.set(seats.users() as u64);
    }

    /// How many handshakes may be open now: `server.max_handshakes`, or fewer if the file limit leaves less room.
    #[must_use]
    pub(crate) fn handshakes_max(&self) -> usize {
        let taken = self.connections.load(Ordering::Relaxed);
        let room = self.sockets_max.saturating_sub(taken);
        self.handshakes_max.min(room)
    }

    /// The sums of all shards' counters.
    ///
    /// Cost: three loads per shard.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::of(&self.counters)
    }

    /// Takes a slot for a call; `None` if `max` are taken.
    #[must_use]
    pub(crate) fn take_call_slot(self: &Arc<Self>, max: usize) -> Option<CallSlot> {
        let taken = self
            .calls
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < max).then_some(open + 1)
            });
        taken.ok().map(|_| CallSlot(self.clone()))
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.process.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            let mut per_ip = self.process.per_ip.lock();
            if let Some(open) = per_ip.get_mut(&address) {
                *open -= 1;
                if *open == 0 {
                    per_ip.remove(&address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    fn process(connections_max: usize, per_ip_max: usize) -> Arc<Process> {
        let mut config = Config::for_mode(Mode::Demo);
        config.server.max_connections = connections_max;
        config.server.max_connections_per_ip = per_ip_max;
        Process::new(&config, 1, usize::MAX, CounterRegistry::default(), None)
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let process = process(3, 2);
        let (a, b): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
        let first = process.take_slot(a).unwrap();
        let _second = process.take_slot(a).unwrap();
        assert_eq!(process.take_slot(a).unwrap_err(), NoRoom::PerIp);
        assert_eq!(process.connections.load(Ordering::Relaxed), 2);
        let _third = process.take_slot(b).unwrap();
        assert_eq!(process.take_slot(b).unwrap_err(), NoRoom::Connections);
        drop(first);
        assert!(process.take_slot(a).is_ok());
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let process = process(9, 1);
        let _slot = process.take_slot("2001:db8::1".parse().unwrap()).unwrap();
        assert_eq!(
            process
                .take_slot("2001:db8::2".parse().unwrap())
                .unwrap_err(),
            NoRoom::PerIp
        );
        assert!(
            process
                .take_slot("2001:db8:0:1::1".parse().unwrap())
                .is_ok()
        );
        let _v4 = process
            .take_slot("::ffff:10.0.0.1".parse().unwrap())
            .unwrap();
        assert_eq!(
            process.take_slot("10.0.0.1".parse().unwrap()).unwrap_err(),
            NoRoom::PerIp
        );
    }
}
