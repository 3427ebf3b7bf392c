//! Limits of the events protocol: connections in total, per address and per user, and messages per address.
//!
//! The maps are locked when a connection begins and ends, never for a message: what a message needs is in the
//! connection's [`Seat`].

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::window::{RateLimited, SharedWindow};
use crate::collections::{HashMap, Locked};

/// The limits; 0: no limit.
#[derive(Clone, Copy, Default, Debug)]
pub struct SeatLimits {
    /// Connections in total.
    pub connections_max: usize,
    /// Connections of one address.
    pub per_ip_max: usize,
    /// Connections of one user.
    pub per_user_max: usize,
    /// Messages of one address per minute.
    pub frames_per_ip_max: u32,
    /// Messages of one address per minute that are dropped but still parsed, for an error that refers to them.
    pub dropped_per_ip_max: u32,
}

/// The connections of the events protocol in this process.
#[derive(Debug)]
pub struct Seats {
    limits: SeatLimits,
    taken: AtomicUsize,
    addresses: Locked<HashMap<IpAddr, Arc<Address>>>,
    users: Locked<HashMap<Box<str>, usize>>,
}

/// The counts that the connections of an address share.
#[derive(Default, Debug)]
struct Address {
    /// Connections. Written under the lock of the map only.
    open: AtomicUsize,
    frames: SharedWindow,
    /// Messages dropped for a rate limit.
    dropped: SharedWindow,
}

impl Address {
    /// Whether both windows are over.
    fn is_over(&self, now_ms: u64) -> bool {
        self.frames.is_over(now_ms) && self.dropped.is_over(now_ms)
    }
}

/// The limit that refuses a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LimitReached {
    /// The limit per address, which is this many.
    #[error("the address has {0} connections: events.max_connections_per_ip")]
    Ip(usize),
    /// The limit per user, which is this many.
    #[error("the user has {0} connections: events.max_connections_per_user")]
    User(usize),
}

/// One of the connections that are counted. Dropping it frees it.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    address: Option<(IpAddr, Arc<Address>)>,
    user: Option<Box<str>>,
}

/// Addresses that are kept without a connection because their window is not over. Beyond that many they are removed at
/// once, so that a client with many networks cannot exhaust memory.
const REMEMBERED_MAX: usize = 65_536;

impl Seats {
    /// No seats are taken.
    #[must_use]
    pub fn new(limits: SeatLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            taken: AtomicUsize::new(0),
            addresses: Locked::default(),
            users: Locked::default(),
        })
    }

    /// Takes a seat; `None` if all are taken.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        let max = match self.limits.connections_max {
            0 => usize::MAX,
            max => max,
        };
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < max).then_some(taken + 1)
            });
        taken.ok().map(|_| Seat {
            seats: self.clone(),
            address: None,
            user: None,
        })
    }

    /// The number of seats taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// The number of addresses with connections; 0 where no limit per address is set.
    ///
    /// Cost: a pass over all addresses, under the lock.
    #[must_use]
    pub fn addresses(&self) -> usize {
        let addresses = self.addresses.lock();
        addresses
            .values()
            .filter(|address| address.open.load(Ordering::Relaxed) > 0)
            .count()
    }

    /// The number of users with connections; 0 where no limit per user is set.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.lock().len()
    }

    /// Removes addresses without connections whose windows are over. Called by the ticker.
    ///
    /// Cost: a pass over all addresses, under the lock.
    pub fn sweep(&self, now_ms: u64) {
        self.addresses.lock().retain(|_, address| {
            address.open.load(Ordering::Relaxed) > 0 || !address.is_over(now_ms)
        });
    }
}

