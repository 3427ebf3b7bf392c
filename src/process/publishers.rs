//! Rate limits of HTTP publishers, per minute and publisher.

use std::hash::Hash;
use std::net::IpAddr;

use super::seats::block_of;
use super::window::{RateLimited, Window};
use crate::collections::{HashMap, HashSet, Locked};

/// The publisher of an HTTP request: a keyed hash of its key, user or address. It contains no credential, and
/// collisions cannot be constructed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Publisher(u64);

/// The counts of publishers. Empty where there is no limit.
#[derive(Debug)]
pub struct Publishers {
    per_minute_max: u32,
    windows: Locked<HashMap<Publisher, Window>>,
    /// Its hasher, with random keys, makes a [`Publisher`].
    numbers: HashSet<()>,
}

/// Publishers that are counted separately. At the limit those whose window is over are removed; if none is, all further
/// publishers share one count.
const COUNTED_MAX: usize = 65_536;

impl Publishers {
    /// Counts for a limit of `per_minute_max` events per publisher; 0: no limit.
    #[must_use]
    pub fn new(per_minute_max: u32) -> Self {
        Self {
            per_minute_max,
            windows: Default::default(),
            numbers: HashSet::default(),
        }
    }

    /// The publisher with this API key.
    #[must_use]
    pub fn key(&self, key: &str) -> Publisher {
        self.number(("key", key))
    }

    /// The publisher with a token of this user.
    #[must_use]
    pub fn user(&self, user: &str) -> Publisher {
        self.number(("user", user))
    }

    /// The publisher without credentials at this address.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> Publisher {
        self.number(block_of(address))
    }

    fn number(&self, of: impl Hash) -> Publisher {
        Publisher(self.numbers.hasher().hash_one(of))
    }

    /// Counts `events` of `publisher`, all of them or none.
    ///
    /// # Errors
    /// They exceed the limit.
    pub fn take(
        &self,
        publisher: Publisher,
        events: usize,
        now_ms: u64,
    ) -> Result<(), RateLimited> {
        if self.per_minute_max == 0 {
            return Ok(());
        }
        let mut windows = self.windows.lock();
        if windows.len() >= COUNTED_MAX && !windows.contains_key(&publisher) {
            windows.retain(|_, window| !window.is_over(now_ms));
        }
        let counted = match windows.len() < COUNTED_MAX || windows.contains_key(&publisher) {
            true => publisher,
            false => SHARED_PUBLISHER,
        };
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let window = windows.entry(counted).or_default();
        window.take(events, self.per_minute_max, now_ms)
    }
}

/// The count that publishers beyond [`COUNTED_MAX`] share.
const SHARED_PUBLISHER: Publisher = Publisher(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_publisher_has_a_minutes_worth() {
        let publishers = Publishers::new(3);
        let address = |text: &str| publishers.address(text.parse().unwrap());
        let (user, key) = (publishers.user("billing"), publishers.key("billing"));
        assert!(publishers.take(address("10.0.0.1"), 3, 0).is_ok());
        assert!(publishers.take(address("10.0.0.1"), 1, 1).is_err());
        assert!(publishers.take(address("10.0.0.2"), 1, 1).is_ok());
        assert!(publishers.take(user, 2, 1).is_ok());
        assert!(publishers.take(user, 2, 2).is_err());
        assert!(publishers.take(key, 3, 2).is_ok());
        assert!(publishers.take(address("10.0.0.1"), 3, 60_000).is_ok());
        assert!(publishers.take(address("2001:db8::1"), 3, 0).is_ok());
        assert!(publishers.take(address("2001:db8::2"), 1, 0).is_err());
        let unlimited = Publishers::new(0);
        assert!(unlimited.take(unlimited.user("a"), 9, 0).is_ok());
    }

    #[test]
    fn publishers_without_end_take_no_memory_without_end() {
        let publishers = Publishers::new(1);
        let from = |number: u32| publishers.address(IpAddr::from(number.to_be_bytes()));
        let all = u32::try_from(COUNTED_MAX).unwrap();
        for number in 0..all {
            assert!(publishers.take(from(number), 1, 5).is_ok());
        }
        assert!(publishers.take(from(all), 1, 6).is_ok());
        assert!(publishers.take(from(all + 1), 1, 6).is_err());
        assert!(publishers.take(from(all + 2), 1, 60_005).is_ok());
        assert_eq!(publishers.windows.lock().len(), 2);
    }
}
