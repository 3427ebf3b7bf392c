//! How often credentials from one address may be wrong (hostile-inputs.md A18).

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::collections::HashMap;

/// Counts wrong credentials by address, so that guessing neither succeeds nor costs more than a
/// look into a table.
#[derive(Debug)]
pub struct Failures {
    per_minute: u32,
    /// Addresses that are counted, so that nobody takes the lock while all is well.
    counted: AtomicUsize,
    #[expect(
        clippy::disallowed_types,
        reason = "touched when a credential is wrong, and where one has been in the last minute"
    )]
    windows: std::sync::Mutex<HashMap<IpAddr, FailureWindow>>,
}

/// A minute of one address.
#[derive(Debug, Clone, Copy)]
struct FailureWindow {
    began: Instant,
    failures: u32,
}

impl Failures {
    /// Allows `per_minute` failures; 0 means any number.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            counted: AtomicUsize::new(0),
            windows: Default::default(),
        }
    }

    /// How long `address` has to wait until its next credential is looked at; `None`: not at all.
    /// Addresses of one network that belong together are for the caller to make one.
    ///
    /// Cost: a load while there are no failures; otherwise a lock and a lookup.
    #[must_use]
    pub fn wait_for(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        if self.counted.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.get(&address)?;
        let left = WINDOW.saturating_sub(now.saturating_duration_since(window.began));
        (window.failures >= self.per_minute && !left.is_zero()).then_some(left)
    }

    /// Notes that a credential of `address` was wrong.
    ///
    /// Cost: a lock and a lookup; when the table is full, a pass over it.
    pub fn note(&self, address: IpAddr, now: Instant) {
        if self.per_minute == 0 {
            return;
        }
        let is_over =
            |window: &FailureWindow| now.saturating_duration_since(window.began) >= WINDOW;
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= ADDRESSES_MAX && !windows.contains_key(&address) {
            windows.retain(|_, window| !is_over(window));
            // Whoever has so many addresses is not stopped by counting them; memory comes first.
            if windows.len() >= ADDRESSES_MAX {
                windows.clear();
            }
        }
        let fresh = FailureWindow {
            began: now,
            failures: 0,
        };
        let window = windows.entry(address).or_insert(fresh);
        if is_over(window) {
            *window = fresh;
        }
        window.failures = window.failures.saturating_add(1);
        self.counted.store(windows.len(), Ordering::Relaxed);
    }

    /// Forgets addresses whose minute is over. For the control thread, now and then.
    pub fn tidy(&self, now: Instant) {
        if self.counted.load(Ordering::Relaxed) > 0 {
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            windows.retain(|_, window| now.saturating_duration_since(window.began) < WINDOW);
            self.counted.store(windows.len(), Ordering::Relaxed);
        }
    }
}

/// Failures are counted for this long from the first.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are counted at a time. Beyond it all begin anew.
const ADDRESSES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a18_an_address_has_a_budget_of_failures_a_minute() {
        let (failures, start) = (Failures::new(3), Instant::now());
        let after = |secs| start + Duration::from_secs(secs);
        for second in [0, 10, 20] {
            assert_eq!(failures.wait_for(address(1), after(second)), None);
            failures.note(address(1), after(second));
        }
        let left = failures.wait_for(address(1), after(20));
        assert_eq!(left, Some(Duration::from_secs(40)));
        assert_eq!(failures.wait_for(address(2), after(20)), None);
        assert_eq!(failures.wait_for(address(1), after(60)), None);
        failures.note(address(1), after(61));
        assert_eq!(failures.wait_for(address(1), after(61)), None);
    }

    #[test]
    fn a18_the_table_stays_bounded_and_empties_itself() {
        let (failures, now) = (Failures::new(1), Instant::now());
        for number in 0..200_000 {
            failures.note(address(number), now);
            assert!(failures.counted.load(Ordering::Relaxed) <= ADDRESSES_MAX);
        }
        failures.tidy(now + WINDOW);
        assert_eq!(failures.counted.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let (failures, now) = (Failures::new(0), Instant::now());
        failures.note(address(1), now);
        assert_eq!(failures.wait_for(address(1), now), None);
        assert_eq!(failures.counted.load(Ordering::Relaxed), 0);
    }
}