impl Seat {
    /// Assigns the seat to an address and, if authenticated, a user.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn assign(&mut self, address: IpAddr, user: Option<&str>) -> Result<(), LimitReached> {
        let limits = self.seats.limits;
        if limits.per_ip_max > 0 || limits.frames_per_ip_max > 0 {
            let block = block_of(address);
            let mut addresses = self.seats.addresses.lock();
            let entry = addresses.entry(block).or_default();
            let open = entry.open.load(Ordering::Relaxed);
            if limits.per_ip_max > 0 && open >= limits.per_ip_max {
                return Err(LimitReached::Ip(limits.per_ip_max));
            }
            entry.open.store(open + 1, Ordering::Relaxed);
            self.address = Some((block, entry.clone()));
        }
        if let Some(user) = user.filter(|_| limits.per_user_max > 0) {
            let mut users = self.seats.users.lock();
            match users.get_mut(user) {
                Some(open) if *open >= limits.per_user_max => {
                    return Err(LimitReached::User(limits.per_user_max));
                }
                Some(open) => *open += 1,
                None => {
                    users.insert(user.into(), 1);
                }
            }
            self.user = Some(user.into());
        }
        Ok(())
    }

    /// Counts a message among those of the address.
    ///
    /// Cost: one locked instruction where there is a limit.
    ///
    /// # Errors
    /// The address has reached its limit for this minute.
    pub fn take_frame(&self, now_ms: u64) -> Result<(), RateLimited> {
        match &self.address {
            Some((_, address)) => address
                .frames
                .take(self.seats.limits.frames_per_ip_max, now_ms),
            None => Ok(()),
        }
    }

    /// Counts a message that is dropped for the rate limit of its connection or its address.
    ///
    /// Cost: as [`Self::take_frame`].
    ///
    /// # Errors
    /// So many were dropped this minute that further ones are not parsed.
    pub fn drop_frame(&self, now_ms: u64) -> Result<(), RateLimited> {
        match &self.address {
            Some((_, address)) => address
                .dropped
                .take(self.seats.limits.dropped_per_ip_max, now_ms),
            None => Ok(()),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some((block, address)) = self.address.take() {
            let mut addresses = self.seats.addresses.lock();
            let open = address.open.load(Ordering::Relaxed) - 1;
            address.open.store(open, Ordering::Relaxed);
            // Kept until its window is over, so that reconnecting does not reset the count.
            let counts = self.seats.limits.frames_per_ip_max > 0;
            if open == 0 && (!counts || addresses.len() > REMEMBERED_MAX) {
                addresses.remove(&block);
            }
        }
        if let Some(user) = self.user.take() {
            let mut users = self.seats.users.lock();
            if let Some(open) = users.get_mut(&user) {
                *open -= 1;
                if *open == 0 {
                    users.remove(&user);
                }
            }
        }
    }
}

