//! A limit of wrong credentials per address (hostile-inputs.md A18).

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::collections::HashMap;

/// Counts wrong credentials by address. At the limit further credentials are refused unchecked, so guessing costs one
/// table lookup.
#[derive(Debug)]
pub struct Failures {
    per_minute: u32,
    /// Addresses in the table, so that the lock is skipped while there are none.
    counted: AtomicUsize,
    #[expect(
        clippy::disallowed_types,
        reason = "touched when a credential is wrong, and where one has been in the last minute"
    )]
    windows: std::sync::Mutex<HashMap<IpAddr, FailureWindow>>,
}

/// The window of one address.
#[derive(Debug, Clone, Copy)]
struct FailureWindow {
    began: Instant,
    failures: u32,
}

impl Failures {
    /// Allows `per_minute` failures; 0 is unlimited.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            counted: AtomicUsize::new(0),
            windows: Default::default(),
        }
    }

    /// How long `address` has to wait until its next credential is checked; `None` if it need not wait. The caller maps
    /// addresses of one network to one address.
    ///
    /// Cost: one load while the table is empty; otherwise a lock and a lookup.
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

    /// Counts a wrong credential of `address`.
    ///
    /// Cost: a lock and a lookup; a pass over the table when it is full.
    pub fn note(&self, address: IpAddr, now: Instant) {
        if self.per_minute == 0 {
            return;
        }
        let is_over =
            |window: &FailureWindow| now.saturating_duration_since(window.began) >= WINDOW;
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= ADDRESSES_MAX && !windows.contains_key(&address) {
            windows.retain(|_, window| !is_over(window));
            // The limit does not stop an attacker with this many addresses, so memory takes precedence.
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

    /// Removes expired windows. Called by the control thread.
    pub fn tidy(&self, now: Instant) {
        if self.counted.load(Ordering::Relaxed) > 0 {
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            windows.retain(|_, window| now.saturating_duration_since(window.began) < WINDOW);
            self.counted.store(windows.len(), Ordering::Relaxed);
        }
    }
}

/// The length of a window, from its first failure.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses in the table. Beyond it all counts start anew.
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