/// The block of addresses that limits count as one: the /64 of an IPv6 address, which one subscriber has.
#[must_use]
pub fn block_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: SeatLimits = SeatLimits {
        connections_max: 9,
        per_ip_max: 3,
        per_user_max: 2,
        frames_per_ip_max: 0,
        dropped_per_ip_max: 0,
    };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Takes a seat and names it.
    fn sit(
        seats: &Arc<Seats>,
        from: IpAddr,
        user: Option<&str>,
    ) -> Result<Seat, Option<LimitReached>> {
        let mut seat = seats.take().ok_or(None)?;
        seat.assign(from, user)?;
        Ok(seat)
    }

    #[test]
    fn each_limit_is_reached_on_its_own() {
        let seats = Seats::new(LIMITS);
        let mut all = vec![sit(&seats, address(1), Some("a")).unwrap()];
        all.push(sit(&seats, address(2), Some("a")).unwrap());
        assert_eq!(
            sit(&seats, address(3), Some("a")).unwrap_err(),
            Some(LimitReached::User(2))
        );
        all.push(sit(&seats, address(1), None).unwrap());
        all.push(sit(&seats, address(1), Some("b")).unwrap());
        assert_eq!(
            sit(&seats, address(1), Some("c")).unwrap_err(),
            Some(LimitReached::Ip(3))
        );
        // The refused ones have left nothing behind.
        assert_eq!((seats.taken(), seats.addresses(), seats.users()), (4, 2, 2));
        all.extend((4..9).map(|last| sit(&seats, address(last), None).unwrap()));
        assert_eq!(sit(&seats, address(9), None).unwrap_err(), None);
        drop(all);
        assert_eq!((seats.taken(), seats.addresses(), seats.users()), (0, 0, 0));
    }

    #[test]
    fn r08_an_ipv6_network_counts_as_one() {
        let seats = Seats::new(SeatLimits {
            per_ip_max: 1,
            ..LIMITS
        });
        let _seat = sit(&seats, "2001:db8::1".parse().unwrap(), None).unwrap();
        let same = sit(&seats, "2001:db8::ffff:0:0:2".parse().unwrap(), None);
        assert_eq!(same.unwrap_err(), Some(LimitReached::Ip(1)));
        assert!(sit(&seats, "2001:db8:0:1::1".parse().unwrap(), None).is_ok());
        let _v4 = sit(&seats, "::ffff:10.0.0.1".parse().unwrap(), None).unwrap();
        assert_eq!(
            sit(&seats, address(1), None).unwrap_err(),
            Some(LimitReached::Ip(1))
        );
    }

    #[test]
    fn the_connections_of_an_address_share_its_frames_and_a_new_one_starts_no_new_count() {
        let seats = Seats::new(SeatLimits {
            frames_per_ip_max: 3,
            ..SeatLimits::default()
        });
        let (first, second) = (
            sit(&seats, address(1), None).unwrap(),
            sit(&seats, address(1), None).unwrap(),
        );
        let other = sit(&seats, address(2), None).unwrap();
        assert!(first.take_frame(0).is_ok() && second.take_frame(1).is_ok());
        drop((first, second));
        seats.sweep(2);
        let third = sit(&seats, address(1), None).unwrap();
        assert!(third.take_frame(3).is_ok());
        assert_eq!(
            third.take_frame(4),
            Err(RateLimited {
                limit: 3,
                ends_ms: 60_000
            })
        );
        assert!(other.take_frame(5).is_ok());
        drop((third, other));
        seats.sweep(60_000);
        assert!(!seats.addresses.lock().contains_key(&address(1)));
        seats.sweep(60_005);
        assert!(seats.addresses.lock().is_empty());
    }

    #[test]
    fn an_owner_of_many_networks_fills_no_memory() {
        let seats = Seats::new(SeatLimits {
            frames_per_ip_max: 3,
            ..SeatLimits::default()
        });
        for network in 0..(REMEMBERED_MAX as u128 + 1000) {
            let from = IpAddr::V6((network << 64).into());
            assert!(sit(&seats, from, None).unwrap().take_frame(1).is_ok());
        }
        assert!(seats.addresses.lock().len() <= REMEMBERED_MAX + 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn r08_the_counts_equal_the_truth_after_random_steps(steps in prop::collection::vec((0_u8..6, 0_u8..6, any::<bool>()), 1..400)) {
            let seats = Seats::new(LIMITS);
            let mut sitting: Vec<(IpAddr, String, Seat)> = Vec::new();
            for (from, user, comes) in steps {
                let (from, user) = (address(from), format!("user {user}"));
                if comes {
                    let same = |of: &dyn Fn(&(IpAddr, String, Seat)) -> bool| sitting.iter().filter(|one| of(one)).count();
                    let expected = sitting.len() < 9
                        && same(&|one| one.0 == from) < 3
                        && same(&|one| one.1 == user) < 2;
                    let got = sit(&seats, from, Some(&user));
                    prop_assert_eq!(got.is_ok(), expected);
                    sitting.extend(got.ok().map(|seat| (from, user, seat)));
                } else if !sitting.is_empty() {
                    sitting.swap_remove(usize::from(from.is_ipv4()) * user.len() % sitting.len());
                }
                let mut addresses: Vec<_> = sitting.iter().map(|one| one.0).collect();
                let mut users: Vec<_> = sitting.iter().map(|one| &one.1).collect();
                addresses.sort();
                addresses.dedup();
                users.sort();
                users.dedup();
                prop_assert_eq!((seats.taken(), seats.addresses(), seats.users()), (sitting.len(), addresses.len(), users.len()));
            }
            drop(sitting);
            prop_assert_eq!((seats.taken(), seats.addresses(), seats.users()), (0, 0, 0));
        }
    }
}
